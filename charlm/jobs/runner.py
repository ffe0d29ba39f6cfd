"""One run in training: its model, data and state, and the files it leaves."""

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from charlm.config import SampleConfig
from charlm.data.dataset import Dataset
from charlm.errors import Halted, JobError
from charlm.generation import generate
from charlm.models import LanguageModel, build_model
from charlm.runs.checkpoint import (
    check_place,
    drop_second,
    has_training,
    load_training,
    save_training,
    save_weights,
    weights_about,
)
from charlm.runs.run import Run
from charlm.training.device import device_for
from charlm.training.metrics import Metrics
from charlm.training.train import TrainState, evaluation_interval, planned_steps, train, validate

# run.json is brought up to date, and what resume needs saved, about this often; saving takes this share of the time.
NOTE_SECONDS = 1.0
SAVE_SECONDS, SAVE_SHARE = 10.0, 0.02
# How often the disk is asked again for what it refused.
RETRY_SECONDS = 1.0
# Rows a finished metrics.jsonl has at most, about.
LOG_ROWS = 1_000
SAMPLE = SampleConfig(length=300, seed=1)
# What of a TrainState a validation out of turn must not change.
SCHEDULED = ("best_val_loss", "best_step", "stale", "rate_scale", "validated_step", "loss_sum", "loss_count")


@dataclass
class Control:
    """What the outside asks of a race: stop all or single runs, pause, or leave at once and keep the place."""

    stopped: set[str] = field(default_factory=set)
    paused: bool = False
    interrupted: bool = False


class RunTrainer:
    """One run in training: its model, data and state, and the files it leaves.

    What is to be written waits in a list until the disk has taken it; no step is made before. So a disk that refuses
    (full, broken, read-only) costs time and nothing else.

    Args:
        run: held by this process.
        dataset: its text as ids, cut as its settings say; trainers share one.
        resume: go on from the run's saved state.

    Attributes:
        trouble: why it rests, in a sentence; empty while the disk takes what is written.
        complaint: why it failed.
        slowest: seconds of the last slice's slowest step.
    """

    def __init__(self, run: Run, dataset: Dataset, resume: bool = False) -> None:
        self.run = run
        config = run.train_config
        self.tokenizer = run.tokenizer()
        self.dataset = dataset
        self.device = "cpu" if run.model_config.is_counted else device_for(config.device)
        first = self.tokenizer.decode(dataset.train_ids[:1].tolist())
        self.prompt = first if self.tokenizer.unknown("The ") else "The "
        self.best_val_loss, self.best_step = math.inf, 0  # of all validations; the state's are the schedule's own
        self.model, self.state = self._restore() if resume else self._begin()
        self.total = planned_steps(run.model_config, config, self.dataset.steps_per_epoch)
        self.latest: Metrics | None = None
        self.ended, self.trouble, self.complaint, self.slowest = False, "", "", 0.0
        self._todo: deque[Callable[[], None]] = deque()  # what is to be written, in this order
        self._noted = self._saved = self._tried = time.monotonic()
        self._save_seconds = SAVE_SECONDS
        self._control = Control()
        self._steps = train(self.model, self.dataset, config, self.state, lambda: self._control.interrupted)

    def _begin(self) -> tuple[LanguageModel, TrainState]:
        model = build_model(self.run.model_config, self.run.train_config.seed)
        model.init_output_bias(self.dataset.counts(self.tokenizer.vocab_size))
        model = model.to(self.device)
        return model, TrainState.start(model, self.run.train_config)

    def _restore(self) -> tuple[LanguageModel, TrainState]:
        """What was saved; a run that was cut off before its first save begins anew. Its best weights stay."""
        folder, config = self.run.folder, self.run.train_config
        self.run.sweep()
        if has_training(folder):
            model, state = load_training(folder, self.run.model_config, config)
            check_place(state, self.dataset.batch_size, self.dataset.steps_per_epoch)
            model = model.to(self.device)
            state.follow(model)
        else:
            model, state = self._begin()
        if config.patience and state.stale >= config.patience:
            state.stale = 0  # it ended for want of patience, and is given some more
        best = weights_about(folder / "best.safetensors")  # run.json may be older than they are
        if isinstance(loss := best.get("val_loss"), float) and isinstance(step := best.get("step"), int):
            self.best_val_loss, self.best_step = loss, step
        self.run.log.cut(after=state.step)
        self.run.sample_log.cut(after=state.step)
        return model, state

    @property
    def learned(self) -> LanguageModel:
        """What is validated, kept, and written with."""
        return self.state.learned(self.model)

    def open(self) -> None:
        """Say in run.json that it runs."""
        about = {"status": "running", "message": "; ".join(self.dataset.notes), "mend": {}, "device": self.device}
        self._todo.append(lambda: self.run.update({"total_steps": self.total}, **about))
        self.settle()

    def advance(self, goal: int, control: Control) -> None:
        """Train up to step `goal`; less far if the run ends or `control` wants something."""
        torch.set_num_threads(1)  # of this thread's products only: a batch is shared out as a whole
        self._control = control
        self.slowest = 0.0
        while self.state.step < goal:
            began, before = time.perf_counter(), self.state.step
            metrics = next(self._steps, None)
            if metrics is None:
                self.finish("finished")
                return
            self._take(metrics)
            steps = max(1, self.state.step - before)  # an n-gram takes several at once
            self.slowest = max(self.slowest, (time.perf_counter() - began) / steps)
            if control.paused or control.interrupted or self.run.run_id in control.stopped:
                return

    def settle(self) -> None:
        """Write what is waiting, in its order.

        Raises:
            CheckpointError, OSError: something could not be written; it and all after it go on waiting.
        """
        while self._todo:
            self._tried = time.monotonic()
            self._todo[0]()
            self._todo.popleft()
        self.trouble = ""

    def retry(self) -> None:
        """Try again, once in a while, what could not be written."""
        if time.monotonic() - self._tried >= RETRY_SECONDS:
            self.settle()

    def _take(self, metrics: Metrics) -> None:
        """Log a step; at a validation keep the best weights and write a sample."""
        self.latest = metrics
        if metrics.val_loss is not None or metrics.step % self._log_interval() == 0:
            self._log(metrics)
        if metrics.val_loss is not None:
            self._judged(metrics.val_loss)
        clock = time.monotonic()
        if metrics.val_loss is not None or clock - self._noted > NOTE_SECONDS:
            self._todo.append(self._note)
        if clock - self._saved > self._save_seconds:
            self._todo.append(self.save)
        self.settle()

    def _log(self, metrics: Metrics) -> None:
        """A row for the log: its training loss is the mean since the row before."""
        row = metrics.to_dict() | {"train_loss": round(self.state.mean_loss(), 6)}
        self._todo.append(lambda: self.run.log.append(row))

    def _log_interval(self) -> int:
        interval = evaluation_interval(self.run.train_config, self.dataset.steps_per_epoch)
        return max(1, min(interval, (self.total or 20 * interval) // LOG_ROWS))

    def _judged(self, val_loss: float) -> None:
        """After a validation: the weights if they are the best so far, and a sample."""
        if val_loss < self.best_val_loss:
            self._todo.append(partial(self._keep, val_loss))
        self._todo.append(self._write_sample)

    def _keep(self, val_loss: float) -> None:
        save_weights(self.run.folder / "best.safetensors", self.learned, step=self.state.step, val_loss=val_loss)
        self.best_val_loss, self.best_step = val_loss, self.state.step

    def _write_sample(self) -> None:
        pieces: list[str] = []
        with suppress(JobError):  # a model that cannot write yet may still learn to
            for piece in generate(self.learned, self.tokenizer, self.prompt, SAMPLE):
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
            losses = {"val_loss": metrics.val_loss, "test_loss": metrics.test_loss}
            progress |= {name: loss for name, loss in losses.items() if loss is not None}
        return progress

    def _note(self) -> None:
        """Bring run.json up to date."""
        self.run.update(self.progress_now())
        self._noted = time.monotonic()

    def save(self) -> None:
        """Write all that resume needs, and the last weights."""
        began = time.monotonic()
        save_training(self.run.folder, self.model, self.state)
        save_weights(self.run.folder / "last.safetensors", self.learned, step=self.state.step)
        self._saved = time.monotonic()
        self._save_seconds = max(SAVE_SECONDS, (self._saved - began) / SAVE_SHARE)

    def finish(self, status: str) -> None:
        """End with `status`; a stopped run's latest weights are judged first, so that nothing learned is lost."""
        self.settle()
        if self.ended:  # the disk has just taken its proper end
            return
        if status == "stopped" and self.state.step > self.state.validated_step and self.latest:
            self._judge(self.latest)
        if self.state.step:
            self._todo.append(self.save)
        self._todo.append(lambda: self.run.update(self.progress_now(), status=status))
        self._todo.append(self._end)
        self.settle()

    def leave(self) -> None:
        """End without another word: whoever finds the run takes it for interrupted, and goes on from its last save."""
        self.ended = True
        self.run.release()

    def _end(self) -> None:
        """The last state is proven: the one before it has done its service."""
        drop_second(self.run.folder)
        self.leave()

    def _judge(self, latest: Metrics) -> None:
        """A validation out of turn. The schedule (patience, plateau) never hears of it, or resuming would differ."""
        before = {name: getattr(self.state, name) for name in SCHEDULED}
        try:
            scores = validate(self.model, self.dataset, self.state, lambda: self._control.interrupted)
            logged = self.run.log.rows(since=latest.step - 1)
            mean = logged[0].get("train_loss") if logged else round(self.state.mean_loss(), 6)
        except Halted:
            return
        finally:
            vars(self.state).update(before)
        val_loss = scores.nats_per_token
        self.latest = replace(latest, val_loss=val_loss, val_error=scores.standard_error, seconds=self.state.seconds)
        row = self.latest.to_dict() | {"train_loss": mean}
        if logged:  # one row a step
            self._todo.append(lambda: self.run.log.cut(after=latest.step - 1))
        self._todo.append(lambda: self.run.log.append(row))
        self._judged(val_loss)

    def rest(self, reason: str) -> None:
        """Wait for the disk, and say so."""
        self.trouble = f"resting, the run cannot be written ({reason}): make room and it goes on by itself"

    def fail(self, error: Exception) -> None:
        """End as failed, with the reason and what would mend it; what was saved stays as it is.

        Raises:
            CheckpointError: not even that can be written.
        """
        try:
            mend = getattr(error, "mend", {})
            self.run.update(self.progress_now(), status="failed", message=str(error), mend=mend)
        finally:
            self.leave()

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
