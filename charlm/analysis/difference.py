"""How far apart two losses on one held-out text are, and how much of that may be the text's doing."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from charlm.analysis import student
from charlm.training.metrics import Blocks


class Difference(NamedTuple):
    """How much higher one loss is than another.

    Attributes:
        mean: second minus first, in the unit of the losses.
        margin: half of its 95 % interval over blocks of the text; NaN: not known.
        blocks: that the interval rests on.
        paired: by block; else the two losses were taken as independent, which makes the interval too wide.
    """

    mean: float
    margin: float = math.nan
    blocks: int = 0
    paired: bool = False

    @property
    def is_known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.margin)

    @property
    def is_clear(self) -> bool:
        """Whether zero is outside the interval."""
        return self.is_known and abs(self.mean) > self.margin


def difference(
    first: Blocks, second: Blocks, per: tuple[float, float] = (1.0, 1.0), in_pairs: bool = True
) -> Difference:
    """The second mean loss minus the first, with Student's interval over blocks of the text.

    Where both have the same blocks it is of their differences, block by block: what makes a passage hard for one model
    mostly makes it hard for the other, and drops out. The mean is a ratio of sums between clusters (Cochran 1977, 6.4).

    Args:
        first, second: summed loss and tokens of each block, of one text.
        per: what a nat per token of each is in the unit wanted.
        in_pairs: blocks in the same place are of the same piece of text; without, they are of different things.

    Returns:
        With a margin where each has two blocks or more.
    """
    one, other = (_Mean(blocks, factor) for blocks, factor in zip((first, second), per, strict=True))
    mean = other.mean - one.mean
    if in_pairs and [tokens for _, tokens in first] == [tokens for _, tokens in second]:
        margin = quantile(len(first) - 1) * _error(other.residuals - one.residuals)
        return Difference(mean, margin if len(first) > 1 else math.nan, len(first), paired=True)
    fewer = min(len(first), len(second))
    margin = quantile(fewer - 1) * math.hypot(_error(one.residuals), _error(other.residuals))
    return Difference(mean, margin if fewer > 1 else math.nan, fewer)


def share_difference(first: tuple[int, int], second: tuple[int, int]) -> Difference:
    """The second share minus the first, with the side of its 95 % interval that is nearer to zero.

    By Wilson's intervals of both (Newcombe 1998, method 10), which hold for few and rare cases, too.

    Args:
        first, second: how many there are, of how many.
    """
    (one, low, high), (other, other_low, other_high) = wilson(*first), wilson(*second)
    above = math.hypot(other - other_low, high - one)  # if the second is larger: how much of that may be chance
    below = math.hypot(other_high - other, one - low)
    return Difference(other - one, above if other >= one else below, min(first[1], second[1]))


def wilson(found: int, of: int) -> tuple[float, float, float]:
    """A share, and its 95 % interval (Wilson 1927); the whole range where there are none."""
    if not of:
        return math.nan, 0.0, 1.0
    share, z2 = found / of, 1.96**2
    centre = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = 1.96 / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return share, max(0.0, centre - half), min(1.0, centre + half)


class _Mean:
    """A mean loss, and how far the sum of each block is from what it leads to expect, as shares of all tokens."""

    def __init__(self, blocks: Blocks, factor: float) -> None:
        sums, tokens = np.array(blocks, np.float64).reshape(-1, 2).T
        total = tokens.sum()
        self.mean = factor * float(sums.sum() / total) if total else math.nan
        self.residuals = (factor * sums - self.mean * tokens) / total if total else sums


def _error(residuals: np.ndarray) -> float:
    """The standard error of a mean, from its residuals by block."""
    count = len(residuals)
    return math.sqrt(float(np.square(residuals).sum()) * count / (count - 1)) if count > 1 else math.nan


@lru_cache(1_000)
def quantile(freedom: int) -> float:
    """Student's t at 97.5 %; infinite below 1 degree of freedom."""
    return student.quantile(0.975, freedom)
