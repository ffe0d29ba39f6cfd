"""The trainings as one visitor may use them: within the table of limits, and no one else's."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from charlm.accounts import MINUTE, Accounts
from charlm.corpus import Corpus
from charlm.errors import LimitError
from charlm.jobs import Jobs
from charlm.limits import ELSEWHERE, check_training
from charlm.presets import RunConfig
from charlm.run import ACTIVE, Run
from charlm.visitors.allowance import Allowance
from charlm.visitors.runs import VisitorRuns, Who
from charlm.visitors.serving import someone


class VisitorJobs:
    """Stands before the Jobs of all.

    Args:
        jobs: all trainings.
        runs: what the visitor may know of.
        who: asks at every call.
        accounts: what each visitor has used.
    """

    def __init__(self, jobs: Jobs, runs: VisitorRuns, who: Who, accounts: Accounts) -> None:
        self._jobs, self._runs, self._who, self._accounts = jobs, runs, who, accounts
        self._limits, self._allowance = accounts.limits, Allowance(runs, accounts)
        self._entering = threading.RLock()  # two requests at once count as two

    def start(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> list[str]:
        """As `Jobs.start`; what the settings leave open ends with the visitor's minutes.

        Raises:
            LimitError: see `Allowance.check_new`; or too many runs are kept or wait, or the day's minutes are used up.
        """
        visitor = someone(self._who)
        self._runs.check_room(len(archs))  # first: a list of a million names is not worth a look
        self._allowance.check_new(corpus, config, archs)
        with self._entering:
            self._check_room(len(archs))
            minutes = self._allowance.share(visitor, len(archs)) / MINUTE
            minutes = min(config.train.minutes or minutes, minutes)
            train = replace(config.train, minutes=minutes, steps=config.train.steps or self._limits.steps)
            with self._allowance.granted(visitor, minutes * MINUTE, len(archs)) as grants:
                ids = self._jobs.start(corpus, replace(config, train=train), archs)
                for grant, run_id in zip(grants, ids, strict=True):
                    grant.name = run_id
        return ids

    def resume(self, run_id: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As `Jobs.resume`; a run has its steps and minutes once, however often it goes on."""
        visitor, run = someone(self._who), self._runs.get(run_id)
        if run.status in ACTIVE:
            return self._jobs.resume(run_id, options)
        with self._entering:
            self._allowance.check_run(run)
            self._check_waiting()
            usual, most = max(0, run.train_config.steps - run.step), self._allowance.steps_left(run)
            budget = self._allowance.budget(run, options or {}, usual, most)
            seconds = self._allowance.seconds(visitor, run, options or {})
            with self._allowance.granted(visitor, seconds, base=run.seconds) as [grant]:
                state = self._jobs.resume(run_id, {**(options or {}), **budget, "minutes": seconds / MINUTE})
                grant.name = run_id
        return state

    def fork(
        self, run_id: str, options: Mapping[str, Any] | None = None, corpus: Corpus | None = None
    ) -> dict[str, Any]:
        """As `Jobs.fork`; the new run has steps and minutes of its own."""
        visitor, parent = someone(self._who), self._runs.get(run_id)
        with self._entering:
            self._allowance.check_run(parent, corpus)
            self._check_room(1)
            usual = max(0, parent.train_config.steps - parent.step) or max(1, parent.step)
            budget = self._allowance.budget(parent, options or {}, min(usual, self._limits.steps), self._limits.steps)
            seconds = self._allowance.seconds(visitor, None, options or {})
            with self._allowance.granted(visitor, seconds) as [grant]:
                given = {**(options or {}), **budget, "minutes": seconds / MINUTE}
                state = self._jobs.fork(run_id, given, corpus)
                grant.base = self._runs.get(state["run_id"]).seconds
                grant.name = state["run_id"]
        return state

    def retry(self, run_id: str) -> dict[str, Any]:
        """As `Jobs.retry`."""
        from charlm.fork import mended  # torch takes seconds: not before it is needed

        visitor, failed = someone(self._who), self._runs.get(run_id)
        config = mended(failed)
        check_training(self._limits, config)
        if not config.minutes:  # it was not begun here
            raise LimitError(f"{failed.label} has no limit of time; train it anew, or {ELSEWHERE}")
        with self._entering:
            self._allowance.check_run(failed)
            self._check_room(1)
            self._allowance.settle(visitor)
            with self._allowance.granted(visitor, config.minutes * MINUTE) as [grant]:
                state = self._jobs.retry(run_id)
                grant.name = state["run_id"]
        return state

    def _check_room(self, more: int) -> None:
        self._runs.check_room(more)
        self._check_waiting()

    def _check_waiting(self) -> None:
        if self._jobs.waiting() >= self._limits.together_waiting:
            raise LimitError(
                f"{self._limits.together_waiting} trainings wait already; try again in some minutes, or {ELSEWHERE}"
            )

    def pause(self, run_id: str) -> dict[str, Any]:
        """Nobody may: others wait for their turn."""
        self._runs.get(run_id)
        raise LimitError("on a public Space, where others wait, a training cannot rest; stop it, and resume it later")

    def stop(self, run_id: str) -> dict[str, Any]:
        """As `Jobs.stop`."""
        return self._jobs.stop(self._runs.get(run_id).run_id)

    def stop_job(self, run_id: str) -> None:
        """As `Jobs.stop_job`."""
        self._jobs.stop_job(self._runs.get(run_id).run_id)

    def move(self, run_id: str, by: int) -> dict[str, Any]:
        """Nobody may: the queue keeps its order."""
        self._runs.get(run_id)
        raise LimitError(f"on a public Space the queue keeps its order; wait for your turn, or {ELSEWHERE}")

    @property
    def at_once(self) -> int:
        """As `Jobs.at_once`."""
        return self._jobs.at_once

    def set_at_once(self, number: int) -> None:
        """Nobody may change it."""
        raise LimitError(f"a public Space has {self.at_once} training at once; {ELSEWHERE}")

    def interrupted(self) -> list[Run]:
        """As `Jobs.interrupted`."""
        return self._jobs.interrupted(self._runs.shows)

    def resume_interrupted(self) -> None:
        """As `Jobs.resume_interrupted`, one run after the other."""
        for run in self.interrupted():
            self.resume(run.run_id)

    def dismiss_interrupted(self) -> None:
        """As `Jobs.dismiss_interrupted`."""
        self._jobs.dismiss_interrupted(self._runs.shows)

    def status(self, run_id: str, since_step: int = -1) -> dict[str, Any]:
        """As `Jobs.status`."""
        return self._jobs.status(self._runs.get(run_id).run_id, since_step)

    def state(self, run: Run) -> dict[str, Any]:
        """As `Jobs.state`."""
        return self._jobs.state(self._runs.get(run.run_id))

    def current(self) -> dict[str, Any] | None:
        """As `Jobs.current`."""
        job = self._jobs.current(self._runs.shows)
        return {**job, "pausable": False} if job else None

    def queue_list(self) -> list[dict[str, Any]]:
        """As `Jobs.queue_list`."""
        return [{**job, "movable": False} for job in self._jobs.queue_list(self._runs.shows)]

    def queue(self) -> list[list[str]]:
        """As `Jobs.queue`."""
        return self._jobs.queue(self._runs.shows)

    def left(self) -> dict[str, Any]:
        """What the visitor may still have: `texts` this minute, `minutes` of training today, `runs` to keep.

        `set_aside` are the minutes kept for what trains now: those it does not take come back.
        """
        visitor = someone(self._who)
        self._allowance.settle(visitor)
        return {
            "texts": self._accounts.texts_left(visitor),
            "minutes": round(self._accounts.seconds_left(visitor) / MINUTE, 1),
            "set_aside": round(self._accounts.set_aside(visitor) / MINUTE, 1),
            "runs": max(0, self._limits.runs - self._runs.kept()),
        }
