"""Training throughput of ours beside what else one could take: torch as usual, torch.compile, JAX, Keras 3 on JAX.

    python -m bench.peers install            an environment with JAX and Keras, outside the repository
    python -m bench.peers run [ARCH ..] [--hidden N ..] [--shape BxT ..] [--rounds N]
    python -m bench.peers memory [ARCH ..] [--hidden N ..] [--shape BxT ..]    ours and torch's, which needs no quiet
    python -m bench.peers table | ratios | picture

A cell is an architecture, a width (two layers) and a batch. All sides of a cell run in turn, each in its own process
with the same cores, on batches of random characters with dropout 0.3, gradients clipped at 5, and Adam; the first round
of each, which compiles, is not counted. Characters a second, the median of the rounds, and the most memory that the
process took. Cells are kept in bench/curves/peers.jsonl; one that is there for this kind of processor is not measured
again.

What a peer does at its best: JAX looks rows of the first matrix up, multiplies a layer's whole input at once, scans
only the recurrence, and donates its buffers; Keras has its own layers; of a minGRU JAX takes the associative scan.
Transformers attend to the batch's own tokens only, ours also to the batch before, as in generation.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

from bench.measure import Round, Row, Side, alternate, machine, rated
from bench.training import our_training

ARCHS = ("lstm", "gru", "rnn", "transformer", "mingru")
HIDDEN = (16, 64, 128, 256, 512, 1024)
SHAPES = ("1x20", "16x64", "64x64", "128x100")
CELLS = Path(__file__).parent / "curves" / "peers.jsonl"
PICTURE = CELLS.with_name("peers.svg")
PACKAGES = ("jax==0.10.2", "optax==0.2.8", "keras==3.15.1")
VOCAB, LAYERS = 77, 2
SECONDS = 1.0  # a round takes about so long
KERAS = ("lstm", "gru", "rnn")  # the layers that Keras has
Cell = dict[str, Any]


def environment() -> Path:
    """The folder of JAX's environment, CHARLM_BENCH_PEERS or one in the user's cache."""
    return Path(os.environ.get("CHARLM_BENCH_PEERS", Path.home() / ".cache" / "charlm" / "peers"))


def python() -> Path | None:
    """JAX's interpreter; None where it is not installed."""
    found = environment() / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return found if found.exists() else None


def install() -> None:
    """Make JAX's environment, or bring it up to date."""
    venv.create(environment(), with_pip=True)
    subprocess.run([str(python()), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    print(f"installed in {environment()}: {', '.join(PACKAGES)}")


def sides_of(arch: str, hidden: int, shape: str, seconds: float = SECONDS, beside: bool = True) -> dict[str, Side]:
    """The processes of a cell by name: torch's and ours, and beside them the others that are to be had."""
    rows, length = map(int, shape.split("x"))
    sizes = {"vocab_size": VOCAB, "hidden_size": hidden, "num_layers": LAYERS}
    options = {"arch": arch, **sizes, "batch_size": rows, "seq_len": length, "seconds": seconds}
    sides = {
        "torch": Side("bench.peer_torch:trainer", {**options, "compiled": False}),
        "ours": Side("bench.peers:ours", options),
    }
    if not beside:
        return sides
    sides["torch.compile"] = Side("bench.peer_torch:trainer", {**options, "compiled": True})
    other = python()
    if other is not None:
        sides["jax"] = Side("bench.peer_jax:trainer", options, python=str(other))
        if arch in KERAS:
            env = {"KERAS_BACKEND": "jax"}
            sides["keras"] = Side("bench.peer_keras:trainer", options, env, python=str(other))
    return sides


def ours(arch: str, batch_size: int, seq_len: int, seconds: float, **sizes: Any) -> Callable[[], Round]:
    """Our side; a Transformer attends to as many tokens as a batch has."""
    training = our_training(arch, batch_size, seq_len, context=seq_len, num_heads=4, **sizes)
    return rated(lambda: next(training), batch_size * seq_len, seconds)


def measured(arch: str, hidden: int, shape: str, rounds: int, seconds: float = SECONDS) -> Cell:
    """One cell: medians of all sides."""
    results = alternate(sides_of(arch, hidden, shape, seconds), rounds)
    rates = {name: statistics.median(one["chars_per_second"] for one in found) for name, found in results.items()}
    memory = {name: max(one["peak_mb"] for one in found) for name, found in results.items()}
    return {"arch": arch, "hidden": hidden, "shape": shape, "rounds": rounds, "rates": rates, "peak_mb": memory}


def ratio(cell: Cell) -> float:
    """Ours against the fastest of the others."""
    return float(cell["rates"]["ours"] / max(rate for name, rate in cell["rates"].items() if name != "ours"))


def known() -> list[Cell]:
    """The cells that were measured."""
    return [json.loads(line) for line in CELLS.read_text().splitlines()] if CELLS.exists() else []


def run(archs: Iterable[str], widths: Iterable[int], shapes: Iterable[str], rounds: int) -> None:
    """Measure the cells that are not known yet, the small ones first, each kept at once."""
    place = machine()
    kind = {name: place[name] for name in ("cpu", "cores", "instructions")}
    done = {(cell["arch"], cell["hidden"], cell["shape"]) for cell in known() if cell["machine"] == kind}
    for hidden, shape, arch in product(widths, shapes, archs):
        if (arch, hidden, shape) in done:
            continue
        print(f"{arch} {LAYERS}x{hidden}, {shape}", file=sys.stderr)
        cell = {**measured(arch, hidden, shape, rounds), "machine": kind}
        with CELLS.open("a") as file:
            file.write(json.dumps(cell) + "\n")
        print(f"  ours {ratio(cell):.2f}x the fastest other", file=sys.stderr)


def memory(archs: Iterable[str], widths: Iterable[int], shapes: Iterable[str]) -> None:
    """Print the most memory that a process of ours and one of torch's take, as a table in Markdown."""
    ratios = []
    print("| cell | torch, MB | ours, MB | ours / torch |\n|---|---|---|---|")
    for hidden, shape, arch in product(widths, shapes, archs):
        for _ in range(2):  # the first time ours may compile
            results = alternate(sides_of(arch, hidden, shape, 0.3, beside=False), 1)
            peaks = {name: found[0]["peak_mb"] for name, found in results.items()}
        ratios.append(peaks["ours"] / peaks["torch"])
        what = f"{arch} {LAYERS}x{hidden}, {shape}"
        print(f"| {what} | {peaks['torch']:.0f} | {peaks['ours']:.0f} | {ratios[-1]:.2f} |", flush=True)
    print(f"\nmedian of {len(ratios)} cells: {statistics.median(ratios):.2f}")


def table() -> None:
    """Print the cells as a table in Markdown, and the median of the ratios."""
    names = ("torch", "torch.compile", "jax", "keras", "ours")
    print(f"| cell | {' | '.join(names)} | ours / fastest | memory, ours / torch |")
    print("|---" * (len(names) + 3) + "|")
    for cell in sorted(known(), key=lambda one: (ARCHS.index(one["arch"]), one["hidden"], SHAPES.index(one["shape"]))):
        rates = " | ".join(f"{cell['rates'][name]:,.0f}" if name in cell["rates"] else "" for name in names)
        memory = cell["peak_mb"]["ours"] / cell["peak_mb"]["torch"]
        what = f"{cell['arch']} {LAYERS}x{cell['hidden']}, {cell['shape']}"
        print(f"| {what} | {rates} | {ratio(cell):.2f} | {memory:.2f} |")
    if known():
        print(f"\nmedian of {len(known())} cells: {statistics.median(map(ratio, known())):.2f}")


def ratios() -> None:
    """Print each cell's ratio and our thousands of characters a second as a table in Markdown, and the medians."""
    cells = {(one["shape"], one["hidden"], one["arch"]): one for one in known()}
    print(f"| batch | units | {' | '.join(ARCHS)} |\n|---|{'---|' * (len(ARCHS) + 1)}")
    for shape, hidden in product(SHAPES, HIDDEN):
        row = [cells.get((shape, hidden, arch)) for arch in ARCHS]
        rates = (float(f"{one['rates']['ours'] / 1000:.3g}") if one else 0.0 for one in row)
        said = (f"{ratio(one):.2f} ({rate:,g})" if one else "" for one, rate in zip(row, rates, strict=True))
        if any(row):
            print(f"| {shape} | {LAYERS}x{hidden} | {' | '.join(said)} |")
    for shape in SHAPES:
        found = [ratio(one) for one in cells.values() if one["shape"] == shape]
        if found:
            below = sum(one < 1 for one in found)
            print(f"\n{shape}: median of {len(found)} {statistics.median(found):.2f}, {below} below 1")
    print(f"\nall: median of {len(cells)} {statistics.median(map(ratio, cells.values())):.2f}")


def picture() -> None:
    """Draw the ratios, a panel for each shape of a batch."""
    import matplotlib.pyplot as plt

    from charlm.architectures import ARCH_NAMES, ARCHITECTURES

    figure, axes = plt.subplots(1, len(SHAPES), figsize=(13, 3.6), sharey=True, layout="constrained")
    for place, shape in zip(axes, SHAPES, strict=True):
        place.set_title(f"batch {shape}", fontsize=10)
        place.axhline(1.0, color="#888888", linewidth=0.8)
        for arch in ARCHS:
            cells = sorted(
                (one["hidden"], ratio(one)) for one in known() if (one["arch"], one["shape"]) == (arch, shape)
            )
            if cells:
                place.plot(*zip(*cells, strict=True), "o-", color=ARCHITECTURES[arch].colour, label=ARCH_NAMES[arch])
        place.set(xscale="log", yscale="log", xlabel="hidden units")
        place.set_xticks(HIDDEN, [str(size) for size in HIDDEN])
        place.minorticks_off()
    ticks = (0.5, 1, 2, 4, 8)
    axes[0].set_yticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes[0].set_ylabel("ours / the fastest other")
    handles = {
        label: handle for place in axes for handle, label in zip(*place.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(ARCHS), frameon=False)
    figure.savefig(PICTURE, metadata={"Date": None})


def measure(quick: bool = False) -> list[Row]:
    """One cell of the grid for each recurrent architecture, against the fastest of the others."""
    rows, seconds = [], 0.05 if quick else SECONDS
    for arch in ARCHS[:1] if quick else KERAS:
        hidden, shape = (16, "1x20") if quick else (128, "16x64")
        results = alternate(sides_of(arch, hidden, shape, seconds), 1 if quick else 5)
        rates = {name: [one["chars_per_second"] for one in found] for name, found in results.items()}
        best = max((name for name in rates if name != "ours"), key=lambda name: statistics.median(rates[name]))
        what = f"training, {arch} {LAYERS}x{hidden}, {shape} (usual: {best}, the fastest of {len(rates) - 1})"
        rows.append(Row(what, "chars/s", rates["ours"], rates[best], ">= 2x in the median cell"))
    return rows


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["install", "run", "memory", "table", "ratios", "picture"])
    parser.add_argument("archs", nargs="*", metavar="ARCH", help=f"of {', '.join(ARCHS)}; all")
    parser.add_argument("--hidden", type=int, nargs="+", default=HIDDEN, metavar="N")
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=SHAPES, metavar="BxT")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    given = parser.parse_args()
    if unknown := set(given.archs) - set(ARCHS):
        parser.error(f"{', '.join(sorted(unknown))} is none of {', '.join(ARCHS)}")
    if given.what == "memory":
        memory(given.archs or ARCHS, given.hidden, given.shape)
    elif given.what == "run":
        if python() is None:
            print("no JAX: `python -m bench.peers install` brings it; measuring torch only", file=sys.stderr)
        run(given.archs or ARCHS, given.hidden, given.shape, given.rounds)
    else:
        {"install": install, "table": table, "ratios": ratios, "picture": picture}[given.what]()


if __name__ == "__main__":
    main()
