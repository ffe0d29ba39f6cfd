"""Blind vote in Compare: a fold with texts that nobody can tell by their names, and what the votes on them say."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlm.analysis.figures import arch_colour
from charlm.analysis.votes import HUMAN, HUMAN_NAME, QUESTIONS, Row, Tallies, Tally, Whose, finding, votes_csv
from charlm.errors import CharLMError, ConfigError
from charlm.public.services import Services, VoteAccess
from charlm.serving.ballots import Ballot
from charlm.serving.stops import Stops
from charlm.serving.votes import Answer, Author
from charlm.ui.compare.form import WRITING, Changes, Controls, Given
from charlm.ui.compare.ranking import found_runs
from charlm.ui.formatting import count, listed
from charlm.ui.html import ACTIONS_JS, QUICK, QUIET, Cell, marked_text, render, table, toast
from charlm.ui.services import click_js

TITLE = "Blind vote"
ABOUT = (
    "The chosen models continue a piece of their text that none of them has learned from, with the settings above and "
    "another seed each time; how the text really goes on is among what is shown. All are equally long, in random order "
    "and without names. Choose one, and see who wrote it."
)
HEAD = ("Written by", "Chosen", "Share", "Chance", "Strength")
PHONE_COLUMNS = (0, 2, 4)
WHOSE: dict[Whose, str] = {"own": "Your votes", "together": "All votes"}
NEUTRAL, INK = "var(--grey)", "var(--ink)"
MOST_ID = 100  # characters of a ballot's id that are looked at


@dataclass(frozen=True)
class VoteFold:
    """The components of the fold.

    Attributes:
        left_out: says which of the chosen models take no part.
        question: which text is to be chosen.
        ballot: the texts; its `act` event says which button is pressed.
        tallies: what the votes say; empty while texts wait for a vote, so that no name is in sight.
    """

    fold: gr.Accordion
    left_out: gr.HTML
    question: gr.Radio
    stop: gr.Button
    ballot: gr.HTML
    tallies: gr.HTML
    csv: gr.Button
    csv_file: gr.DownloadButton


def build() -> VoteFold:
    """The fold; call inside the tab."""
    with gr.Accordion(TITLE, open=False, elem_id="compare-vote-fold", elem_classes="fold section-fold") as fold:
        gr.HTML(render("hint", sentence=ABOUT), apply_default_css=False)
        left_out = gr.HTML("", elem_id="compare-vote-left-out", apply_default_css=False)
        plain: dict[str, Any] = {"size": "sm", "elem_classes": "quiet", "scale": 0}
        question = gr.Radio(
            [(question, kind) for kind, question in QUESTIONS.items()], value="best", label="Question",
            elem_id="compare-vote-question", elem_classes="segmented",
        )  # fmt: skip
        ballot = gr.HTML(ballot_html(), elem_id="compare-ballot", js_on_load=ACTIONS_JS, apply_default_css=False)
        stop = gr.Button("Stop", elem_id="compare-vote-stop", visible=False, **plain)
        tallies = gr.HTML("", elem_id="compare-votes", js_on_load=ACTIONS_JS, apply_default_css=False)
        csv = gr.Button("Download CSV", elem_id="compare-votes-csv", **plain)
        csv_file = gr.DownloadButton("CSV", visible="hidden", elem_id="compare-votes-csv-file")
    return VoteFold(fold, left_out, question, stop, ballot, tallies, csv, csv_file)


def wire(fold: VoteFold, controls: Controls, services: Services) -> None:
    """What the buttons do.

    Args:
        fold: see `build`.
        controls: the models, and how they write.
        services: for the models and the votes.
    """
    stops = Stops()

    def act(event: gr.EventData, given: Given, request: gr.Request) -> Iterator[Changes]:
        order = event._data if isinstance(event._data, Mapping) else {}
        if order.get("act") == "vote":
            yield vote(services.serving.votes, order, str(given[fold.question]))
        elif order.get("act") in ("begin", "other"):
            yield from begin(given, request)

    def begin(given: Given, request: gr.Request) -> Iterator[Changes]:
        yield {fold.ballot: ballot_html(busy=True), fold.tallies: "", fold.stop: gr.update(visible=True)}
        html = ballot_html()
        try:
            runs, config = found_runs(services.store, given[controls.models]), controls.config(given)
            with stops.begun(request.session_hash or "") as stopped:
                for progress in services.serving.votes.ballot(runs, config):
                    if progress.result or stopped.is_set():
                        html = ballot_html(progress.result)
                        break
                    yield {fold.ballot: ballot_html(share=progress.share, busy=True)}
        except CharLMError as error:
            html = ballot_html(error=str(error))
        yield {fold.ballot: html, fold.tallies: show(html), fold.stop: gr.update(visible=False)}

    def vote(votes: VoteAccess, order: Mapping[str, Any], kind: str) -> Changes:
        place, ballot = str(order.get("place", "")), str(order.get("ballot", ""))[:MOST_ID]
        try:
            if place not in "0123456" or len(place) != 1:
                raise ConfigError("that text is no longer there; take other ones")
            answer = votes.vote(ballot, int(place), kind)
            return {fold.ballot: answer_html(answer), fold.tallies: tallies_html(votes.tallies())}
        except CharLMError as error:
            return {fold.ballot: ballot_html(error=str(error))}

    def show(ballot: str | None) -> str:
        """What the votes say, unless texts wait for one."""
        return "" if 'data-act="vote"' in (ballot or "") else tallies_html(services.serving.votes.tallies())

    def reset(event: gr.EventData) -> str:
        name, votes = event._data.get("act") if isinstance(event._data, Mapping) else None, services.serving.votes
        try:
            if name == "delete-votes":
                votes.reset()
            return tallies_html(votes.tallies(), asking=name == "ask-votes")
        except CharLMError as error:
            gr.Warning(toast(error), title="The votes were not deleted")
            return tallies_html(votes.tallies())

    def save() -> str:
        try:
            return services.files.text("charlm-votes.csv", votes_csv(services.serving.votes.tallies()))
        except CharLMError as error:
            raise gr.Error(toast(error), print_exception=False) from error

    def stop(request: gr.Request) -> None:
        stops.stop(request.session_hash or "")

    asked = {fold.question, controls.models, *controls.settings.values()}
    fold.ballot.act(act, asked, [fold.ballot, fold.tallies, fold.stop], concurrency_limit=WRITING, **QUIET)
    fold.stop.click(stop, None, None, **QUICK)
    fold.fold.expand(show, fold.ballot, fold.tallies, **QUICK)
    fold.tallies.act(reset, None, fold.tallies, **QUIET)
    saved = fold.csv.click(save, None, fold.csv_file, **QUIET)
    saved.success(None, js=click_js(fold.csv_file.elem_id or ""))


def name_of(place: int) -> str:
    """What a text is called before its author is known: `Text A`, `Text B`."""
    return f"Text {chr(ord('A') + place)}"


def ballot_html(ballot: Ballot | None = None, share: float = 0.0, busy: bool = False, error: str = "") -> str:
    """The texts of a ballot without their authors; or how far they are, or why there are none.

    Args:
        ballot: None: there is none yet.
        share: of the texts that is written.
        busy: whether they are being written.
        error: why there are none.
    """
    texts = [_text(place, ballot.prompt, text) for place, text in enumerate(ballot.texts)] if ballot else []
    about = _about(ballot.part, ballot.corpus, len(ballot.texts[0])) if ballot else ""
    return render(
        "ballot", error=error, said="", about=about, texts=texts, ballot=ballot.ballot if ballot else "", busy=busy,
        share=share,
    )  # fmt: skip


def answer_html(answer: Answer) -> str:
    """The same texts after the vote, with who wrote them."""
    named = zip(answer["texts"], answer["authors"], strict=True)
    texts = [_text(place, answer["prompt"], text, author) for place, (text, author) in enumerate(named)]
    about = _about(answer["part"], answer["corpus"], len(answer["texts"][0]))
    return render("ballot", error="", said=_said(answer), about=about, texts=texts, ballot="", busy=False, share=1.0)


def _text(place: int, prompt: str, text: str, author: Author | None = None) -> dict[str, str]:
    """A text's column; with its author only after the vote."""
    colour = NEUTRAL if author is None else _colour(author["run_id"], author["arch"])
    return {
        "name": name_of(place),
        "colour": colour,
        "author": _called(author) if author else "",
        "text_html": marked_text(prompt, f"{text}…"),
    }


def _colour(run_id: str, arch: str) -> str:
    """The model's; ink, which no model has, for the human."""
    return INK if run_id == HUMAN else arch_colour(arch)


def _called(author: Author) -> str:
    return HUMAN_NAME if author["run_id"] == HUMAN else author["label"]


def _about(part: str, corpus: str, length: int) -> str:
    size = count(length, "character")
    return f"All continue the same words of {corpus}, from its {part} part, with {size}. One is how it really goes on."


def _said(answer: Answer) -> str:
    """What was chosen, and which text the human wrote."""
    names = [_called(author) for author in answer["authors"]]
    chosen, human = answer["chosen"], name_of(answer["human"])
    if answer["kind"] == "human":
        if chosen == answer["human"]:
            return f"Right: {human} is the human's."
        return f"No: {name_of(chosen)} is by {names[chosen]}; {human} is the human's."
    others = [f"{name_of(place)} by {name}" for place, name in enumerate(names) if place != chosen]
    return f"You chose {name_of(chosen)} by {names[chosen]}. {listed(others)}."


def tallies_html(tallies: Tallies, asking: bool = False) -> str:
    """What the votes say, as sentences and tables, and the button that deletes them.

    Args:
        tallies: of one user's votes, or of a visitor's and of all.
        asking: whether it is asked before they are deleted.
    """
    parts = [
        (WHOSE[whose], [(finding(one), _table(one)) for one in kinds.values() if one["votes"]])
        for whose, kinds in tallies.items()
    ]
    own = sum(one["votes"] for one in tallies.get("own", tallies["together"]).values())
    return render("votes", parts=parts, deletable=count(own, "vote") if own else "", asking=asking)


def _table(found: Tally) -> str:
    return table(HEAD, [_cells(row) for row in found["rows"]], keep=PHONE_COLUMNS, kind="votes")


def _cells(row: Row) -> list[Cell | str]:
    low, high = row["strength_low"], row["strength_high"]
    strength = f"{row['strength']:.2f}" + ("" if low is None or high is None else f" ({low:.2f} to {high:.2f})")
    name = render("author", colour=_colour(row["run_id"], row["arch"]), name=row["name"])
    share = f"{100 * row['share']:.0f} % ({100 * row['low']:.0f} to {100 * row['high']:.0f})"
    return [Cell(html=name), f"{row['chosen']} of {row['shown']}", share, f"{100 * row['chance']:.0f} %", strength]
