"""Pretrained models in Compare: a fold that loads them as columns, and scores them on the runs' held-out text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from charlm.errors import CharLMError
from charlm.pretrained import MAY_KNOW, SUGGESTED
from charlm.public.services import Services
from charlm.serving.pretrained import CHARACTERS, offered
from charlm.serving.stops import Stops
from charlm.ui import formatting
from charlm.ui.api import whole_of
from charlm.ui.compare.ranking import Models, found_runs, model_name, request
from charlm.ui.html import QUICK, QUIET, Cell, Shared, notice, render, swatch, table, toast

TITLE = "Pretrained model"
ABOUT = (
    "A language model that others trained, with a tokenizer of its own, as one more column: it writes from the same "
    "prompt with the same settings, its length in characters. It has no curve and no place in the ranking, and takes "
    "no part in blind votes, cross-perplexity, duels and next-token probabilities."
)
WHERE = "A folder with safetensors, a .gguf file, or owner/name on the Hugging Face Hub"
CHOSEN = "One of those that this Space offers"
LOADING = "Loading… Reading a large model, or unpacking a GGUF file, takes a minute; a download longer."
STOPPED = "It was stopped, so only the beginning was read."
HEAD = ("Model", "Bits/char", "Tokens", "Parameters")


@dataclass(frozen=True)
class PretrainedFold:
    """The components of the fold."""

    source: gr.Dropdown
    load: gr.Button
    remove: gr.Button
    loaded: gr.HTML
    characters: gr.Number
    score: gr.Button
    stop: gr.Button
    scores: gr.HTML


def build(services: Services) -> PretrainedFold:
    """The fold; call inside the tab. On a public Space it is there only if CHARLM_PRETRAINED offers something."""
    is_public = services.limits is not None
    names = offered() or ([] if is_public else [SUGGESTED])
    fold: dict[str, Any] = {"open": False, "elem_id": "compare-pretrained-fold", "elem_classes": "fold section-fold"}
    with gr.Accordion(TITLE, visible=bool(names), **fold):
        gr.HTML(render("hint", sentence=ABOUT), apply_default_css=False)
        with gr.Row(elem_classes="bar-line"):
            source = gr.Dropdown(
                names, value=names[0] if names else None, allow_custom_value=not is_public, label="Model",
                info=CHOSEN if is_public else WHERE, elem_id="compare-pretrained-source", scale=5,
            )  # fmt: skip
            load = gr.Button("Load", elem_id="compare-pretrained-load", scale=0, min_width=120)
            remove = gr.Button(
                "Remove", elem_id="compare-pretrained-remove", visible=not is_public, scale=0, min_width=90
            )
        loaded = gr.HTML("", elem_id="compare-pretrained-loaded", apply_default_css=False)
        with gr.Row(elem_classes="bar-line"):
            characters = gr.Number(
                CHARACTERS, precision=0, minimum=0, label="Characters", elem_id="compare-pretrained-characters",
                info="Scored from the beginning of the held-out text of the first run that is chosen; 0: all",
            )  # fmt: skip
            score = gr.Button("Score", elem_id="compare-pretrained-score", scale=0, min_width=120)
            stop = gr.Button("Stop", elem_id="compare-pretrained-stop", visible=False, scale=0, min_width=120)
        scores = gr.HTML("", elem_id="compare-pretrained-scores", apply_default_css=False)
    return PretrainedFold(source, load, remove, loaded, characters, score, stop, scores)


def wire(fold: PretrainedFold, models: gr.Dropdown, shared: Shared, services: Services) -> Any:
    """What the buttons do; returns the event of a score.

    Args:
        fold: see `build`.
        models: the picker.
        shared: says when a page opens, and hands a choice of models to Compare.
        services: for the models.
    """
    known, stops, compare = services.serving.pretrained, Stops(), shared.compare

    def opened() -> dict[Any, Any]:
        sources = [one.source for one in known.list()]
        if not sources:
            return {fold.loaded: ""}
        shown = gr.update(choices=list(dict.fromkeys([*sources, *offered()])), value=sources[-1])
        return {fold.source: shown, fold.loaded: loaded_html(services)}

    def load(source: str | None, ids: list[str]) -> Iterator[dict[Any, Any]]:
        yield {fold.loaded: render("hint", sentence=LOADING), fold.load: gr.update(interactive=False)}
        told: dict[Any, Any] = {}
        try:
            found = known.load(source or "")
            told = {compare: request(runs=[*dict.fromkeys([*ids, found.run_id])])}
        except CharLMError as error:
            gr.Warning(toast(error), title="It was not loaded")
        yield {**told, fold.loaded: loaded_html(services), fold.load: gr.update(interactive=True)}

    def remove(source: str | None, ids: list[str]) -> dict[Any, Any]:
        try:
            known.remove(source or "")
        except CharLMError as error:
            raise gr.Error(toast(error), print_exception=False) from error
        return {compare: request(runs=ids), fold.loaded: loaded_html(services)}

    def score(ids: list[str], characters: float | None, asking: gr.Request) -> Iterator[dict[Any, Any]]:
        yield {**_buttons(fold, busy=True), fold.scores: scores_html(None, 0.0)}
        last = ""
        try:
            chosen = found_runs(Models(services), ids)
            with stops.begun(asking.session_hash or "") as stopped:
                for progress in services.serving.score(chosen, whole_of(characters or 0, "characters")):
                    last = scores_html(progress.result, progress.share)
                    yield {fold.scores: last}
                    if stopped.is_set():
                        last = scores_html(progress.result, 1.0, STOPPED)
                        break
        except CharLMError as error:
            last = notice("Nothing was scored.", str(error), "error")
        yield {**_buttons(fold, busy=False), fold.scores: last}

    def stop(asking: gr.Request) -> None:
        stops.stop(asking.session_hash or "")

    inputs = [fold.source, models]
    shared.page.load(opened, None, [fold.source, fold.loaded], **QUICK)
    fold.load.click(load, inputs, [fold.loaded, fold.load, compare], concurrency_limit=4, **QUIET)
    fold.remove.click(remove, inputs, [fold.loaded, compare], **QUIET)
    shown = [fold.score, fold.stop, fold.scores]
    fold.stop.click(stop, None, None, **QUICK)
    return fold.score.click(score, [models, fold.characters], shown, concurrency_limit=4, **QUIET)


def _buttons(fold: PretrainedFold, busy: bool) -> dict[Any, Any]:
    return {fold.score: gr.update(visible=not busy), fold.stop: gr.update(visible=busy)}


def loaded_html(services: Services) -> str:
    """What is loaded, a line each; empty if nothing is."""
    said = "{} is loaded, and one of the Models above: {}; it looks back on {:,} tokens."
    loaded = services.serving.pretrained.list()
    return "".join(render("hint", sentence=said.format(one.label, one.size, one.context)) for one in loaded)


def scores_html(found: Mapping[str, Any] | None, share: float, said: str = "") -> str:
    """The scores as a table, and how far they are.

    Args:
        found: `charlm.serving.pretrained.Scores`; None: nothing yet.
        share: of the work that is done.
        said: more to say under the table; empty: nothing.
    """
    busy = render("progress", share=share, doing="Scoring") if share < 1 else ""
    if found is None:
        return busy
    rows: Sequence[Any] = found["rows"]
    cells: list[list[Cell | str]] = [
        [
            Cell(html=swatch(row["arch"]) + model_name(row["label"], row["error"])),
            Cell(("≤ " if row["upper_bound"] else "") + formatting.bits(row["bits_per_char"]), strong=True),
            formatting.whole(row["tokens"]),
            formatting.whole(row["parameters"]),
        ]
        for row in rows
    ]
    about = (
        f"Measured on {found['text']}. ≤: an upper bound, since a text can be written with other tokens, too, and only "
        f"one way is counted. {MAY_KNOW}."
    )
    return table(HEAD, cells, kind="ranking") + f'<p class="hint">{escape(f"{about} {said}".strip())}</p>' + busy
