"""Training runs side by side: racers take turns in short slices on the same batches. One run is a race of one."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch

from charlm.checkpoint import load_training, save_training, save_weights
from charlm.config import ModelConfig, SampleConfig
from charlm.corpus import Corpus
from charlm.entry import dataset_of, device_for
from charlm.errors import CharLMError, JobError
from charlm.metrics import Metrics, MetricsLog
from charlm.models import LanguageModel, build_model
from charlm.runs import Run
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
# Multiplications (B x H x H) from which a step's products are worth sharing between cores.
SHARED_PRODUCT = 4_000_000
SAMPLE = SampleConfig(length=300, seed=1)


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
        corpus: the text, as cleaned when the run was made.
        resume: go on from the run's saved state.
    """

    def __init__(self, run: Run, corpus: Corpus, resume: bool = False) -> None:
        self.run = run
        config = run.train_config
        self.tokenizer = run.tokenizer()
        self.dataset = dataset_of(self.tokenizer, corpus, config, run.corpus_config)
        self.device = device_for(config.device)
        self.prompt = corpus.text[:1] if "T" not in self.tokenizer.tokens else "The "
        self.model, self.state = self._restore() if resume else self._begin()
        self.threads = useful_threads(run.model_config, self.dataset.batch_size)
        self.total = total_steps(config, self.dataset.steps_per_epoch)
        self.latest: Metrics | None = None
        self.ended = False
        self.slowest = 0.0  # seconds of the last slice's slowest step
        self._losses: list[float] = []
        self._noted = self._saved = time.monotonic()
        self._steps = train(self.model, self.dataset, config, self.state)

    def _begin(self) -> tuple[LanguageModel, TrainState]:
        model = build_model(self.run.model_config, self.run.train_config.seed).to(self.device)
        return model, TrainState.start(model, self.run.train_config)

    def _restore(self) -> tuple[LanguageModel, TrainState]:
        path = self.run.folder / "resume.safetensors"
        model, state = load_training(path, self.run.model_config, self.run.train_config)
        self.run.log.cut(after=state.step)
        MetricsLog(self.run.folder / "samples.jsonl").cut(after=state.step)
        return model.to(self.device), state

    def open(self) -> None:
        """Say in run.json that it runs."""
        self.run.update(
            {"total_steps": self.total}, status="running", message=" ".join(self.dataset.notes), device=self.device
        )

    def advance(self, steps: int, control: Control) -> None:
        """Train at most `steps` steps; fewer if the run ends or `control` wants something."""
        torch.set_num_threads(self.threads)  # of this thread's products only
        self.slowest = 0.0
        for _ in range(steps):
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
        validated = metrics.val_loss is not None
        if validated or metrics.step % self._log_interval() == 0:
            row = metrics.to_dict() | {"train_loss": round(sum(self._losses) / len(self._losses), 6)}
            self.run.log.append(row)
            self._losses.clear()
        if validated:
            self._keep_best()
            self._write_sample()
        self._note(validated)

    def _log_interval(self) -> int:
        interval = evaluation_interval(self.run.train_config, self.dataset.steps_per_epoch)
        return max(1, min(interval, (self.total or 20 * interval) // LOG_ROWS))

    def _keep_best(self) -> None:
        if self.state.best_step == self.state.step:
            path = self.run.folder / "best.safetensors"
            save_weights(path, self.model, step=self.state.step, val_loss=self.state.best_val_loss)

    def _write_sample(self) -> None:
        text = "".join(generate(self.model, self.tokenizer, self.prompt, SAMPLE))
        self.model.train()
        row = {"step": self.state.step, "prompt": self.prompt, "text": text}
        MetricsLog(self.run.folder / "samples.jsonl").append(row)

    def progress_now(self) -> dict[str, Any]:
        """The `progress` of run.json as it is this moment."""
        metrics, best = self.latest, self.state.best_val_loss
        progress = {
            "step": self.state.step,
            "total_steps": self.total,
            "best_val_loss": best if math.isfinite(best) else None,
            "best_step": self.state.best_step,
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
        self.ended = True
        if status == "stopped" and self.state.step > self.state.validated_step and self.latest:
            val_loss = validate(self.model, self.dataset, self.state)
            self._take(Metrics(**{**vars(self.latest), "val_loss": val_loss, "seconds": self.state.seconds}))
        if self.state.step:
            self.save()
        self.run.update(self.progress_now(), status=status)
        self.run.release()

    def fail(self, error: Exception) -> None:
        """End as failed, with the reason; the best weights stay as they are."""
        self.ended = True
        self.run.update(self.progress_now(), status="failed", message=str(error))
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


def useful_threads(config: ModelConfig, batch_size: int) -> int:
    """Threads for a training: products too small to be shared are done faster by one."""
    most, product = _all_threads(), batch_size * config.hidden_size**2
    return 1 if product < SHARED_PRODUCT else most


@cache
def _all_threads() -> int:
    """What torch would use by itself; asked once, before anything is set."""
    return torch.get_num_threads()


def _rounds(racers: Sequence[Racer], control: Control) -> Iterator[None]:
    """Let the racers take turns until all have ended; yield after each slice."""
    steps = 1
    while alive := [racer for racer in racers if not racer.ended]:
        for racer in alive:
            if not racer.ended:
                _guarded(racer, partial(racer.advance, steps, control))
                yield
        slowest = max(racer.slowest for racer in alive)
        steps = max(1, min(100, int(SLICE_SECONDS / slowest))) if slowest else 1


def _guarded(racer: Racer, action: Callable[[], None]) -> None:
    """Run `action`; what goes wrong ends this racer as failed and leaves the others alone."""
    try:
        action()
    except (CharLMError, OSError) as error:
        racer.fail(error)
    except (MemoryError, RuntimeError) as error:
        log.exception("run %s failed", racer.run.run_id)
        short = "memory" in str(error).lower() or isinstance(error, MemoryError)
        way_out = "out of memory; halve batch_size, or choose a smaller hidden_size"
        racer.fail(JobError(way_out if short else f"training broke off: {error}"))


def run_race(racers: Sequence[Racer], control: Control, on_slice: Callable[[], None] = lambda: None) -> None:
    """Train all racers to their end.

    Args:
        racers: their runs are held by this process.
        control: looked at between steps.
        on_slice: called after each slice and, again and again, while paused; it may wait.
    """
    for racer in racers:
        racer.open()
    for _ in _rounds(racers, control):
        on_slice()
        while control.paused and not control.interrupted and not _leaving(racers, control):
            on_slice()
        if control.interrupted:
            for racer in racers:
                if not racer.ended:
                    racer.finish("interrupted")
        for racer in _leaving(racers, control):
            _guarded(racer, partial(racer.finish, "stopped"))


def _leaving(racers: Sequence[Racer], control: Control) -> list[Racer]:
    return [racer for racer in racers if not racer.ended and racer.run.run_id in control.stopped]
