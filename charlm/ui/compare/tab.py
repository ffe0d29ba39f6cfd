"""Compare: who won and by how much, one prompt for up to six models, their curves and ranking."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlm.errors import CharLMError
from charlm.ui import baselines
from charlm.ui.compare import form, next_tokens
from charlm.ui.compare.ranking import (
    MOST,
    asked,
    comparable,
    default_runs,
    found_runs,
    ranking_csv,
    ranking_table,
    run_choices,
)
from charlm.ui.compare.view import resting_columns
from charlm.ui.files import click_js
from charlm.ui.html import Services, Shared, asset, heading, plot_data, section, toast
from charlm.ui.verdict import loss_unit, names, same_tokens, verdict

COLUMNS_JS = asset("compare.js")
# What a text costs without a network may be on its way; then it is asked for again in a moment.
WAITING_JS = """
const ask = () => { if (element.isConnected && element.querySelector('[data-waiting]')) trigger('refresh', {}); };
new MutationObserver(() => setTimeout(ask, 1200)).observe(element, { childList: true, subtree: true });
"""


@dataclass(frozen=True)
class CompareTab:
    """The components that others read or write."""

    verdict: gr.HTML
    models: gr.Dropdown
    controls: form.Controls
    columns: gr.HTML
    plot: gr.Plot
    ranking: gr.HTML
    fold: gr.Accordion
    ladder: gr.HTML
    csv: gr.Button
    csv_file: gr.DownloadButton


def build(services: Services, shared: Shared) -> CompareTab:
    """The tab's components and their wiring; call inside its gr.Tab."""
    tab = _components(services)
    _wire_choice(tab, services, shared)
    form.wire(tab.controls, tab.models, tab.columns, services)
    _wire_csv(tab, services)
    return tab


def _components(services: Services) -> CompareTab:
    runs = services.store.list()
    chosen = found_runs(services.store, default_runs(runs))
    head = gr.HTML(heading(*verdict(chosen)), elem_id="compare-verdict", js_on_load=WAITING_JS, apply_default_css=False)
    with gr.Row(elem_id="compare-bar", elem_classes="bar-line"):
        prompt = form.prompt_box()
        models = gr.Dropdown(
            run_choices(comparable(runs)), value=[run.run_id for run in chosen], multiselect=True, max_choices=MOST,
            label="Models", elem_id="compare-models", scale=6,
        )  # fmt: skip
        buttons = form.buttons()
    settings = form.build()
    columns = gr.HTML(
        resting_columns(chosen, {}), elem_id="compare-columns", js_on_load=COLUMNS_JS, apply_default_css=False
    )
    writing = form.Controls(prompt, *buttons, settings, *form.hidden(), next_tokens.build(services))
    with gr.Row(elem_classes="halves"):
        with gr.Column(min_width=320):
            gr.HTML(
                section("How they learned", "Bold: held-out text. Faint: training batches. Ring: the step kept."),
                apply_default_css=False,
            )
            plot = gr.Plot(show_label=False, container=False, elem_id="compare-plot")
        with gr.Column(min_width=320):
            gr.HTML(section("Ranking", "By validation loss, lower is better."), apply_default_css=False)
            ranking = gr.HTML(ranking_table(chosen), elem_id="compare-ranking", apply_default_css=False)
            csv = gr.Button("Download CSV", size="sm", elem_id="compare-csv", elem_classes="quiet")
            csv_file = gr.DownloadButton("CSV", visible="hidden", elem_id="compare-csv-file")
    with gr.Accordion(baselines.TITLE, open=False, elem_id="compare-rungs", elem_classes="fold section-fold") as rungs:
        ladder = gr.HTML("", elem_id="compare-ladder", apply_default_css=False)
    return CompareTab(head, models, writing, columns, plot, ranking, rungs, ladder, csv, csv_file)


def loss_plot(runs: list[Any], baselines: Any = None) -> Any:
    """The chosen runs' curves in one figure, with what their text costs without a network; None without runs.

    Where their tokens differ it is in bits per character, and without those lines.
    """
    from charlm.analysis.plots import Curve, loss_plot, scaled

    if not runs:
        return None
    unit, factors = loss_unit(runs)
    curves = [
        Curve(run.run_id, name, run.arch, scaled(run.history().rows, factor), run.best_step)
        for run, name, factor in zip(runs, names(runs), factors, strict=True)
    ]
    levels = baselines.levels(baselines) if same_tokens(runs) else ()
    return plot_data(loss_plot(curves, unit=unit, levels=levels))


def _wire_choice(tab: CompareTab, services: Services, shared: Shared) -> None:
    """Choosing models redraws the page's measured parts; opening it, and a job's end, renew the picker."""
    store, serving = services.store, services.serving

    def picker(wanted: Sequence[str]) -> Any:
        runs = comparable(store.list())
        known = {run.run_id for run in runs}
        return gr.update(choices=run_choices(runs), value=[one for one in wanted if one in known][:MOST])

    def open_with() -> Any:
        return picker(default_runs(store.list()))

    def offer(ids: list[str] | None) -> Any:
        return picker(ids or [])

    def take(message: str) -> Any:
        return picker(asked(message).get("runs", []))

    def show(ids: list[str]) -> tuple[str, str, str, Any]:
        runs = found_runs(store, ids)
        lexicons = {run.run_id: serving.lexicon(run) for run in runs}
        return head(runs), resting_columns(runs, lexicons), ranking_table(runs), gr.update(visible=False)

    def worth(runs: list[Any]) -> str:
        return baselines.sentence(serving.baselines.of(runs), baselines.networks(runs, names(runs)))

    def head(runs: list[Any]) -> str:
        said = heading(*verdict(runs, worth(runs)))
        return said + (f'<i data-waiting="{time.time_ns()}"></i>' if serving.baselines.is_coming(runs) else "")

    def draw(ids: list[str]) -> tuple[Any, ...]:
        runs = found_runs(store, ids)
        known, coming = serving.baselines.of(runs), serving.baselines.is_coming(runs)
        html = baselines.ladder_html(known, coming, runs, names(runs))
        return loss_plot(runs, known), gr.update(label=baselines.title(worth(runs))), html

    def look_again(ids: list[str]) -> tuple[Any, ...]:
        runs = found_runs(store, ids)
        rest = [gr.skip()] * len(drawn) if serving.baselines.is_coming(runs) else draw(ids)
        return head(runs), *rest

    def redraw(event: Any) -> None:
        event.then(show, tab.models, shown, queue=False, **quiet)
        event.then(draw, tab.models, drawn, queue=False, **quiet)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    shown = [tab.verdict, tab.columns, tab.ranking, tab.controls.more]
    drawn = [tab.plot, tab.fold, tab.ladder]
    redraw(shared.page.load(open_with, None, tab.models, queue=False, **quiet))
    redraw(shared.compare.change(take, shared.compare, tab.models, queue=False, **quiet))
    tab.models.input(show, tab.models, shown, queue=False, trigger_mode="always_last", **quiet)
    tab.models.input(draw, tab.models, drawn, queue=False, trigger_mode="always_last", **quiet)
    tab.verdict.refresh(look_again, tab.models, [tab.verdict, *drawn], queue=False, **quiet)
    tab.columns.refresh(offer, tab.models, tab.models, queue=False, **quiet)


def _wire_csv(tab: CompareTab, services: Services) -> None:
    """The ranking as a file."""

    def save(ids: list[str]) -> str:
        try:
            return services.files.text("charlm-ranking.csv", ranking_csv(found_runs(services.store, ids)))
        except CharLMError as error:
            raise gr.Error(toast(error), print_exception=False) from error

    pressed = tab.csv.click(save, tab.models, tab.csv_file, show_progress="hidden", api_visibility="private")
    pressed.then(None, js=click_js("compare-csv-file"))
