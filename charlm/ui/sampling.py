"""The folded sampling controls of Compare; the fold's title is the settings."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlm.config import SampleConfig
from charlm.presets import SAMPLE_PRESETS
from charlm.ui.numbers import whole

# How far the controls reach; the command line and the endpoints take the config's whole range.
LENGTHS = (20, 4000, 20)


@dataclass(frozen=True)
class Sampling:
    """The fold, its preset picker and its controls in the order of SampleConfig's fields."""

    fold: gr.Accordion
    preset: gr.Radio
    controls: tuple[Any, ...]


def settings_title(config: SampleConfig) -> str:
    """`500 characters · temperature 0.8 · top-k 5 · seed 7`."""
    parts = [f"{whole(config.length)} characters"]
    if config.greedy:
        return f"{parts[0]} · greedy: always the likeliest"
    parts.append(f"temperature {config.temperature:g}")
    parts += [f"top-k {config.top_k}"] if config.top_k else []
    parts += [f"top-p {config.top_p:g}"] if config.top_p < 1 else []
    return " · ".join([*parts, f"seed {config.seed}"])


def sample_config(values: tuple[Any, ...]) -> SampleConfig:
    """The controls' values, in field order, as a checked config.

    Raises:
        ConfigError: a value is out of range, or a field was emptied.
    """
    return SampleConfig(**dict(zip(SampleConfig.names(), values, strict=True)))


def preset_values(name: str) -> tuple[str, tuple[Any, ...]]:
    """A preset's prompt and its value for every control."""
    chosen = dict(SAMPLE_PRESETS[name])
    prompt = chosen.pop("prompt", "")
    return prompt, tuple(SampleConfig(**chosen).to_dict().values())


def build() -> Sampling:
    """The fold with preset, length, temperature, top-k, top-p, greedy and seed."""
    first = next(iter(SAMPLE_PRESETS))
    _, values = preset_values(first)
    start = sample_config(values)
    hint = {name: SampleConfig.field(name).metadata["hint"] for name in SampleConfig.names()}
    with gr.Accordion(settings_title(start), open=False, elem_id="compare-sampling", elem_classes="fold") as fold:
        preset = gr.Radio(
            list(SAMPLE_PRESETS),
            value=first,
            label="Preset",
            info="Fills prompt and settings",
            elem_id="compare-preset",
            elem_classes="segmented",
        )
        with gr.Row(elem_classes="settings"):
            length = gr.Slider(
                LENGTHS[0], LENGTHS[1], start.length, step=LENGTHS[2],
                label="Length", info=hint["length"], elem_id="compare-length",
            )  # fmt: skip
            temperature = gr.Slider(
                0.1, 2.0, start.temperature, step=0.05,
                label="Temperature", info=hint["temperature"], elem_id="compare-temperature",
            )  # fmt: skip
            top_k = gr.Slider(0, 100, start.top_k, step=1, label="Top-k", info=hint["top_k"], elem_id="compare-top-k")
            top_p = gr.Slider(
                0.05, 1.0, start.top_p, step=0.01, label="Top-p", info=hint["top_p"], elem_id="compare-top-p"
            )
            seed = gr.Number(start.seed, precision=0, label="Seed", info=hint["seed"], elem_id="compare-seed")
            greedy = gr.Checkbox(start.greedy, label="Greedy", info=hint["greedy"], elem_id="compare-greedy")
    return Sampling(fold, preset, (length, temperature, top_k, top_p, greedy, seed))
