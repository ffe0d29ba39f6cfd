"""Weights and training state on disk: what a file must hold is derived from the settings before it is read."""

import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from charlm.config import ModelConfig, TrainConfig
from charlm.errors import CheckpointError
from charlm.files import is_count, is_number
from charlm.models import LanguageModel, build_model
from charlm.runs.tensor_file import MOST_HEADER, Entries, Entry, is_finite, read_metadata, read_tensors, write_tensors
from charlm.training.estimate import shape_of
from charlm.training.train import TrainState

log = logging.getLogger(__name__)

# What a training is resumed from: the state saved last, and the one before it.
NEWEST, SECOND = "resume.safetensors", "resume.previous.safetensors"
# The plain numbers of a TrainState under their names in the file; its tensors are named in `_state_tensors`.
COUNTS = ("step", "epoch", "batch", "best_step", "stale", "validated_step", "loss_count")
MEASURES = ("best_val_loss", "rate_scale", "seconds", "loss_sum")
STATE_NUMBERS = (*COUNTS, *MEASURES, "unjudged")
# Where the attribute has another name than the file, which keeps the one of its first version.
ATTRIBUTES = {"stale": "evals_since_best", "unjudged": "pending_validation"}
# Those that earlier versions did not write, and what they then are.
ADDED = {"unjudged": None, "loss_sum": 0.0, "loss_count": 0}


def is_valid(path: Path) -> bool:
    """Whether a file of weights or training state can be read and is what was written."""
    try:
        read_metadata(path)
    except CheckpointError:
        return False
    return True


def weights_about(path: Path) -> dict[str, Any]:
    """The metadata that `save_weights` wrote beside the weights; empty if they are missing or damaged."""
    try:
        return read_metadata(path)
    except CheckpointError:
        return {}


def save_weights(path: Path, model: LanguageModel, *, half: bool = False, **metadata: Any) -> None:
    """Write a model's parameters under torch's own names, with its config and `metadata` beside them.

    Args:
        path: the file; its folder exists.
        model: its weights.
        half: in 16 bits (IEEE 754 binary16): half the file, and weights of up to 65,504 to about three digits.
        metadata: what else the file shall say, plain values.
    """
    tensors = model.state_dict()
    if half:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    write_tensors(path, tensors, {"config": model.config.to_dict(), **metadata})


def save_snapshot(path: Path, model: LanguageModel) -> None:
    """Write the weights that a model has along its training, in 16 bits.

    Raises:
        ValueError: one is beyond what 16 bits can say.
        OSError: they cannot be written.
    """
    if not all(is_finite(tensor.half()) for tensor in model.state_dict().values() if tensor.is_floating_point()):
        raise ValueError("a weight is larger than 16 bits can say")
    save_weights(path, model, half=True)


def snapshot_bytes(config: ModelConfig) -> int:
    """How long a file of `save_snapshot` is, but for its header."""
    return sum(entry.size for entry in _entries(shape_of(config).state_dict()).values()) // 2


def load_weights(path: Path, config: ModelConfig, device: str = "cpu") -> LanguageModel:
    """The model of `config` with the weights in `path`, which may have 16 bits each there, in evaluation mode.

    Args:
        path: a file of `save_weights`.
        config: what the weights must fit.
        device: where the model goes.

    Raises:
        CheckpointError: the file is missing or damaged, or its names, shapes or values are not this model's.
    """
    model = shape_of(config)
    tensors, _ = read_tensors(path, partial(_weight_entries, model))
    whole = {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in tensors.items()}
    model.load_state_dict(whole, assign=True)
    try:
        model.check()
    except ValueError as error:
        raise CheckpointError(f"{path.name} in {path.parent.name} is not this model's: {error}") from error
    return model.requires_grad_(False).to(device).eval()


def _entries(tensors: Mapping[str, Tensor]) -> dict[str, Entry]:
    return {name: Entry.of(tensor) for name, tensor in tensors.items()}


def _weight_entries(model: LanguageModel, held: Entries) -> Entries:
    """What a file of weights must hold; the 32-bit ones may have 16."""
    entries = _entries(model.state_dict())
    halves = {name: Entry("F16", entry.shape) for name, entry in entries.items() if entry.dtype == "F32"}
    return entries | {name: half for name, half in halves.items() if held.get(name) == half}


def most_weights_bytes(config: ModelConfig) -> int:
    """How long a file of the model's weights may be."""
    return MOST_HEADER + sum(entry.size for entry in _entries(shape_of(config).state_dict()).values())


def most_training_bytes(config: ModelConfig, train: TrainConfig) -> int:
    """How long a file of a training state may be: of each weight two moments and an average, and the rest."""
    hidden = sum(Entry.of(part).size for part in shape_of(config).initial_state(train.batch_size))
    return 4 * most_weights_bytes(config) + hidden


def _state_tensors(model: LanguageModel, state: TrainState) -> dict[str, Tensor]:
    """Everything a training needs to continue, by name."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in (state.optimizer.state_dict()["state"] if state.optimizer is not None else {}).items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    tensors |= {f"hidden.{index}": part for index, part in enumerate(state.hidden or ())}
    if state.average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    return tensors | {"generator": model.generator.get_state()}


def save_training(folder: Path, model: LanguageModel, state: TrainState) -> None:
    """Write all that `load_training` needs to continue exactly here; the state saved before is kept as the second last.

    Args:
        folder: of the run.
        model: in training.
        state: where its training stands.
    """
    numbers = {name: getattr(state, ATTRIBUTES.get(name, name)) for name in STATE_NUMBERS}
    if not math.isfinite(state.best_val_loss):
        numbers["best_val_loss"] = None
    write_tensors(folder / NEWEST, _state_tensors(model, state), numbers, keep=folder / SECOND)


def has_training(folder: Path) -> bool:
    """Whether a state to resume from was saved, valid or not."""
    return (folder / NEWEST).exists() or (folder / SECOND).exists()


def drop_second(folder: Path) -> None:
    """Remove the second last state, if the last is there."""
    if (folder / NEWEST).exists():
        with suppress(OSError):
            (folder / SECOND).unlink(missing_ok=True)


def load_training(folder: Path, config: ModelConfig, train: TrainConfig) -> tuple[LanguageModel, TrainState]:
    """The model and the state that `save_training` wrote last, on the CPU; the second last if the last is damaged.

    Args:
        folder: of the run.
        config: of its model.
        train: its settings, with the learning rate resolved.

    Raises:
        CheckpointError: they are missing, damaged, or of another model.
    """
    try:
        return _load_training(folder / NEWEST, config, train)
    except CheckpointError as error:
        if not (folder / SECOND).exists():
            raise
        log.warning("%s; the state saved before it is used", error)
        return _load_training(folder / SECOND, config, train)


def _load_training(path: Path, config: ModelConfig, train: TrainConfig) -> tuple[LanguageModel, TrainState]:
    tensors, numbers = read_tensors(path, partial(_state_entries, shape_of(config), train))
    model = build_model(config)
    try:
        model.load_state_dict(_under("model.", tensors))
        model.check()
        state = TrainState.start(model, train)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            index, moment = name.split(".")
            moments.setdefault(int(index), {})[moment] = tensor
        if state.optimizer is not None:
            state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
        if state.average is not None:
            state.average.load_state_dict(_under("average.", tensors))
        vars(state).update(_numbers(numbers))
        model.generator.set_state(tensors["generator"])
    except (KeyError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path.name} in {path.parent.name} is not this run's training state: {reason}"
        ) from error
    state.hidden = tuple(part for _, part in sorted(_under("hidden.", tensors).items())) or None
    return model, state


def _state_entries(model: LanguageModel, train: TrainConfig, held: Entries) -> Entries:
    """What a training state must hold; it may lack the moments, or the hidden state, as a whole.

    Args:
        model: on torch's meta device.
        train: its settings; a short text makes batches of fewer rows than they say.
        held: the entries of the file's header.
    """
    weights = _entries(model.state_dict())
    if not any(name.startswith("model.") for name in held):
        raise ValueError("it is not this run's training state")
    entries = {f"model.{name}": entry for name, entry in weights.items()}
    entries["generator"] = Entry.of(model.generator.get_state())
    if train.weight_average and not model.config.is_counted:
        entries |= {f"average.{name}": entry for name, entry in weights.items()}
    if any(name.startswith("optimizer.") for name in held):
        for index, parameter in enumerate(map(Entry.of, model.parameters())):
            moments = {"step": Entry("F32", ()), "exp_avg": parameter, "exp_avg_sq": parameter}
            entries |= {f"optimizer.{index}.{name}": entry for name, entry in moments.items()}
    if "hidden.0" in held:
        rows = min([train.batch_size, *held["hidden.0"].shape[1:2]])
        states = model.initial_state(rows)
        entries |= {f"hidden.{index}": Entry.of(part) for index, part in enumerate(states)}
    return entries


def _numbers(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The plain numbers of a TrainState by attribute, each of its kind.

    Raises:
        KeyError, ValueError: one is missing or odd.
    """
    numbers = {name: metadata[name] if name not in ADDED else metadata.get(name, ADDED[name]) for name in STATE_NUMBERS}
    if numbers["best_val_loss"] is None:
        numbers["best_val_loss"] = math.inf
    elif not is_number(numbers["best_val_loss"]):
        raise ValueError("best_val_loss is no number")
    for name in (*COUNTS, "rate_scale", "seconds", "loss_sum"):
        if not (is_count if name in COUNTS else is_number)(numbers[name]):
            raise ValueError(f"{name} is no {'count' if name in COUNTS else 'number'}")
    pending = numbers["unjudged"]
    if pending is not None and not (isinstance(pending, list) and [*map(is_number, pending)] == [True] * 3):
        raise ValueError("unjudged is not three numbers")
    numbers["unjudged"] = pending and tuple(pending)
    return {ATTRIBUTES.get(name, name): value for name, value in numbers.items()}


def check_place(state: TrainState, batch_size: int, steps_per_epoch: int) -> None:
    """Refuse a state whose place is not in the text that is trained on.

    Args:
        state: as it was loaded.
        batch_size: rows of a batch, as the text allows.
        steps_per_epoch: batches in one pass over the text.

    Raises:
        CheckpointError: its batch is beyond the last, or its hidden state has another number of rows.
    """
    rows = state.hidden[0].shape[1] if state.hidden else batch_size
    if state.batch >= steps_per_epoch or rows != batch_size:
        raise CheckpointError(
            f"the saved training stands at batch {state.batch:,} of {steps_per_epoch:,} with {rows} rows, where this "
            f"text gives {batch_size}; it belongs to another text, so train a new run on this one"
        )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
