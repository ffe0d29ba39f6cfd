"""The pretrained models that this process has in memory, and what a text costs them beside runs."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypedDict

from charlm.errors import CheckpointError, ConfigError, MeasurementError
from charlm.pretrained import Pretrained, load
from charlm.runs.run import Run
from charlm.serving.batcher import OpenedModel
from charlm.serving.texts import held_out_key, held_out_text

if TYPE_CHECKING:
    from charlm.analysis.measurement import Progress
    from charlm.pretrained.decoder import PretrainedDecoder

MOST_LOADED = 2  # each takes the memory of its weights in float32
CHARACTERS = 20_000  # of the held-out text that are scored where nobody says how many


def offered() -> list[str]:
    """The models that CHARLM_PRETRAINED names, folders or owner/name on the Hub, with commas between them."""
    names = os.environ.get("CHARLM_PRETRAINED", "").split(",")
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))


class OpenedPretrained(OpenedModel):
    """A pretrained model, and what its readers wait for."""

    def __init__(self, pretrained: Pretrained) -> None:
        super().__init__(pretrained.network, pretrained.tokenizer)
        self.pretrained = pretrained

    @cached_property
    def decoder(self) -> "PretrainedDecoder":
        """Its own."""
        return self.pretrained.decoder


class PretrainedModels:
    """Loads pretrained models, and keeps the last MOST_LOADED."""

    def __init__(self) -> None:
        self._lock, self._loading = threading.Lock(), threading.Lock()
        self._opened: dict[str, OpenedPretrained] = {}  # by id, the oldest first

    def list(self) -> Sequence[Pretrained]:
        """Those in memory, in the order in which they were loaded."""
        with self._lock:
            return [one.pretrained for one in self._opened.values()]

    def get(self, run_id: str) -> Pretrained | None:
        """The one with this id; None: none has."""
        opened = self._opened.get(run_id) if isinstance(run_id, str) else None
        return opened.pretrained if opened else None

    def load(self, source: str) -> Pretrained:
        """Load one, or find it loaded; see `charlm.pretrained.load`.

        Raises:
            CheckpointError: there is no such model, or it cannot be used here.
        """
        with self._loading:  # one at a time: each takes memory while it is checked
            known = next((one for one in self.list() if one.source == source.strip()), None)
            if known is not None:
                return known
            found = load(source)
            with self._lock:
                self._opened[found.run_id] = OpenedPretrained(found)
                while len(self._opened) > MOST_LOADED:
                    del self._opened[next(iter(self._opened))]
            return found

    def remove(self, source: str) -> None:
        """Let go of one by what it was loaded from.

        Raises:
            CheckpointError: it is not loaded.
        """
        with self._lock:
            for run_id, one in self._opened.items():
                if one.pretrained.source == source.strip():
                    del self._opened[run_id]
                    return
        raise CheckpointError(f"{source.strip()[:80]!r} is not loaded")

    def opened(self, pretrained: Pretrained) -> OpenedPretrained:
        """What is shared by the readers of one; by itself where it is no longer kept."""
        with self._lock:
            opened = self._opened.get(pretrained.run_id)
        return opened if opened and opened.pretrained is pretrained else OpenedPretrained(pretrained)


class Row(TypedDict):
    """What a text costs one model.

    Attributes:
        run_id: of the run or the pretrained model.
        label: what it is called.
        arch: its architecture, or `pretrained`.
        parameters: that it has.
        bits_per_char: None: not known yet, or not at all.
        tokens: that were predicted.
        upper_bound: whether it is one, of a pretrained model.
        error: why there is no score.
    """

    run_id: str
    label: str
    arch: str
    parameters: int
    bits_per_char: float | None
    tokens: int
    upper_bound: bool
    error: str


class Scores(TypedDict):
    """The costs of one text.

    Attributes:
        text: in words: `the first 20,000 of 58,143 held-out characters of sherlock.txt`.
        characters: of it.
        rows: of each model, in the order in which they were given.
    """

    text: str
    characters: int
    rows: list[Row]


def measure(
    models: Sequence[Run | Pretrained], characters: int, evaluated: Callable[[Run, str], tuple[float, int]]
) -> "Iterator[Progress[Scores]]":
    """Score runs and pretrained models on the same characters: what was held out of the first run's text.

    Args:
        models: at least one run, whose text it is, and one pretrained model; runs of another text are left out.
        characters: from the beginning of that text; 0: all.
        evaluated: bits per character and tokens of a run on a text.

    Yields:
        The share that is done, and the scores so far; a pretrained model's is at first of the text's beginning.

    Raises:
        ConfigError: a run or a pretrained model is missing.
        CorpusError: the run's text is no longer here.
    """
    from charlm.analysis.measurement import Progress

    runs = [one for one in models if isinstance(one, Run)]
    others = [one for one in models if isinstance(one, Pretrained)]
    if not runs or not others:
        raise ConfigError("a score needs a pretrained model, and at least one run beside it, whose held-out text it is")
    if characters < 0:
        raise ConfigError(f"characters {characters:,} is below 0; 0 means all of the held-out text")
    text, named = held_out_part(runs[0], characters)
    told: Scores = {"text": named, "characters": len(text), "rows": []}
    for run in runs:
        if held_out_key(run) == held_out_key(runs[0]):
            bits, tokens = evaluated(run, text)
            told["rows"].append(_row(run, bits, tokens))
    for place, model in enumerate(others):
        row = _row(model, None, 0)
        told["rows"].append(row)
        try:
            for progress in model.score(text):
                score = progress.result
                if score is None:
                    continue
                row |= {"bits_per_char": score.bits_per_char, "tokens": score.tokens}
                if progress.share >= 1:
                    model.scored = named, score
                yield Progress((place + progress.share) / len(others), told)
        except MeasurementError as error:
            row["error"] = str(error)
    yield Progress(1.0, told)


def held_out_part(run: Run, characters: int = 0) -> tuple[str, str]:
    """The beginning of what was held out of a run's text for validation, and what to call it.

    Args:
        run: whose text it is.
        characters: at most; 0: all.

    Raises:
        CorpusError: that text is no longer here.
    """
    whole = held_out_text(run)
    text, name = whole[: characters or None], str(run.corpus.get("name") or run.label)
    part = f"the first {len(text):,} of {len(whole):,}" if len(text) < len(whole) else f"all {len(whole):,}"
    return text, f"{part} held-out characters of {name}"


def _row(model: Run | Pretrained, bits: float | None, tokens: int) -> Row:
    return {
        "run_id": model.run_id, "label": model.label, "arch": model.arch, "parameters": model.num_parameters,
        "bits_per_char": bits, "tokens": tokens, "upper_bound": isinstance(model, Pretrained), "error": "",
    }  # fmt: skip
