"""JSON and JSON Lines as records: one dict a row, in the shapes that tools write."""

import json
from typing import Any

from charlm.bounded_json import is_deep
from charlm.errors import CorpusError

ROWS = ("rows", "data")  # an object may keep its rows under one of these
STRINGS = "text"  # the column that a plain list of strings gets
MOST_DEPTH = 100  # cells may be lists of objects of lists; deeper is no table
_NAMED = 3

Record = dict[str, Any]


def read_json(text: str, name: str) -> tuple[list[Record], list[str]]:
    """Records of a JSON file: objects, strings, columns as lists or as index-to-value objects, or `rows`/`data`.

    Raises:
        CorpusError: not JSON, or none of these shapes.
    """
    try:
        value = _loaded(text)
    except ValueError as error:
        if "\n" in text.strip() and text.lstrip()[:1] in "{[" and (lines := _as_lines(text, name)):
            return lines
        reason = getattr(error, "msg", str(error).partition(":")[0])
        line = f" at line {error.lineno:,}" if isinstance(error, json.JSONDecodeError) else ""
        raise CorpusError(f"{name} is not valid JSON ({reason}{line}); rename it to .txt to read it as text") from error
    records = _records(value)
    if not records:
        raise CorpusError(
            f"{name} holds no rows: it needs a list of objects or of strings, or an object of columns; "
            "rename it to .txt to read it as text"
        )
    return records, []


def read_lines(text: str, name: str) -> tuple[list[Record], list[str]]:
    """Records of a JSON Lines file: an object or a string a line; broken lines are left out and named.

    Raises:
        CorpusError: no line is a record.
    """
    records: list[Record] = []
    broken: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            record = _line(line)
            if record is None:
                broken.append(number)
            else:
                records.append(record)
    if not records:
        raise CorpusError(f"{name} has no line that is a JSON object or string; rename it to .txt to read it as text")
    notes = [f"line {number:,} is not a JSON object and was left out" for number in broken[:_NAMED]]
    if len(broken) > _NAMED:
        notes.append(f"{len(broken) - _NAMED:,} more lines left out, not JSON objects")
    return records, notes


def _loaded(text: str) -> Any:
    """JSON as the text tools write it: NaN is taken, depth is not."""
    if is_deep(text, MOST_DEPTH):
        raise ValueError("nested too deeply")
    return json.loads(text)


def _as_lines(text: str, name: str) -> tuple[list[Record], list[str]] | None:
    """A .json file that is JSON Lines inside, if at most one line is broken."""
    try:
        records, notes = read_lines(text, name)
    except CorpusError:
        return None
    return (records, ["read as JSON Lines", *notes]) if len(records) > 1 and len(notes) < 2 else None


def _line(line: str) -> Record | None:
    try:
        value = _loaded(line)
    except ValueError:
        return None
    return _record(value)


def _record(value: Any) -> Record | None:
    if isinstance(value, str):
        return {STRINGS: value}
    return value if isinstance(value, dict) and value else None


def _records(value: Any) -> list[Record]:
    if isinstance(value, list):
        return [record for item in value if (record := _record(item)) is not None]
    if isinstance(value, str):
        return [{STRINGS: value}]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):  # pandas' orient="split"
        rows = [row for row in value["data"] if isinstance(row, list)]
        value = {"rows": [dict(zip(map(str, value["columns"]), row, strict=False)) for row in rows]} if rows else value
    for key in ROWS:
        if isinstance(value.get(key), list) and (records := _records(value[key])):
            return records
    return _from_columns(value) or ([value] if value else [])


def _from_columns(value: dict[str, Any]) -> list[Record]:
    """{"Text": ["..", ".."]} and pandas' {"Text": {"0": "..", "1": ".."}}; other shapes give nothing."""
    cells = {name: _column(column) for name, column in value.items() if isinstance(column, list | dict)}
    if not cells or any(isinstance(cell, list | dict) for column in cells.values() for cell in column.values()):
        return []
    keys = list(dict.fromkeys(key for column in cells.values() for key in column))
    return [{name: column[key] for name, column in cells.items() if key in column} for key in keys]


def _column(column: list[Any] | dict[str, Any]) -> dict[Any, Any]:
    return dict(enumerate(column)) if isinstance(column, list) else column
