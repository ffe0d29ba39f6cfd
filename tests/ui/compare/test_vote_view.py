"""The blind vote's HTML: texts that give no author away, the answer that does, and tables of strangers' names."""

import re

from charlm.analysis.votes import HUMAN, Candidate, Tallies, Vote, tally
from charlm.architectures import ARCHITECTURES
from charlm.serving.ballots import Ballot
from charlm.serving.votes import Answer, Author
from charlm.ui.compare.vote import answer_html, ballot_html, name_of, tallies_html

AUTHORS = (Candidate("run-1", "my <b>LSTM</b>", "lstm"), Candidate(HUMAN), Candidate("run-2", "my GRU", "gru"))
TEXTS = ("upon a <i>time</i>", "upon a hill & so..", "upon a fox\r\nand so")
BALLOT = Ballot("the-id", "Once ", TEXTS, AUTHORS, "validation", "<tales>.txt")
COLOURS = [about.colour for about in ARCHITECTURES.values()]


def answered(kind: str, chosen: int) -> str:
    authors = [Author(run_id=one.run_id, label=one.label, arch=one.arch) for one in AUTHORS]
    answer = Answer(
        kind="best" if kind == "best" else "human", chosen=chosen, human=1, authors=authors, prompt="Once ",
        texts=list(TEXTS), part="validation", corpus="<tales>.txt",
    )  # fmt: skip
    return answer_html(answer)


def test_before_the_vote_nothing_tells_who_wrote_a_text() -> None:
    html = ballot_html(BALLOT)
    for word in ("run-1", "run-2", "LSTM", "GRU", "lstm", "gru", "human", "swatch", *COLOURS):
        assert word not in html, word
    sections = re.findall(r"<section.*?</section>", html, re.S)
    assert len(sections) == 3
    bare = [re.sub(r'<div class="text">.*?</div>|Text [ABC]|data-place="\d"', "", one, flags=re.S) for one in sections]
    assert len(set(bare)) == 1  # they differ by letter, place and text only


def test_every_text_has_a_button_that_says_which() -> None:
    html = ballot_html(BALLOT)
    for place in range(3):
        [button] = re.findall(rf'<button[^>]*data-place="{place}"[^>]*>([^<]*)</button>', html)
        assert button == f"Choose {name_of(place)}" and f'aria-label="{name_of(place)}"' in html
    assert html.count('data-act="vote"') == html.count('data-ballot="the-id"') == 3 and 'data-act="other"' in html
    assert "&lt;i&gt;time&lt;/i&gt;" in html and "hill &amp; so" in html and "&#13;" in html and "&lt;tales&gt;" in html
    assert "from its validation part, with 18 characters" in html and html.count('class="prompt">Once </span>') == 3


def test_after_it_every_author_is_named_in_their_colour() -> None:
    html = answered("best", 0)
    assert "You chose Text A by my &lt;b&gt;LSTM&lt;/b&gt;. Text B by the human and Text C by my GRU." in html
    for arch in ("lstm", "gru"):
        assert html.count(f"--c:{ARCHITECTURES[arch].colour}") == 2  # the rule and the swatch
    assert 'data-act="vote"' not in html and 'data-act="begin"' in html and "told-line" in html
    assert "Right: Text B is the human&#39;s." in answered("human", 1)
    assert "No: Text C is by my GRU; Text B is the human&#39;s." in answered("human", 2)


def test_it_says_how_far_it_is_or_why_not() -> None:
    assert "--w:25.0%" in ballot_html(share=0.25, busy=True) and "data-act" not in ballot_html(busy=True)
    refused = ballot_html(error="no <b>")
    assert 'role="alert"' in refused and "no &lt;b&gt;" in refused and "Show texts" in refused


def tallies(*whose: str) -> Tallies:
    votes = [Vote("", "best", AUTHORS, 0)] * 3 + [Vote("", "human", AUTHORS, 1)]
    counted = {kind: tally(votes, kind) for kind in ("best", "human")}
    return dict.fromkeys(whose, counted)  # type: ignore[arg-type]


def test_the_tables_are_apart_and_names_are_text() -> None:
    html = tallies_html(tallies("together"))
    assert html.count("<table") == 2 and "<b>LSTM" not in html and "&lt;b&gt;LSTM" in html
    assert "3 of 3" in html and "1 of 1" in html and "33 %" in html and "100 % (44 to 100)" in html
    assert "All votes" in html and "Your votes" not in html and 'title="Deletes 4 votes"' in html
    both = tallies_html(tallies("own", "together"), asking=True)
    assert both.count("<table") == 4 and both.index("Your votes") < both.index("All votes")
    assert "4 votes: gone for good?" in both and 'data-act="delete-votes"' in both


def test_without_votes_there_is_nothing_to_delete() -> None:
    empty: Tallies = {"own": {"best": tally([], "best")}, "together": tallies("together")["together"]}
    html = tallies_html(empty)
    assert "No votes yet." in html and "data-act" not in html
