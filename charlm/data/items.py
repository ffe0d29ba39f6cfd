"""Lists of items, such as names, molecules or tunes: what an item is, their order, and how they are split.

The text of a list is its items in an order drawn by chance, a border after each. The border is start and end in one, as
in makemore (Karpathy 2022): a model reads it first, with the zero state, and writes it last.
"""

import hashlib
import itertools
import re
from collections import Counter
from dataclasses import dataclass

from charlm.errors import CorpusError

LINE_BORDER, BORDER = "\n", "\x1e"  # of items of one line, and of others: ASCII's record separator
FEWEST = 10  # items, of a list
BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
GAME = re.compile(r"\n[^\S\n]*\n\s*(?=\[Event )")  # in PGN a blank line stands inside each game, too
TUNE = re.compile(r"(?:\A|\n)\s*(?=X: ?\d)")  # in ABC none need stand between tunes; what is before the first is none
# A text of so many lines is taken for a list if they are so short at their median and hardly one reads like prose.
LISTED, SHORT, PROSE = 200, 60, 0.05


@dataclass(frozen=True)
class Items:
    """A text as a list.

    Attributes:
        text: the items in their new order, each followed by the border.
        held_out: characters of the validation and the test part at its end.
        notes: what was found, a short sentence each.
    """

    text: str
    held_out: tuple[int, int]
    notes: list[str]


def border_of(items: str) -> str:
    """The border of items of a kind; empty where a text is no list."""
    return "" if items == "none" else LINE_BORDER if items == "line" else BORDER


def item_length(text: str, items: str) -> int:
    """The mean characters of a list's items, their borders included, at least 1; 0 if the text is no list.

    Args:
        text: see `Items`.
        items: of which kind.
    """
    border = border_of(items)
    return max(1, round(len(text) / max(1, text.count(border)))) if border else 0


def listed(text: str, kind: str, val_fraction: float, test_fraction: float, name: str) -> Items:
    """A text as a list of items.

    The order follows from the items' own SHA-256: by chance, the same every time, equal ones beside each other. So they
    stay on one side of the split, which is made between items.

    Args:
        text: cleaned.
        kind: line, blank (items stand between blank lines), record (between BORDERs).
        val_fraction, test_fraction: shares of the characters to hold out.
        name: of the text, for messages.

    Raises:
        CorpusError: too few items.
    """
    pieces = text.split("\n") if kind == "line" else _blocks(text) if kind == "blank" else text.split(BORDER)
    items = [item for piece in pieces if (item := piece.rstrip() if kind == "line" else piece.strip())]
    distinct = len(set(items))
    if distinct < FEWEST:
        where = {"line": "one a line", "blank": "between blank lines", "record": "one a row"}[kind]
        raise CorpusError(f"{name} has {distinct} different items, {where}; a list needs {FEWEST}")
    items.sort(key=lambda item: hashlib.sha256(item.encode("utf-8", "surrogatepass")).digest())
    border, notes = border_of(kind), [f"read as {len(items):,} items, in an order drawn by chance"]
    if more := len(items) - distinct:
        often, times = Counter(items).most_common(1)[0]
        notes.append(
            f"{more:,} of them repeat another ({often[:40]!r} is there {times:,} times), on one side of the split"
        )
    ends = list(itertools.accumulate(len(item) + 1 for item in items))
    first = _border_before(items, ends, ends[-1] * (1.0 - val_fraction - test_fraction))
    second = max(first, _border_before(items, ends, ends[-1] * (1.0 - test_fraction)))
    return Items(border.join(items) + border, (second - first, ends[-1] - second), notes)


def _blocks(text: str) -> list[str]:
    """What stands between blank lines: of a book of tunes or games each of these."""
    if _is_of_tunes(text):
        return TUNE.split(text)[1:]
    return (GAME if text.lstrip().startswith("[Event ") else BLANK_LINE).split(text)


def _is_of_tunes(text: str) -> bool:
    """Whether it is in ABC: each tune has a number and a key."""
    head = text[:4096]
    return bool(TUNE.search(head) and re.search(r"^K: ?\S", head, re.MULTILINE))


def blocks_that_are_items(text: str) -> int:
    """How many tunes in ABC, games in PGN a text has; 0 if it holds neither, or few."""
    if not text.lstrip().startswith("[Event ") and not _is_of_tunes(text):
        return 0
    found = len(_blocks(text))
    return found if found >= FEWEST else 0


def _border_before(items: list[str], ends: list[int], place: float) -> int:
    """The last border between two different items that is not beyond a place, in characters."""
    found = 0
    for item, after, end in zip(items, [*items[1:], ""], ends, strict=True):
        if end > place + 0.5:
            break
        found = end if item != after else found
    return found


def looks_like_a_list(text: str) -> int:
    """How many items a text has if each of its lines looks like one, else 0."""
    lines = [line for line in text[: 1 << 20].split("\n") if line.strip()]
    if len(lines) < LISTED:
        return 0
    lengths = sorted(map(len, lines))
    prose = sum(line.rstrip()[-1:] in ".,;:!?\"'”’-" or (line[:1].islower() and " " in line) for line in lines)
    is_list = lengths[len(lines) // 2] <= SHORT and lengths[int(0.98 * len(lines))] <= 2 * SHORT
    if not is_list or prose > PROSE * len(lines):
        return 0
    return text.count("\n") - text.count("\n\n") + (not text.endswith("\n"))  # tables have blank lines between
