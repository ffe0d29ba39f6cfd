"""Tables: CSV, TSV, JSON and JSON Lines; which column holds the text is chosen in columns.py.

Own code, not pandas, because of memory (see records.py) and because pandas drops or refuses rows with a wrong number
of cells; here they are kept, and the repairs name them.
"""

import csv
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

from charlm.data.columns import LOOK, listed, readable, shown_names
from charlm.data.decoding import to_lf
from charlm.data.records import MOST_COLUMNS, TEXT_COLUMNS, Table, lines, read_json, read_lines
from charlm.errors import CorpusError

KINDS = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
ESCAPED, SINGLE = "read with a backslash before quotation marks in cells", "read with cells in single quotation marks"
_NO_DELIMITER = "\x1f"
_NUMBER = re.compile(r"[-+]?[0-9]{1,20}(?:[.,][0-9]{1,20})?")
_SEPARATOR = re.compile(r"sep=.\r?\n", re.IGNORECASE)
CsvRows = Callable[[], Iterator[list[str]]]


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
    """The columns of a table, for CSV and JSON Lines without reading all rows; see `columns.readable`.

    Args:
        text: of the file.
        kind: csv, tsv, json or jsonl.
        name: the file's name, for messages.
    """
    if kind in ("csv", "tsv"):
        text = _without_separator(to_lf(text[: 1 << 20]), kind)
        names = next(_csv_rows(text, name, _delimiter(text, kind, name)), [])[:MOST_COLUMNS]
        return _column_names([""] * len(names) if _is_no_header(names) else names)
    if kind == "jsonl":
        text = "".join(itertools.islice(lines(text), LOOK))
    return tuple(shown_names(readable(read_table(text, kind, name))))[:MOST_COLUMNS]


def _column_names(cells: Sequence[str]) -> tuple[str, ...]:
    """The cells of a header; one without a name gets its number."""
    return tuple(cell.strip() or f"column {number}" for number, cell in enumerate(cells, 1))


def _csv_rows(
    text: str, name: str, delimiter: str, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL, quote: str = '"', escape: str = ""
) -> Iterator[list[str]]:
    csv.field_size_limit(2**31 - 1)  # the module's 131,072 would trip on a chapter
    escapes = escape or None
    try:
        for row in csv.reader(lines(text), delimiter=delimiter, quoting=quoting, quotechar=quote, escapechar=escapes):
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
    text = _without_separator(text, kind)
    rows = partial(_csv_rows, text, name, _delimiter(text, kind, name))
    names = next(rows())
    if kind == "tsv" and len(names) > 1 and '"' in text:
        plain = partial(rows, csv.QUOTE_NONE)
        header = next(plain())
        if not all(map(_stands_in_quotes, header)) and _are_quotes_plain(plain, rows, len(names)):
            rows, names = plain, header
    notes = list[str]()
    if len(names) > 1 and not _are_whole(rows, len(names), LOOK):  # as MySQL and others write texts
        for how, sign, said in ((partial(rows, escape="\\"), '\\"', ESCAPED), (partial(rows, quote="'"), "'", SINGLE)):
            if sign in text and _are_whole(how, len(names), LOOK):
                rows, names, notes = how, next(how()), [said]
    if len(names) > MOST_COLUMNS:
        raise CorpusError(
            f"{name} has {len(names):,} columns; at most {MOST_COLUMNS:,} are read; rename it to .txt to read all"
        )
    if _is_no_header(names) and next(itertools.islice(rows(), 1, None), None) is not None:
        notes.append("no header found; the first row is text, too")
        return Table(_column_names([""] * len(names)), rows, tuple(notes))
    if next(itertools.islice(rows(), 1, None), None) is None:
        raise CorpusError(f"{name} has a header but no rows; its columns: {listed(_column_names(names))}")
    return Table(_column_names(names), lambda: itertools.islice(rows(), 1, None), tuple(notes))


def _without_separator(text: str, kind: str) -> str:
    """The text of a CSV file without the first line that tells Excel its delimiter, which is found without it."""
    found = _SEPARATOR.match(text) if kind == "csv" else None
    return text[found.end() :] if found else text


def _is_no_header(cells: Sequence[str]) -> bool:
    """Whether a first row holds a number or a sentence, which name no column, and no usual name of one."""
    known = [one.strip() for one in cells]
    if any(one.casefold() in TEXT_COLUMNS for one in known):
        return False
    return any(_NUMBER.fullmatch(one) or (one[-1:] in (*".!?…",) and len(one.split(None, 3)) > 3) for one in known)


def _are_whole(rows: CsvRows, width: int, most: int | None = None) -> bool:
    """Whether each row, of the first ones or of all, has so many cells."""
    return all(len(row) == width for row in itertools.islice(rows(), most))


def _stands_in_quotes(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == '"'


def _are_quotes_plain(plain: CsvRows, quoted: CsvRows, width: int) -> bool:
    """Whether the quotes in a TSV quote no cells: rows are whole without quoting, and torn or fewer with it."""
    if not _are_whole(plain, width):
        return False
    count, odd = sum(1 for _ in plain()), 0
    for row in quoted():
        count -= 1
        odd += len(row) != width
    return count > 0 or odd > 0
