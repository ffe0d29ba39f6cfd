"""JSON walked through element by element, so that a list of a million is never in memory as a million objects."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any

from charlm.bounded_json import is_deep

_space = re.compile(r"[ \t\n\r]*").match
_decode = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # raw_decode without a detour
MOST_DEPTH = 100  # cells may be lists of objects of lists; deeper is no table
TOO_DEEP = "nested too deeply"

Take = Callable[[str, int], tuple[Any, int]]


@dataclass(frozen=True)
class Part:
    """What is known of a value that was passed over.

    Attributes:
        place: where it begins.
        kind: its first character.
        count: elements of a list or an object.
        is_flat: none of them is a list or an object.
    """

    place: int
    kind: str
    count: int = 0
    is_flat: bool = True


class Elements:
    """The elements of the list or object that begins at a place, taken anew by each loop over them.

    Args:
        text: JSON.
        place: where its bracket stands.
        take: what is made of a value, given the text and its place, and where it ends; decoded without it.

    Attributes:
        end: where the last loop that came to an end left the text.
    """

    def __init__(self, text: str, place: int, take: Take | None = None) -> None:
        self.text, self.place, self.take = text, place, take or value_at
        self.is_list = text.startswith("[", place)
        self.end = place

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Number and value, or name and value; a name that stands twice comes twice.

        Raises:
            ValueError: what comes is no JSON.
        """
        text, close, number = self.text, "]" if self.is_list else "}", 0
        at = after_space(text, self.place + 1)
        while number or not text.startswith(close, at):
            key, at = (number, at) if self.is_list else self._name(at)
            value, at = self.take(text, at)
            yield key, value
            if not text.startswith(",", at):
                at = after_space(text, at)
                if text.startswith(close, at):
                    break
                if not text.startswith(",", at):
                    raise JSONDecodeError("Expecting ',' delimiter", text, at)
            number, at = number + 1, after_space(text, at + 1)
        self.end = at + 1

    def _name(self, at: int) -> tuple[str, int]:
        """A name, and where its value begins."""
        if not self.text.startswith('"', at):
            raise JSONDecodeError("Expecting property name enclosed in double quotes", self.text, at)
        name, at = value_at(self.text, at)
        at = after_space(self.text, at)
        if not self.text.startswith(":", at):
            raise JSONDecodeError("Expecting ':' delimiter", self.text, at)
        return name, after_space(self.text, at + 1)


def after_space(text: str, place: int) -> int:
    """The place of the next character that is no blank."""
    found = _space(text, place)
    return found.end() if found else place


def value_at(text: str, place: int) -> tuple[Any, int]:
    """The value that begins at a place, and where it ends.

    Raises:
        ValueError: none does, or it is nested too deeply.
    """
    try:
        value, end = _decode(text, place)
    except StopIteration as error:
        raise JSONDecodeError("Expecting value", text, error.value) from None
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if end - place > 2 * MOST_DEPTH and not isinstance(value, str):
        brackets = text.count("[", place, end) + text.count("{", place, end)
        if brackets > MOST_DEPTH and is_deep(text[place:end], MOST_DEPTH):
            raise ValueError(TOO_DEEP)
    return value, end


def part_at(text: str, place: int) -> tuple[Part, int]:
    """What the value at a place is, without keeping it, and where it ends.

    Raises:
        ValueError: none begins there.
    """
    kind = text[place : place + 1]
    if kind not in ("[", "{"):
        return Part(place, kind), value_at(text, place)[1]
    elements, count, is_flat = Elements(text, place), 0, True
    for _, value in elements:
        count += 1
        is_flat = is_flat and not isinstance(value, list | dict)
    return Part(place, kind, count, is_flat), elements.end


def check_end(text: str, place: int) -> None:
    """Refuse a text that goes on.

    Raises:
        ValueError: something other than blanks follows.
    """
    at = after_space(text, place)
    if at < len(text):
        raise JSONDecodeError("Extra data", text, at)
