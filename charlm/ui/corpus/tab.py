"""The Corpus tab's handlers: each opens a text and shows it; one that cannot be opened leaves the former in place."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from charlm.config import TOKEN_SETTINGS, CorpusConfig, ModelConfig
from charlm.data.catalog import DEFAULT_KEY, data_dir, find_entry
from charlm.data.corpus import read_bytes
from charlm.errors import CharLMError
from charlm.public.limits import check_text_size
from charlm.public.services import Services
from charlm.ui.corpus import form as corpus_form
from charlm.ui.corpus import view as corpus_view
from charlm.ui.corpus.form import Form, option_updates, picker_choices, settings_of
from charlm.ui.corpus.reading import Reading, Readings, best_runs
from charlm.ui.corpus.texts import (
    Chosen,
    Upload,
    chosen_options,
    chosen_tokens,
    chosen_value,
    keep_upload,
    open_upload,
    own_texts,
    pasted_text,
    usual_column,
    wordiest_column,
)
from charlm.ui.html import Shared, facts, heading, section, toast

KEPT_NAMES = 5  # own texts that the picker goes on listing
# A picker's value, how its text is cleaned, and what a token of it is.
Wanted = tuple[str, CorpusConfig, ModelConfig]


@dataclass(frozen=True)
class View:
    """What shows the text; all HTML."""

    head: gr.HTML
    facts: gr.HTML
    begins: gr.HTML
    guessing: gr.HTML
    characters: gr.HTML
    model: gr.HTML


@dataclass(frozen=True)
class Desk:
    """The handlers, and what they need: the components, runs and files, and the texts read last."""

    form: Form
    view: View
    services: Services
    shared: Shared
    readings: Readings = field(default_factory=Readings)

    def show(self, chosen: Chosen | None) -> dict[Any, Any]:
        """The tab was opened: what the browser remembers, or the default."""
        return self._shown(self._former(chosen, warn=True), chosen)

    def pick(self, chosen: Chosen | None, value: str, *options: Any) -> dict[Any, Any]:
        """Another text of the picker, with the options as they are; the picker also changes with every upload."""
        if value == chosen_value(chosen):
            return {self.form.picker: gr.skip()}
        return self._take(chosen, lambda: (value, *fitting(open_upload(value, data_dir()), options)))

    def clean(self, chosen: Chosen | None, *options: Any) -> dict[Any, Any]:
        """The same text with other options, made anew from its raw bytes; a number field asks also when it is left."""
        former = self._former(chosen)
        with suppress(CharLMError):
            if settings_of(options) == (former.config, former.model):
                return {self.form.picker: gr.skip()}
        return self._take(chosen, lambda: (chosen_value(chosen), *settings_of(options)))

    def upload(self, chosen: Chosen | None, path: str, *options: Any) -> dict[Any, Any]:
        """A file; `path` is gradio's own copy of it."""
        return self._take(chosen, lambda: self._bring(self._uploaded(path), options))

    def paste(self, chosen: Chosen | None, text: str, *options: Any) -> dict[Any, Any]:
        """A pasted text; its panel closes if it can be used."""
        shown = self._take(chosen, lambda: self._bring(pasted_text(text or ""), options))
        if self.shared.corpus in shown:
            shown |= {self.form.panel: gr.update(visible=False), self.form.pasted: ""}
        return shown

    def guess(self, chosen: Chosen | None) -> str:
        """The bars that take seconds."""
        reading = self._former(chosen)
        return corpus_view.guessing_html(
            reading, self.readings.costs(reading), best_runs(reading, self.services.store.list())
        )

    def explain(self, chosen: Chosen | None) -> str:
        """What the model sees."""
        from charlm.ui.corpus.model_view import model_html  # its layers load torch

        return model_html(self._former(chosen))

    def train(self, chosen: Chosen | None) -> tuple[Any, Any]:
        """Hand the text to the Train tab and go there."""
        return choice_of(self._former(chosen), chosen), gr.Tabs(selected="train")

    def _uploaded(self, path: str) -> Upload:
        file, most = self.services.files.uploaded(path), self.services.text_bytes
        return Upload(file.name, read_bytes(file, most), most_bytes=most)

    def _bring(self, upload: Upload, options: Sequence[Any]) -> Wanted:
        if self.services.limits is not None:
            check_text_size(self.services.limits, len(upload.data))
        return bring(upload, options)

    def _take(self, chosen: Chosen | None, wanted: Callable[[], Wanted]) -> dict[Any, Any]:
        try:
            reading = self.readings.read(*wanted())
        except CharLMError as error:
            gr.Warning(toast(error), title="The text stays as it was")
            return self._controls(self._former(chosen), chosen)
        choice = choice_of(reading, chosen)
        return {self.shared.corpus: choice, **self._shown(reading, choice)}

    def _former(self, chosen: Chosen | None, warn: bool = False) -> Reading:
        """The text that was chosen; the default one where it is gone."""
        try:
            config, model = CorpusConfig(**chosen_options(chosen)), ModelConfig(**chosen_tokens(chosen))
            return self.readings.read(chosen_value(chosen), config, model)
        except CharLMError as error:
            if warn:
                gr.Warning(toast(error), title="The default text instead")
            return self.readings.read(DEFAULT_KEY, CorpusConfig())

    def _shown(self, reading: Reading, chosen: Chosen | None) -> dict[Any, Any]:
        view, runs = self.view, best_runs(reading, self.services.store.list())
        return {
            **self._controls(reading, chosen),
            view.head: corpus_view.head_html(reading),
            view.facts: corpus_view.facts_html(reading),
            view.begins: corpus_view.beginning_html(reading),
            view.guessing: corpus_view.guessing_html(reading, self.readings.known_costs(reading), runs),
            view.characters: corpus_view.characters_html(reading),
        }

    def _controls(self, reading: Reading, chosen: Chosen | None) -> dict[Any, Any]:
        """Picker, fold and options as they belong to `reading`."""
        form = self.form
        title = corpus_view.options_title(reading.config, reading.table)
        options = option_updates(reading.config, reading.model, reading.columns, reading.table)
        return {
            form.picker: gr.update(choices=picker_choices(chosen), value=reading.value),
            form.fold: gr.update(label=title),
            **dict(zip(form.options, options, strict=True)),
        }


def bring(upload: Upload, options: Sequence[Any]) -> Wanted:
    """Keep an upload that can be read with the options as they are.

    Raises:
        CharLMError: it holds no text to train on, or an option is out of range.
    """
    config, model = fitting(upload, options)
    upload.read(config)
    return keep_upload(upload, data_dir()), config, model


def fitting(upload: Upload | None, options: Sequence[Any]) -> tuple[CorpusConfig, ModelConfig]:
    """The options for another text. A column belongs to one table only; where none has a usual name, the one with
    the most text is taken."""
    config, model = settings_of(options)
    config = replace(config, column="")
    columns = upload.columns() if upload else []
    if upload and len(columns) > 1 and not usual_column(columns):
        return replace(config, column=wordiest_column(upload, config)), model
    return config, model


def choice_of(reading: Reading, chosen: Chosen | None) -> dict[str, Any]:
    """What the browser keeps of a text; see corpora.Chosen."""
    corpus, source = reading.corpus, "" if reading.corpus.key else reading.value
    own = {value: name for name, value in own_texts(chosen)}
    if source:
        own = {source: corpus.name, **{value: name for value, name in own.items() if value != source}}
    return {
        "key": corpus.key,
        "source": source,
        "sha256": corpus.sha256,
        "name": corpus.name,
        "config": reading.config.to_dict(),
        "tokens": {name: getattr(reading.model, name) for name in TOKEN_SETTINGS},
        "own": [{"value": value, "name": name} for value, name in list(own.items())[:KEPT_NAMES]],
    }


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
