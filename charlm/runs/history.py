"""A training's log: rows of JSON in a file that only grows, and its loss history as a plot draws it."""

import json
import math
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np

from charlm.files import NoFile, append, is_count, is_number, open_plain, parsed, write_atomically
from charlm.training.metrics import MEASURES, Blocks

BLOCK = 1 << 16  # bytes read at once from a log's end
MOST_LINE = 1 << 20
TEXTS = ("prompt", "text")  # columns of samples
BLOCK_LOG = "val_blocks.jsonl"
TEST_LOG = "test_blocks.jsonl"  # one row: of the test part, by the weights that are kept
BLOCKS = ("losses", "tokens")  # its columns: the mean loss in nats per token, and the tokens, of each block

Row = Mapping[str, Any]


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
    lists = [row[name] for name in BLOCKS if name in row]
    if not all(isinstance(one, list) and all(map(is_number, one)) for one in lists):
        return False
    return all(isinstance(row[name], str) for name in TEXTS if name in row)


def block_row(step: int, blocks: Blocks) -> dict[str, Any]:
    """The losses by block of a validation, as a row of BLOCK_LOG or TEST_LOG."""
    losses = [float(f"{loss / tokens:.6g}") for loss, tokens in blocks]
    return {"step": step, "losses": losses, "tokens": [tokens for _, tokens in blocks]}


def blocks_of(row: Row) -> Blocks:
    """What `block_row` was made of; empty for another row."""
    losses, tokens = (row.get(name, ()) for name in BLOCKS)
    if len(losses) != len(tokens) or not all(map(is_count, tokens)):
        return ()
    return tuple((loss * count, count) for loss, count in zip(losses, tokens, strict=True))


# Rows of a kind that are kept, up to twice as many: a plot is no wider.
MOST = 1_200
CHUNK = 1 << 23  # bytes read at once
SEAM = 64  # bytes before the place where a reading ended: if they have changed, the file is another one
# What only a line with a validation holds, in the two usual ways of writing JSON.
VALIDATED = re.compile(rb'"val_loss"(?!: ?null)')


@dataclass(frozen=True)
class LossHistory:
    """The losses of a training, as far as a plot can show them.

    Attributes:
        rows: in the order of steps, thinned where there are many; the log's last row is the last. `seconds` is a
            number, losses are finite numbers or None.
        lows: every row whose validation loss was lower than all before.
        span: the lowest and the highest loss of all, and the highest validation loss; NaN where there is none.
    """

    rows: Sequence[Row] = ()
    lows: Sequence[Row] = ()
    span: tuple[float, float, float] = (math.nan, math.nan, math.nan)

    @property
    def last(self) -> Row:
        """The newest row; empty without one."""
        return self.rows[-1] if self.rows else {}

    @property
    def validated(self) -> int:
        """The step of the last validation; 0 without one."""
        return next((row["step"] for row in reversed(self.rows) if row["val_loss"] is not None), 0)

    def since(self, step: float) -> Sequence[Row]:
        """The rows beyond a step."""
        return self.rows[bisect_right(self.rows, step, key=lambda row: row["step"]) :]

    @property
    def standing(self) -> Sequence[Row]:
        """The rows that decide who is ahead, at any step: each best so far, and the last."""
        return [*self.lows, *self.rows[-1:]]


@dataclass
class _Kept:
    """How many rows of a kind were met, and each how-manieth of them is kept."""

    met: int = 0
    stride: int = 1


class HistoryReader:
    """Reads a log as it grows: each time on from where it ended, keeping no more than a plot can show.

    A line that would not be kept is not even cut out, unless it holds a validation: a million rows cost a third of a
    second once, and a tick costs the lines that came since. A file that was cut or replaced is read again in whole.

    Args:
        path: of the log; it need not exist yet.
        most: rows of a kind (with and without a validation) that are kept, from this many to twice as many.
    """

    def __init__(self, path: Path, most: int = MOST) -> None:
        self.path, self.most = path, most
        self._lock = Lock()
        self._begin()

    def _begin(self) -> None:
        self._mark: tuple[int, int, int] | None = None  # inode, time and size of the file as last read
        self._offset, self._seam = 0, b""
        self._rows: list[Row] = []
        self._lows: list[Row] = []
        self._kinds = (_Kept(), _Kept())  # without and with a validation
        self._last: Row | None = None
        self._span = LossHistory.span
        self._history = LossHistory()

    def read(self) -> LossHistory:
        """The history so far; the same object as long as nothing was added."""
        with self._lock:
            mark = file_mark(self.path)
            if mark != self._mark:
                try:
                    with open_plain(self.path) as file:
                        self._read_on(file, mark)
                except OSError:
                    self._begin()
            return self._history

    def _read_on(self, file: BinaryIO, mark: tuple[int, int, int] | None) -> None:
        if mark is None or self._mark is None or mark[0] != self._mark[0] or not self._continues(file):
            self._begin()
        file.seek(self._offset)
        while data := file.read(CHUNK):
            end = data.rfind(b"\n") + 1
            torn = data[end:]
            self._take(data[:end])
            if torn and parsed_row(torn) is not None:  # whole, only its line end is missing yet
                self._take(torn)
                end = len(data)
            if end == 0:
                break
            self._offset += end
            self._seam = (self._seam + data[max(0, end - SEAM) : end])[-SEAM:]
            file.seek(self._offset)
        self._mark = mark
        thinned_away = [] if self._last is None or self._last is self._rows[-1] else [self._last]
        self._history = LossHistory([*self._rows, *thinned_away], list(self._lows), self._span)

    def _continues(self, file: BinaryIO) -> bool:
        """Whether what was read still stands before the place where the reading ended."""
        file.seek(self._offset - len(self._seam))
        return file.read(len(self._seam)) == self._seam

    def _take(self, data: bytes) -> None:
        """Take in whole lines; of those without a validation only what will be kept, and the last, are parsed."""
        ends = np.append(np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")), len(data))
        starts = np.append(0, ends[:-1] + 1)
        starts, ends = starts[starts < ends], ends[starts < ends]  # of those that are not empty
        is_skipped = np.ones(len(ends), bool)
        is_skipped[np.searchsorted(ends, [found.start() for found in VALIDATED.finditer(data)])] = False
        plain, kind = np.flatnonzero(is_skipped), self._kinds[False]
        while (kind.met + len(plain)) / kind.stride > 2 * self.most:
            self._halve(False)
        is_skipped[plain[-kind.met % kind.stride :: kind.stride]] = False
        is_skipped[-1:] = False
        parsed = np.flatnonzero(~is_skipped)
        skipped = np.diff(np.cumsum(is_skipped)[parsed], prepend=0)  # before each of these
        for start, end, before in zip(starts[parsed].tolist(), ends[parsed].tolist(), skipped.tolist(), strict=True):
            kind.met += before
            row = parsed_row(data[start:end])
            if row is not None and row["step"] > (self._last or {"step": -1})["step"]:
                self._add(_clean(row))

    def _add(self, row: Row) -> None:
        loss = row["val_loss"]
        kind = self._kinds[loss is not None]
        if kind.met % kind.stride == 0:
            self._rows.append(row)
        kind.met += 1
        self._last = row
        self._widen(row["train_loss"], loss)
        if loss is not None and (not self._lows or loss < self._lows[-1]["val_loss"]):
            self._lows.append(row)
        if kind.met > 2 * self.most * kind.stride:
            self._halve(loss is not None)

    def _widen(self, train: float | None, val: float | None) -> None:
        low, high, top = self._span
        for seen in (train, val):  # comparisons with NaN are false
            if seen is not None:
                low, high = low if low < seen else seen, high if high > seen else seen
        if val is not None:
            top = top if top > val else val
        self._span = low, high, top

    def _halve(self, validated: bool) -> None:
        """Keep every other row of a kind."""
        kind, kept, odd = self._kinds[validated], [], False
        for row in self._rows:
            mine = (row["val_loss"] is not None) == validated
            odd = odd != mine
            if odd or not mine:
                kept.append(row)
        kind.stride *= 2
        self._rows = kept


def _clean(row: dict[str, Any]) -> Row:
    """A row whose clock is a number and whose losses and norm are finite numbers or None, whatever the file says."""
    for name in ("train_loss", "val_loss", "grad_norm"):
        row[name] = row.get(name) if _finite(row.get(name)) else None
    if not _finite(row.get("seconds")):
        row["seconds"] = 0.0
    return row


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
