"""runs list, show, rename, delete, restore, trim; corpora."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from charlm.cli.options import Json, RunsDir, RunToken, RunTokens, readable
from charlm.cli.report import facts_of, print_json, print_table, row_of
from charlm.errors import ConfigError

runs_app = typer.Typer(help="List, show, rename, trim, delete and restore runs.", no_args_is_help=False)


def add_to(app: typer.Typer) -> None:
    """Hang the commands of this module on the program."""
    app.add_typer(runs_app, name="runs")
    app.command("corpora", help="The texts that can be picked by name.")(corpora)


@runs_app.callback(invoke_without_command=True)
def runs_alone(context: typer.Context) -> None:
    """List, show, rename, trim, delete and restore runs; alone, it lists them."""
    if context.invoked_subcommand is None:
        list_runs()


@runs_app.command("list", help="All runs, newest first, the shipped ones last.")
def list_runs(runs_dir: RunsDir = None, json: Json = False) -> None:
    from charlm.runs.store import RunStore

    print_runs(RunStore(runs_dir).list(), json, "No runs yet; make one with: python -m charlm train sherlock")


def print_runs(runs: Sequence[Any], json: bool, none: str) -> None:
    """A line for each run; `none` says that there is none."""
    if json:
        print_json([facts_of(run) for run in runs])
    elif runs:
        print_table([row_of(run) for run in runs])
    else:
        print(none)


@runs_app.command("show", help="All that is known about one run.")
def show(run: RunToken, runs_dir: RunsDir = None, json: Json = False) -> None:
    from charlm.runs.store import RunStore

    found = RunStore(runs_dir).find(run)
    facts = facts_of(found)
    if json:
        print_json(facts)
        return
    for name, value in facts.items():
        lines = value.items() if isinstance(value, dict) else [("", value)]
        for inner, said in lines:
            print(f"{name}{'.' + inner if inner else ''}: {said}")


@runs_app.command("rename", help="Give a run another label.")
def rename(
    run: RunToken,
    label: Annotated[str, typer.Argument(metavar="LABEL", help="The new name.")],
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    from charlm.runs.store import RunStore

    store = RunStore(runs_dir)
    found = store.find(run)
    store.rename(found, readable(label))
    if json:
        print_json({"run_id": found.run_id, "label": found.label})
    else:
        print(f"{found.run_id} is now {found.label!r}")


@runs_app.command("delete", help="Move runs to the trash; asks first.")
def delete(
    runs: RunTokens,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    from charlm.runs.store import RunStore

    store = RunStore(runs_dir)
    found = [store.find(token) for token in runs]
    named = ", ".join(f"{run.label} ({run.run_id})" for run in found)
    sure(f"Delete {named}", yes)
    for run in found:
        store.delete(run)
    if json:
        print_json({"deleted": [run.run_id for run in found]})
    else:
        print(f"deleted {named}; until `runs empty-trash`, `runs restore ID` brings it back")


def sure(what: str, yes: bool) -> None:
    """Ask, unless the answer is known.

    Raises:
        ConfigError: nobody can be asked.
    """
    if not yes and not sys.stdin.isatty():
        raise ConfigError(f"nothing done: nobody can be asked here; add --yes to {what[0].lower()}{what[1:]}")
    if not yes and not typer.confirm(f"{what}?", err=True):
        raise typer.Exit(1)


@runs_app.command("trash", help="The deleted runs that can be restored.")
def trash(runs_dir: RunsDir = None, json: Json = False) -> None:
    from charlm.runs.store import RunStore

    print_runs(RunStore(runs_dir).trashed(), json, "The trash is empty.")


@runs_app.command("restore", help="Take a run out of the trash.")
def restore(
    run: Annotated[str, typer.Argument(metavar="ID", help="The run's whole id, as `runs trash` lists it.")],
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    from charlm.runs.store import RunStore

    restored = RunStore(runs_dir).restore(readable(run))
    if json:
        print_json({"restored": restored.run_id})
    else:
        print(f"restored {restored.label} ({restored.run_id})")


@runs_app.command("empty-trash", help="Remove all deleted runs for good; asks first.")
def empty_trash(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    from charlm.runs.store import RunStore

    store = RunStore(runs_dir)
    sure("Remove all runs in the trash for good", yes)
    freed(store.empty_trash(), json)


@runs_app.command("trim", help="Keep only the best weights of runs: they can be forked, but no longer resumed.")
def trim(runs: RunTokens, runs_dir: RunsDir = None, json: Json = False) -> None:
    from charlm.runs.store import RunStore

    store = RunStore(runs_dir)
    found = [store.find(token) for token in runs]
    freed(sum(store.trim(run) for run in found), json)


def freed(number: int, json: bool) -> None:
    """Say how many bytes are free now."""
    if json:
        print_json({"freed_bytes": number})
    else:
        print(f"{number / 1e6:,.1f} MB freed")


def corpora(json: Json = False) -> None:
    from charlm.data import catalog

    rows: list[dict[str, Any]] = [
        {"name": entry.key, "title": entry.title, "at_hand": catalog.is_at_hand(entry.key), "about": entry.about}
        for entry in catalog.entries()
    ]
    if json:
        print_json(rows)
    else:
        print_table([{**row, "at_hand": "yes" if row["at_hand"] else "download"} for row in rows])
