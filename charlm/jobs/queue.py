"""A job: one training, or one race, in the queue or at work; and what there is to say of it."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from charlm.data.corpus import Corpus
from charlm.errors import CharLMError, ConfigError, JobError
from charlm.runs.run import Run

if TYPE_CHECKING:
    from charlm.jobs.scheduler import Control, RunTrainer

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
    trainers: list["RunTrainer"] = field(default_factory=list)
    moved: float = field(default_factory=time.monotonic)  # when a slice last ended

    def has(self, run_id: str) -> bool:
        """Whether this run is, or was, part of it."""
        return any(run.run_id == run_id for run in list(self.runs))

    def trainer(self, run_id: str) -> "RunTrainer | None":
        """The trainer of this run, once the job is at work."""
        return next((trainer for trainer in self.trainers if trainer.run.run_id == run_id), None)

    def is_done(self, run_id: str) -> bool:
        """Whether this run's training has ended, though the job may go on with others."""
        trainer = self.trainer(run_id)
        return trainer is not None and trainer.ended

    @property
    def status(self) -> str:
        """queued, running or paused."""
        if not self.trainers:
            return "queued"
        return "paused" if self.control.paused or self.trouble else "running"

    @property
    def trouble(self) -> str:
        """Why it rests though nobody asked it to; empty if it does not."""
        return next((trainer.trouble for trainer in self.trainers if trainer.trouble and not trainer.ended), "")

    def progress(self, run: Run) -> dict[str, Any]:
        """A run's numbers as they are this moment."""
        trainer = self.trainer(run.run_id)
        return {**run.progress, **(trainer.progress_now() if trainer else {})}

    def message(self, run: Run, place: int) -> str:
        """What is going on, if it is not plain: waiting, stopping, resting, or a step that takes long."""
        if place > 0:
            return f"waiting, number {place} in the queue"
        if not self.trainers:
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
        """For the strip of the page: the whole job, and a line for each trainer.

        Args:
            queued: jobs that wait behind it.
            beside: other jobs at work.
            place: its own in the queue; 0 at work.
        """
        runs = list(self.runs)
        states = [self._racer(run) for run in runs]
        eta = [trainer.eta_seconds() for trainer in self.trainers if not trainer.ended]
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
        """One trainer's numbers."""
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


MOST_AT_ONCE = 16


class JobQueue:
    """Jobs at work, then those that wait, in their order.

    Args:
        work: does one job to its end, in a thread; raises nothing.
        at_once: how many jobs may be at work at the same time.

    Attributes:
        lock: held while the order changes, and by whoever must not be overtaken by a job's beginning.
    """

    def __init__(self, work: Callable[[Job], None], at_once: int) -> None:
        self.at_once = at_once
        self.lock = threading.Condition()
        self._do = work
        self._jobs: list[Job] = []
        self._threads: list[threading.Thread] = []
        self._closing = False

    def jobs(self) -> list[Job]:
        """All of them, those at work first."""
        return list(self._jobs)

    def position(self, job: Job | None) -> int | None:
        """0 at work, 1 next; None if it is not here any more."""
        jobs = self.jobs()
        if job is None or job not in jobs:
            return None
        return 0 if job.begun else 1 + [one for one in jobs if not one.begun].index(job)

    def add(self, job: Job) -> None:
        """Put a job at the end."""
        with self.lock:
            self._jobs.append(job)
            self._hire()
            self.lock.notify_all()

    def move(self, job: Job, by: int) -> None:
        """Move a waiting job by so many places, towards the front if negative, as far as there is room.

        Raises:
            JobError: it does not wait.
        """
        with self.lock:
            if job.begun or job not in self._jobs:
                raise JobError("it is at work already; only what waits can be moved")
            place, first = self._jobs.index(job), sum(one.begun for one in self._jobs)
            self._jobs.remove(job)
            self._jobs.insert(min(max(place + by, first), len(self._jobs)), job)

    def leave(self, job: Job, run_id: str, status: str, message: str = "") -> None:
        """Take one run out of a job that waits; the last one takes the job with it.

        Raises:
            CheckpointError: the run's end cannot be written; it has left all the same.
        """
        with self.lock:
            run = next(run for run in job.runs if run.run_id == run_id)
            if len(job.runs) == 1:
                self._jobs.remove(job)
            else:
                job.runs.remove(run)
        try:
            run.update(status=status, message=message)
        finally:
            run.release()

    def set_at_once(self, number: int) -> None:
        """How many jobs may be at work from now on; those that are go on.

        Raises:
            ConfigError: not a whole number from 1 to MOST_AT_ONCE.
        """
        if isinstance(number, bool) or number != int(number) or not 1 <= number <= MOST_AT_ONCE:
            raise ConfigError(f"from 1 to {MOST_AT_ONCE} trainings can run at once, not {number}")
        with self.lock:
            self.at_once = int(number)
            self._hire()
            self.lock.notify_all()

    def close(self, seconds: float) -> None:
        """Interrupt all, and wait so long for those at work to save."""
        with self.lock:
            self._closing = True
            for job in self.jobs():
                job.control.interrupted = True
                for run in list(job.runs) if not job.begun else ():
                    with suppress(CharLMError):  # unheld and unfinished means interrupted anyhow
                        self.leave(job, run.run_id, "interrupted")
            self.lock.notify_all()
        end = time.monotonic() + seconds
        for thread in list(self._threads):
            thread.join(max(0.0, end - time.monotonic()))

    def _hire(self) -> None:
        """As many threads as may be at work and have work; the lock is held."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for _ in range(min(self.at_once, len(self._jobs)) - len(self._threads)):
            self._threads.append(threading.Thread(target=self._work, name="charlm-training", daemon=True))
            self._threads[-1].start()

    def _work(self) -> None:
        """A thread: the first job that waits, then the next; it ends when there are more threads than wanted."""
        while True:
            with self.lock:
                self.lock.wait_for(lambda: self._next() or self._closing or len(self._threads) > self.at_once)
                job = self._next()
                if job is None:
                    self._threads.remove(threading.current_thread())
                    return
                job.begun = True
            self._do(job)
            with self.lock:
                self._jobs.remove(job)
                self.lock.notify_all()

    def _next(self) -> Job | None:
        """The job to begin now, if one waits and may begin."""
        if sum(job.begun for job in self._jobs) >= self.at_once:
            return None
        return next((job for job in self._jobs if not job.begun), None)
