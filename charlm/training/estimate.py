"""What a training will take before it is started: parameters, memory, time. Formulas, checked against real runs."""

import math
from bisect import bisect_left
from pathlib import Path

import psutil

from charlm.architectures import ARCHITECTURES
from charlm.config import ModelConfig, TrainConfig
from charlm.data.batches import MAX_ROWS
from charlm.errors import ConfigError
from charlm.models import LanguageModel, model_class
from charlm.models.kernels.cross_entropy import CHUNK, are_many
from charlm.models.ngram import NGramModel
from charlm.training.device import choose
from charlm.training.machine import Machine

FLOAT = 4  # bytes
# Copies of a state that are there at a time: before and after a batch, and what layers join with what is new.
STATES = 4
# Sizes tried for a number of parameters are multiples of this: products like it, and so do a Transformer's heads.
WIDTH_STEP = 16
# Share of the free memory a training may plan for.
MEMORY_SHARE = 0.8


def shape_of(config: ModelConfig) -> LanguageModel:
    """The model without its numbers (torch's meta device): takes no memory, has all shapes."""
    return model_class(config.arch).on_meta_device(config)


def count_parameters(config: ModelConfig) -> int:
    """Numbers a model of `config` learns."""
    return shape_of(config).num_parameters


def size_for(config: ModelConfig, parameters: int, step: int = WIDTH_STEP) -> int:
    """The hidden_size with which a model of `config` has about so many parameters.

    Args:
        config: arch, vocab_size and the rest; an embedding of its own keeps its length, unless it is tied.
        parameters: wanted.
        step: sizes are multiples of it.

    Returns:
        A multiple of `step`, and of what a Transformer's heads need, 4096 at most.
    """
    step = math.lcm(step, 2 * config.num_heads) if ARCHITECTURES[config.arch].attends else step
    sizes = range(step, 4097, step)

    def count(size: int) -> int:
        return count_parameters(config.of_width(size))

    above = min(bisect_left(sizes, parameters, key=count), len(sizes) - 1)
    near = sizes[max(0, above - 1) : above + 1]
    return min(near, key=lambda size: abs(count(size) - parameters))


def memory_bytes(config: ModelConfig, train: TrainConfig) -> int:
    """Peak memory of a training: weights with all that goes with each, a thread's copies, what a forward pass keeps."""
    if config.is_counted:
        return NGramModel.training_bytes(config)
    threads, many = choose(config, train.batch_size, "cpu").threads, are_many(config.vocab_size)
    copies = 4 + bool(train.weight_average) + (2 if many else 3) * threads
    a_token = model_class(config.arch).activations(config)
    a_row = sum(part.numel() for part in shape_of(config).initial_state(1))
    rows = STATES * max(train.batch_size, MAX_ROWS)  # a validation may have more of them
    activations = train.batch_size * train.seq_len * a_token + rows * a_row
    return FLOAT * (copies * count_parameters(config) + activations + (threads * CHUNK if many else 0))


def free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes this process may still take: the machine's, or its container's (cgroup v2) if that is less."""
    free = psutil.virtual_memory().available
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        counts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        cache = int(counts["active_file"]) + int(counts["inactive_file"])  # gives way when memory is asked for
        return min(free, limit - used + cache)
    except (OSError, ValueError, KeyError):
        return free


def check_memory(config: ModelConfig, train: TrainConfig, trainers: int = 1) -> None:
    """Refuse, before anything is allocated, a training that cannot fit into memory.

    Args:
        config: of each model.
        train: batch_size and seq_len, as the text allows them.
        trainers: how many train side by side.

    Raises:
        ConfigError: the estimate is more than 80 % of the free memory.
    """
    needed, free = trainers * memory_bytes(config, train), free_memory()
    if needed > MEMORY_SHARE * free:
        sizes = f"hidden_size {config.hidden_size}, batch_size {train.batch_size} or seq_len {train.seq_len}"
        raise ConfigError(
            f"this training needs about {needed / 1e9:.1f} GB of memory and {max(free, 0) / 1e9:.1f} GB are free; make "
            f"{f'order {config.order} or the text' if config.is_counted else sizes} smaller"
        )


def training_seconds(machine: Machine, config: ModelConfig, train: TrainConfig, train_chars: int) -> float:
    """Expected own seconds of a whole training, validations (about a tenth) included.

    Args:
        machine: how fast it is.
        config: of the model.
        train: its budget.
        train_chars: tokens of the training part.
    """
    if config.is_counted:
        return NGramModel.training_seconds(config)
    limits: list[float] = [train.steps] if train.steps else []
    if train.epochs:
        limits.append(train.epochs * max(1.0, train_chars / (train.batch_size * train.seq_len)))
    seconds = [1.1 * min(limits) * machine.step_seconds(config, train)] if limits else []
    return min([*seconds, 60.0 * train.minutes] if train.minutes else seconds)
