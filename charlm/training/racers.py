"""What each architecture of a race is trained with: equal layers or equal parameters; equal tokens, time or work."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from charlm.architectures import ARCH_NAMES
from charlm.config import ModelConfig, RunConfig, TrainConfig
from charlm.data.batches import Cut
from charlm.errors import ConfigError
from charlm.models import model_class
from charlm.training.estimate import count_parameters, size_for, training_seconds
from charlm.training.schedule import total_steps

MINUTE = 60.0
FINE_STEP = 4  # matched sizes are multiples of it
SHORTEST_MINUTES = 0.01  # a budget of 0 minutes would be none


class Racer(NamedTuple):
    """One training of a race.

    Attributes:
        model: with the sizes that follow from the text.
        train: with its own budget, learning rate and seed.
    """

    model: ModelConfig
    train: TrainConfig

    def fitted(self, cut: Cut) -> "Racer":
        """The same with batches as a text allows them."""
        return Racer(self.model, replace(self.train, batch_size=cut.batch_size, seq_len=cut.seq_len))


def racers(config: RunConfig, archs: Sequence[str], vocab_size: int, cut: Cut) -> list[Racer]:
    """The trainings of a race: every architecture with the first seed, then every one with the next.

    The first architecture has the size and the budget of the settings, and is what the others are matched to. An
    n-gram, which counts its text once, has neither seeds nor a budget, and is no measure for others.

    Args:
        config: settings of all, and how they are matched.
        archs: distinct names of architectures.
        vocab_size: of the text's tokenizer.
        cut: of the text, with the batches that it allows.

    Raises:
        ConfigError: a setting does not fit an architecture, or the budget cannot be shared out.
    """
    models = [config.model.resolve_for(arch, vocab_size, cut.train, cut.seq_len) for arch in archs]
    first = next((model for model in models if not model.is_counted), models[0])
    if config.race.match == "parameters":
        models = [_matched(model, first) for model in models]
    budgets = _budgets(config, models, first, cut)
    if config.race.seeds > 1:
        budgets = [replace(budget, random_start=True) for budget in budgets]
    rated = [
        budget.resolve(model, total_steps(budget, cut.steps_per_epoch))
        for model, budget in zip(models, budgets, strict=True)
    ]
    seeds = range(config.train.seed, config.train.seed + config.race.seeds)
    return [
        Racer(model, replace(train, seed=seed))
        for seed in seeds
        for model, train in zip(models, rated, strict=True)
        if seed == seeds[0] or not model.is_counted
    ]


def _matched(model: ModelConfig, first: ModelConfig) -> ModelConfig:
    """The model with the width that gives it about as many parameters as the first has."""
    if model.is_counted or model == first:
        return model
    return model.of_width(size_for(model, count_parameters(first), FINE_STEP))


def _budgets(config: RunConfig, models: Sequence[ModelConfig], first: ModelConfig, cut: Cut) -> list[TrainConfig]:
    """How long each model is trained."""
    kind, train = config.race.budget, config.train
    if kind == "tokens" or first.is_counted:
        return [train] * len(models)
    if kind == "seconds":
        minutes = train.minutes or max(SHORTEST_MINUTES, round(_expected_seconds(first, train, cut) / MINUTE, 2))
        return [replace(train, minutes=minutes, epochs=0.0, steps=0)] * len(models)
    if not (train.steps or train.epochs):
        raise ConfigError(
            f"budget flops shares out steps or epochs, and only minutes ({train.minutes:g}) are given; "
            "give steps, or choose budget seconds"
        )
    return [_as_much_work(train, model, first) for model in models]


def _expected_seconds(model: ModelConfig, train: TrainConfig, cut: Cut) -> float:
    from charlm.training.machine import this_machine  # measured at the first call

    return training_seconds(this_machine(), *Racer(model, train).fitted(cut), cut.train)


def _as_much_work(train: TrainConfig, model: ModelConfig, first: ModelConfig) -> TrainConfig:
    """As many multiply-adds as the first model takes in its steps and epochs."""
    if model.is_counted:
        return train
    share = work_per_token(first) / work_per_token(model)
    steps = max(1, round(train.steps * share)) if train.steps else 0
    try:
        return replace(train, steps=steps, epochs=train.epochs * share)
    except ConfigError as error:
        raise ConfigError(f"as many multiply-adds for the {ARCH_NAMES[model.arch]}: {error}") from None


def work_per_token(model: ModelConfig) -> int:
    """Multiply-adds of training on one token: the forward pass, and twice as many back, attention included."""
    return 3 * model_class(model.arch).macs_per_token(model)
