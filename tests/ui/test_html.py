"""Numbers as they are written, and HTML that never takes a user's text for markup."""

import math
import re
from datetime import UTC, datetime, timedelta
from html import escape, unescape
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.ui import formatting
from charlm.ui import html as ui_html

EVIL = "<img src=x onerror=alert(1)>\"'&"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formatting.nats(1.3568), "1.357"),
        (formatting.bits(1.957), "1.96"),
        (formatting.whole(284238), "284,238"),
        (formatting.duration(98), "1 m 38 s"),
        (formatting.duration(41), "0 m 41 s"),
        (formatting.duration(7384), "2 h 03 m"),
        (formatting.percent(0.0213), "2.1 %"),
        (formatting.size(15_938_355), "15.9 MB"),
        (formatting.size(12), "12 B"),
        (formatting.perplexity(1.357), "3.88"),
        (formatting.perplexity(1e6), "1.0e+304"),
        (formatting.count(1, "run"), "1 run"),
        (formatting.count(9, "run"), "9 runs"),
        (formatting.listed(["A", "B", "C"]), "A, B and C"),
        (formatting.listed([]), ""),
    ],
)
def test_how_numbers_are_written(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize(
    "write",
    [
        formatting.nats,
        formatting.bits,
        formatting.whole,
        formatting.duration,
        formatting.perplexity,
        formatting.percent,
        formatting.size,
    ],
)
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_was_not_measured_is_a_dash(write: Any, value: float | None) -> None:
    assert write(value) == formatting.MISSING


def test_days_are_told_as_people_tell_them() -> None:
    now = datetime(2026, 5, 3, 12, 0, tzinfo=UTC)
    assert formatting.day((now - timedelta(minutes=5)).isoformat(), now).startswith("today ")
    assert formatting.day((now - timedelta(days=1)).isoformat(), now) == "yesterday"
    assert formatting.day((now - timedelta(days=40)).isoformat(), now) == "24 Mar 2026"
    assert formatting.day("no time", now) == formatting.MISSING


@pytest.mark.parametrize(
    "html",
    [
        ui_html.heading(EVIL, EVIL),
        ui_html.section(EVIL, EVIL),
        ui_html.facts([(EVIL, EVIL)]),
        ui_html.number_rows([(EVIL, EVIL, True)]),
        ui_html.table([EVIL], [[EVIL]], id=EVIL, kind=EVIL),
        ui_html.bars([(EVIL, 1.0, EVIL, "")]),
        ui_html.notice(EVIL, EVIL, "error"),
        ui_html.action(EVIL, EVIL, why=EVIL, run=EVIL),
        ui_html.marked_text(EVIL, EVIL, [(0, 4)]),
        ui_html.column(ui_html.Column(EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, note=EVIL, numbers=[(EVIL, EVIL, False)])),
        ui_html.swatch(EVIL),
    ],
)
def test_text_of_users_is_never_markup(html: str) -> None:
    assert "<img" not in html and 'onerror=alert(1)>"' not in html


TEMPLATES = sorted((ui_html.STATIC.parent / "templates").glob("*.html"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_trust_only_what_is_named_html(path: Any) -> None:
    source = path.read_text(encoding="utf-8")
    trusted = re.findall(r"([\w.]+)\s*\|\s*safe", source)
    assert all(re.fullmatch(r"(.*[._])?html", name) for name in trusted)
    assert len(trusted) == source.count("safe") and "autoescape" not in source


def test_a_template_escapes_what_it_is_given_and_misses_nothing() -> None:
    html = ui_html.render("notice", title=EVIL, sentence="", kind="empty", action_html="<b>go</b>")
    assert "&lt;img src=x onerror=alert(1)&gt;&#34;&#39;&amp;" in html and "<b>go</b>" in html and "\n" not in html
    with pytest.raises(jinja2.UndefinedError):
        ui_html.render("notice", title="", sentence="", kind="empty")


@given(st.text(), st.text(), st.data())
def test_marked_text_keeps_every_character(prompt: str, text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    html = ui_html.marked_text(prompt, text, spans)
    for tag in ('<span class="prompt">', "</span>", "<u>", "</u>"):
        html = html.replace(tag, "")
    assert unescape(html) == unescape(escape(prompt + text))


def test_words_a_newcomer_may_not_know_explain_themselves() -> None:
    assert "data-tip=" in ui_html.term("Perplexity")
    assert ui_html.term("anything else") == "anything else"


def test_only_chosen_columns_stay_on_a_phone() -> None:
    html = ui_html.table(["a", "b"], [["1", "2"]], keep=(0,))
    assert "<th>a</th><th class=wide>b</th>" in html and "<td>1</td><td class=wide>2</td>" in html


def test_swatches_follow_the_order_of_the_labels() -> None:
    css = ui_html.swatch_css("archs", ["gru", "lstm"])
    assert css.index("#009E73") < css.index("#0072B2")


def test_toasts_take_no_markup():
    assert ui_html.toast(ValueError("<img src=x> & 1")) == "&lt;img src=x&gt; &amp; 1"
