"""The background thread that trains, its queue, and pause, stop and resume."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from charlm.corpus import Corpus
from charlm.errors import CharLMError, JobError
from charlm.job import STATUS_NUMBERS, Job
from charlm.presets import RunConfig
from charlm.run import ACTIVE, Run
from charlm.runs import RunStore

log = logging.getLogger(__name__)
# How often a paused job looks whether it may go on.
PAUSE_SECONDS = 0.05


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
        self._unwritten: dict[str, str] = {}  # why runs failed whose run.json could not be written either

    def start(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> list[str]:
        """Queue a training of one architecture, or a race of several; returns the run ids.

        Raises:
            ConfigError, CorpusError: a setting or the text does not allow it.
            CheckpointError: the runs' folder cannot be written.
        """
        from charlm.entry import enter  # torch takes seconds: not before it is needed
        from charlm.race import Control

        runs = enter(self.store, corpus, config, archs)
        self._enqueue(Job(runs, corpus, Control()))
        return [run.run_id for run in runs]

    def resume(self, run_id: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Go on with a paused, stopped, interrupted, failed or finished run.

        Args:
            run_id: of the run; if it is paused, all that race with it go on.
            options: steps, epochs or minutes to add, and other settings of RESUMABLE; not for a paused run.

        Raises:
            ConfigError: an option that may not change, or a value out of range.
            JobError: it is not resting, or has no budget left.
        """
        from charlm.entry import reopen
        from charlm.race import Control

        job, run = self._job_of(run_id), self.store.get(run_id)
        if job is not None and (job.control.paused or run.status in ACTIVE):
            if options:
                state = self.status(run_id)["status"]
                raise JobError(f"{run.label} is {state}; {', '.join(options)} can change only once it has ended")
            job.control.paused = False
            return self.status(run_id)
        corpus = reopen(run, options or {})
        self._unwritten.pop(run_id, None)
        self._enqueue(Job([run], corpus, Control(), resume=True))
        return self.status(run_id)

    def pause(self, run_id: str) -> dict[str, Any]:
        """Let the job of this run rest after its present step."""
        job = self._job_of(run_id)
        if job is None:
            raise self._not_here(run_id)
        job.control.paused = True
        return self.status(run_id)

    def stop(self, run_id: str) -> dict[str, Any]:
        """End this run after its present step and keep what it learned; a queued run is taken out of the queue."""
        with self._changed:
            job = self._find(run_id)
            if job is None:
                raise self._not_here(run_id)
            job.control.stopped.add(run_id)
            if job is not self._jobs[0]:
                self._leave_queue(job, run_id, "stopped", "stopped before it began")
        return self.status(run_id)

    def stop_job(self, run_id: str) -> None:
        """Stop the run and all that race with it."""
        job = self._job_of(run_id)
        if job is None:
            raise self._not_here(run_id)
        for run in list(job.runs):
            with suppress(JobError):  # that one has ended already
                self.stop(run.run_id)

    def status(self, run_id: str, since_step: int = -1) -> dict[str, Any]:
        """Where a run stands: DESIGN's /status, with `metrics` rows beyond `since_step`."""
        job = self._find(run_id)  # before the run is read: what ends in between is then read as ended
        run = self.store.get(run_id)
        sample = run.sample()
        state = self._state(job, run)
        return {**state, "metrics": run.metrics(since_step), "sample": sample.get("text", "") if sample else ""}

    def state(self, run: Run) -> dict[str, Any]:
        """The same of a run that is open already, without what would have to be read: no metrics and no sample."""
        return self._state(self._find(run.run_id), run)

    def _state(self, job: Job | None, run: Run) -> dict[str, Any]:
        jobs = list(self._jobs)
        # A job's own run need not ask who holds it; any other reads its run.json again if that has just ended.
        word = run.status if job is None or run.info.get("status") not in ACTIVE else job.status
        message, progress = run.message, job.progress(run) if job else run.progress
        racer = job.racer(run.run_id) if job else None
        place = jobs.index(job) if job in jobs else None
        if (failure := self._failure(run)) is not None:
            word, message = "failed", failure
        elif job is not None and word in ACTIVE:
            message = job.message(run, place or 0)
        return {
            "run_id": run.run_id,
            "status": word,
            **{name: progress.get(name) for name in STATUS_NUMBERS},
            "eta_seconds": racer.eta_seconds() if racer and word in ACTIVE else None,
            "position": place if word in ACTIVE else None,  # it may have ended while it was looked at
            "message": message,
        }

    def current(self) -> dict[str, Any] | None:
        """The job at work, or the next one in the queue; None if there is none. For the strip of the page."""
        jobs = list(self._jobs)
        return jobs[0].summary(len(jobs) - 1) if jobs else None

    def is_training(self) -> bool:
        """Whether a training takes its share of the machine just now."""
        return any(job.status == "running" for job in self._jobs[:1])

    def queue(self) -> list[list[str]]:
        """The run ids of each job, the one at work first."""
        return [[run.run_id for run in job.runs] for job in list(self._jobs)]

    def close(self, seconds: float = 5.0) -> None:
        """Save and leave: running and waiting jobs end as interrupted and can be resumed."""
        with self._changed:
            self._closing = True
            for job in self._jobs:
                job.control.interrupted = True
            for job in self._jobs[1:]:
                for run in list(job.runs):
                    with suppress(CharLMError):  # unheld and unfinished means interrupted anyhow
                        self._leave_queue(job, run.run_id, "interrupted")
            self._changed.notify_all()
        if self._thread:
            self._thread.join(seconds)

    def _job_of(self, run_id: str) -> Job | None:
        """The job this run is or was part of: the one it is not done in, if there are two."""
        return self._find(run_id) or next((job for job in list(self._jobs) if job.has(run_id)), None)

    def _find(self, run_id: str) -> Job | None:
        """The job in which this run trains or waits."""
        return next((job for job in list(self._jobs) if job.has(run_id) and not job.is_done(run_id)), None)

    def _not_here(self, run_id: str) -> JobError:
        run = self.store.get(run_id)
        return JobError(f"{run.label} is not training here; it is {run.status}")

    def _failure(self, run: Run) -> str | None:
        """Why a run failed, if its run.json could not say so; writes it down as soon as that is possible."""
        noted = self._unwritten.get(run.run_id)
        if noted is not None:
            with suppress(CharLMError):
                run.update(status="failed", message=noted)
                self._unwritten.pop(run.run_id, None)
        return noted

    def _enqueue(self, job: Job) -> None:
        with self._changed:
            self._jobs.append(job)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="charlm-training", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _leave_queue(self, job: Job, run_id: str, status: str, message: str = "") -> None:
        """Take one run out of a job that waits; the last one takes the job with it."""
        run = next(run for run in job.runs if run.run_id == run_id)
        if len(job.runs) == 1:
            self._jobs.remove(job)
        else:
            job.runs.remove(run)
        try:
            run.update(status=status, message=message)
        finally:
            run.release()

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
        """One job to its end; the queue goes on whatever happens to it."""
        from charlm.race import line_up, run_race

        def on_slice() -> None:
            job.moved = time.monotonic()
            self._note_failures(job)
            time.sleep(PAUSE_SECONDS if job.control.paused else 0)

        try:
            job.racers = line_up(job.runs, job.corpus, job.resume)
            job.corpus = replace(job.corpus, text="")  # from here on its ids are enough
            run_race(job.racers, job.control, on_slice)
        except Exception as error:
            if not isinstance(error, CharLMError | OSError):
                log.exception("a job failed")
            self._fail(job, str(error) or type(error).__name__)
        self._note_failures(job)

    def _note_failures(self, job: Job) -> None:
        """Keep the reasons that racers could not write into their run.json."""
        for racer in job.racers:
            if racer.complaint and racer.run.info.get("status") != "failed":
                self._unwritten[racer.run.run_id] = racer.complaint
            racer.complaint = ""

    def _fail(self, job: Job, reason: str) -> None:
        """End all of a job that has not ended yet as failed."""
        for run in job.runs:
            if job.is_done(run.run_id):
                continue
            try:
                run.update(status="failed", message=reason)
            except CharLMError:
                self._unwritten[run.run_id] = reason
            finally:
                run.release()
