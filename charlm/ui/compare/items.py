"""Items in Compare: a fold that is there for models of lists, and says how many of what they write is new."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlm.errors import CharLMError
from charlm.public.services import Services
from charlm.serving.stops import Stops
from charlm.serving.texts import nats_per_item
from charlm.ui import formatting
from charlm.ui.api import whole_of
from charlm.ui.compare.form import settings_in
from charlm.ui.compare.ranking import found_runs, model_name, shape
from charlm.ui.html import QUIET, Cell, notice, render, swatch, table
from charlm.ui.verdict import names

TITLE = "Items: unique, new, valid"
ABOUT = (
    "Each model of a list writes until so many different items are there, with prompt and settings as above. Unique: "
    "the share of all written that did not repeat an earlier one. New: the share of the different ones that are not in "
    "the text it learned from."
)
ABOUT_CHECK = "Valid: the share of the different ones that match the pattern as a whole."
COUNT = 100
HEAD = ("Model", "Different", "Written", "Unique", "New", "Valid", "Nats per item, held out")
PHONE_COLUMNS = (0, 3, 4, 5)
SHOWN = 30  # items of a model under the table


@dataclass(frozen=True)
class ItemsFold:
    """The components of the fold; `check` is not in sight on a public Space, where patterns of visitors are not run."""

    fold: gr.Accordion
    count: gr.Number
    check: gr.Textbox
    write: gr.Button
    shares: gr.HTML


def build(services: Services, chosen: Sequence[Any]) -> ItemsFold:
    """The fold; call inside the tab."""
    is_open = services.limits is None
    with gr.Accordion(
        TITLE, open=True, visible=bool(of_lists(chosen)), elem_id="compare-items-fold", elem_classes="fold section-fold"
    ) as fold:
        about = f"{ABOUT} {ABOUT_CHECK}" if is_open else ABOUT
        gr.HTML(render("hint", sentence=about), apply_default_css=False)
        with gr.Row(elem_classes="settings"):
            count = gr.Number(
                COUNT, precision=0, label="Different items", info="Of each model", elem_id="compare-items-count"
            )
            check = gr.Textbox(
                label="Valid if it matches", info="A regular expression, or smiles (asks RDKit)",
                placeholder="[A-Z][a-z]+", max_length=1000, visible=is_open, elem_id="compare-items-check",
            )  # fmt: skip
        with gr.Row(elem_classes="keep-line"):
            write = gr.Button("Write items", size="sm", scale=0, elem_classes="quiet", elem_id="compare-items-write")
        shares = gr.HTML("", elem_id="compare-items", apply_default_css=False)
    return ItemsFold(fold, count, check, write, shares)


def wire(
    fold: ItemsFold, models: gr.Dropdown, prompt: gr.Textbox, how: gr.Textbox, left: Stops, services: Services
) -> None:
    """What the button does; another choice of models takes the numbers away, see `tab`.

    Args:
        fold: see `build`.
        models: the picker.
        prompt: what each item begins with.
        how: the settings of sampling, as JSON.
        left: ends the writing without a word, since other models are chosen.
        services: for the models.
    """

    def write(
        ids: list[str], count: Any, check: str, prompt: str, how: str, request: gr.Request
    ) -> Iterator[dict[Any, Any]]:
        with left.begun(request.session_hash or "") as is_left:
            yield {fold.write: gr.update(interactive=False), fold.shares: render("hint", sentence="Writing…")}
            runs, found = of_lists(found_runs(services.store, ids)), list[tuple[Any, str, Any]]()
            html = ""
            try:
                number, config, wanted = whole_of(count, "count"), settings_in(how), (check or "").strip()
                for run, name in zip(runs, names(runs), strict=True):
                    written = services.serving.items(run, number, prompt or "", config, wanted)
                    if is_left.is_set():
                        break
                    found.append((run, name, written))
                    html = shares_html(found)
                    yield {fold.shares: html}
            except CharLMError as error:
                html += notice("Not all could be counted." if found else "Nothing was counted.", str(error), "error")
            yield {fold.write: gr.update(interactive=True), **({} if is_left.is_set() else {fold.shares: html})}

    inputs = [models, fold.count, fold.check, prompt, how]
    gr.on([fold.write.click, fold.check.submit], write, inputs, [fold.write, fold.shares], concurrency_limit=2, **QUIET)


def of_lists(runs: Sequence[Any]) -> list[Any]:
    """The runs that learned a list of items."""
    return [run for run in runs if run.corpus_config.is_list]


def shares_html(found: Sequence[tuple[Any, str, Any]]) -> str:
    """The table, and the first items of each model.

    Args:
        found: runs, what to call them, and a `charlm.analysis.new_items.NewItems` of each.
    """
    rows: list[list[Cell | str]] = []
    for run, name, written in found:
        title = Cell(html=f"{swatch(run.arch)}{model_name(name, shape(run))}")
        counts = formatting.whole(len(written.items)), formatting.whole(written.written)
        shares = [formatting.percent(share) for share in (written.unique, written.new, written.valid)]
        rows.append([title, *counts, *shares, formatting.nats(nats_per_item(run))])
    html = table(HEAD, rows, keep=PHONE_COLUMNS, kind="items", id="items-table")
    unfinished = [(name, written.unfinished) for _, name, written in found if written.unfinished]
    notes = [
        f"{name}: {count:,} more had no end within the length above and do not count." for name, count in unfinished
    ]
    shown = [(name, written.items[:SHOWN], len(written.items)) for _, name, written in found]
    return html + render("items", notes=notes, shown=shown)
