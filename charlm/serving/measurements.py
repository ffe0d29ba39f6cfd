"""Measurements of trained runs: made in a thread of their own, kept on disk, and ended on request."""

import hashlib
import json
import logging
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from charlm.analysis.measurement import Measured, Progress, Subject
from charlm.analysis.settings import SETTINGS
from charlm.config import LEVEL_NAMES, Config
from charlm.data.catalog import data_dir
from charlm.errors import CharLMError, CheckpointError, ConfigError, CorpusError, LimitError, MeasurementError
from charlm.files import fingerprint, is_of_type, is_utf8, open_plain, read, write_atomically
from charlm.runs.run import ACTIVE, Run
from charlm.runs.store import SHIPPED
from charlm.serving.baselines import keep
from charlm.serving.texts import held_out_text, training_text

log = logging.getLogger(__name__)

# Each has a module of its name in charlm/analysis; and what it tells.
MEASUREMENTS = {
    "memory": "How many tokens of context a model uses: the loss when it is given only the last k tokens.",
    "gradient": "How far back in time the gradient of the loss reaches.",
    "surprise": "What each token of a text cost in bits, and which others were likely.",
    "neurons": "Which units follow a property of the text, and what the loss does when one of them is clamped.",
    "dynamics": "Time scales of the units, saturation of the gates, spectral radii, and the Lyapunov exponent.",
    "copies": "What of a text stands verbatim in the training text.",
    "history": "What a model had learned at each of the steps that its run kept.",
}
OF_LISTS = ("copies",)  # that make sense for a model of separate items
GYM = "gym"  # has no run: its models are its own
FOLDER = "measured"  # beside a run's own files; of the included runs in the data folder
MOST_BYTES = 1 << 24  # of a result on disk
KEPT = 64  # results in memory, of up to some 10 MB each; those dropped are read from disk again
KEPT_FILES = 200  # in a folder; the oldest beyond are removed
WAITING = 48  # measurements begun and not ended: every panel with as many models as may be compared
MOST_TEXT = 2_000_000  # characters of a pasted text
REST = 0.25  # seconds at most that a step rests while a training runs


@dataclass(frozen=True)
class Question:
    """One measurement of one run.

    Attributes:
        name: of MEASUREMENTS, or GYM.
        run: its best weights are measured; None: the gym.
        settings: how; the Settings of the measurement's module.
        text: to measure it on; None: what was held out of its own.
        owner: the visitor who asks; empty where all belongs to one user.
    """

    name: str
    run: Run | None
    settings: Config
    text: str | None = None
    owner: str = ""

    @cached_property
    def key(self) -> str:
        """Measurement, weights, text and settings in some letters.

        Raises:
            CheckpointError: the run has no weights.
        """
        facts = [
            self.name,
            getattr(module_of(self.name), "VERSION", 1),
            weights_sha256(self.run) if self.run else "",
            self.run.corpus.get("sha256", "") if self.run else "",
            self.text if self.text is None else hashlib.sha256(self.text.encode()).hexdigest(),
            self.settings.to_dict(),
        ]
        if self.run and self.name == "history":
            facts.append(self.run.snapshots())
        return f"{self.name}-{fingerprint(facts)}"

    @property
    def identity(self) -> tuple[str, str, str]:
        """Whose question about which run: two of the same key may have other initial weights, tokens or readers."""
        return self.owner, self.run.run_id if self.run else "", self.key

    @property
    def places(self) -> tuple[Path, ...]:
        """Where the result may be, the last of them where it is written: of an included run, in the data folder."""
        name, beside = f"{self.key}.json", self.run.folder / FOLDER if self.run else SHIPPED / GYM
        if self.run and not self.run.shipped:
            return (beside / name,)
        return beside / name, data_dir() / FOLDER / (self.owner or "own") / name

    @property
    def label(self) -> str:
        """What is measured, in a message."""
        return self.run.label if self.run else "the gym"


@dataclass(frozen=True)
class Finding:
    """How far a measurement of a run is.

    Attributes:
        run: that is measured; None: the gym.
        share: of its work that is done, 0 to 1.
        result: found so far, as JSON; None: nothing yet.
        done: no more will come.
        error: why there is no result, in a sentence.
        seconds: that it has computed.
        begun: somebody has asked for it.
    """

    run: Run | None
    share: float = 0.0
    result: dict[str, Any] | None = None
    done: bool = False
    error: str = ""
    seconds: float = 0.0
    begun: bool = False

    @property
    def is_unfinished(self) -> bool:
        """Whether it was stopped, ran out of time or failed."""
        return self.done and self.share < 1.0


def measured_as(label: str, run: Run | None, result: dict[str, Any]) -> Measured[Any]:
    """A result under the name that its model is to be called by.

    Args:
        label: the name.
        run: that was measured; None: the gym.
        result: what was found.
    """
    if run is None:
        return Measured(label, "", result)
    return Measured(label, run.arch, result, run.train_config.seq_len, LEVEL_NAMES[run.level])


@dataclass
class Task:
    """A measurement that was begun and has not ended."""

    question: Question
    most_seconds: float
    on_end: Callable[[float], None]
    finding: Finding
    stopped: bool = False
    steps: Iterator[Progress[Any]] | None = field(default=None, repr=False)


def settings_class(name: str) -> type[Config]:
    """How a measurement is set.

    Raises:
        ConfigError: there is no such measurement.
    """
    if name not in (*MEASUREMENTS, GYM):
        raise ConfigError(f"{name[:40]!r} is not one of: {', '.join((*MEASUREMENTS, GYM))}")
    return SETTINGS[name]


def module_of(name: str) -> Any:
    """The module of a measurement of MEASUREMENTS, or GYM; torch is imported with it."""
    return import_module(f"charlm.analysis.{name}")


def ask(
    name: str, run: Run | None, text: str | None = None, options: Mapping[str, Any] | None = None, owner: str = ""
) -> Question:
    """A question that is checked.

    Args:
        name: of MEASUREMENTS, or GYM, without run and text.
        run: see `Question`.
        text: see `Question`.
        options: of the measurement's Settings; others have their defaults. A given text is itself looked for in the
            training text by `copies`.
        owner: see `Question`.

    Raises:
        ConfigError: no such measurement or setting, or a value out of range.
        MeasurementError: the run is still training, or the text is empty or too long.
    """
    usual = {"source": "pasted"} if name == "copies" and text is not None else {}
    settings = settings_class(name).from_dict({**usual, **(options or {})})
    if run and run.status in ACTIVE:
        raise MeasurementError(f"{run.label} is still training; measure it when it has ended, or stop it")
    if text is not None and not is_utf8(text):
        raise MeasurementError("the text holds half a character (a lone surrogate); paste it again")
    if text is not None and not text.strip():
        raise MeasurementError("the text to measure on is empty; paste one, or take what was held out of the run's own")
    if text is not None and len(text) > MOST_TEXT:
        raise MeasurementError(f"the text has {len(text):,} characters; at most {MOST_TEXT:,} can be measured on")
    return Question(name, run, settings, text, owner)


def ask_all(
    name: str, runs: Sequence[Run], text: str | None, options: Mapping[str, Any] | None, owner: str = ""
) -> list[Question | Finding]:
    """The question of each run, or the finding that says why it cannot be asked.

    Args:
        name, text, options, owner: see `ask`.
        runs: that are asked about.

    Raises:
        ConfigError: see `ask`.
    """
    if name == GYM:
        return [ask(name, None, None, options, owner)]
    questions: list[Question | Finding] = []
    for run in runs:
        try:
            question = ask(name, run, text, options, owner)
            _ = question.key  # the weights are there
            questions.append(question)
        except (MeasurementError, CheckpointError) as error:
            questions.append(Finding(run, done=True, error=str(error)))
    return questions


class Measurements:
    """Answers questions in a thread: one step of one measurement after the other, those without a picture first.

    Args:
        is_training: whether a training runs in this process and should get most of the machine.
    """

    def __init__(self, is_training: Callable[[], bool] = lambda: False) -> None:
        self._is_training = is_training
        self._lock = threading.Lock()
        self._tasks: OrderedDict[tuple[str, str, str], Task] = OrderedDict()  # by identity
        self._ended: OrderedDict[tuple[str, str, str], Finding] = OrderedDict()
        self._thread: threading.Thread | None = None

    def look(self, question: Question) -> Finding | None:
        """How far it is: under way, ended or kept on disk; None: nobody has asked for it yet.

        Raises:
            CheckpointError: the run has no weights.
        """
        with self._lock:
            found = self._known(question)
        if found is None and (result := kept(question)) is not None:
            with self._lock:
                if (found := self._known(question)) is None:  # nobody has begun it meanwhile
                    found = Finding(question.run, 1.0, result, done=True)
                    keep(self._ended, question.identity, found, KEPT)
        return found and replace(found, run=question.run)

    def _known(self, question: Question) -> Finding | None:
        """What is known of it in memory; called with the lock."""
        task = self._tasks.get(question.identity)
        return task.finding if task else self._ended.get(question.identity)

    def begin(
        self, question: Question, most_seconds: float = 0.0, on_end: Callable[[float], None] = lambda seconds: None
    ) -> Finding:
        """Have it measured, unless it is known or under way; one that failed or was stopped begins again.

        Args:
            question: what is asked.
            most_seconds: of computing, after which what was found so far is all; 0: as long as it takes.
            on_end: is called with its seconds when it ends, however it ends; with 0 if it was known or under way.

        Raises:
            CheckpointError: the run has no weights.
            LimitError: too many measurements wait.
        """
        self.look(question)  # what is on disk is known from here on
        with self._lock:
            if task := self._tasks.get(question.identity):
                task.stopped = False  # wanted again before it has ended
            known = self._known(question)
            if known is None or known.is_unfinished:
                return self._add(question, most_seconds, on_end)
        on_end(0.0)
        return replace(known, run=question.run)

    def _add(self, question: Question, most_seconds: float, on_end: Callable[[float], None]) -> Finding:
        """See `begin`; called with the lock."""
        if len(self._tasks) >= WAITING:
            raise LimitError(f"{WAITING} measurements wait already; try again when some have ended, or stop them")
        self._ended.pop(question.identity, None)
        found = Finding(question.run, begun=True)
        self._tasks[question.identity] = Task(question, most_seconds, on_end, found)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="charlm-measurements", daemon=True)
            self._thread.start()
        return found

    def stop(self, question: Question) -> None:
        """End a measurement after its present step; what it has found so far stays to be seen."""
        with self._lock:
            if task := self._tasks.get(question.identity):
                task.stopped = True

    def at_work(self, owner: str = "") -> list[Question]:
        """What was begun for a visitor and has not ended."""
        with self._lock:
            return [task.question for task in self._tasks.values() if task.question.owner == owner]

    def forget(self, owner: str) -> None:
        """Forget what a visitor has measured; nothing of theirs is at work.

        Raises:
            MeasurementError: a result cannot be removed.
        """
        with self._lock:
            for identity in [one for one in self._ended if one[0] == owner]:
                del self._ended[identity]
        folder = data_dir() / FOLDER / owner
        try:
            if owner and folder.is_dir():
                shutil.rmtree(folder)
        except OSError as error:
            raise MeasurementError(f"the measurements cannot be removed: {error.strerror or error}") from error

    def measured(self, question: Question, tell: Callable[[float], None] = lambda share: None) -> dict[str, Any]:
        """The result of a question, from disk or measured now, in this thread.

        Args:
            question: what is asked.
            tell: is called with the share of the work that is done.

        Raises:
            CharLMError: it cannot be measured.
        """
        result: dict[str, Any] | None = kept(question)
        if result is not None:
            return result
        for progress in steps_of(question):
            result = progress.result or result
            tell(progress.share)
        found: dict[str, Any] = result or {}
        put_away(question, found)
        return found

    def _work(self) -> None:
        """The thread: it ends with the last task."""
        while True:
            with self._lock:
                tasks = list(self._tasks.values())
                if not tasks:
                    self._thread = None
                    return
            task = next((task for task in tasks if task.finding.result is None), tasks[0])
            began = time.monotonic()
            self._step(task)
            if self._is_training():
                time.sleep(min(REST, time.monotonic() - began))

    def _step(self, task: Task) -> None:
        """One step of a measurement, or its end."""
        question, began, error = task.question, time.monotonic(), ""
        try:
            if task.steps is None:
                task.steps = steps_of(question)
            progress = None if task.stopped else next(task.steps, None)
        except CharLMError as refused:
            progress, error = None, str(refused)
        except Exception:  # whatever it is, the others have their turn
            log.exception("%s of %s failed", question.name, question.label)
            progress, error = None, f"{question.name} of {question.label} failed unexpectedly; the log says where"
        found, seconds = task.finding, task.finding.seconds + time.monotonic() - began
        if progress is not None:
            found = replace(found, share=progress.share, result=progress.result or found.result)
        is_over = task.most_seconds and seconds > task.most_seconds
        if progress is not None and progress.share < 1.0 and not is_over:
            task.finding = replace(found, seconds=seconds)
            return
        if found.share >= 1.0 and found.result is not None:
            put_away(question, found.result)
        with self._lock:
            del self._tasks[question.identity]
            keep(self._ended, question.identity, replace(found, done=True, error=error, seconds=seconds), KEPT)
        task.on_end(seconds)


def steps_of(question: Question) -> Iterator[Progress[Any]]:
    """The measurement itself.

    Raises:
        CharLMError: it cannot be made.
    """
    if question.run and question.run.corpus_config.is_list and question.name not in OF_LISTS:
        raise MeasurementError(
            f"{question.run.label} learned a list, each item from nothing, and {question.name} needs a text that goes "
            "on; choose a model of such a text"
        )
    subject = [subject_of(question.run, question.text)] if question.run else []
    steps: Iterator[Progress[Any]] = module_of(question.name).measure(*subject, question.settings)
    return steps


def subject_of(run: Run, text: str | None = None) -> Subject:
    """The run's model and the text, opened.

    Args:
        run: its best weights are measured.
        text: see `Question`.

    Raises:
        CheckpointError: the run has no weights, or they are damaged.
        CorpusError: its text is no longer here, or the model knows next to nothing of the one that is given.
    """
    tokenizer = run.tokenizer()
    text = held_out_text(run) if text is None else text
    ids = tokenizer.encode(text, skip_unknown=True)
    if len(ids) < 2:
        raise CorpusError(
            f"{run.label} knows {len(ids)} {'token' if len(ids) == 1 else 'tokens'} of this text; at least 2 are needed"
        )
    unknown = int((ids == tokenizer.unk_id).sum()) if tokenizer.unk_id is not None else 0
    if 2 * unknown > len(ids):
        raise CorpusError(
            f"{run.label} knows only {len(ids) - unknown:,} of the {len(ids):,} words of this text; "
            "take one like those that it was trained on"
        )
    if tokenizer.level == "char":
        if 2 * len(ids) < len(text):
            raise CorpusError(
                f"{run.label} knows only {len(ids):,} of the {len(text):,} characters of this text; "
                "take one in the script that it was trained on"
            )
        text = tokenizer.decode(ids)  # what it knows of it
    return Subject(
        model=run.load_model().eval(),
        tokenizer=tokenizer,
        text=text,
        ids=ids,
        training_text=training_text(run),
        seq_len=run.train_config.seq_len,
        initial=run.load_initial,
        snapshots=run.snapshots(),
        at=run.load_snapshot,
    )


def weights_sha256(run: Run) -> str:
    """The sha256 of the run's best weights.

    Raises:
        CheckpointError: it has none.
    """
    path = run.folder / "best.safetensors"
    try:
        state = path.stat()
        mark = str(path), state.st_mtime_ns, state.st_size
        if (known := _hashes.get(mark)) is not None:
            return known
        with open_plain(path) as file:
            return keep(_hashes, mark, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError:
        raise MeasurementError(f"{run.label} has no weights yet; train it until its first validation") from None


_hashes: OrderedDict[tuple[str, int, int], str] = OrderedDict()


def kept(question: Question) -> dict[str, Any] | None:
    """A result on disk; one that is damaged, or of another shape than the measurement's, is as good as none."""
    for path in question.places:
        try:
            found = read(path, MOST_BYTES)
        except (OSError, ValueError):
            continue
        if is_result(question, found):
            result: dict[str, Any] = found
            return result
        log.warning("%s is no result of %s, and is measured again", path, question.name)
    return None


def is_result(question: Question, found: Any) -> bool:
    """Whether a JSON value is a result of the measurement: of its type, with a table and a sentence."""
    module = module_of(question.name)
    if not is_of_type(found, get_type_hints(module.rows)["result"]):
        return False
    try:
        module.rows(found)
        module.finding([measured_as(question.label, question.run, found)])
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        return False
    return True


def put_away(question: Question, result: Mapping[str, Any]) -> None:
    """Write a result beside its run, or for one that came with the app into the data folder."""
    is_beside_its_run = question.run is not None and not question.run.shipped
    write_result(question.places[-1], result, f"{question.name} of {question.label}", parents=not is_beside_its_run)


def write_result(path: Path, result: Mapping[str, Any], what: str, parents: bool = True) -> None:
    """Write a result as JSON; the oldest of its folder beyond KEPT_FILES go. What cannot be written is logged.

    Args:
        path: of the file.
        result: what was found.
        what: in a message.
        parents: make the folders above it, too; not those of a run that was deleted meanwhile.
    """
    try:
        data = json.dumps(result, allow_nan=False).encode()
        if len(data) > MOST_BYTES:
            log.warning("%s is not kept: %d bytes are too many", what, len(data))
            return
        path.parent.mkdir(parents=parents, exist_ok=True)
        write_atomically(path, data)
        old = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)[:-KEPT_FILES]
        for file in old:
            file.unlink(missing_ok=True)
    except (OSError, ValueError, TypeError) as error:  # it is measured again after a restart, nothing worse
        log.warning("%s cannot be kept: %s", what, error)
