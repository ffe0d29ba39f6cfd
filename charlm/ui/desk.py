"""Where Compare's texts are asked for: prompt, Generate, Go on, Stop, the settings, and another token put somewhere."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from charlm.config import SampleConfig
from charlm.errors import CharLMError, ConfigError
from charlm.serving import Draft
from charlm.ui import sampling as fold
from charlm.ui.arguments import whole_of
from charlm.ui.choice import found_runs
from charlm.ui.common import Services, toast
from charlm.ui.present import check_room, gone_on, still, texts_in
from charlm.ui.writing import stream_columns

WRITING = 64  # pages in which texts are written at the same time; a page takes a thread only when it is handed new text
# Go on tells what stands in the columns in place of its first input.
PRESENT_JS = "(_, ...rest) => [JSON.stringify(window.charlmTexts()), ...rest]"
Drafts = Callable[[list[Any], SampleConfig], Iterator[Mapping[str, Draft]]]
Change = tuple[Any, Any, Any, Any]  # columns, Generate, Stop, Go on


@dataclass(frozen=True)
class Desk:
    """Its components.

    Attributes:
        prompt, generate, stop, more, sampling: what one sees.
        present: hidden; what stands in the columns, when it is asked for.
        how: hidden; the settings as JSON, for the panel.
        next: the panel What next?
    """

    prompt: gr.Textbox
    generate: gr.Button
    stop: gr.Button
    more: gr.Button
    sampling: fold.Sampling
    present: gr.Textbox
    how: gr.Textbox
    next: gr.HTML


def prompt_box() -> gr.Textbox:
    """The prompt, with the first preset's."""
    text, _ = fold.preset_values(next(iter(fold.SAMPLE_PRESETS)))
    return gr.Textbox(
        text, label="Prompt", lines=1, max_lines=4, max_length=2000, elem_id="compare-prompt", scale=5,
        placeholder="Empty works too", html_attributes=gr.InputHTMLAttributes(spellcheck=False),
    )  # fmt: skip


def buttons() -> tuple[gr.Button, gr.Button, gr.Button]:
    """Generate, Stop and Go on."""
    generate = gr.Button("Generate", variant="primary", elem_id="compare-generate", scale=0, min_width=120)
    stop = gr.Button("Stop", elem_id="compare-stop", visible=False, scale=0, min_width=120)
    more = gr.Button("Go on", elem_id="compare-more", visible=False, scale=0, min_width=90)
    return generate, stop, more


def hidden() -> tuple[gr.Textbox, gr.Textbox]:
    """What the page and the server tell each other beside what is seen."""
    present = gr.Textbox(visible="hidden", elem_id="compare-present")
    return present, gr.Textbox(told(SampleConfig()), visible="hidden", elem_id="compare-how")


def told(config: SampleConfig) -> str:
    """The settings as the panel sends them back."""
    return json.dumps(config.to_dict())


def wire(desk: Desk, models: gr.Dropdown, columns: gr.HTML, services: Services) -> None:
    """What its buttons do, and the panel."""
    serving, controls = services.serving, list(desk.sampling.controls)

    def generate(ids: list[str], prompt: str, *values: Any) -> Iterator[Change]:
        yield from _write(services, ids, values, lambda runs, config: serving.compare(runs, prompt or "", config))

    def go_on(message: str, ids: list[str], prompt: str, *values: Any) -> Iterator[Change]:
        def drafts(runs: list[Any], config: SampleConfig) -> Iterator[Mapping[str, Draft]]:
            present = texts_in(message, runs)
            check_room(present, config)
            return gone_on(present, present, serving.compare(runs, prompt or "", config, present))

        yield from _write(services, ids, values, drafts)

    def take(event: gr.EventData, ids: list[str], *values: Any) -> Iterator[Change]:
        yield from _write(services, ids, values, lambda runs, config: _changed(serving, event._data, runs, config))

    def rest() -> Change:
        return _changes(busy=False)

    inputs, outputs = [models, desk.prompt, *controls], [columns, desk.generate, desk.stop, desk.more]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    long: dict[str, Any] = {**quiet, "concurrency_limit": WRITING}
    started = [
        gr.on([desk.generate.click, desk.prompt.submit], generate, inputs, outputs, **long),
        desk.more.click(go_on, [desk.present, *inputs], outputs, js=PRESENT_JS, **long),
        desk.next.take(take, [models, *controls], outputs, **long),
    ]
    desk.stop.click(rest, None, outputs, cancels=started, queue=False, **quiet)
    _wire_settings(desk, models, services)


def _wire_settings(desk: Desk, models: gr.Dropdown, services: Services) -> None:
    """The fold's title, and the presets."""
    controls = list(desk.sampling.controls)

    def retitle(ids: list[str], *values: Any) -> tuple[Any, Any]:
        try:
            config = fold.sample_config(values)
        except CharLMError as error:
            return gr.update(label=str(error)), gr.skip()
        levels = {run.model_config.level for run in found_runs(services.store, ids)}
        unit = "token" if levels - {"char"} else "character"
        return gr.update(label=fold.settings_title(config, unit)), told(config)

    def fill(name: str) -> list[Any]:
        prompt, values = fold.preset_values(name)
        return [prompt, *values]

    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    changes = [control.change for control in (models, *controls)]
    gr.on(changes, retitle, [models, *controls], [desk.sampling.fold, desk.how], **quick)
    desk.sampling.preset.input(fill, desk.sampling.preset, [desk.prompt, *controls], **quick)


def _write(services: Services, ids: list[str], values: Sequence[Any], drafts: Drafts) -> Iterator[Change]:
    """The columns while something is written in them, and the buttons that go with it."""
    try:
        runs, config = found_runs(services.store, ids), fold.sample_config(values)
        if not runs:
            raise gr.Error("Choose at least one model.", print_exception=False)
        yield _changes(busy=True)
        for html in stream_columns(services.serving, runs, drafts(runs, config)):
            yield html, gr.skip(), gr.skip(), gr.skip()
    except CharLMError as error:
        gr.Warning(toast(error), title="Nothing was written")
    yield _changes(busy=False)


def _changes(busy: bool) -> Change:
    """Generate and Go on, or Stop."""
    return gr.skip(), gr.update(visible=not busy), gr.update(visible=busy), gr.update(visible=not busy)


def _changed(
    serving: Any, order: Mapping[str, Any], runs: Sequence[Any], config: SampleConfig
) -> Iterator[Mapping[str, Draft]]:
    """One text with another token at a place, gone on with to the length it had; the others as they are.

    Args:
        serving: the models.
        order: as the panel sends it.
        runs: those compared.
        config: how it goes on.

    Raises:
        ConfigError: there is no such text, place or token.
    """
    present, at = texts_in(order.get("texts"), runs), whole_of(order.get("sample"), "sample")
    run = next((run for run in runs if run.run_id == order.get("run")), None)
    texts = list(present.get(run.run_id, ())) if run else []
    if run is None or not 0 <= at < len(texts):
        raise ConfigError("that text is no longer there; press Generate")
    place, token = whole_of(order.get("place"), "place"), whole_of(order.get("token"), "token")
    texts[at], left = serving.with_token(run, texts[at], place, token)
    present = {**present, run.run_id: texts}
    if left == 0:
        return iter([still(present)])
    begun, how = {run.run_id: [texts[at]]}, replace(config, length=left, samples=1)
    return gone_on(present, begun, serving.compare([run], "", how, begun))
