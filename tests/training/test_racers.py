"""What each training of a race gets: its size, its budget, its seed."""

import math
from typing import Any

import pytest

from charlm.data.batches import Cut
from charlm.errors import ConfigError
from charlm.presets import from_options
from charlm.training.estimate import count_parameters
from charlm.training.machine import this_machine
from charlm.training.racers import Racer, racers, work_per_token

CUT = Cut(100_000, 16, 64)
SIZE = {"hidden_size": 128, "num_layers": 2, "steps": 1000}
ALL = ("lstm", "gru", "rnn", "transformer", "mingru")


def race(*archs: str, **options: Any) -> list[Racer]:
    return racers(from_options({**SIZE, **options}), archs or ALL, 60, CUT)


def test_alone_it_is_what_the_settings_say() -> None:
    [one] = race("gru", seed=3)
    config = from_options({**SIZE, "seed": 3})
    assert one.model == config.model.resolve_for("gru", 60, CUT.train, CUT.seq_len)
    assert one.train == config.train.resolve(one.model, 1000)


def test_each_has_the_rate_that_suits_its_width_and_its_own_steps() -> None:
    short, long = race("gru", steps=250)[0].train, race("gru")[0].train
    assert short.learning_rate > long.learning_rate
    assert race("gru", steps=0, epochs=250 / CUT.steps_per_epoch)[0].train.learning_rate == short.learning_rate
    assert race("gru", steps=0, minutes=0.1)[0].train.learning_rate == long.learning_rate  # nobody knows its steps
    assert {one.train.learning_rate for one in race(steps=250, learning_rate=0.003)} == {0.003}


def test_every_seed_comes_once_for_every_network() -> None:
    found = race("lstm", "ngram", "rnn", seeds=3, seed=5)
    assert [(one.model.arch, one.train.seed) for one in found] == [
        ("lstm", 5), ("ngram", 5), ("rnn", 5), ("lstm", 6), ("rnn", 6), ("lstm", 7), ("rnn", 7),
    ]  # fmt: skip
    assert all(one.train.random_start for one in found)
    assert not any(one.train.random_start for one in race("lstm", "rnn"))


def test_seeds_beyond_the_last_are_refused() -> None:
    with pytest.raises(ConfigError, match="seed 2,147,483,648 is outside"):
        race("lstm", seeds=2, seed=2**31 - 1)


@pytest.mark.parametrize("more", [{}, {"level": "word", "hidden_size": 64}, {"num_heads": 6, "hidden_size": 96}])
def test_matched_models_have_about_as_many_parameters(more: dict[str, Any]) -> None:
    found = race(match="parameters", **more)
    wanted = count_parameters(found[0].model)
    assert found[0].model.hidden_size == more.get("hidden_size", 128)
    for model, _ in found[1:]:
        step = 4 if model.arch != "transformer" else math.lcm(4, 2 * model.num_heads)
        off = [abs(count_parameters(model.of_width(model.hidden_size + by)) - wanted) for by in (0, -step, step)]
        assert off[0] == min(off) < 0.15 * wanted, model
    assert len({one.model.hidden_size for one in race(**more)}) == 1


def test_equal_work_is_equal_multiply_adds() -> None:
    found = race(budget="flops", epochs=2.0)
    work = [one.train.steps * work_per_token(one.model) for one in found]
    assert found[0].train.steps == 1000 and max(work) < 1.01 * min(work)
    shares = [one.train.epochs * work_per_token(one.model) for one in found]
    assert max(shares) == pytest.approx(min(shares))
    assert len({one.train.steps for one in found}) > 3


def test_work_counts_attention() -> None:
    [near] = race("transformer", context=16)
    [far] = race("transformer", context=512)
    assert work_per_token(far.model) > work_per_token(near.model) + 3 * 2 * 2 * 128 * 496  # keys and values, two layers


def test_equal_seconds_are_those_given_or_what_the_first_is_expected_to_take() -> None:
    assert {(one.train.minutes, one.train.steps, one.train.epochs) for one in race(budget="seconds", minutes=2)} == {
        (2, 0, 0)
    }
    this_machine()
    [minutes] = {one.train.minutes for one in race(budget="seconds")}
    assert minutes > 0 and {one.train.steps for one in race(budget="seconds")} == {0}


def test_minutes_alone_cannot_be_shared_out_as_work() -> None:
    with pytest.raises(ConfigError, match=r"only minutes \(2\) are given"):
        race(budget="flops", minutes=2, steps=0)


def test_an_ngram_is_no_measure_for_others() -> None:
    counted, network, other = race("ngram", "rnn", "lstm", match="parameters", budget="flops")
    assert network.model.hidden_size == 128 and network.train.steps == 1000
    assert abs(count_parameters(other.model) / count_parameters(network.model) - 1) < 0.05
    assert counted.train.steps == 1000
