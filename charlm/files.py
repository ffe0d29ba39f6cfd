"""Files that survive crashes and strangers: atomic writes, strict JSON of bounded size and depth, and harmless CSV.

Own code: the standard library writes no file atomically, and its JSON takes any size, any depth, names twice, numbers
that are not finite and lone surrogates. What is wrong with a JSON text is a ValueError in a few words; the caller, who
knows which file it is from, completes the message.
"""

import codecs
import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import stat
import sys
import threading
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

# The errors of a file system that cannot flush folders.
_NOT_FOR_FOLDERS = (errno.EINVAL, errno.ENOTSUP)
MOST_DEPTH = 16
LARGEST = 1e40  # of measurements: more than any float32, and far from where arithmetic on float64 overflows
MOST_COUNT = 10**15  # float64 holds every whole number up to here


class NoFile(OSError):
    """There is something other than a plain file at this path."""


def open_plain(path: Path) -> BufferedReader:
    """A file opened for reading, but never a pipe or a device, which could block or be endless.

    Raises:
        NoFile: it is not a plain file.
        OSError: it is missing or unreadable.
    """
    file = open(path, "rb", opener=_open_nonblocking)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NoFile(errno.EINVAL, "it is not a plain file", str(path))
    return file


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def fingerprint(facts: Sequence[Any], digits: int = 24) -> str:
    """What stands for some facts in the name of a file: the beginning of the sha256 of them as JSON.

    Args:
        facts: strings, numbers, None, and lists and dicts of such.
        digits: hexadecimal ones, at most 64.
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:digits]


def write_atomically(path: Path, data: bytes | Iterable[bytes | memoryview], keep: Path | None = None) -> None:
    """Replace a file: write a temporary file beside it, flush it to the disk, read it back, then rename it.

    Args:
        path: the file; its folder must exist.
        data: the new content, whole or in pieces.
        keep: path that the old content is moved to; None: it is deleted.

    Raises:
        OSError: writing failed; `path` is unchanged (or, at the very end, already replaced).
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        digest = _write(temporary, [data] if isinstance(data, bytes) else data)
        with open(temporary, "rb") as file:
            if hashlib.file_digest(file, "sha256").digest() != digest:
                raise OSError(errno.EIO, "what was written reads back differently", str(path))
        if keep is not None:
            with suppress(FileNotFoundError):
                os.replace(path, keep)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> bytes:
    """Write a new file and flush it to the disk; returns the SHA-256 of what was to be written."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.digest()


def leftovers(folder: Path) -> list[Path]:
    """The temporary files that killed processes left in a folder; none where there is no folder."""
    try:
        return [folder / name for name in os.listdir(folder) if name.endswith(".tmp")]
    except OSError:
        return []


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can do that, so that they survive a power failure."""
    if sys.platform == "win32":  # has no such call
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def append(path: Path, line: bytes) -> None:
    """Append a line to a file in one write; if it was not written whole, it is removed again.

    A torn line that remains all the same (removing it failed, too, or the process was killed) does not spoil the next.

    Raises:
        OSError: the line was not appended.
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


# A whole string, even one that is cut off at the end of the text; or a bracket. It never backtracks, so that any text
# takes one pass.
_MARKS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def is_deep(text: str, most: int) -> bool:
    """Whether the lists and objects in a JSON text are nested deeper than `most` levels; without recursion."""
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
    """The value of a JSON text.

    Args:
        data: the text; bytes are UTF-8.
        most_bytes: limit of its size; longer texts are not parsed.
        most_depth: limit of nested lists and objects.

    Raises:
        ValueError: it is too long, too deep or not JSON, has a name twice, a number that is not finite or a lone
            surrogate.
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
    """The value in a JSON file, of which no more than `most_bytes` are read.

    Raises:
        OSError: the file cannot be read.
        ValueError: as for `parsed`.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size  # to ask for a megabyte takes the memory for one
        return parsed(file.read(min(size, most_bytes) + 1), most_bytes)


def known_fields(value: Any, known: Sequence[str]) -> dict[str, Any]:
    """`value` if it is a JSON object with known fields only.

    Raises:
        ValueError: it is not an object, or has another field.
    """
    if not isinstance(value, dict):
        raise ValueError("it does not hold an object")
    for name in value:
        if name not in known:
            raise ValueError(f"it holds {name[:60]!r}, which is not known here")
    return value


def is_number(value: Any, low: float = -LARGEST) -> bool:
    """Whether `value` is a number (not a boolean) from `low` to LARGEST."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= LARGEST


def is_count(value: Any) -> bool:
    """Whether `value` is a whole number from 0 to MOST_COUNT."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_COUNT


def is_of_type(value: Any, kind: Any) -> bool:
    """Whether a JSON value has the form that a type describes.

    Args:
        value: as it was parsed.
        kind: a TypedDict, of which further names are passed over; list, dict or tuple with what they hold (a tuple is
            a list in JSON); bool, int, float (whole numbers, too), str, None, Any; or a union of such.
    """
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        is_whole = isinstance(value, dict) and kind.__required_keys__ <= value.keys()
        return is_whole and all(is_of_type(value[name], hints[name]) for name in hints if name in value)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(is_of_type(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(is_of_type(one, inner[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(is_of_type(one, inner[1]) for one in value.values())
    if origin is tuple:
        is_long = isinstance(value, list | tuple) and len(value) == len(inner)
        return is_long and all(map(is_of_type, value, inner))
    if kind is Any:
        return True
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, NoneType if kind is None else kind)


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded, as files and pages need it: it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_text_codec(name: str) -> bool:
    """Whether Python can read texts in this encoding, fast and without doing anything else."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return False
    slow = ("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined")
    return bool(getattr(found, "_is_text_encoding", True)) and found.name.replace("_", "-") not in slow


def one_line(value: Any, most: int) -> str:
    """A text as one line of at most so many printable characters with single spaces; empty if it is not a text."""
    if not isinstance(value, str):
        return ""
    shown = value[: 8 * most]
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else " " for char in shown)
    return " ".join(shown.split())[:most].rstrip()


# What Windows takes for a device, whatever the ending (Microsoft, "Naming Files, Paths, and Namespaces").
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|\Z)", re.IGNORECASE)


def file_name(text: str, most_bytes: int) -> str:
    """A text as a file name for any system: letters, marks and digits of all scripts, `.`, `_`, and `-` for the rest.

    Args:
        text: a label.
        most_bytes: of the name as UTF-8.

    Returns:
        The name, which begins with neither `.` nor `-`; empty if nothing is left.
    """
    whole = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    kept = "".join(char if char in "._" or unicodedata.category(char)[0] in "LMN" else "-" for char in whole)
    name = re.sub("-+", "-", kept).strip("-.").encode()[:most_bytes].decode("utf-8", "ignore").rstrip("-.")
    return f"_{name}"[:most_bytes] if _DEVICES.match(name) else name


# What makes a spreadsheet calculate when a cell begins with it, plain or full width (OWASP, "CSV Injection"); white
# space, quotes and invisible signs before it do not help. A careless program could see a cell begin with every line.
LINE_ENDS = r"\n\r\u0085\u2028\u2029"
FORMULA = re.compile(
    rf"(?:^|(?<=[{LINE_ENDS}]))(?=[\s'\"\u200b-\u200f\u2060\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\n\r])"
)
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


def csv_text(rows: Iterable[Sequence[str | float | None]]) -> str:
    """Rows as CSV: every text quoted, numbers as they are, None an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    for row in rows:
        writer.writerow([plain_cell(cell) if isinstance(cell, str) else "" if cell is None else cell for cell in row])
    return out.getvalue()


def plain_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe stands before what it could take for one."""
    return FORMULA.sub("'", CONTROL.sub(" ", text))


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start:,}") from None


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
    raise ValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_int=_whole, parse_constant=_constant)


def finite(value: Any) -> Any:
    """`value` with None for NaN and infinities, however deep they sit."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
