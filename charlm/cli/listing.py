"""runs list, show, rename, delete; corpora."""

import sys
from typing import Annotated, Any

import typer

from charlm.cli.options import Json, RunsDir, RunToken, RunTokens, readable
from charlm.cli.report import facts_of, print_json, print_table, row_of
from charlm.errors import ConfigError

runs_app = typer.Typer(help="List, show, rename and delete runs.", no_args_is_help=False)


def add_to(app: typer.Typer) -> None:
    """Hang the commands of this module on the program."""
    app.add_typer(runs_app, name="runs")
    app.command("corpora", help="The texts that can be picked by name.")(corpora)


@runs_app.callback(invoke_without_command=True)
def runs_alone(context: typer.Context) -> None:
    """List, show, rename and delete runs; alone, it lists them."""
    if context.invoked_subcommand is None:
        list_runs()


@runs_app.command("list", help="All runs, newest first, the shipped ones last.")
def list_runs(runs_dir: RunsDir = None, json: Json = False) -> None:
    from charlm.runs import RunStore

    runs = RunStore(runs_dir).list()
    if json:
        print_json([facts_of(run) for run in runs])
    elif runs:
        print_table([row_of(run) for run in runs])
    else:
        print("No runs yet; make one with: python -m charlm train sherlock")


@runs_app.command("show", help="All that is known about one run.")
def show(run: RunToken, runs_dir: RunsDir = None, json: Json = False) -> None:
    from charlm.runs import RunStore

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
    from charlm.runs import RunStore

    store = RunStore(runs_dir)
    found = store.find(run)
    store.rename(found, readable(label))
    if json:
        print_json({"run_id": found.run_id, "label": found.label})
    else:
        print(f"{found.run_id} is now {found.label!r}")


@runs_app.command("delete", help="Delete runs and all they learned; asks first.")
def delete(
    runs: RunTokens,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    from charlm.runs import RunStore

    store = RunStore(runs_dir)
    found = [store.find(token) for token in runs]
    named = ", ".join(f"{run.label} ({run.run_id})" for run in found)
    if not yes and not sys.stdin.isatty():
        raise ConfigError(f"nothing deleted: nobody can be asked here; add --yes to delete {named}")
    if not yes and not typer.confirm(f"Delete {named}?", err=True):
        raise typer.Exit(1)
    for run in found:
        store.delete(run)
    if json:
        print_json({"deleted": [run.run_id for run in found]})
    else:
        print(f"deleted {named}")


def corpora(json: Json = False) -> None:
    from charlm import catalog

    rows: list[dict[str, Any]] = [
        {"name": entry.key, "title": entry.title, "at_hand": catalog.is_at_hand(entry.key), "about": entry.about}
        for entry in catalog.entries()
    ]
    if json:
        print_json(rows)
    else:
        print_table([{**row, "at_hand": "yes" if row["at_hand"] else "download"} for row in rows])
