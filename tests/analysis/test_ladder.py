"""The n-gram ladder: each rung is the n-gram's own validation loss; and where a loss stands on it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.analysis.baselines import Baselines, matched_order, measure, ngram_losses
from charlm.analysis.ppmd import Ppmd
from charlm.config import CorpusConfig, ModelConfig
from charlm.data import catalog
from charlm.errors import CorpusError
from charlm.models import build_model
from charlm.models.ngram import NGramModel
from charlm.tokenizers import CharTokenizer
from charlm.training.evaluate import evaluate

IDS = st.lists(st.integers(0, 4), min_size=2, max_size=80).map(lambda ids: np.array(ids, np.uint8))
KNOWN = Baselines(uniform=3.0, gzip=2.5, xz=2.0, orders=(2.8, 2.2, 2.3), tokens_per_char=0.5, whole=True)


def rung(train: np.ndarray, held_out: np.ndarray, order: int) -> float:
    """The loss of an n-gram of its own."""
    model = build_model(ModelConfig(arch="ngram", vocab_size=6, order=order, counted=len(train)))
    assert isinstance(model, NGramModel)
    model.count(train)
    return evaluate(model, held_out).nats_per_token


@settings(deadline=None, max_examples=25)
@given(IDS, IDS)
def test_every_rung_is_the_loss_of_an_ngram(train: np.ndarray, held_out: np.ndarray) -> None:
    rungs = ngram_losses(train, held_out, 6, orders=4)
    assert rungs == pytest.approx([rung(train, held_out, order) for order in range(1, 5)], rel=1e-5)


def test_rows_are_those_of_a_validation() -> None:
    rng = np.random.default_rng(3)
    train, held_out = (rng.integers(5, size=size).astype(np.uint8) for size in (2000, 13_000))  # in two rows
    assert ngram_losses(train, held_out, 6, orders=3)[2] == pytest.approx(rung(train, held_out, 3), rel=1e-5)


def test_of_a_long_text_the_end_is_counted() -> None:
    train, held_out = np.array([0, 1] * 50 + [2, 3] * 50, np.uint8), np.array([2, 3] * 10, np.uint8)
    assert ngram_losses(train, held_out, 4, fitted=100) == ngram_losses(train[100:], held_out, 4)


def test_nothing_held_out_is_refused() -> None:
    with pytest.raises(CorpusError, match="nothing is held out"):
        ngram_losses(np.array([1, 2, 3]), np.array([1]), 4)


def test_an_empty_training_text_leaves_all_alike() -> None:
    assert ngram_losses(np.array([], np.uint8), np.array([1, 2, 1]), 4, orders=3) == pytest.approx([math.log(4)] * 3)


@pytest.mark.parametrize(("loss", "order"), [(3.0, 0), (2.8, 1), (2.5, 1), (2.2, 3), (2.25, 1), (1.0, 3)])
def test_a_loss_is_worth_what_it_keeps_up_with(loss: float, order: int) -> None:
    assert matched_order((2.8, 2.2, 2.3), loss) == KNOWN.matched_order(loss) == order


def test_baselines_come_back_and_nothing_else_does() -> None:
    assert Baselines.from_dict(KNOWN.to_dict()) == KNOWN and KNOWN.best == 2
    assert KNOWN.bits(2.0) == pytest.approx(1 / math.log(2))
    costs = Ppmd(adapting=1.8, frozen=1.9, rows=2, all_rows=2, megabytes=256)
    for known in (replace(KNOWN, ppmd=costs), replace(KNOWN, ppmd_missing="why")):
        assert Baselines.from_dict(json.loads(json.dumps(known.to_dict()))) == known
    whole = KNOWN.to_dict()
    odd: list[object] = [None, [], {}, {**whole, "more": 1}, {**whole, "orders": []}, {**whole, "orders": [1] * 13}]
    odd += [{**whole, "orders": ["1"]}, {**whole, "xz": -1}, {**whole, "xz": float("nan")}, {**whole, "whole": 1}]
    odd += [{**whole, "uniform": None}, {**whole, "orders": "123"}, {**whole, "gzip": True}]
    odd += [{**whole, "ppmd": 1.5}, {**whole, "ppmd": {}}, {**whole, "ppmd_missing": None}]
    odd += [{**whole, "tokens_per_char": 0}]
    for value in odd:
        with pytest.raises(ValueError, match="these"):
            Baselines.from_dict(value)


def test_the_keys_stay_and_those_of_before_ppmd_are_enough() -> None:
    before = ["uniform", "gzip", "xz", "orders", "tokens_per_char", "whole"]
    assert list(KNOWN.to_dict()) == [*before, "ppmd", "ppmd_missing"]
    assert Baselines.from_dict({name: KNOWN.to_dict()[name] for name in before}) == KNOWN
    for name in before:
        with pytest.raises(ValueError, match="these"):
            Baselines.from_dict({other: value for other, value in KNOWN.to_dict().items() if other != name})


def test_sherlock_costs_what_english_does() -> None:
    text = catalog.load_corpus("sherlock", CorpusConfig()).text[:150_000]
    tokenizer = CharTokenizer.fit(text)
    parts = text[:130_000], text[130_000:]
    found = measure((tokenizer.encode(parts[0]), tokenizer.encode(parts[1])), parts, tokenizer.vocab_size)
    assert found.uniform == pytest.approx(math.log(tokenizer.vocab_size)) and found.whole
    bits = [found.bits(loss) for loss in found.orders]
    assert 4.3 < bits[0] < 4.6 and bits[0] > bits[1] > bits[2] > bits[3] > bits[4] and bits[3] < 2.5
    assert found.bits(found.xz) < found.bits(found.gzip) < bits[0]
    assert found.ppmd and min(bits) - 0.3 < found.bits(found.ppmd.adapting) < found.bits(found.ppmd.frozen) < min(bits)
