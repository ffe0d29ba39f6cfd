"""Training runs side by side: trainers take turns in short slices on the same batches. One run is a race of one."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from charlm.data.batches import Dataset
from charlm.data.corpus import Corpus
from charlm.data.dataset import dataset_of
from charlm.errors import CharLMError, Halted, JobError
from charlm.jobs import Control
from charlm.jobs.runner import RunTrainer
from charlm.runs.run import Run
from charlm.training.distributed import Processes

__all__ = ["Control", "RunTrainer", "datasets_of", "prepare", "run_trainers", "slices"]

log = logging.getLogger(__name__)

# A slice lasts about this long, so that all curves are seen to grow.
SLICE_SECONDS = 0.3
# How often a race that is paused, or waits for the disk, looks whether it may continue.
PAUSE_SECONDS = 0.05


def prepare(
    runs: Sequence[Run], corpus: Corpus, resume: bool = False, processes: Processes | None = None
) -> list[RunTrainer]:
    """Trainers for runs of one text and its tokens, over one set of ids; the text itself is not kept.

    Args:
        runs: held by this process.
        corpus: the text, as cleaned when the runs were made.
        resume: continue from the runs' saved states.
        processes: share the training of a single run; None: this one trains alone.
    """
    datasets = datasets_of(runs, corpus)
    return [RunTrainer(run, dataset, resume, processes) for run, dataset in zip(runs, datasets, strict=True)]


def datasets_of(runs: Sequence[Run], corpus: Corpus) -> list[Dataset]:
    """The text of each run as its settings cut it; all share one set of ids.

    Args:
        runs: of one text and its tokens.
        corpus: the text, as cleaned when the runs were made.
    """
    first = runs[0]
    dataset = dataset_of(first.tokenizer(), corpus, first.train_config, first.corpus_config)
    batches = {(one.train_config.batch_size, one.train_config.seq_len) for one in runs}
    datasets = {size: dataset if len(batches) == 1 else dataset.with_batches(*size) for size in batches}
    return [datasets[run.train_config.batch_size, run.train_config.seq_len] for run in runs]


def run_trainers(trainers: Sequence[RunTrainer], control: Control, on_slice: Callable[[], None] = lambda: None) -> None:
    """Train all trainers to their end; what goes wrong in one ends that one as failed.

    Args:
        trainers: their runs are held by this process.
        control: looked at between steps.
        on_slice: called after each slice and, again and again, while the race is paused or waits for the disk.
    """
    for _ in slices(trainers, control):
        on_slice()


def slices(trainers: Sequence[RunTrainer], control: Control) -> Iterator[None]:
    """As `run_trainers`, for who has something to do after each slice: then it yields."""
    for trainer in trainers:
        _attempt(trainer, trainer.open)
    if control.interrupted:
        _end(trainers, "interrupted")
    yield from _wait(trainers, control)
    for _ in _rounds(trainers, control):
        yield
        _obey(trainers, control)
        yield from _wait(trainers, control)


def _rounds(trainers: Sequence[RunTrainer], control: Control) -> Iterator[None]:
    """Let the trainers take turns until all have ended; yield after each slice. After a round all have equal steps."""
    steps = 1
    while active := [trainer for trainer in trainers if not trainer.ended]:
        _change_rates(active)
        if any(trainer.trouble for trainer in active):
            yield  # the disk does not take the change
            continue
        goal = min(trainer.state.step for trainer in active) + steps
        for trainer in active:
            while not trainer.ended and trainer.state.step < goal:  # a pause may cut a slice short
                _attempt(trainer, partial(trainer.advance, goal, control))
                yield
        slowest = max(trainer.slowest for trainer in active)
        steps = max(1, min(100, int(SLICE_SECONDS / slowest))) if slowest else 1


def _change_rates(trainers: Sequence[RunTrainer]) -> None:
    """Change the learning rates that were asked for; of a whole race at the same step."""
    for trainer in trainers:
        if not (wanted := trainer.wanted_rate()):
            continue
        if wanted["race"]:
            for other in trainers:
                if other is not trainer and not other.run.model_config.is_counted:
                    _attempt(other, partial(other.change_rate, wanted["to"]))
        _attempt(trainer, partial(trainer.change_rate, wanted["to"], wanted))


def _wait(trainers: Sequence[RunTrainer], control: Control) -> Iterator[None]:
    """Wait while the race is paused, or the disk does not take what has to be written; yield again and again."""
    while active := [trainer for trainer in trainers if not trainer.ended]:
        waiting = [trainer for trainer in active if trainer.trouble]
        if not (control.paused or waiting):
            return
        time.sleep(PAUSE_SECONDS)
        yield
        _obey(active, control)
        for trainer in waiting:
            if trainer.trouble and not trainer.ended:
                _attempt(trainer, trainer.retry_writing)


def _obey(trainers: Sequence[RunTrainer], control: Control) -> None:
    """End the trainers that are to stop, or all if the race is interrupted."""
    if control.interrupted:
        _end(trainers, "interrupted")
    _end([trainer for trainer in trainers if trainer.run.run_id in control.stopped], "stopped")


def _end(trainers: Sequence[RunTrainer], status: str) -> None:
    for trainer in trainers:
        if not trainer.ended:
            _attempt(trainer, partial(trainer.finish, status), ending=status)


def _attempt(trainer: RunTrainer, action: Callable[[], None], ending: str = "") -> None:
    """Run `action`; what goes wrong ends this trainer as failed and leaves the others alone.

    Args:
        trainer: whose action it is; it waits if the disk refuses what the action writes.
        action: what to do.
        ending: stopped or interrupted: it is to end now, whatever the disk says.
    """
    name = f"{trainer.run.label} ({trainer.run.run_id})"
    try:
        action()
    except Halted:
        pass  # what is to come ends it
    except Exception as error:
        reason = disk_error(error)
        if reason and ending == "interrupted":
            log.warning("%s cannot be saved: %s", name, reason)
            trainer.release()
        elif reason and not ending and (trainer.run.folder / "run.json").exists():
            if trainer.wait_for_disk(reason):
                log.warning("%s: %s", name, trainer.trouble)
        else:
            _fail(trainer, name, explain(error, trainer.dataset.batch_size))


def _fail(trainer: RunTrainer, name: str, error: CharLMError) -> None:
    """End a trainer as failed; where even that cannot be written, `failure` says so."""
    trainer.failure = str(error) or type(error).__name__
    log.warning("%s failed: %s", name, trainer.failure)
    try:
        trainer.fail(error)
    except CharLMError as second:
        log.error("%s: that cannot be written: %s", name, second)


def disk_error(error: BaseException | None) -> str:
    """What the disk said, if an error comes from that; else empty."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error.strerror or str(error) if error is not None else ""


def explain(error: Exception, batch_size: int) -> CharLMError:
    """An error as a sentence with a way out; an unforeseen one goes into the log.

    Args:
        error: what ended a training.
        batch_size: rows it was trained with.
    """
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error).lower()):
        if batch_size < 2:
            return JobError("out of memory with batch_size 1; choose a smaller hidden_size or seq_len")
        half = batch_size // 2
        said = f"out of memory; halve batch_size ({half}), or choose a smaller hidden_size"
        return JobError(said, {"batch_size": half})
    if reason := disk_error(error):
        return JobError(f"the run cannot be saved: {reason}; free some space, then resume it")
    if isinstance(error, CharLMError):
        return error
    log.error("a training broke off", exc_info=error)
    return JobError(f"training broke off: {str(error) or type(error).__name__}")
