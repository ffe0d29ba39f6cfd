"""Train: the form at the left, the live training at the right; closing the page stops nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import gradio as gr

from charlm.analysis.plots import By
from charlm.architectures import ARCHS
from charlm.errors import CharLMError
from charlm.files import parsed
from charlm.presets import PRESET_HINTS, PRESETS
from charlm.public.limits import Limits
from charlm.ui import verdict
from charlm.ui.compare.ranking import MOST_MESSAGE, asked, run_title
from charlm.ui.corpus.texts import Chosen, chosen_tokens, chosen_value, corpus_choices, open_corpus
from charlm.ui.html import ACTIONS_JS, Services, Shared, asset, plot_data, swatch_css, toast
from charlm.ui.train import form as train_form
from charlm.ui.train import live as train_live
from charlm.ui.train.form import FOLDS, NAMES, Form
from charlm.ui.train.live import Watches
from charlm.ui.train.view import form_values, opened_folds

LIVE_JS = asset("train.js")
HEAD_JS = (
    ACTIONS_JS
    + """
const put = (place, value) => { if (place && place.textContent !== value) place.textContent = value; };
window.addEventListener('charlm:head', ({ detail }) => {
  if (!element.isConnected) return;
  if (detail.head !== undefined) element.innerHTML = detail.head;
  if (detail.title !== undefined) put(element.querySelector('.finding'), detail.title);
  if (detail.lead !== undefined) put(element.querySelector('.lead'), detail.lead);
});
"""
)
# What suits another text goes into the controls that stand as they were filled; what was changed by hand stays, also
# what was changed while the server thought. An answer to a preset that is no longer picked changes nothing.
REFILL_JS = """(suits, preset, filled, ...values) => {
  const { preset: asked, values: suited } = JSON.parse(suits || '{}'), before = JSON.parse(filled);
  if (asked !== preset) return [filled, ...values];
  return [JSON.stringify(suited), ...values.map((value, place) => value === before[place] ? suited[place] : value)];
}"""
KEPT_SIZES = 32  # texts whose counts are remembered
NO_OVERLAY = ("no overlay", "")
# A toast reaches the page only from an event that went through the queue.
TOLD: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
QUIET: dict[str, Any] = {**TOLD, "queue": False}


@dataclass(frozen=True)
class Live:
    """The right side's components; `wanted` holds a JSON list of run ids to show instead of the newest."""

    head: gr.HTML
    by: gr.Radio
    scale: gr.Radio
    overlay: gr.Dropdown
    plot: gr.Plot
    body: gr.HTML
    fold: gr.Accordion
    ladder: gr.HTML
    wanted: gr.Textbox


def build(services: Services, shared: Shared, watches: Watches) -> None:
    """The tab's components and their wiring; call inside its gr.Tab."""
    gr.HTML(swatch_css("train-archs", ARCHS), apply_default_css=False, padding=False)
    with gr.Row(elem_id="train-sides"):
        with gr.Column(elem_id="train-form", min_width=260):
            form = train_form.build()
        with gr.Column(elem_id="train-live-side", min_width=300):
            live = _live()
    _wire_form(form, shared, services.limits)
    _wire_live(live, services, shared, watches)
    _wire_start(form, live, services, shared)
    _wire_advice(form, live, watches)


def _live() -> Live:
    """The right side, empty: what stood in it at the server's start would be stale; train.js fills it at once."""
    head = gr.HTML("", elem_id="train-head", js_on_load=HEAD_JS, apply_default_css=False)
    with gr.Row(elem_classes="plot-line"):
        by = gr.Radio(
            [("by step", "step"), ("by own seconds", "seconds")], value="step", show_label=False, container=False,
            label="Horizontal axis", elem_id="train-by", elem_classes="segmented",
        )  # fmt: skip
        scale = gr.Radio(
            ["linear", "log"], value="linear", show_label=False, container=False,
            label="Loss axis", elem_id="train-scale", elem_classes="segmented",
        )  # fmt: skip
        overlay = gr.Dropdown(
            [NO_OVERLAY], value="", show_label=False, container=False, label="Overlay", elem_id="train-overlay"
        )
    plot = gr.Plot(show_label=False, container=False, elem_id="train-plot")
    body = gr.HTML("", elem_id="train-live", js_on_load=LIVE_JS, apply_default_css=False)
    with gr.Accordion(verdict.BASELINES, open=False, elem_id="train-rungs", elem_classes="fold section-fold") as fold:
        ladder = gr.HTML("", elem_id="train-ladder", apply_default_css=False)
    wanted = gr.Textbox("[]", visible="hidden", elem_id="train-wanted")
    return Live(head, by, scale, overlay, plot, body, fold, ladder, wanted)


def _wire_form(form: Form, shared: Shared, limits: Limits | None) -> None:
    """Presets fill the form, as the text and the machine want them; folds and estimates follow every control."""

    def fill(chosen: Chosen | None, corpus: str, preset: str, archs: Sequence[str]) -> list[Any]:
        values = suited(chosen, corpus, preset, archs, limits)
        is_cut = limits is not None and values != suited(chosen, corpus, preset, archs, None)
        cut = "; cut down to this Space's limits" if is_cut else ""
        hint = gr.update(info=f"{preset}: {PRESET_HINTS[preset]}{cut}")
        return [json.dumps(values), hint, *values]

    def suit(chosen: Chosen | None, corpus: str, preset: str, archs: Sequence[str]) -> str:
        return json.dumps({"preset": preset, "values": suited(chosen, corpus, preset, archs, limits)})

    def suited(chosen: Chosen | None, corpus: str, preset: str, archs: Sequence[str], most: Limits | None) -> list[Any]:
        tokens = train_form.tokens_to_learn(size_of, chosen, corpus, preset)
        return train_form.preset_values(preset, most, tokens, archs)

    def retitle(chosen: Chosen | None, preset: str, archs: Sequence[str], *values: Any) -> list[Any]:
        filled = {name: 0 if value is None else value for name, value in zip(NAMES, values, strict=True)}
        filled["level"] = train_form.level_of(preset, chosen_tokens(chosen))
        return [gr.update(label=train_form.fold_title(key, filled, archs)) for key in FOLDS]

    def rename(archs: Sequence[str]) -> Any:
        return gr.update(value="Train" if len(archs) < 2 else "Race", interactive=bool(archs))

    def estimate(*inputs: Any) -> str:
        return train_form.estimate_html(size_of, *inputs, limits=limits)

    size_of = lru_cache(KEPT_SIZES)(partial(train_form.text_size, limits=limits))
    controls = list(form.controls)
    folds = [form.folds[key] for key in FOLDS]
    picked = [shared.corpus, form.corpus, form.preset, form.archs]
    filled, suits = (gr.Textbox(visible="hidden", elem_id=f"train-{name}") for name in ("filled", "suits"))
    filled.value = json.dumps(train_form.preset_values(next(iter(PRESETS))))
    form.preset.input(fill, picked, [filled, form.preset, *controls], **QUIET)
    causes = [shared.own.select, form.corpus.change, form.archs.input]  # input: advice fills archs and all else itself
    asked_for = gr.on(causes, suit, picked, suits, trigger_mode="always_last", **QUIET)
    asked_for.then(None, [suits, form.preset, filled, *controls], [filled, *controls], js=REFILL_JS)
    gr.on(
        [shared.own.select, form.archs.change, *(one.change for one in controls)],
        retitle,
        [shared.corpus, form.preset, form.archs, *controls],
        folds,
        trigger_mode="always_last",
        **QUIET,
    )
    gr.on(
        [shared.own.select, *(one.change for one in form.inputs)],
        estimate,
        [shared.corpus, *form.inputs],
        form.estimates,
        trigger_mode="always_last",
        **QUIET,
    )
    gr.on([shared.own.select, form.archs.change], rename, form.archs, form.start, trigger_mode="always_last", **QUIET)


def _wire_live(live: Live, services: Services, shared: Shared, watches: Watches) -> None:
    """The plot is drawn whole when what it shows changes; train.js adds the points in between."""

    def draw(by: By, scale: str, overlay: str, wanted: str) -> Any:
        watch = watches.own()
        view = watch.look(train_live.wishes({"wanted": _ids(wanted)}))
        earlier = watch.found([overlay] if overlay else [])
        if not view.runs:
            return None
        shared = ladders.of([*view.runs, *earlier]) is not None
        return plot_data(train_live.figure(view, earlier, by, scale == "log", shared))

    def climb(wanted: str) -> tuple[Any, str]:
        view = watches.own().look(train_live.wishes({"wanted": _ids(wanted)}))
        called = [view.called[run.run_id] for run in view.runs]
        html = verdict.baselines_html(view.baselines, ladders.is_coming(view.runs), view.runs, called)
        return gr.update(label=verdict.baselines_title(view.worth)), html

    def offer(overlay: str) -> Any:
        runs = [run for run in services.store.list() if run.best_val_loss is not None]
        known = [NO_OVERLAY, *((run_title(run), run.run_id) for run in runs)]
        return gr.update(choices=known, value=overlay if overlay in [key for _, key in known] else "")

    def follow(message: str) -> str:
        return json.dumps([str(asked(message).get("run", ""))])

    def mend(event: gr.EventData) -> Any:
        act, run_id = event._data.get("act"), str(event._data.get("run", ""))
        try:
            state = services.jobs.retry(run_id) if act == "retry" else services.jobs.resume(run_id)
        except CharLMError as error:
            raise gr.Error(toast(error), title="That did not work", print_exception=False) from None
        if state["position"]:
            gr.Info("It waits its turn; the Runs tab shows the queue.")
            return gr.skip()
        return json.dumps([state["run_id"]])

    ladders = services.serving.baselines
    for climbed in (live.fold.expand, live.wanted.change, live.body.redraw):
        climbed(climb, live.wanted, [live.fold, live.ladder], trigger_mode="always_last", **QUIET)
    inputs = [live.by, live.scale, live.overlay, live.wanted]
    changes = [live.by.change, live.scale.change, live.overlay.input, live.wanted.change]
    for drawn in (
        gr.on(changes, draw, inputs, live.plot, trigger_mode="always_last", **QUIET),
        live.body.redraw(draw, inputs, live.plot, trigger_mode="always_last", **QUIET),
    ):
        drawn.then(None, js="() => { window.dispatchEvent(new Event('charlm:redrawn')); }")
    shared.own.select(None, js="() => { window.dispatchEvent(new Event('charlm:wake')); }")
    shared.own.select(offer, live.overlay, live.overlay, **QUIET)
    live.body.redraw(offer, live.overlay, live.overlay, **QUIET)
    shared.watch.change(follow, shared.watch, live.wanted, **QUIET)
    mended = live.head.act(mend, None, live.wanted, **TOLD)
    mended.then(None, js="() => { window.dispatchEvent(new Event('charlm:wake')); }")


def _wire_start(form: Form, live: Live, services: Services, shared: Shared) -> None:
    """Train and Race, and the corpus that the Corpus tab hands over."""

    def start(chosen: Chosen | None, corpus: str, preset: str, archs: list[str], *values: Any) -> str:
        try:
            config = train_form.run_config(preset, values, chosen)
            services.jobs.start(open_corpus(corpus, config.corpus), config, archs)
        except CharLMError as error:
            raise gr.Error(toast(error), title="Nothing was started", print_exception=False) from None
        return "[]"

    def take(chosen: Chosen | None) -> Any:
        return gr.update(choices=corpus_choices(chosen), value=chosen_value(chosen))

    started = form.start.click(
        start, [shared.corpus, *form.inputs], live.wanted, concurrency_limit=4, api_visibility="private",
        show_progress="minimal", show_progress_on=form.estimates,  # a long text's words take seconds to count
    )  # fmt: skip
    started.success(None, js="() => { window.dispatchEvent(new Event('charlm:wake')); }")
    taken = [shared.page.load, shared.corpus.change]
    gr.on(taken, take, shared.corpus, form.corpus, trigger_mode="always_last", **QUIET)


def _wire_advice(form: Form, live: Live, watches: Watches) -> None:
    """A button under a piece of advice fills the form with the run's settings and what is to be changed of them."""
    folds = [form.folds[key] for key in FOLDS]

    def fill(event: gr.EventData) -> Any:
        run_id, kind = str(event._data.get("run", "")), event._data.get("kind")
        run, advice = watches.own().advised(run_id, kind)
        if run is None or advice is None:
            return gr.skip()
        gr.Info(f"The form now says: {advice.action}. Look it over, then press Train.")
        opened = opened_folds(advice)
        preset = run.preset if run.preset in PRESETS else gr.skip()
        shown = [gr.update(open=True) if key in opened else gr.skip() for key in FOLDS]
        return [preset, [run.arch], *form_values(run, advice), *shown]

    filled = live.body.act(fill, None, [form.preset, form.archs, *form.controls, *folds], **TOLD)
    filled.then(None, js="() => document.getElementById('train-form')?.scrollIntoView({ block: 'nearest' })")


def _ids(wanted: str) -> list[str]:
    try:
        ids = parsed(wanted or "[]", MOST_MESSAGE)
    except ValueError:
        return []
    return [run_id for run_id in ids if isinstance(run_id, str) and run_id] if isinstance(ids, list) else []
