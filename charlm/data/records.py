"""JSON and JSON Lines as the rows of a table, in the shapes that tools write.

Own code because of memory: json.loads and pandas hold every value of a file at once, and tiny cells take forty times
their bytes there. Here each loop over the rows decodes one after the other.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, zip_longest
from json import JSONDecodeError
from typing import Any

from charlm.errors import CorpusError
from charlm.files import is_deep

MOST_DEPTH = 100  # cells may be lists of objects of lists; deeper is no table
TOO_DEEP = "nested too deeply"
MOST_PATH = 3  # names from the root to a list of rows
MOST_LISTS = 1_000  # that are looked into
ROWS = ("rows", "data")  # an object may keep its rows under one of these
STRINGS = "text"  # the column that a plain list of strings gets
MOST_COLUMNS = 10_000
# Tried in this order, whatever their case, when the user names no column.
TEXT_COLUMNS = (
    "text", "full_text", "content", "contents", "body", "story", "document", "article", "passage", "sentence",
)  # fmt: skip
LEAST_MAP = 5  # objects of the same kind under names of their own that are rows
MOST_WORDS_IN = 200  # of them that are looked at for texts
LEAST_NAMED = 12  # texts under names of their own that are rows
_space = re.compile(r"[ \t\n\r]*").match
_decode = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # raw_decode without a detour

Record = dict[str, Any]
Row = Record | list[str]
Reading = Callable[[], Iterator[Record]]
Lists = tuple[tuple[str, Reading], ...]


@dataclass(frozen=True)
class Table:
    """A table that is read row by row.

    Attributes:
        columns: their names, in the order of their first appearance.
        rows: iterates over the rows, which are read from the text each time; some may lack cells.
        notes: what was repaired, a short sentence each.
        lists: of an object that is no table by itself, the lists of objects or strings inside it, at most three names
            deep, and last, without a name, its own values: the names joined by dots, and what iterates over the rows.
    """

    columns: tuple[str, ...]
    rows: Callable[[], Iterator[Row]]
    notes: tuple[str, ...] = ()
    lists: Lists = ()


@dataclass
class Oddities:
    """A count of rows with something odd, and the first of them, which the notes name one by one."""

    count: int = 0
    first: list[tuple[int, int]] = field(default_factory=list)

    def add(self, number: int, what: int = 0) -> None:
        """Count a row, given its number and a number that describes what is odd."""
        self.count += 1
        if len(self.first) < 3:
            self.first.append((number, what))

    @property
    def more(self) -> int:
        """How many are not among the first."""
        return self.count - len(self.first)


def read_json(text: str, name: str) -> Table:
    """The table in a JSON file: objects, strings, columns as lists or as index-to-value objects, or `rows`/`data`;
    else an object as the only row, with the lists inside it.

    Args:
        text: the file's text.
        name: the file's name, for messages.

    Raises:
        CorpusError: not JSON, none of these shapes, or too many columns.
    """
    try:
        table = _table_of(text, name)
    except ValueError as error:
        if "\n" in text.strip() and text.lstrip()[:1] in "{[" and (table := _as_lines(text, name)):
            return table
        reason = getattr(error, "msg", str(error).partition(":")[0])
        line = f" at line {error.lineno:,}" if isinstance(error, JSONDecodeError) else ""
        raise CorpusError(f"{name} is not valid JSON ({reason}{line}); rename it to .txt to read it as text") from error
    if table is None:
        raise CorpusError(
            f"{name} holds no rows: it needs a list of objects or of strings, or an object of columns; "
            "rename it to .txt to read it as text"
        )
    return table


def read_lines(text: str, name: str, notes: tuple[str, ...] = ()) -> Table:
    """The table in a JSON Lines file: an object or a string a line; the notes name lines that are left out.

    Args:
        text: the file's text.
        name: the file's name, for messages.
        notes: repairs that are already known.

    Raises:
        CorpusError: no line is a record, or too many columns.
    """
    broken = Oddities()
    table = _surveyed(lambda: _of_lines(text, broken), name)
    if table is None:
        raise CorpusError(f"{name} has no line that is a JSON object or string; rename it to .txt to read it as text")
    notes += tuple(f"line {number:,} is not a JSON object and was left out" for number, _ in broken.first)
    if broken.more:
        notes += (f"{broken.more:,} more lines left out, not JSON objects",)
    return replace(table, notes=notes)


def lines(text: str) -> Iterator[str]:
    """Lines with their LF. Unlike splitlines, no other character ends one; unlike StringIO, no copy is made."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start : end + 1]
        start = end + 1
    if start < len(text):
        yield text[start:]


def _surveyed(read: Reading, name: str) -> Table | None:
    """The table of the records, which are read through for their columns; None if there are no records.

    Raises:
        CorpusError: too many columns.
    """
    columns: dict[str, None] = {}
    record = None
    for record in read():
        if not record.keys() <= columns.keys():
            columns.update(dict.fromkeys(record))
            if len(columns) > MOST_COLUMNS:
                raise CorpusError(
                    f"{name} has more than {MOST_COLUMNS:,} columns, which is no table; rename it to .txt to read all"
                )
    return None if record is None else Table(tuple(columns), read)


def _as_lines(text: str, name: str) -> Table | None:
    """A .json file that is JSON Lines inside, if at most one line is broken."""
    try:
        table = read_lines(text, name, ("read as JSON Lines",))
    except CorpusError:
        return None
    return table if len(table.notes) < 3 and len(list(islice(table.rows(), 2))) > 1 else None


def _of_lines(text: str, broken: Oddities) -> Iterator[Record]:
    """The records of the lines; NaN is accepted, as tools write it."""
    for number, line in enumerate(lines(text), 1):
        if line.isspace():  # reads no further than the first letter; strip would copy the line
            continue
        try:
            record = _record(_decoded(line))
        except ValueError:
            record = None
        if record is None:
            broken.add(number)
        else:
            yield record


def _record(value: Any, strings: str = STRINGS) -> Record | None:
    if isinstance(value, str):
        return {strings: value}
    return value if isinstance(value, dict) and value else None


def _table_of(text: str, name: str) -> Table | None:
    """The table of a JSON text, by its shape; None if it has no rows."""
    start = _after_space(text, 0)
    if text.startswith("[", start):
        return _surveyed(lambda: _listed(text, start, is_whole=True), name)
    if not text.startswith("{", start):
        value = _decoded(text)
        return _surveyed(lambda: iter([{STRINGS: value}] if isinstance(value, str) else []), name)
    members = Elements(text, start, _nested_at)
    everything = dict(members)
    _check_end(text, members.end)
    nested = {name: elements for name, elements in everything.items() if elements}
    if len(nested) == len(everything) and (songs := _named_lists(nested)):
        return replace(songs, notes=(f"{len(nested):,} lists of lines under names of their own read",))
    if read := _rows_inside(text, nested) or _columns_inside(nested):
        return _surveyed(read, name)
    lists = tuple(islice(_lists_inside(text, nested), MOST_LISTS))
    if not nested and len(everything) >= LEAST_NAMED and (named := _named_texts(text, start)):
        return replace(named, notes=(f"{len(everything):,} texts under names of their own read",))
    if not lists:
        return _surveyed(lambda: _alone(text, start), name)
    return Table(tuple(everything), lambda: _alone(text, start), lists=(*lists, ("", lambda: _scalars(text, start))))


def is_map(value: Mapping[str, Any]) -> bool:
    """Whether an object names records: each of its values is an object, and all have a field in common."""
    return len(value) >= LEAST_MAP and _are_records(lambda: value.values())


def _are_records(read: Callable[[], Iterable[Any]]) -> bool:
    """Whether all are objects with a field in common, and half of the first ones have a text of more than a word: names
    of files and types are none."""
    if not _are_alike(read()):
        return False
    return _have_words(read())


def _have_words(values: Iterable[Any]) -> bool:
    """Whether half of the first ones have a text of more than a word."""
    first = list(islice(values, MOST_WORDS_IN))
    return 2 * sum(map(_has_words, first)) >= len(first)


def _has_words(value: Any, depth: int = MOST_DEPTH) -> bool:
    if isinstance(value, dict | list) and depth:
        return any(_has_words(one, depth - 1) for one in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and " " in value


def _are_alike(values: Iterable[Any]) -> bool:
    """Whether all are objects with a field in common."""
    common: set[str] | None = None
    for value in values:
        if not isinstance(value, dict):
            return False
        common = set(value) if common is None else common & value.keys()
        if not common:
            return False
    return True


def _map_reading(text: str, elements: "Elements") -> Reading | None:
    """What iterates over the records that an object names; None if it does not."""
    named = Elements(text, elements.place)

    def read() -> Iterator[Record]:
        return (value for _, value in named)

    return None if elements.is_list or elements.count < LEAST_MAP or not _are_records(read) else read


def _lists_inside(
    text: str, nested: "Mapping[str, Elements]", path: tuple[str, ...] = ()
) -> Iterator[tuple[str, Reading]]:
    """The lists of objects or strings in an object, with the names that lead there."""
    for name, elements in nested.items():
        place = (*path, name)
        if elements.is_list:
            read = partial(_listed, text, elements.place, strings="")
            if next(read(), None):
                yield ".".join(place), read
        elif records := _map_reading(text, elements):
            yield ".".join(place), records
        elif len(place) < MOST_PATH:
            inner = {key: one for key, one in Elements(text, elements.place, _nested_at) if one}
            yield from _lists_inside(text, inner, place)


def _listed(text: str, place: int, is_whole: bool = False, strings: str = STRINGS) -> Iterator[Record]:
    """The objects and strings of a list, which may be the whole text; `strings` is the column of the latter."""
    elements = Elements(text, place)
    for _, item in elements:
        if (record := _record(item, strings)) is not None:
            yield record
    if is_whole:
        _check_end(text, elements.end)


def _alone(text: str, place: int) -> Iterator[Record]:
    """The object at an index, unless it is empty, as the only row."""
    if value := _value_at(text, place)[0]:
        yield value


def _scalars(text: str, place: int) -> Iterator[Record]:
    """The values of an object that are neither lists nor objects, as a row."""

    def take(text: str, place: int) -> tuple[Any, int]:
        return (None, _nested_at(text, place)[1]) if text.startswith(("[", "{"), place) else _value_at(text, place)

    yield {name: value for name, value in Elements(text, place, take) if value is not None}


def _named_texts(text: str, place: int) -> Table | None:
    """`{"id1": "text", "id2": "text", ..}` as rows; None if a value is no string, or a name a usual one."""
    members = list(Elements(text, place))
    if any(not isinstance(value, str) or key.strip().casefold() in TEXT_COLUMNS for key, value in members):
        return None
    return Table((STRINGS,), lambda: ({STRINGS: value} for _, value in Elements(text, place)))


def _named_lists(nested: "Mapping[str, Elements]") -> Table | None:
    """`{"song 1": ["line", "line"], ..}` as rows; None if they are equally long, as the columns of a table."""
    songs = nested.values()

    def lines() -> Iterator[Any]:
        return (line for song in songs for _, line in song)

    if len(songs) < LEAST_NAMED or len({song.count for song in songs}) == 1:
        return None
    if not all(song.is_list and song.is_flat for song in songs):
        return None
    if not _have_words(lines()) or not all(isinstance(line, str) for line in lines()):
        return None
    return Table((STRINGS,), lambda: ({STRINGS: "\n".join(line for _, line in song)} for song in songs))


def _rows_inside(text: str, nested: "Mapping[str, Elements]") -> Reading | None:
    """Rows that an object keeps under a name, or beside their columns' names (pandas' orient="split")."""
    lists = {name: elements for name, elements in nested.items() if elements.is_list}
    readings: list[Reading] = []
    if "columns" in lists and "data" in lists and lists["columns"].count <= MOST_COLUMNS:
        names = [str(name) for _, name in lists["columns"]]
        readings.append(partial(_split, names, lists["data"]))
    readings += [partial(_listed, text, lists[key].place) for key in ROWS if key in lists]
    return next((read for read in readings if next(read(), None)), None)


def _split(names: list[str], rows: "Elements") -> Iterator[Record]:
    for _, row in rows:
        if isinstance(row, list) and (record := dict(zip(names, row, strict=False))):
            yield record


def _columns_inside(columns: "Mapping[str, Elements]") -> Reading | None:
    """{"Text": ["..", ".."]} and pandas' {"Text": {"0": "..", "1": ".."}}; None for other shapes."""
    if not any(column.count for column in columns.values()) or not all(column.is_flat for column in columns.values()):
        return None
    if all(column.is_list for column in columns.values()) or _have_equal_keys(columns):
        return lambda: _side_by_side(columns)
    return lambda: _by_key(columns)


def _have_equal_keys(columns: "Mapping[str, Elements]") -> bool:
    """Whether all columns have the same keys in the same order, or a shorter one the first of them."""
    return all(len({cell[0] for cell in row if cell}) == 1 for row in zip_longest(*columns.values()))


def _side_by_side(columns: "Mapping[str, Elements]") -> Iterator[Record]:
    for row in zip_longest(*columns.values()):
        yield {name: cell[1] for name, cell in zip(columns, row, strict=True) if cell}


def _by_key(columns: "Mapping[str, Elements]") -> Iterator[Record]:
    cells = {name: dict(column) for name, column in columns.items()}
    for key in dict.fromkeys(key for column in cells.values() for key in column):
        yield {name: column[key] for name, column in cells.items() if key in column}


class Elements:
    """The elements of a list or an object in a JSON text, decoded in each loop over them.

    Args:
        text: the JSON text.
        place: the index of its bracket.
        take: turns a value, given the text and its index, into a result and the index of its end; None: decodes it.

    Attributes:
        end: the index of its end; like the others, known after a whole loop.
        count: the number of elements.
        is_flat: whether no element is a list or an object.
    """

    def __init__(self, text: str, place: int, take: Callable[[str, int], tuple[Any, int]] | None = None) -> None:
        self.text, self.place, self.take = text, place, take or _value_at
        self.is_list = text.startswith("[", place)
        self.end, self.count, self.is_flat = place, 0, True

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Pairs of index or name, and value; a name that occurs twice comes twice.

        Raises:
            ValueError: the text is not JSON.
        """
        text, close, number = self.text, "]" if self.is_list else "}", 0
        at = _after_space(text, self.place + 1)
        while number or not text.startswith(close, at):
            key, at = (number, at) if self.is_list else self._name(at)
            value, at = self.take(text, at)
            yield key, value
            self.is_flat = self.is_flat and not isinstance(value, list | dict | Elements)
            number, at = number + 1, _after_space(text, at)
            if text.startswith(close, at):
                break
            at = self._past(",", "',' delimiter", at)
        self.end, self.count = at + 1, number

    def _name(self, at: int) -> tuple[str, int]:
        """A name, and the index of its value."""
        if not self.text.startswith('"', at):
            raise JSONDecodeError("Expecting property name enclosed in double quotes", self.text, at)
        name, at = _value_at(self.text, at)
        return name, self._past(":", "':' delimiter", _after_space(self.text, at))

    def _past(self, mark: str, expected: str, at: int) -> int:
        """The index of what follows a mark."""
        if not self.text.startswith(mark, at):
            raise JSONDecodeError(f"Expecting {expected}", self.text, at)
        return _after_space(self.text, at + 1)


def _after_space(text: str, place: int) -> int:
    """The index of the next character that is not white space."""
    found = _space(text, place)
    return found.end() if found else place


def _value_at(text: str, place: int) -> tuple[Any, int]:
    """The value at an index, and the index of its end.

    Raises:
        ValueError: there is none, or it is nested too deeply.
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


def _nested_at(text: str, place: int, depth: int = MOST_PATH) -> tuple[Elements | None, int]:
    """The list or object at an index, surveyed without keeping its elements, or None; and the index of the value's end.

    Args:
        text: the JSON text.
        place: the index.
        depth: levels of objects inside it that are not decoded whole either.

    Raises:
        ValueError: there is no value.
    """
    if not text.startswith(("[", "{"), place):
        return None, _value_at(text, place)[1]
    elements = Elements(text, place)
    survey = elements
    if depth and not elements.is_list:
        survey = Elements(text, place, partial(_nested_at, depth=depth - 1))
    deque(survey, maxlen=0)
    elements.end, elements.count, elements.is_flat = survey.end, survey.count, survey.is_flat
    return elements, elements.end


def _decoded(text: str) -> Any:
    """The value of a whole text.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    value, end = _value_at(text, _after_space(text, 0))
    _check_end(text, end)
    return value


def _check_end(text: str, place: int) -> None:
    """Raise ValueError if something other than white space follows."""
    at = _after_space(text, place)
    if at < len(text):
        raise JSONDecodeError("Extra data", text, at)
