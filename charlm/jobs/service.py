"""All trainings of this process: started, queued, paused, stopped, resumed, forked, retried; and their state."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from charlm.data.corpus import Corpus
from charlm.errors import CharLMError, ConfigError, JobError
from charlm.formats.trackers import Tracking
from charlm.jobs import JobStatus, QueueEntry, RunStatus, StatusAnswer, run_status
from charlm.jobs.queue import MOST_AT_ONCE, Job, JobQueue
from charlm.presets import RunConfig
from charlm.runs.rates import request_rate
from charlm.runs.run import ACTIVE, Run
from charlm.runs.store import RunStore

if TYPE_CHECKING:
    from charlm.jobs.zero_gpu import Slice

log = logging.getLogger(__name__)

USED_UP = "stopped and saved: no training time is left for it today; resume it tomorrow"
ZERO_GPU = (
    "ZeroGPU: with device cuda a training runs on a GPU that Hugging Face lends for a minute at a time, out of the "
    "daily quota of whoever starts or resumes it; where none is lent, it goes on on the CPU, as does device auto."
)
# Which runs are shown to the user who asks.
Among = Callable[[Run], bool]


def everyone(_: Run) -> bool:
    """All runs."""
    return True


def trainings_at_once() -> int:
    """How many trainings share the machine: CHARLM_AT_ONCE, else 1."""
    given = os.environ.get("CHARLM_AT_ONCE") or "1"
    if not given.isascii() or not given.isdecimal() or not 1 <= int(given) <= MOST_AT_ONCE:
        raise ConfigError(f"CHARLM_AT_ONCE must be a whole number from 1 to {MOST_AT_ONCE}, not {given[:20]!r}")
    return int(given)


def gpu_lender() -> "Slice | None":
    """See `charlm.jobs.zero_gpu.lender`; without torch where the environment names no ZeroGPU."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return None
    from charlm.jobs.zero_gpu import lender

    return lender()


class Jobs:
    """All trainings of this process, first in first out.

    Args:
        store: where the runs are.
        at_once: how many train at the same time; each then gets less of the machine. None: `trainings_at_once`.
        track: a tracker that they go to, see charlm/formats/trackers.py; empty: none.

    Attributes:
        lend: trains where ZeroGPU lends a GPU, see charlm/jobs/zero_gpu.py; None where it does not.
        may_go_on: asked after each slice, with a run's id and the seconds of its own that it has taken: whether its
            training may go on, or is stopped and saved.

    Raises:
        ConfigError: CHARLM_AT_ONCE is no such number.
    """

    def __init__(self, store: RunStore, at_once: int | None = None, track: str = "") -> None:
        self.store, self._track = store, track
        self.may_go_on: Callable[[str, float], bool] = lambda run_id, seconds: True
        self._queue = JobQueue(self._run, at_once or trainings_at_once())
        self.lend = gpu_lender()
        self._unwritten_failures: dict[str, str] = {}  # why runs failed whose run.json could not be written either
        self._offered: list[str] | None = None  # ids of runs that were interrupted before this process began

    def start(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> list[str]:
        """Queue a training of one architecture, or a race of several; returns the run ids.

        Args:
            corpus: the text.
            config: settings of all runs; its architecture is replaced by each of `archs`.
            archs: distinct names of architectures.

        Raises:
            ConfigError, CorpusError: a setting or the text does not allow it.
            CheckpointError: the runs' folder cannot be written.
        """
        from charlm.analysis.seeds import looks_of
        from charlm.runs.create import create_runs  # torch takes seconds: not before it is needed

        runs = create_runs(self.store, corpus, config, archs, looks=looks_of(config.race, archs))
        self._queue.add(Job(runs, corpus))
        return [run.run_id for run in runs]

    def resume(self, run_id: str, options: Mapping[str, Any] | None = None) -> StatusAnswer:
        """Continue a paused, stopped, interrupted, failed or finished run.

        Args:
            run_id: of the run; if it is paused, all that race with it continue.
            options: steps, epochs or minutes to add, and other settings of RESUMABLE; not for a paused run.

        Raises:
            ConfigError: an option that may not change, or a value out of range.
            JobError: it is at work, or has no budget left.
            CorpusError: its text is no longer available.
        """
        job, run = self._find(run_id) or self._past(run_id), self.store.get(run_id)
        if job is not None and (job.control.paused or run.status in ACTIVE):
            if options:
                state = self.status(run_id)["status"]
                raise JobError(f"{run.label} is {state}; {', '.join(options)} can change only once it has ended")
            job.control.paused = False
            return self.status(run_id)
        self._reopen([run], options or {})
        return self.status(run_id)

    def _reopen(self, runs: Sequence[Run], options: Mapping[str, Any]) -> None:
        """Queue ended runs of one text again, all or none."""
        from charlm.runs.resume import reopen_all

        corpus = reopen_all(runs, options)
        for run in runs:
            self._unwritten_failures.pop(run.run_id, None)
        self._queue.add(Job(list(runs), corpus, resume=True))

    def fork(self, run_id: str, options: Mapping[str, Any] | None = None, corpus: Corpus | None = None) -> StatusAnswer:
        """Queue a new run that starts from this one's weights; see `charlm.runs.resume.fork`.

        Args:
            run_id: of the parent.
            options: settings of FORKABLE, and the budget to add.
            corpus: another text to train on; None: the parent's.
        """
        from charlm.runs.resume import fork

        run, corpus = fork(self.store, self.store.get(run_id), options or {}, corpus)
        self._queue.add(Job([run], corpus, resume=True))
        return self.status(run.run_id)

    def retry(self, run_id: str) -> StatusAnswer:
        """Queue a new run with a failed one's settings and the fix for its failure; see runs/resume.py."""
        from charlm.runs.resume import retry

        run, corpus = retry(self.store, self.store.get(run_id))
        self._queue.add(Job([run], corpus, resume=True))
        return self.status(run.run_id)

    def interrupted(self, among: Among = everyone) -> list[Run]:
        """The runs that were cut off when the last server ended, and have been neither resumed nor dismissed yet."""
        if self._offered is None:
            runs = [run for run in self.store.list() if not run.shipped and run.status == "interrupted"]
            self._offered = [run.run_id for run in reversed(runs)]
        found: list[Run] = []
        for run_id in self._offered:
            with suppress(CharLMError):  # deleted meanwhile
                found.append(self.store.get(run_id))
        found = [run for run in found if run.status == "interrupted" and not (run.trimmed or run.left_alone)]
        self._offered = [run.run_id for run in found]
        return [run for run in found if among(run)]

    def resume_interrupted(self, among: Among = everyone) -> None:
        """Resume all of `interrupted`, those of a race as a race.

        Raises:
            CharLMError: why one of them cannot be resumed; the others are.
        """
        runs = self.interrupted(among)
        groups: dict[str, list[Run]] = {}
        for run in runs:
            groups.setdefault(run.group or run.run_id, []).append(run)
        self._offer_no_more(runs)
        refusals: list[CharLMError] = []
        for group in groups.values():
            try:
                self._reopen(group, {})
            except CharLMError as error:
                refusals.append(error)
        if refusals:
            raise refusals[-1]

    def dismiss_interrupted(self, among: Among = everyone) -> None:
        """No longer offer the interrupted runs, in this process and later ones; each can still be resumed."""
        runs = self.interrupted(among)
        for run in runs:
            with suppress(CharLMError):  # it is asked again after a restart, nothing worse
                run.update(left_alone=True)
        self._offer_no_more(runs)

    def _offer_no_more(self, runs: Sequence[Run]) -> None:
        done = {run.run_id for run in runs}
        self._offered = [run_id for run_id in self._offered or () if run_id not in done]

    def pause(self, run_id: str) -> StatusAnswer:
        """Pause the job of this run after its present step."""
        self._job_of(run_id).control.paused = True
        return self.status(run_id)

    def stop(self, run_id: str) -> StatusAnswer:
        """End this run after its present step and keep its weights; a queued run is taken out of the queue."""
        with self._queue.lock:
            job = self._required(self._find(run_id), run_id)
            job.control.stopped.add(run_id)
            if not job.started or job.waits_for_look(run_id):
                self._queue.remove_run(job, run_id, "stopped", "stopped before it began")
        return self.status(run_id)

    def change_rate(self, run_id: str, rate: float, race: bool = False) -> StatusAnswer:
        """Change the learning rate of a run that trains, here or in another process, before its next step.

        Args:
            run_id: of the run.
            rate: takes the place of its setting learning_rate; warm-up and schedule go on as factors of it.
            race: also of the networks that race with it, at the same step.

        Raises:
            ConfigError, JobError, CheckpointError: see `charlm.runs.rates.request_rate`.
        """
        request_rate(self.store.get(run_id), rate, race)
        return self.status(run_id)

    def move(self, run_id: str, by: int) -> StatusAnswer:
        """Move a waiting job by so many places in the queue, towards its front if negative, as far as there is room.

        Raises:
            JobError: it does not wait.
        """
        self._queue.move(self._required(self._find(run_id), run_id), by)
        return self.status(run_id)

    @property
    def lent(self) -> str:
        """What the page says of the GPU that is lent here; empty: none is."""
        return ZERO_GPU if self.lend else ""

    @property
    def at_once(self) -> int:
        """How many trainings may share the machine."""
        return self._queue.at_once

    def set_at_once(self, number: float) -> None:
        """How many trainings may share the machine from now on; those at work continue.

        Raises:
            ConfigError: not a whole number from 1 to MOST_AT_ONCE.
        """
        self._queue.set_at_once(number)

    def stop_job(self, run_id: str) -> None:
        """Stop the run and all that race with it."""
        for run in list(self._job_of(run_id).runs):
            with suppress(JobError):  # that one has ended already
                self.stop(run.run_id)

    def status(self, run_id: str, since_step: int = -1) -> StatusAnswer:
        """The state of a run, as the endpoint /status answers, with `metrics` rows beyond `since_step`."""
        job = self._find(run_id)  # before the run is read: what ends in between is then read as ended
        run = self.store.get(run_id)
        sample = run.sample()
        state = self._state(job, run)
        return {**state, "metrics": run.metrics(since_step), "sample": sample.get("text", "") if sample else ""}

    def state(self, run: Run) -> RunStatus:
        """The same of a run that is open already, without what would have to be read: no metrics and no sample."""
        return self._state(self._find(run.run_id), run)

    def _state(self, job: Job | None, run: Run) -> RunStatus:
        state = job.run_status(run, self._queue.position(job)) if job else run_status(run)
        if (failure := self._failure(run)) is not None:
            return {**state, "status": "failed", "message": failure, "eta_seconds": None, "position": None}
        return state

    def current(self, among: Among = everyone) -> JobStatus | None:
        """The first job at work, or the next one in the queue; None if there is none. For the status bar."""
        jobs = self._jobs(among)
        if not jobs:
            return None
        beside = sum(job.started for job in jobs[1:])
        return jobs[0].summary(self._queue.position(jobs[0]) or 0, len(jobs) - 1 - beside, beside)

    def left(self) -> dict[str, Any]:
        """What a visitor may still have; empty where everything belongs to one user."""
        return {}

    def is_training(self) -> bool:
        """Whether a training takes its share of the machine just now."""
        return any(job.started and job.status == "running" for job in self._queue.jobs())

    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return sum(not job.started for job in self._queue.jobs())

    def queue_list(self, among: Among = everyone) -> list[QueueEntry]:
        """A row for each job, those at work (position 0) first."""
        return [job.entry(self._queue.position(job) or 0) for job in self._jobs(among)]

    def queue(self, among: Among = everyone) -> list[list[str]]:
        """The run ids of each job, the one at work first."""
        return [[run.run_id for run in job.runs] for job in self._jobs(among)]

    def _jobs(self, among: Among) -> list[Job]:
        return [job for job in self._queue.jobs() if any(map(among, list(job.runs)))]

    def close(self, seconds: float = 5.0) -> None:
        """Save and end: running and waiting jobs end as interrupted and can be resumed."""
        self._queue.close(seconds)

    def _find(self, run_id: str) -> Job | None:
        """The job in which this run trains or waits."""
        return next((job for job in self._queue.jobs() if job.has(run_id) and not job.is_done(run_id)), None)

    def _past(self, run_id: str) -> Job | None:
        """The job at work in which this run has ended."""
        return next((job for job in self._queue.jobs() if job.has(run_id)), None)

    def _job_of(self, run_id: str) -> Job:
        """The job this run is or was part of: the one it is not done in, if there are two."""
        return self._required(self._find(run_id) or self._past(run_id), run_id)

    def _required(self, job: Job | None, run_id: str) -> Job:
        if job is None:
            run = self.store.get(run_id)
            raise JobError(f"{run.label} is not training here; it is {run.status}")
        return job

    def _failure(self, run: Run) -> str | None:
        """Why a run failed, if its run.json could not say so; writes it down as soon as that is possible."""
        noted = self._unwritten_failures.get(run.run_id)
        if noted is not None:
            with suppress(CharLMError):
                run.update(status="failed", message=noted)
                self._unwritten_failures.pop(run.run_id, None)
        return noted

    def _run(self, job: Job) -> None:
        """Do one job to its end; the queue continues whatever happens to it."""
        from charlm.jobs.scheduler import explain

        def on_slice(tracking: Tracking) -> None:
            tracking.follow()
            job.last_slice = time.monotonic()
            self._note_failures(job)
            self._stop_what_is_used_up(job)
            time.sleep(0)  # threads that ask for the state get a turn

        try:
            trainers, train = self._trainers(job)
            job.corpus = replace(job.corpus, text="")  # from here on its ids are enough
            for part in self._parts(job):
                chosen = [trainer for trainer in trainers if trainer.run in part]
                job.trainers = job.trainers + chosen
                with closing(Tracking(self._track, [one.run for one in chosen] or job.runs, log.warning)) as tracking:
                    train(chosen, partial(on_slice, tracking))
        except Exception as error:
            self._fail(job, explain(error, job.runs[0].train_config.batch_size))
        self._note_failures(job)

    def _trainers(self, job: Job) -> tuple[Sequence[Any], Callable[[Sequence[Any], Callable[[], None]], None]]:
        """A trainer for each run of a job, and what trains some of them: here, or where a GPU is lent."""
        from charlm.jobs.scheduler import prepare, run_trainers

        if self.lend is not None:
            from charlm.jobs.zero_gpu import sliced, train_in_slices, wants_gpu

            if wants_gpu(job.runs):
                lend = self.lend
                return sliced(job.runs, job.corpus), lambda part, on_slice: train_in_slices(job, part, lend, on_slice)
        trainers = prepare(job.runs, job.corpus, job.resume)
        return trainers, lambda part, on_slice: run_trainers(part, job.control, on_slice)

    def _parts(self, job: Job) -> Iterator[list[Run]]:
        """The runs of a job, or of an experiment those up to its next look; then, what no look has left to train goes.

        A run that is resumed alone is trained, whatever its experiment has shown.
        """
        from charlm.jobs.looks import by_looks

        first = job.runs[0]
        if not first.looks or len(job.runs) == 1:
            yield job.runs
            return
        others = [run for run in self.store.list() if run.group == first.group and not job.has(run.run_id)]
        waiting = list(job.runs)
        for part in by_looks([*others, *waiting], waiting):
            with self._queue.lock:
                waiting = [run for run in waiting if run not in part]
                job.later = [run for run in waiting if job.has(run.run_id)]
                chosen = [run for run in part if job.has(run.run_id)]  # the others were stopped meanwhile
            yield chosen
        with self._queue.lock:
            for run in job.later:
                job.runs.remove(run)
                self.store.discard(run)
            job.later = []

    def _stop_what_is_used_up(self, job: Job) -> None:
        """Stop the runs of a job that may not go on, and say why in their run.json."""
        for trainer in job.trainers:
            run = trainer.run
            if trainer.ended or run.run_id in job.control.stopped:
                continue
            if not self.may_go_on(run.run_id, trainer.seconds):
                with suppress(CharLMError):
                    run.update(message=USED_UP)
                job.control.stopped.add(run.run_id)

    def _note_failures(self, job: Job) -> None:
        """Keep the reasons that trainers could not write into their run.json."""
        for trainer in job.trainers:
            if trainer.failure and trainer.run.info.get("status") != "failed":
                self._unwritten_failures[trainer.run.run_id] = trainer.failure
            trainer.failure = ""

    def _fail(self, job: Job, error: CharLMError) -> None:
        """End all of a job that has not ended yet as failed."""
        reason, fix = str(error), getattr(error, "fix", {})
        log.warning("%s failed: %s", ", ".join(run.label for run in job.runs), reason)
        for run in job.runs:
            if job.is_done(run.run_id):
                continue
            try:
                run.update(status="failed", message=reason, mend=fix)
            except CharLMError:
                self._unwritten_failures[run.run_id] = reason
            finally:
                run.release()
