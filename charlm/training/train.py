"""Training as a generator of Metrics; knows no thread, no file and no page.

Networks learn by truncated backpropagation through time; an n-gram counts the text, a slice at a time.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor

from charlm.config import TrainConfig
from charlm.data.batches import MIN_HELD_OUT, Dataset, validation_row_count
from charlm.errors import JobError
from charlm.models import LanguageModel, NeuralModel, State, build_model
from charlm.models.kernels.cross_entropy import Sampler, are_many
from charlm.models.kernels.plan import keep_memory, one_core
from charlm.models.ngram import NGramModel, slice_ends
from charlm.tokenizers import IdArray
from charlm.training.data_parallel import DataParallelStep
from charlm.training.device import choose
from charlm.training.distributed import DistributedStep, Processes
from charlm.training.evaluate import Evaluation, evaluate
from charlm.training.metrics import Metrics
from charlm.training.optimizer import AdamW, clip_gradients
from charlm.training.schedule import (
    PLATEAU_PATIENCE,
    RateChanges,
    base_rate,
    budget_used,
    evaluation_interval,
    learning_rate,
    total_steps,
)

# Where the interval of validations is not set, one is left out, but never the last, as soon as they have taken so many
# seconds and would take more than this share of the training's own time.
FREE_SECONDS, VALIDATION_SHARE = 10.0, 0.25

# A running average keeps at most (1 + step) / (WARMING + step) of itself: the first weights are soon out of it.
WARMING = 10


@dataclass
class TrainState:
    """Where a training stands: `train` updates it after every step, and continues from a saved one."""

    optimizer: torch.optim.Optimizer | None  # None where nothing is trained by gradient
    step: int = 0
    epoch: int = 0
    batch: int = 0  # the next one within the epoch
    hidden: State | None = None  # carried from batch to batch, detached; None at an epoch's start
    best_val_loss: float = math.inf
    best_step: int = 0
    evals_since_best: int = 0
    rate_scale: float = 1.0  # what the plateau schedule has made of the learning rate
    rate_changes: RateChanges = ()  # made by hand; not saved: who resumes a training brings them along
    seconds: float = 0.0  # the training's own time, validation included
    validated_step: int = 0
    validating: float = 0.0  # seconds of all validations since the training began or was resumed; not saved
    last_validating: float = 0.0  # of the newest one; not saved
    held_out: Evaluation | None = None  # of the newest validation; not saved
    pending_validation: tuple[float, float, float] | None = None  # loss, norm and rate of a step yet to be validated
    average: LanguageModel | None = None  # with the running average of the weights, where that is wanted
    loss_sum: float = 0.0  # training losses of the steps since `mean_loss` was last taken
    loss_count: int = 0

    @classmethod
    def start(cls, model: LanguageModel, config: TrainConfig) -> Self:
        """The beginning of a training: AdamW (Loshchilov and Hutter 2019), which without decay is Adam.

        Args:
            model: to be trained, on its device.
            config: resolved, so that its learning_rate is not 0.
        """
        if model.config.is_counted:
            return cls(None)
        optimizer = AdamW(
            model.parameters(),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        return cls(optimizer, average=clone_for_eval(model) if config.weight_average else None)

    def learned(self, model: LanguageModel) -> LanguageModel:
        """What is validated and kept of a training of `model`: the average of its weights, or itself."""
        return model if self.average is None else self.average

    def follow(self, model: LanguageModel) -> None:
        """Move to where the model's parameters were moved to: moments and hidden state belong beside them."""
        if self.hidden is not None:
            self.hidden = tuple(part.to(model.device) for part in self.hidden)
        if self.average is not None:
            self.average = self.average.to(model.device)
        if self.optimizer is not None and model.device.type != "cpu":
            self.optimizer.load_state_dict(self.optimizer.state_dict())  # puts what it loads beside the parameters

    def mean_loss(self) -> float:
        """The mean training loss since it was last taken; NaN without a step in between."""
        mean = self.loss_sum / self.loss_count if self.loss_count else math.nan
        self.loss_sum, self.loss_count = 0.0, 0
        return mean

    def add_validation(self, val_loss: float) -> None:
        """Take in the validation loss of the present step."""
        self.validated_step = self.step
        if val_loss < self.best_val_loss:
            self.best_val_loss, self.best_step, self.evals_since_best = val_loss, self.step, 0
            return
        self.evals_since_best += 1
        if self.evals_since_best % PLATEAU_PATIENCE == 0:
            self.rate_scale *= 0.5


def clone_for_eval(model: LanguageModel) -> LanguageModel:
    """A model of its own with the same weights, for evaluation."""
    copied = build_model(model.config).to(model.device)
    copied.load_state_dict(model.state_dict())
    return copied.requires_grad_(False).eval()


def train(
    model: LanguageModel,
    dataset: Dataset,
    config: TrainConfig,
    state: TrainState | None = None,
    halted: Callable[[], bool] = lambda: False,
    processes: Processes | None = None,
) -> Iterator[Metrics]:
    """Train, one Metrics a step; `val_loss` is set at every validation and at the end.

    Validations whose interval is not set take a bounded share of the time (VALIDATION_SHARE): some are left out.

    Where a validation ends an epoch and the text has a test part, `test_loss` is set, too.

    Between two steps `state` and `model` are consistent: save them then, or stop iterating for good.

    An n-gram takes the steps of a slice at once, each of them as much text as a batch; its training loss is that of
    text before it is counted. The budget does not apply to it.

    Args:
        model: on the device to train on; left in training mode.
        dataset: the text, split and cut.
        config: budget, schedule and the rest.
        state: where to continue; None: from the start.
        halted: asked during a validation, which may take long: whether to break it off. It is then the first thing
            done when the training is resumed from `state`.
        processes: share the rows of each batch, this one being the first; `state.hidden` then is that of its own rows,
            see `Processes.gather`. None: this one alone.

    Raises:
        JobError: the loss or the gradient stopped being a finite number; the model keeps its last finite weights. Or
            another process is lost.
        Halted: a validation was broken off.
    """
    with closing(_trained(model, dataset, config, state, halted, processes)) as steps:
        while True:
            with one_core():  # a batch is shared out as a whole
                metrics = next(steps, None)
            if metrics is None:
                return
            yield metrics


def _trained(
    model: LanguageModel,
    dataset: Dataset,
    config: TrainConfig,
    state: TrainState | None,
    halted: Callable[[], bool],
    processes: Processes | None,
) -> Generator[Metrics]:
    """As `train`, with as many threads for each of torch's operations as the caller has."""
    keep_memory()
    config = config.resolve(model.config, total_steps(config, dataset.steps_per_epoch))
    state = state or TrainState.start(model, config)
    if isinstance(model, NGramModel):
        yield from _count(model, dataset, state, halted)
        return
    interval = evaluation_interval(config, dataset.steps_per_epoch)
    rows = processes.rows_of(dataset.batch_size) if processes else dataset.batch_size
    device = choose(model.config, rows, model.device.type, config.precision)
    model.precision = device.dtype
    _set_sampler(model, dataset, config)
    model.train()
    if processes and dataset.border is not None:
        raise JobError("the items of a list differ in length and are not shared out; train it in one process")
    if processes:
        processes.begin(model, config, dataset.batch_size, dataset.seq_len)
        state.hidden = processes.scatter(state.hidden)
    speed, used = 0.0, _progress(config, dataset, state)
    if state.pending_validation is not None:
        yield _with_validation(model, dataset, state, speed, halted)
        used = _used(config, dataset, state)
    seed = config.seed if config.random_start else None
    count = device.threads
    with DistributedStep(model, count, processes) if processes else DataParallelStep(model, count) as parallel:
        while used < 1.0:
            for inputs, targets in dataset.batches(state.epoch, state.batch, seed):
                began = time.perf_counter()
                rate = learning_rate(config, state.step, used, state.rate_scale, state.rate_changes)
                if dataset.begins(state.epoch, state.batch, seed):
                    state.hidden = None
                loss, norm = _step(parallel, (inputs, targets), config, state, rate)
                taken = time.perf_counter() - began
                latest = np.count_nonzero(targets >= 0) * dataset.chars_per_token / taken
                speed = latest if speed == 0.0 else 0.9 * speed + 0.1 * latest
                _advance(state, dataset, loss, taken)
                used = _progress(config, dataset, state)
                if used >= 1.0 or (state.step % interval == 0 and (config.eval_every or _may_validate(state))):
                    state.pending_validation = loss, norm, rate
                    yield _with_validation(model, dataset, state, speed, halted)
                    used = max(used, _used(config, dataset, state))
                else:
                    yield Metrics(state.step, _epoch(state, dataset), loss, None, rate, norm, speed, state.seconds)
                if used >= 1.0:
                    break


def _set_sampler(model: LanguageModel, dataset: Dataset, config: TrainConfig) -> None:
    """Let the model's training steps draw the tokens that targets are compared with, where that saves work."""
    size, all_tokens = config.softmax_samples, model.config.vocab_size
    if isinstance(model, NeuralModel) and are_many(all_tokens):
        wanted = 0 < size < all_tokens
        model.sampler = Sampler(torch.from_numpy(dataset.counts(all_tokens)), size) if wanted else None


def _count(model: NGramModel, dataset: Dataset, state: TrainState, halted: Callable[[], bool]) -> Iterator[Metrics]:
    """Count the training text on from where the state stands, slice by slice, with a validation after each."""
    if not model.config.counted:
        model.grow(dataset.train)
    before = model.config.counted - dataset.train  # tokens of another text, for a fork
    speed, steps = 0.0, dataset.steps_per_epoch
    if int(model.seen) != before + _tokens_in(state.step, dataset):
        raise JobError("what was counted does not fit this text; train a new run on it")
    if state.pending_validation is not None:
        yield _without_rate(_with_validation(model, dataset, state, speed, halted))
    for end in slice_ends(steps):
        if end <= state.step:
            continue
        began, first, last = time.perf_counter(), _tokens_in(state.step, dataset), _tokens_in(end, dataset)
        try:
            loss = model.count(dataset.train_ids[first:last])
        except MemoryError:
            raise JobError(f"out of memory; choose an order below {model.config.order}, or a shorter text") from None
        taken = time.perf_counter() - began
        speed = (last - first) * dataset.chars_per_token / taken
        _advance(state, dataset, loss, taken, end - state.step)
        state.pending_validation = loss, 0.0, 0.0
        yield _without_rate(_with_validation(model, dataset, state, speed, halted))


def _without_rate(metrics: Metrics) -> Metrics:
    """Counting has neither a learning rate nor a gradient."""
    return replace(metrics, learning_rate=math.nan, grad_norm=math.nan)


def _tokens_in(steps: int, dataset: Dataset) -> int:
    """How much of the training text so many steps of counting are; the last one takes the rest."""
    if steps >= dataset.steps_per_epoch:
        return dataset.train
    if dataset.border is not None:  # of a list batches differ in size
        return steps * dataset.train // dataset.steps_per_epoch
    return steps * dataset.batch_size * dataset.seq_len


def _advance(state: TrainState, dataset: Dataset, loss: float, seconds: float, steps: int = 1) -> None:
    """Count a step, or several at once; at the end of an epoch the hidden state is forgotten."""
    state.step, state.batch = state.step + steps, state.batch + steps
    state.seconds += seconds
    state.loss_sum, state.loss_count = state.loss_sum + loss, state.loss_count + 1
    if state.batch == dataset.steps_per_epoch:
        state.epoch, state.batch, state.hidden = state.epoch + 1, 0, None


def _epoch(state: TrainState, dataset: Dataset) -> float:
    return state.epoch + state.batch / dataset.steps_per_epoch


def _progress(config: TrainConfig, dataset: Dataset, state: TrainState) -> float:
    return budget_used(config, dataset.steps_per_epoch, state.step, state.seconds)


def _used(config: TrainConfig, dataset: Dataset, state: TrainState) -> float:
    """Share of the budget that is used up after a validation; all of it when patience is."""
    tired = config.patience and state.evals_since_best >= config.patience
    return 1.0 if tired else _progress(config, dataset, state)


def _may_validate(state: TrainState) -> bool:
    """Whether one more validation on the way takes no more than its share."""
    seconds = state.validating + state.last_validating
    return seconds <= max(FREE_SECONDS, VALIDATION_SHARE * (state.seconds + state.last_validating))


def _with_validation(
    model: LanguageModel, dataset: Dataset, state: TrainState, speed: float, halted: Callable[[], bool]
) -> Metrics:
    """The Metrics of a step whose validation is due."""
    assert state.pending_validation is not None
    test_loss = None
    if state.batch == 0 and len(dataset.test_ids) >= MIN_HELD_OUT:  # an epoch has ended
        test_loss = _evaluate(model, dataset, dataset.test_ids, state, halted).nats_per_token
    held_out = validate(model, dataset, state, halted)
    loss, norm, rate = state.pending_validation
    state.pending_validation = None
    return Metrics(
        state.step,
        _epoch(state, dataset),
        loss,
        held_out.nats_per_token,
        rate,
        norm,
        speed,
        state.seconds,
        test_loss,
        held_out.standard_error,
    )


def _evaluate(
    model: LanguageModel, dataset: Dataset, ids: IdArray, state: TrainState, halted: Callable[[], bool]
) -> Evaluation:
    """A held-out text scored; the time counts as the training's own."""
    began = time.perf_counter()
    model.zero_grad()  # the last step's gradients would but take room
    threads = choose(model.config, validation_row_count(len(ids)), model.device.type).threads
    scores = evaluate(state.learned(model), ids, threads=threads, halted=halted, border=dataset.border)
    state.last_validating = time.perf_counter() - began
    state.validating += state.last_validating
    state.seconds += state.last_validating
    return scores


def validate(
    model: LanguageModel, dataset: Dataset, state: TrainState, halted: Callable[[], bool] = lambda: False
) -> Evaluation:
    """The whole held-out text scored, the loss noted in `state`; the time counts as the training's own.

    Args:
        model: in training; scored is `state.learned(model)`.
        dataset: its text.
        state: where the training stands.
        halted: asked between pieces; whether to break off.

    Raises:
        Halted: `halted` said so; `state` has noted nothing.
    """
    scores = _evaluate(model, dataset, dataset.val_ids, state, halted)
    if not math.isfinite(scores.nats_per_token):
        initial = state.optimizer.defaults["lr"] if state.optimizer is not None else 0.0
        rate = base_rate(initial, state.step - 1, state.rate_changes)
        raise _diverged("validation loss", scores.nats_per_token, state.step, rate)
    state.add_validation(scores.nats_per_token)
    state.held_out = scores
    return scores


def _step(
    parallel: DataParallelStep, batch: tuple[IdArray, IdArray], config: TrainConfig, state: TrainState, rate: float
) -> tuple[float, float]:
    """One update of the weights; returns the batch's loss and the gradient's norm before clipping."""
    assert state.optimizer is not None
    inputs, targets = (torch.from_numpy(part).long() for part in batch)  # (B, T)
    state.optimizer.param_groups[0]["lr"] = rate
    total, hidden = parallel.gradients(inputs, targets, state.hidden)
    length = clip_gradients(parallel.parameters, config.grad_clip)
    loss, norm = update(state.optimizer, total, length, total.is_cuda)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what, wrong = ("gradient norm", norm) if math.isfinite(loss) else ("loss", loss)
        raise _diverged(what, wrong, state.step + 1, base_rate(config.learning_rate, state.step, state.rate_changes))
    if state.average is not None:
        _average(state.average, parallel.model, min(config.weight_average, (1 + state.step) / (WARMING + state.step)))
    state.hidden = hidden
    return loss, norm


def update(optimizer: torch.optim.Optimizer, loss: Tensor, norm: Tensor, on_gpu: bool) -> tuple[float, float]:
    """Update the weights if a step's loss and gradient norm are finite; they are returned either way.

    Args:
        optimizer: a fused one.
        loss: a scalar, where the weights are.
        norm: likewise.
        on_gpu: have the GPU decide, as torch's GradScaler does: then it has all work of the step before it is waited
            for once. Otherwise the CPU looks first.
    """
    if on_gpu:
        numbers = torch.stack((loss, norm.to(loss.dtype)))
        optimizer.found_inf = 1.0 - numbers.isfinite().all().float()  # type: ignore[attr-defined]
        optimizer.step()
        return cast(tuple[float, float], tuple(numbers.tolist()))
    found = loss.item(), norm.item()
    if all(map(math.isfinite, found)):
        optimizer.step()
    return found


@torch.no_grad()
def _average(average: LanguageModel, model: LanguageModel, share: float) -> None:
    """Keep so much of the running average and take the rest from the model's weights."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1.0 - share)


def _diverged(what: str, value: float, step: int, rate: float) -> JobError:
    lower = float(f"{rate / 3:.2g}")
    said = (
        f"the {what} became {value} at step {step:,} with learning_rate {rate:g}; "
        f"try a third of it ({lower:g}) or a smaller grad_clip"
    )
    return JobError(said, {"learning_rate": lower})
