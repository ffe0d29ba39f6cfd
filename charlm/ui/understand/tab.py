"""Understand: what the chosen models remember and feel, then a fold for every other measurement."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, cast

import gradio as gr

from charlm.architectures import ARCH_NAMES, ARCHS, is_counted
from charlm.data.catalog import data_dir
from charlm.data.own_texts import is_there
from charlm.errors import CharLMError, LimitError
from charlm.public.services import Services
from charlm.runs.run import Run
from charlm.serving import Finding
from charlm.serving.measurements import GYM, measured_as, module_of
from charlm.ui import formatting
from charlm.ui.compare.link import linked_runs
from charlm.ui.compare.ranking import MOST, comparable, found_runs, run_choices
from charlm.ui.corpus.texts import Chosen, beginning, own_choices
from charlm.ui.formatting import csv_text, percent
from charlm.ui.html import FIRST_RUN, QUICK, QUIET, Shared, asset, heading, plot_data, render, section, toast
from charlm.ui.services import click_js
from charlm.ui.train.form import typed_control
from charlm.ui.understand.outlines import FIRST, FOLDED, HISTORY, Outline
from charlm.ui.understand.panel import Found, Panel, panel_of
from charlm.ui.verdict import names

OWN, PASTED, KEPT = "held-out text", "pasted text", "your text"
MOST_PASTED = 20_000  # characters
TITLE = "Why they differ"
QUESTION = "How far back each model looks, and how far back its training reaches, measured on the models themselves."
STANDS_IN = "The chosen models kept no weights along the way; here is the included small race, whose models did."
ADDRESS_JS = "(runs, compared) => { window.charlmAddress.understand(runs, compared); }"
Changes = dict[Any, Any]


@dataclass(frozen=True)
class Choice:
    """What all panels measure: the models, and the text.

    Attributes:
        models: the picker.
        source: OWN, PASTED or KEPT, which is offered where there are any.
        text: the field for a pasted one.
        kept: the picker of texts that were uploaded or pasted in the Corpus tab.
    """

    models: gr.Dropdown
    source: gr.Radio
    text: gr.Textbox
    kept: gr.Dropdown


@dataclass(frozen=True)
class View:
    """A panel's components.

    Attributes:
        outline: what it shows.
        status: the finding, what is under way, the buttons.
        plot, html: the picture; None: it has none of that kind.
        controls: settings of the measurement, by name.
        opened: whether it is to be seen; a folded one measures nothing.
        drawn: what the picture shows, in some letters, so that it is drawn again only when that changes.
        file: presses itself once the table is there.
    """

    outline: Outline
    status: gr.HTML
    plot: gr.Plot | None
    html: gr.HTML | None
    controls: Mapping[str, Any]
    opened: gr.State
    drawn: gr.State
    file: gr.DownloadButton


def build(services: Services, shared: Shared, compared: gr.Dropdown) -> None:
    """The tab's components and their wiring; call inside its gr.Tab.

    Args:
        services: runs and models.
        shared: components of other tabs.
        compared: the models that Compare shows; they are looked into unless others are chosen here.
    """
    head = gr.HTML(heading(TITLE, QUESTION), elem_id="understand-head", apply_default_css=False)
    choice = _choice()
    views = []
    with gr.Row(elem_classes="halves", elem_id="understand-first"):
        for outline in FIRST:
            with gr.Column(min_width=320):
                gr.HTML(section(outline.title, outline.question), apply_default_css=False)
                views.append(_view(outline, opened=True))
    folds = []
    for outline in FOLDED:
        name = f"understand-{outline.name}"
        with gr.Accordion(outline.title, open=False, elem_id=name, elem_classes="fold section-fold") as fold:
            gr.HTML(render("hint", sentence=outline.question), apply_default_css=False)
            view = _view(outline, opened=False)
            views.append(view)
            folds.append((fold, view))
    tab = Understand(services, choice, head, views)
    tab.wire(shared, compared, folds)


def _choice() -> Choice:
    """What is looked into; the models come when the tab is opened."""
    with gr.Row(elem_id="understand-bar", elem_classes="bar-line"):
        models = gr.Dropdown(
            [], multiselect=True, max_choices=MOST, label="Models", elem_id="understand-models", scale=6,
        )  # fmt: skip
        source = gr.Radio(
            [OWN, PASTED], value=OWN, label="Measured on", elem_id="understand-source", elem_classes="segmented",
            scale=0, min_width=330,
        )  # fmt: skip
    text = gr.Textbox(
        label="Text", lines=4, max_lines=12, max_length=MOST_PASTED, visible=False, elem_id="understand-text",
        placeholder="Paste a text that the models have not learned from",
        html_attributes=gr.InputHTMLAttributes(spellcheck=False),
    )  # fmt: skip
    kept = gr.Dropdown(
        [], label="Your text", info=f"Its first {MOST_PASTED:,} characters are measured", visible=False,
        elem_id="understand-kept",
    )  # fmt: skip
    return Choice(models, source, text, kept)


def default_models(runs: Sequence[Any]) -> list[str]:
    """Ids of the included models, the largest of each architecture; else the newest run."""
    shipped = {run.arch: run.run_id for run in sorted(runs, key=lambda run: run.num_parameters) if run.shipped}
    return [shipped[arch] for arch in ARCHS if arch in shipped][:MOST] or [run.run_id for run in runs[:1]]


def _view(outline: Outline, opened: bool) -> View:
    """A panel's components; call where they are to stand."""
    name = f"understand-{outline.name}"
    status = gr.HTML("", elem_id=f"{name}-status", js_on_load=asset("understand.js"), apply_default_css=False)
    plot = None
    if outline.is_plot:
        plot = gr.Plot(label=outline.title, show_label=False, container=False, elem_id=f"{name}-plot")
    html = None
    if outline.is_markup:
        script = asset(outline.script) if outline.script else None
        html = gr.HTML("", elem_id=f"{name}-html", js_on_load=script, apply_default_css=False)
    controls: dict[str, Any] = {}
    if outline.controls:
        with (
            gr.Accordion("Settings", open=False, elem_id=f"{name}-settings", elem_classes="fold"),
            gr.Row(elem_classes="settings"),
        ):
            controls = {one: control(outline, one) for one in outline.controls}
    with gr.Accordion("How this is measured", open=False, elem_id=f"{name}-method", elem_classes="fold") as fold:
        method = gr.HTML("", apply_default_css=False)
    fold.expand(lambda: method_html(outline), None, method, **QUICK)
    file = gr.DownloadButton("CSV", visible="hidden", elem_id=f"{name}-file")
    return View(outline, status, plot, html, controls, gr.State(opened), gr.State(""), file)


def method_html(outline: Outline) -> str:
    """How a panel's numbers are measured."""
    return render("method", paragraphs=panel_of(outline).method, name=outline.name)


def control(outline: Outline, name: str) -> Any:
    """The component of a setting: label, hint, choices and range come from its config class."""
    field = outline.settings.field(name)
    default = cast(Any, field.default)
    shared: dict[str, Any] = {
        "label": name.replace("_", " ").capitalize(),
        "info": field.metadata["hint"],
        "elem_id": f"understand-{outline.name}-{name.replace('_', '-')}",
    }
    if name == "archs":
        archs = [(ARCH_NAMES[arch], arch) for arch in ARCHS if not is_counted(arch)]
        return gr.Dropdown(archs, value=list(default), multiselect=True, **shared)
    return typed_control(field, default, **shared)


@dataclass(frozen=True)
class Understand:
    """What the controls do.

    Attributes:
        services: runs and models.
        choice: what is measured.
        head: the tab's finding.
        views: all panels.
    """

    services: Services
    choice: Choice
    head: gr.HTML
    views: Sequence[View]

    def look(self, view: View, given: Mapping[Any, Any], begin: bool) -> list[Finding]:
        """How far a panel's measurement is.

        Args:
            view: the panel.
            given: the components' values.
            begin: have measured what is not known.

        Raises:
            CharLMError: nothing can be measured so.
        """
        return self.services.serving.inspect(*self._asked(view, given), begin)

    def _asked(self, view: View, given: Mapping[Any, Any]) -> tuple[str, Sequence[Run], str | None, Mapping[str, Any]]:
        if view.outline.name == GYM:
            return GYM, [], None, {name: given[one] for name, one in view.controls.items() if given[one] is not None}
        runs = self._runs(view, given)
        text = self._text(given)
        options = {name: given[one] for name, one in view.controls.items() if given[one] is not None}
        return view.outline.name, runs, text, options

    def _text(self, given: Mapping[Any, Any]) -> str | None:
        """What is measured; None: each model's own held-out text."""
        source = given[self.choice.source]
        if source == KEPT:
            return beginning(str(given[self.choice.kept] or ""), MOST_PASTED)
        return (given[self.choice.text] or "") if source == PASTED else None

    def _runs(self, view: View, given: Mapping[Any, Any]) -> Sequence[Run]:
        """The chosen models; where none has a history to look at, the included small ones stand in."""
        runs = found_runs(self.services.store, given[self.choice.models])
        if view.outline != HISTORY or not runs or any(run.snapshots() for run in runs):
            return runs
        return [run for run in self.services.store.list() if run.shipped and run.snapshots()][:MOST] or runs

    def show(self, view: View, given: Mapping[Any, Any], begin: bool, again: bool = False) -> Changes:
        """A panel as it is now: line, picture, and with it the tab's finding.

        Args:
            view: the panel.
            given: the components' values.
            begin: have measured what is not known.
            again: also what was stopped, or failed.
        """
        if not given[view.opened]:
            return {view.status: gr.skip()}
        if not given[self.choice.models] and view.outline.name != GYM:
            return self._nothing(view, given, f"choose the models to look into above. {FIRST_RUN}")
        try:
            findings = self.look(view, given, begin=False)
            if begin and (again or any(not one.begun and not one.done for one in findings)):
                findings = self.look(view, given, begin=True)
        except LimitError as error:
            return self._nothing(view, given, str(error), wanted="Ask again")
        except CharLMError as error:
            return self._nothing(view, given, str(error))
        found = measured(findings)
        panel = panel_of(view.outline)
        chosen = set(given[self.choice.models])
        stands_in = any(one.run and one.run.run_id not in chosen for one in findings)
        changes: Changes = {view.status: status_html(panel, findings, found, STANDS_IN if stands_in else "")}
        mark = sha256(json.dumps([[one.label, one.result] for one in found]).encode()).hexdigest()
        if mark != given[view.drawn]:
            changes[view.drawn] = mark
            if view.plot and panel.picture:
                picture = panel.picture(found) if found else None
                changes[view.plot] = plot_data(picture) if picture else None
            if view.html and panel.html:
                changes[view.html] = panel.html(found) if found else ""
        return changes | self._heading(view, given)

    def _nothing(self, view: View, given: Mapping[Any, Any], why: str, wanted: str = "") -> Changes:
        """A panel that has nothing to show, also not of what was chosen before.

        Args:
            view: the panel.
            given: the components' values.
            why: in a sentence.
            wanted: see `render_status`.
        """
        status = render_status([], "", [("", why)], wanted=wanted)
        pictures: Changes = {view.plot: None} if view.plot else {}
        markup: Changes = {view.html: ""} if view.html else {}
        return {view.status: status, view.drawn: "", **pictures, **markup, **self._heading(view, given)}

    def _heading(self, view: View, given: Mapping[Any, Any]) -> Changes:
        """The tab's first sentence, if this panel is one of those that it is about."""
        return {self.head: self.finding(given)} if view.outline in FIRST else {}

    def finding(self, given: Mapping[Any, Any]) -> str:
        """The tab's first sentence: what is known of the first two panels."""
        sentences = []
        for view in self.views[: len(FIRST)]:
            try:
                found = measured(self.look(view, given, begin=False))
            except CharLMError:
                continue
            sentences += [module_of(view.outline.name).finding(found)] if found else []
        return heading(sentences[0], " ".join(sentences[1:])) if sentences else heading(TITLE, QUESTION)

    def act(self, view: View, given: Mapping[Any, Any], name: str) -> Changes:
        """A button of a panel's line."""
        if name == "stop":
            with suppress(CharLMError):  # a setting was made wrong meanwhile: the line says so
                self.services.serving.stop_inspecting(*self._asked(view, given))
        return self.show(view, given, begin=name == "measure", again=True)

    def save(self, view: View, given: Mapping[Any, Any]) -> str:
        """The table behind a picture as a CSV file; its path."""
        try:
            found = measured(self.look(view, given, begin=False))
            rows = [
                {"model": one.label, **row} for one in found for row in module_of(view.outline.name).rows(one.result)
            ]
            head = list(dict.fromkeys(name for row in rows for name in row))
            text = csv_text([head, *([row.get(name) for name in head] for row in rows)])
            return self.services.files.text(f"charlm-{view.outline.name}.csv", text)
        except CharLMError as error:
            raise gr.Error(toast(error), print_exception=False) from error

    def begins(self) -> bool:
        """Whether opening a panel has it measured: nobody waits for the machine, and it costs nobody's minutes."""
        return self.services.limits is None and self.services.jobs.current() is None

    def wire(self, shared: Shared, compared: gr.Dropdown, folds: Sequence[tuple[gr.Accordion, View]]) -> None:
        """Choosing measures every panel that is open; opening a fold measures that one."""
        choice, store, followed = self.choice, self.services.store, gr.State(None)

        def offer(
            request: gr.Request, wanted: list[str] | None, others: list[str] | None, before: list[str] | None
        ) -> tuple[Any, list[str]]:
            runs = comparable(store.list())
            known = {run.run_id for run in runs}
            if before is None:  # opened for the first time, perhaps by a link, of which Compare knows nothing yet
                own, others = (
                    linked_runs(request.query_params.get(name, ""), store)[0] or otherwise
                    for name, otherwise in (("understand", []), ("runs", others))
                )
                wanted = own or others
            elif others != before:
                wanted = others
            kept = [one for one in wanted or () if one in known]
            return gr.update(choices=run_choices(runs), value=kept or default_models(runs)), others or []

        def reveal(source: str) -> tuple[Any, Any]:
            return gr.update(visible=source == PASTED), gr.update(visible=source == KEPT)

        def offer_texts(chosen: Chosen | None, source: str, picked: str | None) -> Changes:
            own = [one for one in own_choices(chosen, self.services.texts.list()) if is_there(one[1], data_dir())]
            keys = [key for _, key in own]
            value = picked if picked in keys else next(iter(keys), None)
            source = source if keys or source != KEPT else OWN
            sources = [OWN, PASTED, *([KEPT] if keys else [])]
            return {
                choice.source: gr.update(choices=sources, value=source),
                choice.kept: gr.update(choices=own, value=value, visible=source == KEPT),
            }

        inputs = [choice.models, compared, followed]
        inputs_of_texts = [shared.corpus, choice.source, choice.kept]
        texts = shared.own.select(offer_texts, inputs_of_texts, [choice.source, choice.kept], **QUICK)
        opened = texts.then(offer, inputs, [choice.models, followed], **QUICK)
        for event in (opened.then, choice.models.input):
            event(None, [choice.models, compared], None, js=ADDRESS_JS, **QUICK)
        choice.source.input(reveal, choice.source, [choice.text, choice.kept], **QUICK)
        # Not `change`: of a dropdown with several choices it comes again and again while others listen to it, too
        # (findings/gradio-multiselect-change-calls-itself-forth.sh).
        causes = [choice.models.input, choice.source.input, choice.text.blur, choice.kept.input]
        for view in self.views:
            self._wire_view(view, opened, causes)
        for fold, view in folds:
            unfolded = fold.expand(lambda: True, None, view.opened, **QUICK)
            self._listen(view, unfolded.then, self.begins)
            fold.collapse(lambda: False, None, view.opened, **QUICK)

    def _listen(self, view: View, event: Any, begins: Callable[[], bool]) -> None:
        """Show a panel anew after an event."""

        def show(given: Mapping[Any, Any]) -> Changes:
            return self.show(view, given, begins())

        event(show, self._inputs(view), self._outputs(view), trigger_mode="always_last", **QUICK)

    def _inputs(self, view: View) -> set[Any]:
        first = [control for one in self.views[: len(FIRST)] for control in one.controls.values()]
        own = {view.opened, view.drawn, *view.controls.values()}
        choice = self.choice
        return {choice.models, choice.source, choice.text, choice.kept, *first, *own}

    def _outputs(self, view: View) -> list[Any]:
        head = [self.head] if view.outline in FIRST else []
        return [view.status, view.drawn, *[one for one in (view.plot, view.html) if one is not None], *head]

    def _wire_view(self, view: View, opened: Any, causes: Sequence[Any]) -> None:
        """What renews a panel: opening the tab, another choice, its own settings, and a measurement on its way."""
        self._listen(view, opened.then, self.begins)
        self._listen(view, partial(gr.on, [*causes, *changes_of(view.controls)]), self.begins)
        self._listen(view, view.status.refresh, lambda: False)

        def act(given: Mapping[Any, Any], event: gr.EventData) -> Changes:
            return self.act(view, given, str(event._data.get("act", "")))

        view.status.act(act, self._inputs(view), self._outputs(view), **QUICK)

        def save(given: Mapping[Any, Any]) -> str:
            return self.save(view, given)

        saved = view.status.csv(save, self._inputs(view), view.file, **QUIET)
        saved.then(None, js=click_js(view.file.elem_id or ""))


def changes_of(controls: Mapping[str, Any]) -> list[Any]:
    """When a control has its new value: a number or a text when it is left."""
    typed = (gr.Number, gr.Textbox)
    return [
        event
        for one in controls.values()
        for event in ((one.submit, one.blur) if isinstance(one, typed) else (one.input,))
    ]


def called(findings: Sequence[Finding]) -> list[str]:
    """Names that tell the models apart."""
    runs = [one.run for one in findings if one.run]
    given = names(runs)
    unlike = [name if given.count(name) == 1 else run.run_id for name, run in zip(given, runs, strict=True)]
    return unlike or ["the gym"]


def measured(findings: Sequence[Finding]) -> Found:
    """What was found so far, under the names of `called`."""
    named = zip(called(findings), findings, strict=True)
    return [measured_as(label, one.run, one.result) for label, one in named if one.result is not None]


def status_html(panel: Panel, findings: Sequence[Finding], found: Found, remark: str = "") -> str:
    """The line over a panel's picture.

    Args:
        panel: that is shown.
        findings: of each model.
        found: of those with a result.
        remark: a sentence before it; empty: none.
    """
    named = list(zip(called(findings), findings, strict=True))
    busy = [f"{label} {percent(one.share)}" for label, one in named if one.begun and not one.done]
    errors = [("", remark)] if remark else []
    errors += [(label, one.error) for label, one in named if one.error]
    missing = [label for label, one in named if not one.error and one.share < 1.0]
    is_said = panel.outline in FIRST  # by the tab's heading
    sentence = module_of(panel.outline.name).finding(found) if found and not is_said else ""
    return render_status(
        found,
        sentence,
        errors,
        busy=formatting.listed(busy) if busy else "",
        share=sum(one.share for one in findings) / max(1, len(findings)),
        wanted=f"Measure {formatting.listed(missing)}" if missing else "",
        plot=panel.picture is not None,
        alt=panel.alt(found) if found and panel.picture else "",
    )


def render_status(
    found: Found,
    sentence: str,
    errors: Sequence[tuple[str, str]],
    busy: str = "",
    share: float = 0.0,
    wanted: str = "",
    plot: bool = False,
    alt: str = "",
) -> str:
    """The template measured.html.

    Args:
        found: of the models that are measured.
        sentence: the finding.
        errors: (name, why there is nothing of it).
        busy: what is being measured; empty: nothing.
        share: of all that is done.
        wanted: what the button Measure would do; empty: there is none.
        plot: there is a picture to download.
        alt: the picture in words.
    """
    return render(
        "measured", found=bool(found), sentence=sentence, errors=errors, busy=busy, share=share, wanted=wanted,
        plot=plot, alt=alt,
    )  # fmt: skip
