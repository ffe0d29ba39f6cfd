"""bench: what the programs under bench/ measure, and how this machine will train."""

import ast
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.architectures import ARCHS, is_counted
from charlm.cli.options import Json
from charlm.cli.report import note, print_json, print_table
from charlm.config import ModelConfig, TrainConfig
from charlm.errors import ConfigError
from charlm.training.autosize import DISTINCT

BENCHES = Path(__file__).resolve().parents[2] / "bench"
# Sizes for which `bench device` says what it would choose: the preset `quick` and the notebooks'.
SIZES = ((128, 16), (512, 128))
Name = Annotated[str, typer.Argument(metavar="NAME", help="Which one; empty: list them.")]
Quick = Annotated[bool, typer.Option("--quick", help="Tiny sizes: shows that it works, measures nothing.")]
Write = Annotated[bool, typer.Option("--write", help="Put the results into bench/RESULTS.md.")]


def bench(name: Name = "", quick: Quick = False, write: Write = False, json: Json = False) -> None:
    """List the benches, or run one and print what it measured."""
    known = benches()
    if not name:
        print_json(known) if json else print_table([{"name": key, "about": about} for key, about in known.items()])
    elif name == "device":
        _show_device(json)
    elif name == "machine":
        _measure_machine(json)
    elif name in known:
        _measure(name, quick, write, json)
    else:
        raise ConfigError(f"there is no bench {name!r}; known are: {', '.join(known)}")


def benches() -> dict[str, str]:
    """Names of the programs that measure, and the first line of what they say about themselves.

    Raises:
        ConfigError: bench/ is not there.
    """
    if not (BENCHES / "measure.py").exists():
        raise ConfigError("the benches are not installed here; they are in the folder bench of the repository")
    found = {
        "device": "What a training computes with on this machine, and why.",
        "machine": "How fast this machine is, measured again; presets are sized for what was measured last.",
    }
    for path in sorted(BENCHES.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "measure" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").split("\n")[0]
    return found


def _measure(name: str, quick: bool, write: bool, json: bool) -> None:
    sys.path.insert(0, str(BENCHES.parent))
    results, measuring, program = (import_module(f"bench.{module}") for module in ("results", "measure", name))
    rows = program.measure(quick)
    if not rows:
        note(f"{name} found nothing that it could measure here")
    machine = measuring.machine()
    if json:
        print_json({"name": name, "quick": quick, "machine": machine, "rows": [row.to_dict() for row in rows]})
    elif rows:
        print_table([results.cells(row) for row in rows])
    if write and rows and not quick:
        results.write(name, results.section(name, rows, machine, datetime.now(UTC).strftime("%Y-%m-%d")))


def _measure_machine(json: bool) -> None:
    from charlm.training.machine import measure_again, speed  # torch: the list of benches needs none

    model, train = ModelConfig(vocab_size=DISTINCT), TrainConfig()
    before, now = speed(), measure_again()
    rows = [
        {"measured": one.when, "chars_per_second": round(one.chars_per_second(model, train)), **asdict(one.machine)}
        for one in (before, now)
    ]
    print_json(rows[-1]) if json else print_table(rows)


def _show_device(json: bool) -> None:
    from charlm.training.device import choose, matrix_instructions  # torch: the list of benches needs none

    choices: list[dict[str, Any]] = []
    for hidden, batch in SIZES:
        for arch in (arch for arch in ARCHS if not is_counted(arch)):
            chosen = choose(ModelConfig(arch=arch, vocab_size=77, hidden_size=hidden), batch)
            choices.append({
                "arch": arch, "hidden_size": hidden, "batch_size": batch, "device": chosen.kind,
                "threads": chosen.threads, "precision": str(chosen.dtype).removeprefix("torch."),
                "reasons": list(chosen.reasons),
            })  # fmt: skip
    if json:
        print_json({"matrix_instructions": matrix_instructions(), "choices": choices})
    else:
        print_table([{**choice, "reasons": "; ".join(choice["reasons"])} for choice in choices])
