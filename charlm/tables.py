"""Tables as rows of cells: CSV, TSV, JSON and JSON Lines, and the choice of the column that holds the text."""

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from charlm.bounded_json import one_line
from charlm.cleaning import to_lf
from charlm.errors import CorpusError
from charlm.records import read_json, read_lines

KINDS = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
# Tried in this order, in any case, when the user names no column.
TEXT_COLUMNS = ("text", "content", "contents", "body", "story", "document", "article", "passage", "sentence")
MOST_COLUMNS = 10_000
_NAMED = 3  # rows that a repair names one by one
_LOOK = 1000  # rows that decide whether a column holds text
_NO_DELIMITER = "\x1f"


@dataclass(frozen=True)
class Table:
    """Named columns, rows of cells in that order (short rows lack the last ones), and what was repaired."""

    columns: tuple[str, ...]
    rows: list[Sequence[Any]]
    notes: tuple[str, ...] = ()


def read_table(text: str, kind: str, name: str) -> Table:
    """Parse a table.

    Args:
        text: the file's text.
        kind: csv, tsv, json or jsonl.
        name: the file's name, for messages.

    Raises:
        CorpusError: no such table in it.
    """
    if not text.strip():
        raise CorpusError(f"{name} is empty; a corpus needs at least two different characters")
    if kind in ("csv", "tsv"):
        return _read_csv(text, kind, name)
    records, notes = read_lines(text, name) if kind == "jsonl" else read_json(text, name)
    columns = tuple(dict.fromkeys(column for record in records for column in record))
    return Table(columns, [[record.get(column) for column in columns] for record in records], tuple(notes))


def header(text: str, kind: str, name: str) -> tuple[str, ...]:
    """The column names alone; for CSV without reading the rows."""
    if kind in ("csv", "tsv"):
        text = to_lf(text[: 1 << 20])
        return _column_names(next(_csv_rows(text, _delimiter(text, kind)), [])[:MOST_COLUMNS])
    if kind == "jsonl":
        text = "\n".join(itertools.islice(_lines(text), _LOOK))
    return read_table(text, kind, name).columns


def column_texts(table: Table, wanted: str, name: str) -> tuple[list[str], list[str]]:
    """The cells of the text column as strings, without empty ones, and what was repaired.

    Args:
        table: from `read_table`.
        wanted: the column's name (case matters only if two differ by nothing else); "": chosen by itself.
        name: the file's name, for messages.

    Raises:
        CorpusError: no such column, no clear choice, or nothing in it.
    """
    index = _choose(table, wanted, name)
    cells = (row[index] if index < len(row) else None for row in table.rows)
    texts = [_as_text(cell) for cell in cells]
    kept = [text for text in texts if text.strip()]
    column = table.columns[index]
    if not kept:
        raise CorpusError(
            f"{name} has no text in column {one_line(column, 60)}; it has the columns: {_listed(table.columns)}"
        )
    notes = list(table.notes)
    if not wanted and column.strip().casefold() not in TEXT_COLUMNS:
        notes.append(f"column {one_line(column, 60)} read, the only one with text")
    if len(kept) < len(texts):
        notes.append(f"{_counted(len(texts) - len(kept), 'row')} without {one_line(column, 60)} left out")
    return kept, notes


def _choose(table: Table, wanted: str, name: str) -> int:
    columns = table.columns
    if wanted:
        if wanted in columns:
            return columns.index(wanted)
        if (found := _find(columns, wanted)) is not None:
            return found
        raise CorpusError(f"{name} has no column {wanted[:60]!r}; it has: {_listed(columns)}")
    for usual in TEXT_COLUMNS:
        if (found := _find(columns, usual)) is not None:
            return found
    textual = [index for index in range(len(columns)) if _holds_text(table, index)]
    if len(textual) == 1:
        return textual[0]
    raise CorpusError(f"{name} has no column named text; say which column to read: {_listed(columns)}")


def _find(columns: Sequence[str], name: str) -> int | None:
    lowered = [column.strip().casefold() for column in columns]
    return lowered.index(name.strip().casefold()) if name.strip().casefold() in lowered else None


def _holds_text(table: Table, index: int) -> bool:
    cells = [row[index] for row in table.rows[:_LOOK] if index < len(row)]
    return any(isinstance(cell, str) and cell.strip() and not _is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _as_text(cell: Any) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)


def _listed(columns: Sequence[str]) -> str:
    """The first names, each as one short line: cells may hold anything."""
    shown = ", ".join(one_line(column, 32) for column in columns[:10])
    return f"{shown} and {len(columns) - 10:,} more" if len(columns) > 10 else shown


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _column_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Header cells; one without a name is called by its number."""
    return tuple(cell.strip() or f"column {number}" for number, cell in enumerate(cells, 1))


def _lines(text: str) -> Iterator[str]:
    """Lines with their LF. Unlike splitlines, no other character ends one; unlike StringIO, no copy is made."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start : end + 1]
        start = end + 1
    if start < len(text):
        yield text[start:]


def _csv_rows(text: str, delimiter: str, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> Iterator[list[str]]:
    csv.field_size_limit(2**31 - 1)  # the module's 131,072 would trip on a chapter
    return (row for row in csv.reader(_lines(text), delimiter=delimiter, quoting=quoting) if row)


def _delimiter(text: str, kind: str) -> str:
    """What separates cells: the candidate that splits the header most; none if none does."""
    if kind == "tsv":
        return "\t"
    widths = {mark: len(next(_csv_rows(text[: 1 << 16], mark), [])) for mark in (",", ";", "\t", "|")}
    best = max(widths, key=lambda mark: widths[mark])
    return best if widths[best] > 1 else _NO_DELIMITER


def _read_csv(text: str, kind: str, name: str) -> Table:
    if text.count("\r") != text.count("\r\n"):
        text = to_lf(text)  # the csv module takes no lone CR
    delimiter = _delimiter(text, kind)
    try:
        names, *rows = _csv_rows(text, delimiter)
        if kind == "tsv" and len(names) > 1 and '"' in text and _are_quotes_plain(text, rows, len(names)):
            del rows  # two tables at once would take too much memory
            names, *rows = _csv_rows(text, delimiter, csv.QUOTE_NONE)
    except csv.Error as error:
        raise CorpusError(f"{name} cannot be read as a table: {error}; rename it to .txt to read it as text") from error
    if len(names) > MOST_COLUMNS:
        raise CorpusError(
            f"{name} has {len(names):,} columns; at most {MOST_COLUMNS:,} are read; rename it to .txt to read all"
        )
    if not rows:
        raise CorpusError(f"{name} has a header but no rows; its columns: {_listed(_column_names(names))}")
    return Table(_column_names(names), list(rows), tuple(_ragged_notes(rows, len(names))))


def _are_quotes_plain(text: str, rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether the quotes in a TSV are just quotes: those swallow line ends; real ones, not heeded, leave torn rows."""
    count = 0
    for row in _csv_rows(text, "\t", csv.QUOTE_NONE):
        count += 1
        if len(row) != width:
            return False
    return count > len(rows) + 1 or bool(_ragged(rows, width))


def _ragged(rows: Iterable[Sequence[str]], width: int) -> list[int]:
    return [number for number, row in enumerate(rows, 1) if len(row) != width]


def _ragged_notes(rows: list[list[str]], width: int) -> Iterator[str]:
    odd = _ragged(rows, width)
    for number in odd[:_NAMED]:
        yield f"row {number:,} has {_counted(len(rows[number - 1]), 'cell')} for {_counted(width, 'column')}"
    if len(odd) > _NAMED:
        yield f"{_counted(len(odd) - _NAMED, 'more row')} with a wrong number of cells"
