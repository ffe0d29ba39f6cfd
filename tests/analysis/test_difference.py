"""Differences of losses over blocks of a text: against the textbook's paired t, and how often the interval is right."""

import math

import numpy as np
import pytest

from charlm.analysis.difference import difference, share_difference, wilson
from charlm.training.metrics import Blocks

T_95 = {4: 2.776, 19: 2.093}


def of(means: np.ndarray, tokens: int = 1000) -> Blocks:
    return [(tokens * float(mean), tokens) for mean in means]


def test_of_equal_blocks_it_is_the_paired_t_interval() -> None:
    random = np.random.default_rng(3)
    first, second = random.normal(1.3, 0.2, 20), random.normal(1.4, 0.2, 20)
    found, gaps = difference(of(first), of(second)), second - first
    assert found.mean == pytest.approx(gaps.mean()) and found.paired and found.blocks == 20
    assert found.margin == pytest.approx(T_95[19] * gaps.std(ddof=1) / math.sqrt(20), rel=0.02)


def test_what_is_hard_for_both_drops_out_of_pairs_only() -> None:
    """One block in another place, and there are no pairs."""
    random = np.random.default_rng(4)
    hard = random.normal(0.0, 0.5, 20)
    first, second = of(1.3 + hard), of(1.35 + hard + random.normal(0.0, 0.01, 20))
    assert difference(first, second).is_clear
    unlike = difference(first, [*second[:-1], (second[-1][0], 999)])
    assert not unlike.paired and unlike.is_known and not unlike.is_clear
    assert unlike.margin > 10 * difference(first, second).margin


def test_blocks_weigh_as_many_tokens_as_they_have() -> None:
    found = difference([(100.0, 100), (3000.0, 1000)], [(200.0, 100), (3000.0, 1000)])
    assert found.mean == pytest.approx(100 / 1100)


def test_losses_in_other_units_are_converted_first() -> None:
    first, second = of(np.array([1.0, 1.2, 1.1])), of(np.array([4.0, 4.9, 4.4]))
    found = difference(first, second, (1.0, 0.25))
    assert found.mean == pytest.approx(np.mean([4.0, 4.9, 4.4]) / 4 - 1.1)


def test_equal_losses_differ_by_nothing() -> None:
    found = difference(of(np.array([1.0, 2.0])), of(np.array([1.0, 2.0])))
    assert found == (0.0, 0.0, 2, True) and not found.is_clear


@pytest.mark.parametrize("blocks", [0, 1])
def test_too_few_blocks_have_no_interval(blocks: int) -> None:
    found = difference(of(np.ones(blocks)), of(np.ones(blocks)))
    assert not found.is_known and not found.is_clear


def test_the_interval_holds_the_true_difference_95_times_of_100() -> None:
    random, hits, rounds = np.random.default_rng(5), 0, 2000
    for _ in range(rounds):
        hard = random.normal(0.0, 0.3, 5)
        first, second = 1.3 + hard, 1.32 + hard + random.normal(0.0, 0.05, 5)
        found = difference(of(first), of(second))
        hits += abs(found.mean - 0.02) <= found.margin
    assert 0.93 < hits / rounds < 0.97


def test_shares_have_the_textbooks_intervals() -> None:
    """Newcombe 1998, table II: method 10 of 56/70 against 48/80 is 0.0524 to 0.3339, of 0/10 against 0/20 nothing."""
    found = share_difference((48, 80), (56, 70))
    assert found.mean == pytest.approx(0.2) and found.mean - found.margin == pytest.approx(0.0524, abs=2e-4)
    back = share_difference((56, 70), (48, 80))
    assert back.mean == pytest.approx(-0.2) and back.margin == pytest.approx(found.margin) and back.is_clear
    assert not share_difference((0, 10), (0, 20)).is_clear and not share_difference((0, 0), (5, 20)).is_clear
    assert wilson(0, 10)[1:] == (0.0, pytest.approx(0.2775, abs=1e-3)) and wilson(81, 263)[1] == pytest.approx(
        0.2553, abs=1e-3
    )


def test_a_difference_of_shares_is_clear_by_chance_about_once_in_twenty() -> None:
    random = np.random.default_rng(5)
    found = random.binomial(60, 0.1, (4000, 2))
    clear = sum(share_difference((int(one), 60), (int(other), 60)).is_clear for one, other in found)
    assert 0.01 < clear / 4000 < 0.06
