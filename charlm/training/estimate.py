"""What a training will take before it is started: parameters, memory, time. Formulas, checked against real runs."""

import time
from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import psutil
import torch

from charlm.config import ModelConfig, TrainConfig
from charlm.data.dataset import MAX_ROWS
from charlm.errors import ConfigError
from charlm.models import LanguageModel, build_model, model_class
from charlm.models.kernels.cross_entropy import CHUNK, are_many
from charlm.models.ngram import NGramModel
from charlm.training.device import choose, matrix_instructions

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


def size_for(config: ModelConfig, parameters: int) -> int:
    """The hidden_size with which a model of `config` has about so many parameters.

    Args:
        config: arch, vocab_size and the rest; an embedding of its own keeps its length.
        parameters: wanted.

    Returns:
        A multiple of WIDTH_STEP, 4096 at most.
    """
    sizes = range(WIDTH_STEP, 4097, WIDTH_STEP)

    def count(size: int) -> int:
        return count_parameters(replace(config, hidden_size=size))

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


def _products(config: ModelConfig) -> int:
    return model_class(config.arch).macs_per_token(config)


@dataclass(frozen=True)
class Machine:
    """How fast one core is, in seconds of a training.

    Attributes:
        per_product: of a multiplication in float32.
        per_step: that a layer's step costs at least.
        per_half_product: of a multiplication in bfloat16; 0: as in float32.
    """

    per_product: float
    per_step: float
    per_half_product: float = 0.0

    def step_seconds(self, config: ModelConfig, train: TrainConfig) -> float:
        """Expected seconds of one training step."""
        choice = choose(config, train.batch_size, "cpu", train.precision)
        is_half = choice.dtype == torch.bfloat16 and self.per_half_product
        per_product = self.per_half_product if is_half else self.per_product
        tokens = train.batch_size * train.seq_len
        fixed = model_class(config.arch).sync_points(config, train.seq_len) * self.per_step
        if train.softmax_samples and are_many(config.vocab_size):
            config = replace(config, vocab_size=min(config.vocab_size, train.softmax_samples))
        return fixed + tokens * _products(config) * per_product / choice.threads


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


@cache
def this_machine() -> Machine:
    """Measured once, in some tenths of a second: a step of a tiny LSTM, and of a larger one in each number format."""
    small, small_train = ModelConfig(vocab_size=64, hidden_size=16), TrainConfig(batch_size=1, seq_len=32)
    large, large_train = ModelConfig(vocab_size=64, hidden_size=256), TrainConfig(batch_size=32, seq_len=16)
    per_step = _time_step(small, small_train, torch.float32) / (32 * small.num_layers)

    def per_product(dtype: torch.dtype) -> float:
        rest = _time_step(large, large_train, dtype) - 16 * large.num_layers * per_step
        return max(rest, 1e-6) / (32 * 16 * _products(large))

    return Machine(per_product(torch.float32), per_step, per_product(torch.bfloat16) if matrix_instructions() else 0.0)


def _time_step(config: ModelConfig, train: TrainConfig, dtype: torch.dtype) -> float:
    """Seconds of one forward and backward pass, the best of six."""
    torch.set_num_threads(1)  # of this thread's products only
    model = build_model(config).train()
    model.precision = dtype
    ids = torch.zeros(train.batch_size, train.seq_len, dtype=torch.long)
    times = []
    for _ in range(6):  # the first may have to compile
        began = time.perf_counter()
        model.loss(ids, ids)[0].backward()
        times.append(time.perf_counter() - began)
    return min(times)
