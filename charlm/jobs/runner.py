"""One run in training: its model, data and state, and the files it writes."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from charlm.analysis import gradient
from charlm.config import SampleConfig
from charlm.data.batches import MIN_HELD_OUT, Dataset, validation_row_count
from charlm.data.corpus import usual_beginning
from charlm.errors import CheckpointError, Halted, JobError, MeasurementError
from charlm.generation import generate
from charlm.jobs import Control, RunStatus, run_status
from charlm.models import LanguageModel, build_model
from charlm.runs.checkpoint import (
    check_place,
    drop_second,
    has_training,
    load_training,
    save_snapshot,
    save_training,
    save_weights,
    snapshot_bytes,
    weights_about,
)
from charlm.runs.history import block_row
from charlm.runs.rates import Wanted, changes_of, take_rate, wanted_rate
from charlm.runs.run import Run
from charlm.runs.snapshots import SnapshotKeeper
from charlm.training.device import choose, device_for, device_or_cpu
from charlm.training.distributed import Processes
from charlm.training.evaluate import evaluate
from charlm.training.metrics import Metrics
from charlm.training.schedule import evaluation_interval, planned_steps
from charlm.training.train import TrainState, train, validate

log = logging.getLogger(__name__)

# run.json is brought up to date, and what resume needs saved, about this often; saving takes this share of the time.
UPDATE_SECONDS = 1.0
SAVE_SECONDS, SAVE_SHARE = 10.0, 0.02
# How often the disk is asked again for what it refused.
RETRY_SECONDS = 1.0
# Rows a finished metrics.jsonl has at most, about.
LOG_ROWS = 1_000
# Recording gradients takes so many seconds and this share of the training's own; then a record is left out.
RECORD_SECONDS, RECORD_SHARE = 10.0, 0.1
SAMPLE = SampleConfig(length=300, seed=1)
READ_FOR_PROMPT = 50_000  # tokens
# What of a TrainState a validation out of turn must not change.
SCHEDULED = ("best_val_loss", "best_step", "evals_since_best", "rate_scale", "validated_step", "loss_sum", "loss_count")


class RunTrainer:
    """One run in training: its model, data and state, and the files it writes.

    What is to be written waits in a queue until the disk has taken it; no step is made before. So a disk that refuses
    (full, broken, read-only) costs time and nothing else.

    Args:
        run: held by this process.
        dataset: its text as ids, cut as its settings say; trainers share one.
        resume: continue from the run's saved state.
        processes: share the training, this one being the first; None: this one alone.
        device: the kind to train on; empty: as its settings say, or the CPU where that is not to be had and no other
            process shares the training.
        message: what run.json says of it; empty: the dataset's notes.

    Attributes:
        trouble: why it waits for the disk, in a sentence; empty while the disk takes what is written.
        failure: why it failed.
        slowest: seconds of the last slice's slowest step.
    """

    def __init__(
        self,
        run: Run,
        dataset: Dataset,
        resume: bool = False,
        processes: Processes | None = None,
        device: str = "",
        message: str = "",
    ) -> None:
        self._processes = processes
        self.run, self.dataset, self.tokenizer = run, dataset, run.tokenizer()
        config = run.train_config
        self.device, elsewhere = self._find_device(device)
        self._message = message or "; ".join(filter(None, [*dataset.notes, elsewhere]))
        self.prompt = self._sample_prompt()
        self.best_val_loss, self.best_step = math.inf, 0  # of all validations; the state's are the schedule's own
        self.model, self.state = self._restore() if resume else self._start()
        self._follow_rates()
        self.total = planned_steps(run.model_config, config, dataset.steps_per_epoch)
        wanted = 0 if run.model_config.is_counted else config.snapshots
        size = snapshot_bytes(run.model_config) if wanted else 0
        self._snapshots = SnapshotKeeper(run.folder, wanted, size, self.state.step, self.total)
        is_stream = not run.model_config.is_counted and dataset.border is None
        self._records_gradient = config.record_gradient and is_stream
        self._has_warned, self._recording = False, 0.0  # that a record failed; seconds that all records took
        self.latest: Metrics | None = None
        self.ended, self.trouble, self.failure, self.slowest = False, "", "", 0.0
        self._writes: deque[Callable[[], None]] = deque()  # in this order
        self._updated = self._saved = self._tried = time.monotonic()
        self._save_seconds = SAVE_SECONDS
        self._control = Control()
        self._steps = train(self.model, dataset, config, self.state, lambda: self._control.interrupted, processes)

    def _find_device(self, device: str) -> tuple[str, str]:
        """The kind to train on, and a word on it where the settings name another, which is not to be had."""
        wanted = "cpu" if self.run.model_config.is_counted else device or self.run.train_config.device
        return device_or_cpu(wanted) if self._processes is None else (device_for(wanted), "")

    def _sample_prompt(self) -> str:
        """What its samples begin with: the same all along, and something that its text begins sentences with."""
        if sample := self.run.sample():
            return str(sample.get("prompt", ""))
        ids = self.dataset.train_ids
        if self.dataset.border is not None:
            return ""  # of a list: items from their beginnings
        prompt = usual_beginning(self.tokenizer.decode(ids[:READ_FOR_PROMPT].tolist()))
        return prompt if prompt and not self.tokenizer.unknown(prompt) else self.tokenizer.decode(ids[:1].tolist())

    def _start(self) -> tuple[LanguageModel, TrainState]:
        model = build_model(self.run.model_config, self.run.train_config.seed)
        model.init_output_bias(self.dataset.counts(self.tokenizer.vocab_size))
        model = model.to(self.device)
        return model, TrainState.start(model, self.run.train_config)

    def _restore(self) -> tuple[LanguageModel, TrainState]:
        """What was saved; a run that was cut off before its first save starts again. Its best weights stay."""
        folder, config = self.run.folder, self.run.train_config
        self.run.sweep()
        if has_training(folder):
            model, state = load_training(folder, self.run.model_config, config)
            check_place(state, self.dataset.batch_size, self.dataset.steps_per_epoch)
            model = model.to(self.device)
            state.follow(model)
        else:
            model, state = self._start()
        if config.patience and state.evals_since_best >= config.patience:
            state.evals_since_best = 0  # its patience was used up, and begins again
        best = weights_about(folder / "best.safetensors")  # run.json may be older than they are
        if isinstance(loss := best.get("val_loss"), float) and isinstance(step := best.get("step"), int):
            self.best_val_loss, self.best_step = loss, step
        self.run.log.cut(after=state.step)
        self.run.sample_log.cut(after=state.step)
        self.run.block_log.cut(after=state.step)
        self.run.gradient_log.cut(after=state.step)
        return model, state

    @property
    def seconds(self) -> float:
        """The training's own time so far."""
        return self.state.seconds

    @property
    def learned(self) -> LanguageModel:
        """The model that is validated, saved and sampled from."""
        return self.state.learned(self.model)

    def open(self) -> None:
        """Write into run.json that it runs, and keep the weights that it begins with and their gradient."""
        if self._snapshots.is_due(self.state.step):
            self._keep_snapshot()
        if not self.run.gradients():
            self._record_gradient()
        about = {"status": "running", "message": self._message, "mend": {}, "device": self.device}
        self._write(partial(self.run.update, {"total_steps": self.total}, **about))

    def _follow_rates(self) -> None:
        """Make the changes of the learning rate that run.json has recorded, those yet to come included."""
        self.state.rate_changes = changes_of(self.run)

    def wanted_rate(self) -> Wanted | None:
        """The learning rate that was asked for, here or in another process, since the last one was taken."""
        with suppress(CheckpointError):  # what is wrong with run.json is said where it is written
            self.run.refresh()
        return None if self.ended else wanted_rate(self.run)

    def change_rate(self, rate: float, wanted: Wanted | None = None) -> None:
        """Change the learning rate from the next step on; it is recorded first.

        Args:
            rate: takes the place of the setting.
            wanted: what of this run asked for it; None: another run that it races with did.
        """
        self._write(partial(take_rate, self.run, self.state.step, rate, wanted), self._follow_rates)

    def advance(self, goal: int, control: Control) -> None:
        """Train up to step `goal`; less far if the run ends or `control` asks for something."""
        self._control = control
        self.slowest = 0.0
        while self.state.step < goal:
            began, before = time.perf_counter(), self.state.step
            metrics = next(self._steps, None)
            if metrics is None:
                self.finish("finished")
                return
            self._record(metrics)
            steps = max(1, self.state.step - before)  # an n-gram takes several at once
            self.slowest = max(self.slowest, (time.perf_counter() - began) / steps)
            if control.paused or control.interrupted or self.run.run_id in control.stopped:
                return

    def _write(self, *writes: Callable[[], None]) -> None:
        """Write these after what waits already.

        Raises:
            CheckpointError, OSError: something could not be written; it and all after it stay in the queue.
        """
        self._writes.extend(writes)
        while self._writes:
            self._tried = time.monotonic()
            self._writes[0]()
            self._writes.popleft()
        self.trouble = ""

    def retry_writing(self) -> None:
        """Try again, once in a while, what could not be written."""
        if time.monotonic() - self._tried >= RETRY_SECONDS:
            self._write()

    def _record(self, metrics: Metrics) -> None:
        """Log a step; after a validation keep the best weights and write a sample; save where it is time."""
        self.latest, is_validated, now = metrics, metrics.val_loss is not None, time.monotonic()
        if self._snapshots.is_due(metrics.step):
            self._keep_snapshot()
        if is_validated or metrics.step % self._log_interval() == 0:
            # a row's training loss is the mean since the row before
            row = metrics.to_dict() | {"train_loss": round(self.state.mean_loss(), 6)}
            self._writes.append(partial(self.run.log.append, row))
        if metrics.val_loss is not None:
            self._writes.extend(self._after_validation(metrics.val_loss))
        if is_validated or now - self._updated > UPDATE_SECONDS:
            self._writes.append(self._update)
        self._write(*([self.save] if now - self._saved > self._save_seconds else []))

    def _log_interval(self) -> int:
        interval = evaluation_interval(self.run.train_config, self.dataset.steps_per_epoch)
        return max(1, min(interval, (self.total or 20 * interval) // LOG_ROWS))

    def _after_validation(self, val_loss: float) -> list[Callable[[], None]]:
        """What is to be written: a sample, and of the best so far weights and losses by block. Records the gradient."""
        self._record_gradient()
        if val_loss >= self.best_val_loss:
            return [self._write_sample]
        assert self.state.held_out is not None
        blocks = partial(self.run.block_log.append, block_row(self.state.step, self.state.held_out.blocks))
        return [partial(self._save_best, val_loss), blocks, self._write_sample]

    def _save_best(self, val_loss: float) -> None:
        save_weights(self.run.folder / "best.safetensors", self.learned, step=self.state.step, val_loss=val_loss)
        self.best_val_loss, self.best_step = val_loss, self.state.step

    def _keep_snapshot(self) -> None:
        self._snapshots.keep(self.state.step, partial(save_snapshot, model=self.learned))

    def _record_gradient(self) -> None:
        """Record the gradient through time, where that is wanted; what prevents it is logged once, and ends nothing."""
        if not self._records_gradient or self._recording > RECORD_SECONDS + RECORD_SHARE * self.state.seconds:
            return
        began = time.perf_counter()
        try:
            found = gradient.record(self.learned, self.dataset.val_ids, halted=lambda: self._control.interrupted)
            self.run.gradient_log.append(gradient.recorded(self.state.step, found))
        except Halted:
            return
        except (MeasurementError, OSError, RuntimeError, MemoryError) as error:  # torch's lack of memory is the third
            if not self._has_warned:
                log.warning("the gradient of %s is not recorded: %s", self.run.run_id, error)
            self._has_warned = True
        finally:
            self._recording += time.perf_counter() - began

    def _write_sample(self) -> None:
        pieces: list[str] = []
        with suppress(JobError):  # a model whose numbers grow beyond all bounds may still recover
            pieces.extend(generate(self.learned, self.tokenizer, self.prompt, SAMPLE))
        self.model.train()
        self.run.sample_log.append({"step": self.state.step, "prompt": self.prompt, "text": "".join(pieces)})

    def progress(self) -> dict[str, Any]:
        """What is newer than the `progress` of run.json."""
        best, progress = self.best_val_loss, dict[str, Any]()
        if metrics := self.latest:
            progress = {
                "epoch": round(metrics.epoch, 4),
                "train_loss": metrics.train_loss,
                "chars_per_second": round(metrics.chars_per_second, 1),
            }
            losses = {"val_loss": metrics.val_loss, "test_loss": metrics.test_loss}
            progress |= {name: loss for name, loss in losses.items() if loss is not None}
        return progress | {
            "step": self.state.step,
            "total_steps": self.total,
            "best_val_loss": best if math.isfinite(best) else None,
            "best_step": self.best_step,
            "seconds": round(self.state.seconds, 3),
        }

    def run_status(self, status: str = "") -> RunStatus:
        """The state of its run; see `charlm.jobs.run_status`."""
        return run_status(self.run, status, self.progress(), self.eta_seconds())

    def _update(self) -> None:
        """Bring run.json up to date."""
        self.run.update(self.progress())
        self._updated = time.monotonic()

    def save(self) -> None:
        """Write all that resume needs, and the last weights."""
        began = time.monotonic()
        state = self.state
        if self._processes:
            state = replace(state, hidden=self._processes.gather(state.hidden))
        save_training(self.run.folder, self.model, state)
        save_weights(self.run.folder / "last.safetensors", self.learned, step=self.state.step)
        self._saved = time.monotonic()
        self._save_seconds = max(SAVE_SECONDS, (self._saved - began) / SAVE_SHARE)

    def keep_place(self) -> None:
        """Write all that another trainer needs to go on from here; the run goes on running.

        Raises:
            CheckpointError, OSError: it cannot be written.
        """
        self._write(self.save, self._update)

    def finish(self, status: str) -> None:
        """End with `status`; a stopped run is validated once more, so that no training is lost."""
        self._write()
        if self.ended:  # the disk has just taken its proper end
            return
        if status == "stopped" and self.state.step > self.state.validated_step and self.latest:
            self._validate_now(self.latest)
        if status == "finished":
            self._keep_snapshot()
        if self.state.step:
            self._writes.append(self.save)
        self._write()
        if status in ("finished", "stopped"):
            self._score_test_part()
        self._write(lambda: self.run.update(self.progress(), status=status), self._end)

    def _score_test_part(self) -> None:
        """Score the test part with the weights that are kept, which were chosen without it."""
        ids = self.dataset.test_ids
        if len(ids) < MIN_HELD_OUT or not (self.run.folder / "best.safetensors").is_file():
            return
        model = self.run.load_model().to(self.device)
        threads = choose(model.config, validation_row_count(len(ids)), model.device.type).threads
        with suppress(Halted):  # then its losses by block stay unknown
            border = self.dataset.border
            scores = evaluate(model, ids, threads=threads, halted=lambda: self._control.interrupted, border=border)
            self._writes.append(partial(self.run.test_log.write, [block_row(self.best_step, scores.blocks)]))

    def release(self) -> None:
        """End without a last update: the run counts as interrupted, and resumes from its last save."""
        self.ended = True
        self.run.release()

    def _end(self) -> None:
        """The last state is proven: the one before it is no longer needed."""
        drop_second(self.run.folder)
        self.release()

    def _validate_now(self, latest: Metrics) -> None:
        """Validate out of turn. The schedule (patience, plateau) does not see it, or resuming would differ."""
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
        if logged:  # one row a step
            self._writes.append(partial(self.run.log.cut, after=latest.step - 1))
        self._writes.append(partial(self.run.log.append, self.latest.to_dict() | {"train_loss": mean}))
        self._writes.extend(self._after_validation(val_loss))

    def wait_for_disk(self, reason: str) -> bool:
        """Train no further until the disk takes what waits; returns whether the reason is a new one."""
        before = self.trouble
        said = f"waiting for the disk: the run cannot be written ({reason})"
        self.trouble = f"{said}; free some space and it continues by itself"
        return self.trouble != before

    def fail(self, error: Exception) -> None:
        """End as failed, with the reason and the fix, if one is known; what was saved stays as it is.

        Raises:
            CheckpointError: not even that can be written.
        """
        try:
            fix = getattr(error, "fix", {})
            self.run.update(self.progress(), status="failed", message=str(error), mend=fix)
        finally:
            self.release()

    def eta_seconds(self) -> float | None:
        """Own seconds still to go, estimated from the steps so far; None before the first."""
        if not self.state.step:
            return None
        left = []
        if self.total:
            left.append(max(0, self.total - self.state.step) * self.state.seconds / self.state.step)
        if self.run.train_config.minutes:
            left.append(max(0.0, 60.0 * self.run.train_config.minutes - self.state.seconds))
        return min(left)
