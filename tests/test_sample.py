"""Drawing text: temperature, top-k, top-p, greedy, seeds, prompts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charlm.config import ModelConfig, SampleConfig
from charlm.models import LanguageModel, build_model
from charlm.sample import choose, generate, interleave, probabilities
from charlm.tokenizer import CharTokenizer

LOGITS = arrays(np.float64, st.integers(2, 40), elements=st.floats(-30, 30))


@given(LOGITS, st.floats(0.01, 10), st.integers(0, 50), st.floats(0.01, 1))
def test_probabilities_sum_to_one_and_obey_the_cuts(logits: np.ndarray, temperature: float, k: int, p: float) -> None:
    chances = probabilities(logits, SampleConfig(temperature=temperature, top_k=k, top_p=p))
    assert chances.sum() == pytest.approx(1.0)
    assert logits[np.argmax(chances)] == pytest.approx(logits.max(), abs=1e-9)
    if k:
        assert np.count_nonzero(chances) <= k


def test_the_cuts_by_hand() -> None:
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    assert probabilities(logits, SampleConfig(temperature=1.0)) == pytest.approx([0.5, 0.3, 0.15, 0.05])
    assert probabilities(logits, SampleConfig(temperature=1.0, top_k=2)) == pytest.approx([0.625, 0.375, 0, 0])
    assert probabilities(logits, SampleConfig(temperature=1.0, top_p=0.6)) == pytest.approx([0.625, 0.375, 0, 0])
    assert probabilities(logits, SampleConfig(temperature=1.0, top_p=0.01)).tolist() == [1, 0, 0, 0]
    assert probabilities(logits, SampleConfig(greedy=True)).tolist() == [1, 0, 0, 0]
    cold = probabilities(logits, SampleConfig(temperature=0.5))
    assert cold == pytest.approx(np.array([0.25, 0.09, 0.0225, 0.0025]) / 0.365)


def test_draws_follow_the_probabilities() -> None:
    logits, rng = np.log([0.5, 0.3, 0.2]), np.random.default_rng(0)
    drawn = np.bincount([choose(logits, SampleConfig(temperature=1.0), rng) for _ in range(4000)], minlength=3)
    assert drawn / 4000 == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


@pytest.fixture(scope="module")
def trained() -> tuple[LanguageModel, CharTokenizer]:
    tokenizer = CharTokenizer.fit("abc \n")
    return build_model(ModelConfig(vocab_size=tokenizer.vocab_size, hidden_size=8), 3), tokenizer


def written(trained: tuple[LanguageModel, CharTokenizer], prompt: str, **settings: object) -> str:
    return "".join(generate(*trained, prompt, SampleConfig(length=60, **settings)))  # type: ignore[arg-type]


def test_same_seed_same_text(trained: tuple[LanguageModel, CharTokenizer]) -> None:
    assert written(trained, "ab", seed=1) == written(trained, "ab", seed=1) != written(trained, "ab", seed=2)
    assert written(trained, "ab", greedy=True, seed=1) == written(trained, "ab", greedy=True, seed=2)
    assert len(written(trained, "ab")) == 60


def test_empty_and_unknown_prompts_write_all_the_same(trained: tuple[LanguageModel, CharTokenizer]) -> None:
    assert written(trained, "aßbЖ") == written(trained, "ab")
    assert written(trained, "") == written(trained, "ß") == written(trained, "\n")


def test_interleaving_changes_no_text(trained: tuple[LanguageModel, CharTokenizer]) -> None:
    streams = {seed: generate(*trained, "a", SampleConfig(length=20 * seed, seed=seed)) for seed in (1, 2, 3)}
    texts = dict.fromkeys(streams, "")
    order = []
    for key, piece in interleave(streams):
        texts[key] += piece
        order.append(key)
    assert order[:6] == [1, 2, 3, 1, 2, 3]
    for seed in (1, 2, 3):
        assert texts[seed] == "".join(generate(*trained, "a", SampleConfig(length=20 * seed, seed=seed)))
