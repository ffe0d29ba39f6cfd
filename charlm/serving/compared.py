"""Which runs can stand side by side."""

from collections.abc import Sequence
from contextlib import suppress

from charlm.analysis.duel import check_same_tokens
from charlm.errors import CharLMError, ConfigError
from charlm.pretrained import Pretrained
from charlm.runs.run import Run
from charlm.tokenizers import Tokenizer

MAX_COMPARED = 6
Writer = Run | Pretrained  # what can write in a column


def check_compared(runs: Sequence[Writer]) -> None:
    """Refuse a comparison of none, of too many, or of the same run twice."""
    check_number(len(runs))
    if len({run.run_id for run in runs}) < len(runs):
        raise ConfigError("the same model is chosen twice; choose each once")


def check_duel(runs: Sequence[Writer]) -> None:
    """Refuse a duel of runs with different tokens; a run that cannot be read says so itself."""
    tokenizers: dict[str, Tokenizer] = {}
    for run in runs:
        if isinstance(run, Pretrained):
            raise ConfigError(
                f"a duel needs models with the same tokens, and {run.label}, a pretrained model, has its own; leave it "
                "out, or switch duel off"
            )
        with suppress(CharLMError):
            same_label = run.label in tokenizers
            tokenizers[f"{run.label} ({run.run_id})" if same_label else run.label] = run.tokenizer()
    check_same_tokens(tokenizers)


def check_number(compared: int) -> None:
    """Refuse a comparison of none or of too many."""
    if not 1 <= compared <= MAX_COMPARED:
        raise ConfigError(f"choose 1 to {MAX_COMPARED} models to compare, not {compared}")
