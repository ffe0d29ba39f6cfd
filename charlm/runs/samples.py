"""The texts that a run wrote at its validations: a line of JSON for each, with `step`, `prompt` and `text`."""

from collections.abc import Iterable
from typing import Any

from charlm.runs.history import MetricsLog, file_mark

FILE = "samples.jsonl"  # in the run's folder
MOST = 1_000  # samples of a run; when there are so many, every other one goes

Row = dict[str, Any]


class SampleLog(MetricsLog):
    """The samples of a run, by step."""

    _count: int | None = None  # rows of the file, for the one who writes it; None: not known
    _steps: tuple[Any, list[int]] = None, []  # what `steps` found, and in what file

    def append(self, row: Row) -> None:
        """Add one sample at the end; where there are MOST of them, every other one goes first.

        Raises:
            OSError: it could not be written; the file holds what it held, or half of it.
        """
        rows = self.rows() if self._count is None or self._count >= MOST else None
        if rows is not None:
            self._count = len(rows)
            if self._count >= MOST:
                self.write(rows[::2])
        super().append(row)
        self._count = (self._count or 0) + 1

    def write(self, rows: Iterable[Row]) -> None:
        """Put these samples in the place of all there are."""
        kept = list(rows)
        self._count = None
        super().write(kept)
        self._count = len(kept)

    def steps(self) -> list[int]:
        """The steps of which there is a sample, ascending; the same list as long as the file is the same."""
        mark = file_mark(self.path)
        if mark != self._steps[0]:
            self._steps = mark, [row["step"] for row in self.rows()] if mark else []
        return self._steps[1]

    def at(self, step: int) -> Row | None:
        """The newest sample of this step or an earlier one; None without any."""
        return next((row for row in self._backwards() if row["step"] <= step), None)
