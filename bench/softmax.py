"""A softmax over many tokens: seconds and memory of one step's loss and gradients, the usual way and ours.

The step is that of the preset `wikitext-2`: 128 x 50 tokens, 512 features, 30,000 words. Each side runs in a process of
its own, in turn. Also: what bfloat16 does to the loss of an evaluation.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

from bench.measure import Round, Row, Side, alternate, with_memory

STEP = {"tokens": 6_400, "features": 512, "vocab_size": 30_000}
TINY = {"tokens": 64, "features": 8, "vocab_size": 2_000}
DRAWN = 4_096
_MEASURES = ("seconds", "peak_mb")


def measure(quick: bool = False) -> list[Row]:
    """Seconds and peak memory among all words and among drawn ones, and the loss in bfloat16."""
    sizes, rounds = (TINY, 1) if quick else (STEP, 5)
    what = f"{sizes['tokens']:,} tokens x {sizes['features']}, {sizes['vocab_size']:,} words"
    print(what, file=sys.stderr)
    drawn = min(DRAWN, sizes["vocab_size"] // 8)
    sides = {
        "usual": Side("bench.softmax:measured_usual", sizes),
        "ours": Side("bench.softmax:measured_ours", sizes),
        "drawn": Side("bench.softmax:measured_ours", {**sizes, "drawn": drawn}),
    }
    results = alternate(sides, rounds)
    seconds, memory = ({side: [one[of] for one in found] for side, found in results.items()} for of in _MEASURES)
    goals = ("", "") if quick else (">= 1.5x with AVX512-bf16", ">= 4x")
    return [
        Row(f"loss and gradients, {what}", "s", seconds["ours"], seconds["usual"], goals[0], less_is_better=True),
        Row(f"peak memory, {what}", "MB", memory["ours"], memory["usual"], goals[1], less_is_better=True),
        Row(f"the same, told from {drawn:,} drawn ones", "s", seconds["drawn"], seconds["usual"], less_is_better=True),
        Row("loss of an evaluation in bfloat16 (usual: float32)", "nats", *_in_both_formats(sizes), "within 0.002"),
    ]


def _given(tokens: int, features: int, vocab_size: int) -> Any:
    """Features, a linear output, and targets as this output would have them, for a perplexity as of real words."""
    import torch

    torch.manual_seed(0)
    output = torch.nn.Linear(features, vocab_size)
    torch.nn.init.normal_(output.weight, std=3.0 * features**-0.5)
    x = torch.randn(tokens, features)
    with torch.no_grad():
        rows = [torch.multinomial(output(part).softmax(1), 1)[:, 0] for part in x.split(256)]
    return x, output, torch.cat(rows)


def measured_usual(**sizes: int) -> Callable[[], Round]:
    """All logits, torch's cross-entropy, its gradients, on all cores."""
    import torch.nn.functional as F

    x, output, targets = _given(**sizes)
    x.requires_grad_()

    def play() -> Round:
        began = time.perf_counter()
        output.zero_grad()
        F.cross_entropy(output(x), targets).backward()
        return {"seconds": time.perf_counter() - began}

    return with_memory(play)


def measured_ours(drawn: int = 0, **sizes: int) -> Callable[[], Round]:
    """As a training step computes it: rows shared out between threads, chunks, gradients added up."""
    import torch

    from charlm.models.kernels.cross_entropy import Sampler, output_loss
    from charlm.models.kernels.plan import BufferPool, ComputePlan, team
    from charlm.training.device import all_threads, matrix_instructions

    x, output, targets = _given(**sizes)
    dtype, count = torch.bfloat16 if matrix_instructions() else torch.float32, all_threads()
    sampler = Sampler(torch.bincount(targets, minlength=sizes["vocab_size"]), drawn) if drawn else None
    hows = [ComputePlan.best(dtype, BufferPool(), {}) for _ in range(count)]
    generators = [torch.Generator().manual_seed(seed) for seed in range(count)]

    def part(plan: ComputePlan, generator: torch.Generator, features: torch.Tensor, wanted: torch.Tensor) -> Any:
        features = features.to(dtype).requires_grad_()
        loss = output_loss(plan, features, output, wanted, sampler and sampler.draw(wanted, generator))
        return torch.autograd.grad(loss / len(x), [features, output.weight, output.bias])

    def play() -> Round:
        began = time.perf_counter()
        with team(count) as share_out:
            found = list(share_out(part, hows, generators, x.chunk(count), targets.chunk(count)))
        for at in (1, 2):
            total = torch.zeros_like([output.weight, output.bias][at - 1])
            for grads in found:
                total += grads[at]
        return {"seconds": time.perf_counter() - began}

    return with_memory(play)


def _in_both_formats(sizes: dict[str, int]) -> tuple[list[float], list[float]]:
    """The mean loss by bfloat16 products, and by float32's."""
    import torch

    from charlm.models.kernels.cross_entropy import output_loss
    from charlm.models.kernels.plan import BufferPool, ComputePlan

    x, output, targets = _given(**sizes)
    with torch.no_grad():
        half, full = (
            output_loss(ComputePlan.best(dtype, BufferPool(), {}), x, output, targets).item() / len(x)
            for dtype in (torch.bfloat16, torch.float32)
        )
    return [half], [full]
