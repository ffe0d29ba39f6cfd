"""The table of runs: its order, races that stand together, notes, and what is done with several runs."""

import json
import re
from typing import Any

import pytest

from charlm.errors import ConfigError
from charlm.jobs.service import Jobs
from charlm.runs.store import RunStore
from charlm.ui.runs import listing, order, picked
from charlm.ui.runs.order import COLUMNS, Order
from tests.tiny_runs import begin, trained
from tests.ui.shown_runs import AUNT, FakeRun, FakeStore, trio


def shown(html: str) -> list[str]:
    """The runs of the rows, from top to bottom."""
    return re.findall(r'data-pick="([^"]*)"', html)


def some() -> list[FakeRun]:
    """Newest first, as the store lists them; of the last no loss is known, and it came with the app."""
    return [
        FakeRun("c", "gru", 1.4, label="beta", created="2026-05-03T10:00:00+00:00", step=10),
        FakeRun("b", "lstm", 1.2, label="Alpha", created="2026-05-02T10:00:00+00:00", step=300),
        FakeRun("a", "rnn", 1.3, label="gamma", created="2026-05-01T10:00:00+00:00", step=20),
        FakeRun("s", "lstm", None, label="shipped", shipped=True, step=5),
    ]


@pytest.mark.parametrize(
    ("by", "up", "down"),
    [("name", "bcas", "sacb"), ("model", "cbsa", "absc"), ("loss", "bacs", "cabs"), ("bits", "bacs", "cabs"),
     ("steps", "scab", "bacs"), ("started", "abcs", "cbas")],
)  # fmt: skip
def test_a_column_sorts_both_ways_and_the_unknown_stands_last(by: str, up: str, down: str) -> None:
    for is_down, rows in ((False, up), (True, down)):
        html = listing.runs_table(some(), order=Order(by, is_down))
        assert shown(html) == list(rows)
        heads = re.findall(r'<th[^>]*?(?:aria-sort="(\w+)")?><button[^>]*data-by="(\w+)"', html)
        assert [one for one in heads if one[0]] == [("descending" if is_down else "ascending", by)]
        assert len(heads) == len(COLUMNS)


def test_the_newest_stand_first_until_a_head_is_clicked() -> None:
    runs = some()
    assert shown(listing.runs_table(runs)) == ["c", "b", "a", "s"]
    html = listing.runs_table(runs)
    assert re.search(r'aria-sort="descending"><button[^>]*data-by="started"', html)
    assert Order().clicked("loss") == Order("loss", False) and Order("loss", False).clicked("loss") == Order("loss")
    assert Order().clicked("steps") == Order("steps") and Order("loss").clicked("<b>") == Order("loss")


@pytest.mark.parametrize("said", ["", "x", "[]", '{"by": "no", "down": true}', '{"by": "loss", "down": 1}', None])
def test_what_a_page_remembers_wrongly_is_the_usual_order(said: str | None) -> None:
    assert Order.read(said) == Order()
    assert Order.read(json.dumps(order.remembered(Order("loss", False)))) == Order("loss", False)


def headings(html: str) -> list[tuple[str, str]]:
    """The titles of groups and what stands after them."""
    return re.findall(r'scope="rowgroup"><b>([^<]*)</b> <span class="grey">([^<]*)<', html)


def test_of_very_many_the_first_are_shown_and_how_to_find_the_others() -> None:
    runs = [FakeRun(f"r{at:03}", "gru", 1.0 + at, label=f"run {at}", step=at) for at in range(listing.MOST_ROWS + 2)]
    html = listing.runs_table(runs, order=Order("loss", True))
    assert shown(html) == [run.run_id for run in runs[:1:-1]]
    assert "The first 100 of 102 runs; the filter, or another order, brings the others." in html
    assert all(run.run_id in html for run in runs)  # what is selected stays selected
    assert "The first" not in listing.runs_table(runs[2:]) and shown(listing.runs_table(runs, "run 101")) == ["r101"]
    assert len(shown(listing.runs_table(runs, by_race=True))) == listing.MOST_ROWS


def test_those_of_a_race_stand_together() -> None:
    made = "2020-05-03T10:00:00+00:00"
    runs = [
        FakeRun("x", label="alone", created="2026-05-03T10:00:00+00:00"),
        FakeRun("l", "lstm", 1.3, label="<i>-lstm", group="1", corpus=AUNT, created=made),
        FakeRun("o", "gru", 1.1, label="other", group="2", created=made),
        FakeRun("g", "gru", 1.2, label="<i>-gru", group="1", corpus=AUNT, created=made),
        *trio(shipped=True, group="3"),
    ]
    assert not headings(listing.runs_table(runs))
    html = listing.runs_table(runs, by_race=True)
    assert shown(html) == ["l", "g", "o", "x", "lstm", "gru", "rnn"]
    assert headings(html) == [
        ("Race &lt;i&gt; on &lt;b&gt;aunt&lt;/b&gt;.txt", "LSTM and GRU, 3 May 2020"),
        ("Race on Sherlock Holmes", "GRU, 3 May 2020"),
        (order.SINGLE, "1 run"),
        (order.SHIPPED, "3 runs"),
    ]
    assert html.count("<tbody>") == 4 and "<i>-" not in html and "<b>aunt" not in html
    by_loss = listing.runs_table(runs, order=Order("loss", False), by_race=True)
    assert shown(by_loss)[:3] == ["o", "g", "l"]  # the race with the best run first, the best first in it
    assert headings(listing.runs_table(runs, "alone", by_race=True)) == [(order.SINGLE, "1 run")]


def test_boxes_and_heads_are_named_and_escaped() -> None:
    html = listing.runs_table([FakeRun('a"b', label='<i>x</i>"')])
    assert 'aria-label="Select &lt;i&gt;x&lt;/i&gt;&#34;"' in html and 'data-pick="a&#34;b"' in html
    assert 'aria-label="Select all runs that are shown"' in html and "<i>x" not in html
    assert 'data-runs="[&#34;a\\&#34;b&#34;]"' in html


def test_a_note_is_shown_in_a_line_and_found() -> None:
    run = FakeRun("a", note="tried <b>twice</b>\nwith a rate of 0.01 " + "and more " * 40)
    html = listing.runs_table([run, FakeRun("b")])
    assert "tried &lt;b&gt;twice&lt;/b&gt; with a rate of 0.01" in html and "<b>twice" not in html
    assert html.count('class="origin note"') == 1 and "and more" * 20 not in html and "…" in html
    assert listing.matching([run, FakeRun("b")], "TWICE rate") == [run]


# --- several runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [None, 5, "", "{}", "nope", "[1, null]", ["a"]])
def test_what_is_no_list_of_ids_is_none(said: Any) -> None:
    assert picked.picked_ids(said) == []
    assert picked.picked_ids('["a", 1, "b", "a"]') == ["a", "b"]


def test_the_selected_are_added_to_those_in_compare_up_to_six() -> None:
    runs = [FakeRun(name) for name in "abcdefg"]
    assert picked.to_compare(runs[:2], ["x", "a"]) == ["x", "a", "b"]
    assert picked.to_compare(runs[:6]) == list("abcdef")
    with pytest.raises(ConfigError, match=r"3 are chosen there, and 4 more are selected; .* compare only these"):
        picked.to_compare(runs[:4], ["x", "y", "z"])
    with pytest.raises(ConfigError, match="7 runs are selected, and Compare shows 6 at most"):
        picked.to_compare(runs)
    with pytest.raises(ConfigError, match=r"^new has no weights yet"):
        picked.to_compare([FakeRun("new", best_val_loss=None), runs[0]])


def test_those_that_are_gone_are_passed_over() -> None:
    store: Any = FakeStore(trio())
    assert [run.run_id for run in picked.found(store, ["gone", "gru"])] == ["gru"]
    with pytest.raises(ConfigError, match="none of the selected runs is here any longer"):
        picked.found(store, ["gone"])


def test_what_cannot_be_deleted_stays_and_says_why(store: RunStore, jobs: Jobs) -> None:
    runs = trained(store, "gru", "lstm", label="<i>x</i>", steps=2)
    [busy] = begin(jobs, steps=1_000_000, label="busy")
    deleted, html = picked.delete(store, [store.get(busy), *runs])
    assert {run.run_id for run in deleted} == {run.run_id for run in store.trashed()} == {run.run_id for run in runs}
    assert "Deleted &lt;i&gt;x&lt;/i&gt;-gru and &lt;i&gt;x&lt;/i&gt;-lstm. busy is " in html and "<i>x" not in html
    assert 'data-act="restore"' in html and runs[0].run_id in html and busy not in html
    refused, html = picked.delete(store, [store.get(busy)] * 5)
    assert (
        not refused and "data-act" not in html and html.count("busy is ") == 3 and "2 other runs stayed, too." in html
    )
