"""What may be claimed from several seeds: intervals that hold, families of claims, seeds that are needed."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from charlm.analysis.seeds import SeedDifference, compare_all, holm, mean_of, seed_difference
from charlm.analysis.student import cdf, quantile
from charlm.errors import ConfigError
from charlm.training.metrics import Blocks

stats = pytest.importorskip("scipy.stats")
GAP = 0.03


def blocks_of(losses: np.ndarray, tokens: np.ndarray) -> list[Blocks]:
    """Mean losses of seeds x blocks as runs keep them."""
    return [list(zip((row * tokens).tolist(), tokens.tolist(), strict=True)) for row in losses]


def experiment(
    rng: np.random.Generator, seeds: int, blocks: int, noise: Sequence[float], gap: float = GAP
) -> tuple[list[Blocks], list[Blocks]]:
    """Two made-up architectures; the second is worse by `gap`, with luck by seed, by block and by both."""
    tokens = np.full(blocks, 1000)
    tokens[-1] = rng.integers(300, 1001)
    by_seed, by_block, by_both = noise
    text = rng.normal(1.5, 0.2, blocks) + rng.normal(0, 0.01, (seeds, 1))  # hard passages, which both share
    luck = rng.normal(0, by_seed, (seeds, 1)) + rng.normal(0, by_block, blocks)
    apart = gap + luck + rng.normal(0, by_both, (seeds, blocks))
    return blocks_of(text, tokens), blocks_of(text + apart, tokens)


@pytest.mark.parametrize("freedom", [0.7, 1, 2, 3.3, 10, 44, 1e6])
def test_students_distribution_is_scipys(freedom: float) -> None:
    for t in (-30.0, -2.5, -0.1, 0.0, 0.3, 1.0, 4.0, 1e4):
        assert cdf(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), rel=1e-9, abs=1e-14)
    for probability in (0.001, 0.2, 0.5, 0.8, 0.975, 0.9999):
        found = quantile(probability, freedom)
        assert found == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-7, abs=1e-9)


def test_without_end_it_is_the_normal_distribution() -> None:
    assert cdf(1.959963985, math.inf) == pytest.approx(0.975) and quantile(0.975, 0) == math.inf


def test_the_mean_of_seeds_has_students_interval() -> None:
    losses = [1.21, 1.25, 1.19, 1.22]
    found = mean_of(losses)
    low, high = stats.t.interval(0.95, 3, np.mean(losses), stats.sem(losses))
    assert (found.mean - found.margin, found.mean + found.margin) == pytest.approx((low, high))
    assert found.deviation == pytest.approx(np.std(losses, ddof=1)) and found.seeds == 4
    assert mean_of([1.5])[0] == 1.5 and math.isnan(mean_of([1.5]).margin) and math.isnan(mean_of([]).mean)


# Luck by seed, by block, by both.
NOISES = [(0.01, 0.05, 0.02), (0.02, 0.03, 0.01), (0.02, 0.002, 0.005), (0.002, 0.06, 0.01)]


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(
    "noise", [NOISES[0], *(pytest.param(noise, marks=pytest.mark.slow) for noise in NOISES[1:])], ids=str
)
def test_the_interval_holds_the_truth_in_19_of_20_experiments(seeds: int, noise: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(5)
    found = [seed_difference(*experiment(rng, seeds, 45, noise)) for _ in range(2000)]
    held = np.mean([abs(one.mean - GAP) <= one.margin for one in found])
    assert 0.93 <= held <= 0.97


def test_seeds_alone_are_a_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    first, second = (rng.normal(1.4, 0.02, 5) for _ in range(2))
    tokens = np.full(6, 1000)
    found = seed_difference(*(blocks_of(np.tile(one[:, None], 6), tokens) for one in (first, second)))
    usual = stats.ttest_rel(second, first)
    assert found.mean == pytest.approx(np.mean(second - first))
    assert found.chance == pytest.approx(usual.pvalue) and found.freedom == pytest.approx(4)
    low, high = usual.confidence_interval(0.95)
    assert (found.mean - found.margin, found.mean + found.margin) == pytest.approx((low, high))


def test_what_one_seed_cannot_tell_is_not_told() -> None:
    found = seed_difference(*experiment(np.random.default_rng(0), 1, 9, NOISES[0]))
    assert math.isfinite(found.mean) and math.isnan(found.margin) and found.seeds_for(0.01) is None


def test_equal_losses_are_no_difference() -> None:
    same, _ = experiment(np.random.default_rng(0), 4, 9, NOISES[0])
    found = seed_difference(same, same)
    assert (found.mean, found.margin, found.chance) == (0.0, 0.0, 1.0)


def test_units_are_each_architectures_own() -> None:
    first, second = experiment(np.random.default_rng(3), 4, 9, NOISES[0])
    in_bits = seed_difference(first, second, (1.4427, 1.4427))
    assert in_bits.mean == pytest.approx(1.4427 * seed_difference(first, second).mean)
    assert in_bits.chance == pytest.approx(seed_difference(first, second).chance)


@pytest.mark.parametrize("change", ["seeds", "blocks", "none"])
def test_what_does_not_pair_is_refused(change: str) -> None:
    first, second = experiment(np.random.default_rng(3), 4, 9, NOISES[0])
    if change == "seeds":
        second = second[:-1]
    elif change == "blocks":
        second[2] = second[2][:-1]
    else:
        first, second = [], []
    with pytest.raises(ConfigError, match=r"do not pair|different blocks"):
        seed_difference(first, second)


def test_claims_of_a_family_are_raised_as_holm_says() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    known = holm([0.02, math.nan, 0.9])
    assert known[0] == 0.04 and math.isnan(known[1]) and known[2] == 0.9 and holm([]) == []


def test_equal_architectures_are_rarely_told_apart() -> None:
    rng, false = np.random.default_rng(9), 0
    for _ in range(300):
        losses = {name: experiment(rng, 4, 20, (0.01, 0.02, 0.01), 0.0)[1] for name in "abcd"}
        shared = np.random.default_rng(1).integers(300, 1001)  # the same blocks for all
        for runs in losses.values():
            for place, blocks in enumerate(runs):
                loss, tokens = blocks[-1]
                runs[place] = [*blocks[:-1], (loss / tokens * shared, int(shared))]
        false += any(claimed for _, claimed in compare_all(losses).values())
    assert false / 300 <= 0.08  # 5 %, and what 300 experiments may be off


def test_the_seeds_said_to_be_needed_find_it() -> None:
    rng = np.random.default_rng(2)
    pilot = SeedDifference(0.004, 0.02, 5, 0.5, 3, 45, by_seed=0.02**2, by_block=0.03**2, by_both=0.01**2)
    least = 0.03
    needed = pilot.seeds_for(least)
    assert needed and pilot.detectable(needed) <= least < pilot.detectable(needed - 1)
    again = [seed_difference(*experiment(rng, needed, 45, (0.02, 0.03, 0.01), least)) for _ in range(500)]
    assert 0.72 <= np.mean([abs(one.mean) > one.margin for one in again]) <= 0.9


def test_where_the_text_is_the_limit_no_number_of_seeds_is_told() -> None:
    noisy_text = SeedDifference(0.004, 0.02, 5, 0.5, 3, 9, by_seed=0.001**2, by_block=0.3**2, by_both=0.0)
    assert noisy_text.seeds_for(0.01) is None
    assert noisy_text.detectable(1000) > 0.1
