"""The compiled choice draws what sample.probabilities says, number for number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charlm.config import SampleConfig
from charlm.models import choosing
from charlm.models.compiled import is_wanted
from charlm.sample import probabilities

pytestmark = pytest.mark.skipif(not is_wanted(), reason="compiled only")
LOGITS = arrays(np.float32, st.integers(2, 90), elements=st.floats(-30, 30, width=32) | st.sampled_from([0.0, 1.0]))
DRAWS = np.random.default_rng(0).random(40)


def chosen(logits: np.ndarray, draw: float, config: SampleConfig) -> int:
    work, order = np.empty((2, len(logits))), np.empty(len(logits), np.int64)
    temperature = 0.0 if config.greedy else config.temperature
    return int(choosing.choose(logits, draw, temperature, config.top_k, config.top_p, work, order))


def check(logits: np.ndarray, config: SampleConfig) -> None:
    """Each draw gives the token it stands for; at a border, where the last rounding decides, one beside it."""
    cumulative = np.cumsum(probabilities(logits, config))
    for draw in DRAWS:
        goal = draw * cumulative[-1]
        expected = int(np.searchsorted(cumulative, goal, side="right"))
        if np.abs(cumulative - goal).min() > 1e-12:
            assert chosen(logits, draw, config) == expected


@settings(deadline=None)
@given(LOGITS, st.floats(0.01, 10), st.integers(0, 100), st.floats(0.01, 1))
def test_it_draws_by_the_probabilities(logits: np.ndarray, temperature: float, k: int, p: float) -> None:
    for config in ({"top_k": k}, {"top_p": p}, {"top_k": k, "top_p": p}, {}, {"greedy": True}):
        check(logits, SampleConfig(temperature=temperature, **config))


@pytest.mark.parametrize("how", [{"top_k": 3}, {"top_p": 0.5}, {"top_k": 40, "top_p": 0.9}])
def test_equals_are_cut_in_their_order(how: dict[str, float]) -> None:
    for logits in (np.zeros(50, np.float32), np.repeat([1, 2, 0], 30).astype(np.float32)):
        check(logits, SampleConfig(temperature=1.0, **how))  # type: ignore[arg-type]


def test_large_vocabularies_are_cut_as_well() -> None:
    logits = np.random.default_rng(1).standard_normal(3000).astype(np.float32)
    for how in ({"top_p": 0.3}, {"top_p": 0.99}, {"top_k": 200, "top_p": 0.8}):
        check(logits, SampleConfig(temperature=2.0, **how))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_said(wrong: float) -> None:
    logits = np.array([1.0, wrong, 0.0], np.float32)
    for config in (SampleConfig(), SampleConfig(greedy=True), SampleConfig(top_k=1)):
        assert chosen(logits, 0.5, config) == choosing.BEYOND_NUMBERS
