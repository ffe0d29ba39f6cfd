"""The run store as one visitor sees it: the shipped runs and the visitor's own; all others do not exist."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from charlm.config import ModelConfig
from charlm.data.corpus import Corpus
from charlm.errors import CheckpointError, LimitError
from charlm.public.limits import ELSEWHERE, Limits, Visitor, check_context, check_model, check_text_size, utf8_size
from charlm.runs.run import Run
from charlm.runs.store import RunStore, no_run

# Tells who asks; None where nobody does, as when the page is built.
Who = Callable[[], Visitor | None]


class VisitorRuns:
    """Stands before a RunStore.

    Args:
        store: all runs.
        who: asks at every call.
        limits: the table.
    """

    def __init__(self, store: RunStore, who: Who, limits: Limits) -> None:
        self._store, self._who, self._limits = store, who, limits

    def owns(self, run: Run) -> bool:
        """Whether it is the visitor's own."""
        visitor = self._who()
        return visitor is not None and not run.shipped and run.owner == visitor.key

    def shows(self, run: Run) -> bool:
        """Whether it is listed; who has no secret of their own shares an address, and has to know the id."""
        visitor = self._who()
        return run.shipped or (visitor is not None and visitor.known and run.owner == visitor.key)

    def list(self) -> list[Run]:
        """As `RunStore.list`."""
        return [run for run in self._store.list() if self.shows(run)]

    def get(self, run_id: str) -> Run:
        """As `RunStore.get`; another visitor's run is answered as one that never was."""
        run = self._store.get(run_id)
        if not (run.shipped or self.owns(run)):
            raise no_run(run_id)
        return run

    def kept(self) -> int:
        """How many of the visitor's own are kept, the trash aside."""
        return sum(map(self.owns, self._store.list()))

    def own(self) -> Sequence[Run]:
        """The visitor's own, deleted ones too."""
        return [run for run in [*self._store.list(), *self._store.trashed()] if self.owns(run)]

    def check_room(self, more: int) -> None:
        """Refuse more runs than one may keep.

        Raises:
            LimitError: says how many there are.
        """
        if (kept := self.kept()) + more > self._limits.runs:
            raise LimitError(
                f"{kept} of the {self._limits.runs} runs you may keep on this public Space are there and {more} more "
                f"{'is' if more == 1 else 'are'} wanted; delete some, train fewer at a time, or {ELSEWHERE}"
            )

    def take_in(self, path: Path, corpus: Corpus | None = None, **options: Any) -> Run:
        """As `charlm.formats.imports.import_file`, without pickles.

        Raises:
            LimitError: as many runs are kept as may be, or the text to measure it on is too long.
        """
        from charlm.formats.imports import import_file

        self.check_room(1)
        if corpus is not None:
            check_text_size(self._limits, utf8_size(corpus.text))

        def accept(model: ModelConfig) -> None:
            check_context(self._limits, model)
            if model.is_counted:  # small files make large tables
                check_model(self._limits, model, 0)

        most = self._limits.checkpoint_bytes
        return import_file(self._store, path, corpus=corpus, pickles=False, most_bytes=most, accept=accept, **options)

    def rename(self, run: Run, label: str) -> None:
        """As `RunStore.rename`."""
        self._store.rename(self.get(run.run_id), label)

    def delete(self, run: Run) -> None:
        """As `RunStore.delete`."""
        self._store.delete(self.get(run.run_id))

    def trim(self, run: Run) -> int:
        """As `RunStore.trim`."""
        return self._store.trim(self.get(run.run_id))

    def trashed(self) -> Sequence[Run]:
        """As `RunStore.trashed`."""
        return [run for run in self._store.trashed() if self.shows(run)]  # none is shipped

    def restore(self, run_id: str) -> Run:
        """As `RunStore.restore`.

        Raises:
            CheckpointError: it is not there, or cannot be moved.
            LimitError: as many runs are kept as may be.
        """
        if run_id not in [run.run_id for run in self._store.trashed() if self.owns(run)]:
            raise CheckpointError(f"there is no run {run_id[:80]!r} in the trash")
        self.check_room(1)
        return self._store.restore(run_id)

    def empty_trash(self) -> int:
        """As `RunStore.empty_trash`."""
        return self._store.empty_trash(self.trashed())
