"""Runs, trainings and models as one visitor of a public Space meets them: own and shipped ones only, within limits."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.analysis.measurement import Progress, listed
from charlm.config import ModelConfig, SampleConfig
from charlm.data.corpus import Corpus
from charlm.data.own_texts import KeptText, OwnTexts, Upload
from charlm.data.text_store import forget
from charlm.errors import CheckpointError, JobError, LimitError
from charlm.jobs import JobStatus, QueueEntry, RunStatus, StatusAnswer
from charlm.jobs.service import Jobs
from charlm.presets import RunConfig
from charlm.pretrained import Pretrained
from charlm.public import limits
from charlm.public.identity import Who, someone
from charlm.public.limits import ELSEWHERE, Limits, Visitor
from charlm.public.quotas import EVALUATION, MINUTE, Quotas, TrainingQuota
from charlm.public.votes import VisitorVotes
from charlm.runs.run import ACTIVE, Run
from charlm.runs.store import RunStore, no_run
from charlm.serving import Finding, GeneratedText, NgramBaselines, Serving, Starts
from charlm.serving.compared import Writer, check_compared
from charlm.serving.measurements import GYM, Question, ask_all
from charlm.serving.pretrained import CHARACTERS, PretrainedModels, Scores, offered
from charlm.serving.texts import own_text
from charlm.serving.votes import Votes

if TYPE_CHECKING:
    from charlm.analysis.cross import Cross
    from charlm.analysis.new_items import NewItems
    from charlm.analysis.next_tokens import Outlook

EVALUATION_SECONDS = 60.0  # reserved for scoring a text; what it took is what counts
MOST_ITEMS = 100  # of a list, that a visitor lets a model write at a time
MOST_SCORERS = 4  # visitors whose text is scored, or waits for that; each of them takes a thread


class VisitorRuns:
    """The run store as one visitor sees it: the shipped runs and the visitor's own; all others do not exist.

    Args:
        store: all runs.
        who: asks at every call.
        limits: the table.
    """

    def __init__(self, store: RunStore, who: Who, limits: Limits) -> None:
        self._store, self._who, self._limits = store, who, limits

    def owns(self, run: Run) -> bool:
        """Whether it is the visitor's own."""
        visitor = self._who()
        return visitor is not None and not run.shipped and run.owner == visitor.key

    def shows(self, run: Run) -> bool:
        """Whether it is listed; who has no secret of their own shares an address, and has to know the id."""
        visitor = self._who()
        return run.shipped or (visitor is not None and visitor.known and run.owner == visitor.key)

    def list(self) -> list[Run]:
        """See `RunStore.list`."""
        return [run for run in self._store.list() if self.shows(run)]

    def get(self, run_id: str) -> Run:
        """See `RunStore.get`; another visitor's run is answered as one that never was."""
        run = self._store.get(run_id)
        if not (run.shipped or self.owns(run)):
            raise no_run(run_id)
        return run

    def own(self, deleted: bool = False) -> Sequence[Run]:
        """The visitor's own; `deleted`: those in the trash, too."""
        runs = [*self._store.list(), *(self._store.trashed() if deleted else ())]
        return [run for run in runs if self.owns(run)]

    def check_room(self, more: int) -> None:
        """Refuse more runs than one may keep.

        Raises:
            LimitError: says how many there are.
        """
        if (kept := len(self.own())) + more > self._limits.runs:
            raise LimitError(
                f"{kept} of the {self._limits.runs} runs you may keep on this public Space are there and {more} more "
                f"{'is' if more == 1 else 'are'} wanted; delete some, train fewer at a time, or {ELSEWHERE}"
            )

    def take_in(self, path: Path, corpus: Corpus | None = None, **options: Any) -> Run:
        """As `charlm.formats.imports.import_file`, without pickles.

        Args:
            path: of the uploaded file.
            corpus: the text to measure it on.
            options: others of `import_file`.

        Raises:
            LimitError: as many runs are kept as may be, or the text is too long.
        """
        from charlm.formats.imports import import_file

        self.check_room(1)
        if corpus is not None:
            limits.check_text_size(self._limits, limits.utf8_size(corpus.text))

        def accept(model: ModelConfig) -> None:
            limits.check_context(self._limits, model)
            if model.is_counted:  # small files make large tables
                limits.check_model(self._limits, model, 0)

        most = self._limits.checkpoint_bytes
        return import_file(self._store, path, corpus=corpus, pickles=False, most_bytes=most, accept=accept, **options)

    def rename(self, run: Run, label: str) -> None:
        """See `RunStore.rename`."""
        self._store.rename(self.get(run.run_id), label)

    def annotate(self, run: Run, note: str) -> None:
        """See `RunStore.annotate`."""
        self._store.annotate(self.get(run.run_id), note)

    def delete(self, run: Run) -> None:
        """See `RunStore.delete`."""
        self._store.delete(self.get(run.run_id))

    def trim(self, run: Run) -> int:
        """See `RunStore.trim`."""
        return self._store.trim(self.get(run.run_id))

    def trashed(self) -> Sequence[Run]:
        """See `RunStore.trashed`."""
        return [run for run in self._store.trashed() if self.shows(run)]  # none is shipped

    def restore(self, run_id: str) -> Run:
        """See `RunStore.restore`.

        Raises:
            CheckpointError, LimitError: it is not there, cannot be moved, or as many runs are kept as may be.
        """
        if run_id not in [run.run_id for run in self._store.trashed() if self.owns(run)]:
            raise CheckpointError(f"there is no run {run_id[:80]!r} in the trash")
        self.check_room(1)
        return self._store.restore(run_id)

    def empty_trash(self) -> int:
        """See `RunStore.empty_trash`."""
        return self._store.empty_trash(self.trashed())

    def delete_all(self) -> int:
        """Remove all runs of the visitor for good, those in the trash too, and texts that no other run is about.

        Returns:
            How many runs.

        Raises:
            CharLMError: one is at work, or cannot be removed.
        """
        for run in self.own():
            self._store.delete(run)
        gone = [run for run in self._store.trashed() if self.owns(run)]
        self._store.empty_trash(gone)
        left = {run.corpus.get("sha256") for run in [*self._store.list(), *self._store.trashed()]}
        for sha256 in {str(run.corpus.get("sha256") or "") for run in gone} - left - {""}:
            forget(sha256)
        return len(gone)


class VisitorTexts:
    """Uploaded and pasted texts as one visitor sees them: the visitor's own only.

    Args:
        texts: those of all.
        who: asks at every call.
        limits: the table.

    Attributes:
        most_files, most_bytes: see `OwnTexts`.
    """

    def __init__(self, texts: OwnTexts, who: Who, limits: Limits) -> None:
        self._texts, self._who, self._limits = texts, who, limits
        self.most_files, self.most_bytes = limits.texts, limits.texts * limits.corpus_bytes

    def list(self) -> list[KeptText]:
        """The visitor's, newest first; none for who has no secret of their own and shares an address."""
        visitor = self._who()
        return [*self._own(visitor)] if visitor is not None and visitor.known else []

    def keep(self, upload: Upload) -> str:
        """See `OwnTexts.keep`; where nobody could delete them, those not opened for longest make room.

        Raises:
            CorpusError: it cannot be written.
            LimitError: as many are kept as may be.
        """
        visitor = someone(self._who)
        upload = replace(upload, owner=visitor.key)
        own = [one for one in self._own(visitor) if one.key != upload.key]
        if visitor.known and len(own) >= self.most_files:
            raise LimitError(
                f"{len(own)} of the {self.most_files} texts you may keep on this public Space are there; "
                f"delete some under Your texts, or {ELSEWHERE}"
            )
        if not visitor.known:
            self._texts.make_room(own, self.most_files - 1)
        self._texts.make_room(self._texts.list(), self._limits.together_texts - 1)
        return self._texts.write(upload)

    def delete(self, key: str) -> None:
        """See `OwnTexts.delete`; another visitor's stays."""
        if key in [one.key for one in self._own(someone(self._who))]:
            self._texts.delete(key)

    def delete_all(self) -> None:
        """Delete all that the visitor uploaded or pasted."""
        for one in self._own(someone(self._who)):
            self._texts.delete(one.key)

    def _own(self, visitor: Visitor) -> Sequence[KeptText]:
        return [one for one in self._texts.list() if one.owner == visitor.key]


class VisitorPretrained:
    """Pretrained models as visitors meet them: those that CHARLM_PRETRAINED offers, loaded once for all.

    Args:
        models: those in memory.
    """

    def __init__(self, models: PretrainedModels) -> None:
        self._models = models
        self.list, self.get = models.list, models.get

    def load(self, source: str) -> Pretrained:
        """See `PretrainedModels.load`.

        Raises:
            LimitError: the owner of this Space does not offer it.
        """
        if source.strip() not in (names := offered()):
            which = f"offers {listed(names)}" if names else "offers none"
            raise LimitError(f"{source.strip()[:80]!r} is not loaded here: this public Space {which}; or {ELSEWHERE}")
        return self._models.load(source)

    def remove(self, source: str) -> None:
        """Refused: others write with it."""
        raise LimitError("on a public Space pretrained models stay loaded for all visitors")


class VisitorServing:
    """The models as one visitor may use them: so many texts a minute, of so many characters.

    Args:
        serving: generates for all.
        who: asks at every call.
        quotas: what each visitor has used.
    """

    def __init__(self, serving: Serving, who: Who, quotas: Quotas) -> None:
        self._serving, self._who, self._quotas, self._limits = serving, who, quotas, quotas.limits
        self.baselines: NgramBaselines = serving.baselines
        self.lexicon, self.with_token = serving.lexicon, serving.with_token  # cost little, and say nothing of others
        self.pretrained = VisitorPretrained(serving.pretrained)
        self.votes = VisitorVotes(Votes(serving.store, self.compare), who, quotas.limits)
        self._lock = threading.Lock()
        self._generating = 0  # texts in progress, of all visitors
        self._measuring = threading.Lock()
        self._measured = count(1)  # names of what is reserved for measurements
        self._scoring = threading.Lock()
        self._scorers: set[str] = set()  # keys of visitors

    def generate(self, run: Writer, prompt: str, config: SampleConfig) -> Iterator[GeneratedText]:
        """See `Serving.generate`.

        Raises:
            LimitError: too long, too often, or too many texts are being written.
        """
        limits.check_sampling(self._limits, prompt, config)
        with self._place(1, config.rows):
            yield from self._serving.generate(run, prompt, config)

    def compare(
        self, runs: Sequence[Writer], prompt: str, config: SampleConfig, starts: Starts | None = None
    ) -> Iterator[dict[str, GeneratedText]]:
        """See `Serving.compare`; it counts as one generation, or as many as there are samples of one model, or beams.

        Raises:
            LimitError: too long, too often, or too many texts are being written.
        """
        samples = max([config.samples, *map(len, (starts or {}).values())])
        limits.check_sampling(self._limits, prompt, config)
        with self._place(len(runs), samples * config.beams):
            yield from self._serving.compare(runs, prompt, config, starts)

    def next_tokens(self, run: Run, prompt: str, text: str, config: SampleConfig, count: int) -> "Outlook":
        """See `Serving.next_tokens`.

        Raises:
            LimitError: looked at too often.
        """
        self._quotas.take("look", someone(self._who))
        return self._serving.next_tokens(run, prompt, text, config, count)

    def evaluate(self, run: Run, text: str | None = None, split: str = "") -> dict[str, Any]:
        """See `Serving.evaluate`, one at a time; its seconds count as training.

        Raises:
            LimitError: the text is too long, the day's minutes are used up, or another visitor's is being scored.
        """
        visitor = someone(self._who)
        limits.check_text_size(self._limits, limits.utf8_size(own_text(run) if text is None else text))
        with self._turn(visitor):
            self._quotas.reserve(visitor, EVALUATION, EVALUATION_SECONDS)
            began = time.monotonic()
            try:
                return self._serving.evaluate(run, text, split)
            finally:
                self._quotas.settle(visitor, EVALUATION, time.monotonic() - began)

    def items(
        self, run: Run, count: int, prompt: str = "", config: SampleConfig | None = None, check: str = ""
    ) -> "NewItems":
        """See `Serving.items`, one at a time and without a check; its seconds count as training.

        Raises:
            LimitError: too many, too long, the day's minutes are used up, or another visitor's text is being scored.
        """
        visitor, config = someone(self._who), config or SampleConfig()
        limits.check_sampling(self._limits, prompt, config)
        if count > MOST_ITEMS:
            raise LimitError(f"this public Space writes {MOST_ITEMS} items at a time, not {count:,}; or {ELSEWHERE}")
        with self._turn(visitor):
            self._quotas.reserve(visitor, EVALUATION, EVALUATION_SECONDS)
            began = time.monotonic()
            try:
                return self._serving.items(run, count, prompt, config)
            finally:
                self._quotas.settle(visitor, EVALUATION, time.monotonic() - began)

    def known_cross(
        self, runs: Sequence[Run], options: Mapping[str, Any] | None = None, called: Sequence[str] = ()
    ) -> "Cross | None":
        """See `Serving.known_cross`."""
        return self._serving.known_cross(runs, options, called)

    def cross(
        self, runs: Sequence[Run], options: Mapping[str, Any] | None = None, called: Sequence[str] = ()
    ) -> "Iterator[Progress[Cross]]":
        """See `Serving.cross`; one at a time, of so many seconds a run, which count as training.

        Raises:
            LimitError: it takes too long, the day's minutes are used up, or another visitor's text is being scored.
        """
        check_compared(runs)
        if (known := self.known_cross(runs, options, called)) is not None:
            yield Progress(1.0, known)
            return
        with self._timed(len(runs)) as check_time:
            for progress in self._serving.cross(runs, options, called):
                yield progress
                if progress.result is None:
                    check_time()

    def score(self, models: Sequence[Writer], characters: int = CHARACTERS) -> "Iterator[Progress[Scores]]":
        """See `Serving.score`; one at a time, of so many seconds a model, which count as training.

        Raises:
            LimitError: too many characters, it takes too long, the day's minutes are used up, or another visitor's
                text is being scored.
        """
        check_compared(models)
        if not 1 <= characters <= CHARACTERS:
            said = f"{characters:,} characters" if characters else "all of a text"
            raise LimitError(f"this public Space scores up to {CHARACTERS:,} characters, not {said}; or {ELSEWHERE}")
        with self._timed(len(models)) as check_time:
            for progress in self._serving.score(models, characters):
                yield progress
                if progress.share < 1:
                    check_time()

    @contextmanager
    def _timed(self, models: int) -> Iterator[Callable[[], None]]:
        """A measurement that is made while the visitor waits; gives what refuses to go on when it has taken too long.

        Args:
            models: that are measured, each with so many seconds.
        """
        visitor, most = someone(self._who), float(self._limits.measurement_seconds) * models
        with self._turn(visitor):
            self._quotas.reserve(visitor, EVALUATION, most)
            began = time.monotonic()

            def check() -> None:
                if time.monotonic() - began > most:
                    raise LimitError(
                        f"it takes longer than the {most:.0f} seconds that this public Space gives {models} "
                        f"model{'s' * (models > 1)}; choose fewer or smaller ones, or {ELSEWHERE}"
                    )

            try:
                yield check
            finally:
                self._quotas.settle(visitor, EVALUATION, time.monotonic() - began)

    def inspect(
        self,
        name: str,
        runs: Sequence[Run],
        text: str | None = None,
        options: Mapping[str, Any] | None = None,
        begin: bool = True,
    ) -> list[Finding]:
        """See `Serving.inspect`: one measurement at a time, of so many seconds a run, which count as training.

        Raises:
            LimitError: the text is too long, another measurement is at work, or the day's minutes are used up.
        """
        visitor, measurements = someone(self._who), self._serving.measurements
        if name != GYM:
            check_compared(runs)
        if text is not None:
            limits.check_text_size(self._limits, limits.utf8_size(text))
        asked = ask_all(name, runs, text, options, visitor.key)
        questions = [one for one in asked if isinstance(one, Question)]
        known = [measurements.look(one) for one in questions]
        if begin and any(one is None or one.is_unfinished for one in known):
            with self._measuring:  # two clicks at once are one
                self._begin(visitor, questions)
            known = [measurements.look(one) for one in questions]
        found = iter(known)
        return [one if isinstance(one, Finding) else next(found) or Finding(one.run) for one in asked]

    def _begin(self, visitor: Visitor, questions: Sequence[Question]) -> None:
        """Have all of them measured, or none; what they take of the reserved seconds is what counts.

        Raises:
            LimitError: see `inspect`.
        """
        measurements, most = self._serving.measurements, float(self._limits.measurement_seconds)
        if {one.identity for one in measurements.at_work(visitor.key)} - {one.identity for one in questions}:
            raise LimitError(
                f"{self._limits.measurements} measurement of yours is at work, and this public Space makes one "
                f"at a time; stop it, wait for it, or {ELSEWHERE}"
            )
        looked = [(one, measurements.look(one)) for one in questions]
        wanted = [one for one, known in looked if known is None or known.is_unfinished]
        names = [f"{EVALUATION} {next(self._measured)}" for _ in wanted]
        begun = list[Question]()
        try:
            for name in names:
                self._quotas.reserve(visitor, name, most)
            for one, name in zip(wanted, names, strict=True):
                measurements.begin(one, most, partial(self._quotas.settle, visitor, name))
                begun.append(one)
        except BaseException:
            for one in begun:  # it ends at once, and settles what it took
                measurements.stop(one)
            for name in names[len(begun) :]:
                self._quotas.settle(visitor, name, 0.0)
            raise

    def stop_inspecting(
        self, name: str, runs: Sequence[Run], text: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        """See `Serving.stop_inspecting`."""
        for question in ask_all(name, runs, text, options, someone(self._who).key):
            if isinstance(question, Question):
                self._serving.measurements.stop(question)

    def stop_all(self) -> bool:
        """End what is measured for the visitor, each after its present step; returns whether all of it has ended."""
        measurements, key = self._serving.measurements, someone(self._who).key
        for question in measurements.at_work(key):
            measurements.stop(question)
        return not measurements.at_work(key)

    def forget_all(self) -> None:
        """Forget what was measured for the visitor, when none of it is at work; see `Measurements.forget`."""
        self._serving.measurements.forget(someone(self._who).key)

    @contextmanager
    def _turn(self, visitor: Visitor) -> Iterator[None]:
        """Scoring, one text at a time; few visitors may wait for it, and none twice."""
        refusal = LimitError(f"another text is being scored just now; try again in a minute, or {ELSEWHERE}")
        with self._lock:
            if visitor.key in self._scorers or len(self._scorers) >= MOST_SCORERS:
                raise refusal
            self._scorers.add(visitor.key)
        try:
            if not self._scoring.acquire(timeout=EVALUATION_SECONDS / 4):
                raise refusal
            try:
                yield
            finally:
                self._scoring.release()
        finally:
            with self._lock:
                self._scorers.discard(visitor.key)

    @contextmanager
    def _place(self, models: int, rows: int) -> Iterator[None]:
        """Places among the texts in progress, so many for each model, and as many of the visitor's generations."""
        visitor, texts = someone(self._who), models * rows
        with self._lock:
            if (others := self._generating) + texts > self._limits.together_writing:
                raise LimitError(
                    f"{others} texts are being written just now; try again in some seconds, or {ELSEWHERE}"
                )
            self._quotas.take("text", visitor, rows)
            self._generating += texts
        try:
            yield
        finally:
            with self._lock:
                self._generating -= texts


class VisitorJobs:
    """The trainings as one visitor may use them: within the table of limits, and no one else's.

    Args:
        jobs: all trainings.
        runs: what the visitor may know of.
        who: asks at every call.
        quotas: what each visitor has used.
    """

    def __init__(self, jobs: Jobs, runs: VisitorRuns, who: Who, quotas: Quotas) -> None:
        self._jobs, self._runs, self._who, self._limits = jobs, runs, who, quotas.limits
        self._quota = TrainingQuota(quotas, partial(runs.own, deleted=True))
        self._starting = threading.RLock()  # two requests at once count as two
        jobs.may_go_on = quotas.may_go_on

    def start(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> list[str]:
        """See `Jobs.start`; what the settings leave open ends with the visitor's minutes.

        Raises:
            LimitError: see `TrainingQuota.check_new`; or too many runs are kept or wait, or the day's minutes are gone.
        """
        visitor = someone(self._who)
        self._runs.check_room(len(archs))  # first: a list of a million names is not worth a look
        trainings = config.race.trainings(archs)
        self._runs.check_room(trainings)
        self._quota.check_new(corpus, config, archs)
        config = self._quota.with_own_minutes(corpus, config, archs)
        with self._starting:
            self._check_room(trainings)
            minutes = self._quota.share(visitor, trainings) / MINUTE
            minutes = min(config.train.minutes or minutes, minutes)
            steps = config.train.steps or (0 if config.race.budget == "seconds" else self._limits.steps)
            train = replace(config.train, minutes=minutes, steps=steps)
            needs = self._quota.needs(corpus, replace(config, train=train), archs)
            with self._quota.reserved(visitor, needs, minutes * MINUTE) as follow:
                ids = self._jobs.start(corpus, replace(config, train=train), archs)
                follow(dict.fromkeys(ids, 0.0))
        return ids

    def resume(self, run_id: str, options: Mapping[str, Any] | None = None) -> StatusAnswer:
        """See `Jobs.resume`; a run has its steps and minutes once, however often it is resumed."""
        visitor, run, options = someone(self._who), self._runs.get(run_id), options or {}
        if run.status in ACTIVE:
            return self._jobs.resume(run_id, options)
        with self._starting:
            self._quota.check_run(run)
            self._check_room(0)
            steps = max(0, run.train_config.steps - run.step)
            budget = self._quota.budget(run, options, steps, self._quota.steps_left(run))
            seconds = self._quota.seconds(visitor, run, options)
            with self._quota.reserved(visitor, [self._quota.needs_more(run, budget)], seconds) as follow:
                state = self._jobs.resume(run_id, {**options, **budget, "minutes": seconds / MINUTE})
                follow({run_id: run.seconds})
        return state

    def fork(self, run_id: str, options: Mapping[str, Any] | None = None, corpus: Corpus | None = None) -> StatusAnswer:
        """See `Jobs.fork`; the new run has steps and minutes of its own."""
        visitor, parent, options = someone(self._who), self._runs.get(run_id), options or {}
        with self._starting:
            self._quota.check_run(parent, corpus)
            if corpus is not None and options.get("grow"):
                self._check_grown(parent, corpus)
            self._check_room(1)
            usual, most = max(0, parent.train_config.steps - parent.step) or max(1, parent.step), self._limits.steps
            budget = self._quota.budget(parent, options, min(usual, most), most)
            seconds = self._quota.seconds(visitor, None, options)
            with self._quota.reserved(visitor, [self._quota.needs_more(parent, budget)], seconds) as follow:
                state = self._jobs.fork(run_id, {**options, **budget, "minutes": seconds / MINUTE}, corpus)
                follow({state["run_id"]: self._runs.get(state["run_id"]).seconds})
        return state

    def _check_grown(self, parent: Run, corpus: Corpus) -> None:
        """Refuse a fork that takes in more characters than a model may have here."""
        from charlm.runs.resume import grown_tokenizer
        from charlm.training.estimate import count_parameters

        model = replace(parent.model_config, vocab_size=grown_tokenizer(parent, corpus).vocab_size)
        limits.check_model(self._limits, model, count_parameters(model))

    def retry(self, run_id: str) -> StatusAnswer:
        """See `Jobs.retry`."""
        from charlm.runs.resume import fixed  # torch takes seconds: not before it is needed

        visitor, failed = someone(self._who), self._runs.get(run_id)
        config = fixed(failed)
        limits.check_training(self._limits, config)
        if not config.minutes:  # it was not started here
            raise LimitError(f"{failed.label} has no limit of time; train it from scratch, or {ELSEWHERE}")
        with self._starting:
            self._quota.check_run(failed)
            self._check_room(1)
            self._quota.settle(visitor)
            need = self._quota.needs_more(failed, {"steps": config.steps, "epochs": config.epochs})
            with self._quota.reserved(visitor, [need], config.minutes * MINUTE) as follow:
                state = self._jobs.retry(run_id)
                follow({state["run_id"]: 0.0})
        return state

    def _check_room(self, new_runs: int) -> None:
        if new_runs:
            self._runs.check_room(new_runs)
        if self._jobs.waiting() >= (most := self._limits.together_waiting):
            raise LimitError(f"{most} trainings wait already; try again in some minutes, or {ELSEWHERE}")

    def pause(self, run_id: str) -> StatusAnswer:
        """Refused: others wait for their turn."""
        self._runs.get(run_id)
        raise LimitError(
            "a training cannot be paused on a public Space, where others wait; stop it, and resume it later"
        )

    def change_rate(self, run_id: str, rate: float, race: bool = False) -> StatusAnswer:
        """See `Jobs.change_rate`."""
        return self._jobs.change_rate(self._runs.get(run_id).run_id, rate, race)

    def move(self, run_id: str, by: int) -> StatusAnswer:
        """Refused: the queue keeps its order."""
        self._runs.get(run_id)
        raise LimitError(f"on a public Space the queue keeps its order; wait for your turn, or {ELSEWHERE}")

    def set_at_once(self, number: float) -> None:
        """Refused."""
        raise LimitError(f"a public Space has {self.at_once} training at once; {ELSEWHERE}")

    @property
    def at_once(self) -> int:
        """See `Jobs.at_once`."""
        return self._jobs.at_once

    def stop(self, run_id: str) -> StatusAnswer:
        """See `Jobs.stop`."""
        return self._jobs.stop(self._runs.get(run_id).run_id)

    def stop_job(self, run_id: str) -> None:
        """See `Jobs.stop_job`."""
        self._jobs.stop_job(self._runs.get(run_id).run_id)

    def stop_all(self) -> bool:
        """Stop all trainings of the visitor, each after its present step; returns whether all of them have ended."""
        for run in self._runs.own():
            if run.status in ACTIVE:
                with suppress(JobError):  # it has ended by itself meanwhile
                    self._jobs.stop(run.run_id)
        return not any(run.status in ACTIVE for run in self._runs.own())

    def interrupted(self) -> list[Run]:
        """See `Jobs.interrupted`."""
        return self._jobs.interrupted(self._runs.shows)

    def resume_interrupted(self) -> None:
        """See `Jobs.resume_interrupted`, one run after the other."""
        for run in self.interrupted():
            self.resume(run.run_id)

    def dismiss_interrupted(self) -> None:
        """See `Jobs.dismiss_interrupted`."""
        self._jobs.dismiss_interrupted(self._runs.shows)

    def status(self, run_id: str, since_step: int = -1) -> StatusAnswer:
        """See `Jobs.status`."""
        return self._jobs.status(self._runs.get(run_id).run_id, since_step)

    def state(self, run: Run) -> RunStatus:
        """See `Jobs.state`."""
        return self._jobs.state(self._runs.get(run.run_id))

    def current(self) -> JobStatus | None:
        """See `Jobs.current`; it cannot be paused."""
        job = self._jobs.current(self._runs.shows)
        return {**job, "pausable": False} if job else None

    def queue_list(self) -> list[QueueEntry]:
        """See `Jobs.queue_list`; no job can be moved."""
        return [{**job, "movable": False} for job in self._jobs.queue_list(self._runs.shows)]

    def queue(self) -> list[list[str]]:
        """See `Jobs.queue`."""
        return self._jobs.queue(self._runs.shows)

    def left(self) -> dict[str, Any]:
        """See `TrainingQuota.left`, and how many `runs` the visitor may still keep."""
        runs = max(0, self._limits.runs - len(self._runs.own()))
        return {**self._quota.left(someone(self._who)), "runs": runs}
