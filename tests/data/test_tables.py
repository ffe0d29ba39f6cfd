"""Tables: read row by row they give what they give when read at once, and a million tiny cells take little memory."""

import csv
import io
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm.config import CorpusConfig
from charlm.data.corpus import read_corpus, table_columns
from charlm.data.records import Record, read_json, read_lines
from charlm.data.tables import read_table
from charlm.errors import CorpusError

SIZE = 400_000


def plain_records(value: Any) -> list[Record]:
    """What a decoded JSON file holds, all of it at once."""
    if isinstance(value, list):
        kept = [{"text": item} if isinstance(item, str) else item for item in value]
        return [item for item in kept if isinstance(item, dict) and item]
    if not isinstance(value, dict):
        return [{"text": value}] if isinstance(value, str) else []
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        names = [str(name) for name in value["columns"]]
        rows = [dict(zip(names, row, strict=False)) for row in value["data"] if isinstance(row, list)]
        value = {"rows": rows} if any(rows) else value
    for key in ("rows", "data"):
        if isinstance(value.get(key), list) and (found := plain_records(value[key])):
            return found
    columns = {name: column for name, column in value.items() if isinstance(column, list | dict)}
    cells = {name: dict(enumerate(c)) if isinstance(c, list) else c for name, c in columns.items()}
    keys = list(dict.fromkeys(key for column in cells.values() for key in column))
    if not keys or any(isinstance(cell, list | dict) for column in cells.values() for cell in column.values()):
        return [value] if value else []
    return [{name: column[key] for name, column in cells.items() if key in column} for key in keys]


WORDS = st.sampled_from(["", "a b", "fox, hen", "“ł”", "[{", 'x"y', "\n", "text"])
CELLS = st.one_of(WORDS, st.none(), st.booleans(), st.integers(-9, 9), st.floats(0, 1))
NESTED = st.one_of(CELLS, st.lists(CELLS, max_size=2), st.dictionaries(WORDS, CELLS, max_size=2))
NAMES = st.sampled_from(["text", "n", "Title", "0", "1", "rows", "data", "columns"])
ROWS = st.lists(st.one_of(NESTED, st.dictionaries(NAMES, NESTED, max_size=3)), max_size=5)
COLUMNS = st.dictionaries(NAMES, st.one_of(st.lists(CELLS, max_size=3), st.dictionaries(NAMES, CELLS, max_size=3)))
SPLIT = st.fixed_dictionaries({"columns": st.lists(NAMES, max_size=3), "data": st.lists(st.lists(CELLS, max_size=3))})
FILES = st.one_of(NESTED, ROWS, COLUMNS, SPLIT, st.dictionaries(NAMES, st.one_of(NESTED, ROWS)))


@settings(deadline=None)
@given(FILES, st.sampled_from([None, 1]))
def test_json_gives_what_it_gives_when_decoded_at_once(value: Any, indent: int | None) -> None:
    text, expected = json.dumps(value, indent=indent), plain_records(value)
    if not expected:
        with pytest.raises(CorpusError, match="holds no rows"):
            read_json(text, "a.json")
        return
    found = read_json(text, "a.json")
    assert [list(found.rows()), list(found.rows())] == [expected, expected]
    assert found.columns == tuple(dict.fromkeys(name for record in expected for name in record))


@settings(deadline=None)
@given(st.lists(st.one_of(NESTED, WORDS, st.dictionaries(NAMES, NESTED, min_size=1)), min_size=1))
def test_lines_give_what_they_give_when_decoded_at_once(values: list[Any]) -> None:
    text, expected = "\n".join(map(json.dumps, values)), plain_records(values)
    if expected:
        assert list(read_lines(text, "a.jsonl").rows()) == expected


@settings(deadline=None)
@given(st.text('[]{},:"\\ a1.-e\ntrue', max_size=30))
def test_what_is_no_json_is_refused(text: str) -> None:
    try:
        json.loads(text)
    except ValueError:
        with pytest.raises(CorpusError, match=r"not valid JSON|of more than one line"):
            if "\n" in text:
                raise CorpusError("of more than one line some may be JSON Lines") from None
            read_json(text, "a.json")


@settings(deadline=None)
@given(st.lists(st.lists(WORDS, min_size=2, max_size=3), min_size=2, max_size=6), st.sampled_from(["csv", "tsv"]))
@example([["", ""], ["", "\n", ""]], "tsv")
def test_csv_gives_what_the_csv_module_gives(rows: list[list[str]], kind: str) -> None:
    file = io.StringIO(newline="")
    delimiter = "," if kind == "csv" else "\t"
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["n", "Text"], *rows])
    table = read_table(file.getvalue(), kind, "a")
    assert table.columns == ("n", "Text") and list(table.rows()) == list(table.rows())
    if kind == "csv" or not any('"' in cell or "\n" in cell for row in rows for cell in row):
        assert list(table.rows()) == rows


def many(unit: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    return before + unit * (SIZE // len(unit)) + after


LAST = b'"' + b"a b " * 2_000 + b'"'  # so that not next to nothing of the file is text
HOSTILE: dict[str, Callable[[], bytes]] = {
    "rows.csv": lambda: many(b"x\n"), "rows.tsv": lambda: many(b"x\n"),
    "empty-cells.csv": lambda: many(b",\n", b"text,n\n"), "empty-cells.tsv": lambda: many(b"\t\n", b"text\tn\n"),
    "strings.json": lambda: many(b'"ab",', b"[", LAST + b"]"),
    "empty-strings.json": lambda: many(b'"",', b"[", LAST + b"]"),
    "objects.json": lambda: many(b'{"a":"b"},', b"[", b'{"text":' + LAST + b"}]"),
    "column.json": lambda: many(b'"ab",', b'{"text":[', LAST + b"]}"),
    "deep.json": lambda: many(b'{"a":"b"},', b'{"x":1,"p":{"q":[', b'{"text":' + LAST + b"}]}}"),
    "deep-strings.json": lambda: many(b'"ab",', b'{"x":[{"y":1}],"p":{"q":[', LAST + b"]}}"),
    "deep-numbers.json": lambda: many(b"1,", b'{"x":[', b'1],"p":{"q":[{"text":' + LAST + b"}]}}"),
    "many-lists.json": lambda: many(b'"":["ab"],', b'{"p":{', b'"q":[{"text":' + LAST + b"}]}}"),
    "inside.json": lambda: many(b'"ab",', b'{"rows":[', LAST + b"]}"),
    "split.json": lambda: many(b'["a"],', b'{"columns":["text"],"data":[', b"[" + LAST + b"]]}"),
    "strings.jsonl": lambda: many(b'""\n', after=LAST), "broken.jsonl": lambda: many(b"1\n", after=LAST),
}  # fmt: skip


@pytest.mark.parametrize("name", ["rows.csv", *(pytest.param(one, marks=pytest.mark.slow) for one in [*HOSTILE][1:])])
def test_tiny_cells_take_little_memory(name: str) -> None:
    data = HOSTILE[name]()
    tracemalloc.start()
    try:
        table_columns(data, name)
        assert read_corpus(data, name, CorpusConfig()).text
    except CorpusError as error:
        assert "empty-cells" in name and "has no text in column text" in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2 * len(data) + (6 << 20)


def test_columns_without_end_are_no_table() -> None:
    rows = json.dumps([{f"c{number}": 1} for number in range(10_001)])
    with pytest.raises(CorpusError, match="more than 10,000 columns"):
        read_json(rows, "a.json")
