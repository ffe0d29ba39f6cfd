"""JSON that anyone may have written: of bounded size and depth, each name once, every number finite.

What is wrong with it is a ValueError in a few words; whoever reads the file says which one it was.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charlm.files import open_plain

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
    if "\\u" in text and not _is_text(value):
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


def _is_text(value: Any) -> bool:
    """Whether all its strings fit UTF-8, as files and pages need it."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


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
