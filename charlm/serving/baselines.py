"""What the texts of runs cost without a network, measured in a thread when somebody wants to know, and kept."""

import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from charlm import files
from charlm.data.catalog import data_dir
from charlm.errors import CorpusError
from charlm.files import open_plain, write_atomically
from charlm.runs.run import Run

if TYPE_CHECKING:
    from charlm.analysis.baselines import Baselines

log = logging.getLogger(__name__)

KEPT = 256  # of each kind in memory
WAITING = 32  # texts in the queue; more are measured when they are asked for again
MOST_BYTES = 1 << 12  # of a file
RETRY_SECONDS = 60.0  # until a text is looked for again that was not at hand
MOST_CHARACTERS = {"char": 1, "word": 12, "bpe": 12}  # of a token, by level, where a text is too long to be read whole
VERSION = 1  # of what is measured; another one is measured anew


class NgramBaselines:
    """Baselines of the texts of runs: of the very split and tokens that their losses were measured on.

    Args:
        fitted: the most tokens that are counted of one text; 0: as many as `charlm.analysis.baselines` takes.
    """

    def __init__(self, fitted: int = 0) -> None:
        self.fitted = fitted
        self._lock = threading.Lock()
        self._keys: OrderedDict[str, str] = OrderedDict()  # by run id
        self._known: OrderedDict[str, Baselines] = OrderedDict()  # by key
        self._failed: OrderedDict[str, float] = OrderedDict()  # by key, when it may be tried again
        self._queue: OrderedDict[str, tuple[Run, Path]] = OrderedDict()  # by key, and where it is kept
        self._thread: threading.Thread | None = None

    def of(self, runs: Sequence[Run]) -> "Baselines | None":
        """What runs can be held against, if all were measured on the same text, split and tokens, and it is known.

        What is not known yet is measured in a thread: ask again.
        """
        keys = {self.key(run) for run in runs}
        if len(keys) != 1 or "" in keys:
            return None
        [key] = keys
        with self._lock:
            if key not in self._known:
                self._ask(key, runs[0])
                return None
            self._known.move_to_end(key)
            return self._known[key]

    def is_coming(self, runs: Sequence[Run]) -> bool:
        """Whether `of` is going to know more."""
        with self._lock:
            return any(self._keys.get(run.run_id) in self._queue for run in runs)

    def key(self, run: Run) -> str:
        """Text, split and tokens of a run in some letters; empty if it has no text."""
        with self._lock:
            known = self._keys.get(run.run_id)
        if known is None:
            known = self._key(run)
            with self._lock:
                self._keys[run.run_id] = known
                while len(self._keys) > KEPT:
                    self._keys.popitem(last=False)
        return known

    def _key(self, run: Run) -> str:
        sha256, cleaning = run.corpus.get("sha256"), run.corpus_config
        if not sha256:
            return ""
        try:
            with open_plain(run.folder / "tokenizer.json") as file:
                tokens = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""
        said = [VERSION, sha256, tokens, cleaning.val_fraction, cleaning.test_fraction, run.held_out, self.fitted]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:40]

    def _ask(self, key: str, run: Run) -> None:
        """Have a text measured; called with the lock."""
        if key in self._queue or len(self._queue) >= WAITING or self._failed.get(key, 0.0) > time.monotonic():
            return
        self._queue[key] = run, place(key)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="charlm-ladders", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        """The thread: one text after the other; it ends with the last."""
        while True:
            with self._lock:
                if not self._queue:
                    self._thread = None
                    return
                key, (run, path) = next(iter(self._queue.items()))
            try:
                found, failed = self._measured(run, path), 0.0
            except Exception as error:  # whatever it is, the next one has its turn
                log.info("no ladder for %s: %s", run.label, error)
                found, failed = None, time.monotonic() + RETRY_SECONDS
            with self._lock:
                if found is not None:
                    self._known[key] = found
                else:
                    self._failed[key] = failed
                del self._queue[key]
                for kept in (self._known, self._failed):
                    while len(kept) > KEPT:
                        kept.popitem(last=False)

    def measured(self, run: Run) -> "Baselines":
        """What the run's text costs, from the file where it is kept or measured now.

        Raises:
            CorpusError: its text is no longer at hand, or nothing is held out of it.
            CheckpointError: its tokenizer is damaged.
        """
        return self._measured(run, place(self.key(run)))

    def _measured(self, run: Run, path: Path) -> "Baselines":
        from charlm.analysis.baselines import Baselines

        try:
            return Baselines.from_dict(files.read(path, MOST_BYTES))
        except (OSError, ValueError):
            found = measure_run(run, self.fitted)
        _keep(path, found)
        return found


def place(key: str) -> Path:
    """Where a ladder is kept."""
    return data_dir() / "ladders" / f"{key}.json"


def _keep(path: Path, found: "Baselines") -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(found.to_dict()).encode())
    except OSError as error:  # it is measured again after a restart, nothing worse
        log.info("a ladder cannot be kept: %s", error)


def measure_run(run: Run, fitted: int = 0) -> "Baselines":
    """Measure what the run's text costs.

    Raises:
        CorpusError: its text is no longer at hand, or nothing is held out of it.
        CheckpointError: its tokenizer is damaged.
    """
    from charlm.analysis.baselines import FITTED, measure
    from charlm.data.dataset import ids_of, text_sizes
    from charlm.runs.create import text_of

    corpus, tokenizer = text_of(run), run.tokenizer()
    train, val, _ = text_sizes(corpus, run.corpus_config, tokenizer)
    if not val:
        raise CorpusError(f"nothing is held out of the text of {run.label}, so there is no ladder to measure it on")
    fitted = fitted or FITTED
    first = max(0, train - fitted * MOST_CHARACTERS[tokenizer.level])  # what lies before would not be counted
    ends = ((first, train), (train, train + val))
    counted, held_out = (ids_of(corpus.text, tokenizer, data_dir(), start=start, end=end) for start, end in ends)
    texts = corpus.text[first:train], corpus.text[train : train + val]
    found = measure((counted, held_out), texts, tokenizer.vocab_size, fitted)
    return replace(found, whole=found.whole and not first)
