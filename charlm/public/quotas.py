"""What each visitor of a public Space used lately, and what remains; forgotten when the server ends."""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from charlm.config import ModelConfig, TrainConfig
from charlm.data.corpus import Corpus
from charlm.errors import JobError, LimitError
from charlm.presets import BUDGETS, RunConfig
from charlm.public import limits
from charlm.public.limits import ELSEWHERE, Limits, Visitor
from charlm.runs.run import ACTIVE, Run
from charlm.serving.texts import own_text

if TYPE_CHECKING:
    from charlm.training.racers import Racer

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
MOST_KEYS = 100_000  # visitors and addresses that are remembered
TINY = 1e-6  # seconds
LEAST_SECONDS = 10.0  # with less left of the day, no training is started
GROWTH = 30.0  # seconds that a training gets at once which takes longer than was expected
MARGIN = 1.25  # times what a training is expected to take are reserved for it
NEW = ""  # what a training is called before it has an id
EVALUATION = "evaluation"  # what is reserved for scoring is called so

Action = Literal["text", "look", "upload", "download", "start"]
# What is counted: within how many seconds, the row of the table that bounds it, and what it is called.
ACTIONS: dict[Action, tuple[float, str, str]] = {
    "text": (MINUTE, "texts_a_minute", "generations a minute"),
    "look": (MINUTE, "looks_a_minute", "looks at next tokens a minute"),
    "upload": (HOUR, "uploads_an_hour", "uploads an hour"),
    "download": (HOUR, "downloads_an_hour", "downloads an hour"),  # each takes space on the disk
    "start": (HOUR, "starts_an_hour", "starts of a training an hour"),  # each reads and scores a whole text
}


class Window:
    """Counts what happened within the last so many seconds, by key."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds, self._clock = seconds, clock
        self._times: dict[Hashable, deque[float]] = {}

    def count(self, key: Hashable) -> int:
        """How often it happened."""
        times = self._times.get(key)
        if times is None:
            return 0
        while times and times[0] <= self._clock() - self.seconds:
            times.popleft()
        if not times:
            del self._times[key]
        return len(times)

    def add(self, key: Hashable) -> None:
        """It happens now."""
        while len(self._times) >= MOST_KEYS:
            del self._times[next(iter(self._times))]
        self._times.setdefault(key, deque()).append(self._clock())

    def wait(self, key: Hashable, many: int = 1) -> float:
        """Seconds until so many of them, or all, are forgotten."""
        count = self.count(key)
        return max(0.0, self._times[key][min(many, count) - 1] + self.seconds - self._clock()) if count else 0.0


@dataclass
class Reservation:
    """Seconds that a visitor's training or scoring may take, or has taken.

    Attributes:
        name: of the run, or of what else takes them.
        seconds: reserved; once settled, those it took.
        base: what the run had taken before.
        time: when it was made, by the quotas' clock.
        most: up to which it may grow, see `Quotas.may_go_on`.
    """

    name: str
    seconds: float
    base: float
    time: float
    settled: bool = False
    most: float = 0.0


class Quotas:
    """Keeps count for all visitors; every method may be called from any thread.

    Args:
        limits: the table.
        clock: seconds that only grow.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._windows = {action: Window(seconds, clock) for action, (seconds, _, _) in ACTIONS.items()}
        self._reservations: dict[str, list[Reservation]] = {}
        self._growing: dict[str, tuple[Visitor, Reservation]] = {}  # by run id: of trainings at work or waiting

    def take(self, action: Action, visitor: Visitor, many: int = 1) -> None:
        """Count so many actions.

        Args:
            action: a row of ACTIONS.
            visitor: who acts.
            many: at once.

        Raises:
            LimitError: the visitor, or all of that address together, had theirs; says how long to wait.
        """
        window, (_, row, what) = self._windows[action], ACTIONS[action]
        most = getattr(self.limits, row)
        with self._lock:
            for bucket, share in self._buckets(visitor, most):
                over = window.count(bucket) + many - int(share)
                if over > 0:
                    wait = max(1, round(window.wait(bucket, over)))
                    whose = "your" if bucket == visitor.key else "your internet address's"
                    said = "that were" if many == 1 else f"{many} at once are more than is left of"
                    raise LimitError(f"{said} {whose} {share} {what}; wait {wait} s, or {ELSEWHERE}")
            for bucket, _ in self._buckets(visitor, most):
                for _ in range(many):
                    window.add(bucket)

    def remaining(self, action: Action, visitor: Visitor) -> int:
        """How many of these actions the visitor's own quota still has."""
        with self._lock:
            return max(0, int(getattr(self.limits, ACTIONS[action][1])) - self._windows[action].count(visitor.key))

    def seconds_left(self, visitor: Visitor) -> float:
        """Seconds of training and scoring that the visitor may still have today."""
        with self._lock:
            return self._seconds_left(visitor)

    def check_seconds(self, visitor: Visitor, seconds: float) -> None:
        """Refuse what takes longer than the visitor's remaining seconds of today.

        Raises:
            LimitError: names the remaining and the needed seconds.
        """
        with self._lock:
            self._check_seconds(visitor, seconds)

    def reserve(self, visitor: Visitor, name: str, seconds: float, base: float = 0.0) -> Reservation:
        """Reserve so many seconds for what is called `name`; `settle` says later what it took.

        Args:
            visitor: whose they are.
            name: of the run, or of what else takes them; one that gets its id only later is named in the reservation.
            seconds: at most.
            base: what the run has taken before.

        Raises:
            LimitError: so much is not left today.
        """
        with self._lock:
            self._check_seconds(visitor, seconds)
            reservation = Reservation(name, seconds, base, self._clock())
            for bucket, _ in self._buckets(visitor):
                self._reservations.setdefault(bucket, []).append(reservation)
        return reservation

    def follow(self, visitor: Visitor, reservation: Reservation, run_id: str, most: float) -> None:
        """Give a training's reservation its name, and let it grow while the training is at work.

        Args:
            visitor: whose it is.
            reservation: made when the run had no id yet.
            run_id: of the run.
            most: seconds up to which it may grow.
        """
        with self._lock:
            reservation.name, reservation.most = run_id, most
            self._growing[run_id] = visitor, reservation
            while len(self._growing) > MOST_KEYS:
                del self._growing[next(iter(self._growing))]

    def may_go_on(self, run_id: str, seconds: float) -> bool:
        """Whether a training that has taken so many seconds in all may go on.

        Its reservation grows by GROWTH seconds at a time where it took longer than was expected, as long as something
        is left of the visitor's day and of the internet address's. Beyond its `most` the run's own budget ends it.

        Args:
            run_id: of the run; one of which nothing is reserved may.
            seconds: those that it took before the reservation included.
        """
        with self._lock:
            visitor, one = self._growing.get(run_id, (None, None))
            if visitor is None or one is None or one.settled:
                return True
            over = seconds - one.base - one.seconds
            if over > 0 and one.seconds < one.most:
                one.seconds += min(max(GROWTH, over), one.most - one.seconds, self._seconds_left(visitor))
            return seconds - one.base <= one.seconds + TINY or one.seconds >= one.most - TINY

    def settle(self, visitor: Visitor, name: str, seconds: float) -> None:
        """Count what an ended training or scoring took, fewer seconds or more than were reserved.

        Args:
            visitor: whose they are.
            name: of the reservations.
            seconds: that it took in all, those before the reservation included.
        """
        with self._lock:
            for reservation in self._reservations.get(visitor.key, ()):
                if reservation.name == name and not reservation.settled:
                    reservation.seconds, reservation.settled = max(0.0, seconds - reservation.base), True
                    self._growing.pop(name, None)

    def reservations(self, visitor: Visitor) -> list[Reservation]:
        """The visitor's own of today."""
        with self._lock:
            return list(self._reservations.get(visitor.key, ()))

    def _buckets(self, visitor: Visitor, most: float | None = None) -> Iterator[tuple[str, float]]:
        """Where a visitor's actions or, without `most`, seconds are counted, and how many there may be."""
        most = self.limits.day_minutes * MINUTE if most is None else most
        yield visitor.key, most
        if visitor.address:
            yield f"address {visitor.address}", most * self.limits.per_address

    def _check_seconds(self, visitor: Visitor, seconds: float) -> None:
        left = self._seconds_left(visitor)
        if seconds > left + TINY:
            raise LimitError(
                f"{left:.0f} s of today's {self.limits.day_minutes:g} minutes of training are left to you and "
                f"{seconds:.0f} s are needed; come back tomorrow, or {ELSEWHERE}"
            )

    def _seconds_left(self, visitor: Visitor) -> float:
        """What the fullest bucket still has; what is older than a day is forgotten."""
        left = []
        for bucket, share in self._buckets(visitor):
            reservations = [one for one in self._reservations.pop(bucket, ()) if one.time > self._clock() - DAY]
            if reservations:
                self._reservations[bucket] = reservations
            left.append(max(0.0, share - sum(one.seconds for one in reservations)))
        while len(self._reservations) > MOST_KEYS:
            del self._reservations[next(iter(self._reservations))]
        return min(left)


def _needed(model: ModelConfig, train: TrainConfig, tokens: int) -> float:
    """Seconds that a training is expected to take on this machine, with a margin."""
    from charlm.training.estimate import training_seconds
    from charlm.training.machine import speed  # torch takes seconds: not before it is needed

    return MARGIN * training_seconds(speed().machine, model, train, tokens)


class TrainingQuota:
    """What a visitor may train: the table's limits, the steps and minutes of a run, and the minutes of a day.

    Args:
        quotas: what each visitor has used.
        own_runs: gives the runs of the visitor who asks, deleted ones too.
    """

    def __init__(self, quotas: Quotas, own_runs: Callable[[], Iterable[Run]]) -> None:
        self._quotas, self._limits, self._own_runs = quotas, quotas.limits, own_runs

    def check_new(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> None:
        """Refuse what no visitor may train.

        Args:
            corpus: the text.
            config: settings of all runs.
            archs: names of the architectures.

        Raises:
            LimitError: names the first limit that is exceeded, and the way out.
        """
        from charlm.data.dataset import tokenizer_for
        from charlm.training.estimate import count_parameters  # torch takes seconds: not before it is needed

        limits.check_race(self._limits, config.race)
        limits.check_text_size(self._limits, limits.utf8_size(corpus.text))  # before its words are counted
        limits.check_tokens(self._limits, corpus.text, config.model)
        vocab_size = tokenizer_for(corpus, config.model, config.corpus).vocab_size
        models = (config.model.resolve_for(arch, vocab_size, len(corpus.text), config.train.seq_len) for arch in archs)
        counted = ((one, count_parameters(one)) for one in models)  # not before the rest has passed
        limits.check_new(self._limits, limits.utf8_size(corpus.text), config.train, counted)

    def check_run(self, run: Run, corpus: Corpus | None = None) -> None:
        """Refuse to continue a run, perhaps an imported one, that could not have been started here.

        Raises:
            LimitError: as for `check_new`.
        """
        from charlm.training.estimate import count_parameters

        limits.check_model(self._limits, run.model_config, count_parameters(run.model_config))
        limits.check_context(self._limits, run.model_config, run.train_config.batch_size)
        limits.check_training(self._limits, replace(run.train_config, steps=0, epochs=1.0, minutes=0.0))
        limits.check_text_size(self._limits, limits.utf8_size(corpus.text if corpus else own_text(run)))

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
        """Steps and epochs to add: those asked for, else as many steps as are usual, else the run's epochs.

        Args:
            run: that is resumed or forked.
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
            limits.refuse_above(wanted.steps, most, "steps to add are {}", "add fewer")
            return {"steps": wanted.steps or most, "epochs": wanted.epochs}
        if run.status == "finished" and not usual:
            raise JobError(f"{run.label} has finished its {run.step:,} steps; say how many more, for example steps 500")
        epochs = 0.0 if usual else max(0.0, run.train_config.epochs - run.epoch)
        return {"steps": min(usual or most, most), "epochs": epochs}

    def seconds(self, visitor: Visitor, run: Run | None, options: Mapping[str, Any]) -> float:
        """Seconds that a run may take from now on.

        Args:
            visitor: whose it is.
            run: that is resumed; None: a new one.
            options: as the visitor gave them; `minutes` counts.

        Raises:
            LimitError: more is asked for than a run may have, or less is left than makes sense.
        """
        asked, most = float(options.get("minutes") or 0), self._limits.run_minutes
        limits.refuse_above(asked, most, "minutes is {}", "choose fewer")
        known = self._quotas.reservations(visitor) if run is not None else ()
        left = most * MINUTE - sum(one.seconds for one in known if run is not None and one.name == run.run_id)
        if left < LEAST_SECONDS:
            raise LimitError(f"this run has had its {most:g} minutes here; fork it for a new one, or {ELSEWHERE}")
        share = min(self.share(visitor, 1), left)
        return min(asked * MINUTE or share, share)

    def share(self, visitor: Visitor, trainings: int) -> float:
        """Seconds that each of so many new trainings may take.

        Raises:
            LimitError: too little is left of the visitor's day.
        """
        self.settle(visitor)
        seconds = min(self._limits.run_minutes * MINUTE, self._quotas.seconds_left(visitor) / trainings)
        self._quotas.check_seconds(visitor, LEAST_SECONDS * trainings)
        return seconds

    def with_own_minutes(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> RunConfig:
        """Settings that name the minutes of a race by equal seconds, which are else reckoned where it is started."""
        if config.race.budget != "seconds" or config.train.minutes:
            return config
        minutes = max(racer.train.minutes for racer, _ in self._racers(corpus, config, archs))
        return replace(config, train=replace(config.train, minutes=minutes, steps=0, epochs=0.0))

    def needs(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> list[float]:
        """Seconds that new trainings will need, each with a margin for a machine that is busy.

        Args:
            corpus: the text; `check_new` has passed.
            config: settings of all runs.
            archs: names of the architectures.

        Raises:
            CorpusError, ConfigError: they cannot be trained on it.
            LimitError: what the race matches makes a model or a training too large.
        """
        from charlm.training.estimate import count_parameters

        needed = []
        for (model, train), tokens in self._racers(corpus, config, archs):
            limits.check_model(self._limits, model, count_parameters(model))
            limits.check_training(self._limits, train)
            needed.append(_needed(model, train, tokens))
        return needed

    def _racers(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> "list[tuple[Racer, int]]":
        """The trainings of a race, with batches as the text allows them, and the tokens that each reads."""
        from charlm.data.dataset import corpus_cut, tokenizer_for
        from charlm.training.racers import racers

        tokenizer = tokenizer_for(corpus, config.model, config.corpus)
        cut, _ = corpus_cut(corpus, tokenizer, config.train, config.corpus)
        found = racers(config, archs, tokenizer.vocab_size, cut)
        return [(racer.fitted(cut), cut.train) for racer in found]

    def needs_more(self, run: Run, budget: Mapping[str, Any]) -> float:
        """The same of a run that is resumed or forked, with the steps and epochs that are added."""
        train = replace(run.train_config, **{**dict.fromkeys(BUDGETS, 0), **budget})
        return _needed(run.model_config, train, int(run.corpus.get("train_tokens") or 0))

    @contextmanager
    def reserved(
        self, visitor: Visitor, needs: Sequence[float], most: float
    ) -> Iterator[Callable[[Mapping[str, float]], None]]:
        """Reserve seconds for trainings before they are started; they are free again if that fails.

        Args:
            visitor: whose they are.
            needs: seconds that each is expected to need.
            most: seconds that each may take; up to there its reservation grows on the way.

        Yields:
            Takes what was started, in the order of `needs`: by run id, the seconds that it had taken before.
        """
        for _ in needs:
            self._quotas.take("start", visitor)
        try:
            made = [self._quotas.reserve(visitor, NEW, min(max(LEAST_SECONDS, one), most)) for one in needs]

            def follow(runs: Mapping[str, float]) -> None:
                for reservation, (run_id, base) in zip(made, runs.items(), strict=True):
                    reservation.base = base
                    self._quotas.follow(visitor, reservation, run_id, most)

            yield follow
        except BaseException:
            self._quotas.settle(visitor, NEW, 0.0)
            raise

    def settle(self, visitor: Visitor) -> None:
        """Give back what ended trainings did not take of their minutes."""
        names = {one.name for one in self._quotas.reservations(visitor) if not one.settled} - {EVALUATION}
        for run in self._own_runs() if names else ():
            if run.run_id in names and run.status not in ACTIVE:
                self._quotas.settle(visitor, run.run_id, run.seconds)

    def left(self, visitor: Visitor) -> dict[str, Any]:
        """What the visitor still has: `texts` this minute, `minutes` of training today.

        `set_aside` are the minutes reserved for what trains now: those it does not take come back.
        """
        self.settle(visitor)
        reserved = sum(one.seconds for one in self._quotas.reservations(visitor) if not one.settled)
        return {
            "texts": self._quotas.remaining("text", visitor),
            "minutes": round(self._quotas.seconds_left(visitor) / MINUTE, 1),
            "set_aside": round(reserved / MINUTE, 1),
        }
