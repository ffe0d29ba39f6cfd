"""A text as the Corpus tab reads it: the corpus, its counts, its split and batches, and what guessing it costs."""

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from charlm.analysis.characters import count_characters
from charlm.catalog import data_dir, entries
from charlm.config import CorpusConfig, TrainConfig
from charlm.corpus import Corpus
from charlm.dataset import Dataset, ids_of
from charlm.tables import KINDS
from charlm.tokenizer import CharTokenizer
from charlm.ui.corpora import open_corpus
from charlm.ui.uploads import open_upload
from charlm.ui.verdict import AT_WORK

if TYPE_CHECKING:
    from charlm.analysis.baselines import Baselines

KEPT_TEXTS = 2  # they may be large
KEPT_COSTS = 64
WORDS = re.compile(r"\S+")  # counted one by one: a list of all would take more than the text


@dataclass(frozen=True)
class Reading:
    """A corpus with what is counted in it.

    Attributes:
        value: the picker's value: a catalog key, or the key of an upload.
        counts: characters with their counts, the most common first.
        dataset: the ids as the Train tab's default settings cut them.
        words: pieces between blanks.
        columns: of an uploaded table.
        table: whether it is one, so that rows have to be joined.
    """

    value: str
    corpus: Corpus
    config: CorpusConfig
    counts: Sequence[tuple[str, int]] = field(repr=False)
    tokenizer: CharTokenizer = field(repr=False)
    dataset: Dataset = field(repr=False)
    words: int
    columns: tuple[str, ...] = ()
    table: bool = False

    @property
    def train_chars(self) -> int:
        """Characters to train on."""
        return len(self.dataset.train_ids)

    @property
    def val_chars(self) -> int:
        """Characters held out; 0 where validation is the training text itself."""
        return 0 if self.dataset.val_ids is self.dataset.train_ids else len(self.dataset.val_ids)


def read_text(value: str, config: CorpusConfig) -> Reading:
    """Open a text and count.

    Raises:
        CorpusError: it cannot be opened, or is too short to train on.
    """
    corpus = open_corpus(value, config)
    counts = count_characters(corpus.text)
    tokenizer = CharTokenizer(sorted(character for character, _ in counts))
    train = TrainConfig()
    ids = ids_of(corpus.text, tokenizer, data_dir())
    dataset = Dataset(ids, train.batch_size, train.seq_len, config.val_fraction, config.test_fraction)
    upload = open_upload(value, data_dir())
    columns = tuple(upload.columns()) if upload else ()
    table = bool(columns) or any(entry.key == value and _is_table(entry.filename) for entry in entries())
    words = sum(1 for _ in WORDS.finditer(corpus.text))
    return Reading(value, corpus, config, counts, tokenizer, dataset, words, columns, table)


def _is_table(filename: str) -> bool:
    return f".{filename.rpartition('.')[2]}" in KINDS


class Readings:
    """The texts read last, and what they cost without a network, kept so that looking again costs nothing."""

    def __init__(self) -> None:
        self.read = lru_cache(KEPT_TEXTS)(read_text)
        self._costs: OrderedDict[tuple[Any, ...], Baselines] = OrderedDict()

    def known_costs(self, reading: Reading) -> "Baselines | None":
        """What guessing costs, if it was measured already."""
        return self._costs.get(_split(reading))

    def costs(self, reading: Reading) -> "Baselines | None":
        """What guessing the held-out part costs; takes seconds the first time. None where nothing is held out."""
        known = self.known_costs(reading)
        if known is None and reading.val_chars:
            from charlm.analysis.baselines import measure  # loads torch, which the page's start does without

            train, end = reading.train_chars, reading.train_chars + reading.val_chars
            ids, text = (reading.dataset.train_ids, reading.dataset.val_ids), reading.corpus.text
            known = measure(ids, (text[:train], text[train:end]), reading.tokenizer.vocab_size)
            self._costs[_split(reading)] = known
            if len(self._costs) > KEPT_COSTS:
                self._costs.popitem(last=False)
        return known


def best_runs(reading: Reading, runs: Sequence[Any]) -> list[Any]:
    """The best ended run of each architecture that held out the very same part of this very text."""
    best: dict[str, Any] = {}
    for run in runs:
        if run.status in AT_WORK or run.best_val_loss is None or _part(run) != _split(reading):
            continue
        if run.arch not in best or run.best_val_loss < best[run.arch].best_val_loss:
            best[run.arch] = run
    return list(best.values())


def _split(reading: Reading) -> tuple[Any, ...]:
    return reading.corpus.sha256, reading.train_chars, reading.val_chars


def _part(run: Any) -> tuple[Any, ...]:
    return tuple(run.corpus.get(name) for name in ("sha256", "train_chars", "val_chars"))
