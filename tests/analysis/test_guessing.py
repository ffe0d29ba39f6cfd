"""What guessing costs: against counts by hand, a slow n-gram model, and known texts."""

import gzip
import lzma
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm import catalog
from charlm.analysis.guessing import character_costs, guessing_costs
from charlm.config import CorpusConfig
from charlm.errors import CorpusError

WORDS = st.text(alphabet="abcé", max_size=40)


def slow_probability(train: str, history: str, char: str, vocab_size: int, order: int) -> float:
    """Witten and Bell's interpolation as the paper writes it, one character at a time."""
    if order < 0:
        return 1 / vocab_size
    lower = slow_probability(train, history, char, vocab_size, order - 1)
    if len(history) < order:
        return lower
    context = history[len(history) - order :]
    after = [train[i] for i in range(order, len(train)) if train[i - order : i] == context]
    if not after:
        return lower
    return (after.count(char) + len(set(after)) * lower) / (len(after) + len(set(after)))


@settings(deadline=None)
@given(WORDS, WORDS.filter(bool), st.integers(0, 3))
def test_costs_are_those_of_the_paper(train: str, held_out: str, order: int) -> None:
    whole = train + held_out
    expected = [slow_probability(train, whole[:i], whole[i], 5, order) for i in range(len(train), len(whole))]
    assert np.allclose(character_costs(train, held_out, 5, order), -np.log2(expected))


@settings(deadline=None)
@given(WORDS, st.integers(0, 3))
def test_probabilities_sum_to_one(train: str, order: int) -> None:
    costs = [character_costs(train, char, 4, order)[0] for char in "abcé"]
    assert math.isclose(sum(2**-cost for cost in costs), 1)


def test_codes_too_many_for_a_table_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    table = character_costs("the cat and the hat " * 5, "that then", 30, 3)
    monkeypatch.setattr("charlm.analysis.guessing._DENSE", 0)
    assert np.array_equal(table, character_costs("the cat and the hat " * 5, "that then", 30, 3))


def test_order0_by_hand() -> None:
    # Train aab: n(a)=2, T=2, V=2, so p(a) = (2 + 2/2) / (3 + 2).
    assert character_costs("aab", "a", 2, 0)[0] == pytest.approx(-math.log2(3 / 5))


def test_a_character_never_seen_costs_finitely_much() -> None:
    costs = guessing_costs("aaaa", "☃", 2)
    assert all(math.isfinite(cost) for cost in costs.values())


def test_without_a_training_part_every_model_is_uniform() -> None:
    costs = guessing_costs("", "abab", 2)
    assert costs["order0"] == costs["order3"] == costs["uniform"] == 1


def test_nothing_held_out_is_refused() -> None:
    with pytest.raises(CorpusError, match="nothing is held out"):
        guessing_costs("abc", "", 3)


def test_compressors_cost_what_the_held_out_text_adds() -> None:
    train, held_out = "to be or not to be, " * 30, "that is the question"
    costs = guessing_costs(train, held_out, 20)
    for name, pack in (("gzip", gzip.compress), ("xz", lzma.compress)):
        added = len(pack((train + held_out).encode())) - len(pack(train.encode()))
        assert costs[name] == added * 8 / len(held_out)


def test_sherlock_costs_what_english_does() -> None:
    text = catalog.load_corpus("sherlock", CorpusConfig()).text
    cut = len(text) * 9 // 10
    costs = guessing_costs(text[:cut], text[cut:], len(set(text)))
    assert costs["uniform"] == pytest.approx(math.log2(78))
    assert 4.3 < costs["order0"] < 4.6
    assert 2.2 < costs["order3"] < 2.5
    assert costs["order3"] < costs["gzip"] < costs["order0"]
    assert 2.1 < costs["xz"] < costs["gzip"]
