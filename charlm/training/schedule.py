"""How long a training is and how large its steps are: the budget, the validations, the learning rate."""

import math
from collections.abc import Sequence

from charlm.config import ModelConfig, TrainConfig

COSINE_FLOOR = 0.01  # share of the learning rate that the cosine schedule ends at
PLATEAU_PATIENCE = 2  # validations without a better one after which the plateau schedule halves the learning rate


def planned_steps(model: ModelConfig, config: TrainConfig, steps_per_epoch: int) -> int | None:
    """`total_steps`, but for an n-gram, which takes one pass whatever the budget says.

    Args:
        model: of the training.
        config: steps, epochs and minutes.
        steps_per_epoch: batches in one pass over the text.
    """
    return steps_per_epoch if model.is_counted else total_steps(config, steps_per_epoch)


def total_steps(config: TrainConfig, steps_per_epoch: int) -> int | None:
    """Steps after which the budget of steps or epochs ends; None if only minutes limit it."""
    limits = [config.steps] if config.steps else []
    if config.epochs:
        limits.append(max(1, math.ceil(config.epochs * steps_per_epoch)))
    return min(limits, default=None)


def evaluation_interval(config: TrainConfig, steps_per_epoch: int) -> int:
    """Steps between validations: as set, else once an epoch, else about a dozen in all."""
    if config.eval_every:
        return config.eval_every
    total = total_steps(config, steps_per_epoch)
    if config.epochs and 5 <= config.epochs <= 50:
        return steps_per_epoch
    interval = total // 12 if total else steps_per_epoch
    return max(1, min(interval, steps_per_epoch, 200) if config.minutes else interval)


def budget_used(config: TrainConfig, steps_per_epoch: int, step: int, seconds: float) -> float:
    """Share of the budget that is used up, 0 to 1: the largest over steps, epochs and minutes.

    Args:
        config: steps, epochs and minutes.
        steps_per_epoch: batches in one pass over the text.
        step: steps taken.
        seconds: the training's own time.
    """
    total = total_steps(config, steps_per_epoch)
    shares = [step / total] if total else []
    if config.minutes:
        shares.append(seconds / (60.0 * config.minutes))
    return min(1.0, max(shares))


# Changes of a learning rate on the way, in the order of steps: from the step after so many on, so much.
RateChanges = Sequence[tuple[int, float]]


def base_rate(initial: float, step: int, changes: RateChanges) -> float:
    """The learning rate of the next step, before warm-up and schedule.

    Args:
        initial: that the training began with.
        step: steps taken.
        changes: on the way.
    """
    return next((rate for after, rate in reversed(changes) if after <= step), initial)


def learning_rate(
    config: TrainConfig, step: int, used: float, plateau_scale: float = 1.0, changes: RateChanges = ()
) -> float:
    """The learning rate of the next step: a linear warm-up, then the schedule; both are factors of `base_rate`.

    Args:
        config: learning_rate (resolved, not 0), warmup_steps, schedule.
        step: steps taken.
        used: share of the budget that is used up, 0 to 1.
        plateau_scale: what the plateau schedule has made of it: halved after every PLATEAU_PATIENCE validations
            without a better loss.
        changes: of the learning rate, on the way.
    """
    rate = base_rate(config.learning_rate, step, changes)
    if step < config.warmup_steps:
        rate *= (step + 1) / (config.warmup_steps + 1)
    if config.schedule == "linear":
        rate *= 1.0 - used
    elif config.schedule == "cosine":
        rate *= COSINE_FLOOR + (1.0 - COSINE_FLOOR) * 0.5 * (1.0 + math.cos(math.pi * used))
    elif config.schedule == "plateau":
        rate *= plateau_scale
    return rate
