"""What a training reports at a step, and the append-only file that keeps it."""

import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from charlm.files import NoFile, append, is_count, is_number, open_plain, parsed, write_atomically

BLOCK = 1 << 16  # bytes read at once from a log's end
MOST_LINE = 1 << 20
TEXTS = ("prompt", "text")  # columns of samples
SELDOM = ("test_loss", "val_error")  # measures of some rows


@dataclass(frozen=True)
class Metrics:
    """One step of a training. Losses are nats per token; `seconds` is the run's own time, without pauses.

    `val_error` is the standard error of `val_loss`. `test_loss` is there at an epoch's end if the text has a test part;
    nothing is decided by it.
    """

    step: int
    epoch: float
    train_loss: float
    val_loss: float | None
    learning_rate: float
    grad_norm: float
    chars_per_second: float
    seconds: float
    test_loss: float | None = None
    val_error: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """A row for JSON; numbers keep seven digits, none is NaN or infinite. What is seldom there is left out."""
        row = {name: _short(value) for name, value in asdict(self).items()}
        return {name: value for name, value in row.items() if value is not None or name not in SELDOM}


MEASURES = tuple(field.name for field in fields(Metrics) if field.name != "step")


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.7g}") if math.isfinite(value) else None


def file_mark(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file's content: inode, time and size; None without the file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class MetricsLog:
    """Rows of JSON, one a line, in a file that only grows; safe to read while it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._newest: tuple[Any, dict[str, Any] | None] = (None, None)  # what `last` found, and in what file

    def append(self, row: dict[str, Any]) -> None:
        """Add one row at the end, in one write.

        Raises:
            OSError: it could not be written; the file is as it was.
        """
        with self._lock:
            append(self.path, _line(row).encode())

    def rows(self, since: int = -1) -> list[dict[str, Any]]:
        """The rows whose `step` is beyond `since`; a torn last line is left out. Steps grow from row to row."""
        rows = []
        for row in self._backwards():  # who follows a training asks for the last few only
            if row["step"] <= since:
                break
            rows.append(row)
        return rows[::-1]

    def last(self) -> dict[str, Any] | None:
        """The newest row, read from the end; the same object as long as the file is the same."""
        mark = file_mark(self.path)
        if mark != self._newest[0]:
            self._newest = mark, next(self._backwards(), None) if mark else None
        return self._newest[1]

    def cut(self, after: int) -> None:
        """Drop the rows beyond step `after`, which a resumed training will write again, and what is no row."""
        kept, newest = [], -1
        for row in self.rows():
            if newest < row["step"] <= after:
                kept.append(row)
                newest = row["step"]
        self.write(kept)

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Put these rows in the place of all there are."""
        with self._lock:
            write_atomically(self.path, (_line(row).encode() for row in rows))

    def _backwards(self) -> Iterator[dict[str, Any]]:
        try:
            with open_plain(self.path) as file:
                yield from (row for line in _lines_from_end(file) if (row := parsed_row(line)) is not None)
        except (FileNotFoundError, IsADirectoryError, NoFile):
            return


def _line(row: dict[str, Any]) -> str:
    """A row as JSON, which has no word for what is no finite number."""
    odd = {name: None for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)}
    return json.dumps(row | odd) + "\n"


def _lines_from_end(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, last one first, read in blocks."""
    at = file.seek(0, os.SEEK_END)
    rest: list[bytes] = []  # pieces of a line whose beginning has not been read, last one first
    while at > 0:
        start = max(0, at - BLOCK)
        file.seek(start)
        first, *lines = file.read(at - start).split(b"\n")
        at = start
        if lines:
            yield b"".join([lines.pop(), *reversed(rest)])
            yield from reversed(lines)
            rest = []
        rest.append(first)
    yield b"".join(reversed(rest))


def parsed_row(line: bytes) -> dict[str, Any] | None:
    """The row in a line of a log; None for what is none, or holds a known column of another kind."""
    try:
        row = parsed(line.decode("utf-8", "replace"), MOST_LINE, most_depth=2)
    except ValueError:
        return None
    return row if isinstance(row, dict) and is_count(row.get("step")) and _is_plain(row) else None


def _is_plain(row: dict[str, Any]) -> bool:
    """Whether measurements are numbers or nothing, and samples are texts."""
    for name in MEASURES:
        if (value := row.get(name)) is not None and not is_number(value):
            return False
    return all(isinstance(row[name], str) for name in TEXTS if name in row)
