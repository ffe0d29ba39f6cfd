"""Who is ahead, by how much and at which step: one answer for every place that compares runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from charlm.analysis.difference import Difference, difference
from charlm.runs.history import LossHistory
from charlm.runs.run import ACTIVE


@dataclass(frozen=True)
class Contender:
    """A run, and how it stands.

    Attributes:
        run: whose text and tokens, race and losses by block count.
        status: its status word.
        loss: the lowest validation loss so far, that of the weights kept, in nats per token; None: there is none yet.
        step: of that validation.
        history: reads its log; it is asked only where runs have come to different steps.
    """

    run: Any
    status: str
    loss: float | None
    step: int
    history: Callable[[], LossHistory]

    @classmethod
    def of(cls, run: Any) -> "Contender":
        """A run as its folder has it."""
        return cls(run, run.status, run.best_val_loss, run.best_step, run.history)

    def by(self, step: int) -> tuple[float, int] | None:
        """The lowest validation loss by a step, and the step that it is of."""
        known = [row for row in self.history().lows if row["step"] <= step]
        return (known[-1]["val_loss"], known[-1]["step"]) if known else None


class Standing(NamedTuple):
    """A contender's loss in a comparison: in nats per token, the step it is of, and in bits per character."""

    run: Any
    loss: float
    step: int
    bits: float


@dataclass(frozen=True)
class Standings:
    """Runs ranked by bits per character, the lowest first.

    Attributes:
        ranked: those with a loss.
        common: the step by which all their losses are; None: each is of the weights that it keeps.
        is_over: whether nothing of this is still being trained.
    """

    ranked: Sequence[Standing]
    common: int | None = None
    is_over: bool = True

    @property
    def trained_alike(self) -> bool:
        """Whether those trained in steps were trained for equally many."""
        return len({one.run.step for one in self.ranked if not one.run.model_config.is_counted}) < 2

    @cached_property
    def behind(self) -> Sequence[Difference]:
        """By how much each is behind the first, in bits per character; the first by nothing."""
        blocks = [one.run.val_blocks(one.step) for one in self.ranked]
        return [
            _behind(self.ranked[0], one, blocks[0], blocks[place]) if place else Difference(0.0)
            for place, one in enumerate(self.ranked)
        ]


def _behind(first: Standing, other: Standing, first_blocks: Any, other_blocks: Any) -> Difference:
    """The gap that the losses say; its interval by blocks, where both have them."""
    gap = other.bits - first.bits
    if not first_blocks or not other_blocks:
        return Difference(gap)
    per = tuple(one.run.bits_per_char(1.0) or math.nan for one in (first, other))
    return difference(first_blocks, other_blocks, (per[0], per[1]))._replace(mean=gap)


def standings(contenders: Sequence[Contender]) -> Standings:
    """Rank runs by the lowest validation loss that each has had, in bits per character.

    In a race that is under way, or was stopped, runs have come to different steps, and one more validation may be all
    that one is ahead by. There each counts with the lowest loss by the last step that all have been validated at or
    beyond. A run that failed, and an n-gram, which counts its text once, hold nobody up.
    """
    is_over = all(one.status not in ACTIVE for one in contenders)
    runners = [one for one in contenders if one.status != "failed" and not one.run.model_config.is_counted]
    is_race = len(runners) > 1 and len({one.run.group for one in runners}) == 1 and bool(runners[0].run.group)
    if not is_race or all(one.status == "finished" for one in runners):
        found = [(one.run, None if one.loss is None else (one.loss, one.step)) for one in contenders]
        return Standings(_ranked(found), is_over=is_over)
    common = min(one.history().validated for one in runners)
    return Standings(_ranked([(one.run, one.by(common)) for one in contenders]), common, is_over)


def _ranked(found: Sequence[tuple[Any, tuple[float, int] | None]]) -> Sequence[Standing]:
    scored = [Standing(run, *loss, run.bits_per_char(loss[0])) for run, loss in found if loss]
    return sorted((one for one in scored if one.bits is not None), key=lambda one: one.bits)
