"""Labels made of a text: what each of its places is, such as inside quotes or near a line's end, for every token."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Maker = Callable[[str], Array]
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
OPENING, CLOSING, EITHER = frozenset("“«„"), frozenset("”»"), '"'
BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
PARAGRAPH = 20  # characters after a paragraph's break that count as its start


def inside_quotes(text: str) -> Array:
    """Whether the text is inside double quotes after each character; every paragraph begins outside of them."""
    breaks, inside, found = _breaks(text), False, np.zeros(len(text), bool)
    for place, sign in enumerate(text):
        if sign in OPENING:
            inside = True
        elif sign in CLOSING:
            inside = False
        elif sign == EITHER:
            inside = not inside
        elif breaks[place]:
            inside = False
        found[place] = inside
    return found


def bracket_depth(text: str) -> Array:
    """How many brackets are open after each character; one that closes nothing does not count."""
    steps, depth, found = [BRACKETS.get(sign, 0) for sign in text], 0, np.zeros(len(text), np.int64)
    for place, step in enumerate(steps):
        depth = max(0, depth + step)
        found[place] = depth
    return found


def position_in_line(text: str) -> Array:
    """How many characters of its line have been read; 0 at a line end."""
    return _since(_is(text, lambda sign: sign == "\n"))


def word_length(text: str) -> Array:
    """How many letters of its word have been read; 0 outside of words."""
    found = np.zeros(len(text), np.int64)
    for word in WORD.finditer(text):
        found[word.start() : word.end()] = np.arange(1, len(word[0]) + 1)
    return found


def paragraph_start(text: str) -> Array:
    """Whether a place is among the first characters of a paragraph."""
    breaks = _breaks(text)
    since = _since(breaks)
    began = np.cumsum(breaks) > 0  # the text itself may begin in the middle of one
    return began & (since >= 1) & (since <= PARAGRAPH)


def word_ends(text: str) -> Array:
    """Whether a word ends with a character."""
    length = np.append(word_length(text), 0)
    ends: Array = (length[:-1] > 0) & (length[1:] == 0)
    return ends


def _next(holds: Callable[[str], bool]) -> Maker:
    """A label of what the next character is."""
    return lambda text: np.append(_is(text, holds)[1:], False)


def _is(text: str, holds: Callable[[str], bool]) -> Array:
    return np.fromiter(map(holds, text), bool, len(text))


def _since(breaks: Array) -> Array:
    """How many places there have been since the last break, which is 0 itself, or since before the text."""
    places = np.arange(len(breaks))
    return places - np.maximum.accumulate(np.where(breaks, places, -1)) if len(breaks) else places


def _breaks(text: str) -> Array:
    """Where a paragraph ends: at the second of two line ends; at every one in a text without empty lines."""
    ends = _is(text, lambda sign: sign == "\n")
    return ends & np.append(False, ends[:-1]) if "\n\n" in text else ends


class Label(NamedTuple):
    """What a place of a text is.

    Attributes:
        number: whether it is a number; otherwise it holds or not.
        make: its value after each character of a text.
    """

    number: bool
    make: Maker


LABELS = {
    "inside quotes": Label(False, inside_quotes),
    "inside brackets": Label(False, lambda text: bracket_depth(text) > 0),
    "bracket depth": Label(True, bracket_depth),
    "position in line": Label(True, position_in_line),
    "word length so far": Label(True, word_length),
    "inside a word": Label(False, lambda text: word_length(text) > 0),
    "end of a word": Label(False, word_ends),
    "capital next": Label(False, _next(str.isupper)),
    "line end next": Label(False, _next(lambda sign: sign == "\n")),
    "paragraph start": Label(False, paragraph_start),
    "digit": Label(False, lambda text: _is(text, str.isdigit)),
}


def label_tokens(pieces: Sequence[str]) -> dict[str, Array]:
    """The value of every label after each token, (N,), by its name.

    Args:
        pieces: what each token adds to the text; a token that adds nothing has the value of the one before it.
    """
    text = "".join(pieces)
    last = np.cumsum([len(piece) for piece in pieces]) - 1  # the last character of each
    return {
        name: np.where(last < 0, 0, label.make(text)[last]) if text else np.zeros(len(pieces))
        for name, label in LABELS.items()
    }
