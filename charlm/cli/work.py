"""A training in this process: begun, shown, interrupted without loss."""

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from charlm.cli.progress import Progress
from charlm.errors import CharLMError

if TYPE_CHECKING:
    from charlm.corpus import Corpus
    from charlm.race import Control
    from charlm.runs import Run


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
    from charlm.race import Control, line_up, run_race  # torch takes seconds: not before it is needed
    from charlm.runs import Run

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
