"""JSON that anyone may have written: of bounded size and depth, each name once, every number finite.

What is wrong with it is a ValueError in a few words; whoever reads the file says which one it was.
"""

import errno
import hashlib
import json
import math
import os
import re
import stat
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

# What a file system says that flushes files, but no folders.
UNKNOWN_TO_FOLDERS = (errno.EINVAL, errno.ENOTSUP)
LEFTOVERS = "*.tmp"  # what a killed process may leave of a file it was writing


class NoFile(OSError):
    """Something else stands where a file should."""


def open_plain(path: Path) -> BufferedReader:
    """A file opened for reading, never a pipe or a device in its place: those would wait, or go on for ever.

    Raises:
        NoFile: it is no plain file.
        OSError: it is missing or unreadable.
    """
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NoFile(errno.EINVAL, "it is no plain file", str(path))
    return file


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def write_atomically(path: Path, data: bytes | Iterable[bytes | memoryview], keep: Path | None = None) -> None:
    """Put `data` into `path`: written beside it, flushed to the disk, read back, and only then renamed over it.

    Args:
        path: the file; its folder exists.
        data: its new content, whole or in pieces.
        keep: the name that the old content gets; without it, the old content is gone.

    Raises:
        OSError: the disk did not take it; `path` is as it was (or, at the very end, already replaced).
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        digest = _write(beside, [data] if isinstance(data, bytes) else data)
        with open(beside, "rb") as file:
            if hashlib.file_digest(file, "sha256").digest() != digest:
                raise OSError(errno.EIO, "what was written reads back differently", str(path))
        if keep is not None:
            with suppress(FileNotFoundError):
                os.replace(path, keep)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> bytes:
    """Write a new file through to the disk; returns its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.digest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a power failure, where the system can do that."""
    if sys.platform == "win32":  # knows no such thing
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNKNOWN_TO_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def append(path: Path, line: bytes) -> None:
    """Add a line at the end of a file, in one write; what the disk did not take whole is taken back.

    A line that is torn all the same (the disk refused even that, or a process was killed) does not spoil the next one.

    Raises:
        OSError: the line is not there.
    """
    with open(path, "a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            line = line if file.read(1) == b"\n" else b"\n" + line
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            with suppress(OSError):
                file.truncate(size)
            raise


MOST_DEPTH = 16
LARGEST = 1e40  # of measurements: all that float32 holds, and far from where arithmetic on them overflows
MOST_COUNT = 10**15  # floats hold every whole number up to here
# A string whole, even if it is cut off at the end of the text; or what begins or ends a level. It never looks back, so
# that no text takes more than one pass.
_MARKS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def is_deep(text: str, most: int) -> bool:
    """Whether lists and objects in `text` are nested deeper than `most`; found without nested calls."""
    if text.count("[") + text.count("{") <= most:
        return False
    depth = 0
    for found in _MARKS.finditer(text):
        mark = found[0]
        depth += (mark in "[{") - (mark in "]}")
        if depth > most:
            return True
    return False


def parsed(data: bytes | str, most_bytes: int, most_depth: int = MOST_DEPTH) -> Any:
    """The value in `data`.

    Args:
        data: JSON; bytes are UTF-8.
        most_bytes: more are refused unread.
        most_depth: levels of lists and objects.

    Raises:
        ValueError: it is too long, too deep, no JSON, names something twice, or holds a number that is not
            finite or half a character.
    """
    if len(data) > most_bytes:
        raise ValueError(f"it is longer than {most_bytes:,} bytes")
    text = data if isinstance(data, str) else _decoded(data)
    if is_deep(text, most_depth):
        raise ValueError(f"it is nested deeper than {most_depth} levels")
    value = _DECODER.decode(text)
    if "\\u" in text and not is_utf8(json.dumps(value, ensure_ascii=False)):
        raise ValueError("it holds half a character, a lone surrogate")
    return value


def read(path: Path, most_bytes: int) -> Any:
    """The value in a file, of which no more than `most_bytes` are read.

    Raises:
        OSError: it cannot be read.
        ValueError: as `parsed`.
    """
    with open_plain(path) as file:
        return parsed(file.read(most_bytes + 1), most_bytes)


def known_fields(value: Any, known: Sequence[str]) -> dict[str, Any]:
    """`value` if it is an object of known fields only.

    Raises:
        ValueError: it is none, or holds another field.
    """
    if not isinstance(value, dict):
        raise ValueError("it does not hold an object")
    for name in value:
        if name not in known:
            raise ValueError(f"it holds {name[:60]!r}, which is not known here")
    return value


def is_number(value: Any, low: float = -LARGEST) -> bool:
    """Whether `value` is a number, not a truth value, from `low` to LARGEST."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= LARGEST


def is_count(value: Any) -> bool:
    """Whether `value` is a whole number from 0 to MOST_COUNT."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_COUNT


def is_utf8(text: str) -> bool:
    """Whether a text fits UTF-8, as files and pages need it: it holds no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def one_line(value: Any, most: int) -> str:
    """A text as one line of at most so many printable characters, single spaces; empty if it is no text."""
    if not isinstance(value, str):
        return ""
    shown = "".join(char if char.isprintable() else " " for char in value[: 8 * most])
    return " ".join(shown.split())[:most].rstrip()


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text at byte {error.start:,}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it names a field twice")
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


def _whole(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError(f"the number {digits[:20]}.. is too large")
    return int(digits)


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_int=_whole, parse_constant=_constant)
