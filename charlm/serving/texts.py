"""The texts of runs: the whole of what one was trained on, and its parts."""

from typing import Any

from charlm.config import CorpusConfig
from charlm.data.catalog import data_dir
from charlm.data.dataset import character_sizes
from charlm.data.items import border_of
from charlm.data.text_store import recall
from charlm.errors import CharLMError, ConfigError, CorpusError
from charlm.runs.run import Run

SPLITS = ("val", "test", "all")


def own_text(run: Run) -> str:
    """The text a run was trained on; empty if it is no longer available."""
    corpus = recall(str(run.corpus.get("sha256", "")), data_dir())
    return corpus.text if corpus else ""


def whole_text(run: Run) -> str:
    """The text a run was trained on.

    Raises:
        CorpusError: it is no longer available.
    """
    text = own_text(run)
    if not text:
        gone = f"the text of {run.label} ({run.corpus.get('name')}) is no longer here"
        why = gone if run.corpus else f"{run.label} was imported without a text"
        raise CorpusError(f"{why}; give one to measure it on")
    return text


def held_out_text(run: Run) -> str:
    """What was held out of a run's text for validation.

    Raises:
        CorpusError: it is no longer available, or nothing was held out.
    """
    return part_of(whole_text(run), "val", run.corpus_config, run.held_out)


def nats_per_item(run: Run) -> float | None:
    """What a held-out item costs a model of a list in all, from its validation loss; None if that is not known."""
    border, loss = border_of(run.corpus_config.items), run.best_val_loss
    if not border or loss is None:
        return None
    try:
        text = held_out_text(run)
    except CharLMError:
        return None
    return loss * len(text) / max(text.count(border), 1)


def held_out_key(run: Run) -> tuple[Any, ...]:
    """What two runs share whose held-out texts are the same."""
    return run.corpus.get("sha256", ""), run.corpus_config, run.held_out


def training_text(run: Run) -> str:
    """The part of its text that a run learned from; empty if that is no longer available."""
    text = own_text(run)
    return text[: character_sizes(len(text), run.corpus_config, run.held_out)[0]]


def part_of(text: str, split: str, cleaning: CorpusConfig, held_out: tuple[int, int] | None = None) -> str:
    """The part of a text that a name stands for.

    Args:
        text: the whole.
        split: val, test or all.
        cleaning: with the fractions.
        held_out: see `charlm.data.dataset.character_sizes`.

    Raises:
        ConfigError: no such split.
        CorpusError: that part is empty.
    """
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is not one of: {', '.join(SPLITS)}")
    if split == "all":
        return text
    train, val, test = character_sizes(len(text), cleaning, held_out)
    if split == "test":
        if not test:
            raise CorpusError(f"test_fraction is {cleaning.test_fraction}: there is no test tail; use split val")
        return text[len(text) - test :]
    return text[train : train + val] if val else text[:train]  # as in training: its own validation if too short
