"""Presets: named sets of settings, listed in presets.toml, and how a user's options are put over one."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.config import CorpusConfig, ModelConfig, RaceConfig, TrainConfig, reject_unknown
from charlm.config import RunConfig as RunConfig  # importable from here, too
from charlm.errors import ConfigError

# Giving one of the budgets replaces the preset's, so that `--epochs 2` means two epochs.
BUDGETS = ("epochs", "steps", "minutes")
# What may change when a run is resumed; with any other setting it would be another run.
RESUMABLE = (*BUDGETS, "learning_rate", "schedule", "grad_clip", "patience", "eval_every")
# What a fork may change; with any other setting the parent's state would be of no use.
FORKABLE = (*RESUMABLE, "warmup_steps", "weight_decay", "label")

_CONTENT = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
PRESET_HINTS: dict[str, str] = {name: preset.pop("hint") for name, preset in _CONTENT["preset"].items()}
PRESETS: dict[str, dict[str, Any]] = _CONTENT["preset"]
FIRST_PRESET, LIST_PRESET = next(iter(PRESETS)), "items"  # taken where none is named: of a text, of a list of items
SAMPLE_PRESETS: dict[str, dict[str, Any]] = _CONTENT["sample"]


def level_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that follow from the level: a large vocabulary needs an embedding, shared with the output layer.

    Args:
        values: settings by name, not checked yet.
    """
    size = values.get("hidden_size", ModelConfig().hidden_size)
    if values.get("level") not in ("word", "bpe") or "embed_dim" in values or not isinstance(size, int):
        return {}
    return {"embed_dim": size, "tie_weights": True}


def option_names() -> tuple[str, ...]:
    """The names of all settings that `from_options` takes."""
    return (*ModelConfig.names(), *TrainConfig.names(), *CorpusConfig.names(), *RaceConfig.names())


def usual_preset(options: Mapping[str, Any]) -> str:
    """The preset that is taken where none is named: LIST_PRESET if the options make the text a list of items."""
    items = options.get("items")
    return LIST_PRESET if isinstance(items, str) and items not in ("", "none") else FIRST_PRESET


def from_options(options: Mapping[str, Any], preset: str = "") -> RunConfig:
    """A preset with the user's options over it.

    Args:
        options: fields of ModelConfig, TrainConfig, CorpusConfig and RaceConfig, by name; may also name a `preset`.
        preset: the preset, unless the options name one; empty: see `usual_preset`.

    Raises:
        ConfigError: an unknown name or preset, or a value out of range.
    """
    if not isinstance(options, Mapping):
        raise ConfigError(f"options must be an object of settings, not {type(options).__name__}")
    given = dict(options)
    preset = given.pop("preset", preset or usual_preset(given))
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"preset {preset!r} is not one of: {', '.join(PRESETS)}")
    reject_unknown(given, option_names())
    budgets = dict.fromkeys(BUDGETS, 0) if any(given.get(name) for name in BUDGETS) else {}
    values = {**PRESETS[preset], **budgets, **given}
    values = {**level_settings(values), **values}
    parts = ModelConfig.pick(values), TrainConfig.pick(values), CorpusConfig.pick(values)
    return RunConfig(*parts, preset, frozenset(given), RaceConfig.pick(values))
