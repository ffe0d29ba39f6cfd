"""gym: architectures learn synthetic tasks over growing delays."""

from typing import Annotated, Any

import typer

from charlm.analysis import gym as analysis
from charlm.analysis.gym_tasks import TASKS
from charlm.analysis.measurement import Measured
from charlm.architectures import RACE_ARCHS
from charlm.cli.options import Json, takes
from charlm.cli.report import counted, note, print_json, print_table
from charlm.errors import MeasurementError

NAMES, RACERS = ", ".join(TASKS), ",".join(RACE_ARCHS)
Task = Annotated[str, typer.Argument(metavar="TASK", help=f"What is to be learned: {NAMES}.")]
Archs = Annotated[str, typer.Option("--archs", metavar="A,B,..", help="Architectures of nearly equal size.")]


@takes(analysis.Settings, skip=("task", "archs"))
def gym(options: dict[str, Any], task: Task = "copy", archs: Archs = RACERS, json: Json = False) -> None:
    """Print the accuracy of each architecture at each delay, and how far each reaches.

    Args:
        options: the settings that were given, by name.
        task: a key of TASKS.
        archs: with commas in between.
        json: whether all that was found is printed as JSON.
    """
    names = [name.strip() for name in archs.split(",") if name.strip()]
    settings = analysis.Settings.from_dict({**options, "task": task, "archs": names})
    result, trained = None, settings.seeds * len(settings.archs)
    with counted(f"gym {task}") as tell:
        for progress in analysis.measure(settings):
            tell(progress.share)
            if progress.result:
                result = progress.result
                done = sum(len(one["steps"]) for one in result["learners"])
                note(f"{done} of {trained} trainings")
    if result is None:
        raise MeasurementError(f"nothing was learned of {task}")
    if json:
        print_json(result)
        return
    print_table(_table(result))
    print(f"\n{_sentence(result)}")


def _sentence(result: analysis.Gym) -> str:
    return analysis.finding([Measured(result["task"], "", result)])


def _table(result: analysis.Gym) -> list[dict[str, Any]]:
    """A line for each delay, a column for each architecture with lowest to highest seed in brackets."""
    learners = result["learners"]
    return [
        {result["delay"]: rows[0]["delay"]} | {
            one["arch"]: f"{row['mean']:.3f} ({row['low']:.2f} to {row['high']:.2f})"
            for one, row in zip(learners, rows, strict=True)
        }
        for rows in zip(*(one["rows"] for one in learners), strict=True)
    ]  # fmt: skip
