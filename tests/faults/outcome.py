"""What a training comes to, for comparison with another that ought to be the same."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from charlm.runs.run import Run

TIMES = ("seconds", "chars_per_second")  # what no two trainings share


def content(path: Path) -> dict[str, Any]:
    """Tensors of a safetensors file, and what is said beside them, times excepted."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["charlm"])
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found | {f"about {name}": value for name, value in about.items() if name not in TIMES}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two such contents are equal, bit for bit."""
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) if isinstance(one[name], torch.Tensor) else one[name] == other[name]
        for name in one
    )


def rows(run: Run) -> list[dict[str, Any]]:
    """What it logged, times excepted."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in run.metrics()]
