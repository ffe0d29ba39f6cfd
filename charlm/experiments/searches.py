"""Searches of a server: one at a time, in a thread, so that closing the page stops nothing."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.data.corpus import Corpus
from charlm.errors import CharLMError, CheckpointError, JobError
from charlm.experiments.tracking import TrialTracking
from charlm.presets import RunConfig

if TYPE_CHECKING:
    from charlm.experiments.search import Search

log = logging.getLogger(__name__)

REST = 0.1  # seconds between two looks at whether a training still is at work
BUSY = "A training is at work, and beside it a search would measure neither well; stop it, or search when it has ended"


@dataclass(frozen=True)
class Outlook:
    """How far a search is.

    Attributes:
        result: see `charlm.experiments.search.Search.result`.
        running: whether it is at work in this process.
        resting: whether it waits for a training that was begun meanwhile.
        error: why it ended before its time; empty: it did not.
    """

    result: dict[str, Any]
    running: bool = False
    resting: bool = False
    error: str = ""


class Searches:
    """Searches for good settings in a thread of this process, one at a time.

    Args:
        root: folder of the runs.
        is_training: whether a training takes its share of the machine just now; a search rests meanwhile.
        track: a tracker that trials go to, see charlm/formats/trackers.py; empty: none.
    """

    def __init__(self, root: Path, is_training: Callable[[], bool] = lambda: False, track: str = "") -> None:
        self._root, self._is_training, self._track = root, is_training, track
        self._lock = threading.Lock()
        self._search: Search | None = None  # the last one that was looked at
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._error = ""

    @property
    def is_running(self) -> bool:
        """Whether a search is at work."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, corpus: Corpus, config: RunConfig, archs: Sequence[str], minutes: float) -> None:
        """Begin a new search; see `Search.create`.

        Raises:
            JobError: a training or another search is at work.
            CharLMError: a setting, the text or the memory does not allow it.
        """
        from charlm.experiments.search import Search  # torch and Optuna take seconds: not before they are needed

        with self._lock:
            self._check()
            made = Search.create(self._root, corpus, config, archs, minutes)
            self._start(made, made.text(corpus))

    def go_on(self) -> None:
        """Go on with the newest search.

        Raises:
            JobError: a training or another search is at work.
            CharLMError: there is none, or its text is no longer kept.
        """
        with self._lock:
            self._check()
            if (found := self._newest()) is None:
                raise CheckpointError("there is no search to go on with; begin one")
            self._start(found, found.text())

    def _check(self) -> None:
        if self.is_running:
            raise JobError("a search is at work already; stop it, or wait for its end")
        if self._is_training():
            raise JobError(BUSY)

    def _start(self, search: "Search", corpus: Corpus) -> None:
        """Let the thread begin; called with the lock."""
        self._search, self._error = search, ""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._work, args=(search, corpus), name="charlm-search", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the search at work after its present step; it can go on later."""
        self._stopped.set()

    def close(self, seconds: float = 5.0) -> None:
        """End the search at work, and wait for that so long at most."""
        self.stop()
        if self._thread is not None:
            self._thread.join(seconds)

    def look(self) -> Outlook | None:
        """How far the search at work is, or the newest one; None: there has been none.

        Raises:
            CheckpointError: its folder is damaged.
        """
        with self._lock:
            search = self._search = self._search or self._newest()
            if search is None:
                return None
            running = self.is_running
            return Outlook(search.result(), running, running and self._is_training(), self._error)

    def _newest(self) -> "Search | None":
        from charlm.experiments.search import FOLDER, Search

        if not (self._root / FOLDER).is_dir():
            return None
        return next(iter(Search.all(self._root)), None)

    def _work(self, search: "Search", corpus: Corpus) -> None:
        try:
            tracking = TrialTracking(self._track, search, log.warning)
            search.run(corpus, self._stopped.is_set, tracking.add, self._rest)
        except CharLMError as error:
            self._error = str(error)
        except Exception:  # whatever it is, the page says that it ended
            log.exception("search %s failed", search.search_id)
            self._error = "the search failed unexpectedly; the log says where"

    def _rest(self) -> None:
        """Wait while a training is at work."""
        while self._is_training() and not self._stopped.is_set():
            time.sleep(REST)
