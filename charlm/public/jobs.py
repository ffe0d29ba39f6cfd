"""The trainings as one visitor may use them: within the table of limits, and no one else's."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from charlm.config import TrainConfig
from charlm.data.corpus import Corpus
from charlm.errors import JobError, LimitError
from charlm.jobs import JobStatus, QueueEntry, RunStatus, StatusAnswer
from charlm.jobs.service import Jobs
from charlm.presets import BUDGETS, RunConfig
from charlm.public.limits import (  # fmt: skip
    ELSEWHERE,
    Visitor,
    check_context,
    check_model,
    check_new,
    check_text_size,
    check_tokens,
    check_training,
    refuse_above,
    utf8_size,
)
from charlm.public.quotas import MINUTE, Quotas, Reservation
from charlm.public.runs import VisitorRuns, Who
from charlm.public.serving import EVALUATION, own_text, someone
from charlm.runs.run import ACTIVE, Run

LEAST_SECONDS = 10.0  # with less left of the day, nothing is begun
NEW = ""  # what a training is called in the quotas before it has an id


class TrainingQuota:
    """Knows the table, what has been used, and the visitor's runs.

    Args:
        runs: what the visitor may know of.
        quotas: what each visitor has used.
    """

    def __init__(self, runs: VisitorRuns, quotas: Quotas) -> None:
        self._runs, self._quotas, self._limits = runs, quotas, quotas.limits

    def check_new(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> None:
        """Refuse what no visitor may train.

        Raises:
            LimitError: names the first limit that is exceeded, and the way out.
        """
        from charlm.data.dataset import tokenizer_for
        from charlm.training.estimate import count_parameters  # torch takes seconds: not before it is needed

        check_text_size(self._limits, utf8_size(corpus.text))  # before its words are counted
        check_tokens(self._limits, corpus.text, config.model)
        vocab_size = tokenizer_for(corpus, config.model, config.corpus).vocab_size
        models = (config.model.resolve_for(arch, vocab_size, len(corpus.text), config.train.seq_len) for arch in archs)
        counted = ((one, count_parameters(one)) for one in models)  # not before the rest has passed
        check_new(self._limits, utf8_size(corpus.text), config.train, counted)

    def check_run(self, run: Run, corpus: Corpus | None = None) -> None:
        """Refuse to go on with a run, perhaps one that was brought along, that could not have been begun here."""
        from charlm.training.estimate import count_parameters

        check_model(self._limits, run.model_config, count_parameters(run.model_config))
        check_context(self._limits, run.model_config, run.train_config.batch_size)
        check_training(self._limits, replace(run.train_config, steps=0, epochs=1.0, minutes=0.0))
        check_text_size(self._limits, utf8_size(corpus.text if corpus else own_text(run)))

    def steps_left(self, run: Run) -> int:
        """Steps that a run may still have, those of the run it was forked from aside.

        Raises:
            LimitError: none.
        """
        inherited = sum(int(one.get("step", 0)) for one in run.ancestry[:1] if one.get("why") == "fork")
        left = min(self._limits.steps, self._limits.steps - (run.step - inherited))
        if left <= 0:
            raise LimitError(
                f"{run.label} has had its {self._limits.steps:,} steps here; fork it for new ones, or {ELSEWHERE}"
            )
        return left

    def budget(self, run: Run, options: Mapping[str, Any], usual: int, most: int) -> dict[str, Any]:
        """Steps and epochs to add: as asked for, else as many steps as are usual, else the run's epochs.

        Args:
            run: that goes on, or from which another one does.
            options: as the visitor gave them.
            usual: steps if none are asked for; 0 where only epochs or minutes limit the run.
            most: steps.

        Raises:
            ConfigError, LimitError: a number out of range, or beyond its limit.
            JobError: the run has finished, and nothing is asked for.
        """
        asked = {name: options[name] for name in BUDGETS if options.get(name)}
        if asked:
            wanted = TrainConfig.from_dict(asked if "steps" in asked else {**asked, "steps": 0})  # within their range
            refuse_above(wanted.steps, most, "steps to add are {}", "add fewer")
            return {"steps": wanted.steps or most, "epochs": wanted.epochs}
        if run.status == "finished" and not usual:
            raise JobError(f"{run.label} has finished its {run.step:,} steps; say how many more, for example steps 500")
        epochs = 0.0 if usual else max(0.0, run.train_config.epochs - run.epoch)
        return {"steps": min(usual or most, most), "epochs": epochs}

    def seconds(self, visitor: Visitor, run: Run | None, options: Mapping[str, Any]) -> float:
        """What a run may take from now on; None: a new one.

        Raises:
            LimitError: more is asked for than a run may have, or less is left than makes sense.
        """
        refuse_above(float(options.get("minutes") or 0), self._limits.run_minutes, "minutes is {}", "choose fewer")
        had = self._quotas.spent(visitor, run.run_id) if run is not None else 0.0
        left = self._limits.run_minutes * MINUTE - had
        if left < LEAST_SECONDS:
            raise LimitError(
                f"this run has had its {self._limits.run_minutes:g} minutes here; fork it for a new one, or {ELSEWHERE}"
            )
        share = min(self.share(visitor, 1), left)
        return min(float(options.get("minutes") or 0) * MINUTE or share, share)

    def share(self, visitor: Visitor, trainers: int) -> float:
        """Seconds that each of so many new runs may take.

        Raises:
            LimitError: too little is left of the visitor's day.
        """
        self.settle(visitor)
        seconds = min(self._limits.run_minutes * MINUTE, self._quotas.seconds_left(visitor) / trainers)
        self._quotas.check_seconds(visitor, LEAST_SECONDS * trainers)
        return seconds

    @contextmanager
    def reserved(
        self, visitor: Visitor, seconds: float, many: int = 1, base: float = 0.0
    ) -> Iterator[list[Reservation]]:
        """Seconds for each of so many trainings, set aside before they begin; free again if they do not."""
        for _ in range(many):
            self._quotas.take_start(visitor)
        try:
            yield [self._quotas.reserve(visitor, NEW, seconds, base) for _ in range(many)]
        except BaseException:
            self._quotas.settle(visitor, NEW, base)
            raise

    def settle(self, visitor: Visitor) -> None:
        """Give back what ended trainings did not take of their minutes."""
        names = set(self._quotas.unsettled(visitor)) - {EVALUATION}
        for run in self._runs.own() if names else ():
            if run.run_id in names and run.status not in ACTIVE:
                self._quotas.settle(visitor, run.run_id, run.seconds)


class VisitorJobs:
    """Stands before the Jobs of all.

    Args:
        jobs: all trainings.
        runs: what the visitor may know of.
        who: asks at every call.
        quotas: what each visitor has used.
    """

    def __init__(self, jobs: Jobs, runs: VisitorRuns, who: Who, quotas: Quotas) -> None:
        self._jobs, self._runs, self._who, self._quotas = jobs, runs, who, quotas
        self._limits, self._training_quota = quotas.limits, TrainingQuota(runs, quotas)
        self._entering = threading.RLock()  # two requests at once count as two

    def start(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> list[str]:
        """As `Jobs.start`; what the settings leave open ends with the visitor's minutes.

        Raises:
            LimitError: see `TrainingQuota.check_new`; or too many runs are kept or wait, or the day's minutes are gone.
        """
        visitor = someone(self._who)
        self._runs.check_room(len(archs))  # first: a list of a million names is not worth a look
        self._training_quota.check_new(corpus, config, archs)
        with self._entering:
            self._check_room(len(archs))
            minutes = self._training_quota.share(visitor, len(archs)) / MINUTE
            minutes = min(config.train.minutes or minutes, minutes)
            train = replace(config.train, minutes=minutes, steps=config.train.steps or self._limits.steps)
            with self._training_quota.reserved(visitor, minutes * MINUTE, len(archs)) as reservations:
                ids = self._jobs.start(corpus, replace(config, train=train), archs)
                for reservation, run_id in zip(reservations, ids, strict=True):
                    reservation.name = run_id
        return ids

    def resume(self, run_id: str, options: Mapping[str, Any] | None = None) -> StatusAnswer:
        """As `Jobs.resume`; a run has its steps and minutes once, however often it goes on."""
        visitor, run = someone(self._who), self._runs.get(run_id)
        if run.status in ACTIVE:
            return self._jobs.resume(run_id, options)
        with self._entering:
            self._training_quota.check_run(run)
            self._check_waiting()
            usual, most = max(0, run.train_config.steps - run.step), self._training_quota.steps_left(run)
            budget = self._training_quota.budget(run, options or {}, usual, most)
            seconds = self._training_quota.seconds(visitor, run, options or {})
            with self._training_quota.reserved(visitor, seconds, base=run.seconds) as [reservation]:
                state = self._jobs.resume(run_id, {**(options or {}), **budget, "minutes": seconds / MINUTE})
                reservation.name = run_id
        return state

    def fork(self, run_id: str, options: Mapping[str, Any] | None = None, corpus: Corpus | None = None) -> StatusAnswer:
        """As `Jobs.fork`; the new run has steps and minutes of its own."""
        visitor, parent = someone(self._who), self._runs.get(run_id)
        with self._entering:
            self._training_quota.check_run(parent, corpus)
            self._check_room(1)
            usual = max(0, parent.train_config.steps - parent.step) or max(1, parent.step)
            budget = self._training_quota.budget(
                parent, options or {}, min(usual, self._limits.steps), self._limits.steps
            )
            seconds = self._training_quota.seconds(visitor, None, options or {})
            with self._training_quota.reserved(visitor, seconds) as [reservation]:
                given = {**(options or {}), **budget, "minutes": seconds / MINUTE}
                state = self._jobs.fork(run_id, given, corpus)
                reservation.base = self._runs.get(state["run_id"]).seconds
                reservation.name = state["run_id"]
        return state

    def retry(self, run_id: str) -> StatusAnswer:
        """As `Jobs.retry`."""
        from charlm.runs.fork import fixed  # torch takes seconds: not before it is needed

        visitor, failed = someone(self._who), self._runs.get(run_id)
        config = fixed(failed)
        check_training(self._limits, config)
        if not config.minutes:  # it was not begun here
            raise LimitError(f"{failed.label} has no limit of time; train it anew, or {ELSEWHERE}")
        with self._entering:
            self._training_quota.check_run(failed)
            self._check_room(1)
            self._training_quota.settle(visitor)
            with self._training_quota.reserved(visitor, config.minutes * MINUTE) as [reservation]:
                state = self._jobs.retry(run_id)
                reservation.name = state["run_id"]
        return state

    def _check_room(self, more: int) -> None:
        self._runs.check_room(more)
        self._check_waiting()

    def _check_waiting(self) -> None:
        if self._jobs.waiting() >= self._limits.together_waiting:
            raise LimitError(
                f"{self._limits.together_waiting} trainings wait already; try again in some minutes, or {ELSEWHERE}"
            )

    def pause(self, run_id: str) -> StatusAnswer:
        """Nobody may: others wait for their turn."""
        self._runs.get(run_id)
        raise LimitError("on a public Space, where others wait, a training cannot rest; stop it, and resume it later")

    def stop(self, run_id: str) -> StatusAnswer:
        """As `Jobs.stop`."""
        return self._jobs.stop(self._runs.get(run_id).run_id)

    def stop_job(self, run_id: str) -> None:
        """As `Jobs.stop_job`."""
        self._jobs.stop_job(self._runs.get(run_id).run_id)

    def move(self, run_id: str, by: int) -> StatusAnswer:
        """Nobody may: the queue keeps its order."""
        self._runs.get(run_id)
        raise LimitError(f"on a public Space the queue keeps its order; wait for your turn, or {ELSEWHERE}")

    @property
    def at_once(self) -> int:
        """As `Jobs.at_once`."""
        return self._jobs.at_once

    def set_at_once(self, number: float) -> None:
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

    def status(self, run_id: str, since_step: int = -1) -> StatusAnswer:
        """As `Jobs.status`."""
        return self._jobs.status(self._runs.get(run_id).run_id, since_step)

    def state(self, run: Run) -> RunStatus:
        """As `Jobs.state`."""
        return self._jobs.state(self._runs.get(run.run_id))

    def current(self) -> JobStatus | None:
        """As `Jobs.current`."""
        job = self._jobs.current(self._runs.shows)
        return {**job, "pausable": False} if job else None

    def queue_list(self) -> list[QueueEntry]:
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
        self._training_quota.settle(visitor)
        return {
            "texts": self._quotas.texts_left(visitor),
            "minutes": round(self._quotas.seconds_left(visitor) / MINUTE, 1),
            "set_aside": round(self._quotas.set_aside(visitor) / MINUTE, 1),
            "runs": max(0, self._limits.runs - self._runs.kept()),
        }
