"""A training's progress on stderr: a line per validation, and on a terminal a bar per model."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from charlm.cli.report import bits_of, note, perplexities
from charlm.errors import CharLMError

if TYPE_CHECKING:
    from charlm.data.corpus import Corpus
    from charlm.jobs import Control, RunStatus
    from charlm.jobs.runner import RunTrainer
    from charlm.runs.store import Run


class Progress:
    """Shows trainers as they train; silent until the first step, so that a refusal stays one line.

    Args:
        trainers: lined up; what was validated up to the step that they go on from has been told.
        remarks: what was repaired in the text or adapted in the settings, said once the training has begun.
    """

    def __init__(self, trainers: Sequence["RunTrainer"], remarks: Sequence[str] = ()) -> None:
        self._trainers = trainers
        self._remarks = list(remarks)
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._troubles: dict[str, str] = {}  # what was said last of each run that rests
        self._told = {
            trainer.run.run_id: trainer.state.step for trainer in trainers
        }  # the last step a line was printed for

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self) -> None:
        """Print what is new and move the bars."""
        if self._remarks:
            for remark in self._remarks:
                note(remark)
            self._remarks = []
        for trainer in self._trainers:
            self._tell_validations(trainer)
            self._tell_trouble(trainer)
        if sys.stderr.isatty():
            self._move_bars()

    def _tell_validations(self, trainer: "RunTrainer") -> None:
        told = self._told[trainer.run.run_id]
        if trainer.state.validated_step <= told:
            return
        self._told[trainer.run.run_id] = trainer.state.validated_step
        for row in trainer.run.metrics(since=told):
            if row.get("val_loss") is not None:
                self._print(line_of(trainer, row))

    def _tell_trouble(self, trainer: "RunTrainer") -> None:
        """Why it rests, once, and that it goes on."""
        before = self._troubles.get(trainer.run.run_id, "")
        if trainer.trouble != before:
            self._troubles[trainer.run.run_id] = trainer.trouble
            self._print(f"{trainer.run.label}: {trainer.trouble or 'the disk takes it again, going on'}")

    def _print(self, line: str) -> None:
        if self._bars is None:
            note(line)
        else:
            self._bars.console.print(line, markup=False, highlight=False)

    def _move_bars(self) -> None:
        if self._bars is None:
            self._bars = open_bars()
            self._tasks = {
                trainer.run.run_id: self._bars.add_task(trainer.run.label, total=trainer.total, about="")
                for trainer in self._trainers
            }
        for trainer in self._trainers:
            state = trainer.run_status()
            about = f"step {state['step']:,}{planned(state)} · {state['chars_per_second']:,.0f} chars/s{left(state)}"
            self._bars.update(self._tasks[trainer.run.run_id], completed=state["step"], about=about)


def open_bars() -> Any:
    """Bars that vanish when the training is over."""
    from rich.console import Console  # rich takes a tenth of a second: only where a terminal shows it
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    label, about = (TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[about]"))
    bars = Bars(label, BarColumn(), about, console=Console(stderr=True), transient=True)
    bars.start()
    return bars


def line_of(trainer: "RunTrainer", row: dict[str, Any]) -> str:
    """A validation in a line."""
    state = trainer.run_status()
    return (
        f"{trainer.run.label}: step {row['step']:,}{planned(state)}, train loss {row['train_loss']:.3f}, "
        f"validation loss {row['val_loss']:.3f}{bits_of(trainer.run, row['val_loss'])}"
        f"{perplexities(trainer.run, row)}, "
        f"{row['chars_per_second']:,.0f} chars/s{left(state)}"
    )


def planned(state: "RunStatus") -> str:
    """The steps in all, if they are known."""
    return f" of {state['total_steps']:,}" if state["total_steps"] else ""


def left(state: "RunStatus") -> str:
    """The model's own time still to go."""
    return "" if state["eta_seconds"] is None else f", {state['eta_seconds']:,.0f} s left"


class Terminated(KeyboardInterrupt):
    """SIGTERM came: end as Ctrl-C does, with what was learned saved."""


def work(runs: Sequence["Run"], corpus: "Corpus", resume: bool = False) -> list["Run"]:
    """Train the runs to their end, with progress on stderr.

    Args:
        runs: held by this process, as `create_runs` and `reopen` leave them.
        corpus: their text.
        resume: go on from what they saved.

    Returns:
        The runs as they are on disk afterwards.

    Raises:
        KeyboardInterrupt, Terminated: a signal came; everything is saved.
    """
    from charlm.jobs.scheduler import Control, prepare, run_trainers  # torch takes seconds: not before it is needed
    from charlm.runs.store import Run

    control = Control()
    remarks = [*corpus.repairs, *([runs[0].message] if runs[0].message else [])]
    with stops_between_steps(control), released(runs):
        trainers = prepare(runs, corpus, resume)
        with Progress(trainers, () if resume else remarks) as progress:
            run_trainers(trainers, control, progress.show)
    return [Run(run.folder) for run in runs]


@contextlib.contextmanager
def released(runs: Sequence["Run"]) -> Iterator[None]:
    """Whatever happens, no run stays marked as being trained."""
    try:
        yield
    except (CharLMError, OSError) as error:
        for run in runs:
            run.update(status="failed", message=str(error))
        raise
    finally:
        for run in runs:
            run.release()


@contextlib.contextmanager
def stops_between_steps(control: "Control") -> Iterator[None]:
    """Ctrl-C and SIGTERM end the training after its present step; a second one ends the program at once."""
    came: list[type[KeyboardInterrupt]] = []

    def on(kind: type[KeyboardInterrupt]) -> Callable[..., Any]:
        def handle(*_: object) -> None:
            if came:
                raise kind
            came.append(kind)
            control.interrupted = True

        return handle

    with handlers({signal.SIGINT: on(KeyboardInterrupt), signal.SIGTERM: on(Terminated)}):
        yield
    if came:
        raise came[0]


@contextlib.contextmanager
def handlers(wanted: dict[signal.Signals, Callable[..., Any]]) -> Iterator[None]:
    """Signal handlers for a while; outside the main thread, which alone may have them, none."""
    before: dict[signal.Signals, Any] = {}
    try:
        for number, handler in wanted.items():
            before[number] = signal.signal(number, handler)
    except ValueError:
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
