"""The folded sampling controls of Compare; the fold's title is the settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlm.config import SampleConfig
from charlm.escapes import meant_lines, typed, typed_lines
from charlm.presets import SAMPLE_PRESETS
from charlm.ui.numbers import count

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
    shown = typed(stop)
    return shown if len(shown) <= SHOWN_STOP else f"{shown[: SHOWN_STOP - 1]}…"


def sample_config(values: Sequence[Any]) -> SampleConfig:
    """The controls' values, in field order, as a checked config.

    Raises:
        ConfigError: a value is out of range, or a field was emptied.
    """
    given = dict(zip(SampleConfig.names(), values, strict=True))
    return SampleConfig(**{**given, "stop": meant_lines(str(given["stop"] or ""))})


def preset_values(name: str) -> tuple[str, tuple[Any, ...]]:
    """A preset's prompt and its value for every control."""
    chosen = dict(SAMPLE_PRESETS[name])
    prompt = chosen.pop("prompt", "")
    return prompt, control_values(SampleConfig(**chosen))


def control_values(config: SampleConfig) -> tuple[Any, ...]:
    """What each control shows for these settings."""
    return tuple({**config.to_dict(), "stop": typed_lines(config.stop)}.values())


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
