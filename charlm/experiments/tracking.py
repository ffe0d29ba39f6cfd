"""The trials of a search in TensorBoard or trackio: each is a run of the tracker's own, and the search their group."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from charlm.formats.trackers import Attempts, Entry, Subject

if TYPE_CHECKING:
    from charlm.experiments.search import Search, Trial


class TrialTracking:
    """Passes on the trials of a search, each when it has ended.

    Args:
        name: of `charlm.formats.trackers.TRACKERS`; empty: nothing is tracked.
        search: whose trials they are; event files go into folders in its own.
        say: told where to look, and once what went wrong.
    """

    def __init__(self, name: str, search: "Search", say: Callable[[str], None]) -> None:
        self._search, self._tracker = search, Attempts(name, search.folder, say)

    def add(self, arch: str, trial: "Trial") -> None:
        """Pass on a trial: its settings, and its losses at the per cent of its time as steps."""

        def add() -> None:
            tracker = self._tracker.begin(self._subject_of(arch, trial))
            for percent, loss in trial.losses:
                tracker.log(Entry(percent, trial.seconds * percent / 100, {"val_loss": loss}, ""))
            tracker.close()

        self._tracker.attempt(add)

    def _subject_of(self, arch: str, trial: "Trial") -> Subject:
        name, search = f"{arch}-{trial.number}", self._search
        about = {"arch": arch, "corpus": search.name, "state": trial.state, "seconds": trial.seconds}
        settings = {**trial.settings, **about, "is_base": trial.is_base}
        return Subject(
            f"{search.search_id}-{name}", search.search_id, settings, time.time() - trial.seconds, search.folder / name
        )
