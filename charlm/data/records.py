"""JSON and JSON Lines as records: one dict a row, in the shapes that tools write; decoded when it is their turn."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from json import JSONDecodeError
from typing import Any

from charlm.errors import CorpusError
from charlm.files import is_deep

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


ROWS = ("rows", "data")  # an object may keep its rows under one of these
STRINGS = "text"  # the column that a plain list of strings gets
MOST_COLUMNS = 10_000
# Values that are kept between two loops, so that most files are decoded once; a value takes about 80 bytes.
MOST_KEPT = 200_000

Record = dict[str, Any]
Reading = Callable[[], Iterator[Record]]


@dataclass
class Oddities:
    """Rows with something odd: how many there are, and the first of them, which are named one by one."""

    count: int = 0
    first: list[tuple[int, int]] = field(default_factory=list)

    def add(self, number: int, what: int = 0) -> None:
        """Count a row, given its number, and what is told of it."""
        self.count += 1
        if len(self.first) < 3:
            self.first.append((number, what))

    @property
    def more(self) -> int:
        """How many are not named."""
        return self.count - len(self.first)


@dataclass(frozen=True)
class Records:
    """Rows, decoded anew by each loop over them, and their columns in the order in which they come up."""

    read: Reading
    columns: tuple[str, ...]
    count: int
    notes: tuple[str, ...] = ()


def read_json(text: str, name: str) -> Records:
    """Records of a JSON file: objects, strings, columns as lists or as index-to-value objects, or `rows`/`data`.

    Raises:
        CorpusError: not JSON, none of these shapes, or too many columns.
    """
    try:
        records = _surveyed(_reading(text), name)
    except ValueError as error:
        if "\n" in text.strip() and text.lstrip()[:1] in "{[" and (lines := _as_lines(text, name)):
            return lines
        reason = getattr(error, "msg", str(error).partition(":")[0])
        line = f" at line {error.lineno:,}" if isinstance(error, json.JSONDecodeError) else ""
        raise CorpusError(f"{name} is not valid JSON ({reason}{line}); rename it to .txt to read it as text") from error
    if not records.count:
        raise CorpusError(
            f"{name} holds no rows: it needs a list of objects or of strings, or an object of columns; "
            "rename it to .txt to read it as text"
        )
    return records


def read_lines(text: str, name: str, notes: tuple[str, ...] = ()) -> Records:
    """Records of a JSON Lines file: an object or a string a line; broken lines are left out and named.

    Args:
        text: the file's text.
        name: the file's name, for messages.
        notes: what else is to be told.

    Raises:
        CorpusError: no line is a record, or too many columns.
    """
    broken = Oddities()
    found = _surveyed(lambda: _of_lines(text, broken), name)
    if not found.count:
        raise CorpusError(f"{name} has no line that is a JSON object or string; rename it to .txt to read it as text")
    notes += tuple(f"line {number:,} is not a JSON object and was left out" for number, _ in broken.first)
    if broken.more:
        notes += (f"{broken.more:,} more lines left out, not JSON objects",)
    return replace(found, notes=notes)


def lines(text: str) -> Iterator[str]:
    """Lines with their LF. Unlike splitlines, no other character ends one; unlike StringIO, no copy is made."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start : end + 1]
        start = end + 1
    if start < len(text):
        yield text[start:]


def _surveyed(read: Reading, name: str) -> Records:
    """Records read through once, for their columns; if they are few, that was all the decoding there is."""
    columns: dict[str, None] = {}
    kept: list[Record] = []
    count = weight = 0
    for record in read():
        count += 1
        if not record.keys() <= columns.keys():
            columns.update(dict.fromkeys(record))
            _check_columns(columns, name)
        if weight <= MOST_KEPT:
            weight += _weight(record)
            kept.append(record)
            if weight > MOST_KEPT:
                kept.clear()
    return Records((lambda: iter(kept)) if len(kept) == count else read, tuple(columns), count)


def _check_columns(columns: Collection[str], name: str) -> None:
    if len(columns) > MOST_COLUMNS:
        raise CorpusError(
            f"{name} has more than {MOST_COLUMNS:,} columns, which is no table; rename it to .txt to read all"
        )


def _weight(record: Record) -> int:
    """How many values it takes in memory, about: three more for itself, and one for four characters of a nested one."""
    nested = [value for value in record.values() if isinstance(value, list | dict)]
    return len(record) + 3 + (sum(len(json.dumps(value)) // 4 for value in nested) if nested else 0)


def _as_lines(text: str, name: str) -> Records | None:
    """A .json file that is JSON Lines inside, if at most one line is broken."""
    try:
        found = read_lines(text, name, ("read as JSON Lines",))
    except CorpusError:
        return None
    return found if found.count > 1 and len(found.notes) < 3 else None


def _of_lines(text: str, broken: Oddities) -> Iterator[Record]:
    for number, line in enumerate(lines(text), 1):
        if not line.isspace():  # it looks no further than the first letter; strip would copy the line
            record = _line(line)
            if record is None:
                broken.add(number)
            else:
                yield record


def _line(line: str) -> Record | None:
    """JSON as the text tools write it: NaN is taken, depth is not."""
    try:
        value, end = value_at(line, after_space(line, 0))
        check_end(line, end)
    except ValueError:
        return None
    return _record(value)


def _record(value: Any) -> Record | None:
    if isinstance(value, str):
        return {STRINGS: value}
    return value if isinstance(value, dict) and value else None


def _reading(text: str) -> Reading:
    """How the records of a JSON text are read, by its shape."""
    start = after_space(text, 0)
    if text.startswith("[", start):
        return lambda: _listed(text, start, is_whole=True)
    if not text.startswith("{", start):
        value, end = value_at(text, start)
        check_end(text, end)
        return lambda: iter([{STRINGS: value}] if isinstance(value, str) else [])
    members = Elements(text, start, part_at)
    parts: dict[str, Part] = dict(members)
    check_end(text, members.end)
    return _rows_inside(text, parts) or _columns_inside(text, parts) or (lambda: _alone(text, start))


def _listed(text: str, place: int, is_whole: bool = False) -> Iterator[Record]:
    """The objects and strings of a list, which may be all of the text."""
    elements = Elements(text, place)
    for _, item in elements:
        if (record := _record(item)) is not None:
            yield record
    if is_whole:
        check_end(text, elements.end)


def _alone(text: str, place: int) -> Iterator[Record]:
    """The object at a place, if it holds anything, as the only row."""
    if value := value_at(text, place)[0]:
        yield value


def _rows_inside(text: str, parts: Mapping[str, Part]) -> Reading | None:
    """Rows that an object keeps under a name, or beside their columns' names (pandas' orient="split")."""
    held = {name: part for name, part in parts.items() if part.kind == "["}
    readings: list[Reading] = []
    if "columns" in held and "data" in held and held["columns"].count <= MOST_COLUMNS:
        names = [str(name) for name in value_at(text, held["columns"].place)[0]]
        readings.append(partial(_split, text, names, held["data"].place))
    readings += [partial(_listed, text, held[key].place) for key in ROWS if key in held]
    return next((read for read in readings if next(read(), None)), None)


def _split(text: str, names: list[str], place: int) -> Iterator[Record]:
    for _, row in Elements(text, place):
        if isinstance(row, list) and (record := dict(zip(names, row, strict=False))):
            yield record


def _columns_inside(text: str, parts: Mapping[str, Part]) -> Reading | None:
    """{"Text": ["..", ".."]} and pandas' {"Text": {"0": "..", "1": ".."}}; None for other shapes."""
    held = {name: part for name, part in parts.items() if part.kind in ("[", "{")}
    if not any(part.count for part in held.values()) or not all(part.is_flat for part in held.values()):
        return None
    columns = {name: Elements(text, part.place) for name, part in held.items()}
    rows = zip_longest(*columns.values())
    if all(column.is_list for column in columns.values()) or all(len(_keys(row)) == 1 for row in rows):
        return lambda: _side_by_side(columns)
    return lambda: _by_key(columns)


def _keys(row: tuple[tuple[Any, Any] | None, ...]) -> set[Any]:
    return {cell[0] for cell in row if cell}


def _side_by_side(columns: Mapping[str, Elements]) -> Iterator[Record]:
    """Rows of columns that have the same keys, or a shorter one the first of them."""
    for row in zip_longest(*columns.values()):
        yield {name: cell[1] for name, cell in zip(columns, row, strict=True) if cell}


def _by_key(columns: Mapping[str, Elements]) -> Iterator[Record]:
    cells = {name: dict(column) for name, column in columns.items()}
    for key in dict.fromkeys(key for column in cells.values() for key in column):
        yield {name: column[key] for name, column in cells.items() if key in column}
