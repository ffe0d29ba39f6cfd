"""Where Compare's texts are asked for: prompt, Generate, Go on, Stop, the settings, and another token put somewhere."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from charlm.config import SampleConfig, escape, escape_lines, unescape_lines
from charlm.errors import CharLMError, ConfigError
from charlm.presets import SAMPLE_PRESETS
from charlm.serving import Draft
from charlm.ui.api import whole_of
from charlm.ui.compare.ranking import found_runs
from charlm.ui.compare.view import check_room, gone_on, still, stream_columns, texts_in
from charlm.ui.formatting import count
from charlm.ui.html import Services, toast

# How far the controls reach; the command line and the endpoints take the config's whole range. Low, high, step.
SLIDERS: dict[str, tuple[float, float, float]] = {
    "length": (20, 4000, 20),
    "temperature": (0.1, 2.0, 0.05),
    "top_k": (0, 100, 1),
    "top_p": (0.05, 1.0, 0.01),
    "min_p": (0.0, 1.0, 0.01),
    "repetition_penalty": (1.0, 2.0, 0.05),
    "beams": (1, 8, 1),
    "samples": (1, 8, 1),
}
LABELS = {"top_k": "Top-k", "top_p": "Top-p", "min_p": "Min-p", "stop": "Stop before", "allow_unk": "Unknown words"}
SHOWN_STOP = 16  # characters of a stop string in the title


@dataclass(frozen=True)
class Sampling:
    """The fold, its preset picker and its controls in the order of SampleConfig's fields."""

    fold: gr.Accordion
    preset: gr.Radio
    controls: tuple[Any, ...]


def settings_title(config: SampleConfig, unit: str = "character") -> str:
    """`500 characters · temperature 0.8 · top-k 5 · seed 7`: length, how it is chosen, and what is not as usual."""
    stops = [f'stops before "{_cut(stop)}"' for stop in config.stop[:1]]
    more = len(config.stop) - 1
    parts = [count(config.length, unit), *_choice(config)]
    parts += [f"repetition penalty {config.repetition_penalty:g}"] if config.repetition_penalty > 1 else []
    parts += [f"{stops[0]} and {more} more" if more > 0 else stops[0]] if stops else []
    parts += [f"{config.samples} samples"] if config.samples > 1 else []
    parts += ["unknown words allowed"] if config.allow_unk else []
    return " · ".join(parts if config.greedy or config.beams > 1 else [*parts, f"seed {config.seed}"])


def _choice(config: SampleConfig) -> list[str]:
    """How the tokens are chosen."""
    if config.beams > 1:
        return [f"beam search, {config.beams} beams"]
    if config.greedy:
        return ["greedy: always the likeliest"]
    cuts = {"top-k": config.top_k, "top-p": config.top_p if config.top_p < 1 else 0, "min-p": config.min_p}
    return [f"temperature {config.temperature:g}", *(f"{name} {value:g}" for name, value in cuts.items() if value)]


def _cut(stop: str) -> str:
    shown = escape(stop)
    return shown if len(shown) <= SHOWN_STOP else f"{shown[: SHOWN_STOP - 1]}…"


def sample_config(values: Sequence[Any]) -> SampleConfig:
    """The controls' values, in field order, as a checked config.

    Raises:
        ConfigError: a value is out of range, or a field was emptied.
    """
    given = dict(zip(SampleConfig.names(), values, strict=True))
    return SampleConfig(**{**given, "stop": unescape_lines(str(given["stop"] or ""))})


def preset_values(name: str) -> tuple[str, tuple[Any, ...]]:
    """A preset's prompt and its value for every control."""
    chosen = dict(SAMPLE_PRESETS[name])
    prompt = chosen.pop("prompt", "")
    return prompt, control_values(SampleConfig(**chosen))


def control_values(config: SampleConfig) -> tuple[Any, ...]:
    """What each control shows for these settings."""
    return tuple({**config.to_dict(), "stop": escape_lines(config.stop)}.values())


def build() -> Sampling:
    """The fold with the presets and a control for every field of SampleConfig."""
    first = next(iter(SAMPLE_PRESETS))
    _, values = preset_values(first)
    with gr.Accordion(
        settings_title(sample_config(values)), open=False, elem_id="compare-sampling", elem_classes="fold"
    ) as fold:
        preset = gr.Radio(
            list(SAMPLE_PRESETS),
            value=first,
            label="Preset",
            info="Fills prompt and settings",
            elem_id="compare-preset",
            elem_classes="segmented",
        )
        with gr.Row(elem_classes="settings"):
            shown = dict(zip(SampleConfig.names(), values, strict=True))
            switches = [name for name, value in shown.items() if isinstance(value, bool)]
            numbers = [name for name in shown if name not in switches]  # first, so that rows are of one height
            made = {name: _control(name, shown[name]) for name in (*numbers, *switches)}
    return Sampling(fold, preset, tuple(made[name] for name in SampleConfig.names()))


def _control(name: str, value: Any) -> Any:
    """The control of one setting, with the setting's hint."""
    field, label = SampleConfig.field(name), LABELS.get(name, name.replace("_", " ").capitalize())
    info, elem_id = field.metadata["hint"], f"compare-{name.replace('_', '-')}"
    if name in SLIDERS:
        low, high, step = SLIDERS[name]
        return gr.Slider(low, high, value, step=step, label=label, info=info, elem_id=elem_id)
    if isinstance(value, bool):
        return gr.Checkbox(value, label=label, info=info, elem_id=elem_id)
    if name == "stop":
        info = f"{info}. One a line; \\n is a line end"
        return gr.Textbox(value, label=label, info=info, lines=2, max_lines=4, elem_id="compare-stop-before")
    return gr.Number(value, precision=0, label=label, info=info, elem_id=elem_id)


WRITING = 64  # pages in which texts are written at the same time; a page takes a thread only when it is handed new text
# Go on tells what stands in the columns in place of its first input.
PRESENT_JS = "(_, ...rest) => [JSON.stringify(window.charlmTexts()), ...rest]"
Drafts = Callable[[list[Any], SampleConfig], Iterator[Mapping[str, Draft]]]
Change = tuple[Any, Any, Any, Any]  # columns, Generate, Stop, Go on


@dataclass(frozen=True)
class Controls:
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
    sampling: Sampling
    present: gr.Textbox
    how: gr.Textbox
    next: gr.HTML


def prompt_box() -> gr.Textbox:
    """The prompt, with the first preset's."""
    text, _ = preset_values(next(iter(SAMPLE_PRESETS)))
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


def wire(form: Controls, models: gr.Dropdown, columns: gr.HTML, services: Services) -> None:
    """What its buttons do, and the panel."""
    serving, controls = services.serving, list(form.sampling.controls)

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

    inputs, outputs = [models, form.prompt, *controls], [columns, form.generate, form.stop, form.more]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    long: dict[str, Any] = {**quiet, "concurrency_limit": WRITING}
    started = [
        gr.on([form.generate.click, form.prompt.submit], generate, inputs, outputs, **long),
        form.more.click(go_on, [form.present, *inputs], outputs, js=PRESENT_JS, **long),
        form.next.take(take, [models, *controls], outputs, **long),
    ]
    form.stop.click(rest, None, outputs, cancels=started, queue=False, **quiet)
    _wire_settings(form, models, services)


def _wire_settings(form: Controls, models: gr.Dropdown, services: Services) -> None:
    """The fold's title, and the presets."""
    controls = list(form.sampling.controls)

    def retitle(ids: list[str], *values: Any) -> tuple[Any, Any]:
        try:
            config = sample_config(values)
        except CharLMError as error:
            return gr.update(label=str(error)), gr.skip()
        levels = {run.model_config.level for run in found_runs(services.store, ids)}
        unit = "token" if levels - {"char"} else "character"
        return gr.update(label=settings_title(config, unit)), told(config)

    def fill(name: str) -> list[Any]:
        prompt, values = preset_values(name)
        return [prompt, *values]

    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    changes = [control.change for control in (models, *controls)]
    gr.on(changes, retitle, [models, *controls], [form.sampling.fold, form.how], **quick)
    form.sampling.preset.input(fill, form.sampling.preset, [form.prompt, *controls], **quick)


def _write(services: Services, ids: list[str], values: Sequence[Any], drafts: Drafts) -> Iterator[Change]:
    """The columns while something is written in them, and the buttons that go with it."""
    try:
        runs, config = found_runs(services.store, ids), sample_config(values)
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
