"""What may be claimed from several seeds: intervals that hold, families of claims, seeds that are needed."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from charlm.analysis.seeds import (
    LEVEL,
    SeedDifference,
    compare_all,
    holm,
    level_at,
    looks_at,
    mean_of,
    seed_difference,
    spent,
)
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
    assert noisy_text.needed_for(0.01) == "a longer held-out text"
    assert noisy_text.detectable(1000) > 0.1


@pytest.mark.parametrize(
    ("by_seed", "by_block", "needed"),
    [(1e-5, 0.0, "3 seeds"), (0.2, 0.0, "more than 1,000 seeds"), (0.2, 0.02, "more seeds and a longer held-out text"),
     (1e-6, 0.02, "a longer held-out text")],
)  # fmt: skip
def test_what_is_needed_is_what_lacks(by_seed: float, by_block: float, needed: str) -> None:
    assert SeedDifference(0.1, 0.7, 3.0, 0.5, 2, 50, by_seed, by_block, 0.0).needed_for(0.01) == needed


# --- early stopping --------------------------------------------------------------------------------------------------


def test_what_may_be_spent_is_lan_and_demets_function() -> None:
    for share in (0.1, 0.3, 0.5, 0.7, 1.0):
        usual = 2 * (1 - stats.norm.cdf(stats.norm.ppf(1 - LEVEL / 2) / np.sqrt(share)))
        assert spent(share) == pytest.approx(usual, rel=1e-7)


@pytest.mark.parametrize("seeds", range(4, 11))
def test_the_levels_of_all_looks_add_up(seeds: int) -> None:
    looks = looks_at(seeds)
    levels = [level_at(look, looks) for look in looks]
    assert looks == sorted(set(looks)) and looks[0] >= 3 and looks[-1] == seeds
    assert sum(levels) == pytest.approx(LEVEL) and min(levels) > 0
    assert looks_at(10) == [3, 5, 7, 10]


def seeds_until_claim(first: list[Blocks], second: list[Blocks]) -> int | None:
    """After how many seeds an experiment stops with a claim; None: it makes none."""
    looks = looks_at(len(first))
    for look in looks:
        found = compare_all({"a": first[:look], "b": second[:look]}, level=level_at(look, looks))
        if found["a", "b"][1]:
            return look
    return None


def test_few_seeds_are_not_looked_at_twice() -> None:
    with pytest.raises(ConfigError, match="early stopping needs 4 seeds or more, not 3"):
        looks_at(3)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [4, 5, 10])
@pytest.mark.parametrize("noise", NOISES, ids=str)
def test_early_stopping_makes_few_false_claims(seeds: int, noise: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(11)
    stops = [seeds_until_claim(*experiment(rng, seeds, 45, noise, 0.0)) for _ in range(2000)]
    assert sum(stop is not None for stop in stops) / 2000 <= LEVEL


@pytest.mark.slow
def test_looking_again_and_again_without_it_makes_too_many() -> None:
    """The test above can fail: at the full level at each look it would."""
    rng, false = np.random.default_rng(11), 0
    for _ in range(500):
        both = experiment(rng, 10, 45, (0.02, 0.002, 0.005), 0.0)
        false += any(seed_difference(both[0][:look], both[1][:look]).chance < LEVEL for look in range(2, 11))
    assert false / 500 > 2 * LEVEL


def test_a_large_difference_ends_an_experiment_early() -> None:
    rng = np.random.default_rng(4)
    stops = [seeds_until_claim(*experiment(rng, 10, 45, NOISES[0], 0.05)) for _ in range(200)]
    assert sum(stop is not None for stop in stops) >= 190
    assert np.mean([stop for stop in stops if stop]) < 8


def test_the_interval_is_of_the_level_that_is_claimed_at() -> None:
    both = experiment(np.random.default_rng(3), 4, 9, NOISES[0])
    usual, wide = seed_difference(*both), seed_difference(*both, level=0.001)
    assert wide.margin > usual.margin and wide.chance == usual.chance
    ratio = stats.t.ppf(1 - 0.0005, usual.freedom) / stats.t.ppf(0.975, usual.freedom)
    assert wide.margin / usual.margin == pytest.approx(ratio)
