"""A duel in Compare's columns: the mark where a text parts, what is read off as the text, and the sentence under it."""

import re
from html import unescape

from charlm.config import SampleConfig
from charlm.serving import GeneratedText
from charlm.ui.compare.form import control_values, sample_config, settings_title
from charlm.ui.compare.view import stream_columns, written_columns
from charlm.ui.html import PARTS_HERE, marked_text
from tests.ui.shown_runs import FakeRun, trio


def texts_of(html: str) -> list[str]:
    """What a page reads off as the columns' texts: all characters of them, no markup."""
    bodies = re.findall(r'<div class="text">(.*?)</div>', html, re.S)
    return [unescape(re.sub("<[^>]*>", "", body)) for body in bodies]


def duel(
    *texts: str, writing: bool = False, done: bool = True, lexicon: str = "", runs: list[FakeRun] | None = None
) -> str:
    runs = runs or trio()[: len(texts)]
    drafts = {run.run_id: GeneratedText("P ", text, done=done) for run, text in zip(runs, texts, strict=True)}
    lexicons = {run.run_id: frozenset(lexicon.split()) for run in runs}
    return written_columns(runs, drafts, lexicons, writing, duel=True)


def test_it_is_marked_where_the_texts_part() -> None:
    html = duel("had a <b>", "had a tea", "hat")
    assert f"had a {PARTS_HERE}tea" in html and f"ha{PARTS_HERE}t" in html  # against the first
    assert f"ha{PARTS_HERE}d a &lt;b&gt;" in html  # which is left first by the third
    assert texts_of(html) == ["P had a <b>", "P had a tea", "P hat"]
    assert html.count(PARTS_HERE) == 3 and "aria-label=" in PARTS_HERE
    assert "Against LSTM: GRU parts after 6 characters; RNN parts after 2 characters." in html


def test_the_mark_stands_inside_an_underlined_word() -> None:
    html = duel("had a teapot", "had a teacup", lexicon="had a")
    assert f"<u>tea{PARTS_HERE}pot</u>" in html and f"<u>tea{PARTS_HERE}cup</u>" in html


def test_equal_texts_have_no_mark_and_what_is_written_may_still_part() -> None:
    assert PARTS_HERE not in duel("the same", "the same") and "LSTM and GRU wrote the same." in duel("a", "a")
    html = duel("the same", "the", writing=True, done=False)
    assert PARTS_HERE not in html and "LSTM and GRU agree so far." in html
    ended = duel("the same", "the")
    assert ended.count(PARTS_HERE) == 2 and f"the{PARTS_HERE}</div>" in ended


def test_without_a_duel_nothing_is_marked() -> None:
    runs = trio()[:2]
    drafts = {run.run_id: GeneratedText("P", text, done=True) for run, text in zip(runs, "ab", strict=True)}
    html = written_columns(runs, drafts, {}, False)
    assert PARTS_HERE not in html and 'class="duel"' not in html
    assert 'class="duel"' not in duel("alone")


def test_every_sample_has_its_own_place() -> None:
    runs = trio()[:2]
    drafts = {
        run.run_id: GeneratedText("P", first, done=True, more=(GeneratedText("P", second, sample=1, done=True),))
        for run, first, second in zip(runs, ("abcd", "abxd"), ("same", "same"), strict=True)
    }

    class Serving:
        def lexicon(self, run: FakeRun) -> frozenset[str]:
            return frozenset()

    [html] = [*stream_columns(Serving(), runs, iter([drafts]), 0, duel=True)][-1:]
    assert html.count(PARTS_HERE) == 2 and "LSTM and GRU part after 2 characters, and not in 1 of 2 samples." in html


def test_a_strangers_label_is_text() -> None:
    runs = [FakeRun("a", label="<img src=x>"), FakeRun("b", label="<script>")]
    html = duel("ab", "ac", runs=runs)
    assert "&lt;img src=x&gt; and &lt;script&gt; part after 1 character." in html and "<script>" not in html


def test_a_mark_at_either_end() -> None:
    assert marked_text("P", "ab", parts_at=0) == f'<span class="prompt">P</span>{PARTS_HERE}ab'
    assert marked_text("", "ab", parts_at=2) == f"ab{PARTS_HERE}" and marked_text("", "", parts_at=0) == PARTS_HERE


def test_the_switch_is_a_setting() -> None:
    config = SampleConfig(duel=True)
    assert sample_config(control_values(config)) == config
    assert settings_title(config) == "500 characters · temperature 0.8 · duel · seed 7"
