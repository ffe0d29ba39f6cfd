"""Corpus: one text as the models will read it, what guessing it costs, and how it becomes numbers."""

from typing import Any

import gradio as gr

from charlm.catalog import DEFAULT_KEY, find_entry
from charlm.ui import corpus_form
from charlm.ui.common import Services, Shared, facts, heading, section
from charlm.ui.corpus_desk import Desk, View
from charlm.ui.corpus_form import Form
from charlm.ui.reading import Readings

FACTS = ("characters", "distinct", "words", "to train on", "held out", "steps an epoch")
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def build(services: Services, shared: Shared) -> None:
    """The tab's components and their wiring; call inside its gr.Tab."""
    entry = find_entry(DEFAULT_KEY)
    head = _html(heading(entry.title, entry.about), "head")
    form = corpus_form.build()
    waiting = _html(facts([("…", name) for name in FACTS]), "facts")
    with gr.Row(elem_classes="halves", elem_id="corpus-halves"):
        with gr.Column(min_width=320):
            begins = _html(section("How it begins"), "begins")
        with gr.Column(min_width=320):
            guessing = _html(section("What guessing would cost"), "guessing")
    characters = _html("", "characters")
    with gr.Accordion("What the model sees", open=False, elem_id="corpus-sees", elem_classes="fold section-fold"):
        model = _html("", "model")
    view = View(head, waiting, begins, guessing, characters, model)
    _wire(form, view, services, shared)


def _html(value: str, name: str) -> gr.HTML:
    return gr.HTML(value, elem_id=f"corpus-{name}", apply_default_css=False)


def _changes(option: Any) -> list[Any]:
    """When an option has its new value: a slider when it is let go, a number when it is typed whole."""
    if isinstance(option, gr.Number):
        return [option.submit, option.blur]
    return [option.release if isinstance(option, gr.Slider) else option.input]


def _wire(form: Form, view: View, services: Services, shared: Shared) -> None:
    """Every way to a text ends in the same outputs; then the fold and the slow bars follow."""
    desk = Desk(form, view, services, shared, Readings(services.limits))
    outputs = [shared.corpus, form.picker, form.panel, form.pasted, form.fold, *form.options]
    outputs += [view.head, view.facts, view.begins, view.guessing, view.characters]
    busy: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": view.facts, "api_visibility": "private"}

    def follow(event: Any) -> None:
        # One at a time: who asks for the same text a second time finds it counted.
        event.then(desk.guess, shared.corpus, view.guessing, concurrency_limit=1, concurrency_id="guess", **QUIET)
        event.then(desk.explain, shared.corpus, view.model, concurrency_limit=2, **QUIET)

    follow(shared.own.select(desk.show, shared.corpus, outputs, **QUIET))
    options = list(form.options)
    # Not `input`: a click on a choice fires that twice, and a text that cannot be had would be refused twice.
    follow(form.picker.change(desk.pick, [shared.corpus, form.picker, *options], outputs, **busy))
    follow(form.upload.upload(desk.upload, [shared.corpus, form.upload, *options], outputs, **busy))
    follow(form.use.click(desk.paste, [shared.corpus, form.pasted, *options], outputs, **busy))
    changed = [event for one in options for event in _changes(one)]
    follow(gr.on(changed, desk.clean, [shared.corpus, *options], outputs, trigger_mode="always_last", **busy))
    form.train.click(desk.train, shared.corpus, [shared.corpus, shared.tabs], **QUIET)
    form.paste.click(lambda: gr.update(visible=True), None, form.panel, queue=False, **QUIET)
    form.cancel.click(lambda: gr.update(visible=False), None, form.panel, queue=False, **QUIET)
