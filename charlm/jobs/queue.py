"""A job, one training or one race, its state, and the queue of all jobs."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from charlm.data.corpus import Corpus
from charlm.errors import CharLMError, ConfigError, JobError
from charlm.jobs import Control, JobStatus, Progress, QueueEntry, RunStatus, TrainerStatus, run_status
from charlm.runs.run import ACTIVE, Run

if TYPE_CHECKING:
    from charlm.jobs.runner import RunTrainer
    from charlm.jobs.zero_gpu import SlicedTrainer

# A step that takes longer than this shows that it is being worked on.
SLOW_SECONDS = 1.0


@dataclass(eq=False)
class Job:
    """Runs trained together.

    Attributes:
        resume: they continue from their saved states.
        later: runs that wait for a look at an experiment, and are removed if it ends there; see `by_looks`.
        started: a thread works on it.
        trainers: one for each run, once the text is prepared.
        last_slice: when a slice last ended, by the monotonic clock.
        waits_for: what else than the disk it waits for, in words; empty: nothing.
        context: that it was made in: whose request it was.
    """

    runs: list[Run]
    corpus: Corpus
    resume: bool = False
    later: list[Run] = field(default_factory=list)
    control: Control = field(default_factory=Control)
    started: bool = False
    trainers: list["RunTrainer | SlicedTrainer"] = field(default_factory=list)
    last_slice: float = field(default_factory=time.monotonic)
    waits_for: str = ""
    context: Context = field(default_factory=copy_context)

    def has(self, run_id: str) -> bool:
        """Whether this run is, or was, part of it."""
        return any(run.run_id == run_id for run in list(self.runs))

    def waits_for_look(self, run_id: str) -> bool:
        """Whether this run trains only if a look at its experiment does not end it."""
        return any(run.run_id == run_id for run in list(self.later))

    def trainer(self, run_id: str) -> "RunTrainer | SlicedTrainer | None":
        """The trainer of this run, once the job is at work."""
        return next((trainer for trainer in self.trainers if trainer.run.run_id == run_id), None)

    def is_done(self, run_id: str) -> bool:
        """Whether this run's training has ended, though others of the job may still train."""
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
        """Why it waits for the disk; empty if it does not."""
        return next((trainer.trouble for trainer in self.trainers if trainer.trouble and not trainer.ended), "")

    def run_status(self, run: Run, position: int | None) -> RunStatus:
        """The state of one of its runs; `position` is the job's in the queue."""
        # A job's own run need not ask who holds it; any other reads its run.json again if that has just ended.
        word = "queued" if self.waits_for_look(run.run_id) else self.status
        status, trainer = word if run.info["status"] in ACTIVE else "", self.trainer(run.run_id)
        state = trainer.run_status(status) if trainer else run_status(run, status)
        if state["status"] in ACTIVE:
            state["position"], state["message"] = position, self._message(run, position or 0)
        return state

    def _message(self, run: Run, position: int) -> str:
        """What the status word does not say: waiting, stopping, or a step that takes long."""
        if position > 0:
            return f"waiting, number {position} in the queue"
        if not self.trainers:
            return "preparing the text"
        if self.waits_for_look(run.run_id):
            return "waiting for a look at the seeds before it, which may show that it is not needed"
        if self.trouble:
            return self.trouble
        if run.run_id in self.control.stopped:
            return "stopping: the present step ends, then the model is saved"
        if self.waits_for:
            return self.waits_for
        waited = time.monotonic() - self.last_slice
        if waited > SLOW_SECONDS and not self.control.paused:
            return f"working, {waited:.0f} s since the last step"
        return run.message

    def entry(self, position: int) -> QueueEntry:
        """Its row of the queue."""
        runs = list(self.runs)
        return {
            "run_ids": [run.run_id for run in runs],
            "archs": [run.arch for run in runs],
            "title": "Race" if len(runs) > 1 else runs[0].label,
            "corpus": self.corpus.name,
            "status": self.status,
            "position": position,
        }

    def summary(self, position: int, queued: int, beside: int) -> JobStatus:
        """What the status bar shows of it.

        Args:
            position: its own in the queue; 0 at work.
            queued: jobs that wait behind it.
            beside: other jobs at work.
        """
        states = [self._trainer_status(run, position) for run in list(self.runs)]
        known = [state["eta_seconds"] for state in states if state["eta_seconds"] is not None]
        speaking = next((state for state in states if not self.is_done(state["run_id"])), states[0])
        return {
            **self.entry(position),
            "kind": "race" if len(states) > 1 else "train",
            "step": max(state["step"] for state in states),
            "total_steps": max(state["total_steps"] or 0 for state in states) or None,
            "eta_seconds": sum(known) if known else None,
            "progress": sum(state["progress"] for state in states) / len(states),
            "message": speaking["message"],
            "resting": bool(self.trouble),
            "queued": queued,
            "beside": beside,
            "runs": states,
            "pausable": True,
        }

    def _trainer_status(self, run: Run, position: int) -> TrainerStatus:
        state = self.run_status(run, position)
        share = 1.0 if self.is_done(run.run_id) else share_done(state, run.train_config.minutes)
        return {**state, "arch": run.arch, "label": run.label, "progress": share}


def share_done(state: Progress, minutes: float) -> float:
    """How much of its budget of steps, or of minutes where it has one, a run has used: 0 to 1."""
    shares = [state["step"] / state["total_steps"]] if state["total_steps"] else []
    shares += [state["seconds"] / (60 * minutes)] if minutes else []
    return min(1.0, max(shares, default=0.0))


MOST_AT_ONCE = 16


class JobQueue:
    """Jobs at work, then those that wait, in their order.

    Args:
        work: does one job to its end, in a thread; raises nothing.
        at_once: how many jobs may be at work at the same time.

    Attributes:
        lock: held while the order changes, and by code that a job's start must not overtake.
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

    def position(self, job: Job) -> int | None:
        """0 at work, 1 next; None if it is no longer here."""
        jobs = self.jobs()
        waiting = [one for one in jobs if not one.started]
        return 1 + waiting.index(job) if job in waiting else 0 if job in jobs else None

    def add(self, job: Job) -> None:
        """Put a job at the end."""
        with self.lock:
            self._jobs.append(job)
            self._start_threads()
            self.lock.notify_all()

    def move(self, job: Job, by: int) -> None:
        """Move a waiting job by so many places, towards the front if negative, as far as there is room.

        Raises:
            JobError: it does not wait.
        """
        with self.lock:
            if job.started or job not in self._jobs:
                raise JobError("it is at work already; only what waits can be moved")
            place, first = self._jobs.index(job), sum(one.started for one in self._jobs)
            self._jobs.remove(job)
            self._jobs.insert(min(max(place + by, first), len(self._jobs)), job)

    def remove_run(self, job: Job, run_id: str, status: str, message: str = "") -> None:
        """Take one run out of a job that waits; the last one takes the job with it.

        Args:
            job: in the queue.
            run_id: of its run.
            status: status word that the run ends with.
            message: why.

        Raises:
            CheckpointError: the run's end cannot be written; it is removed all the same.
        """
        with self.lock:
            run = next(run for run in job.runs if run.run_id == run_id)
            if len(job.runs) == 1:
                self._jobs.remove(job)
            else:
                job.runs.remove(run)
                job.later = [one for one in job.later if one is not run]
        try:
            run.update(status=status, message=message)
        finally:
            run.release()

    def set_at_once(self, number: float) -> None:
        """How many jobs may be at work from now on; those already at work continue.

        Raises:
            ConfigError: not a whole number from 1 to MOST_AT_ONCE.
        """
        if isinstance(number, bool) or not 1 <= number <= MOST_AT_ONCE or number != int(number):
            raise ConfigError(f"from 1 to {MOST_AT_ONCE} trainings can run at once, not {number}")
        with self.lock:
            self.at_once = int(number)
            self._start_threads()
            self.lock.notify_all()

    def close(self, seconds: float) -> None:
        """Interrupt all, and wait so long for those at work to save."""
        with self.lock:
            self._closing = True
            for job in self.jobs():
                job.control.interrupted = True
                for run in list(job.runs) if not job.started else ():
                    with suppress(CharLMError):  # unheld and unfinished means interrupted anyhow
                        self.remove_run(job, run.run_id, "interrupted")
            self.lock.notify_all()
        end = time.monotonic() + seconds
        for thread in list(self._threads):
            thread.join(max(0.0, end - time.monotonic()))

    def _start_threads(self) -> None:
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
                job.started = True
            self._do(job)
            with self.lock:
                self._jobs.remove(job)
                self.lock.notify_all()

    def _next(self) -> Job | None:
        """The job to begin now, if one waits and may begin."""
        if sum(job.started for job in self._jobs) >= self.at_once:
            return None
        return next((job for job in self._jobs if not job.started), None)
