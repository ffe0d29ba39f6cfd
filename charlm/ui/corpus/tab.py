"""The Corpus tab: each control opens a text and shows it; one that cannot be opened leaves the former in place."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from charlm.config import LEVEL_NAMES, TOKEN_SETTINGS, CorpusConfig, ModelConfig
from charlm.data.catalog import DEFAULT_KEY, data_dir, find_entry
from charlm.data.corpus import PACKED, SUFFIXES
from charlm.data.own_texts import Upload, open_upload, pasted_text
from charlm.errors import CharLMError
from charlm.public.limits import Limits, check_text_size
from charlm.public.services import Services, TextAccess
from charlm.ui.corpus import texts, view
from charlm.ui.corpus.reading import Reading, Readings, best_runs
from charlm.ui.corpus.texts import Chosen, chosen_value, usual_column
from charlm.ui.html import ACTIONS_JS, QUICK, QUIET, Shared, facts, heading, section, toast

# The options: how a text is cleaned and split, then what its tokens are.
CLEANING = CorpusConfig.names()
NAMES = (*CLEANING, *TOKEN_SETTINGS)
# Those of the tokens that count at each level.
LEVEL_SETTINGS = {"char": ("level",), "word": TOKEN_SETTINGS, "bpe": ("level", "vocab_size")}
LABELS = {
    "separator": "Between rows", "lf": "Line ends to LF", "drop_newlines": "Drop line ends", "nfc": "Unicode NFC",
    "lowercase": "Lower case", "strip_gutenberg": "Strip Project Gutenberg", "strip_markup": "Strip markup",
    "val_fraction": "Held out",
    "test_fraction": "Test tail", "level": "Read as", "words": "A word is", "min_count": "Least count",
    "vocab_size": "Vocabulary",
}  # fmt: skip
# What old programs of a region write, offered by name; any other that Python knows can be typed.
ENCODINGS = [
    *("utf-8", "cp1252", "cp1250", "iso8859-2", "cp1254", "cp1257", "cp1251", "koi8-r", "cp1253", "cp1255", "cp1256"),
    *("gb18030", "big5", "cp932", "euc_jp", "cp949", "utf-16", "cp437", "mac-roman"),
]
FACTS = ("characters", "distinct", "words", "to train on", "held out", "steps an epoch")
MOST_PASTED = 5_000_000
KEPT_NAMES = 5  # own texts that the picker keeps listing
# In the page: a server's answer to the click might undo what was picked or set a moment before, on its way back then.
HANDED_OVER_JS = "(chosen) => [{ ...chosen, handed_over: (chosen?.handed_over ?? 0) + 1 }]"
Parts = dict[str, Any]  # components by name
Changes = dict[Any, Any]  # components with what they are to show
Options = Mapping[str, Any]  # values of the options by name; None where a field was emptied
# A picker's value, how its text is cleaned, and what a token of it is.
Wanted = tuple[str, CorpusConfig, ModelConfig]


def build(services: Services, shared: Shared) -> None:
    """The tab's components and their wiring; call inside its gr.Tab."""
    CorpusTab(*build_parts(), services, shared, Readings(services.limits)).wire()


def build_parts() -> tuple[Parts, Parts]:
    """The components, and the options among them; call inside the tab."""
    entry = find_entry(DEFAULT_KEY)
    parts: Parts = {"head": _html("head", heading(entry.title, entry.about))}
    with gr.Row(elem_id="corpus-bar", elem_classes="bar-line"):
        parts["picker"] = gr.Dropdown(
            texts.corpus_choices(None), label="Choose a text", info="A built-in one, or bring your own",
            elem_id="corpus-picker", scale=5,
        )  # fmt: skip
        types = [*SUFFIXES, *PACKED]
        parts["upload"] = gr.UploadButton(
            "Upload…", file_types=types, file_count="multiple", elem_id="corpus-upload", scale=0, min_width=96
        )
        parts["paste"] = gr.Button("Paste…", elem_id="corpus-paste", scale=0, min_width=88)
        parts["train"] = gr.Button(
            "Train on this text", variant="primary", elem_id="corpus-train", scale=0, min_width=150
        )
    with gr.Column(visible=False, elem_id="corpus-paste-panel", elem_classes="tight") as parts["panel"]:
        parts["pasted"] = gr.Textbox(
            label="Your text", info="A few thousand characters are enough to try; a book learns better", lines=8,
            max_lines=16, max_length=MOST_PASTED, elem_id="corpus-pasted", placeholder="Paste or type here",
        )  # fmt: skip
        with gr.Row(elem_classes="buttons"):
            parts["use"] = gr.Button("Use this text", size="sm", elem_id="corpus-use")
            parts["cancel"] = gr.Button("Cancel", size="sm", elem_id="corpus-paste-cancel")
    with gr.Row(elem_id="corpus-tokens", elem_classes="settings"):
        tokens = {name: control(name) for name in TOKEN_SETTINGS}
    title = view.options_title(CorpusConfig())
    with gr.Accordion(title, open=False, elem_id="corpus-options", elem_classes="fold") as parts["fold"]:  # noqa: SIM117
        with gr.Row(elem_classes="settings"):
            options = {name: control(name) for name in CLEANING} | tokens
    with gr.Accordion(view.own_title(()), open=False, elem_id="corpus-own-fold", elem_classes="fold") as parts[
        "own_fold"
    ]:
        parts["own"] = gr.HTML("", elem_id="corpus-own", js_on_load=ACTIONS_JS, apply_default_css=False)
    parts["facts"] = _html("facts", facts([("…", name) for name in FACTS]))
    with gr.Row(elem_classes="halves", elem_id="corpus-halves"):
        with gr.Column(min_width=320):
            parts["begins"] = _html("begins", section("How it begins"))
        with gr.Column(min_width=320):
            parts["baselines"] = _html("guessing", section(view.BASELINES_TITLE))
    parts["characters"] = _html("characters")
    with gr.Accordion("What the model sees", open=False, elem_id="corpus-sees", elem_classes="fold section-fold"):
        parts["model"] = _html("model")
    return parts, options


def _html(name: str, value: str = "") -> gr.HTML:
    return gr.HTML(value, elem_id=f"corpus-{name}", apply_default_css=False)


def control(name: str) -> Any:
    """The component of an option: label, hint, choices and range come from its config class."""
    setting = (CorpusConfig if name in CLEANING else ModelConfig).field(name)
    default: Any = setting.default
    meta, label = setting.metadata, LABELS.get(name, name.capitalize())
    shared: dict[str, Any] = {"label": label, "info": meta["hint"], "elem_id": f"corpus-{name.replace('_', '-')}"}
    if name in ("column", "condition"):
        nothing = "by itself" if name == "column" else "none"
        return gr.Dropdown([(nothing, "")], value="", visible=False, **shared)
    if name == "encoding":
        return gr.Dropdown([("detected", ""), *ENCODINGS], value="", allow_custom_value=True, **shared)
    if name == "level":
        levels = [(words.capitalize(), level) for level, words in LEVEL_NAMES.items()]
        return gr.Radio(levels, value=default, elem_classes="segmented", **shared)
    if name == "items":
        kinds = [(words, kind) for kind, words in view.ITEMS.items()]
        return gr.Radio(kinds, value=default, elem_classes="segmented", **shared)
    if meta["choices"]:
        return gr.Radio(list(meta["choices"]), value=default, visible=False, elem_classes="segmented", **shared)
    if type(default) is int:
        return gr.Number(default, precision=0, visible=False, **shared)
    if isinstance(default, bool):
        return gr.Checkbox(default, **shared)
    return gr.Slider(meta["low"], meta["high"], default, step=0.01, **shared)


@dataclass(frozen=True)
class CorpusTab:
    """What the controls do.

    Attributes:
        parts: the components by name.
        options: the components of the options by name.
        services: runs and files.
        shared: components of other tabs.
        readings: the texts read last.
    """

    parts: Parts
    options: Parts
    services: Services
    shared: Shared
    readings: Readings = field(default_factory=Readings)

    def show(self, chosen: Chosen | None) -> Changes:
        """The tab was opened: what the browser remembers, or the default."""
        return self._shown(self._former(chosen, warn=True), chosen)

    def pick(self, chosen: Chosen | None, value: str, options: Options) -> Changes:
        """Read another text of the picker, with the options as they are.

        Args:
            chosen: what the browser remembers.
            value: the picker's; it also changes with every upload, which has been read already.
            options: the values of the options' components.

        Returns:
            The components that change.
        """
        if value == chosen_value(chosen):
            return {self.parts["picker"]: gr.skip()}
        return self._take(chosen, lambda: (value, *fitting(open_upload(value, data_dir()), options)))

    def clean(self, chosen: Chosen | None, options: Options) -> Changes:
        """The same text with other options, from its raw bytes; a number field asks also when it is left."""
        former = self._former(chosen)
        with suppress(CharLMError):
            if settings_of(options) == (former.config, former.model):
                return {self.parts["picker"]: gr.skip()}
        return self._take(chosen, lambda: (chosen_value(chosen), *settings_of(options)))

    def upload(self, chosen: Chosen | None, path: str | list[str], options: Options) -> Changes:
        """Read an uploaded file, or several as one text.

        Args:
            chosen: what the browser remembers.
            path: of gradio's own copy of the file, or several.
            options: the values of the options' components.

        Returns:
            The components that change.
        """

        def uploaded() -> Wanted:
            paths = [self.services.files.uploaded(one) for one in (path if isinstance(path, list) else [path])]
            return self._bring(self.services.upload_of([(one, one.name) for one in paths]), options)

        return self._take(chosen, uploaded)

    def paste(self, chosen: Chosen | None, text: str, options: Options) -> Changes:
        """Read a pasted text; its panel closes if it can be used.

        Args:
            chosen: what the browser remembers.
            text: as pasted; None where the field is empty.
            options: the values of the options' components.

        Returns:
            The components that change.
        """
        shown = self._take(chosen, lambda: self._bring(pasted_text(text or ""), options))
        if self.shared.corpus in shown:
            shown |= {self.parts["panel"]: gr.update(visible=False), self.parts["pasted"]: ""}
        return shown

    def act(self, chosen: Chosen | None, act: str, key: str, options: Options) -> Changes:
        """A button of the list of own texts.

        Args:
            chosen: what the browser remembers.
            act: the button's: open, ask (before deletion), keep, or delete.
            key: the text's.
            options: the values of the options' components.

        Returns:
            The components that change.
        """
        if act == "open":
            return self.pick(chosen, key, options)
        if act == "delete":
            return self.delete(chosen, key)
        return self._own(key if act == "ask" else "")

    def delete(self, chosen: Chosen | None, key: str) -> Changes:
        """Delete an own text; the default text takes its place if it was chosen."""
        try:
            self.services.texts.delete(key)
        except CharLMError as error:
            gr.Warning(toast(error), title="The text stays")
            return self._own()
        self.readings.forget()
        left = texts.without(chosen, key)
        reading = self._former(left)
        choice = choice_of(reading, left)
        return {self.shared.corpus: choice, **self._shown(reading, choice)}

    def measure(self, chosen: Chosen | None) -> str:
        """The bars that take seconds."""
        reading = self._former(chosen)
        runs = best_runs(reading, self.services.store.list())
        return view.baselines_html(reading, self.readings.baselines(reading), runs)

    def explain(self, chosen: Chosen | None) -> str:
        """What the model sees."""
        return view.model_html(self._former(chosen))

    def train(self, chosen: Chosen | None) -> tuple[Any, Any]:
        """Go to the Train tab, which has what the page handed over; a text that is gone gives way to the default."""
        reading = self._former(chosen)
        is_gone = reading.value != chosen_value(chosen)
        return choice_of(reading, chosen) if is_gone else gr.skip(), gr.Tabs(selected="train")

    def _bring(self, upload: Upload, options: Options) -> Wanted:
        return bring(upload, options, self.services.texts, self.services.limits)

    def _take(self, chosen: Chosen | None, wanted: Callable[[], Wanted]) -> Changes:
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
            config, model = CorpusConfig(**texts.chosen_options(chosen)), ModelConfig(**texts.chosen_tokens(chosen))
            return self.readings.read(chosen_value(chosen), config, model)
        except CharLMError as error:
            if warn:
                gr.Warning(toast(error), title="The default text instead")
            return self.readings.read(DEFAULT_KEY, CorpusConfig())

    def _shown(self, reading: Reading, chosen: Chosen | None) -> Changes:
        parts, runs = self.parts, best_runs(reading, self.services.store.list())
        return {
            **self._controls(reading, chosen),
            parts["head"]: view.head_html(reading),
            parts["facts"]: view.facts_html(reading),
            parts["begins"]: view.beginning_html(reading),
            parts["baselines"]: view.baselines_html(reading, self.readings.known_baselines(reading), runs),
            parts["characters"]: view.characters_html(reading),
        }

    def _own(self, asking: str = "") -> Changes:
        """The list of own texts; `asking` is the key of the one that may be deleted."""
        kept, most = self.services.texts.list(), (self.services.texts.most_files, self.services.texts.most_bytes)
        return {
            self.parts["own_fold"]: gr.update(label=view.own_title(kept)),
            self.parts["own"]: view.own_html(kept, most, self.services.limits is not None, asking),
        }

    def _controls(self, reading: Reading, chosen: Chosen | None) -> Changes:
        """Picker, fold and options as they belong to `reading`; column and separator show for tables only."""
        values = reading.config.to_dict() | reading.model.to_dict()
        shown = dict.fromkeys(TOKEN_SETTINGS, False) | dict.fromkeys(LEVEL_SETTINGS[reading.model.level], True)
        shown |= {"column": bool(reading.columns), "condition": len(reading.columns) > 1, "separator": reading.table}
        updates = {name: {"value": values[name]} for name in NAMES}
        updates["column"]["choices"] = column_choices(reading.columns)
        updates["condition"]["choices"] = [("none", ""), *reading.columns]
        for name, visible in shown.items():
            updates[name]["visible"] = visible
        return {
            **self._own(),
            self.parts["picker"]: gr.update(
                choices=texts.picker_choices(chosen, self.services.texts.list()), value=reading.value
            ),
            self.parts["fold"]: gr.update(label=view.options_title(reading.config, reading.table)),
            **{self.options[name]: gr.update(**update) for name, update in updates.items()},
        }

    def wire(self) -> None:
        """Every way to a text ends in the same outputs; then the fold and the slow bars follow."""
        parts, corpus = self.parts, self.shared.corpus
        outputs = [corpus, *(parts[name] for name in ("picker", "panel", "pasted", "fold")), *self.options.values()]
        outputs += [parts[name] for name in ("own_fold", "own", "head", "facts", "begins", "baselines", "characters")]
        busy = {**QUIET, "show_progress": "minimal", "show_progress_on": parts["facts"]}

        def follow(event: Any) -> None:
            # One at a time: who asks for the same text a second time finds it counted.
            event.then(self.measure, corpus, parts["baselines"], concurrency_limit=1, concurrency_id="guess", **QUIET)
            event.then(self.explain, corpus, parts["model"], concurrency_limit=2, **QUIET)

        def take(listen: Callable[..., Any], handler: Callable[..., Changes], *sources: Any, **more: Any) -> None:
            """Call `handler` with the chosen text, what stands in `sources`, and the options by name."""

            def handle(given: Mapping[Any, Any]) -> Changes:
                options = {name: given[option] for name, option in self.options.items()}
                return handler(given[corpus], *(given[source] for source in sources), options)

            handle.__name__ = handler.__name__
            follow(listen(handle, {corpus, *sources, *self.options.values()}, outputs, **more, **busy))

        follow(self.shared.own.select(self.show, corpus, outputs, **QUIET))
        # Not `input`: a click on a choice fires that twice, and a text that cannot be had would be refused twice.
        take(parts["picker"].change, self.pick, parts["picker"])
        take(parts["upload"].upload, self.upload, parts["upload"])
        take(parts["use"].click, self.paste, parts["pasted"])

        def act(given: Mapping[Any, Any], event: gr.EventData) -> Changes:
            options = {name: given[option] for name, option in self.options.items()}
            pressed, key = str(event._data.get("act", "")), str(event._data.get("text", ""))
            return self.act(given[corpus], pressed, key, options)

        follow(parts["own"].act(act, {corpus, *self.options.values()}, outputs, **busy))
        changed = [event for option in self.options.values() for event in _changes(option)]
        take(lambda *args, **more: gr.on(changed, *args, **more), self.clean, trigger_mode="always_last")
        handed_over = parts["train"].click(None, corpus, corpus, js=HANDED_OVER_JS, **QUICK)
        handed_over.then(self.train, corpus, [corpus, self.shared.tabs], **QUIET)
        parts["paste"].click(lambda: gr.update(visible=True), None, parts["panel"], **QUICK)
        parts["cancel"].click(lambda: gr.update(visible=False), None, parts["panel"], **QUICK)


def _changes(option: Any) -> list[Any]:
    """When an option has its new value: a slider when it is let go, a number when it is typed whole."""
    if isinstance(option, gr.Number):
        return [option.submit, option.blur]
    return [option.release if isinstance(option, gr.Slider) else option.input]


def settings_of(options: Options) -> tuple[CorpusConfig, ModelConfig]:
    """The options' values as checked configs; what was emptied takes its default.

    Raises:
        ConfigError: a value is out of range.
    """
    given = {name: value for name, value in options.items() if value is not None}
    tokens = {name: given.pop(name) for name in TOKEN_SETTINGS if name in given}
    return CorpusConfig(**given), ModelConfig(**tokens).tokenization


def column_choices(columns: Sequence[str]) -> list[tuple[str, str]]:
    """A table's columns; the one that is read by itself has the value ""."""
    usual = usual_column(list(columns))
    by_itself = [] if usual in columns else [("by itself", "")]
    return by_itself + [(f"{name} (by itself)", "") if name == usual else (name, name) for name in columns]


def bring(upload: Upload, options: Options, keeper: TextAccess, limits: Limits | None = None) -> Wanted:
    """Keep an upload that can be read with the options as they are, within the limits of a public Space.

    Args:
        upload: the file or the pasted text.
        options: the values of the options' components.
        keeper: of texts.
        limits: of a public Space; None elsewhere.

    Returns:
        The key under which it is kept, and the options that suit it.

    Raises:
        CharLMError: it holds no text to train on, an option is out of range, or the text is too long here.
    """
    if limits is not None:
        check_text_size(limits, len(upload.data))
    config, model = fitting(upload, options)
    upload.read(config)
    return keeper.keep(upload), config, model


def fitting(upload: Upload | None, options: Options) -> tuple[CorpusConfig, ModelConfig]:
    """The options for another text. An encoding and a column belong to one file only; where no column has a usual name,
    the one with the most text is taken."""
    config, model = settings_of(options)
    config = replace(config, column="", condition="", encoding="")
    columns = upload.columns() if upload else []
    if upload and len(columns) > 1 and not usual_column(columns):
        return replace(config, column=texts.wordiest_column(upload, config)), model
    return config, model


def choice_of(reading: Reading, chosen: Chosen | None) -> dict[str, Any]:
    """What the browser keeps of a text; see texts.Chosen."""
    corpus, source = reading.corpus, "" if reading.corpus.key else reading.value
    own = texts.remembered(chosen)
    if source:
        own = {source: corpus.name, **{value: name for value, name in own.items() if value != source}}
    return {
        "key": corpus.key,
        "source": source,
        "sha256": corpus.sha256,
        "name": corpus.name,
        "config": reading.config.to_dict(),
        "tokens": {name: getattr(reading.model, name) for name in TOKEN_SETTINGS},
        "own": texts.as_own(dict(list(own.items())[:KEPT_NAMES])),
        "handed_over": texts.times_handed_over(chosen),
    }
