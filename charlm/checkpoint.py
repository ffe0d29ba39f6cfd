"""Weights and training state on disk: safetensors files, replaced in one go, checked before they are used."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from charlm.config import ModelConfig, TrainConfig
from charlm.errors import CheckpointError
from charlm.files import write_atomically
from charlm.models import LanguageModel, build_model
from charlm.train import TrainState

# The plain numbers of a TrainState; its tensors are named in `_state_tensors`.
STATE_NUMBERS = (
    "step", "epoch", "batch", "best_val_loss", "best_step", "stale", "rate_scale", "seconds", "validated_step",
)  # fmt: skip


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, save(plain, {"charlm": json.dumps(metadata)}))


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("charlm", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is missing in {path.parent.name}; the run saved no weights yet") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} in {path.parent.name} cannot be read: {error}") from error


def save_weights(path: Path, model: LanguageModel, **metadata: Any) -> None:
    """Write a model's parameters under torch's own names, with its config and `metadata` beside them."""
    _write_tensors(path, model.state_dict(), {"config": model.config.to_dict(), **metadata})


def load_weights(path: Path, config: ModelConfig, device: str = "cpu") -> LanguageModel:
    """The model of `config` with the weights in `path`, in evaluation mode.

    Raises:
        CheckpointError: the file is missing or damaged, or its names, shapes or values are not this model's.
    """
    tensors, _ = _read_tensors(path)
    with torch.device("meta"):
        model = build_model(config)
    expected = model.state_dict()
    if tensors.keys() != expected.keys():
        odd = sorted(tensors.keys() ^ expected.keys())
        raise CheckpointError(f"{path.name} does not hold this model: {odd[0]!r} is missing or too much")
    for name, tensor in tensors.items():
        _check_tensor(path, name, tensor, expected[name])
    model.load_state_dict(tensors, assign=True)
    return model.requires_grad_(False).to(device).eval()


def _check_tensor(path: Path, name: str, tensor: Tensor, expected: Tensor) -> None:
    if tensor.shape != expected.shape or tensor.dtype != expected.dtype:
        have, want = (f"{tuple(part.shape)} {part.dtype}" for part in (tensor, expected))
        raise CheckpointError(f"{path.name}: {name} is {have}, this model needs {want}")
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{path.name}: {name} holds values that are not finite numbers")


def _state_tensors(model: LanguageModel, state: TrainState) -> dict[str, Tensor]:
    """Everything a training needs to go on, by name."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    tensors |= {f"hidden.{index}": part for index, part in enumerate(state.hidden or ())}
    return tensors | {"generator": model.generator.get_state()}


def save_training(path: Path, model: LanguageModel, state: TrainState) -> None:
    """Write all that `load_training` needs to go on exactly here."""
    numbers = {name: getattr(state, name) for name in STATE_NUMBERS}
    if not math.isfinite(state.best_val_loss):
        numbers["best_val_loss"] = None
    _write_tensors(path, _state_tensors(model, state), numbers)


def load_training(path: Path, config: ModelConfig, train: TrainConfig) -> tuple[LanguageModel, TrainState]:
    """The model and the state that `save_training` wrote, on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, or of another model.
    """
    tensors, numbers = _read_tensors(path)
    model = build_model(config)
    try:
        model.load_state_dict(_under("model.", tensors))
        state = TrainState.start(model, train)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            index, moment = name.split(".")
            moments.setdefault(int(index), {})[moment] = tensor
        state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
        for name in STATE_NUMBERS:
            setattr(state, name, numbers[name])
        model.generator.set_state(tensors["generator"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path.name} in {path.parent.name} is not this run's training state: {error}") from error
    state.best_val_loss = math.inf if state.best_val_loss is None else state.best_val_loss
    state.hidden = tuple(part for _, part in sorted(_under("hidden.", tensors).items())) or None
    return model, state


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
