"""A job: one training, or one race, in the queue or at work; and what there is to say of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from charlm.corpus import Corpus
from charlm.run import Run

if TYPE_CHECKING:
    from charlm.race import Control, Racer

# A step that takes longer than this shows that it is being worked on.
SLOW_SECONDS = 1.0
STATUS_NUMBERS = (
    "step", "total_steps", "epoch", "train_loss", "val_loss", "test_loss", "best_val_loss", "best_step",
    "chars_per_second", "seconds",
)  # fmt: skip


@dataclass(eq=False)
class Job:
    """Runs trained together."""

    runs: list[Run]
    corpus: Corpus
    control: "Control"
    resume: bool = False
    begun: bool = False  # a thread works on it
    racers: list["Racer"] = field(default_factory=list)
    moved: float = field(default_factory=time.monotonic)  # when a slice last ended

    def has(self, run_id: str) -> bool:
        """Whether this run is, or was, part of it."""
        return any(run.run_id == run_id for run in list(self.runs))

    def racer(self, run_id: str) -> "Racer | None":
        """The racer of this run, once the job is at work."""
        return next((racer for racer in self.racers if racer.run.run_id == run_id), None)

    def is_done(self, run_id: str) -> bool:
        """Whether this run's training has ended, though the job may go on with others."""
        racer = self.racer(run_id)
        return racer is not None and racer.ended

    @property
    def status(self) -> str:
        """queued, running or paused."""
        if not self.racers:
            return "queued"
        return "paused" if self.control.paused or self.trouble else "running"

    @property
    def trouble(self) -> str:
        """Why it rests though nobody asked it to; empty if it does not."""
        return next((racer.trouble for racer in self.racers if racer.trouble and not racer.ended), "")

    def progress(self, run: Run) -> dict[str, Any]:
        """A run's numbers as they are this moment."""
        racer = self.racer(run.run_id)
        return {**run.progress, **(racer.progress_now() if racer else {})}

    def message(self, run: Run, place: int) -> str:
        """What is going on, if it is not plain: waiting, stopping, resting, or a step that takes long."""
        if place > 0:
            return f"waiting, number {place} in the queue"
        if not self.racers:
            return "preparing the text"
        if self.trouble:
            return self.trouble
        if run.run_id in self.control.stopped:
            return "stopping: the present step ends, then what was learned is saved"
        waited = time.monotonic() - self.moved
        if waited > SLOW_SECONDS and not self.control.paused:
            return f"working, {waited:.0f} s since the last step"
        return run.message

    def brief(self, position: int) -> dict[str, Any]:
        """A line of the queue."""
        runs = list(self.runs)
        return {
            "run_ids": [run.run_id for run in runs],
            "archs": [run.arch for run in runs],
            "title": "Race" if len(runs) > 1 else runs[0].label,
            "corpus": self.corpus.name,
            "status": self.status,
            "position": position,
        }

    def summary(self, queued: int, beside: int = 0, place: int = 0) -> dict[str, Any]:
        """For the strip of the page: the whole job, and a line for each racer.

        Args:
            queued: jobs that wait behind it.
            beside: other jobs at work.
            place: its own in the queue; 0 at work.
        """
        runs = list(self.runs)
        states = [self._racer(run) for run in runs]
        eta = [racer.eta_seconds() for racer in self.racers if not racer.ended]
        known = [seconds for seconds in eta if seconds is not None]
        speaking = next((run for run in runs if not self.is_done(run.run_id)), runs[0])
        return {
            "kind": "race" if len(runs) > 1 else "train",
            "title": "Race" if len(runs) > 1 else runs[0].label,
            "corpus": self.corpus.name,
            "status": self.status,
            "step": max(state["step"] for state in states),
            "total_steps": max((state["total_steps"] or 0 for state in states), default=0) or None,
            "eta_seconds": sum(known) if known else None,
            "progress": sum(state["progress"] for state in states) / len(states),
            "message": self.message(speaking, place),
            "resting": bool(self.trouble),
            "queued": queued,
            "beside": beside,
            "run_ids": [run.run_id for run in runs],
            "racers": states,
        }

    def _racer(self, run: Run) -> dict[str, Any]:
        """One racer's numbers."""
        now, minutes = self.progress(run), run.train_config.minutes
        return {
            "run_id": run.run_id,
            "arch": run.arch,
            "label": run.label,
            "step": now["step"],
            "total_steps": now["total_steps"],
            "val_loss": now["best_val_loss"],
            "progress": 1.0 if self.is_done(run.run_id) else share_done(now, minutes),
        }


def share_done(now: Mapping[str, Any], minutes: float) -> float:
    """How much of its budget a run has used, 0 to 1."""
    shares = [now["step"] / now["total_steps"]] if now["total_steps"] else []
    shares += [now["seconds"] / (60 * minutes)] if minutes else []
    return min(1.0, max(shares, default=0.0))
