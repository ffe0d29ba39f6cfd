"""inspect: what is measured of trained models and their texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from charlm.cli.options import Json, RunsDir, RunTokens
from charlm.cli.report import print_json, print_table
from charlm.errors import ConfigError

Name = Annotated[str, typer.Argument(metavar="NAME", help="What to look at: ladder.")]


def add_to(app: typer.Typer) -> None:
    """Hang the command of this module on the program."""
    app.command("inspect", help="Look into runs; ladder: which n-gram their losses are worth.")(inspect)


def inspect(name: Name, runs: RunTokens, runs_dir: RunsDir = None, json: Json = False) -> None:
    if name not in INSPECTIONS:
        raise ConfigError(f"inspect knows {', '.join(INSPECTIONS)}, not {name[:40]!r}")
    from charlm.runs.store import RunStore

    store = RunStore(runs_dir)
    INSPECTIONS[name]([store.find(token) for token in runs], json)


def show_ladder(runs: Sequence[Any], json: bool) -> None:
    """The n-gram ladder of the runs' texts, and where they stand on it; runs of one text share a table."""
    from charlm.serving import NgramBaselines

    known = NgramBaselines()
    groups: dict[str, list[Any]] = {}
    for run in runs:
        groups.setdefault(known.key(run), []).append(run)
    measured = [(group, known.measured(group[0])) for group in groups.values()]
    if json:
        print_json([facts for group, baselines in measured for facts in _facts(group, baselines)])
        return
    for place, (group, baselines) in enumerate(measured):
        print("\n" * (place > 0) + str(group[0].corpus.get("name", "")))
        print_table(_rungs(group, baselines))


def _facts(runs: Sequence[Any], baselines: Any) -> list[dict[str, Any]]:
    """What `--json` prints of each run; `worth` is the order of the n-gram that it keeps up with."""
    known = baselines.to_dict()
    return [
        {
            "run_id": run.run_id,
            "label": run.label,
            "arch": run.arch,
            "best_val_loss": run.best_val_loss,
            "worth": None if run.best_val_loss is None else baselines.matched_order(run.best_val_loss),
            "ladder": known,
        }
        for run in runs
    ]


def _rungs(runs: Sequence[Any], baselines: Any) -> list[Mapping[str, Any]]:
    """A line for every rung, the runs among them, from the worst to the best."""
    rows = [("uniform", baselines.uniform), ("gzip", baselines.gzip), ("xz", baselines.xz)]
    rows += [(f"{order}-gram", loss) for order, loss in enumerate(baselines.orders, 1)]
    rows += [(run.label, run.best_val_loss) for run in runs if run.best_val_loss is not None]
    worths = {run.label: baselines.matched_order(run.best_val_loss) for run in runs if run.best_val_loss is not None}
    return [
        {
            "model": name,
            "nats_per_token": loss,
            "bits_per_char": baselines.bits(loss),
            "worth": f"{worths[name]}-gram" if worths.get(name) else "",
        }
        for name, loss in sorted(rows, key=lambda row: -row[1])
    ]


INSPECTIONS: dict[str, Callable[[Sequence[Any], bool], None]] = {"ladder": show_ladder}
