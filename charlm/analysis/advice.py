"""Advice on what to try next, from the losses of a training: at most three sentences, each with its number and its fix.

Over- and underfitting are distinguished as Karpathy's char-rnn advises: a training loss far below the validation loss
calls for more dropout or a smaller network, about equal losses for a larger one, and parameters should be about as many
as characters.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from charlm.config import ModelConfig, TrainConfig
from charlm.runs.run import ACTIVE, Run

MOST = 3  # sentences at once
FIRST = 100  # steps that show whether the learning rate is right
WORSE = 1.3  # times the loss at the start: no training gets there by itself
LEARNT = 0.85  # times the loss at the start: below it, the model has improved
FORGOTTEN = 0.25  # nats that the training loss may rise above its lowest
LONG = 0.5  # share of clipped gradients that is too large
# By how much of the validation loss the training loss is below it where a text is memorised, and where both are equal;
# the best trainings of bench/RECIPES.md are up to 0.12 below.
WIDE_GAP, NO_GAP = 0.15, 0.03
RISEN = 0.02  # of the lowest validation loss: by how much the newest is above it
# Tokens for each parameter, and the other way round, beyond which the two do not fit each other.
LOPSIDED = 8.0
UNSURE = 0.02  # nats: a larger standard error hides the effect of settings
# What the last tenth of a training still takes off the loss, as a share of it: it is not done; and what is nothing.
FALLING, FLAT = 0.004, 0.0005
OF_LOSSES = ("overfitting", "underfitting", "plateau", "still falling")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Advice:
    """One sentence of advice.

    Attributes:
        kind: a word for it.
        text: the sentence, with the number that it rests on.
        changes: settings that would help, for the form; empty where none would.
        action: what the button says; empty without changes.
        weight: how useful it is; the highest come first.
    """

    kind: str
    text: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    action: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Training:
    """What is known of a training.

    Attributes:
        model, train: its settings.
        rows: of its log, in the order of steps.
        parameters: how many numbers are trained.
        train_tokens, val_tokens: of the text.
        unseen: how many distinct characters of the held-out part the training part does not have.
        ended: whether it has ended.
        total_steps: after which it ends; None: only minutes limit it.
        rate: the learning rate as it is now, where it was changed on the way; None: as it was set.
    """

    model: ModelConfig
    train: TrainConfig
    rows: Sequence[Row]
    parameters: int
    train_tokens: int
    val_tokens: int
    unseen: int = 0
    ended: bool = False
    total_steps: int | None = None
    rate: float | None = None

    @property
    def newest_rate(self) -> float:
        """The learning rate as it is now, before warm-up and schedule."""
        return self.train.learning_rate if self.rate is None else self.rate

    @cached_property
    def validations(self) -> list[Row]:
        """The rows with a validation loss; one of zero says nothing."""
        return [row for row in self.rows if _is_number(row.get("val_loss")) and row["val_loss"] > 0.0]

    @cached_property
    def best(self) -> Row:
        """The row with the lowest validation loss."""
        return min(self.validations, key=lambda row: float(row["val_loss"]))

    @property
    def val_loss(self) -> float:
        """The newest validation loss."""
        return float(self.validations[-1]["val_loss"])

    @cached_property
    def gap(self) -> float:
        """By how much the training loss is below the newest validation loss, as a share of this."""
        if not self.validations:
            return 0.0
        step = self.validations[-1]["step"]
        recent = _numbers("train_loss", [row for row in self.rows if 0.9 * step <= row["step"] <= step])
        return 1.0 - statistics.fmean(recent) / self.val_loss if recent else 0.0

    @property
    def uniform(self) -> float:
        """The loss of guessing all tokens alike."""
        return math.log(max(2, self.model.vocab_size))

    @property
    def start(self) -> float:
        """Where a loss begins: at that of guessing, or above it where the first weights are large."""
        return max([self.uniform, *self.first_losses[:1]])

    @property
    def first_steps(self) -> int:
        """The steps that show whether the learning rate is right: the warm-up and a hundred more."""
        return self.train.warmup_steps + FIRST

    @property
    def is_beginning(self) -> bool:
        """Whether it has made too few steps for its loss to have come down."""
        return bool(self.validations) and self.rows[-1]["step"] < FIRST and self.val_loss > LEARNT * self.uniform

    @cached_property
    def first_losses(self) -> list[float]:
        """Training losses of the first steps."""
        return _numbers("train_loss", [row for row in self.rows if row["step"] <= self.first_steps])

    @property
    def share_done(self) -> float:
        """Of its budget; 1 once it has ended."""
        if self.ended or not self.rows:
            return 1.0
        return float(self.rows[-1]["step"] / self.total_steps) if self.total_steps else 0.0


def training_of(run: Run, rows: Sequence[Row], status: str, total_steps: int | None) -> Training:
    """What is known of a run's training.

    Args:
        run: trained or in training.
        rows: of its log.
        status: as it is now.
        total_steps: after which it ends, if that is known.
    """
    known = run.corpus
    return Training(
        run.model_config, run.train_config, rows, run.num_parameters,
        int(known.get("train_tokens") or known.get("train_chars") or 0),
        int(known.get("val_tokens") or known.get("val_chars") or 0),
        int(known.get("val_unseen") or 0), status not in ACTIVE, total_steps, run.learning_rate,
    )  # fmt: skip


def advise(training: Training) -> list[Advice]:
    """At most three pieces of advice, the most useful first; none about an n-gram, which has nothing to be set."""
    if training.model.is_counted or not training.rows:
        return []
    found: dict[str, Advice] = {}
    for rules in (_of_rate, _of_fit, _of_text, _of_progress):
        for advice in rules(training):
            found.setdefault(advice.kind, advice)  # of several of a kind the first counts
    if found.keys() & {"rate too high", "rate too low"}:  # then that is what the losses are about
        found = {kind: advice for kind, advice in found.items() if kind not in OF_LOSSES}
    return sorted(found.values(), key=lambda advice: -advice.weight)[:MOST]


def _of_rate(training: Training) -> Iterator[Advice]:
    """The loss rose far above guessing or lost what it gained, or most gradients are clipped; or it hardly moved."""
    rate, start, steps = training.train.learning_rate, training.start, training.first_steps
    losses, first = _numbers("train_loss", training.rows), training.first_losses
    (lowest, newest), lower, last = _smooth_ends(losses), _rate(rate / 3), training.newest_rate
    is_warm = training.rows[-1]["step"] >= steps - FIRST // 2
    if is_warm and max(first, default=0.0) > WORSE * start:
        yield Advice(
            "rate too high",
            f"Within the first {steps} steps the loss rose to {max(first):.1f}, far above guessing "
            f"({training.uniform:.2f}): a learning rate of {rate:g} is too high.", *lower, 9.5,
        )  # fmt: skip
    if is_warm and newest > lowest + FORGOTTEN:
        yield Advice(
            "rate too high",
            f"The training loss had come down to {lowest:.2f} and is back at {newest:.2f}: a learning rate of {last:g} "
            "is too high.", *_rate(last / 3), 9.0,
        )  # fmt: skip
    share, median = _share_clipped(training)
    if is_warm and share > LONG and newest < LEARNT * start:  # at first gradients are long, whatever the rate
        yield Advice(
            "rate too high",
            f"{share:.0%} of the gradients were longer than grad_clip {training.train.grad_clip:g} (half of them "
            f"longer than {median:.1f}): a learning rate of {rate:g} is too high for this model.", *lower, 8.0,
        )  # fmt: skip
    if training.rows[-1]["step"] < steps or not first or max(first) > WORSE * start:
        return
    after = statistics.fmean(first[-10:])
    won, recent = 1.0 - after / start, _numbers("train_loss", training.rows[-10:])
    if won <= 1.0 - LEARNT and recent and statistics.fmean(recent) <= after + 0.05:
        yield Advice(
            "rate too low",
            f"After the first {steps} steps the loss was {after:.2f}, only {max(won, 0.0):.0%} below its beginning "
            f"({start:.2f}): a learning rate of {rate:g} is too low.", *_rate(min(rate * 5, 1.0)), 8.0,
        )  # fmt: skip


def _share_clipped(training: Training) -> tuple[float, float]:
    """The share of gradients that were clipped after the warm-up, and the median of their lengths."""
    train = training.train
    norms = _numbers("grad_norm", [row for row in training.rows if row["step"] > train.warmup_steps])
    if not norms or not train.grad_clip:
        return 0.0, 0.0
    return sum(norm > train.grad_clip for norm in norms) / len(norms), statistics.median(norms)


def _of_fit(training: Training) -> Iterator[Advice]:
    """The training loss is far below the validation loss, which may rise already; or both are about equal."""
    if len(training.validations) < 3:
        return
    gap, val_loss, best = training.gap, training.val_loss, training.best
    if gap >= NO_GAP and val_loss / best["val_loss"] - 1.0 >= RISEN:
        yield Advice(
            "overfitting",
            f"The validation loss was lowest, {best['val_loss']:.3f}, at step {best['step']:,} and has risen to "
            f"{val_loss:.3f}, {gap:.0%} above the training loss: the model overfits.", *_more_dropout(training), 7.0,
        )  # fmt: skip
    if gap >= WIDE_GAP and training.share_done >= 0.5:
        yield Advice(
            "overfitting",
            f"The training loss is {gap:.0%} below the validation loss of {val_loss:.3f}: the model memorises more of "
            "this text than helps it.", *_more_dropout(training), 4.0,
        )  # fmt: skip
    if training.share_done < 0.8 or gap > NO_GAP or training.is_beginning:  # at first all losses are equal
        return
    changes, action = _units(training, 1.5)
    is_large = training.parameters > LOPSIDED * training.train_tokens
    if changes["hidden_size"] > training.model.hidden_size and (training.validations[-1] is best or not is_large):
        where = f"only {gap:.1%} below" if gap >= 0.0 else f"{-gap:.1%} above"
        yield Advice(
            "underfitting",
            f"The training loss is {where} the validation loss of {val_loss:.3f}: the model memorises nothing, so a "
            "larger one would do better.", changes, action, 5.0,
        )  # fmt: skip


def _of_text(training: Training) -> Iterator[Advice]:
    """Parameters and tokens do not fit each other; too little is held out; the held-out part has other characters."""
    share = training.parameters / training.train_tokens if training.train_tokens else 0.0
    if share > LOPSIDED and training.model.dropout < 0.3:
        yield Advice(
            "size",
            f"The model learns {training.parameters:,} numbers from {training.train_tokens:,} tokens, {share:.0f} for "
            "each: a smaller one, more dropout or a longer text would suit it better.", *_units(training, 0.5), 3.0,
        )  # fmt: skip
    if share and 1.0 / share > LOPSIDED and training.share_done >= 0.5 and training.gap < WIDE_GAP:
        yield Advice(
            "size",
            f"The text has {1 / share:.0f} tokens for each of the model's {training.parameters:,} parameters: it would "
            "feed a larger one.", *_units(training, 1.5), 3.0,
        )  # fmt: skip
    error = (_numbers("val_error", training.validations) or [0.0])[-1]
    if error >= UNSURE and training.val_tokens:
        yield Advice(
            "held out",
            f"The validation loss of {training.val_loss:.3f} is uncertain by ±{error:.3f} (one standard error): "
            f"{training.val_tokens:,} held-out tokens are too few to tell smaller differences; hold out more "
            "(val_fraction).", weight=3.5,
        )  # fmt: skip
    if training.unseen:
        yield Advice(
            "unseen",
            f"{training.unseen} {'character occurs' if training.unseen == 1 else 'characters occur'} in the held-out "
            "part only: no training can teach them, and each time they add much to the validation loss.", weight=2.5,
        )  # fmt: skip


def _of_progress(training: Training) -> Iterator[Advice]:
    """Its second half gained nothing, long before its end; or it ended while the validation loss was falling."""
    known, done = training.validations, training.share_done
    first, second = known[: len(known) // 2], known[len(known) // 2 :]
    if len(known) >= 6 and done <= 0.9 and training.gap <= WIDE_GAP and _gain(first, second) <= FLAT:
        yield Advice(
            "plateau",
            f"The validation loss has not moved from {training.best['val_loss']:.3f} since step {second[0]['step']:,}, "
            f"with {1 - done:.0%} of the training still to come: stop it, or go on with a lower learning rate.",
            *_rate(training.newest_rate / 3), 4.5,
        )  # fmt: skip
    if training.ended and training.is_beginning:
        steps = 10 * training.first_steps
        yield Advice(
            "too short",
            f"{training.rows[-1]['step']:,} steps are too few to learn from: the validation loss of "
            f"{training.val_loss:.3f} is near that of guessing ({training.uniform:.2f}).",
            {"steps": steps, "epochs": 0.0, "minutes": 0.0}, f"{steps:,} steps", 6.0,
        )  # fmt: skip
    if not training.ended or len(known) < 4 or known[-1] is not training.best:
        return
    before = [row for row in known if row["step"] <= 0.9 * known[-1]["step"]]
    won = _gain(before[-1:], known[-1:]) if before else 0.0
    if won >= FALLING:
        steps = 2 * known[-1]["step"]
        yield Advice(
            "still falling",
            f"The last tenth of the training still took {won:.1%} off the validation loss ({training.val_loss:.3f} at "
            "the end): a longer one would do better.",
            {"steps": steps, "epochs": 0.0, "minutes": 0.0}, f"{steps:,} steps", 6.0,
        )  # fmt: skip


def _gain(before: Sequence[Row], after: Sequence[Row]) -> float:
    """By how much the lowest validation loss came down, as a share of it."""
    return 1.0 - min(_numbers("val_loss", after)) / min(_numbers("val_loss", before))


def _rate(rate: float) -> tuple[dict[str, Any], str]:
    """Another learning rate, of two digits."""
    rate = float(f"{rate:.2g}")
    return {"learning_rate": rate}, f"Learning rate {rate:g}"


def _units(training: Training, factor: float) -> tuple[dict[str, Any], str]:
    """Layers `factor` times as wide: a multiple of 16 within the setting's range, also for an embedding as wide."""
    model = training.model
    wanted = max(16, round(model.hidden_size * factor / 16) * 16)
    size = int(min(wanted, ModelConfig.field("hidden_size").metadata["high"]))
    embedding = {"embed_dim": size} if model.embed_dim == model.hidden_size else {}
    return {"hidden_size": size, **embedding}, f"{size} units a layer"


def _more_dropout(training: Training) -> tuple[dict[str, Any], str]:
    """What helps against overfitting: more dropout, and where that is high already a smaller network."""
    dropout = training.model.dropout
    if dropout >= 0.5:
        return _units(training, 0.7)
    more = min(0.5, round(dropout + (0.1 if dropout >= 0.2 else 0.2), 2))
    return {"dropout": more}, f"Dropout {more:g}"


def _smooth_ends(losses: Sequence[float], width: int = 10) -> tuple[float, float]:
    """The lowest mean of `width` losses in a row, and the last of these means; infinity and 0 without as many."""
    if len(losses) < width:
        return math.inf, 0.0
    means = [statistics.fmean(losses[place : place + width]) for place in range(len(losses) - width + 1)]
    return min(means), means[-1]


def _numbers(name: str, rows: Sequence[Row]) -> list[float]:
    """The finite numbers in a column."""
    return [row[name] for row in rows if _is_number(row.get(name))]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
