"""Advice: curves of a known diagnosis, made up and trained; never more than three sentences, each with its number."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.analysis.advice import MOST, Advice, Training, advise
from charlm.config import ModelConfig, TrainConfig
from charlm.data.batches import Dataset
from charlm.models import build_model
from charlm.tokenizers import CharTokenizer
from charlm.training.train import train

MODEL = ModelConfig(vocab_size=70, hidden_size=128, dropout=0.1)
TRAIN = TrainConfig(steps=2000, warmup_steps=50, learning_rate=1e-2)
STEPS = range(10, 2001, 10)


def falling(step: float, end: float, start: float = 4.2, pace: float = 150.0) -> float:
    """A loss that comes down to `end`."""
    return end + (start - end) * math.exp(-step / pace)


def rows(
    train_loss: Callable[[float], float], val_loss: Callable[[float], float], steps: Sequence[int] = STEPS,
    norm: float = 0.4, error: float = 0.005, every: int = 100,
) -> list[dict[str, Any]]:  # fmt: skip
    """A log: a row in ten steps, a validation in a hundred."""
    return [
        {
            "step": step, "train_loss": train_loss(step), "grad_norm": norm,
            "val_loss": val_loss(step) if step % every == 0 else None,
            "val_error": error if step % every == 0 else None,
        }
        for step in steps
    ]  # fmt: skip


def training(log: list[dict[str, Any]], **facts: Any) -> Training:
    """An ended one, of a model that fits its text."""
    about = {"parameters": 200_000, "train_tokens": 500_000, "val_tokens": 50_000, "ended": True, "total_steps": 2000}
    return Training(**{"model": MODEL, "train": TRAIN, "rows": log, **about, **facts})


def said_of(log: list[dict[str, Any]], **facts: Any) -> dict[str, Advice]:
    return {advice.kind: advice for advice in advise(training(log, **facts))}


def healthy(step: float) -> float:
    return falling(step, 1.45)


def healthy_val(step: float) -> float:
    return falling(step, 1.55)


def test_a_good_training_is_left_alone() -> None:
    assert not advise(training(rows(healthy, healthy_val)))


def by_heart(step: float) -> float:
    """Lowest at step 600."""
    return falling(step, 1.5) + max(0.0, step - 600) * 4e-4


def test_overfitting_is_told_with_the_lowest_loss_and_more_dropout() -> None:
    told = said_of(rows(lambda step: falling(step, 0.9), by_heart))["overfitting"]
    assert "at step 6" in told.text and "the model overfits" in told.text
    assert told.changes == {"dropout": 0.3} and told.action == "Dropout 0.3"
    assert said_of(rows(lambda step: falling(step, 0.9), by_heart), model=replace(MODEL, dropout=0.3))[
        "overfitting"
    ].changes == {"dropout": 0.4}


def test_where_dropout_is_high_already_the_network_shall_be_smaller() -> None:
    dropped = replace(MODEL, dropout=0.6, embed_dim=128, tie_weights=True)
    told = said_of(rows(lambda step: falling(step, 0.9), by_heart), model=dropped)["overfitting"]
    assert told.changes == {"hidden_size": 96, "embed_dim": 96}
    assert replace(dropped, **told.changes)  # a model that can be built


def test_a_wide_gap_is_told_before_the_validation_loss_rises() -> None:
    told = said_of(rows(lambda step: falling(step, 1.2), lambda step: falling(step, 1.55)))["overfitting"]
    assert "23% below" in told.text and told.changes == {"dropout": 0.3}


def test_about_equal_losses_call_for_a_larger_network() -> None:
    told = said_of(rows(lambda step: falling(step, 1.9), lambda step: falling(step, 1.92)))["underfitting"]
    assert "only 1.0% below the validation loss of 1.920" in told.text and told.changes == {"hidden_size": 192}
    dropped = said_of(rows(lambda step: falling(step, 2.0), lambda step: falling(step, 1.9)))["underfitting"]
    assert "5.3% above the validation loss of 1.900" in dropped.text
    half = rows(lambda step: falling(step, 1.9), lambda step: falling(step, 1.92), STEPS[:100])
    assert not said_of(half, ended=False)  # it is too early to say


def test_losses_that_come_back_up_are_a_rate_too_high() -> None:
    def lost(step: float) -> float:
        return falling(step, 2.0) + (1.5 if step > 900 else 0.0)

    told = said_of(rows(lost, lost), train=replace(TRAIN, learning_rate=0.05))
    assert set(told) == {"rate too high"} and told["rate too high"].changes == {"learning_rate": 0.017}
    assert "down to 2." in told["rate too high"].text and "back at 3.5" in told["rate too high"].text


def test_gradients_that_are_clipped_all_the_time_are_a_rate_too_high() -> None:
    told = said_of(rows(healthy, healthy_val, norm=3.2))["rate too high"]
    assert "100% of the gradients" in told.text and "3.2" in told.text and told.changes == {"learning_rate": 0.0033}
    assert not said_of(rows(healthy, healthy_val, norm=3.2), train=replace(TRAIN, grad_clip=5.0))
    assert not said_of(rows(healthy, healthy_val, norm=3.2), train=replace(TRAIN, grad_clip=0.0))


def test_hardly_anything_won_in_the_first_hundred_steps_is_a_rate_too_low() -> None:
    def slow(step: float) -> float:
        return falling(step, 2.5, pace=3000.0)

    told = said_of(rows(slow, slow), train=replace(TRAIN, learning_rate=1e-5))
    assert set(told) == {"rate too low"} and told["rate too low"].changes == {"learning_rate": 5e-5}
    assert "first 150 steps" in told["rate too low"].text and "4.25" in told["rate too low"].text


def test_many_parameters_for_a_short_text_and_few_for_a_long_one() -> None:
    many = said_of(rows(healthy, healthy_val), train_tokens=10_000)["size"]
    assert "20 for each" in many.text and many.changes == {"hidden_size": 64}
    few = said_of(rows(healthy, healthy_val), train_tokens=20_000_000)["size"]
    assert "100 tokens for each" in few.text and few.changes == {"hidden_size": 192}


def test_a_held_out_text_too_short_to_trust_is_told_with_its_standard_error() -> None:
    told = said_of(rows(healthy, healthy_val, error=0.06), val_tokens=800)["held out"]
    assert "±0.060" in told.text and "800 held-out tokens" in told.text and not told.changes


def test_characters_that_training_never_shows_are_counted() -> None:
    told = said_of(rows(healthy, healthy_val), unseen=2)["unseen"]
    assert "2 characters occur in the held-out part only" in told.text and not told.changes
    assert "1 character occurs" in said_of(rows(healthy, healthy_val), unseen=1)["unseen"].text


def test_a_plateau_is_told_while_there_is_time() -> None:
    def flat(step: float) -> float:
        return falling(step, 1.8, pace=40.0)

    log = rows(lambda step: flat(step) - 0.1, flat, STEPS[:120])
    told = said_of(log, ended=False)["plateau"]
    assert "1.800" in told.text and "40% of the training" in told.text and told.changes == {"learning_rate": 0.0033}


def test_what_was_still_falling_when_it_ended_should_go_on() -> None:
    log = rows(lambda step: healthy(step) - 1e-4 * step, lambda step: healthy_val(step) - 1e-4 * step)
    told = said_of(log)["still falling"]
    assert told.changes["steps"] == 4000 and "The last tenth" in told.text
    assert "still falling" not in said_of(log, ended=False)


def test_never_more_than_three_the_most_useful_first() -> None:
    log = rows(lambda step: falling(step, 0.9), by_heart, error=0.06)
    told = advise(training(log, train_tokens=10_000, unseen=3))
    assert len(told) == MOST and told[0].kind == "overfitting"
    assert [advice.weight for advice in told] == sorted((advice.weight for advice in told), reverse=True)


def test_there_is_none_of_an_n_gram_nor_before_the_first_row() -> None:
    assert not advise(training(rows(healthy, healthy_val), model=replace(MODEL, arch="ngram")))
    assert not advise(training([]))


NUMBERS = st.none() | st.floats(0.0, 50.0)
WILD = st.lists(
    st.fixed_dictionaries({"train_loss": NUMBERS, "val_loss": NUMBERS, "grad_norm": NUMBERS, "val_error": NUMBERS}),
    max_size=40,
)


@given(log=WILD, ended=st.booleans(), tokens=st.integers(0, 10**9), total=st.none() | st.integers(1, 5000))
def test_whatever_a_log_says_it_is_sentences_with_numbers_and_settings_that_work(
    log: list[dict[str, Any]], ended: bool, tokens: int, total: int | None
) -> None:
    """A log may have come from anywhere."""
    numbered = [{**row, "step": 10 * place + 1} for place, row in enumerate(log)]
    for advice in advise(training(numbered, ended=ended, train_tokens=tokens, val_tokens=tokens, total_steps=total)):
        assert re.search(r"\d", advice.text) and advice.text.endswith(".")
        assert bool(advice.action) == bool(advice.changes)
        own = {name: value for name, value in advice.changes.items() if name in ModelConfig.names()}
        replace(MODEL, **own)


TEXT = "the fox and the hen met at the gate and sang until the moon came up over the hill. " * 60


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "kind"), [(3.0, "rate too high"), (1e-6, "rate too low"), (0.01, None)])
def test_real_trainings_are_told_apart(rate: float, kind: str | None) -> None:
    tokenizer = CharTokenizer.fit(TEXT)
    config = TrainConfig(seq_len=16, batch_size=8, steps=300, warmup_steps=10, eval_every=50, learning_rate=rate)
    data = Dataset(tokenizer.encode(TEXT), config.batch_size, config.seq_len)
    model = build_model(ModelConfig(vocab_size=tokenizer.vocab_size, hidden_size=32), 1)
    log = [row.to_dict() for row in train(model, data, config)]
    told = advise(Training(model.config, config, log, model.num_parameters, data.train, data.val, ended=True))
    rates = [advice.kind for advice in told if advice.kind.startswith("rate")]
    assert rates == ([kind] if kind else [])


def test_a_training_of_a_few_steps_is_told_to_go_on_and_no_more() -> None:
    """Its losses are equal because it has learned nothing yet: no larger model would help that."""
    log = rows(lambda step: 4.1, lambda step: 4.1 - step / 1000, steps=range(1, 7), every=1)
    found = said_of(log, total_steps=6)
    assert set(found) == {"too short"} and found["too short"].changes["steps"] == 1500
    assert "6 steps are too few" in found["too short"].text and "4.094" in found["too short"].text
    assert "too short" not in said_of(rows(healthy, healthy_val))
