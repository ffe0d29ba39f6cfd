"""Training runs side by side: racers take turns in short slices on the same batches. One run is a race of one."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from charlm.data.corpus import Corpus
from charlm.data.dataset import dataset_of
from charlm.errors import CharLMError, Halted, JobError
from charlm.jobs.runner import Control, Racer
from charlm.runs.run import Run

__all__ = ["Control", "Racer", "line_up", "run_race"]

log = logging.getLogger(__name__)

# A slice lasts about this long, so that all curves grow before one's eyes.
SLICE_SECONDS = 0.3
# How often a resting race looks whether it may go on.
PAUSE_SECONDS = 0.05


def line_up(runs: Sequence[Run], corpus: Corpus, resume: bool = False) -> list[Racer]:
    """Racers for runs of one text and the same settings, over one set of ids; the text itself is not kept.

    Args:
        runs: held by this process.
        corpus: the text, as cleaned when the runs were made.
        resume: go on from the runs' saved states.
    """
    first = runs[0]
    dataset = dataset_of(first.tokenizer(), corpus, first.train_config, first.corpus_config)
    return [Racer(run, dataset, resume) for run in runs]


def _rounds(racers: Sequence[Racer], control: Control) -> Iterator[None]:
    """Let the racers take turns until all have ended; yield after each slice. After a round all have equal steps."""
    steps = 1
    while alive := [racer for racer in racers if not racer.ended]:
        goal = min(racer.state.step for racer in alive) + steps
        for racer in alive:
            while not racer.ended and racer.state.step < goal:  # a pause may cut a slice short
                guarded(racer, partial(racer.advance, goal, control))
                yield
        slowest = max(racer.slowest for racer in alive)
        steps = max(1, min(100, int(SLICE_SECONDS / slowest))) if slowest else 1


def guarded(racer: Racer, action: Callable[[], None], ending: str = "") -> None:
    """Run `action`; what goes wrong ends this racer as failed and leaves the others alone.

    Args:
        racer: whose action it is; it rests if the disk refuses what the action writes.
        action: what to do.
        ending: stopped or interrupted: it is to end now, whatever the disk says.
    """
    try:
        action()
    except Halted:
        pass  # what is to come ends it
    except Exception as error:
        reason = refusal(error)
        if reason and ending == "interrupted":
            log.warning("%s (%s) cannot be saved: %s", racer.run.label, racer.run.run_id, reason)
            racer.leave()
        elif reason and not ending and (racer.run.folder / "run.json").exists():
            _rest(racer, reason)
        else:
            _fail(racer, explained(error, racer.dataset.batch_size))


def refusal(error: BaseException | None) -> str:
    """What the disk said, if an error comes from that; else empty."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error.strerror or str(error) if error is not None else ""


def explained(error: Exception, batch_size: int) -> CharLMError:
    """An error as a sentence with a way out; what nobody foresaw goes into the log.

    Args:
        error: what ended a training.
        batch_size: rows it was trained with.
    """
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error).lower()):
        if batch_size < 2:
            return JobError("out of memory with batch_size 1; choose a smaller hidden_size or seq_len")
        half = batch_size // 2
        return JobError(
            f"out of memory; halve batch_size ({half}), or choose a smaller hidden_size", {"batch_size": half}
        )
    if reason := refusal(error):
        return JobError(f"the run cannot be saved: {reason}; make room, then resume it")
    if isinstance(error, CharLMError):
        return error
    log.error("a training broke off", exc_info=error)
    return JobError(f"training broke off: {str(error) or type(error).__name__}")


def _rest(racer: Racer, reason: str) -> None:
    before = racer.trouble
    racer.rest(reason)
    if racer.trouble != before:
        log.warning("%s (%s): %s", racer.run.label, racer.run.run_id, racer.trouble)


def _fail(racer: Racer, error: Exception) -> None:
    """End a racer as failed; where even that cannot be written, `complaint` says so."""
    racer.complaint = str(error) or type(error).__name__
    log.warning("%s (%s) failed: %s", racer.run.label, racer.run.run_id, racer.complaint)
    try:
        racer.fail(error)
    except CharLMError as second:
        log.error("%s (%s): that cannot be noted: %s", racer.run.label, racer.run.run_id, second)


def run_race(racers: Sequence[Racer], control: Control, on_slice: Callable[[], None] = lambda: None) -> None:
    """Train all racers to their end; what goes wrong in one ends that one as failed.

    Args:
        racers: their runs are held by this process.
        control: looked at between steps.
        on_slice: called after each slice and, again and again, while the race rests.
    """
    for racer in racers:
        guarded(racer, racer.open)
    if control.interrupted:
        _end(racers, "interrupted")
    _wait(racers, control, on_slice)
    for _ in _rounds(racers, control):
        on_slice()
        _obey(racers, control)
        _wait(racers, control, on_slice)


def _wait(racers: Sequence[Racer], control: Control, on_slice: Callable[[], None]) -> None:
    """Rest as long as that is wished, or the disk does not take what has to be written."""
    while (control.paused or any(racer.trouble for racer in racers)) and not all(racer.ended for racer in racers):
        time.sleep(PAUSE_SECONDS)
        on_slice()
        _obey(racers, control)
        for racer in racers:
            if racer.trouble and not racer.ended:
                guarded(racer, racer.retry)


def _obey(racers: Sequence[Racer], control: Control) -> None:
    """End the racers that are to stop, or all if the race is interrupted."""
    if control.interrupted:
        _end(racers, "interrupted")
    _end([racer for racer in racers if racer.run.run_id in control.stopped], "stopped")


def _end(racers: Sequence[Racer], status: str) -> None:
    for racer in racers:
        if not racer.ended:
            guarded(racer, partial(racer.finish, status), ending=status)
