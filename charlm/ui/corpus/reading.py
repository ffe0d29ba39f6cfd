"""A text as the Corpus tab reads it: the corpus, its counts, its split and batches, and what baselines make of it."""

import math
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.data.batches import Dataset
from charlm.data.catalog import data_dir, entries
from charlm.data.corpus import Corpus
from charlm.data.dataset import dataset_of, text_sizes, tokenizer_for
from charlm.data.own_texts import open_upload
from charlm.data.tables import KINDS
from charlm.public.limits import Limits, check_tokens
from charlm.runs.run import ACTIVE
from charlm.tokenizers import IdArray, Tokenizer
from charlm.tokenizers.characters import count_characters
from charlm.ui.corpus.texts import open_corpus

if TYPE_CHECKING:
    from charlm.analysis.baselines import Baselines

KEPT_TEXTS = 2  # they may be large
KEPT_BASELINES = 64
WORDS = re.compile(r"\S+")  # counted one by one: a list of all would take more than the text


@dataclass(frozen=True)
class Reading:
    """A corpus as a model reads it.

    Attributes:
        value: the picker's value: a catalog key, or the key of an upload.
        counts: characters with their counts, the most common first.
        word_count: pieces between blanks.
        columns: of an uploaded table.
        table: whether it is one, so that rows have to be joined.
        model: what a token is.
        dataset: the ids as the Train tab's default settings cut them.
        train_chars: characters to train on.
        val_chars: characters held out; 0 where validation is the training text itself.
    """

    value: str
    config: CorpusConfig
    corpus: Corpus
    counts: Sequence[tuple[str, int]] = field(repr=False)
    word_count: int
    columns: tuple[str, ...]
    table: bool
    model: ModelConfig
    tokenizer: Tokenizer = field(repr=False)
    dataset: Dataset = field(repr=False)
    train_chars: int
    val_chars: int

    @property
    def split(self) -> tuple[str, int, int]:
        """What losses must have in common to be compared: the text, and what of it is held out."""
        return self.corpus.sha256, self.train_chars, self.val_chars

    def unknown_share(self, ids: IdArray) -> float:
        """Which share of some ids, of which there is at least one, is `<unk>`."""
        return float((ids == self.tokenizer.unk_id).mean())


def open_text(value: str, config: CorpusConfig) -> dict[str, Any]:
    """What a Reading holds of a text, whatever its tokens are.

    Raises:
        CorpusError: it cannot be opened.
    """
    corpus = open_corpus(value, config)
    upload = open_upload(value, data_dir())
    columns = tuple(upload.columns(config.encoding)) if upload else ()
    table = bool(columns) or any(entry.key == value and Path(entry.filename).suffix in KINDS for entry in entries())
    words = sum(1 for _ in WORDS.finditer(corpus.text))
    counts = count_characters(corpus.text)
    return {"corpus": corpus, "counts": counts, "word_count": words, "columns": columns, "table": table}


class Readings:
    """The texts read last, and the losses without a network, kept so that looking again costs nothing.

    Args:
        limits: of a public Space.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits
        self._open = lru_cache(KEPT_TEXTS)(open_text)
        self._read = lru_cache(KEPT_TEXTS)(self._reading)
        self._baselines: OrderedDict[tuple[Any, ...], Baselines] = OrderedDict()

    def read(self, value: str, config: CorpusConfig, model: ModelConfig | None = None) -> Reading:
        """A text as a model reads it.

        Args:
            value: of the picker.
            config: how it is cleaned.
            model: what a token is; None: a character.

        Raises:
            CorpusError, ConfigError: it cannot be opened, is too short to train on, or leaves no vocabulary.
            LimitError: its tokens may not be counted here.
        """
        return self._read(value, config, (model or ModelConfig()).tokenization)

    def forget(self) -> None:
        """Read every text anew: one was deleted."""
        self._open.cache_clear()
        self._read.cache_clear()

    def _reading(self, value: str, config: CorpusConfig, model: ModelConfig) -> Reading:
        opened = self._open(value, config)
        corpus: Corpus = opened["corpus"]
        if self._limits is not None:
            check_tokens(self._limits, corpus.text, model)
        tokenizer = tokenizer_for(corpus, model, config)
        dataset = dataset_of(tokenizer, corpus, TrainConfig(), config)
        train, val, _ = text_sizes(corpus, config, tokenizer)
        tokens: dict[str, Any] = {"model": model, "tokenizer": tokenizer, "dataset": dataset}
        return Reading(value, config, **opened, **tokens, train_chars=train, val_chars=val)

    def known_baselines(self, reading: Reading) -> "Baselines | None":
        """The baselines' losses on the held-out part, if they were measured already."""
        return self._baselines.get((*reading.split, reading.model))

    def baselines(self, reading: Reading) -> "Baselines | None":
        """The same, measured if need be, which takes seconds; None where nothing is held out."""
        known = self.known_baselines(reading)
        if known is None and reading.val_chars:
            from charlm.analysis.baselines import measure  # loads torch, which the page's start does without

            train, end = reading.train_chars, reading.train_chars + reading.val_chars
            ids, text = (reading.dataset.train_ids, reading.dataset.val_ids), reading.corpus.text
            known = measure(ids, (text[:train], text[train:end]), reading.tokenizer.vocab_size)
            self._baselines[*reading.split, reading.model] = known
            if len(self._baselines) > KEPT_BASELINES:
                self._baselines.popitem(last=False)
        return known


def best_runs(reading: Reading, runs: Sequence[Any]) -> list[Any]:
    """The best ended run of each architecture and level that held out the very same part of this very text."""

    def cost(run: Any) -> float:
        bits = run.bits_per_char(run.best_val_loss)
        return math.inf if bits is None else bits

    best: dict[tuple[str, str], Any] = {}
    for run in runs:
        split = tuple(run.corpus.get(name) for name in ("sha256", "train_chars", "val_chars"))
        if run.status in ACTIVE or run.best_val_loss is None or split != reading.split:
            continue
        kind = run.arch, run.level
        if kind not in best or cost(run) < cost(best[kind]):
            best[kind] = run
    return list(best.values())
