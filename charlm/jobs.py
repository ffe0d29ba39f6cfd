"""The background thread that trains, its queue, and pause, stop and resume. A job is one training or one race."""

import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from charlm.corpus import Corpus
from charlm.errors import CharLMError, JobError
from charlm.presets import RunConfig
from charlm.runs import ACTIVE, Run, RunStore

if TYPE_CHECKING:
    from charlm.race import Control, Racer

log = logging.getLogger(__name__)
# How often a paused job looks whether it may go on.
PAUSE_SECONDS = 0.05
# A step that takes longer than this shows that it is being worked on.
SLOW_SECONDS = 1.0


@dataclass
class Job:
    """Runs trained together, in the queue or at work."""

    runs: list[Run]
    corpus: Corpus
    control: "Control"
    resume: bool = False
    racers: list["Racer"] = field(default_factory=list)
    job_id: str = field(default_factory=lambda: secrets.token_hex(8))
    moved: float = field(default_factory=time.monotonic)  # when a slice last ended

    def racer(self, run_id: str) -> "Racer | None":
        """The racer of this run, once the job is at work."""
        return next((racer for racer in self.racers if racer.run.run_id == run_id), None)

    @property
    def status(self) -> str:
        """queued, running or paused."""
        if not self.racers:
            return "queued"
        return "paused" if self.control.paused else "running"


class Jobs:
    """All trainings of this process, first in first out, one at a time.

    Args:
        store: where the runs are.
    """

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self._jobs: list[Job] = []  # the first one is at work
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    def start(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> list[str]:
        """Queue a training of one architecture, or a race of several; returns the run ids.

        Raises:
            ConfigError, CorpusError: a setting or the text does not allow it.
        """
        from charlm.entry import enter  # torch takes seconds: not before it is needed
        from charlm.race import Control

        runs = enter(self.store, corpus, config, archs)
        self._enqueue(Job(runs, corpus, Control()))
        return [run.run_id for run in runs]

    def resume(self, run_id: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Go on with a paused, stopped, interrupted, failed or finished run; options may add steps, epochs, minutes.

        Raises:
            JobError: it is not resting, or has no budget left.
        """
        from charlm.entry import reopen
        from charlm.race import Control

        job = self._find(run_id)
        if job is not None:
            job.control.paused = False
            return self.status(run_id)
        run = self.store.get(run_id)
        self._enqueue(Job([run], reopen(run, options or {}), Control(), resume=True))
        return self.status(run_id)

    def pause(self, run_id: str) -> dict[str, Any]:
        """Let the job of this run rest after its present step."""
        self._require(run_id).control.paused = True
        return self.status(run_id)

    def stop(self, run_id: str) -> dict[str, Any]:
        """End this run after its present step and keep what it learned; a queued run is taken out of the queue."""
        job = self._require(run_id)
        with self._changed:
            job.control.stopped.add(run_id)
            if job is not self._jobs[0]:
                self._leave_queue(job, run_id)
        return self.status(run_id)

    def stop_job(self, run_id: str) -> None:
        """Stop the run and all that race with it."""
        for run in list(self._require(run_id).runs):
            if run.status in ACTIVE:
                self.stop(run.run_id)

    def status(self, run_id: str, since_step: int = -1) -> dict[str, Any]:
        """Where a run stands: DESIGN's /status, with `metrics` rows beyond `since_step`."""
        run, job = self.store.get(run_id), self._find(run_id)
        racer = job.racer(run_id) if job else None
        progress = racer.progress_now() if racer else {}
        progress = {**run.progress, **progress}
        samples = run.samples()
        wanted = (
            "step",
            "total_steps",
            "epoch",
            "train_loss",
            "val_loss",
            "best_val_loss",
            "best_step",
            "chars_per_second",
        )
        return {
            "run_id": run_id,
            "status": self._status_word(run, job),
            **{name: progress.get(name) for name in wanted},
            "seconds": progress.get("seconds"),
            "eta_seconds": racer.eta_seconds() if racer and not racer.ended else None,
            "position": self._jobs.index(job) if job in self._jobs else None,
            "message": self._message(run, job),
            "metrics": run.metrics(since_step),
            "sample": samples[-1]["text"] if samples else "",
        }

    def current(self) -> dict[str, Any] | None:
        """The job at work, or the next one in the queue; None if there is none. For the strip of the page."""
        jobs = list(self._jobs)
        if not jobs:
            return None
        job = jobs[0]
        states = [self._brief(job, run) for run in job.runs]
        eta = [racer.eta_seconds() for racer in job.racers if not racer.ended]
        totals = [state["total_steps"] for state in states if state["total_steps"]]
        return {
            "kind": "race" if len(job.runs) > 1 else "train",
            "title": "Race" if len(job.runs) > 1 else job.runs[0].label,
            "corpus": job.corpus.name,
            "status": job.status,
            "step": max(state["step"] for state in states),
            "total_steps": max(totals, default=None),
            "eta_seconds": sum(seconds for seconds in eta if seconds is not None) if any(eta) else None,
            "progress": sum(state["progress"] for state in states) / len(states),
            "message": self._message(job.runs[0], job),
            "queued": len(jobs) - 1,
            "run_ids": [run.run_id for run in job.runs],
            "racers": states,
        }

    def queue(self) -> list[list[str]]:
        """The run ids of each job, the one at work first."""
        return [[run.run_id for run in job.runs] for job in list(self._jobs)]

    def close(self, seconds: float = 5.0) -> None:
        """Save and leave: running jobs end as interrupted and can be resumed."""
        with self._changed:
            self._closing = True
            for job in self._jobs:
                job.control.interrupted = True
            self._changed.notify_all()
        if self._thread:
            self._thread.join(seconds)

    def _find(self, run_id: str) -> Job | None:
        return next((job for job in list(self._jobs) if run_id in [run.run_id for run in job.runs]), None)

    def _require(self, run_id: str) -> Job:
        job = self._find(run_id)
        if job is None:
            run = self.store.get(run_id)
            raise JobError(f"{run.label} is not training here; it is {run.status}")
        return job

    def _enqueue(self, job: Job) -> None:
        with self._changed:
            self._jobs.append(job)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="charlm-training", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _leave_queue(self, job: Job, run_id: str) -> None:
        """Take one run out of a job that waits; the last one takes the job with it."""
        run = next(run for run in job.runs if run.run_id == run_id)
        run.update(status="stopped", message="stopped before it began")
        run.release()
        job.runs.remove(run)
        if not job.runs:
            self._jobs.remove(job)

    def _work(self) -> None:
        """The thread: the first job of the queue, then the next."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closing)
                if not self._jobs:
                    return
                job = self._jobs[0]
            self._run(job)
            with self._changed:
                self._jobs.remove(job)

    def _run(self, job: Job) -> None:
        from charlm.race import Racer, run_race

        def on_slice() -> None:
            job.moved = time.monotonic()
            time.sleep(PAUSE_SECONDS if job.control.paused else 0)

        try:
            job.racers = [Racer(run, job.corpus, job.resume) for run in job.runs]
            run_race(job.racers, job.control, on_slice)
        except Exception as error:  # the queue goes on whatever happens to one job
            if not isinstance(error, CharLMError | OSError):
                log.exception("job %s failed", job.job_id)
            self._fail(job, error)

    def _fail(self, job: Job, error: Exception) -> None:
        for run in job.runs:
            if run.status in ("queued", "running"):
                run.update(status="failed", message=str(error) or type(error).__name__)
            run.release()

    def _status_word(self, run: Run, job: Job | None) -> str:
        if job is None or run.status not in ("queued", "running"):
            return run.status
        return "queued" if not job.racers else job.status

    def _brief(self, job: Job, run: Run) -> dict[str, Any]:
        """One racer's numbers for the strip."""
        racer = job.racer(run.run_id)
        now = racer.progress_now() if racer else run.progress
        total, minutes = now["total_steps"], run.train_config.minutes
        shares = [now["step"] / total] if total else []
        shares += [now["seconds"] / (60 * minutes)] if minutes else []
        return {
            "run_id": run.run_id,
            "arch": run.arch,
            "label": run.label,
            "step": now["step"],
            "total_steps": total,
            "val_loss": now["best_val_loss"],
            "progress": 1.0 if racer and racer.ended else min(1.0, max(shares, default=0.0)),
        }

    def _message(self, run: Run, job: Job | None) -> str:
        """What is going on, if it is not plain: waiting, stopping, resting, or a step that takes long."""
        if job is None or run.status not in ("queued", "running"):
            return run.message
        if job is not self._jobs[0]:
            return f"waiting, number {self._jobs.index(job)} in the queue"
        if not job.racers:
            return "preparing the text"
        if run.run_id in job.control.stopped:
            return "stopping: the present step ends, then what was learned is saved"
        waited = time.monotonic() - job.moved
        if waited > SLOW_SECONDS and not job.control.paused:
            return f"working, {waited:.0f} s since the last step"
        return run.message
