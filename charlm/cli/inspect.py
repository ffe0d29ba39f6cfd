"""evaluate and inspect: what is measured of trained models and their texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from charlm.cli.options import Json, RunsDir, RunToken, RunTokens, open_corpus
from charlm.cli.report import cell, print_answer, print_json, print_table
from charlm.errors import ConfigError
from charlm.runs.store import Run, RunStore
from charlm.serving import NgramBaselines, Serving

OTHER_TEXT = "Another text to score. (default: the run's own)"
OtherText = Annotated[str, typer.Option("--corpus", metavar="CORPUS", help=OTHER_TEXT)]
SPLIT = "Which part. (default: val of the run's text, all of another)"
Split = Annotated[str, typer.Option("--split", metavar="val|test|all", help=SPLIT)]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What to look at: ladder.")]


def evaluate(
    run: RunToken, corpus: OtherText = "", split: Split = "", runs_dir: RunsDir = None, json: Json = False
) -> None:
    """Print a run's scores on its own or another text."""
    store = RunStore(runs_dir)
    found = store.find(run)
    other = open_corpus(corpus, found.corpus_config) if corpus else None  # cleaned as the run's own text was
    given = (other.text, split, other.held_out) if other else (None, split)
    scores = Serving(store).evaluate(found, *given)
    print_answer(scores, "\n".join(f"{name}: {cell(value)}" for name, value in scores.items()), json)


def inspect(name: Name, runs: RunTokens, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Print one of INSPECTIONS for some runs."""
    if name not in INSPECTIONS:
        raise ConfigError(f"inspect knows {', '.join(INSPECTIONS)}, not {name[:40]!r}")
    store = RunStore(runs_dir)
    INSPECTIONS[name]([store.find(token) for token in runs], json)


def show_baselines(runs: Sequence[Run], json: bool) -> None:
    """The n-gram baselines of the runs' texts, and where the runs stand among them; runs of one text share a table."""
    known = NgramBaselines()
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(known.key(run), []).append(run)
    measured = [(group, known.measured(group[0])) for group in groups.values()]
    if json:
        print_json([_facts(run, baselines) for group, baselines in measured for run in group])
        return
    for place, (group, baselines) in enumerate(measured):
        print("\n" * (place > 0) + str(group[0].corpus.get("name", "")))
        print_table(_rows(group, baselines))


def _facts(run: Run, baselines: Any) -> dict[str, Any]:
    """What `--json` prints of a run; `worth` is the order of the n-gram that it keeps up with."""
    return {
        "run_id": run.run_id,
        "label": run.label,
        "arch": run.arch,
        "best_val_loss": run.best_val_loss,
        "worth": None if run.best_val_loss is None else baselines.matched_order(run.best_val_loss),
        "ladder": baselines.to_dict(),
    }


def _rows(runs: Sequence[Run], baselines: Any) -> list[Mapping[str, Any]]:
    """A line for every baseline, the runs among them, from the worst to the best."""
    rows = [("uniform", baselines.uniform, 0), ("gzip", baselines.gzip, 0), ("xz", baselines.xz, 0)]
    rows += [(f"{order}-gram", loss, 0) for order, loss in enumerate(baselines.orders, 1)]
    scored = [(run.label, run.best_val_loss) for run in runs if run.best_val_loss is not None]
    rows += [(label, loss, baselines.matched_order(loss)) for label, loss in scored]
    return [
        {
            "model": name,
            "nats_per_token": loss,
            "bits_per_char": baselines.bits(loss),
            "worth": f"{order}-gram" if order else "",
        }
        for name, loss, order in sorted(rows, key=lambda row: -row[1])
    ]


INSPECTIONS: dict[str, Callable[[Sequence[Run], bool], None]] = {"ladder": show_baselines}
