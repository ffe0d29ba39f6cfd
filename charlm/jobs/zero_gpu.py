"""Trainings on a ZeroGPU Space of Hugging Face, where a GPU is lent for a minute at a time: a training goes in slices.

A generator decorated by the package `spaces`, which is there and nowhere else needed, runs in a forked process that has
the GPU, and what it yields arrives here. Each slice trains the runs on from their last save, in their own folders, and
saves. In between nothing has to be in memory, so that what stops, or is refused a GPU, can go on in this process on the
CPU: https://huggingface.co/docs/hub/spaces-zerogpu
"""

import logging
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from charlm.data.batches import Dataset
from charlm.data.corpus import Corpus
from charlm.files import one_line
from charlm.jobs import Control, RunStatus, run_status
from charlm.jobs.queue import Job
from charlm.jobs.runner import RunTrainer
from charlm.jobs.scheduler import PAUSE_SECONDS, datasets_of, run_trainers, slices
from charlm.runs.run import Run
from charlm.training.device import is_zero_gpu

log = logging.getLogger(__name__)

# Seconds that a GPU is asked for, the platform's default; and how many of them are for training. In the others the
# process is forked, CUDA starts, and the last step, or a validation, ends and is saved.
LENT_SECONDS, TRAINED_SECONDS = 60, 40.0
WAITING = "waiting for the GPU that ZeroGPU lends"
LENT = f"on ZeroGPU's GPU, {LENT_SECONDS} s at a time"


@dataclass(frozen=True)
class Standing:
    """What the process that trains a run knows of it; see `RunTrainer`."""

    progress: dict[str, Any]
    eta_seconds: float | None
    seconds: float
    ended: bool
    trouble: str
    failure: str


# Folders and datasets of runs that train together, whether they are resumed -> how far each is, again and again.
News = Generator[list[Standing], None, None]
Slice = Callable[[Sequence[Path], Sequence[Dataset], bool], News]


def lender() -> Slice | None:
    """What trains for as long as ZeroGPU lends its GPU; None where there is no ZeroGPU.

    Call it before the page is launched: a Space that has decorated nothing by then counts as broken.
    """
    if not is_zero_gpu():
        return None
    try:
        import spaces

        decorated: Slice = spaces.GPU(duration=LENT_SECONDS)(train_slice)
    except Exception as error:  # it is missing, or does not fit this torch: the page can do without
        log.warning("ZeroGPU's package spaces does not work here (%r): all trainings run on the CPU", error)
        return None
    return decorated


def train_slice(
    folders: Sequence[Path],
    datasets: Sequence[Dataset],
    resume: bool,
    device: str = "cuda",
    seconds: float = TRAINED_SECONDS,
) -> News:
    """Train runs for some seconds, or until the generator is closed; then they are saved.

    Args:
        folders: of the runs, which the process that asked holds.
        datasets: of each.
        resume: continue from their saved states.
        device: that this process has.
        seconds: after which no step is begun.

    Yields:
        How far each run is.
    """
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    end = time.monotonic() + seconds
    trainers = [
        RunTrainer(Run(folder), dataset, resume, device=device, message="; ".join([*dataset.notes, LENT]))
        for folder, dataset in zip(folders, datasets, strict=True)
    ]
    try:
        for _ in slices(trainers, Control()):
            yield [_standing(trainer) for trainer in trainers]
            if time.monotonic() > end:
                break
    finally:
        for trainer in trainers:
            if not trainer.ended:
                trainer.keep_place()


def _standing(trainer: RunTrainer) -> Standing:
    return Standing(
        trainer.progress(), trainer.eta_seconds(), trainer.seconds, trainer.ended, trainer.trouble, trainer.failure
    )


class SlicedTrainer:
    """A run that is trained in another process, as this one knows it; attributes are those of a RunTrainer.

    Args:
        run: held by this process.
        dataset: its text as ids.
    """

    def __init__(self, run: Run, dataset: Dataset) -> None:
        self.run, self.dataset = run, dataset
        self.ended, self.trouble, self.failure, self.seconds = False, "", "", run.seconds
        self._standing: Standing | None = None

    def take(self, standing: Standing) -> None:
        """What the other process says."""
        self.run.refresh()
        self.trouble, self.failure, self.seconds = standing.trouble, standing.failure, standing.seconds
        self._standing = standing
        if standing.ended:
            self.run.release()
            self.ended = True

    def run_status(self, status: str = "") -> RunStatus:
        """The state of its run; see `charlm.jobs.run_status`."""
        if (known := self._standing) is None:
            return run_status(self.run, status)
        return run_status(self.run, status, known.progress, known.eta_seconds)


def wants_gpu(runs: Sequence[Run]) -> bool:
    """Whether a training was asked for on the GPU; `auto` spends nobody's quota."""
    return any(run.train_config.device == "cuda" and not run.model_config.is_counted for run in runs)


def sliced(runs: Sequence[Run], corpus: Corpus) -> list[SlicedTrainer]:
    """As `charlm.jobs.scheduler.prepare`, for runs that are trained elsewhere."""
    return [SlicedTrainer(run, dataset) for run, dataset in zip(runs, datasets_of(runs, corpus), strict=True)]


def train_in_slices(job: Job, trainers: Sequence[SlicedTrainer], lend: Slice, on_slice: Callable[[], None]) -> None:
    """Train runs to their end; on the CPU what is stopped or interrupted ends, and what no GPU is lent for goes on.

    Args:
        job: theirs, whose control is looked at.
        trainers: some of the job's.
        lend: see `lender`.
        on_slice: as in `run_trainers`.
    """
    control, resume, refused = job.control, job.resume, ""
    while active := [trainer for trainer in trainers if not trainer.ended]:
        leaving = [trainer for trainer in active if trainer.run.run_id in control.stopped]
        if refused or control.interrupted:
            _train_here(job, active, resume, refused, on_slice)
        elif leaving:
            _train_here(job, leaving, resume, "", on_slice)
        elif control.paused:
            time.sleep(PAUSE_SECONDS)
            on_slice()
        else:
            folders, datasets = [one.run.folder for one in active], [one.dataset for one in active]
            refused = _one_slice(job, active, lend(folders, datasets, resume), on_slice)
            resume = True


def _one_slice(job: Job, active: Sequence[SlicedTrainer], stream: News, on_slice: Callable[[], None]) -> str:
    """Train for as long as the GPU is lent and nothing else is asked; returns why it was not lent, else nothing.

    What was asked of the job's visitor (whose quota it is) reaches the package `spaces` by the job's context.
    """
    job.waits_for, control = WAITING, job.control
    try:
        while True:
            try:
                news = job.context.run(next, stream, None)
            except Exception as error:  # gradio's own, which this folder does not know; or the other process has ended
                reason = one_line(str(getattr(error, "message", "") or error or type(error).__name__), 300)
                log.warning("ZeroGPU lends no GPU: %s", reason)
                return reason
            job.waits_for = ""
            if news is None:
                return ""
            for trainer, standing in zip(active, news, strict=True):
                if not trainer.ended:
                    trainer.take(standing)
            on_slice()
            if control.paused or control.interrupted or any(one.run.run_id in control.stopped for one in active):
                return ""
    finally:
        job.waits_for = ""
        job.context.run(stream.close)


def _train_here(
    job: Job, part: Sequence[SlicedTrainer], resume: bool, refused: str, on_slice: Callable[[], None]
) -> None:
    """Let runs go on in this process on the CPU, where the job's control ends those that are to end."""
    here = []
    for one in part:
        said = "; ".join([*one.dataset.notes, f"no GPU was lent ({refused}): from step {one.run.step} on the CPU"])
        message = said if refused else one.run.message
        here.append(RunTrainer(one.run, one.dataset, resume, device="cpu", message=message))
    job.trainers = [next((own for own in here if own.run is one.run), one) for one in job.trainers]
    run_trainers(here, job.control, on_slice)
    for one in part:
        one.ended = True
