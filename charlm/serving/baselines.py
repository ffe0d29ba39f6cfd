"""N-gram baselines of the texts of runs, measured in a thread when asked for, and cached."""

import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from charlm import files
from charlm.data.catalog import data_dir
from charlm.errors import CharLMError, CorpusError
from charlm.files import fingerprint, open_plain, write_atomically
from charlm.runs.run import Run

if TYPE_CHECKING:
    from charlm.analysis.baselines import Baselines
    from charlm.tokenizers import Tokenizer

log = logging.getLogger(__name__)
Key = TypeVar("Key")
Value = TypeVar("Value")

KEPT = 256  # results, and keys of runs, in memory
WAITING = 32  # texts in the queue; more are measured when they are asked for again
MOST_BYTES = 1 << 12  # of a file
RETRY_SECONDS = 60.0  # until a text is looked for again that was not available
MOST_CHARACTERS = {"char": 1, "word": 12, "bpe": 12}  # of a token, by level, where a text is too long to be read whole
VERSION = 1  # of what is measured; results of another one are measured again


def keep(cache: OrderedDict[Key, Value], key: Key, value: Value, most: int = KEPT) -> Value:
    """Put a value into a cache as its newest; the oldest beyond `most` are dropped. Returns the value.

    Args:
        cache: oldest first.
        key: of the value.
        value: to be kept.
        most: values that are kept.
    """
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > most:
        cache.popitem(last=False)
    return value


class NgramBaselines:
    """Baselines of the texts of runs: of the very split and tokens that their losses were measured on.

    Args:
        fitted: the most tokens that are counted of one text; 0: as many as `charlm.analysis.baselines` takes.
    """

    def __init__(self, fitted: int = 0) -> None:
        self.fitted = fitted
        self._lock = threading.Lock()
        self._keys: OrderedDict[str, str] = OrderedDict()  # by run id
        self._results: OrderedDict[str, Baselines | float] = OrderedDict()  # by key; or when to try again
        self._queue: OrderedDict[str, tuple[Run, Path]] = OrderedDict()  # by key, and where it is kept
        self._thread: threading.Thread | None = None

    def of(self, runs: Sequence[Run]) -> "Baselines | None":
        """The baselines of runs that were all measured on the same text, split and tokens, if they are known.

        What is not known yet is measured in a thread: ask again.
        """
        keys = {self.key(run) for run in runs}
        if len(keys) != 1 or "" in keys:
            return None
        [key] = keys
        with self._lock:
            result = self._results.get(key, 0.0)
            if isinstance(result, float):
                self._request(key, runs[0], result)
                return None
            keep(self._results, key, result)
            return result

    def is_coming(self, runs: Sequence[Run]) -> bool:
        """Whether `of` is going to know more."""
        with self._lock:
            return any(self._keys.get(run.run_id) in self._queue for run in runs)

    def key(self, run: Run) -> str:
        """Text, split and tokens of a run in some letters; empty if it has no text."""
        with self._lock:
            known = self._keys.get(run.run_id)
        if known is not None:
            return known
        key = self._key(run)
        with self._lock:
            return keep(self._keys, run.run_id, key)

    def _key(self, run: Run) -> str:
        sha256, cleaning = run.corpus.get("sha256"), run.corpus_config
        if not sha256:
            return ""
        try:
            with open_plain(run.folder / "tokenizer.json") as file:
                tokens = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""
        facts = [VERSION, sha256, tokens, cleaning.val_fraction, cleaning.test_fraction, run.held_out, self.fitted]
        return fingerprint(facts, 40)

    def _request(self, key: str, run: Run, not_before: float) -> None:
        """Have a text measured; called with the lock."""
        if key in self._queue or len(self._queue) >= WAITING or not_before > time.monotonic():
            return
        self._queue[key] = run, path_of(key)
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
            result: Baselines | float
            try:
                result = self._measured(run, path)
            except Exception as error:  # whatever it is, the next one has its turn
                log.info("no n-gram baselines for %s: %s", run.label, error)
                result = time.monotonic() + RETRY_SECONDS
            with self._lock:
                keep(self._results, key, result)
                del self._queue[key]

    def measured(self, run: Run) -> "Baselines":
        """The baselines of the run's text, from the file where they are kept or measured now.

        Raises:
            CorpusError: its text is no longer available, or nothing is held out of it.
            CheckpointError: its tokenizer is damaged.
        """
        return self._measured(run, path_of(self.key(run)))

    def _measured(self, run: Run, path: Path) -> "Baselines":
        from charlm.analysis.baselines import Baselines

        try:
            known = Baselines.from_dict(files.read(path, MOST_BYTES))
        except (OSError, ValueError):
            found = measure_run(run, self.fitted)
        else:
            found = known if known.ppmd else complete(run, known, self.fitted)
            if found.ppmd == known.ppmd:
                return found
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(found.to_dict()).encode())
        except OSError as error:  # it is measured again after a restart, nothing worse
            log.info("n-gram baselines cannot be kept: %s", error)
        return found


def path_of(key: str) -> Path:
    """Where baselines are kept."""
    return data_dir() / "ladders" / f"{key}.json"


def measure_run(run: Run, fitted: int = 0) -> "Baselines":
    """Measure the n-gram baselines of the run's text.

    Args:
        run: names its text and brings its tokenizer.
        fitted: the most tokens that are counted; 0: the usual number.

    Raises:
        CorpusError: its text is no longer available, or nothing is held out of it.
        CheckpointError: its tokenizer is damaged.
    """
    from charlm.analysis.baselines import FITTED, measure
    from charlm.data.dataset import ids_of

    fitted = fitted or FITTED
    text, tokenizer, (first, train, end) = _parts(run, fitted)
    bounds = (first, train), (train, end)
    counted, held_out = (ids_of(text, tokenizer, data_dir(), start=begin, end=stop) for begin, stop in bounds)
    found = measure((counted, held_out), (text[first:train], text[train:end]), tokenizer.vocab_size, fitted)
    return replace(found, whole=found.whole and not first)


def complete(run: Run, known: "Baselines", fitted: int = 0) -> "Baselines":
    """Baselines of before PPMd was one of them, or without it, with what it costs or why that is still not known.

    Args:
        run: names the text they were measured on.
        known: the baselines.
        fitted: as for `measure_run`.
    """
    from charlm.analysis.baselines import FITTED, with_ppmd
    from charlm.analysis.ppmd import check_available

    try:
        check_available()  # else there is no need to read the text
        text, _, (first, train, end) = _parts(run, fitted or FITTED)
    except CharLMError as error:
        return replace(known, ppmd_missing=str(error))
    return with_ppmd(known, (text[first:train], text[train:end]))


def _parts(run: Run, fitted: int) -> tuple[str, "Tokenizer", tuple[int, int, int]]:
    """A run's text and tokenizer, and where in it the counted part begins and ends, and the held-out part ends.

    Raises:
        CorpusError, CheckpointError: see `measure_run`.
    """
    from charlm.data.dataset import text_sizes
    from charlm.runs.resume import text_of

    corpus, tokenizer = text_of(run), run.tokenizer()
    train, val, _ = text_sizes(corpus, run.corpus_config, tokenizer)
    if not val:
        raise CorpusError(f"nothing is held out of the text of {run.label} to measure n-gram baselines on")
    first = max(0, train - fitted * MOST_CHARACTERS[tokenizer.level])  # what lies before would not be counted
    return corpus.text, tokenizer, (first, train, train + val)
