"""Trainings in the background: one run, races, the queue; and the shapes in which their state is passed on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict, cast

from charlm.runs.run import ACTIVE, Run


@dataclass
class Control:
    """What the outside asks of a job: to stop single runs, to pause, or to end at once and keep the place."""

    stopped: set[str] = field(default_factory=set)  # run ids
    paused: bool = False
    interrupted: bool = False


class Progress(TypedDict):
    """A run's numbers, as `progress` of run.json holds them; None where nothing is measured yet. Losses are in nats."""

    step: int
    total_steps: int | None
    epoch: float
    train_loss: float | None
    val_loss: float | None
    test_loss: float | None
    best_val_loss: float | None
    best_step: int
    chars_per_second: float
    seconds: float


class RunStatus(Progress):
    """The state of one run at this moment: what /status, the status bar and the command line show is taken from it."""

    run_id: str
    status: str
    eta_seconds: float | None
    position: int | None  # in the queue: 0 at work, 1 next; None: not queued
    message: str


def run_status(
    run: Run, status: str = "", newer: Mapping[str, Any] | None = None, eta_seconds: float | None = None
) -> RunStatus:
    """The state of a run as its run.json was last read, and as its trainer knows it better.

    Args:
        run: at work or not.
        status: the status word where the caller knows it; empty: the run's own.
        newer: numbers of its progress that run.json does not have yet.
        eta_seconds: of its own training time still to go.
    """
    status = status or run.status  # first: it may read run.json again
    return {
        "run_id": run.run_id,
        "status": status,
        **cast(Progress, run.progress | dict(newer or {})),
        "eta_seconds": eta_seconds if status in ACTIVE else None,
        "position": None,
        "message": run.message,
    }


class StatusAnswer(RunStatus):
    """The answer of /status."""

    metrics: list[dict[str, Any]]
    sample: str


class QueueEntry(TypedDict):
    """A job as a row of the queue."""

    run_ids: list[str]
    archs: list[str]
    title: str
    corpus: str
    status: str
    position: int
    movable: NotRequired[bool]


class TrainerStatus(RunStatus):
    """A run of the job that the status bar shows."""

    arch: str
    label: str
    progress: float  # share of its budget used, 0 to 1


class JobStatus(QueueEntry):
    """The job that the status bar shows."""

    kind: str  # race or train
    step: int
    total_steps: int | None
    eta_seconds: float | None
    progress: float  # 0 to 1
    message: str
    resting: bool  # waiting for the disk
    queued: int  # jobs that wait behind it
    beside: int  # other jobs at work
    runs: list[TrainerStatus]
    pausable: NotRequired[bool]
