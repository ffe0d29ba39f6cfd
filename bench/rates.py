"""Which learning rate suits a training of so many steps: the loss it ends with, over factors of today's rate and seeds.

    python -m bench.rates CORPUS ARCH STEPS [--factors 1,1.4,2] [--seeds 3] [--hidden-size 128] [--work FOLDER]
    python -m bench.rates table

CORPUS is a file or a name of the catalog. A factor is of the rate that the program chooses by itself for the
architecture and width, before a training's length is looked at. Each cell is trained once and kept in
bench/curves/rates.jsonl (`--cells`); `table` shows the mean over seeds of the validation loss at the last step.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from bench.resumable import label_of, logged, markdown, train
from charlm.architectures import ARCH_NAMES
from charlm.config import ModelConfig, suited_rate

CELLS = Path(__file__).parent / "curves" / "rates.jsonl"
HEAD = ("corpus", "architecture", "steps", "factor", "rate", "seeds", "loss", "against factor 1")


def main(words: Sequence[str] | None = None) -> None:
    """Train what is missing, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", metavar="CORPUS", help="a file or a name of the catalog; or table")
    parser.add_argument("arch", nargs="?", default="lstm", metavar="ARCH")
    parser.add_argument("steps", nargs="?", type=int, default=250, metavar="STEPS")
    parser.add_argument("--factors", default="0.7,1,1.4,2", help="of the rate by itself")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--work", type=Path, default=Path("checkpoints") / "rates")
    parser.add_argument("--cells", type=Path, default=CELLS)
    given = parser.parse_args(words)
    if given.corpus != "table":
        for seed in range(1, given.seeds + 1):
            for factor in map(float, given.factors.split(",")):
                fill(given, factor, seed)
    print(table(logged(given.cells)))


def fill(given: argparse.Namespace, factor: float, seed: int) -> None:
    """Train and keep one cell, unless it is there."""
    size = {"arch": given.arch, "hidden_size": given.hidden_size, "num_layers": 2}
    rate = float(f"{factor * suited_rate(ModelConfig(**size)):.2g}")
    key = {"corpus": given.corpus, **size, "steps": given.steps, "factor": factor, "seed": seed}
    if any(all(cell[name] == value for name, value in key.items()) for cell in logged(given.cells)):
        return
    options: dict[str, Any] = {**size, "steps": given.steps, "learning_rate": rate, "seed": seed, "dropout": 0.0}
    label = label_of(Path(given.corpus).stem, [f"{name}={value}" for name, value in options.items()])
    run = train(given.work, given.corpus, "quick", {**options, "snapshots": 0, "label": label})
    rows = [row for row in run.metrics() if row.get("val_loss") is not None]
    with given.cells.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**key, "rate": rate, "loss": round(rows[-1]["val_loss"], 4)}) + "\n")


def table(cells: Sequence[dict[str, Any]]) -> str:
    """A line for each factor, in Markdown: the mean over seeds, and the mean difference to factor 1 at equal seeds."""
    losses: dict[tuple[Any, ...], dict[int, float]] = defaultdict(dict)
    rates: dict[tuple[Any, ...], float] = {}
    for cell in cells:
        group = (cell["corpus"], cell["arch"], cell["hidden_size"], cell["steps"], cell["factor"])
        losses[group][cell["seed"]], rates[group] = cell["loss"], cell["rate"]
    rows = []
    for group in sorted(losses):
        corpus, arch, size, steps, factor = group
        reference, own = losses.get((*group[:-1], 1.0), {}), losses[group]
        shared = [own[seed] - reference[seed] for seed in own if seed in reference]
        gain = f"{mean(shared):+.4f}" if shared and factor != 1 else ""
        figures = [str(steps), f"{factor:g}", f"{rates[group]:g}", str(len(own)), f"{mean(own.values()):.4f}", gain]
        rows.append([corpus, f"{ARCH_NAMES[arch]} 2 x {size}", *figures])
    return markdown(HEAD, rows)


if __name__ == "__main__":
    main()
