"""What a visitor's trainings may be and take: the checks before one begins, and the minutes set aside for it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from charlm.accounts import MINUTE, Accounts, Grant
from charlm.config import TrainConfig
from charlm.corpus import Corpus
from charlm.errors import JobError, LimitError
from charlm.limits import (
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
)  # fmt: skip
from charlm.presets import BUDGETS, RunConfig
from charlm.run import ACTIVE, Run
from charlm.visitors.runs import VisitorRuns
from charlm.visitors.serving import EVALUATION, own_text

LEAST_SECONDS = 10.0  # with less left of the day, nothing is begun
NEW = ""  # what a training is called in the accounts before it has an id


class Allowance:
    """Knows the table, what has been used, and the visitor's runs.

    Args:
        runs: what the visitor may know of.
        accounts: what each visitor has used.
    """

    def __init__(self, runs: VisitorRuns, accounts: Accounts) -> None:
        self._runs, self._accounts, self._limits = runs, accounts, accounts.limits

    def check_new(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> None:
        """Refuse what no visitor may train.

        Raises:
            LimitError: names the first limit that is exceeded, and the way out.
        """
        from charlm.encoding import tokenizer_for
        from charlm.estimate import count_parameters  # torch takes seconds: not before it is needed

        check_text_size(self._limits, utf8_size(corpus.text))  # before its words are counted
        check_tokens(self._limits, corpus.text, config.model)
        vocab_size = tokenizer_for(corpus, config.model, config.corpus).vocab_size
        models = (config.model.sized(arch, vocab_size, len(corpus.text), config.train.seq_len) for arch in archs)
        counted = ((one, count_parameters(one)) for one in models)  # not before the rest has passed
        check_new(self._limits, utf8_size(corpus.text), config.train, counted)

    def check_run(self, run: Run, corpus: Corpus | None = None) -> None:
        """Refuse to go on with a run, perhaps one that was brought along, that could not have been begun here."""
        from charlm.estimate import count_parameters

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
        had = self._accounts.spent(visitor, run.run_id) if run is not None else 0.0
        left = self._limits.run_minutes * MINUTE - had
        if left < LEAST_SECONDS:
            raise LimitError(
                f"this run has had its {self._limits.run_minutes:g} minutes here; fork it for a new one, or {ELSEWHERE}"
            )
        share = min(self.share(visitor, 1), left)
        return min(float(options.get("minutes") or 0) * MINUTE or share, share)

    def share(self, visitor: Visitor, racers: int) -> float:
        """Seconds that each of so many new runs may take.

        Raises:
            LimitError: too little is left of the visitor's day.
        """
        self.settle(visitor)
        seconds = min(self._limits.run_minutes * MINUTE, self._accounts.seconds_left(visitor) / racers)
        self._accounts.check_seconds(visitor, LEAST_SECONDS * racers)
        return seconds

    @contextmanager
    def granted(self, visitor: Visitor, seconds: float, many: int = 1, base: float = 0.0) -> Iterator[list[Grant]]:
        """Seconds for each of so many trainings, set aside before they begin; free again if they do not."""
        for _ in range(many):
            self._accounts.take_start(visitor)
        try:
            yield [self._accounts.grant(visitor, NEW, seconds, base) for _ in range(many)]
        except BaseException:
            self._accounts.settle(visitor, NEW, base)
            raise

    def settle(self, visitor: Visitor) -> None:
        """Give back what ended trainings did not take of their minutes."""
        names = set(self._accounts.unsettled(visitor)) - {EVALUATION}
        for run in self._runs.own() if names else ():
            if run.run_id in names and run.status not in ACTIVE:
                self._accounts.settle(visitor, run.run_id, run.seconds)
