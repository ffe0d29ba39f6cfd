"""runs list, show, rename, note, delete, restore, trim; corpora."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from charlm.cli import COMMANDS
from charlm.cli.options import Json, RunsDir, RunToken, RunTokens, readable, value_of
from charlm.cli.report import print_answer, print_comparison, print_json, print_table, result_of
from charlm.config import LEVEL_NAMES, TrainConfig
from charlm.data import catalog
from charlm.errors import ConfigError
from charlm.runs.rates import request_rate
from charlm.runs.run import ACTIVE
from charlm.runs.store import Run, RunStore

# What JSON and `runs show` name as a run's attributes are named, in the order in which it stands there.
RUN_FACTS = (
    "total_steps", "epoch", "message", "note", "num_parameters", "created", "shipped", "group", "preset", "folder",
    "size_bytes", "trimmed", "mend", "ancestry", "imported", "rate_changes",
)  # fmt: skip
[RATE_FIELD] = [field for field in dataclasses.fields(TrainConfig) if field.name == "learning_rate"]
runs_app = typer.Typer(help=COMMANDS["runs"][1], no_args_is_help=False, add_completion=False)
Label = Annotated[str, typer.Argument(metavar="LABEL", help="The new name.")]
Note = Annotated[str, typer.Argument(metavar="TEXT", help="What to remember of it; '' removes the note.")]
TrashedId = Annotated[str, typer.Argument(metavar="ID", help="The run's whole id, as `runs trash` lists it.")]
Rate = Annotated[str, typer.Argument(metavar="RATE", help="The new learning rate, before warm-up and schedule.")]
WholeRace = Annotated[bool, typer.Option("--race", help="Of all networks that race with it, at the same step.")]
TAKEN_SECONDS = 5.0  # that a training may take until it has changed its rate, before the command no longer waits
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@runs_app.callback(invoke_without_command=True)
def runs_alone(context: typer.Context) -> None:
    """List, show, rename, annotate, trim, delete and restore runs; alone, it lists them."""
    if context.invoked_subcommand is None:
        list_runs()


@runs_app.command("list", help="All runs, newest first, the shipped ones last.")
def list_runs(runs_dir: RunsDir = None, json: Json = False) -> None:
    """Print all runs."""
    print_runs(RunStore(runs_dir).list(), json, "No runs yet; make one with: python -m charlm train sherlock")


def print_runs(runs: Sequence[Run], json: bool, none: str) -> None:
    """Print a line for each run.

    Args:
        runs: in this order.
        json: print a JSON list instead of a table.
        none: the sentence for no runs.
    """
    if json:
        print_json([facts_of(run) for run in runs])
    elif runs:
        print_table([row_of(run) for run in runs])
    else:
        print(none)


@runs_app.command("show", help="All that is known about one run.")
def show(run: RunToken, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Print all facts of one run."""
    facts = facts_of(RunStore(runs_dir).find(run))
    lines: list[tuple[str, Any]] = []
    for name, value in facts.items():
        nested = isinstance(value, dict)
        lines += [(f"{name}.{inner}", one) for inner, one in value.items()] if nested else [(name, value)]
    print_answer(facts, "\n".join(f"{name}: {value}" for name, value in lines), json)


@runs_app.command("rename", help="Give a run another label.")
def rename(run: RunToken, label: Label, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Rename a run."""
    store = RunStore(runs_dir)
    found = store.find(run)
    store.rename(found, readable(label))
    print_answer({"run_id": found.run_id, "label": found.label}, f"{found.run_id} is now {found.label!r}", json)


@runs_app.command("note", help="Write a note about a run; `runs show` and the Runs tab show it.")
def annotate(run: RunToken, text: Note, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Write a note about a run."""
    store = RunStore(runs_dir)
    found = store.find(run)
    store.annotate(found, readable(text))
    said = f"the note of {found.label} ({found.run_id}) is {'written' if found.note else 'removed'}"
    print_answer({"run_id": found.run_id, "note": found.note}, said, json)


@runs_app.command("compare", help="Whether a difference is luck: name several seeds of each model, or a run of a race.")
def compare_seeds(runs: RunTokens, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Print a table of means over seeds, and what may be claimed."""
    from charlm.analysis.comparison import compare, with_race

    store = RunStore(runs_dir)
    found = compare(with_race([store.find(token) for token in runs], store.list()))
    if json:
        print_json(found.to_dict())
    else:
        print_comparison(found)


@runs_app.command("delete", help="Move runs to the trash; asks first.")
def delete(runs: RunTokens, yes: Yes = False, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Move runs to the trash."""
    store = RunStore(runs_dir)
    found = [store.find(token) for token in runs]
    named = ", ".join(f"{run.label} ({run.run_id})" for run in found)
    confirm(f"Delete {named}", yes)
    for run in found:
        store.delete(run)
    text = f"deleted {named}; until `runs empty-trash`, `runs restore ID` brings it back"
    print_answer({"deleted": [run.run_id for run in found]}, text, json)


def confirm(what: str, yes: bool) -> None:
    """Ask, unless the answer is known.

    Raises:
        ConfigError: stdin is no terminal, so there is no user to ask.
    """
    if not yes and not sys.stdin.isatty():
        raise ConfigError(f"nothing done: nobody can be asked here; add --yes to {what[0].lower()}{what[1:]}")
    if not yes and not typer.confirm(f"{what}?", err=True):
        raise typer.Exit(1)


@runs_app.command("trash", help="The deleted runs that can be restored.")
def trash(runs_dir: RunsDir = None, json: Json = False) -> None:
    """Print the deleted runs."""
    print_runs(RunStore(runs_dir).trashed(), json, "The trash is empty.")


@runs_app.command("restore", help="Take a run out of the trash.")
def restore(run: TrashedId, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Restore a deleted run."""
    restored = RunStore(runs_dir).restore(readable(run))
    print_answer({"restored": restored.run_id}, f"restored {restored.label} ({restored.run_id})", json)


@runs_app.command("empty-trash", help="Remove all deleted runs for good; asks first.")
def empty_trash(yes: Yes = False, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Remove all deleted runs for good."""
    confirm("Remove all runs in the trash for good", yes)
    print_freed(RunStore(runs_dir).empty_trash(), json)


@runs_app.command("trim", help="Keep only the best weights of runs: they can be forked, but no longer resumed.")
def trim(runs: RunTokens, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Remove everything but the best weights of runs."""
    store = RunStore(runs_dir)
    found = [store.find(token) for token in runs]
    print_freed(sum(store.trim(run) for run in found), json)


def print_freed(number: int, json: bool) -> None:
    """Say how many bytes are free now."""
    print_answer({"freed_bytes": number}, f"{number / 1e6:,.1f} MB freed", json)


def rate(run: RunToken, rate: Rate, race: WholeRace = False, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Change the learning rate of a run that trains in any process, and say from which step on."""
    store = RunStore(runs_dir)
    found, wanted = store.find(run), value_of(RATE_FIELD, readable(rate))
    before = found.rate_changes
    request_rate(found, wanted, race)
    end = time.monotonic() + TAKEN_SECONDS
    while found.info.get("wanted_rate") and found.status in ACTIVE and time.monotonic() < end:
        time.sleep(0.05)
        found.refresh()
    changed = found.rate_changes[-1:] if found.rate_changes != before else []
    step = changed[0]["step"] if changed else None
    when = "with its next step" if found.info.get("wanted_rate") else "as before"
    when = when if step is None else f"from step {step + 1:,} on"
    answer = {"run_id": found.run_id, "label": found.label, "learning_rate": wanted, "step": step}
    print_answer(answer, f"{found.label}: learning rate {wanted:g} {when}", json)


def facts_of(run: Run) -> dict[str, Any]:
    """All that is known about a run."""
    return {
        **result_of(run),
        **{name: getattr(run, "fix" if name == "mend" else name) for name in RUN_FACTS},
        "folder": str(run.folder),
        "corpus": dict(run.corpus),
        "model": run.model_config.to_dict(),
        "train": run.train_config.to_dict(),
        "corpus_settings": run.corpus_config.to_dict(),
    }


def row_of(run: Run) -> dict[str, Any]:
    """A line of `runs list`."""
    return {
        "run": run.run_id,
        "label": run.label,
        "arch": run.arch,
        "tokens": LEVEL_NAMES[run.level],
        "corpus": run.corpus.get("name", ""),
        "best_val_loss": run.best_val_loss,
        "bits_per_char": run.bits_per_char(run.best_val_loss),
        "steps": run.step,
        "seconds": round(run.seconds),
        "MB": round(run.size_bytes / 1e6, 1),
        "status": "shipped" if run.shipped else run.status,
    }


def corpora(json: Json = False) -> None:
    """Print the texts of the catalog."""
    rows: list[dict[str, Any]] = [
        {"name": entry.key, "title": entry.title, "at_hand": catalog.is_at_hand(entry.key), "about": entry.about}
        for entry in catalog.entries()
    ]
    if json:
        print_json(rows)
    else:
        print_table([{**row, "at_hand": "yes" if row["at_hand"] else "download"} for row in rows])
