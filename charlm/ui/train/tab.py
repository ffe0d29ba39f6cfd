"""Train: the form at the left, the live training at the right; closing the page stops nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import gradio as gr

from charlm.analysis.plots import By
from charlm.architectures import ARCHS, is_counted
from charlm.errors import CharLMError
from charlm.files import parsed
from charlm.presets import FIRST_PRESET, PRESET_HINTS, PRESETS
from charlm.public.limits import Limits
from charlm.public.services import Services
from charlm.ui import verdict
from charlm.ui.compare.ranking import MOST_MESSAGE, asked, run_title
from charlm.ui.corpus.texts import (
    Chosen,
    choice_of_run,
    chosen_options,
    chosen_tokens,
    chosen_value,
    corpus_choices,
    open_corpus,
    remembered,
)
from charlm.ui.html import ACTIONS_JS, QUICK, QUIET, Shared, asset, plot_data, render, swatch_css, toast
from charlm.ui.train import form as train_form
from charlm.ui.train import live as train_live
from charlm.ui.train import memory, search
from charlm.ui.train.form import NAMES, Form
from charlm.ui.train.live import Watches
from charlm.ui.train.view import EVERY, form_values, opened_folds

# What suits another text goes into the controls that stand as they were filled; what was changed by hand stays, also
# what was changed while the server thought. An answer to a preset that is no longer picked changes nothing. A control
# whose output is undefined is left alone by gradio: its own value, read a moment ago, might undo what was typed since.
REFILL_JS = """(suits, preset, filled, ...values) => {
  const { preset: asked, values: suited } = JSON.parse(suits || '{}'), before = JSON.parse(filled);
  if (asked !== preset) return [];
  const isToChange = (name, place) => (values[place] ?? '') === before[name] && suited[name] !== before[name];
  return [JSON.stringify(suited), ...NAMES.map((name, place) => (isToChange(name, place) ? suited[name] : undefined))];
}""".replace("NAMES", json.dumps(NAMES))
WAKE_JS = "() => { window.dispatchEvent(new Event('charlm:wake')); }"
# On a phone the live part goes above the form once something trains (lab.css); the page is then scrolled to its top.
STARTED_JS = """() => {
  window.dispatchEvent(new Event('charlm:wake'));
  if (!matchMedia('(max-width: 860px)').matches) return;
  let looks = 40;
  const look = setInterval(() => {
    const begun = document.querySelector('#strip .job:not(.told)');
    if (begun) document.getElementById('brand')?.scrollIntoView();
    if (begun || !--looks) clearInterval(look);
  }, 150);
}"""
NOTIFY_JS = "window.charlmNotify.show();"
KEPT_SIZES = 32  # texts whose counts are remembered
NO_OVERLAY = ("no overlay", "")
LATEST: dict[str, Any] = {**QUICK, "trigger_mode": "always_last"}
Given = Mapping[Any, Any]  # components' values


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
    baselines: gr.HTML
    wanted: gr.Textbox


def build(services: Services, shared: Shared, watches: Watches) -> None:
    """The tab's components and their wiring; call inside its gr.Tab.

    Args:
        services: what the page works with.
        shared: components of other tabs.
        watches: what each open page sees of a training.
    """
    gr.HTML(swatch_css("train-archs", ARCHS), apply_default_css=False, padding=False)
    with gr.Row(elem_id="train-sides"):
        with gr.Column(elem_id="train-form", min_width=260):
            form = train_form.build()
            plain: dict[str, Any] = {"size": "sm", "elem_classes": "quiet"}
            copy = gr.Button("Copy command", elem_id="train-copy-command", **plain)
            notify: dict[str, Any] = {"js_on_load": NOTIFY_JS, "apply_default_css": False}
            gr.HTML(render("notify"), elem_id="train-notify", **notify)
            for name, sentence in (("tracked", services.tracked), ("lent", services.lent)):
                if sentence:
                    gr.HTML(render("hint", sentence=sentence), elem_id=f"train-{name}", apply_default_css=False)
        with gr.Column(elem_id="train-live-side", min_width=300):
            live = _live()
            found = search.build(services.searches is not None)
    filled = _wire_form(form, shared, services)
    memory.wire(form, filled, shared, services)
    _wire_plot(live, services, shared, watches)
    _wire_live(live, services, shared, watches)
    _wire_start(form, live, services, shared)
    _wire_advice(form, live, shared, watches, filled)
    _wire_command(copy, form, shared, services)
    search.wire(found, form, shared, services)


def _live() -> Live:
    """The right side, empty: what stood in it at the server's start would be stale; train.js fills it at once."""
    head = gr.HTML("", elem_id="train-head", js_on_load=ACTIONS_JS + asset("train_head.js"), apply_default_css=False)
    bare: dict[str, Any] = {"show_label": False, "container": False}
    with gr.Row(elem_classes="plot-line"):
        by = gr.Radio(
            [("by step", "step"), ("by own seconds", "seconds")], value="step", label="Horizontal axis",
            elem_id="train-by", elem_classes="segmented", **bare,
        )  # fmt: skip
        scale = gr.Radio(
            ["linear", "log"],
            value="linear",
            label="Loss axis",
            elem_id="train-scale",
            elem_classes="segmented",
            **bare,
        )
        overlay = gr.Dropdown([NO_OVERLAY], value="", label="Overlay", elem_id="train-overlay", **bare)
    plot = gr.Plot(label="Losses of the training", elem_id="train-plot", **bare)
    gr.HTML(render("picture", plot="train-plot"), apply_default_css=False)
    body = gr.HTML("", elem_id="train-live", js_on_load=asset("train.js"), apply_default_css=False)
    with gr.Accordion(verdict.BASELINES, open=False, elem_id="train-rungs", elem_classes="fold section-fold") as fold:
        baselines = gr.HTML("", elem_id="train-ladder", apply_default_css=False)
    wanted = gr.Textbox("[]", visible="hidden", elem_id="train-wanted")
    return Live(head, by, scale, overlay, plot, body, fold, baselines, wanted)


def _wire_form(form: Form, shared: Shared, services: Services) -> gr.Textbox:
    """Presets fill the form, as the text and the machine want them; folds and estimates follow every control.

    Returns:
        Hidden; as JSON, what the preset filled in.
    """
    limits = services.limits

    def suited(given: Given, most: Limits | None = limits) -> dict[str, Any]:
        picked = given[shared.corpus], given[form.corpus], given[form.preset]
        size = train_form.size_to_learn(size_of, *picked)
        return train_form.preset_values(given[form.preset], most, size, given[form.archs])

    def fill(given: Given) -> dict[Any, Any]:
        values, preset = suited(given), given[form.preset]
        cut = "; cut down to this Space's limits" if limits is not None and values != suited(given, None) else ""
        hint = gr.update(info=f"{preset}: {PRESET_HINTS[preset]}{cut}")
        return {filled: json.dumps(values), form.preset: hint, **form.show(values)}

    def follow(given: Given) -> dict[Any, Any]:
        """The preset follows a list; the settings do if none was changed by hand."""
        preset, is_list = train_form.preset_for(given[form.preset], given[shared.corpus], given[of_list] == "list")
        shown: dict[Any, Any] = {of_list: "list" if is_list else ""}
        if preset == given[form.preset]:
            return shown
        new = fill({**given, form.preset: preset})
        picked = {form.preset: {**new[form.preset], "value": preset}}
        return shown | (new if train_form.is_as_filled(form.values(given), asked(given[filled])) else {}) | picked

    def suit(given: Given) -> str:
        return json.dumps({"preset": given[form.preset], "values": suited(given)})

    def retitle(given: Given) -> dict[Any, Any]:
        values = {name: 0 if value in train_form.EMPTY else value for name, value in form.values(given).items()}
        values["level"] = train_form.level_of(given[form.preset], chosen_tokens(given[shared.corpus]))
        archs = given[form.archs]
        titles = {fold: gr.update(label=train_form.fold_title(key, values, archs)) for key, fold in form.folds.items()}
        counted = gr.update(visible=any(map(is_counted, archs)))
        early = gr.update(visible=train_form.can_stop_early(values["seeds"]))
        return {**titles, order: counted, early_stop: early}

    def rename(archs: Sequence[str]) -> Any:
        return gr.update(value=train_form.start_title(archs), interactive=bool(archs))

    def estimate(given: Given) -> tuple[str, Any]:
        picked = given[shared.corpus], given[form.corpus], given[form.preset], given[form.archs]
        left = services.jobs.left() if limits is not None else None
        about, rates = train_form.estimate(size_of, *picked, form.values(given), limits, left)
        return about, gr.update(placeholder=rates or "by itself")

    def measure() -> str:
        from charlm.training.machine import measure_again

        if limits is not None:
            raise gr.Error("The machine of a public Space is measured by those who run it.", print_exception=False)
        if services.jobs.queue() or (services.searches is not None and services.searches.is_running):
            raise gr.Error(
                "A training or a search is at work; stop it, or measure when it has ended.", print_exception=False
            )
        return measure_again().when

    size_of = lru_cache(KEPT_SIZES)(partial(train_form.text_size, limits=limits))
    controls, opened = list(form.controls.values()), shared.own.select
    order, early_stop = form.controls["order"], form.controls["early_stop"]
    picked: set[Any] = {shared.corpus, form.corpus, form.preset, form.archs}
    filled, suits = (gr.Textbox(visible="hidden", elem_id=f"train-{name}") for name in ("filled", "suits"))
    filled.value = json.dumps(train_form.preset_values(FIRST_PRESET))
    form.preset.input(fill, picked, [filled, form.preset, *controls], **QUICK)
    of_list = gr.Textbox(visible="hidden", elem_id="train-of-list")
    handed_over, known = {*picked, filled, of_list, *controls}, [of_list, filled, form.preset, *controls]
    shared.corpus.change(follow, handed_over, known, **LATEST)
    measured = gr.Textbox(visible="hidden", elem_id="train-measured")
    form.estimates.act(measure, None, measured, **QUICK)
    # Of archs the input alone: advice fills them and all else itself.
    causes = [opened, form.corpus.change, form.archs.input, measured.change]
    asked_for = gr.on(causes, suit, picked, suits, **LATEST)
    asked_for.then(None, [suits, form.preset, filled, *controls], [filled, *controls], js=REFILL_JS)
    inputs, changes = form.inputs | {shared.corpus}, [opened, *(one.change for one in form.inputs)]
    gr.on(changes, retitle, inputs, [*form.folds.values(), order, early_stop], **LATEST)
    estimates = [form.estimates, form.controls["learning_rate"]]
    gr.on([measured.change, *changes], estimate, inputs, estimates, **LATEST)
    form.estimates.refresh(estimate, inputs, estimates, **LATEST)
    gr.on([opened, form.archs.change], rename, form.archs, form.start, **LATEST)
    return filled


def _wire_plot(live: Live, services: Services, shared: Shared, watches: Watches) -> None:
    """The plot is drawn whole when what it shows changes; train.js adds the points in between."""

    def draw(by: By, scale: str, overlay: str, wanted: str) -> Any:
        watch = watches.own()
        view = watch.look(train_live.wanted_ids({"wanted": _ids(wanted)}))
        earlier = watch.found([overlay] if overlay else [])
        if not view.runs:
            return None
        is_shared = baselines.of([*view.runs, *earlier]) is not None
        return plot_data(train_live.figure(view, earlier, by, scale == "log", is_shared))

    def compare_baselines(wanted: str) -> tuple[Any, str]:
        view = watches.own().look(train_live.wanted_ids({"wanted": _ids(wanted)}))
        called = [view.called[run.run_id] for run in view.runs]
        html = verdict.baselines_html(view.baselines, baselines.is_coming(view.runs), view.runs, called)
        return gr.update(label=verdict.baselines_title(view.matched)), html

    def offer(overlay: str) -> Any:
        runs = [run for run in services.store.list() if run.best_val_loss is not None]
        known = [NO_OVERLAY, *((run_title(run), run.run_id) for run in runs)]
        return gr.update(choices=known, value=overlay if overlay in [key for _, key in known] else "")

    baselines = services.serving.baselines
    for event in (live.fold.expand, live.wanted.change, live.body.redraw):
        event(compare_baselines, live.wanted, [live.fold, live.baselines], **LATEST)
    inputs = [live.by, live.scale, live.overlay, live.wanted]
    changes = [live.by.change, live.scale.change, live.overlay.input, live.wanted.change]
    for drawn in (
        gr.on(changes, draw, inputs, live.plot, **LATEST),
        live.body.redraw(draw, inputs, live.plot, **LATEST),
    ):
        drawn.then(None, js="() => { window.dispatchEvent(new Event('charlm:redrawn')); }")
    for event in (shared.own.select, live.body.redraw):
        event(offer, live.overlay, live.overlay, **QUICK)


def _wire_live(live: Live, services: Services, shared: Shared, watches: Watches) -> None:
    """Another run is shown when a tab asks for it, a failed one is resumed or tried again, a rate is changed."""

    def follow(message: str) -> str:
        return json.dumps([str(asked(message).get("run", ""))])

    def change_rate(wanted: str, typed: str, run_id: str) -> Any:
        rate, race, shown = train_form.typed_rate(typed), run_id == EVERY, watches.own()
        learning = shown.look(train_live.wanted_ids({"wanted": _ids(wanted)})).learning if race else []
        services.jobs.change_rate(learning[0].run_id if learning else run_id, rate, race)
        gr.Info(f"Learning rate {rate:g} from the next step on.")
        return gr.skip()

    def obey(event: gr.EventData, wanted: str) -> Any:
        act, run_id = event._data.get("act"), str(event._data.get("run", ""))
        try:
            if act == "rate":
                return change_rate(wanted, str(event._data.get("rate", "")), run_id)
            state = services.jobs.retry(run_id) if act == "retry" else services.jobs.resume(run_id)
        except CharLMError as error:
            raise gr.Error(toast(error), title="That did not work", print_exception=False) from None
        if state["position"]:
            gr.Info("It waits its turn; the Runs tab shows the queue.")
            return gr.skip()
        return json.dumps([state["run_id"]])

    shared.own.select(None, js=WAKE_JS)
    shared.watch.change(follow, shared.watch, live.wanted, **QUICK)
    live.head.act(obey, live.wanted, live.wanted, **QUIET).then(None, js=WAKE_JS)


def _wire_start(form: Form, live: Live, services: Services, shared: Shared) -> None:
    """Train and Race."""

    def start(given: Given) -> str:
        try:
            config = train_form.run_config(given[form.preset], form.values(given), given[shared.corpus])
            services.jobs.start(open_corpus(given[form.corpus], config.corpus), config, given[form.archs])
        except CharLMError as error:
            raise gr.Error(toast(error), title="Nothing was started", print_exception=False) from None
        return "[]"

    def offer(chosen: Chosen | None, picked: str | None) -> Any:
        """The texts as they are now, what was picked here left as it is."""
        choices = corpus_choices(chosen, services.texts.list())
        if picked in [value for _, value in choices]:
            return gr.update(choices=choices)  # no value: the Corpus tab's may be on its way
        return gr.update(choices=choices, value=chosen_value(chosen))

    started = form.start.click(
        start, form.inputs | {shared.corpus}, live.wanted, concurrency_limit=4, api_visibility="private",
        show_progress="minimal", show_progress_on=form.estimates,  # a long text's words take seconds to count
    )  # fmt: skip
    started.success(None, js=STARTED_JS)
    shared.own.select(offer, [shared.corpus, form.corpus], form.corpus, **LATEST)


def _wire_advice(form: Form, live: Live, shared: Shared, watches: Watches, filled: gr.Textbox) -> None:
    """A button under a piece of advice fills the form with the run's settings and what is to be changed of them."""

    def fill(chosen: Chosen | None, picked: str | None, event: gr.EventData) -> Any:
        run_id, kind = str(event._data.get("run", "")), event._data.get("kind")
        run, advice = watches.own().advised(run_id, kind)
        if run is None or advice is None:
            return gr.skip()
        keys = opened_folds(advice)
        opened = {form.folds[key]: gr.update(open=True) for key in keys}
        if keys & train_form.ADVANCED.keys():
            opened[form.advanced] = gr.update(open=True)
        preset = {form.preset: run.preset} if run.preset in PRESETS else {}
        text, told = handed_back(run, chosen, picked)
        gr.Info(f"The form now says: {advice.action}.{told} Look it over, then press Train.")
        # What counts as filled in by the preset would follow the text; all of this is the run's.
        its_text = {} if text is None else {shared.corpus: text, filled: "{}"}
        return {**preset, form.archs: [run.arch], **form.show(form_values(run, advice)), **opened, **its_text}

    outputs = [form.preset, form.archs, *form.controls.values(), *form.folds.values(), form.advanced]
    given = [shared.corpus, form.corpus]
    done = live.body.act(fill, given, [*outputs, shared.corpus, filled], **QUIET)
    done.then(None, js="() => document.getElementById('train-form')?.scrollIntoView({ block: 'nearest' })")


def handed_back(run: Any, chosen: Chosen | None, picked: str | None) -> tuple[dict[str, Any] | None, str]:
    """The text of a run for a form that is to train such a run again.

    Args:
        run: that the form follows.
        chosen: what the Corpus tab chose.
        picked: the text that the form would train on.

    Returns:
        What is to be chosen instead, None if that is the same or not at hand; and a sentence about it, or nothing.
    """
    text, name = choice_of_run(run, chosen), run.corpus.get("name") or "the text"
    if text is None:
        return None, f" But {name}, which the run learned, is not here; another text is picked."
    is_picked = picked == chosen_value(text)
    is_read = chosen_options(chosen) == chosen_options(text) and chosen_tokens(chosen) == chosen_tokens(text)
    return (None, "") if is_picked and is_read else (text, f" It learns {name}, as the run did.")


def _wire_command(copy: gr.Button, form: Form, shared: Shared, services: Services) -> None:
    """What the form stands for on a command line."""

    def stands_for(given: Given) -> str:
        try:
            config = train_form.run_config(given[form.preset], form.values(given), given[shared.corpus])
        except CharLMError as error:
            raise gr.Error(toast(error), print_exception=False) from None
        texts = remembered(given[shared.corpus]) | {one.key: one.name for one in services.texts.list()}
        corpus = str(given[form.corpus] or "")
        return train_form.command(config, texts.get(corpus, corpus), given[form.archs], services.track)

    line = gr.Textbox(visible="hidden", elem_id="train-command")
    copied = copy.click(stands_for, form.inputs | {shared.corpus}, line, **QUIET)
    copied.success(
        None, line, js="(line) => { window.charlmCopy(line, document.getElementById('train-copy-command')); }"
    )


def _ids(wanted: str) -> list[str]:
    try:
        ids = parsed(wanted or "[]", MOST_MESSAGE)
    except ValueError:
        return []
    return [run_id for run_id in ids if isinstance(run_id, str) and run_id] if isinstance(ids, list) else []
