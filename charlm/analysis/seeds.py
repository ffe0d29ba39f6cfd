"""How far apart two architectures are when each was trained with several seeds, and what may be claimed of that.

A loss depends on two kinds of luck: the seed (initial weights, the place in the text where training begins) and the
pieces of text that happen to be held out. Both are measured. The difference of two architectures is known for every
seed and every block of the held-out text; its variance has a part by seeds, one by blocks and one by both together, as
in an analysis of variance with two crossed random factors.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from charlm.analysis.student import cdf, quantile, two_sided
from charlm.config import RaceConfig
from charlm.errors import ConfigError
from charlm.training.metrics import Blocks

LEVEL = 0.05  # of a false claim
# In Satterthwaite's degrees of freedom the exponent is 2. With three seeds whose luck is as large as the text's such an
# interval of 95 % holds the truth in 92 % of all experiments; with this one, in 93.4 to 96.8 % of those simulated.
CAUTION = 1.25
POWER = 0.8  # with which a difference that is there is to be found
MOST_SEEDS = 1_000  # said to be needed
NO_END = 10**12  # seeds that leave no noise but the text's
# After these shares of its seeds an experiment that may stop early is looked at, and not before so many: with two, the
# variances are hardly known.
LOOKS, FIRST_LOOK = (0.3, 0.5, 0.7, 1.0), 3


class Mean(NamedTuple):
    """What one architecture comes to.

    Attributes:
        mean: over its seeds.
        deviation: the standard deviation between seeds; NaN: one seed.
        margin: half of the 95 % interval of the mean over seeds, by Student's t; NaN: one seed.
        seeds: how many.
    """

    mean: float
    deviation: float
    margin: float
    seeds: int


def mean_of(losses: Sequence[float]) -> Mean:
    """Mean, standard deviation and interval of the losses of one architecture's seeds, on one text."""
    found, count = np.array(losses, np.float64), len(losses)
    mean = float(found.mean()) if count else math.nan
    if count < 2:
        return Mean(mean, math.nan, math.nan, count)
    deviation = float(found.std(ddof=1))
    return Mean(mean, deviation, quantile(1 - LEVEL / 2, count - 1) * deviation / math.sqrt(count), count)


@dataclass(frozen=True)
class SeedDifference:
    """How much higher the loss of one architecture is than another's, over seeds and blocks of the held-out text.

    Attributes:
        mean: second minus first, in the unit of the losses.
        margin: half of its interval, of 95 % unless another level was asked for; NaN: not known.
        freedom: degrees of freedom of that interval.
        chance: the probability of a difference as large if there were none (two-sided); NaN: not known.
        seeds: pairs of trainings.
        blocks: of the held-out text.
        by_seed: variance of the difference between seeds.
        by_block: between blocks.
        by_both: what is left: a seed and a block together.
    """

    mean: float
    margin: float
    freedom: float
    chance: float
    seeds: int
    blocks: int
    by_seed: float
    by_block: float
    by_both: float

    def variance(self, seeds: int) -> float:
        """Of the mean difference, if there were so many seeds on this text."""
        return self.by_seed / seeds + self.by_block / self.blocks + self.by_both / (seeds * self.blocks)

    def detectable(self, seeds: int) -> float:
        """The smallest difference that so many seeds, 2 or more, would find with a probability of 80 %."""
        squares = self.blocks * self.by_seed + self.by_both, seeds * self.by_block + self.by_both  # to be expected
        freedom = _freedom(*squares, seeds, self.blocks)
        return (quantile(1 - LEVEL / 2, freedom) + quantile(POWER, freedom)) * math.sqrt(self.variance(seeds))

    def seeds_for(self, least: float) -> int | None:
        """How many seeds find a difference of `least` with a probability of 80 %; None: more than MOST_SEEDS."""
        if not math.isfinite(self.by_seed) or not least > 0:
            return None
        low, high = 1, 2
        while self.detectable(high) > least:
            low, high = high, 2 * high
            if high > MOST_SEEDS:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.detectable(middle) <= least else (middle, high)
        return high

    def needed_for(self, least: float) -> str:
        """What would find a difference of `least`: `12 seeds`, `a longer held-out text`, or more of both."""
        if (seeds := self.seeds_for(least)) is not None:
            return f"{seeds} seeds"
        if self.detectable(NO_END) <= least:
            return f"more than {MOST_SEEDS:,} seeds"
        luck, text = self.by_seed / self.seeds, self.by_block / self.blocks
        return "more seeds and a longer held-out text" if luck > text else "a longer held-out text"


def seed_difference(
    first: Sequence[Blocks],
    second: Sequence[Blocks],
    per: tuple[float, float] = (1.0, 1.0),
    level: float = LEVEL,
) -> SeedDifference:
    """The second architecture's mean loss minus the first's; the runs in the same place had the same seed.

    The variance of the mean is that of the means of seeds over their number, plus that of the means of blocks over
    theirs, less what both count of the rest. The degrees of freedom follow Satterthwaite (1946), with CAUTION for the
    exponent. Blocks count by their tokens, as in a ratio of sums.

    Args:
        first, second: for each seed, summed loss and tokens of each block, of one text.
        per: what a nat per token of each is in the unit wanted.
        level: what the interval may miss: 0.05 for one of 95 %.

    Raises:
        ConfigError: the seeds or the blocks do not pair.
    """
    if len(first) != len(second) or not first:
        raise ConfigError(f"{len(first)} seeds of one architecture do not pair with {len(second)} of another")
    tokens = [count for _, count in first[0]]
    if any([count for _, count in blocks] != tokens for blocks in (*first, *second)) or not sum(tokens):
        raise ConfigError("the losses are of different blocks of text; measure all on one held-out text")
    sums = [np.array([[loss for loss, _ in blocks] for blocks in side], np.float64) for side in (first, second)]
    weights, (seeds, blocks) = np.array(tokens, np.float64), sums[0].shape
    apart = per[1] * sums[1] - per[0] * sums[0]
    mean = float(apart.sum() / (seeds * weights.sum()))
    # Where blocks have different lengths: what each adds to the mean of its seed, linearised (Cochran 1977, 6.4).
    values = mean + (apart - mean * weights) * blocks / weights.sum()
    if seeds < 2 or blocks < 2:
        return SeedDifference(mean, math.nan, math.nan, math.nan, seeds, blocks, math.nan, math.nan, math.nan)
    squares = _squares(values)
    by_seed, by_block, rest = squares
    variances = max(0.0, (by_seed - rest) / blocks), max(0.0, (by_block - rest) / seeds), rest
    error = math.sqrt(max(by_seed + by_block - rest, by_seed, by_block) / (seeds * blocks))
    freedom = _freedom(by_seed, by_block, seeds, blocks)
    margin = quantile(1 - level / 2, freedom) * error
    chance = two_sided(mean / error, freedom) if error else float(mean == 0)
    return SeedDifference(mean, margin, freedom, chance, seeds, blocks, *variances)


def _squares(values: np.ndarray) -> tuple[float, float, float]:
    """Mean squares by seed, by block and of the rest, of seeds x blocks, both 2 or more."""
    seeds, blocks = values.shape
    mean, by_seed, by_block = values.mean(), values.mean(1), values.mean(0)
    rest = values - by_seed[:, None] - by_block[None, :] + mean
    return (
        blocks * float(np.square(by_seed - mean).sum()) / (seeds - 1),
        seeds * float(np.square(by_block - mean).sum()) / (blocks - 1),
        float(np.square(rest).sum()) / ((seeds - 1) * (blocks - 1)),
    )


def _freedom(by_seed: float, by_block: float, seeds: int, blocks: int) -> float:
    """Degrees of freedom of the sum of both mean squares; infinite if there is no variance."""
    total = by_seed + by_block
    if not total:
        return math.inf
    share = by_seed / total
    return float(1.0 / (share**CAUTION / (seeds - 1) + (1.0 - share) ** CAUTION / (blocks - 1)))


def looks_of(race: RaceConfig, archs: Sequence[str]) -> list[int]:
    """The seeds after which a race of these architectures may stop early; empty if that was not asked for.

    Raises:
        ConfigError: it has too few seeds, or nothing to compare.
    """
    if not race.early_stop:
        return []
    if len(archs) < 2:
        raise ConfigError(
            f"early stopping needs two architectures to compare, not {archs[0] if archs else 'none'} alone; "
            "choose another one beside it"
        )
    return looks_at(race.seeds)


def looks_at(seeds: int) -> list[int]:
    """After how many of so many seeds an experiment that may stop early is looked at; the last is all.

    Raises:
        ConfigError: they are too few to look at twice.
    """
    if seeds <= FIRST_LOOK:
        raise ConfigError(f"early stopping needs {FIRST_LOOK + 1} seeds or more, not {seeds}; choose 10, say")
    return sorted({max(FIRST_LOOK, math.ceil(share * seeds)) for share in LOOKS})


def spent(share: float) -> float:
    """How much of LEVEL may be spent by the time that a share of the seeds, above 0 to 1, is trained.

    The spending function of Lan and DeMets (1983) that is like O'Brien and Fleming's boundary: little at first, so that
    the last look still has most of it.
    """
    return 2.0 * cdf(quantile(LEVEL / 2, math.inf) / math.sqrt(share), math.inf)


def level_at(look: int, looks: Sequence[int]) -> float:
    """The level of the claims at a look: what the spending function adds since the look before.

    Looks at one text share its luck, nobody knows how much of it. So their levels add up to LEVEL, as Bonferroni's do:
    that holds whatever they share, and boundaries that count on independent increments would gain little.

    Args:
        look: one of `looks`.
        looks: seeds after which the experiment is looked at, ascending, fixed beforehand.
    """
    place = looks.index(look)
    return spent(look / looks[-1]) - (spent(looks[place - 1] / looks[-1]) if place else 0.0)


def holm(chances: Sequence[float]) -> list[float]:
    """Probabilities of several comparisons, raised so that at most one in twenty families holds a false claim.

    Holm's procedure (1979); NaN stays so and does not count.
    """
    known = sorted((chance, place) for place, chance in enumerate(chances) if not math.isnan(chance))
    raised, highest = [math.nan] * len(chances), 0.0
    for rank, (chance, place) in enumerate(known):
        highest = max(highest, min(1.0, chance * (len(known) - rank)))
        raised[place] = highest
    return raised


def compare_all(
    losses: Mapping[str, Sequence[Blocks]], per: Mapping[str, float] | None = None, level: float = LEVEL
) -> dict[tuple[str, str], tuple[SeedDifference, bool]]:
    """Every pair of architectures: the difference, and whether it may be claimed.

    Which is the best is known only from the same losses; so the claims are Holm's over all pairs, not over those with
    the best alone.

    Args:
        losses: by name, for each seed the blocks of its loss; the seeds in the same order.
        per: by name, what a nat per token is in the unit wanted.
        level: the probability of a false claim that is accepted, and what the intervals may miss.

    Returns:
        By pair of names, in the order of `losses`: the second's loss minus the first's.

    Raises:
        ConfigError: the seeds or the blocks do not pair.
    """
    pairs = list(combinations(losses, 2))
    factors = per or dict.fromkeys(losses, 1.0)
    found = [seed_difference(losses[one], losses[other], (factors[one], factors[other]), level) for one, other in pairs]
    chances = holm([one.chance for one in found])
    return {pair: (one, chance < level) for pair, one, chance in zip(pairs, found, chances, strict=True)}
