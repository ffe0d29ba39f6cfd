"""Training runs side by side: racers take turns in short slices on the same batches. One run is a race of one."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from charlm.checkpoint import load_training, save_training, save_weights
from charlm.config import SampleConfig
from charlm.corpus import Corpus
from charlm.dataset import Dataset
from charlm.device import device_for
from charlm.entry import dataset_of
from charlm.errors import CharLMError, JobError
from charlm.metrics import Metrics
from charlm.models import LanguageModel, build_model
from charlm.run import Run
from charlm.sample import generate
from charlm.train import TrainState, evaluation_interval, total_steps, train, validate

log = logging.getLogger(__name__)

# A slice lasts about this long, so that all curves grow before one's eyes.
SLICE_SECONDS = 0.3
# run.json is brought up to date, and what resume needs saved, about this often.
NOTE_SECONDS = 1.0
SAVE_SECONDS = 60.0
# Rows a finished metrics.jsonl has at most, about.
LOG_ROWS = 1_000
SAMPLE = SampleConfig(length=300, seed=1)
# What of a TrainState a validation changes, beside the clock.
SCHEDULED = ("best_val_loss", "best_step", "stale", "rate_scale", "validated_step")


@dataclass
class Control:
    """What the outside asks of a race: stop all or single runs, pause, or leave at once and keep the place."""

    stopped: set[str] = field(default_factory=set)
    paused: bool = False
    interrupted: bool = False


class Racer:
    """One run in training: its model, data and state, and the files it leaves.

    Args:
        run: held by this process.
        dataset: its text as ids, cut as its settings say; racers share one.
        resume: go on from the run's saved state.
    """

    def __init__(self, run: Run, dataset: Dataset, resume: bool = False) -> None:
        self.run = run
        config = run.train_config
        self.tokenizer = run.tokenizer()
        self.dataset = dataset
        self.device = device_for(config.device)
        first = self.tokenizer.decode(dataset.train_ids[:1].tolist())
        self.prompt = first if self.tokenizer.unknown("The ") else "The "
        self.best_val_loss, self.best_step = math.inf, 0  # of all validations; the state's are the schedule's own
        self.model, self.state = self._restore() if resume else self._begin()
        self.total = total_steps(config, self.dataset.steps_per_epoch)
        self.latest: Metrics | None = None
        self.ended = False
        self.complaint = ""  # why it failed
        self.slowest = 0.0  # seconds of the last slice's slowest step
        self._losses: list[float] = []
        self._noted = self._saved = time.monotonic()
        self._steps = train(self.model, self.dataset, config, self.state)

    def _begin(self) -> tuple[LanguageModel, TrainState]:
        model = build_model(self.run.model_config, self.run.train_config.seed).to(self.device)
        return model, TrainState.start(model, self.run.train_config)

    def _restore(self) -> tuple[LanguageModel, TrainState]:
        """What was saved; a run that was cut off before its first save begins anew. Its best weights stay."""
        path, config = self.run.folder / "resume.safetensors", self.run.train_config
        if path.exists():
            model, state = load_training(path, self.run.model_config, config)
            model = model.to(self.device)
        else:
            model, state = self._begin()
        if config.patience and state.stale >= config.patience:
            state.stale = 0  # it ended for want of patience, and is given some more
        if self.run.best_val_loss is not None and (self.run.folder / "best.safetensors").exists():
            self.best_val_loss, self.best_step = self.run.best_val_loss, self.run.best_step
        self.run.log.cut(after=state.step)
        self.run.sample_log.cut(after=state.step)
        return model, state

    def open(self) -> None:
        """Say in run.json that it runs."""
        self.run.update(
            {"total_steps": self.total}, status="running", message="; ".join(self.dataset.notes), device=self.device
        )

    def advance(self, goal: int, control: Control) -> None:
        """Train up to step `goal`; less far if the run ends or `control` wants something."""
        torch.set_num_threads(1)  # of this thread's products only: a batch is shared out as a whole
        self.slowest = 0.0
        while self.state.step < goal:
            began = time.perf_counter()
            metrics = next(self._steps, None)
            if metrics is None:
                self.finish("finished")
                return
            self._take(metrics)
            self.slowest = max(self.slowest, time.perf_counter() - began)
            if control.paused or control.interrupted or self.run.run_id in control.stopped:
                return

    def _take(self, metrics: Metrics) -> None:
        """Log a step; at a validation keep the best weights and write a sample."""
        self.latest = metrics
        self._losses.append(metrics.train_loss)
        if metrics.val_loss is not None or metrics.step % self._log_interval() == 0:
            self.run.log.append(self._row(metrics))
        if metrics.val_loss is not None:
            self._keep(metrics.val_loss)
        self._note(metrics.val_loss is not None)

    def _row(self, metrics: Metrics) -> dict[str, Any]:
        """A row of the log: the training loss is the mean since the row before."""
        losses = self._losses or [metrics.train_loss]
        row = metrics.to_dict() | {"train_loss": round(sum(losses) / len(losses), 6)}
        self._losses.clear()
        return row

    def _log_interval(self) -> int:
        interval = evaluation_interval(self.run.train_config, self.dataset.steps_per_epoch)
        return max(1, min(interval, (self.total or 20 * interval) // LOG_ROWS))

    def _keep(self, val_loss: float) -> None:
        """After a validation: the weights if they are the best so far, and a sample."""
        if val_loss < self.best_val_loss:
            save_weights(self.run.folder / "best.safetensors", self.model, step=self.state.step, val_loss=val_loss)
            self.best_val_loss, self.best_step = val_loss, self.state.step
        pieces: list[str] = []
        with suppress(JobError):  # a model that cannot write yet may still learn to
            for piece in generate(self.model, self.tokenizer, self.prompt, SAMPLE):
                pieces.append(piece)
        self.model.train()
        self.run.sample_log.append({"step": self.state.step, "prompt": self.prompt, "text": "".join(pieces)})

    def progress_now(self) -> dict[str, Any]:
        """The `progress` of run.json as it is this moment."""
        metrics, best = self.latest, self.best_val_loss
        progress = {
            "step": self.state.step,
            "total_steps": self.total,
            "best_val_loss": best if math.isfinite(best) else None,
            "best_step": self.best_step,
            "seconds": round(self.state.seconds, 3),
        }
        if metrics:
            progress |= {
                "epoch": round(metrics.epoch, 4),
                "train_loss": metrics.train_loss,
                "chars_per_second": round(metrics.chars_per_second, 1),
            }
            if metrics.val_loss is not None:
                progress["val_loss"] = metrics.val_loss
        return progress

    def _note(self, now: bool) -> None:
        """Bring run.json up to date, and save what resume needs, when it is time."""
        clock = time.monotonic()
        if now or clock - self._noted > NOTE_SECONDS:
            self.run.update(self.progress_now())
            self._noted = clock
        if clock - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the last weights and all that resume needs."""
        save_training(self.run.folder / "resume.safetensors", self.model, self.state)
        save_weights(self.run.folder / "last.safetensors", self.model, step=self.state.step)
        self._saved = time.monotonic()

    def finish(self, status: str) -> None:
        """End with `status`; a stopped run's latest weights are judged first, so that nothing learned is lost."""
        if status == "stopped" and self.state.step > self.state.validated_step and self.latest:
            self._judge(self.latest)
        if self.state.step:
            self.save()
        self.run.update(self.progress_now(), status=status)
        self.ended = True
        self.run.release()

    def _judge(self, latest: Metrics) -> None:
        """A validation out of turn. The schedule (patience, plateau) never hears of it, or resuming would differ."""
        before = {name: getattr(self.state, name) for name in SCHEDULED}
        try:
            val_loss = validate(self.model, self.dataset, self.state)
        finally:
            vars(self.state).update(before)
        self.latest = replace(latest, val_loss=val_loss, seconds=self.state.seconds)
        row, logged = self._row(self.latest), self.run.log.rows(since=latest.step - 1)
        if logged:  # one row a step
            row["train_loss"] = logged[0]["train_loss"]
            self.run.log.cut(after=latest.step - 1)
        self.run.log.append(row)
        self._keep(val_loss)

    def fail(self, error: Exception) -> None:
        """End as failed, with the reason; the best weights stay as they are.

        Raises:
            CheckpointError: not even that can be written.
        """
        try:
            self.run.update(self.progress_now(), status="failed", message=str(error))
        finally:
            self.ended = True
            self.run.release()

    def eta_seconds(self) -> float | None:
        """Own seconds still to go, judged by the steps so far; None before the first."""
        if not self.state.step:
            return None
        left = []
        if self.total:
            left.append(max(0, self.total - self.state.step) * self.state.seconds / self.state.step)
        if self.run.train_config.minutes:
            left.append(max(0.0, 60.0 * self.run.train_config.minutes - self.state.seconds))
        return min(left)


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


def guarded(racer: Racer, action: Callable[[], None]) -> None:
    """Run `action`; what goes wrong ends this racer as failed and leaves the others alone."""
    try:
        action()
    except CharLMError as error:
        _fail(racer, error)
    except OSError as error:
        _fail(racer, JobError(f"the run cannot be saved: {error.strerror or error}; make room, then resume it"))
    except Exception as error:
        log.exception("run %s failed", racer.run.run_id)
        short = "memory" in str(error).lower() or isinstance(error, MemoryError)
        way_out = "out of memory; halve batch_size, or choose a smaller hidden_size"
        _fail(racer, JobError(way_out if short else f"training broke off: {str(error) or type(error).__name__}"))


def _fail(racer: Racer, error: Exception) -> None:
    """End a racer as failed; where even that cannot be written, `complaint` says so."""
    racer.complaint = str(error) or type(error).__name__
    try:
        racer.fail(error)
    except CharLMError as second:
        log.error("run %s failed (%s), and that cannot be noted: %s", racer.run.run_id, error, second)


def run_race(racers: Sequence[Racer], control: Control, on_slice: Callable[[], None] = lambda: None) -> None:
    """Train all racers to their end; what goes wrong in one ends that one as failed.

    Args:
        racers: their runs are held by this process.
        control: looked at between steps.
        on_slice: called after each slice and, again and again, while paused; it may wait.
    """
    for racer in racers:
        guarded(racer, racer.open)
    if control.interrupted:
        _end(racers, "interrupted")
    for _ in _rounds(racers, control):
        on_slice()
        _obey(racers, control)
        while control.paused and not all(racer.ended for racer in racers):
            on_slice()
            _obey(racers, control)


def _obey(racers: Sequence[Racer], control: Control) -> None:
    """End the racers that are to stop, or all if the race is interrupted."""
    if control.interrupted:
        _end(racers, "interrupted")
    _end([racer for racer in racers if racer.run.run_id in control.stopped], "stopped")


def _end(racers: Sequence[Racer], status: str) -> None:
    for racer in racers:
        if not racer.ended:
            guarded(racer, partial(racer.finish, status))
