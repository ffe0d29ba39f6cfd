"""The column of a table that holds the text: of its rows, or a field deeper inside them (`data.posts.body`)."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from charlm.data.records import MOST_COLUMNS, ROWS, TEXT_COLUMNS, Oddities, Row, Table, is_map
from charlm.errors import CorpusError
from charlm.files import one_line

# The text in an object that stands for a piece of a text: of a chat, of rich text, of Quill's deltas.
PIECES = ("text", "content", "value", "insert", "children")
LOOK = 1000  # rows that decide whether a column holds text
LONGEST_VALUE = 80  # characters of a condition's value
MOST_FIELDS = 4  # names from a row to a text
MOST_LEAVES = 10_000  # of a row that are looked at
LEAST_SHARE, LEAST_TEXT = 0.01, 1000  # below both of a file's characters next to nothing of it was read
SAID_SHARE = 0.05  # a smaller share is said
# Of the characters of the column with most text: a list of strings with fewer holds tags, no text; a usual name deeper
# inside the rows with fewer is no clear choice.
TAGS, ASIDE = 0.5, 0.25


@dataclass(frozen=True)
class Field:
    """A column, or a field inside the rows.

    Attributes:
        name: as one names it: the names from the root of the file, joined by dots.
        path: the names from the row to the cell.
        index: the column's number in rows that are lists.
        rows: iterates over the rows.
        has_text: whether it holds words, as far as the first rows say.
        is_nested: whether it holds objects, of which only fields can be read.
        level: 0 in the rows themselves, 1 deeper, 2 beside lists of rows; the lower counts first.
        size: characters of text that the first rows hold in it.
        is_listed: whether its text is put together from lists of strings, such as lines, words or tags.
    """

    name: str
    path: tuple[str, ...]
    index: int
    rows: Callable[[], Iterator[Row]]
    has_text: bool
    is_nested: bool = False
    level: int = 0
    size: int = 0
    is_listed: bool = False

    @property
    def rank(self) -> int:
        """The place of its own name among the usual names of a text; as many as there are if it is none."""
        own = (self.name.rpartition(".")[2] if self.level else self.name).strip().casefold()
        return TEXT_COLUMNS.index(own) if own in TEXT_COLUMNS else len(TEXT_COLUMNS)

    @property
    def is_usual(self) -> bool:
        """Whether it has one of the usual names of a text."""
        return self.rank < len(TEXT_COLUMNS)

    def cells(self, row: Row) -> Iterator[Any]:
        """What a row holds in it: one value, or several where it lies inside a list."""
        if isinstance(row, list):
            yield row[self.index] if self.index < len(row) else None
        else:
            yield from _dug(row, self.path)


def _dug(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """The values at a path, through lists; None where there are none."""
    if not path:
        yield value
    elif isinstance(value, dict) and is_map(value):
        for one in value.values():
            yield from _dug(one, path)
    elif isinstance(value, dict):
        yield from _dug(value.get(path[0]), path[1:])
    elif isinstance(value, list):
        for one in value:
            yield from _dug(one, path)
    else:
        yield None


class Column:
    """The cells of one column as strings, without empty ones; its notes are complete after a loop over them.

    Args:
        table: the table.
        field: the column.
        condition: whose value stands before each cell, `value: `; None: nothing does.
        said: a note on how it was chosen; empty: none.
        name: the file's name, for messages.
    """

    def __init__(self, table: Table, field: Field, said: str, name: str, condition: Field | None = None) -> None:
        self._table, self._field, self._name, self._said, self._condition = table, field, name, said, condition
        self.shown = one_line(field.name, 60)
        self._odd, self._empty, self._nested = Oddities(), 0, 0

    def __iter__(self) -> Iterator[str]:
        """Loop over the cells, once.

        Raises:
            CorpusError: none holds text.
        """
        width, number, found = len(self._table.columns), 0, False
        for number, row in enumerate(self._field.rows(), 1):
            if isinstance(row, list) and len(row) != width:
                self._odd.add(number, len(row))
            is_empty, is_nested = True, False
            values = map(text_of, self._condition.cells(row)) if self._condition else ()
            before = "".join(f"{one_line(value, LONGEST_VALUE)}: " for value in itertools.islice(values, 1) if value)
            for cell in self._field.cells(row):
                text = text_of(cell)
                is_nested = is_nested or text is None
                if text and not text.isspace():
                    is_empty = False
                    yield before + text
            found = found or not is_empty
            self._empty += is_empty and not is_nested
            self._nested += is_nested
        if not found:
            what = "objects or lists, not text," if self._nested else "no text"
            others = listed(shown_names(one for one in readable(self._table) if one.name != self._field.name))
            has = (
                f"it has the columns: {listed(self._table.columns)}" if not self._nested else f"other columns: {others}"
            )
            raise CorpusError(f"{self._name} has {what} in column {self.shown}; {has}")

    def under(self, condition: str) -> "Column":
        """The same column with the value of another one of its rows before each cell.

        Raises:
            CorpusError: its rows have no such column.
        """
        beside = [one for one in readable(self._table) if one.rows == self._field.rows and one.name != self._field.name]
        folded = _folded(condition)
        for one in beside:
            if folded in (_fold(one), _folded(".".join(one.path)), _folded(one.path[-1])):
                return Column(self._table, self._field, self._said, self._name, one)
        others = listed(one.name for one in beside) or "none"
        raise CorpusError(f"{self._name} has no column {condition[:60]!r} beside {self.shown}; it has: {others}")

    def notes(self) -> Iterator[str]:
        """The repairs, a short sentence each."""
        yield from self._table.notes
        for number, cells in self._odd.first:
            width = counted(len(self._table.columns), "column")
            yield f"row {number:,} has {counted(cells, 'cell')} for {width}"
        if self._odd.more:
            yield f"{counted(self._odd.more, 'more row')} with a wrong number of cells"
        if self._said:
            yield self._said
        if self._condition:
            yield f"{one_line(self._condition.name, 60)} stands before each text"
        if self._empty:
            yield f"{counted(self._empty, 'row')} without {self.shown} left out"
        if self._nested:
            yield f"{counted(self._nested, 'row')} with objects or lists in {self.shown} left out"

    def share_note(self, read: int, whole: int) -> str:
        """What is to be said of the share of a file that was read; empty: nothing.

        Args:
            read: characters of the column.
            whole: characters of the file.

        Raises:
            CorpusError: it is next to nothing.
        """
        share = read / max(1, whole)
        if share >= SAID_SHARE:
            return ""
        if share >= LEAST_SHARE or read >= LEAST_TEXT:
            return f"column {self.shown} is {100 * share:.2g} % of the file"
        others = shown_names(one for one in readable(self._table) if one.has_text and one.name != self._field.name)
        way_out = f"name another column: {listed(others)}" if others else "rename it to .txt to read it as text"
        raise CorpusError(
            f"{self._name} has {whole:,} characters, and column {self.shown} only {read:,} of them; {way_out}"
        )


def text_of(cell: Any) -> str | None:
    """The text of a cell, put together where it is given in pieces; None if it holds objects or lists without text."""
    if isinstance(cell, str):
        return cell
    if cell is None or cell == [] or cell == {}:
        return ""
    if not isinstance(cell, list | dict):
        return json.dumps(cell)
    if isinstance(cell, dict):
        return _piece(cell) if _is_piece(cell) else None
    if all(isinstance(one, str) for one in cell):  # paragraphs, or words
        return ("\n" if any(" " in one.strip() for one in cell) else " ").join(cell)
    if all(isinstance(one, str | list) for one in cell):  # chapters of lines
        inner = [text_of(one) for one in cell]
        return None if None in inner else "\n".join(one for one in inner if one)
    return "".join(map(_piece, cell)) if _are_pieces(cell) else None


def _are_pieces(cell: list[Any]) -> bool:
    """Whether a list is a text in pieces, `[{"type": "bold", "text": "hi"}, " there"]`, and no list of records."""
    return all(isinstance(one, str) or _is_piece(one) for one in cell) and any(map(_piece, cell))


def _is_piece(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() & {"id", "from", "role", "author", "user", "date"}:
        return False
    return "type" in value or "insert" in value


def _piece(value: Any) -> str:
    """The text of a piece; empty if it has none, like a picture."""
    if isinstance(value, dict):
        value = next((value[key] for key in PIECES if isinstance(value.get(key), str | list)), "")
    if isinstance(value, list):
        return "".join(map(_piece, value))
    return value if isinstance(value, str) else ""


def text_column(table: Table, wanted: str, name: str, condition: str = "") -> Column:
    """The column that holds the text.

    Args:
        table: from `charlm.data.tables.read_table`.
        wanted: the column's name, or its end where that is clear (case matters only if two differ by nothing else);
            empty: chosen automatically.
        name: the file's name, for messages.
        condition: the name of a column of the same rows, whose value stands before each text; empty: none.

    Raises:
        CorpusError: no such column, or no clear choice.
    """
    column = _text_column(table, wanted, name)
    return column.under(condition) if condition else column


def _text_column(table: Table, wanted: str, name: str) -> Column:
    fields = list(readable(table))
    if wanted:
        exact, fields = _named(fields, wanted, name)
        if exact:
            return Column(table, exact, "", name)
    chosen, is_clear = _choose(fields, wanted, name)
    said = f"{_titled(chosen.name)} read" if chosen.level or not is_clear else ""
    return Column(table, chosen, said if is_clear else f"{said}, the only one with text", name)


def _titled(name: str) -> str:
    """`column body`; of one without a name, `column 2`, that alone."""
    shown = one_line(name, 60)
    return shown if shown.startswith("column ") else f"column {shown}"


def _named(fields: list[Field], wanted: str, name: str) -> tuple[Field | None, list[Field]]:
    """The field of that name, or else those to choose from: inside what has that name, or with a name that ends so."""
    known = [_fold(one) for one in fields]
    first, _, rest = wanted.partition(".")
    if _folded(first) in ROWS and _folded(rest) in known and _folded(wanted) not in known:
        wanted = rest  # where an object keeps its rows goes without saying
    folded = _folded(wanted)
    exact = [one for one in fields if one.name == wanted] or [one for one in fields if _fold(one) == folded]
    if exact and not exact[0].is_nested:
        return exact[0], []
    inside = [one for one in fields if _fold(one).startswith(f"{folded}.") and not one.is_nested]
    ending = [one for one in fields if _fold(one).endswith(f".{folded}") and not one.is_nested]
    if found := inside or ending:
        return (found[0] if len(found) == 1 else None), found
    if exact:
        return exact[0], []  # its cells will be refused, or are pieces
    raise CorpusError(f"{name} has no column {wanted[:60]!r}; it has: {listed(shown_names(fields))}")


def _fold(field: Field) -> str:
    return _folded(field.name)


def _folded(name: str) -> str:
    return name.strip().casefold()


def _choose(fields: list[Field], wanted: str, name: str) -> tuple[Field, bool]:
    """The field with the text, and whether its name says so.

    A usual name counts first, then being the only one with text; what is in the rows themselves counts before what is
    deeper. Of an object that is no table, its lists count before its own fields, unless both have a usual name.
    """
    texts = _texts(fields)
    most = max((one.size for one in texts), default=0)
    shallow = [one for one in fields if not one.level and one.is_usual and not (one.is_nested and texts)]
    for usual in (shallow, [one for one in texts if one.is_usual]):
        if len({one.level and one.name.rpartition(".")[0] for one in usual}) > 1:
            raise _unclear(usual, name)
        if usual and (best := min(usual, key=lambda one: one.rank)).level and best.size < ASIDE * most:
            raise _unclear(texts, name, wanted)  # an answer's text beside the passage, say
        if usual:
            return best, True
    lowest = min((one.level for one in texts), default=0)
    among = [one for one in texts if one.level == lowest]
    if len(among) == 1 and among[0].size < ASIDE * most:
        raise _unclear(texts, name, wanted)  # the titles of chats, say, whose messages lie deeper
    if len(among) == 1:
        return among[0], False
    if among or (shown := [one for one in fields if not one.level and not one.is_nested]):
        raise _unclear(among or shown, name, wanted)
    raise CorpusError(f"{name} has no text up to three names deep; bring its rows further up, or save its text as .txt")


def _unclear(fields: Sequence[Field], name: str, wanted: str = "") -> CorpusError:
    has = f"several texts in {wanted[:60]!r}" if wanted else "no column named text"
    if all(one.is_usual for one in fields):
        has = "texts in several places"
    return CorpusError(f"{name} has {has}; say which column to read: {listed(one.name for one in fields)}")


def readable(table: Table) -> Iterator[Field]:
    """The columns of a table, and the fields deeper inside its rows, as far as its first rows show them.

    Of an object that is no table by itself: the fields of the lists inside it, then its own.
    """
    if not table.lists:
        yield from _fields("", table.rows, table.columns)
    for prefix, read in table.lists:
        yield from _fields(prefix, read, ())


def shown_names(fields: Iterable[Field]) -> list[str]:
    """Names to choose from: the columns that are no objects, and what has text deeper inside."""
    fields = list(fields)
    texts = _texts(fields)
    return [one.name for one in fields if one in texts or not (one.level or one.is_nested or one.is_listed)]


def _texts(fields: Sequence[Field]) -> list[Field]:
    """The fields with text, without lists of strings that hold little of it, such as tags."""
    texts = [one for one in fields if one.has_text]
    most = max((one.size for one in texts), default=0)
    return [one for one in texts if not one.is_listed or one.size > TAGS * most]


def _fields(prefix: str, rows: Callable[[], Iterator[Row]], columns: Sequence[str]) -> Iterator[Field]:
    """The columns of rows, then their other fields.

    Args:
        prefix: the names that lead to the rows.
        rows: iterates over them.
        columns: of the rows; without any, all are other fields.
    """
    seen: dict[tuple[str, ...], bool] = {}
    sizes, lists = Counter[tuple[str, ...]](), set[tuple[str, ...]]()
    nested: set[str] = set()
    texts: set[int] = set()
    for row in itertools.islice(rows(), LOOK):
        if isinstance(row, list):
            texts |= {index for index, cell in enumerate(row[: len(columns)]) if index not in texts and is_words(cell)}
            continue
        for path, value in itertools.islice(_leaves(row, ()), MOST_LEAVES):
            if len(seen) < MOST_COLUMNS or path in seen:
                seen[path] = seen.get(path, False) or is_words(value)
                sizes[path] += text_size(value)
                if isinstance(value, list) and not any(isinstance(one, dict) for one in value):
                    lists.add(path)
        nested |= {key for key, value in row.items() if isinstance(value, dict | list) and not is_words(value)}
    for index, column in enumerate(columns):
        has_text = seen.pop((column,), False) or index in texts
        is_nested, path = column in nested and not has_text, (column,)
        yield Field(column, path, index, rows, has_text, is_nested, size=sizes[path], is_listed=path in lists)
    level = 1 if prefix or columns else 2
    for path, has_text in seen.items():
        shown = ".".join(one for one in (prefix, *path) if one)
        yield Field(shown, path, 0, rows, has_text, level=level, size=sizes[path], is_listed=path in lists)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What is neither an object nor a list of such, with the names that lead there."""
    if isinstance(value, dict) and is_map(value):
        for inner in value.values():
            yield from _leaves(inner, path)
    elif isinstance(value, dict) and len(path) < MOST_FIELDS:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value) and not _are_pieces(value):
        for inner in value:
            if isinstance(inner, dict):
                yield from _leaves(inner, path)
    elif path:
        yield path, value


def is_words(cell: Any) -> bool:
    """Whether a cell holds text, whole or in pieces, that is not just a number."""
    if isinstance(cell, list):
        cell = text_of(cell) if not all(isinstance(one, int | float | bool) for one in cell) else None
    if not isinstance(cell, str) or not cell.strip():
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False


def text_size(cell: Any) -> int:
    """The characters of a cell that are text, whole or in pieces."""
    return len(text_of(cell) or "") if isinstance(cell, str | list) else 0


def listed(columns: Iterable[str]) -> str:
    """The first names, each as one short line, as cells may hold anything."""
    names = list(columns)
    shown = ", ".join(one_line(column, 60) for column in names[:10])
    if len(shown) > 340:
        shown = ", ".join(one_line(column, 32) for column in names[:10])
    return f"{shown} and {len(names) - 10:,} more" if len(names) > 10 else shown


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
