"""The queue of jobs, first in first out, and the background threads that work through it."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from charlm.errors import CharLMError, ConfigError, JobError
from charlm.job import Job

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
