"""Presets: named sets of settings, and how a user's options are put over one."""

from collections.abc import Mapping
from typing import Any

from charlm.config import CorpusConfig, ModelConfig, TrainConfig, reject_unknown
from charlm.config import RunConfig as RunConfig  # importable from here, too
from charlm.errors import ConfigError

# Giving one of the budgets replaces the preset's, so that `--epochs 2` means two epochs.
BUDGETS = ("epochs", "steps", "minutes")
# What may change when a run is resumed; with any other setting it would be another run.
RESUMABLE = (*BUDGETS, "learning_rate", "schedule", "grad_clip", "patience", "eval_every")
# What a fork may change; with any other setting the parent's state would be of no use.
FORKABLE = (*RESUMABLE, "warmup_steps", "weight_decay", "label")

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {},
    "balanced": {"hidden_size": 256, "dropout": 0.2, "steps": 4000},
    "quality": {"hidden_size": 512, "dropout": 0.3, "weight_decay": 0.1, "steps": 8000},
    # The Grimm comparison of LSTM, GRU and RNN, setting by setting.
    "notebook": {
        "hidden_size": 512,
        "num_layers": 2,
        "dropout": 0.3,
        "init": "notebook",
        "seq_len": 100,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "schedule": "constant",
        "warmup_steps": 0,
        "beta2": 0.999,
        "grad_clip": 5.0,
        "steps": 0,
        "epochs": 30.0,
        "drop_newlines": True,
        "separator": "space",
    },
    # A class assignment: one row, plain Adam, LSTM against GRU.
    "tiny": {
        "hidden_size": 128,
        "num_layers": 2,
        "dropout": 0.0,
        "init": "torch",
        "seq_len": 20,
        "batch_size": 1,
        "learning_rate": 2e-3,
        "schedule": "constant",
        "warmup_steps": 0,
        "beta2": 0.999,
        "steps": 0,
        "epochs": 100.0,
    },
    # The regularisation of AWD-LSTM (Merity et al. 2018) for words, with AdamW, few epochs and a sampled softmax.
    "words": {
        "level": "word",
        "words": "spaces",
        "hidden_size": 400,
        "embed_dim": 400,
        "tie_weights": True,
        "init": "xavier",
        "dropout": 0.3,
        "output_dropout": 0.4,
        "input_dropout": 0.3,
        "embed_dropout": 0.1,
        "weight_dropout": 0.3,
        "locked_dropout": True,
        "seq_len": 35,
        "batch_size": 64,
        "learning_rate": 4e-3,
        "schedule": "cosine",
        "warmup_steps": 200,
        "weight_decay": 0.01,
        "grad_clip": 0.25,
        "softmax_samples": 4096,
        "steps": 0,
        "epochs": 12.0,
    },
    # A tutorial's word-level LSTM, setting by setting.
    "wikitext-2": {
        "level": "word",
        "words": "lower",
        "hidden_size": 512,
        "embed_dim": 800,
        "num_layers": 2,
        "dropout": 0.65,
        "init": "xavier",
        "seq_len": 50,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "schedule": "constant",
        "warmup_steps": 0,
        "beta2": 0.999,
        "steps": 0,
        "epochs": 50.0,
        "test_fraction": 0.1,
    },
}
PRESET_HINTS = {
    "quick": "about a minute for an LSTM: width and steps follow the text and this machine",
    "balanced": "about six minutes for an LSTM, fewer on a short text",
    "quality": "up to 25 minutes for an LSTM, fewer where more would overfit",
    "notebook": "the Grimm notebook's own settings: 2 x 512, 30 epochs",
    "tiny": "a class assignment's settings: 2 x 128, one row of 20 characters, 100 epochs",
    "words": "words instead of characters, dropout of every kind; an hour on WikiText-2",
    "wikitext-2": "a tutorial's word-level LSTM: embeddings of 800, 2 x 512, 50 epochs; takes hours, better overnight",
}
# Sampling presets of the Compare tab. A length counts tokens: 100 are as many words for a word-level model, and a line
# for one of characters.
SAMPLE_PRESETS: dict[str, dict[str, Any]] = {
    "story": {"prompt": "Holmes", "length": 500, "temperature": 0.8},
    "notebook": {"prompt": "story", "length": 500, "temperature": 1.0, "top_k": 5},
    "anna": {"prompt": "Anna", "length": 1000, "temperature": 1.0, "top_k": 5},
    "words": {"prompt": "I like", "length": 100, "temperature": 1.0},
    "tiny": {"prompt": "text ", "length": 50, "greedy": True},
}


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
    return (*ModelConfig.names(), *TrainConfig.names(), *CorpusConfig.names())


def from_options(options: Mapping[str, Any], preset: str = "quick") -> RunConfig:
    """A preset with the user's options over it.

    Args:
        options: fields of ModelConfig, TrainConfig and CorpusConfig, by name; may also name a `preset`.
        preset: the preset, unless the options name one.

    Raises:
        ConfigError: an unknown name or preset, or a value out of range.
    """
    if not isinstance(options, Mapping):
        raise ConfigError(f"options must be an object of settings, not {type(options).__name__}")
    given = dict(options)
    preset = given.pop("preset", preset)
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"preset {preset!r} is not one of: {', '.join(PRESETS)}")
    reject_unknown(given, option_names())
    budgets = dict.fromkeys(BUDGETS, 0) if any(given.get(name) for name in BUDGETS) else {}
    values = {**PRESETS[preset], **budgets, **given}
    values = {**level_settings(values), **values}
    parts = ModelConfig.pick(values), TrainConfig.pick(values), CorpusConfig.pick(values)
    return RunConfig(*parts, preset, frozenset(given))
