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
    from charlm.jobs.scheduler import Control, Racer
    from charlm.runs.store import Run


class Progress:
    """Shows racers as they train; silent until the first step, so that a refusal stays one line.

    Args:
        racers: lined up; what was validated up to the step that they go on from has been told.
        remarks: what was repaired in the text or adapted in the settings, said once the training has begun.
    """

    def __init__(self, racers: Sequence["Racer"], remarks: Sequence[str] = ()) -> None:
        self._racers = racers
        self._remarks = list(remarks)
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._troubles: dict[str, str] = {}  # what was said last of each run that rests
        self._told = {racer.run.run_id: racer.state.step for racer in racers}  # the last step a line was printed for

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
        for racer in self._racers:
            self._tell_validations(racer)
            self._tell_trouble(racer)
        if sys.stderr.isatty():
            self._move_bars()

    def _tell_validations(self, racer: "Racer") -> None:
        told = self._told[racer.run.run_id]
        if racer.state.validated_step <= told:
            return
        self._told[racer.run.run_id] = racer.state.validated_step
        for row in racer.run.metrics(since=told):
            if row.get("val_loss") is not None:
                self._print(line_of(racer, row))

    def _tell_trouble(self, racer: "Racer") -> None:
        """Why it rests, once, and that it goes on."""
        before = self._troubles.get(racer.run.run_id, "")
        if racer.trouble != before:
            self._troubles[racer.run.run_id] = racer.trouble
            self._print(f"{racer.run.label}: {racer.trouble or 'the disk takes it again, going on'}")

    def _print(self, line: str) -> None:
        if self._bars is None:
            note(line)
        else:
            self._bars.console.print(line, markup=False, highlight=False)

    def _move_bars(self) -> None:
        if self._bars is None:
            self._bars = open_bars()
            self._tasks = {
                racer.run.run_id: self._bars.add_task(racer.run.label, total=racer.total, about="")
                for racer in self._racers
            }
        for racer in self._racers:
            speed = racer.latest.chars_per_second if racer.latest else 0.0
            about = f"step {racer.state.step:,}{planned(racer)} · {speed:,.0f} chars/s{left(racer)}"
            self._bars.update(self._tasks[racer.run.run_id], completed=racer.state.step, about=about)


def open_bars() -> Any:
    """Bars that vanish when the training is over."""
    from rich.console import Console  # rich takes a tenth of a second: only where a terminal shows it
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    label, about = (TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[about]"))
    bars = Bars(label, BarColumn(), about, console=Console(stderr=True), transient=True)
    bars.start()
    return bars


def line_of(racer: "Racer", row: dict[str, Any]) -> str:
    """A validation in a line."""
    return (
        f"{racer.run.label}: step {row['step']:,}{planned(racer)}, train loss {row['train_loss']:.3f}, "
        f"validation loss {row['val_loss']:.3f}{bits_of(racer.run, row['val_loss'])}{perplexities(racer.run, row)}, "
        f"{row['chars_per_second']:,.0f} chars/s{left(racer)}"
    )


def planned(racer: "Racer") -> str:
    """The steps in all, if they are known."""
    return f" of {racer.total:,}" if racer.total else ""


def left(racer: "Racer") -> str:
    """The model's own time still to go."""
    seconds = racer.eta_seconds()
    return "" if seconds is None or racer.ended else f", {seconds:,.0f} s left"


class Terminated(KeyboardInterrupt):
    """SIGTERM came: end as Ctrl-C does, with what was learned saved."""


def work(runs: Sequence["Run"], corpus: "Corpus", resume: bool = False) -> list["Run"]:
    """Train the runs to their end, with progress on stderr.

    Args:
        runs: held by this process, as `enter` and `reopen` leave them.
        corpus: their text.
        resume: go on from what they saved.

    Returns:
        The runs as they are on disk afterwards.

    Raises:
        KeyboardInterrupt, Terminated: a signal came; everything is saved.
    """
    from charlm.jobs.scheduler import Control, line_up, run_race  # torch takes seconds: not before it is needed
    from charlm.runs.store import Run

    control = Control()
    remarks = [*corpus.repairs, *([runs[0].message] if runs[0].message else [])]
    with stops_between_steps(control), released(runs):
        racers = line_up(runs, corpus, resume)
        with Progress(racers, () if resume else remarks) as progress:
            run_race(racers, control, progress.show)
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
