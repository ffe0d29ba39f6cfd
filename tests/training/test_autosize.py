"""Sizes of presets: larger with a faster machine, never more than is allowed, and what is given stays."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.architectures import ARCHS
from charlm.config import CorpusConfig
from charlm.data.corpus import corpus_from_text
from charlm.presets import PRESETS, from_options
from charlm.public.limits import Limits
from charlm.training.autosize import LEAST_PASSES, MOST_PASSES, PRESET_WIDTHS, SECONDS, autosize, sizes
from charlm.training.estimate import Machine, training_seconds
from tests.tiny_runs import TEXT

LAPTOP = Machine(per_product=2e-11, per_step=1e-5)
SLOW = replace(LAPTOP, per_product=20 * LAPTOP.per_product)
A_NOVEL = 500_000  # characters
LSTM = ("lstm",)


def test_longer_presets_are_no_smaller_and_take_more_steps() -> None:
    quick, balanced, quality = (sizes(preset, A_NOVEL, LAPTOP, LSTM) for preset in SECONDS)
    assert quick["hidden_size"] <= balanced["hidden_size"] <= quality["hidden_size"]
    assert quick["dropout"] <= balanced["dropout"] <= quality["dropout"]
    seconds = [seconds_of(one, A_NOVEL) for one in (quick, balanced, quality)]
    assert seconds == sorted(seconds) and seconds[0] < SECONDS["quick"] * 1.05


def seconds_of(chosen: dict, tokens: int, machine: Machine = LAPTOP) -> float:
    config = from_options(chosen)
    return training_seconds(machine, replace(config.model, vocab_size=96), config.train, tokens)


@pytest.mark.parametrize("preset", SECONDS)
def test_a_slower_machine_trains_smaller_models(preset: str) -> None:
    fast, slow = sizes(preset, A_NOVEL, LAPTOP, LSTM), sizes(preset, A_NOVEL, SLOW, LSTM)
    assert slow["hidden_size"] <= fast["hidden_size"] and slow != fast


@given(
    preset=st.sampled_from(list(SECONDS)),
    tokens=st.integers(1, 10**9),
    speed=st.floats(1e-13, 1e-8),
    public=st.booleans(),
    archs=st.lists(st.sampled_from(ARCHS), unique=True),
)
def test_any_text_on_any_machine(preset: str, tokens: int, speed: float, public: bool, archs: list[str]) -> None:
    limits, machine = Limits() if public else None, Machine(speed, 1e-6)
    chosen = sizes(preset, tokens, machine, archs, limits=limits)
    assert chosen["hidden_size"] in PRESET_WIDTHS and 0 <= chosen["dropout"] <= 0.5 and chosen["steps"] >= 1
    config = from_options(chosen, preset)  # legal
    if limits:
        assert chosen["steps"] <= limits.steps and chosen["hidden_size"] <= limits.hidden_size
    elif chosen["hidden_size"] > PRESET_WIDTHS[-1]:
        passes = chosen["steps"] * config.train.batch_size * config.train.seq_len / tokens
        assert passes >= 0.9 * LEAST_PASSES
    assert seconds_of(chosen, tokens, machine) < SECONDS[preset] * 1.06 or chosen["steps"] <= 200


def test_a_short_text_is_not_read_for_ever() -> None:
    chosen = sizes("quality", 60_000, LAPTOP, LSTM)
    assert chosen["steps"] * 16 * 64 / 60_000 == pytest.approx(MOST_PASSES, rel=0.1)
    assert chosen["hidden_size"] == 512 and chosen["dropout"] == 0.4
    assert sizes("quality", 20_000, LAPTOP, LSTM)["hidden_size"] == 256
    assert sizes("quality", 1_000, LAPTOP, LSTM) == {"hidden_size": 128, "dropout": 0.1, "steps": 200}


def test_dropout_suits_who_is_trained() -> None:
    def dropout(*archs: str) -> float:
        return sizes("quality", 60_000, LAPTOP, archs)["dropout"]

    assert (dropout("lstm"), dropout("gru"), dropout("rnn")) == (0.4, 0.24, 0.2)
    assert dropout("lstm", "gru") == 0.32 and dropout("lstm", "ngram") == 0.4  # nothing is dropped where one counts
    assert dropout("ngram") == dropout() == 0.4


def test_what_is_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.training.machine.this_machine", lambda: LAPTOP)
    corpus = corpus_from_text(TEXT * 100, "pets.txt", CorpusConfig())
    plain = autosize(from_options({"preset": "balanced"}), corpus, LSTM)
    assert plain.model.hidden_size == 512 and plain.train.steps != PRESETS["balanced"]["steps"]
    own = autosize(from_options({"preset": "balanced", "hidden_size": 64, "dropout": 0.05, "epochs": 2}), corpus, LSTM)
    assert (own.model.hidden_size, own.model.dropout) == (64, 0.05)
    assert (own.train.epochs, own.train.steps) == (2, 0)
    assert autosize(from_options({"steps": 7}), corpus, LSTM).train.steps == 7
    monkeypatch.setattr("charlm.training.machine.this_machine", lambda: pytest.fail("nothing is left to be found"))
    decided = from_options({"preset": "balanced", "hidden_size": 64, "dropout": 0.05, "epochs": 2})
    assert autosize(decided, corpus, LSTM) == decided


def test_a_list_is_sized_by_its_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.training.machine.this_machine", lambda: LAPTOP)
    config = from_options({"preset": "quality", "items": "line"})
    names = corpus_from_text("\n".join(f"{number:06d}" for number in range(10_000)), "names.txt", config.corpus)
    sized = autosize(config, names, LSTM)
    assert sized.train.steps == pytest.approx(MOST_PASSES * 9_000 / sized.train.batch_size, rel=0.1)  # items, not rows
    text = corpus_from_text(names.text, "names.txt", CorpusConfig())
    plain = autosize(from_options({"preset": "quality"}), text, LSTM)
    assert plain.train.steps == pytest.approx(MOST_PASSES * 63_000 / (16 * 64), rel=0.1)
    short = sizes("quick", 63_000, SLOW, LSTM, item=7)
    assert short["steps"] > sizes("quick", 63_000, SLOW, LSTM)["steps"]
    long = sizes("quick", A_NOVEL, LAPTOP, LSTM, item=5_000)
    assert long == sizes("quick", A_NOVEL, LAPTOP, LSTM)


@pytest.mark.parametrize("options", [{"preset": "notebook"}, {"preset": "tiny"}, {"level": "word"}])
def test_other_presets_and_words_are_the_same_everywhere(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.training.machine.this_machine", lambda: LAPTOP)
    config = from_options(options)
    assert autosize(config, corpus_from_text(TEXT, "pets.txt", CorpusConfig()), LSTM) == config
