"""What to try next, told from a training's course: at most three sentences, each with its number and its mend.

Over- and underfitting are judged as Karpathy's char-rnn advises: a much lower training loss than validation loss calls
for more dropout or a smaller network, about equal losses for a larger one, and parameters should be about as many as
characters.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from charlm.config import ModelConfig, TrainConfig
from charlm.runs.run import ACTIVE, Run

MOST = 3  # sentences at once
FIRST = 100  # steps that tell whether the learning rate is right
WORSE = 1.3  # times the loss at the start: no training gets there by itself
LEARNT = 0.85  # times the loss at the start: below, something was learned
# Of the validation loss: what the training loss is below it where a text is learned by heart, and where both are equal;
# the best trainings of bench/RECIPES.md are up to 0.12 below.
WIDE_GAP, NO_GAP = 0.15, 0.03
RISEN = 0.02  # of the lowest validation loss: by how much the newest is above it
# Tokens for each number learned, and the other way round, beyond which the two do not fit each other.
LOPSIDED = 8.0
UNSURE = 0.02  # nats: a larger standard error hides what settings do
# What a pass over the last tenth of a training still wins, as a share of the loss: it is not done; and what is nothing.
FALLING, FLAT = 0.004, 0.0005


@dataclass(frozen=True)
class Advice:
    """One sentence.

    Attributes:
        kind: a word for it.
        said: the sentence, with the number that it rests on.
        changes: settings that would mend it, for the form; empty where none would.
        action: what the button says; empty without changes.
        weight: the more the more useful.
    """

    kind: str
    said: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    action: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Training:
    """What is known of a training.

    Attributes:
        model, train: its settings.
        rows: of its log, in the order of steps.
        parameters: numbers that it learns.
        train_tokens, val_tokens: of the text.
        unseen: how many distinct characters of the held-out part the training part does not have.
        ended: it trains no more.
        total_steps: after which it ends; None: only minutes tell.
    """

    model: ModelConfig
    train: TrainConfig
    rows: Sequence[Mapping[str, Any]]
    parameters: int
    train_tokens: int
    val_tokens: int
    unseen: int = 0
    ended: bool = False
    total_steps: int | None = None

    @cached_property
    def validations(self) -> list[Mapping[str, Any]]:
        """The rows with a validation loss; one of nothing at all tells nothing."""
        return [row for row in self.rows if _is_number(row.get("val_loss")) and row["val_loss"] > 0.0]

    @cached_property
    def best(self) -> Mapping[str, Any]:
        """The row with the lowest validation loss."""
        return min(self.validations, key=lambda row: row["val_loss"])

    @cached_property
    def gap(self) -> float:
        """By how much the training loss is below the newest validation loss, as a share of this."""
        if not self.validations:
            return 0.0
        newest = self.validations[-1]
        seen = [
            row["train_loss"] for row in self.rows if self._is_recent(row, newest) and _is_number(row["train_loss"])
        ]
        return 1.0 - statistics.fmean(seen) / newest["val_loss"] if seen else 0.0

    def _is_recent(self, row: Mapping[str, Any], newest: Mapping[str, Any]) -> bool:
        """Whether a row lies in the last tenth before a validation, or is it."""
        return 0.9 * newest["step"] <= row["step"] <= newest["step"]

    @property
    def guessing(self) -> float:
        """The loss of choosing among all tokens at random."""
        return math.log(max(2, self.model.vocab_size))

    @property
    def start(self) -> float:
        """Where a loss begins: that of guessing, or above it, where the first weights are wide."""
        return max([self.guessing, *self.first_losses[:1]])

    @cached_property
    def first_losses(self) -> list[float]:
        """Training losses up to a hundred steps after the warm-up."""
        first = [row for row in self.rows if row["step"] <= self.train.warmup_steps + FIRST]
        return [row["train_loss"] for row in first if _is_number(row["train_loss"])]

    @property
    def share_done(self) -> float:
        """Of its budget; 1 once it has ended."""
        if self.ended or not self.rows:
            return 1.0
        return self.rows[-1]["step"] / self.total_steps if self.total_steps else 0.0


def training_of(run: Run, rows: Sequence[Mapping[str, Any]], status: str, total_steps: int | None) -> Training:
    """What is known of a run's training.

    Args:
        run: trained, or at work.
        rows: of its log.
        status: as it is now.
        total_steps: after which it ends, if that is known.
    """
    known = run.corpus
    return Training(
        run.model_config, run.train_config, rows, run.num_parameters,
        int(known.get("train_tokens") or known.get("train_chars") or 0),
        int(known.get("val_tokens") or known.get("val_chars") or 0),
        int(known.get("val_unseen") or 0), status not in ACTIVE, total_steps,
    )  # fmt: skip


def advise(training: Training) -> list[Advice]:
    """At most three pieces of advice, the most useful first; none about an n-gram, which has nothing to be set.

    Args:
        training: at work or ended.
    """
    if training.model.is_counted or not training.rows:
        return []
    said = [advice for rule in RULES if (advice := rule(training)) is not None]
    kinds = {advice.kind for advice in said}
    if "rate too high" in kinds or "rate too low" in kinds:  # what the losses say then is about the rate
        said = [advice for advice in said if advice.kind not in OF_LOSSES]
    return sorted(said, key=lambda advice: -advice.weight)[:MOST]


OF_LOSSES = ("overfitting", "underfitting", "plateau", "still falling")


def _rate_too_high(training: Training) -> Advice | None:
    """It soon does worse than guessing, or loses again what it had learned, or most gradients are clipped."""
    train, rows = training.train, training.rows
    later = [row for row in rows if row["step"] > train.warmup_steps]
    if not later or later[-1]["step"] < train.warmup_steps + FIRST // 2:
        return None
    mended = {"learning_rate": rounded(train.learning_rate / 3)}
    action = f"Learning rate {mended['learning_rate']:g}"
    norms = [row["grad_norm"] for row in later if _is_number(row.get("grad_norm"))]
    long = sum(norm > train.grad_clip for norm in norms) / len(norms) if norms and train.grad_clip else 0.0
    highest = max(training.first_losses, default=0.0)
    if highest > WORSE * training.start:
        return Advice(
            "rate too high",
            f"Within the first {train.warmup_steps + FIRST} steps the loss rose to {highest:.1f}, far above guessing "
            f"({training.guessing:.2f}): a learning rate of {train.learning_rate:g} is too high.",
            mended, action, weight=9.5,
        )  # fmt: skip
    losses = [row["train_loss"] for row in rows if _is_number(row["train_loss"])]
    lowest, newest = _smooth_ends(losses)
    if newest > lowest + 0.25:
        return Advice(
            "rate too high",
            f"The training loss had come down to {lowest:.2f} and is back at {newest:.2f}: a learning rate of "
            f"{train.learning_rate:g} is too high.",
            mended, action, weight=9.0,
        )  # fmt: skip
    if long > 0.5 and newest < LEARNT * training.start:  # else gradients are as long as at first, whatever the rate
        return Advice(
            "rate too high",
            f"{long:.0%} of the gradients were longer than grad_clip {train.grad_clip:g} (half of them longer than "
            f"{statistics.median(norms):.1f}): a learning rate of {train.learning_rate:g} is too high for this model.",
            mended, action, weight=8.0,
        )  # fmt: skip
    return None


def _smooth_ends(losses: Sequence[float], width: int = 10) -> tuple[float, float]:
    """The lowest mean of `width` losses in a row, and the last of these means; nothing gained without as many."""
    if len(losses) < width:
        return math.inf, 0.0
    means = [statistics.fmean(losses[place : place + width]) for place in range(len(losses) - width + 1)]
    return min(means), means[-1]


def _rate_too_low(training: Training) -> Advice | None:
    """After a hundred steps it has not got far from where guessing begins, and gets there evenly."""
    steps, losses, start = training.train.warmup_steps + FIRST, training.first_losses, training.start
    if training.rows[-1]["step"] < steps or not losses or max(losses) > WORSE * start:
        return None
    after = statistics.fmean(losses[-10:])
    won = 1.0 - after / start
    newest = [row["train_loss"] for row in training.rows[-10:] if _is_number(row["train_loss"])]
    if won > 1.0 - LEARNT or not newest or statistics.fmean(newest) > after + 0.05:
        return None
    rate = training.train.learning_rate
    mended = {"learning_rate": rounded(min(rate * 5, 1.0))}
    return Advice(
        "rate too low",
        f"After the first {steps} steps the loss was {after:.2f}, only {max(won, 0.0):.0%} below its beginning "
        f"({start:.2f}): a learning rate of {rate:g} is too low.",
        mended, f"Learning rate {mended['learning_rate']:g}", weight=8.0,
    )  # fmt: skip


def _overfitting(training: Training) -> Advice | None:
    """It gets better at what it has seen and worse at what it has not."""
    if len(training.validations) < 3:
        return None
    best, newest = training.best, training.validations[-1]
    risen = newest["val_loss"] / best["val_loss"] - 1.0
    if risen < RISEN or training.gap < NO_GAP:
        return None
    return Advice(
        "overfitting",
        f"The validation loss was lowest, {best['val_loss']:.3f}, at step {best['step']:,} and has risen to "
        f"{newest['val_loss']:.3f}, {training.gap:.0%} above the training loss: it learns by heart.",
        *_more_dropout(training), weight=7.0,
    )  # fmt: skip


def _gap(training: Training) -> Advice | None:
    """The training loss is much the lower one."""
    if len(training.validations) < 3 or training.gap < WIDE_GAP or training.share_done < 0.5:
        return None
    if training.validations[-1]["val_loss"] / training.best["val_loss"] - 1.0 >= RISEN:
        return None  # has been said
    return Advice(
        "overfitting",
        f"The training loss is {training.gap:.0%} below the validation loss of "
        f"{training.validations[-1]['val_loss']:.3f}: the model holds more of this text than it can use.",
        *_more_dropout(training), weight=4.0,
    )  # fmt: skip


def _more_dropout(training: Training) -> tuple[dict[str, Any], str]:
    """What helps against learning by heart: dropout, and where that is high already a smaller network."""
    dropout = training.model.dropout
    if dropout < 0.5:
        more = min(0.5, round(dropout + (0.1 if dropout >= 0.2 else 0.2), 2))
        return {"dropout": more}, f"Dropout {more:g}"
    smaller = scaled(training.model, 0.7)
    return _resized(training.model, smaller), f"{smaller} units a layer"


def _underfitting(training: Training) -> Advice | None:
    """The training loss is about equal or, with dropout, the higher one: there is room for a larger network."""
    if training.share_done < 0.8 or len(training.validations) < 3 or training.gap > NO_GAP:
        return None
    if training.validations[-1] is not training.best and training.parameters > LOPSIDED * training.train_tokens:
        return None
    larger = scaled(training.model, 1.5)
    if larger <= training.model.hidden_size:
        return None
    loss = f"{training.validations[-1]['val_loss']:.3f}"
    close = f"The training loss is only {training.gap:.1%} below the validation loss of {loss}"
    above = f"The training loss is {-training.gap:.1%} above the validation loss of {loss}"
    return Advice(
        "underfitting",
        f"{close if training.gap >= 0.0 else above}: it learns nothing by heart, so a larger model would do better.",
        _resized(training.model, larger), f"{larger} units a layer", weight=5.0,
    )  # fmt: skip


def _size(training: Training) -> Advice | None:
    """Parameters against tokens of text."""
    if not training.train_tokens or not training.parameters:
        return None
    share = training.parameters / training.train_tokens
    if share > LOPSIDED and training.model.dropout < 0.3:
        smaller = scaled(training.model, 0.5)
        said = (
            f"The model learns {training.parameters:,} numbers from {training.train_tokens:,} tokens, {share:.0f} for "
            "each: a smaller one, more dropout or a longer text would suit it better."
        )
        return Advice("size", said, _resized(training.model, smaller), f"{smaller} units a layer", weight=3.0)
    if 1.0 / share > LOPSIDED and training.share_done >= 0.5 and training.gap < WIDE_GAP:
        larger = scaled(training.model, 1.5)
        said = (
            f"The text has {1 / share:.0f} tokens for each of the model's {training.parameters:,} parameters: it would "
            "feed a larger one."
        )
        return Advice("size", said, _resized(training.model, larger), f"{larger} units a layer", weight=3.0)
    return None


def _held_out(training: Training) -> Advice | None:
    """The held-out text is too short to tell settings apart."""
    errors = [row["val_error"] for row in training.validations if _is_number(row.get("val_error"))]
    if not errors or errors[-1] < UNSURE or not training.val_tokens:
        return None
    return Advice(
        "held out",
        f"The validation loss of {training.validations[-1]['val_loss']:.3f} is uncertain by ±{errors[-1]:.3f} (one "
        f"standard error): {training.val_tokens:,} held-out tokens are too few to tell smaller differences; hold out "
        "more in the Corpus tab.",
        weight=3.5,
    )


def _unseen(training: Training) -> Advice | None:
    """The held-out part has characters that training never shows."""
    if not training.unseen:
        return None
    count = training.unseen
    return Advice(
        "unseen",
        f"{count} {'character occurs' if count == 1 else 'characters occur'} in the held-out part only: no training "
        "can teach them, and every time they cost the validation loss much.",
        weight=2.5,
    )  # fmt: skip


def _plateau(training: Training) -> Advice | None:
    """Nothing was won for the second half of the training, long before its end."""
    known = training.validations
    if len(known) < 6 or training.share_done > 0.9 or training.gap > WIDE_GAP:
        return None
    half = known[len(known) // 2 :]
    won = 1.0 - min(row["val_loss"] for row in half) / min(row["val_loss"] for row in known[: len(known) // 2])
    if won > FLAT:
        return None
    rate = rounded(training.train.learning_rate / 3)
    return Advice(
        "plateau",
        f"The validation loss has not moved from {training.best['val_loss']:.3f} since step {half[0]['step']:,}, with "
        f"{1 - training.share_done:.0%} of the training still to come: stop it, or go on with a lower learning rate.",
        {"learning_rate": rate}, f"Learning rate {rate:g}", weight=4.5,
    )  # fmt: skip


def _still_falling(training: Training) -> Advice | None:
    """It ended while it was still getting better."""
    known = training.validations
    if not training.ended or len(known) < 4 or known[-1] is not training.best:
        return None
    before = [row for row in known if row["step"] <= 0.9 * known[-1]["step"]]
    won = 1.0 - known[-1]["val_loss"] / before[-1]["val_loss"] if before else 0.0
    if won < FALLING:
        return None
    steps = 2 * known[-1]["step"]
    return Advice(
        "still falling",
        f"The last tenth of the training still took {won:.1%} off the validation loss ({known[-1]['val_loss']:.3f} at "
        "the end): a longer one would do better.",
        {"steps": steps, "epochs": 0.0, "minutes": 0.0}, f"{steps:,} steps", weight=6.0,
    )  # fmt: skip


RULES: tuple[Callable[[Training], Advice | None], ...] = (
    _rate_too_high, _rate_too_low, _overfitting, _gap, _underfitting, _size, _held_out, _unseen, _plateau,
    _still_falling,
)  # fmt: skip


def rounded(value: float) -> float:
    """A number of two digits."""
    return float(f"{value:.2g}")


def scaled(model: ModelConfig, factor: float) -> int:
    """A hidden size so many times as large, a multiple of 16 within the range of the setting."""
    wanted = max(16, round(model.hidden_size * factor / 16) * 16)
    return int(min(wanted, ModelConfig.field("hidden_size").metadata["high"]))


def _resized(model: ModelConfig, size: int) -> dict[str, Any]:
    """The settings that make all layers so wide."""
    return {"hidden_size": size} | ({"embed_dim": size} if model.embed_dim == model.hidden_size else {})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
