"""What all benches share: sides in processes of their own that take turns, medians, and the machine's description."""

import contextlib
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Round = Mapping[str, float]
SPIN = "while True: pass"


@dataclass(frozen=True)
class Row:
    """One measured thing: what the usual code took or did in each round, and what ours did.

    Attributes:
        what: a short name, with the sizes that matter.
        unit: of the numbers.
        ours: one number a round.
        usual: likewise; empty where there is nothing usual to compare with.
        goal: what was aimed at, in words such as ">= 1.5x".
        less_is_better: seconds and bytes, not rates.
    """

    what: str
    unit: str
    ours: Sequence[float]
    usual: Sequence[float] = ()
    goal: str = ""
    less_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times better ours is, by the medians; None without a usual side."""
        if not self.usual:
            return None
        ours, usual = statistics.median(self.ours), statistics.median(self.usual)
        return usual / ours if self.less_is_better else ours / usual

    def to_dict(self) -> dict[str, Any]:
        """For JSON: medians, ratio, and every round."""
        return {
            "what": self.what,
            "unit": self.unit,
            "usual": statistics.median(self.usual) if self.usual else None,
            "ours": statistics.median(self.ours),
            "ratio": self.ratio,
            "goal": self.goal,
            "rounds": {"usual": list(self.usual), "ours": list(self.ours)},
        }


class Side:
    """A function that is called again and again in a process of its own, so that no side sets the other's threads.

    Args:
        target: "module:function"; the function is called once with `options` and returns what a round calls.
        options: JSON.
        env: added to the environment.
        python: another interpreter, with packages of its own; empty: this one.
    """

    def __init__(
        self, target: str, options: Mapping[str, Any], env: Mapping[str, str] | None = None, python: str = ""
    ) -> None:
        self._process = subprocess.Popen(
            [python or sys.executable, "-m", "bench.measure", target, json.dumps(options)],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def round(self) -> dict[str, float]:
        """One round's numbers."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"a side of the bench ended with exit code {self._process.wait()}")
        numbers: dict[str, float] = json.loads(answer)
        return numbers

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def alternate(sides: Mapping[str, Side], rounds: int, warm_up: int = 1) -> dict[str, list[dict[str, float]]]:
    """A B A B: each side's rounds in turn; the first ones warm up and are not counted. Closes the sides."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    try:
        for count in range(warm_up + rounds):
            for name, side in sides.items():
                numbers = side.round()
                shown = ", ".join(f"{what} {value:,.4g}" for what, value in numbers.items())
                print(f"  {name}: {shown}{' (warming up)' if count < warm_up else ''}", file=sys.stderr, flush=True)
                if count >= warm_up:
                    results[name].append(numbers)
    finally:
        for side in sides.values():
            side.close()
    return results


def with_memory(play: Callable[[], Round]) -> Callable[[], Round]:
    """A round that also reports the most memory its process has used so far."""
    import resource

    scale = 1e6 if sys.platform == "darwin" else 1e3

    def measured() -> Round:
        return {**play(), "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale}

    return measured


def rated(step: Callable[[], Any], characters: int, seconds: float) -> Callable[[], Round]:
    """Rounds of as many steps of so many characters as take about `seconds`; the first step may compile."""
    steps = 0

    def play() -> Round:
        nonlocal steps
        if steps == 0:
            step()
            began = time.perf_counter()
            step()
            steps = max(1, round(seconds / (time.perf_counter() - began)))
        began = time.perf_counter()
        for _ in range(steps):
            step()
        return {"chars_per_second": steps * characters / (time.perf_counter() - began)}

    return with_memory(play)


@contextlib.contextmanager
def busy_core(busy: bool = True) -> Iterator[None]:
    """Keep one core busy with another process, as a web server and its visitors do."""
    process = subprocess.Popen([sys.executable, "-c", SPIN]) if busy else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import psutil
    import torch

    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def serve(target: str, options: Mapping[str, Any]) -> None:
    """A side's process: prepare, then a round for every line that comes in."""
    module, _, name = target.partition(":")
    play: Callable[[], Round] = getattr(importlib.import_module(module), name)(**options)
    for _ in sys.stdin:
        print(json.dumps(dict(play())), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
