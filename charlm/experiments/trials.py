"""One trial of a search: what may be changed of the base, and a short training that is looked at on its way."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from charlm.architectures import ARCHITECTURES
from charlm.config import TrainConfig
from charlm.data.batches import Cut, Dataset
from charlm.errors import Halted
from charlm.models import LanguageModel, build_model
from charlm.training.device import device_for
from charlm.training.estimate import check_memory
from charlm.training.racers import Racer
from charlm.training.train import TrainState, train, validate

LOOKS = (0.4, 0.6)  # shares of its time after which a trial is validated and may end early; and at its end
WHOLE_TIME = 100  # per cent, which a trial that was trained to its end has had
NEVER = 100_000_000  # steps: validations come by time
WIDTH_STEP = 16  # hidden sizes are so many units apart, of narrow models fewer
RATE_FACTOR = 6.0  # the learning rate is searched between the base's divided and multiplied by it
MOST_DROPOUT = 0.6
SCHEDULES = ("linear", "cosine", "constant")
SEARCHED = ("learning_rate", "hidden_size", "dropout", "batch_size", "schedule")


def space_of(base: Racer, cut: Cut) -> dict[str, BaseDistribution]:
    """What is searched around the base, which lies in it.

    Args:
        base: a model and its training, resolved.
        cut: of the text; a batch is no larger than it allows.
    """
    model, config = base
    width, rows = model.hidden_size, config.batch_size
    step = WIDTH_STEP if width >= 4 * WIDTH_STEP else max(1, width // 4)
    if ARCHITECTURES[model.arch].attends:
        step = math.lcm(step, 2 * model.num_heads)
    narrowest = width - (width // 2 // step) * step
    fewest = rows // 2 if rows % 2 == 0 else rows
    most = max(rows, min(4 * rows, 4096, (cut.train - 1) // cut.seq_len) // fewest * fewest)
    rate = config.learning_rate
    schedules = tuple(dict.fromkeys((config.schedule, *SCHEDULES)))
    return {
        "learning_rate": FloatDistribution(rate / RATE_FACTOR, min(10.0, RATE_FACTOR * rate), log=True),
        "hidden_size": IntDistribution(narrowest, min(4096, width + width // step * step), step=step),
        "dropout": FloatDistribution(0.0, max(MOST_DROPOUT, model.dropout)),
        "batch_size": IntDistribution(fewest, most, step=fewest),
        "schedule": CategoricalDistribution(schedules),
    }


def settings_of(racer: Racer) -> dict[str, Any]:
    """The settings of a training that are searched, by name."""
    both = racer.model.to_dict() | racer.train.to_dict()
    return {name: both[name] for name in SEARCHED}


def with_settings(base: Racer, settings: Mapping[str, Any]) -> Racer:
    """The base with other settings of SEARCHED: the rate in three digits, dropout in two decimals."""
    if settings == settings_of(base):
        return base
    rate, dropout = float(f"{settings['learning_rate']:.3g}"), round(settings["dropout"], 2)
    model = replace(base.model.of_width(int(settings["hidden_size"])), dropout=dropout)
    rows, schedule = int(settings["batch_size"]), settings["schedule"]
    return Racer(model, replace(base.train, learning_rate=rate, batch_size=rows, schedule=schedule))


def ready_for(racer: Racer, vocab_size: int, dataset: Dataset) -> tuple[Racer, Dataset]:
    """A training with the sizes that follow from the text, and the text in its batches."""
    batches = dataset.with_batches(racer.train.batch_size, racer.train.seq_len)
    model = racer.model.resolve_for(racer.model.arch, vocab_size, dataset.train, batches.seq_len)
    return Racer(model, racer.train).fitted(batches), batches


def begin(racer: Racer, dataset: Dataset) -> tuple[LanguageModel, TrainState]:
    """A new model as a run's is, and where its training stands.

    Args:
        racer: resolved for the text.
        dataset: the text.

    Raises:
        ConfigError: it does not fit into memory.
    """
    check_memory(*racer)
    model = build_model(racer.model, racer.train.seed)
    model.init_output_bias(dataset.counts(racer.model.vocab_size))
    model = model.to(device_for(racer.train.device))
    return model, TrainState.start(model, racer.train)


def looks(
    model: LanguageModel,
    state: TrainState,
    dataset: Dataset,
    config: TrainConfig,
    halted: Callable[[], bool],
    rest: Callable[[], None],
) -> Iterator[tuple[int, float]]:
    """A trial: its validations at the same shares of its time in all, so that they can be compared.

    Args:
        model, state: from `begin`.
        dataset: the text in its batches.
        config: its training; `minutes` alone limits it.
        halted: asked at every step: whether to break it off.
        rest: see `Search.run`.

    Yields:
        How much of its time is over, in per cent, as LOOKS says, and the lowest loss so far, in nats per token;
        WHOLE_TIME comes last. A look is left out where the validation before it took until then.

    Raises:
        Halted: `halted` said so.
        JobError: it diverged.
    """
    budget, coming = 60.0 * config.minutes, list(LOOKS)
    for _ in train(model, dataset, replace(config, eval_every=NEVER), state, halted):
        rest()
        if halted():
            raise Halted
        if coming and state.seconds >= coming[0] * budget and state.validated_step < state.step:
            validate(model, dataset, state, halted)
            yield round(WHOLE_TIME * coming[0]), state.best_val_loss
            coming = [share for share in coming if state.seconds < share * budget]
    yield WHOLE_TIME, state.best_val_loss


def warm_up(racer: Racer, dataset: Dataset) -> None:
    """A step and a validation that nobody counts: what is compiled for them shall not be the first trial's."""
    model, state = begin(racer, dataset)
    next(train(model, dataset, racer.train, state))
    validate(model, dataset, state)
