"""How fast this machine is: measured once and kept in the data folder, so that what is sized for it stays the same.

A measurement counts the seconds that its own thread computes, not those that it waits for a core; so it is nearly the
same on a busy machine. One beside which the same program computed something else is kept until there is a better one.
"""

import json
import logging
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from charlm.config import ModelConfig, TrainConfig
from charlm.data.catalog import data_dir
from charlm.files import is_number, read, write_atomically
from charlm.models import build_model, model_class
from charlm.models.kernels.cross_entropy import are_many
from charlm.training.device import choose, matrix_instructions

FILE = "machine.json"  # in the data folder
VERSION = 1  # of what is measured; another one's is measured again
MOST_BYTES = 10_000  # of it
SLOWEST = 1.0  # seconds a product or a layer's step takes at most: more is no measurement
QUIET = 0.1  # share of the time in which other threads of the program may have computed
TIMES = 12  # a step is measured; the fastest counts


def _products(config: ModelConfig) -> int:
    return model_class(config.arch).macs_per_token(config)


@dataclass(frozen=True)
class Machine:
    """How fast one core is, in its own seconds.

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


@dataclass(frozen=True)
class Measurement:
    """A machine's speed, and how it came about.

    Attributes:
        machine: the speed.
        when: the time in UTC, in ISO 8601.
        quiet: nothing else was computed by this program meanwhile.
    """

    machine: Machine
    when: str
    quiet: bool

    def chars_per_second(self, config: ModelConfig, train: TrainConfig, chars_per_token: float = 1.0) -> float:
        """The characters that a training reads in a second of its own."""
        tokens = train.batch_size * train.seq_len
        return chars_per_token * tokens / self.machine.step_seconds(config, train)


def this_machine() -> Machine:
    """How fast this machine is, as it was measured once; see `speed`."""
    return speed().machine


def speed() -> Measurement:
    """The kept measurement; without one, or with one of another machine or version, one is made, in about a second."""
    if kept := _kept():
        return kept
    with _alone():
        return _kept() or _keep(_measured())


def measure_again() -> Measurement:
    """A new measurement in place of the kept one."""
    with _alone():
        _measured.cache_clear()
        return _keep(_measured())


@contextmanager
def _alone() -> Iterator[None]:
    """Keeps other threads and programs from measuring at the same time, where the data folder can be written."""
    lock = FileLock(data_dir() / f"{FILE}.lock")
    with suppress(OSError):
        data_dir().mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _kept() -> Measurement | None:
    """The measurement in the data folder, if it was made on this machine with these versions."""
    try:
        return _checked(read(data_dir() / FILE, MOST_BYTES))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _checked(told: Any) -> Measurement:
    """A file's content as a measurement.

    Raises:
        ValueError, TypeError, KeyError: it is none, or one of another machine.
    """
    numbers: Mapping[str, Any] = told["seconds"]
    names = [field.name for field in fields(Machine)]
    if told["of"] != _identity() or not all(is_number(numbers[name], 0.0) for name in names):
        raise ValueError("it was measured elsewhere")
    machine = Machine(**{name: float(numbers[name]) for name in names})
    if not 0 < machine.per_product < SLOWEST or not 0 < machine.per_step < SLOWEST:
        raise ValueError("no machine is like that")
    return Measurement(machine, datetime.fromisoformat(told["when"]).isoformat(), told["quiet"] is True)


def _keep(made: Measurement) -> Measurement:
    """Write it into the data folder, if that can be written; else this process alone knows it."""
    told = {"of": _identity(), "when": made.when, "quiet": made.quiet, "seconds": asdict(made.machine)}
    try:
        data_dir().mkdir(parents=True, exist_ok=True)
        write_atomically(data_dir() / FILE, json.dumps(told, indent=1).encode())
    except OSError as error:
        logging.getLogger(__name__).info("this machine's speed cannot be kept in %s: %s", data_dir(), error)
    return made


@cache
def _identity() -> dict[str, Any]:
    """What a measurement holds for: this processor, with these versions and instructions."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError):  # Linux alone has it
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    versions = {"version": VERSION, "torch": str(torch.__version__)}
    return {"processor": processor, "cores": os.cpu_count(), "instructions": matrix_instructions(), **versions}


@cache
def _measured() -> Measurement:
    """A step of a tiny LSTM, and of a larger one in each number format."""
    small, small_train = ModelConfig(vocab_size=64, hidden_size=16), TrainConfig(batch_size=1, seq_len=32)
    large, large_train = ModelConfig(vocab_size=64, hidden_size=256), TrainConfig(batch_size=32, seq_len=16)
    began, others = time.perf_counter(), time.process_time() - time.thread_time()
    per_step = _time_step(small, small_train, torch.float32) / (32 * small.num_layers)

    def per_product(dtype: torch.dtype) -> float:
        rest = _time_step(large, large_train, dtype) - 16 * large.num_layers * per_step
        return max(rest, 1e-6) / (32 * 16 * _products(large))

    half = per_product(torch.bfloat16) if matrix_instructions() else 0.0
    machine = Machine(per_product(torch.float32), per_step, half)
    others = time.process_time() - time.thread_time() - others
    quiet = others <= QUIET * (time.perf_counter() - began)
    return Measurement(machine, datetime.now(UTC).isoformat(timespec="seconds"), quiet)


def _time_step(config: ModelConfig, train: TrainConfig, dtype: torch.dtype) -> float:
    """Seconds that this thread computes in one forward and backward pass, the best of TIMES."""
    torch.set_num_threads(1)  # of this thread's products only
    model = build_model(config).train()
    model.precision = dtype
    ids = torch.zeros(train.batch_size, train.seq_len, dtype=torch.long)
    times = []
    for _ in range(TIMES):  # the first may have to compile
        began = time.thread_time()
        model.loss(ids, ids)[0].backward()
        times.append(time.thread_time() - began)
    return min(times)
