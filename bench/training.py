"""Training throughput: forward, backward, clip and Adam at the notebooks' sizes; also beside a busy core.

Each side runs in a process of its own, in turn, on batches of random characters. `busy` rows compare ours with another
process on one core against ours alone; peak memory is that of the whole process after the rounds.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.measure import Row, Side, alternate, busy_core, with_memory

ARCHS = ("lstm", "gru", "rnn")
NOTEBOOK: dict[str, Any] = {"vocab_size": 77, "hidden_size": 512, "num_layers": 2, "batch_size": 128, "seq_len": 100}
# The preset `quick` trains with these.
QUICK: dict[str, Any] = {"vocab_size": 77, "hidden_size": 128, "num_layers": 2, "batch_size": 16, "seq_len": 64}
# The preset `tiny`: a row of a batch, of which calls cost more than what they do.
ONE_ROW: dict[str, Any] = {"vocab_size": 77, "hidden_size": 128, "num_layers": 2, "batch_size": 1, "seq_len": 20}
TINY: dict[str, Any] = {"vocab_size": 20, "hidden_size": 16, "num_layers": 2, "batch_size": 4, "seq_len": 10}


def measure(quick: bool = False) -> list[Row]:
    """Rates of both sides for each architecture, ours beside a busy core, and memory."""
    usual = [("2x512, 128x100", NOTEBOOK, 1), ("2x128, 16x64", QUICK, 20), ("2x128, 1x20", ONE_ROW, 400)]
    sizes = [("tiny", TINY, 2)] if quick else usual
    rounds, rows = (1 if quick else 5), []
    for name, options, steps in sizes:
        for arch in ARCHS[: 1 if quick else None]:
            rows += _compare(f"{arch}, {name}", {**options, "arch": arch, "steps": steps}, rounds)
    name, options, steps = sizes[0]
    rows.append(_beside_busy_core(f"lstm, {name}", {**options, "arch": "lstm", "steps": steps}, rounds))
    return rows


def _compare(what: str, options: dict[str, Any], rounds: int) -> list[Row]:
    print(what, file=sys.stderr)
    sides = {
        "usual": Side("bench.training:measured_usual", options),
        "ours": Side("bench.training:measured_ours", options),
    }
    results = alternate(sides, rounds)
    usual, ours = results["usual"], results["ours"]
    rate = ">= 1.5x in float32; with AMX or AVX512-bf16 >= 4x, RNN 3x"
    rate, memory = (rate, ">= 1x") if options["hidden_size"] == NOTEBOOK["hidden_size"] else ("", "")
    return [
        Row(f"training, {what}", "chars/s", _of(ours, "chars_per_second"), _of(usual, "chars_per_second"), rate),
        Row(f"peak memory, {what}", "MB", _of(ours, "peak_mb"), _of(usual, "peak_mb"), memory, less_is_better=True),
    ]


def _beside_busy_core(what: str, options: dict[str, Any], rounds: int) -> Row:
    """Ours alone, then with one core kept busy, in turn."""
    print(f"{what}, beside a busy core", file=sys.stderr)
    side = Side("bench.training:measured_ours", options)
    alone, busy = [], []
    try:
        side.round()
        for _ in range(rounds):
            alone.append(side.round()["chars_per_second"])
            with busy_core():
                busy.append(side.round()["chars_per_second"])
    finally:
        side.close()
    return Row(f"ours beside a busy core (usual: ours alone), {what}", "chars/s", busy, alone, ">= 0.4x")


def _of(results: list[dict[str, float]], name: str) -> list[float]:
    return [numbers[name] for numbers in results]


def measured_usual(**options: Any) -> Callable[[], dict[str, float]]:
    """The tutorial's side."""
    from bench.usual_training import trainer

    return with_memory(trainer(**options))


def our_training(
    arch: str, batch_size: int, seq_len: int, device: str = "cpu", precision: str = "auto", **sizes: Any
) -> Iterator[Any]:
    """The generator that every training runs through; charlm is loaded before torch, and says how its threads wait."""
    import numpy as np

    from charlm.config import ModelConfig, TrainConfig
    from charlm.data.batches import Dataset
    from charlm.models import build_model
    from charlm.training.train import train

    ids = np.random.default_rng(0).integers(0, sizes["vocab_size"], 20 * batch_size * seq_len + 1).astype(np.uint8)
    dataset = Dataset(ids, batch_size, seq_len, val_fraction=0.0)
    config = TrainConfig(
        batch_size=batch_size, seq_len=seq_len, steps=10**8, eval_every=10**8, device=device, precision=precision
    )
    return train(build_model(ModelConfig(arch=arch, dropout=0.3, **sizes)).to(device), dataset, config)


def measured_ours(arch: str, steps: int, batch_size: int, seq_len: int, **sizes: Any) -> Callable[[], dict[str, float]]:
    """Our side."""
    training = our_training(arch, batch_size, seq_len, **sizes)

    def play() -> dict[str, float]:
        began = time.perf_counter()
        for _ in range(steps):
            next(training)
        return {"chars_per_second": steps * batch_size * seq_len / (time.perf_counter() - began)}

    return with_memory(play)
