"""How large and how long `quick`, `balanced` and `quality` are: what a text's length and this machine's speed allow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from charlm.architectures import ARCHITECTURES
from charlm.config import ModelConfig, TrainConfig
from charlm.data.corpus import Corpus
from charlm.data.dataset import character_sizes
from charlm.data.items import item_length
from charlm.presets import BUDGETS, RunConfig

if TYPE_CHECKING:
    from charlm.training.machine import Machine

# How long an LSTM shall take, in seconds of its own; a preset that is not here is the same everywhere.
SECONDS = {"quick": 60.0, "balanced": 360.0, "quality": 1500.0}
# Hidden sizes to choose among: the largest that comes LEAST_PASSES times over the text, since a wide model read few
# times is better than a narrow one read often, even on a short text. See bench/RECIPES.md.
PRESET_WIDTHS = (512, 256, 128)
SHORTEST = {512: 50_000, 256: 10_000, 128: 0}  # tokens from which a width is worth its bytes
LEAST_PASSES = 1.2
# From here on a model memorises its text rather than learning more, whatever the dropout.
MOST_PASSES = 8.0
# The more often a text is read, and the wider a model, the more dropout it takes: passes, and what suits the widest
# LSTM. Others take less (`Architecture.dropout`).
PASSES, DROPOUTS = (1.5, 3.0, 6.0), (0.0, 0.2, 0.4)
FEWEST_STEPS = 200
VALIDATING = 1.1  # times what the steps alone take
SIZED = ("hidden_size", "dropout", "steps")  # settings that a preset chooses where they are not given
DISTINCT = 96  # characters of a text, about


class SizeLimits(Protocol):
    """The part of a public Space's limits that a size depends on."""

    @property
    def steps(self) -> int: ...

    @property
    def hidden_size(self) -> int: ...


def is_autosized(preset: str, model: ModelConfig) -> bool:
    """Whether a preset follows the text and the machine; so far for characters only."""
    return preset in SECONDS and model.level == "char"


def autosize(config: RunConfig, corpus: Corpus, archs: Sequence[str], limits: SizeLimits | None = None) -> RunConfig:
    """Settings with those of the preset, where they are not `given`, made to fit a text and this machine.

    Args:
        config: what is to be trained.
        corpus: on what.
        archs: that train or race on it.
        limits: of a public Space.
    """
    values = config.model.to_dict() | config.train.to_dict()
    given = {name: values[name] for name in config.given if name in values}
    if not is_autosized(config.preset, config.model) or _is_decided(given):
        return config
    from charlm.training.machine import this_machine  # torch takes seconds: not before it is needed

    tokens = character_sizes(len(corpus.text), config.corpus, corpus.held_out or None)[0]
    item = item_length(corpus.text, config.corpus.items)
    new = sizes(config.preset, tokens, this_machine(), archs, given, limits, item)
    model, train = ({name: new[name] for name in new if name in cls.names()} for cls in (ModelConfig, TrainConfig))
    return replace(config, model=replace(config.model, **model), train=replace(config.train, **train))


def sizes(
    preset: str,
    tokens: int,
    machine: "Machine",
    archs: Sequence[str],
    given: Mapping[str, Any] | None = None,
    limits: SizeLimits | None = None,
    item: int = 0,
) -> dict[str, Any]:
    """hidden_size, dropout and steps of a preset, as far as they are not given.

    Args:
        preset: one of SECONDS.
        tokens: to train on.
        machine: how fast it is.
        archs: that are to be trained; in a race all have one dropout, between what suits each.
        given: settings that are decided.
        limits: of a public Space.
        item: of a list the mean tokens of an item, of which a row of a batch holds one; 0: a text that goes on.
    """
    given = given or {}
    train = TrainConfig(**{name: given[name] for name in ("batch_size", "seq_len") if name in given})
    train = replace(train, seq_len=min(train.seq_len, item)) if item else train
    passes_a_step = train.batch_size * train.seq_len / max(tokens, 1)
    most = min(MOST_PASSES, limits.steps * passes_a_step if limits else MOST_PASSES)
    widest = limits.hidden_size if limits else PRESET_WIDTHS[0]
    allowed = [width for width in PRESET_WIDTHS if width <= widest and tokens >= SHORTEST[width]] or PRESET_WIDTHS[-1:]
    for width in [given["hidden_size"]] if "hidden_size" in given else allowed:
        model = ModelConfig(vocab_size=DISTINCT, hidden_size=width, num_layers=given.get("num_layers", 2))
        steps = SECONDS[preset] / (VALIDATING * machine.step_seconds(model, train))
        if steps * passes_a_step >= LEAST_PASSES:
            break
    passes = min(steps * passes_a_step, most)
    steps = max(passes / passes_a_step, FEWEST_STEPS)
    shares = [about.dropout for arch, about in ARCHITECTURES.items() if arch in archs and not about.counted]
    dropout = float(np.interp(passes, PASSES, DROPOUTS)) * min(1.0, width / PRESET_WIDTHS[0]) * fmean(shares or [1.0])
    new = {"hidden_size": width, "dropout": round(dropout, 2)}
    if not _has_budget(given):
        new["steps"] = int(float(f"{steps:.2g}"))
    return {name: value for name, value in new.items() if name not in given}


def _has_budget(given: Mapping[str, Any]) -> bool:
    return any(given.get(name) for name in BUDGETS)


def _is_decided(given: Mapping[str, Any]) -> bool:
    return {"hidden_size", "dropout"} <= given.keys() and _has_budget(given)
