"""Compare: who won and by how much, one prompt for up to six models, their curves and ranking."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr

from charlm.analysis.comparison import with_other_seeds
from charlm.config import SampleConfig
from charlm.errors import CharLMError
from charlm.public.services import Services
from charlm.serving.stops import Stops
from charlm.ui import verdict
from charlm.ui.compare import cross, form, items, pretrained, vote
from charlm.ui.compare.link import linked, sentence
from charlm.ui.compare.ranking import (
    MOST,
    Models,
    asked,
    default_runs,
    found_runs,
    left_out,
    ranking_csv,
    ranking_table,
)
from charlm.ui.compare.view import resting_columns, resting_prompt
from charlm.ui.html import QUICK, QUIET, Shared, heading, plot_data, render, section, toast
from charlm.ui.services import click_js
from charlm.ui.verdict import names

LEGEND = "Bold: held-out text. Faint: training batches. Ring: the step kept."
# What a text costs without a network may be on its way; then it is asked for again in a moment, until it is there.
WAITING_JS = """
const ask = () => { if (element.isConnected && element.querySelector('[data-waiting]')) trigger('refresh', {}); };
setInterval(ask, 1500);
"""
# What is chosen before the models come that the page opens with, stays.
CHOSEN_JS = "(models) => { window.charlmChosen = models; }"
FIRST_JS = "(models) => [window.charlmChosen ?? models]"


@dataclass(frozen=True)
class CompareTab:
    """The components that others read or write."""

    verdict: gr.HTML
    controls: form.Controls
    items: items.ItemsFold
    plot: gr.Plot
    ranking: gr.HTML
    fold: gr.Accordion
    baselines: gr.HTML
    csv: gr.Button
    csv_file: gr.DownloadButton
    pretrained: pretrained.PretrainedFold
    cross: cross.CrossFold
    vote: vote.VoteFold


def build(services: Services, shared: Shared) -> CompareTab:
    """The tab's components and their wiring; call inside its gr.Tab."""
    tab = _components(services)
    left = Stops()
    _wire_choice(tab, left, services, shared)
    form.wire(tab.controls, services)
    items.wire(tab.items, tab.controls.models, tab.controls.prompt, tab.controls.how, left, services)
    _wire_csv(tab, services)
    scored = pretrained.wire(tab.pretrained, tab.controls.models, shared, services)
    form.redraw(scored, tab.controls, services)
    cross.wire(tab.cross, tab.controls.models, left, services)
    vote.wire(tab.vote, tab.controls, services)
    return tab


def _components(services: Services) -> CompareTab:
    chosen = found_runs(services.store, default_runs(services.store.list()))
    finding = heading(*verdict.verdict(chosen))
    head = gr.HTML(finding, elem_id="compare-verdict", js_on_load=WAITING_JS, apply_default_css=False)
    controls = form.build(services, chosen)
    of_items = items.build(services, chosen)
    with gr.Row(elem_classes="halves"):
        with gr.Column(min_width=320):
            gr.HTML(section("How they learned", LEGEND), apply_default_css=False)
            plot = gr.Plot(
                label="Losses of the chosen models", show_label=False, container=False, elem_id="compare-plot"
            )
            gr.HTML(render("picture", plot="compare-plot"), apply_default_css=False)
        with gr.Column(min_width=320):
            gr.HTML(section("Ranking", "By validation loss, lower is better."), apply_default_css=False)
            ranking = gr.HTML(ranking_table(chosen), elem_id="compare-ranking", apply_default_css=False)
            csv = gr.Button("Download CSV", size="sm", elem_id="compare-csv", elem_classes="quiet")
            csv_file = gr.DownloadButton("CSV", visible="hidden", elem_id="compare-csv-file")
    with gr.Accordion(verdict.BASELINES, open=False, elem_id="compare-rungs", elem_classes="fold section-fold") as fold:
        baselines = gr.HTML("", elem_id="compare-ladder", apply_default_css=False)
    others = pretrained.build(services)
    return CompareTab(
        head, controls, of_items, plot, ranking, fold, baselines, csv, csv_file, others, cross.build(), vote.build()
    )


def loss_plot(runs: list[Any], baselines: Any = None) -> Any:
    """The chosen runs' curves in one figure, with what their text costs without a network; None without runs.

    Where their tokens differ it is in bits per character, and without those lines.
    """
    from charlm.analysis.plots import Curve, loss_plot, scaled

    if not runs:
        return None
    unit, factors = verdict.loss_unit(runs)
    curves = [
        Curve(run.run_id, name, run.arch, scaled(run.history().rows, factor), run.best_step)
        for run, name, factor in zip(runs, names(runs), factors, strict=True)
    ]
    levels = verdict.levels(baselines) if verdict.same_tokens(runs) else ()
    return plot_data(loss_plot(curves, unit=unit, levels=levels))


def _wire_choice(tab: CompareTab, left: Stops, services: Services, shared: Shared) -> None:
    """Choosing models redraws the page's measured parts; opening it, and a job's end, renew the picker.

    Args:
        tab: see `CompareTab`.
        left: ends measurements of the models chosen before.
        services: for the models.
        shared: what tabs tell each other.
    """
    store, serving, controls, models = services.store, services.serving, tab.controls, tab.controls.models

    all_models = Models(services)

    def picker(wanted: Sequence[str]) -> Any:
        choices = all_models.choices()
        known = {run_id for _, run_id in choices}
        return gr.update(choices=choices, value=[one for one in wanted if one in known][:MOST])

    def open_with(request: gr.Request) -> form.Changes:
        wanted = linked(request.query_params, all_models, form.SLIDERS)
        ids, prompt = wanted.runs or default_runs(store.list()), wanted.prompt
        shown: form.Changes = {models: picker(ids), told: sentence(wanted)}
        if prompt is not None:  # it stays, unless it is the one that the page would fill in
            is_filled = prompt == resting_prompt(found_runs(store, ids))
            shown |= {controls.prompt: prompt, controls.filled: prompt if is_filled else f"not {prompt}"}
        if wanted.settings:
            shown |= controls.show(replace(SampleConfig(), **wanted.settings))
        return shown

    def tell(problems: str) -> None:
        gr.Warning(escape(problems, quote=False), title="Part of the link could not be used")

    def offer(ids: list[str] | None) -> Any:
        return picker(ids or [])

    def take(message: str) -> Any:
        return picker(asked(message).get("runs", []))

    def show(ids: list[str], request: gr.Request) -> tuple[Any, ...]:
        left.stop(request.session_hash or "")
        runs, shown = found_runs(store, ids), found_runs(all_models, ids)
        lexicons = {run.run_id: serving.lexicon(run) for run in shown}
        prompt, more, others = json.dumps(resting_prompt(runs)), gr.update(interactive=False), left_out(shown)
        ranking = ranking_table(runs) + others
        folds = others, others, gr.update(visible=bool(items.of_lists(runs))), "", "", gr.update(visible=False)
        return head(runs), resting_columns(shown, lexicons), ranking, more, prompt, "", *folds

    def matched(runs: list[Any]) -> str:
        return verdict.matched_orders(serving.baselines.of(runs), verdict.networks(runs, names(runs)))

    def by_seeds(runs: list[Any]) -> str:
        found = with_other_seeds(runs, store.list()) if any(run.train_config.random_start for run in runs) else None
        return " ".join(found.sentences()) if found else ""

    def head(runs: list[Any]) -> str:
        finding = heading(*verdict.verdict(runs, matched(runs), by_seeds(runs)))
        return finding + (f'<i data-waiting="{time.time_ns()}"></i>' if serving.baselines.is_coming(runs) else "")

    def draw(ids: list[str]) -> tuple[Any, ...]:
        runs = found_runs(store, ids)
        known, coming = serving.baselines.of(runs), serving.baselines.is_coming(runs)
        bars = verdict.baselines_html(known, coming, runs, names(runs))
        return loss_plot(runs, known), gr.update(label=verdict.baselines_title(matched(runs))), bars

    def look_again(ids: list[str]) -> tuple[Any, ...]:
        runs = found_runs(store, ids)
        rest = [gr.skip()] * len(drawn) if serving.baselines.is_coming(runs) else draw(ids)
        return head(runs), *rest

    told = gr.Textbox(visible="hidden", elem_id="compare-told")
    prompts = [controls.filled, controls.prompt]
    shown: list[Any] = [tab.verdict, controls.columns, tab.ranking, controls.more, controls.answered, controls.written]
    # Not by the picker's `change`, which several listeners keep going for ever (gradio 6.31).
    shown += [tab.cross.left_out, tab.vote.left_out, tab.items.fold, tab.items.shares, tab.cross.matrix, tab.cross.csv]
    drawn = [tab.plot, tab.fold, tab.baselines]
    models.input(None, models, js=CHOSEN_JS)
    opened = shared.page.load(open_with, None, [models, told, *prompts, *controls.settings.values()], **QUICK)
    opened = opened.then(None, models, models, js=FIRST_JS)
    form.entitle(opened.then, controls, services)
    told.change(tell, told, None, **QUIET)
    handed_over = shared.compare.change(take, shared.compare, models, **QUICK)
    for event, is_chosen in ((opened.then, False), (handed_over.then, True), (models.input, True)):
        asked_for = event(show, models, shown, trigger_mode="always_last", **QUICK)
        filled = asked_for.then(None, [controls.answered, *prompts], prompts, js=form.PROMPT_JS)
        if is_chosen:
            form.follow(filled, controls)
        # After the heading, which says whether baselines are still coming: what came in between would not be drawn.
        asked_for.then(draw, models, drawn, trigger_mode="always_last", **QUICK)
    tab.verdict.refresh(look_again, models, [tab.verdict, *drawn], **QUICK)
    tab.controls.columns.refresh(offer, models, models, **QUICK)


def _wire_csv(tab: CompareTab, services: Services) -> None:
    """The ranking as a file."""

    def save(ids: list[str]) -> str:
        try:
            return services.files.text("charlm-ranking.csv", ranking_csv(found_runs(services.store, ids)))
        except CharLMError as error:
            raise gr.Error(toast(error), print_exception=False) from error

    tab.csv.click(save, tab.controls.models, tab.csv_file, **QUIET).then(None, js=click_js("compare-csv-file"))
