"""The compiled choice draws what sampling.probabilities says, number for number."""

import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charlm.config import SampleConfig
from charlm.generation import choose, probabilities
from charlm.generation.sampling import NO_TOKEN, REMEMBERED, SamplingParams, sample_token
from charlm.models.kernels.jit import is_wanted

pytestmark = pytest.mark.skipif(not is_wanted(), reason="compiled only")
LOGITS = arrays(np.float32, st.integers(2, 90), elements=st.floats(-30, 30, width=32) | st.sampled_from([0.0, 1.0]))
DRAWS = np.random.default_rng(0).random(40)


def chosen(
    logits: np.ndarray, draw: float, config: SampleConfig, recent: Sequence[int] = (), banned: Sequence[int] = ()
) -> int:
    read = np.array([*recent, NO_TOKEN], np.int64)
    return int(sample_token(SamplingParams.of([config], [banned]), 0, logits.astype(np.float64), read, draw))


def check(logits: np.ndarray, config: SampleConfig, recent: Sequence[int] = (), banned: Sequence[int] = ()) -> None:
    """Each draw gives the token it stands for; at a border, where the last rounding decides, one beside it."""
    cumulative = np.cumsum(probabilities(logits, config, recent, banned))
    for draw in DRAWS:
        goal = draw * cumulative[-1]
        expected = int(np.searchsorted(cumulative, goal, side="right"))
        if np.abs(cumulative - goal).min() > 1e-12:
            assert chosen(logits, draw, config, recent, banned) == expected


@settings(deadline=None)
@given(LOGITS, st.floats(0.01, 10), st.integers(0, 100), st.floats(0.01, 1))
def test_it_draws_by_the_probabilities(logits: np.ndarray, temperature: float, k: int, p: float) -> None:
    for config in ({"top_k": k}, {"top_p": p}, {"top_k": k, "top_p": p}, {}, {"greedy": True}, {"min_p": p}):
        check(logits, SampleConfig(temperature=temperature, **config))


@settings(deadline=None)
@given(LOGITS, st.data())
def test_what_was_read_is_penalised_and_what_is_banned_never_drawn(logits: np.ndarray, data: st.DataObject) -> None:
    recent = data.draw(st.lists(st.integers(0, len(logits) - 1), max_size=REMEMBERED))
    banned = data.draw(st.lists(st.integers(0, len(logits) - 1), max_size=len(logits) - 1, unique=True))
    penalty, p = data.draw(st.floats(1, 5)), data.draw(st.floats(0.01, 1))
    for how in ({}, {"greedy": True}, {"top_k": 3}, {"top_p": p}, {"top_k": 5, "top_p": p, "min_p": p}):
        config = SampleConfig(temperature=1.0, repetition_penalty=penalty, **how)
        check(logits, config, recent, banned)
        assert chosen(logits, 0.5, config, recent, banned) not in banned


@pytest.mark.parametrize("how", [{"top_k": 3}, {"top_p": 0.5}, {"top_k": 40, "top_p": 0.9}, {"min_p": 1.0}])
def test_equals_are_cut_in_their_order(how: dict[str, float]) -> None:
    for logits in (np.zeros(50, np.float32), np.repeat([1, 2, 0], 30).astype(np.float32)):
        check(logits, SampleConfig(temperature=1.0, **how))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [10, 34, 68, 90])
def test_a_share_that_is_reached_exactly_is_reached(size: int) -> None:
    config = SampleConfig(temperature=1.0, top_p=0.5)
    assert (probabilities(np.zeros(size, np.float32), config) > 0).sum() == size // 2
    check(np.zeros(size, np.float32), config)


def test_large_vocabularies_are_cut_as_well() -> None:
    logits = np.random.default_rng(1).standard_normal(3000).astype(np.float32)
    for how in ({"top_p": 0.3}, {"top_p": 0.99}, {"top_k": 200, "top_p": 0.8}):
        check(logits, SampleConfig(temperature=2.0, **how))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_said(wrong: float) -> None:
    logits = np.array([1.0, wrong, 0.0], np.float32)
    for config in (SampleConfig(), SampleConfig(greedy=True), SampleConfig(top_k=1)):
        assert chosen(logits, 0.5, config) == NO_TOKEN
        assert chosen(logits, 0.5, config, banned=(1,)) == NO_TOKEN


def drawn_tokens() -> list[int]:
    """The choices of many settings, each with random numbers of its own."""
    rng, tokens = np.random.default_rng(3), []
    hows = [{}, {"top_k": 7}, {"top_p": 0.8}, {"top_k": 30, "top_p": 0.5, "min_p": 0.1}, {"greedy": True}]
    for seed in range(200):
        logits = rng.standard_normal(int(rng.integers(2, 300))) * 3
        config = SampleConfig(temperature=1.5, repetition_penalty=1.3, **hows[seed % len(hows)])  # type: ignore[arg-type]
        tokens.append(choose(logits.round(seed % 3), config, np.random.default_rng(seed), [0, 1, 1], [seed % 2]))
    return tokens


def test_without_numba_the_tokens_are_the_same() -> None:
    code = "from tests.models.kernels.test_choosing import drawn_tokens; print(drawn_tokens())"
    env = {**os.environ, "CHARLM_COMPILE": "0"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True, timeout=120)
    assert run.stdout.strip() == str(drawn_tokens())
