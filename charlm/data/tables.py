"""Tables: CSV, TSV, JSON and JSON Lines, and the choice of the column that holds the text.

Own code, not pandas, because of memory (see records.py) and because pandas drops or refuses rows with a wrong number
of cells; here they are kept, and the repairs name them.
"""

import csv
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

from charlm.data.decoding import to_lf
from charlm.data.records import MOST_COLUMNS, Oddities, Table, lines, read_json, read_lines
from charlm.errors import CorpusError
from charlm.files import one_line

KINDS = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
# Tried in this order, whatever their case, when the user names no column.
TEXT_COLUMNS = ("text", "content", "contents", "body", "story", "document", "article", "passage", "sentence")
_LOOK = 1000  # rows that decide whether a column holds text
_NO_DELIMITER = "\x1f"
CsvRows = Callable[[], Iterator[list[str]]]


class Column:
    """The cells of one column as strings, without empty ones; its notes are complete after a loop over them.

    Args:
        table: the table.
        index: of the column.
        is_guess: whether it was chosen because no other has text.
        name: the file's name, for messages.
    """

    def __init__(self, table: Table, index: int, is_guess: bool, name: str) -> None:
        self._table, self._index, self._name = table, index, name
        self._shown = one_line(table.columns[index], 60)
        self._is_guess = is_guess
        self._odd, self._empty = Oddities(), 0

    def __iter__(self) -> Iterator[str]:
        """Loop over the cells, once.

        Raises:
            CorpusError: all are empty.
        """
        table, index, number = self._table, self._index, 0
        for number, row in enumerate(table.rows(), 1):
            if isinstance(row, list) and len(row) != len(table.columns):
                self._odd.add(number, len(row))
            text = _as_text(table.cell(row, index))
            if text.strip():
                yield text
            else:
                self._empty += 1
        if self._empty == number:
            raise CorpusError(
                f"{self._name} has no text in column {self._shown}; it has the columns: {_listed(table.columns)}"
            )

    def notes(self) -> Iterator[str]:
        """The repairs, a short sentence each."""
        yield from self._table.notes
        for number, cells in self._odd.first:
            width = _counted(len(self._table.columns), "column")
            yield f"row {number:,} has {_counted(cells, 'cell')} for {width}"
        if self._odd.more:
            yield f"{_counted(self._odd.more, 'more row')} with a wrong number of cells"
        if self._is_guess:
            yield f"column {self._shown} read, the only one with text"
        if self._empty:
            yield f"{_counted(self._empty, 'row')} without {self._shown} left out"


def read_table(text: str, kind: str, name: str) -> Table:
    """The table in the text of a file.

    Args:
        text: of the file.
        kind: csv, tsv, json or jsonl.
        name: the file's name, for messages.

    Raises:
        CorpusError: there is no such table in it.
    """
    if not text.strip():
        raise CorpusError(f"{name} is empty; a corpus needs at least two different characters")
    if kind in ("csv", "tsv"):
        return _read_csv(text, kind, name)
    return read_lines(text, name) if kind == "jsonl" else read_json(text, name)


def header(text: str, kind: str, name: str) -> tuple[str, ...]:
    """The column names of a table, for CSV and JSON Lines without reading all rows.

    Args:
        text: of the file.
        kind: csv, tsv, json or jsonl.
        name: the file's name, for messages.
    """
    if kind in ("csv", "tsv"):
        text = to_lf(text[: 1 << 20])
        return _column_names(next(_csv_rows(text, name, _delimiter(text, kind, name)), [])[:MOST_COLUMNS])
    if kind == "jsonl":
        text = "".join(itertools.islice(lines(text), _LOOK))
    return read_table(text, kind, name).columns


def text_column(table: Table, wanted: str, name: str) -> Column:
    """The column that holds the text.

    Args:
        table: from `read_table`.
        wanted: the column's name (case matters only if two differ by nothing else); empty: chosen automatically.
        name: the file's name, for messages.

    Raises:
        CorpusError: no such column, or no clear choice.
    """
    index = _choose(table, wanted, name)
    return Column(table, index, not wanted and table.columns[index].strip().casefold() not in TEXT_COLUMNS, name)


def _choose(table: Table, wanted: str, name: str) -> int:
    if wanted and wanted in table.columns:
        return table.columns.index(wanted)
    columns = [column.strip().casefold() for column in table.columns]
    for column in (wanted.strip().casefold(),) if wanted else TEXT_COLUMNS:
        if column in columns:
            return columns.index(column)
    shown = _listed(table.columns)
    if wanted:
        raise CorpusError(f"{name} has no column {wanted[:60]!r}; it has: {shown}")
    textual = _with_text(table)
    if len(textual) != 1:
        raise CorpusError(f"{name} has no column named text; say which column to read: {shown}")
    return textual[0]


def _with_text(table: Table) -> list[int]:
    """The columns that hold text in one of the first rows."""
    others = set(range(len(table.columns)))
    for row in itertools.islice(table.rows(), _LOOK):
        others -= {index for index in others if _is_words(table.cell(row, index))}
    return [index for index in range(len(table.columns)) if index not in others]


def _is_words(cell: Any) -> bool:
    """Whether a cell holds text that is not just a number."""
    if not isinstance(cell, str) or not cell.strip():
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False


def _as_text(cell: Any) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)


def _listed(columns: Sequence[str]) -> str:
    """The first names, each as one short line, as cells may hold anything."""
    shown = ", ".join(one_line(column, 32) for column in columns[:10])
    return f"{shown} and {len(columns) - 10:,} more" if len(columns) > 10 else shown


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _column_names(cells: Sequence[str]) -> tuple[str, ...]:
    """The cells of a header; one without a name gets its number."""
    return tuple(cell.strip() or f"column {number}" for number, cell in enumerate(cells, 1))


def _csv_rows(text: str, name: str, delimiter: str, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> Iterator[list[str]]:
    csv.field_size_limit(2**31 - 1)  # the module's 131,072 would trip on a chapter
    try:
        for row in csv.reader(lines(text), delimiter=delimiter, quoting=quoting):
            if row:
                yield row
    except csv.Error as error:
        raise CorpusError(f"{name} cannot be read as a table: {error}; rename it to .txt to read it as text") from error


def _delimiter(text: str, kind: str, name: str) -> str:
    """The delimiter: the candidate that splits the header into most cells; none if none does."""
    if kind == "tsv":
        return "\t"
    widths = {mark: len(next(_csv_rows(text[: 1 << 16], name, mark), [])) for mark in (",", ";", "\t", "|")}
    best = max(widths, key=lambda mark: widths[mark])
    return best if widths[best] > 1 else _NO_DELIMITER


def _read_csv(text: str, kind: str, name: str) -> Table:
    if text.count("\r") != text.count("\r\n"):
        text = to_lf(text)  # the csv module takes no lone CR
    rows = partial(_csv_rows, text, name, _delimiter(text, kind, name))
    names = next(rows())
    if kind == "tsv" and len(names) > 1 and '"' in text:
        plain = partial(rows, csv.QUOTE_NONE)
        header = next(plain())
        if not all(map(_stands_in_quotes, header)) and _are_quotes_plain(plain, rows, len(names)):
            rows, names = plain, header
    if len(names) > MOST_COLUMNS:
        raise CorpusError(
            f"{name} has {len(names):,} columns; at most {MOST_COLUMNS:,} are read; rename it to .txt to read all"
        )
    if next(itertools.islice(rows(), 1, None), None) is None:
        raise CorpusError(f"{name} has a header but no rows; its columns: {_listed(_column_names(names))}")
    return Table(_column_names(names), lambda: itertools.islice(rows(), 1, None))


def _stands_in_quotes(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == '"'


def _are_quotes_plain(plain: CsvRows, quoted: CsvRows, width: int) -> bool:
    """Whether the quotes in a TSV quote no cells: rows are whole without quoting, and torn or fewer with it."""
    count = 0
    for row in plain():
        count += 1
        if len(row) != width:
            return False
    odd = 0
    for row in quoted():
        count -= 1
        odd += len(row) != width
    return count > 0 or odd > 0
