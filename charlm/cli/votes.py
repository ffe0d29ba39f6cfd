"""votes: what the blind votes of a folder say."""

from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.analysis.votes import Row, finding, votes_csv
from charlm.cli.options import Json, RunsDir
from charlm.cli.report import print_answer, print_json, print_table
from charlm.cli.runs import Yes, confirm
from charlm.files import write_atomically
from charlm.runs.store import RunStore
from charlm.serving import Serving

Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the tables into this CSV file, too.")]
Reset = Annotated[bool, typer.Option("--reset", help="Delete all votes of the folder; asks first.")]
SHOWN = ("chosen", "shown", "share", "low", "high", "chance", "strength", "strength_low", "strength_high")


def votes(
    csv: Csv = None, reset: Reset = False, yes: Yes = False, runs_dir: RunsDir = None, json: Json = False
) -> None:
    """Print how often each author's texts were chosen, or delete the votes.

    Raises:
        MeasurementError: a file is wanted, and there are no votes.
    """
    kept = Serving(RunStore(runs_dir)).votes
    if reset:
        confirm("Delete all blind votes", yes)
        deleted = kept.reset()
        print_answer({"deleted": deleted}, f"{deleted:,} votes deleted", json)
        return
    tallies = kept.tallies()
    if csv is not None:
        write_atomically(csv, votes_csv(tallies).encode())
    found = tallies["together"]
    if json:
        print_json(found)
        return
    told = [one for one in found.values() if one["votes"]]
    for one in told:
        print(finding(one))
        print_table([_row(row) for row in one["rows"]])
    if not told:
        print("No votes yet; they are given in the app: Compare, Blind vote.")


def _row(row: Row) -> dict[str, Any]:
    """What a person reads of a row."""
    return {"written by": row["name"], **{name: value for name, value in row.items() if name in SHOWN}}
