"""Weights and training state on disk: safetensors files, replaced in one go, checked before they are used."""

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from charlm.config import ModelConfig, TrainConfig
from charlm.errors import CheckpointError
from charlm.files import write_atomically
from charlm.models import LanguageModel, build_model
from charlm.train import TrainState

log = logging.getLogger(__name__)

# What a training goes on from: what was saved last, and before that.
NEWEST, SECOND = "resume.safetensors", "resume.previous.safetensors"
# The header's entry for the file's own checksum, and what stands there while it is taken.
SEAL, UNSEALED = "sha256", "0" * 64
# The plain numbers of a TrainState; its tensors are named in `_state_tensors`.
STATE_NUMBERS = (
    "step", "epoch", "batch", "best_val_loss", "best_step", "stale", "rate_scale", "seconds", "validated_step",
    "unjudged", "loss_sum", "loss_count",
)  # fmt: skip
# Those that earlier versions did not write, and what they then are.
ADDED = {"unjudged": None, "loss_sum": 0.0, "loss_count": 0}


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], keep: Path | None) -> None:
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, sealed(save(plain, {"charlm": json.dumps(metadata), SEAL: UNSEALED})), keep)


def sealed(data: bytes) -> bytes:
    """A safetensors file with its own SHA-256 in its header, taken while that place holds zeros."""
    return data.replace(_seal(UNSEALED), _seal(hashlib.sha256(data).hexdigest()), 1)


def _seal(digest: str) -> bytes:
    return f'"{SEAL}":"{digest}"'.encode()


def checked_about(data: bytes) -> dict[str, Any]:
    """What stands in a safetensors file beside the tensors, once the file fits the SHA-256 it carries.

    Files of other programs carry none.

    Raises:
        ValueError: it has no header, or its content has changed.
    """
    size = int.from_bytes(data[:8], "little") if len(data) > 8 else 0
    if not 0 < size <= len(data) - 8:
        raise ValueError("it is cut off")
    header = json.loads(data[8 : 8 + size])
    about = header.get("__metadata__") if isinstance(header, dict) else None
    about = about if isinstance(about, dict) else {}
    said = about.get(SEAL)
    if said is None and about.keys() > {"charlm"}:
        raise ValueError("its header is damaged")
    if said is None:
        return about
    digest = hashlib.sha256(data[: 8 + size].replace(_seal(str(said)), _seal(UNSEALED), 1))
    digest.update(memoryview(data)[8 + size :])
    if digest.hexdigest() != said:
        raise ValueError("its checksum does not fit its content")
    return about


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        data = path.read_bytes()
        metadata = json.loads(checked_about(data).get("charlm", "{}"))
        return load(data), metadata if isinstance(metadata, dict) else {}
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is missing in {path.parent.name}; the run saved no weights yet") from None
    except (SafetensorError, OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path.name} in {path.parent.name} cannot be read: {error}") from error


def is_valid(path: Path) -> bool:
    """Whether a file of weights or training state can be read and is what was written."""
    try:
        _read_tensors(path)
    except CheckpointError:
        return False
    return True


def weights_about(path: Path) -> dict[str, Any]:
    """What `save_weights` was told beside the weights; empty if they are missing or damaged."""
    try:
        return _read_tensors(path)[1]
    except CheckpointError:
        return {}


def save_weights(path: Path, model: LanguageModel, **metadata: Any) -> None:
    """Write a model's parameters under torch's own names, with its config and `metadata` beside them."""
    _write_tensors(path, model.state_dict(), {"config": model.config.to_dict(), **metadata}, keep=None)


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


def save_training(folder: Path, model: LanguageModel, state: TrainState) -> None:
    """Write all that `load_training` needs to go on exactly here; what was saved before is kept as the second last."""
    numbers = {name: getattr(state, name) for name in STATE_NUMBERS}
    if not math.isfinite(state.best_val_loss):
        numbers["best_val_loss"] = None
    _write_tensors(folder / NEWEST, _state_tensors(model, state), numbers, keep=folder / SECOND)


def has_training(folder: Path) -> bool:
    """Whether a state was saved to go on from, valid or not."""
    return (folder / NEWEST).exists() or (folder / SECOND).exists()


def drop_second(folder: Path) -> None:
    """Do without the second last state, if the last is there."""
    if (folder / NEWEST).exists():
        with suppress(OSError):
            (folder / SECOND).unlink(missing_ok=True)


def load_training(folder: Path, config: ModelConfig, train: TrainConfig) -> tuple[LanguageModel, TrainState]:
    """The model and the state that `save_training` wrote last, on the CPU; the second last if the last is damaged.

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
            setattr(state, name, numbers[name] if name not in ADDED else numbers.get(name, ADDED[name]))
        model.generator.set_state(tensors["generator"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path.name} in {path.parent.name} is not this run's training state: {error}") from error
    state.best_val_loss = math.inf if state.best_val_loss is None else state.best_val_loss
    state.hidden = tuple(part for _, part in sorted(_under("hidden.", tensors).items())) or None
    return model, state


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
