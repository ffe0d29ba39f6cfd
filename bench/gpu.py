"""A GPU: training all five architectures at 2 x 512 and 2 x 2048, ours beside plain torch code, on the card at hand.

Each side in a process of its own, in turn, on batches of random characters: forward, backward, clip, Adam. Ours is the
training that every run goes through; plain torch code is bench/usual_gpu.py, once in float32 and once under bfloat16's
autocast, which is what ours takes by itself. Where there is no GPU nothing is measured. About six minutes.
"""

import sys
from collections.abc import Callable
from typing import Any

from bench.measure import Row, Side, alternate

ARCHS = ("lstm", "gru", "rnn", "transformer", "mingru")
WIDTHS = (512, 2048)
SHAPE: dict[str, Any] = {"vocab_size": 77, "num_layers": 2, "batch_size": 128, "seq_len": 100}
TINY: dict[str, Any] = {"vocab_size": 20, "num_layers": 2, "batch_size": 4, "seq_len": 10}
# The sides by what their rows call them: where, and whether products are in bfloat16.
SIDES = {
    "usual": ("bench.gpu:usual", False),
    "usual, bfloat16": ("bench.gpu:usual", True),
    "ours, float32": ("bench.gpu:ours", False),
    "ours": ("bench.gpu:ours", True),
}


def measure(quick: bool = False, device: str = "cuda") -> list[Row]:
    """Rates and the most memory of a GPU for each architecture and width.

    Args:
        quick: tiny sizes and one round, which shows that it works.
        device: torch's name; the CPU for a test of this program.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU that torch's cuda can use here: nothing is measured", file=sys.stderr)
        return []
    print(f"on {card(device)}", file=sys.stderr)
    rows, seconds = [], 0.05 if quick else 1.0
    for width in (8,) if quick else WIDTHS:
        for arch in ARCHS:
            options = {"arch": arch, "device": device, "hidden_size": width, "seconds": seconds}
            options |= TINY if quick else SHAPE
            rows += _compare(f"{arch}, 2x{width}, {card(device)}", options, 1 if quick else 3)
    return rows


def card(device: str) -> str:
    """The name of the GPU; elsewhere that of the device."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else device


def _compare(what: str, options: dict[str, Any], rounds: int) -> list[Row]:
    print(what, file=sys.stderr)
    sides = {name: Side(target, {**options, "half": half}) for name, (target, half) in SIDES.items()}
    results = alternate(sides, rounds)
    rates = {name: [numbers["chars_per_second"] for numbers in of] for name, of in results.items()}
    memory = {name: [numbers["gpu_mb"] for numbers in of] for name, of in results.items()}
    rows = [
        Row(f"training in bfloat16, {what}", "chars/s", rates["ours"], rates["usual, bfloat16"], ">= 1x"),
        Row(f"training in float32, {what}", "chars/s", rates["ours, float32"], rates["usual"], ">= 1x"),
    ]
    if options["device"] == "cuda":
        mine, theirs = memory["ours"], memory["usual, bfloat16"]
        rows.append(Row(f"GPU memory in bfloat16, {what}", "MB", mine, theirs, less_is_better=True))
    return rows


def usual(device: str, seconds: float, half: bool, **options: Any) -> Callable[[], dict[str, float]]:
    """Plain torch code."""
    from bench.usual_gpu import step_of

    return _timed(step_of(device=device, half=half, **options), device, seconds, options)


def ours(device: str, seconds: float, half: bool, **options: Any) -> Callable[[], dict[str, float]]:
    """The generator that every training runs through."""
    from bench.training import our_training

    training = our_training(**options, device=device, precision="bfloat16" if half else "float32")
    return _timed(lambda: next(training), device, seconds, options)


def _timed(
    step: Callable[[], Any], device: str, seconds: float, options: dict[str, Any]
) -> Callable[[], dict[str, float]]:
    """A round of about so many seconds, at whose end the GPU is waited for; the first one only finds out how many."""
    import time

    import torch

    on_gpu, steps = device == "cuda", 0

    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            step()
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def play() -> dict[str, float]:
        nonlocal steps
        if not steps:
            run(5)  # cuDNN and cuBLAS choose their ways
            steps = max(1, round(seconds * 5 / run(5)))
        rate = steps * options["batch_size"] * options["seq_len"] / run(steps)
        return {"chars_per_second": rate, "gpu_mb": torch.cuda.max_memory_allocated() / 1e6 if on_gpu else 0.0}

    return play
