"""The gradient through time as a training recorded it along the way: a line of JSON for each validation.

A row holds `step`, `half_life` (steps back; None: it halved nowhere) and curves: `h0`, `h1`, .. of each layer's h,
`c0`, .. of an LSTM's cells, and `input`; each the log10 of the gradient's norm at lag 0, 1, .., or None where it is
exactly zero. See charlm/analysis/gradient.py for what is measured.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from charlm.files import is_count, is_number
from charlm.runs.history import MetricsLog, file_mark

FILE = "gradient.jsonl"  # in the run's folder
MOST = 100  # records of a run; with 64 lags of 8 layers' h and c they take less than 1 MB
MOST_LAGS = 64
CURVES = (*(f"{state}{layer}" for state in "hc" for layer in range(8)), "input")
COLUMNS = ("step", "half_life", *CURVES)

Row = dict[str, Any]


class GradientLog(MetricsLog):
    """The recorded curves of a run; there is no file as long as there is no record."""

    _read: tuple[Any, list[Row]] = None, []  # what was read, and of which file

    def rows(self, since: int = -1) -> list[Row]:
        """The records beyond step `since`; what is none is left out."""
        mark = file_mark(self.path)
        if mark != self._read[0]:
            self._read = mark, [row for one in super().rows() if (row := record_of(one))] if mark else []
        return [row for row in self._read[1] if row["step"] > since]

    def append(self, row: Row) -> None:
        """Add one record, unless there is one of its step; of more than MOST, those closest to others go."""
        rows = self.rows()
        if rows and rows[-1]["step"] >= row["step"]:
            return
        if len(rows) < MOST:
            super().append(row)
        else:
            self.write([*rows, row])

    def write(self, rows: Iterable[Row]) -> None:
        """Put these records, MOST of them, in the place of all there are."""
        kept = thinned([row for one in rows if (row := record_of(one))])
        if kept or self.path.exists():
            super().write(kept)


def record_of(row: Mapping[str, Any]) -> Row | None:
    """The known columns of a row of a log; None if one is of another kind, or there is no curve."""
    half_life, curves = row.get("half_life"), {name: row[name] for name in CURVES if name in row}
    if not curves or not all(map(_is_curve, curves.values())) or not (half_life is None or is_count(half_life)):
        return None
    return {"step": row["step"], "half_life": half_life, **curves}


def _is_curve(values: Any) -> bool:
    return isinstance(values, list) and 0 < len(values) <= MOST_LAGS and all(v is None or is_number(v) for v in values)


def main_curve(row: Mapping[str, Any]) -> str:
    """The name of the curve that `half_life` is of: of the last layer's h, else of the input."""
    return max((name for name in CURVES if name in row and name[0] == "h"), default="input")


def thinned(rows: Sequence[Row]) -> list[Row]:
    """At most MOST rows: of those inside, the one whose neighbours are nearest to each other goes first."""
    kept = list(rows)
    while len(kept) > MOST:
        inside = range(1, len(kept) - 1)
        kept.pop(min(inside, key=lambda place: kept[place + 1]["step"] - kept[place - 1]["step"]))
    return kept
