"""The controls of the Corpus tab: picker, upload, paste, tokens, and the fold whose title states the options."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlm.config import LEVEL_NAMES, TOKEN_SETTINGS, CorpusConfig, ModelConfig
from charlm.data.catalog import entries, is_at_hand
from charlm.data.corpus import SUFFIXES
from charlm.ui import formatting
from charlm.ui.corpus.texts import Chosen, corpus_choices, own_texts, usual_column
from charlm.ui.corpus.view import options_title

# The options: how a text is cleaned and split, then what its tokens are.
CLEANING = CorpusConfig.names()
NAMES = (*CLEANING, *TOKEN_SETTINGS)
# Those of the tokens that count at each level.
TELLING = {"char": ("level",), "word": TOKEN_SETTINGS, "bpe": ("level", "vocab_size")}
LEVEL_CHOICES = [(name.capitalize(), level) for level, name in LEVEL_NAMES.items()]
TABLE_NAMES = ("column", "separator")
LABELS = {
    "separator": "Between rows",
    "lf": "Line ends to LF",
    "drop_newlines": "Drop line ends",
    "nfc": "Unicode NFC",
    "lowercase": "Lower case",
    "strip_gutenberg": "Strip Project Gutenberg",
    "val_fraction": "Held out",
    "test_fraction": "Test tail",
    "level": "Read as",
    "words": "A word is",
    "min_count": "Least count",
    "vocab_size": "Vocabulary",
}
MOST_PASTED = 5_000_000


@dataclass(frozen=True)
class Form:
    """The controls; `options` stand in the order of NAMES."""

    picker: gr.Dropdown
    upload: gr.UploadButton
    paste: gr.Button
    train: gr.Button
    panel: gr.Column
    pasted: gr.Textbox
    use: gr.Button
    cancel: gr.Button
    fold: gr.Accordion
    options: tuple[Any, ...]


def build() -> Form:
    """The form's components; call inside the tab."""
    with gr.Row(elem_id="corpus-bar", elem_classes="bar-line"):
        picker = gr.Dropdown(
            corpus_choices(None), label="Choose a text", info="A built-in one, or bring your own",
            elem_id="corpus-picker", scale=5,
        )  # fmt: skip
        upload = gr.UploadButton(
            "Upload…", file_types=[*SUFFIXES, ".gz"], elem_id="corpus-upload", scale=0, min_width=96
        )
        paste = gr.Button("Paste…", elem_id="corpus-paste", scale=0, min_width=88)
        train = gr.Button("Train on this text", variant="primary", elem_id="corpus-train", scale=0, min_width=150)
    with gr.Column(visible=False, elem_id="corpus-paste-panel", elem_classes="tight") as panel:
        pasted = gr.Textbox(
            label="Your text", info="A few thousand characters are enough to try; a book learns better", lines=8,
            max_lines=16, max_length=MOST_PASTED, elem_id="corpus-pasted", placeholder="Paste or type here",
        )  # fmt: skip
        with gr.Row(elem_classes="buttons"):
            use = gr.Button("Use this text", size="sm", elem_id="corpus-use")
            cancel = gr.Button("Cancel", size="sm", elem_id="corpus-paste-cancel")
    with gr.Row(elem_id="corpus-tokens", elem_classes="settings"):
        tokens = [control(name) for name in TOKEN_SETTINGS]
    with (
        gr.Accordion(options_title(CorpusConfig()), open=False, elem_id="corpus-options", elem_classes="fold") as fold,
        gr.Row(elem_classes="settings"),
    ):
        options = (*(control(name) for name in CLEANING), *tokens)
    return Form(picker, upload, paste, train, panel, pasted, use, cancel, fold, options)


def control(name: str) -> Any:
    """The component of an option: label, hint, choices and range come from its config class."""
    field = (CorpusConfig if name in CLEANING else ModelConfig).field(name)
    default: Any = field.default
    meta, label = field.metadata, LABELS.get(name, name.capitalize())
    shared: dict[str, Any] = {"label": label, "info": meta["hint"], "elem_id": f"corpus-{name.replace('_', '-')}"}
    if name == "column":
        return gr.Dropdown([("by itself", "")], value="", visible=False, **shared)
    if name == "level":
        return gr.Radio(LEVEL_CHOICES, value=default, elem_classes="segmented", **shared)
    if meta["choices"]:
        return gr.Radio(list(meta["choices"]), value=default, visible=False, elem_classes="segmented", **shared)
    if type(default) is int:
        return gr.Number(default, precision=0, visible=False, **shared)
    if isinstance(default, bool):
        return gr.Checkbox(default, **shared)
    return gr.Slider(meta["low"], meta["high"], default, step=0.01, **shared)


def settings_of(values: Sequence[Any]) -> tuple[CorpusConfig, ModelConfig]:
    """The options' values, in the order of NAMES, as checked configs; what was emptied takes its default.

    Raises:
        ConfigError: a value is out of range.
    """
    given = {name: value for name, value in zip(NAMES, values, strict=True) if value is not None}
    tokens = {name: given.pop(name) for name in TOKEN_SETTINGS if name in given}
    return CorpusConfig(**given), ModelConfig(**tokens).tokenization


def option_updates(
    config: CorpusConfig, model: ModelConfig, columns: Sequence[str] = (), table: bool = False
) -> list[Any]:
    """Updates that put the configs into the options; column and separator show for tables only."""
    values = config.to_dict() | model.to_dict()
    column = gr.update(choices=column_choices(columns), value=values["column"], visible=bool(columns))
    separator = gr.update(value=values["separator"], visible=table)
    cleaning = [gr.update(value=values[name]) for name in CLEANING if name not in TABLE_NAMES]
    tokens = [gr.update(value=values[name], visible=name in TELLING[model.level]) for name in TOKEN_SETTINGS]
    return [column, separator, *cleaning, *tokens]


def column_choices(columns: Sequence[str]) -> list[tuple[str, str]]:
    """A table's columns; the one that is read by itself has the value ""."""
    usual = usual_column(list(columns))
    by_itself = [] if usual in columns else [("by itself", "")]
    return by_itself + [(f"{name} (by itself)", "") if name == usual else (name, name) for name in columns]


def picker_choices(chosen: Chosen | None) -> list[tuple[str, str]]:
    """Own texts and the catalog; what would have to be downloaded says how much that is."""
    return own_texts(chosen) + [
        (
            entry.title if is_at_hand(entry.key) else f"{entry.title} · {formatting.size(entry.size)} to download",
            entry.key,
        )
        for entry in entries()
    ]
