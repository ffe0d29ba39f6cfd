"""The form of Train outlives a reload: the browser tab remembers it (address.js); here it is checked and put back."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from charlm.architectures import ARCHS
from charlm.presets import PRESET_HINTS, PRESETS
from charlm.public.services import Services
from charlm.ui.compare.ranking import asked
from charlm.ui.corpus.texts import Chosen, chosen_value, corpus_choices, times_handed_over
from charlm.ui.html import QUICK, Shared
from charlm.ui.train.form import EMPTY, NAMES, Form, config_class

LATEST: dict[str, Any] = {**QUICK, "trigger_mode": "always_last"}
KEPT = ("chosen", "preset", "archs", "filled", *NAMES)
KEEP_JS = f"(...values) => {{ window.charlmAddress.train({json.dumps(KEPT)}, values); }}"
PICKED_JS = "(...values) => { window.charlmAddress.picked(...values); }"
REMEMBERED_JS = "(remembered, ...others) => [window.charlmAddress.remembered(), ...others]"


def wire(form: Form, filled: gr.Textbox, shared: Shared, services: Services) -> None:
    """Put back what the browser tab remembers, then have it remember every change.

    Args:
        form: the form's components.
        filled: hidden; as JSON, what the preset filled in.
        shared: the corpus that the Corpus tab hands over, also when the page is opened.
        services: whose texts can be picked.
    """
    remembered = gr.Textbox(visible="hidden", elem_id="train-remembered")
    chosen = gr.Textbox(visible="hidden", elem_id="train-chosen")  # what the Corpus tab handed over, see offer_of

    def take(text: str, handed_over: Chosen | None) -> tuple[Any, str]:
        choices = corpus_choices(handed_over, services.texts.list())
        return gr.update(choices=choices, value=corpus_of(asked(text), handed_over, choices)), offer_of(handed_over)

    def restore(text: str) -> dict[Any, Any]:
        known = asked(text)
        shown = {form.controls[name]: value for name, value in settings_of(known).items()}
        preset, archs = known.get("preset"), known.get("archs")
        if isinstance(preset, str) and preset in PRESETS and is_filled(known.get("filled")):
            hint = f"{preset}: {PRESET_HINTS[preset]}"
            shown |= {form.preset: gr.update(value=preset, info=hint), filled: known["filled"]}
        if isinstance(archs, list):
            shown[form.archs] = [arch for arch in ARCHS if arch in archs]
        return shown or {filled: gr.skip()}

    causes = [shared.page.load, shared.corpus.change]
    gr.on(causes, take, [remembered, shared.corpus], [form.corpus, chosen], js=REMEMBERED_JS, **LATEST)
    controls = [form.preset, form.archs, filled, *form.controls.values()]
    restored = shared.page.load(restore, remembered, controls, js=REMEMBERED_JS, **QUICK)
    restored.then(None, js="() => { window.charlmAddress.restored(); }")
    kept = [chosen, *controls]
    gr.on([one.change for one in kept], None, kept, None, js=KEEP_JS, **LATEST)
    # Of the picker what a person picks, not its value: listeners may read a former one before its tab is opened (6.31).
    form.corpus.input(None, [chosen, form.corpus], None, js=PICKED_JS, **LATEST)


def offer_of(handed_over: Chosen | None) -> str:
    """What tells one text that the Corpus tab handed over from the next, also where it is the same text once more."""
    return f"{chosen_value(handed_over)} {times_handed_over(handed_over)}"


def corpus_of(known: Mapping[str, Any], handed_over: Chosen | None, choices: Sequence[tuple[str, str]]) -> str:
    """The text to pick: another than that of the Corpus tab if it was picked since that one was handed over.

    Args:
        known: what the browser tab remembers.
        handed_over: by the Corpus tab.
        choices: (title, value) of the picker.
    """
    picked, is_as_then = known.get("corpus"), known.get("chosen") == offer_of(handed_over)
    return str(picked) if is_as_then and picked in [value for _, value in choices] else chosen_value(handed_over)


def settings_of(known: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among what is remembered whose controls can show them; a page of yesterday may say anything."""
    return {name: known[name] for name in NAMES if name in known and _can_be_shown(name, known[name])}


def _can_be_shown(name: str, value: Any) -> bool:
    field = config_class(name).field(name)
    usual: Any = field.default
    if field.metadata["choices"]:
        return value in field.metadata["choices"]
    if isinstance(usual, bool | str):
        return isinstance(value, type(usual)) and (isinstance(value, bool) or len(value) <= field.metadata["high"])
    if name == "learning_rate" and value in EMPTY:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_filled(text: Any) -> bool:
    """Whether it says what a preset filled into every control."""
    return isinstance(text, str) and asked(text).keys() == set(NAMES)
