"""A preset with the user's options over it, and which of them win."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.config import SampleConfig
from charlm.errors import ConfigError
from charlm.presets import BUDGETS, PRESET_HINTS, PRESETS, SAMPLE_PRESETS, from_options, option_names


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_legal_and_has_a_hint(name: str) -> None:
    config = from_options({}, name)
    assert config.preset == name and PRESET_HINTS[name]
    parts = {**config.model.to_dict(), **config.train.to_dict(), **config.corpus.to_dict()}
    assert all(parts[key] == value for key, value in PRESETS[name].items())


@pytest.mark.parametrize("name", SAMPLE_PRESETS)
def test_every_sample_preset_is_legal(name: str) -> None:
    values = {key: value for key, value in SAMPLE_PRESETS[name].items() if key != "prompt"}
    assert SampleConfig.from_dict(values).length == values["length"]


def test_the_notebook_preset_is_the_notebook() -> None:
    config = from_options({"preset": "notebook"})
    model, train = config.model, config.train
    assert (model.hidden_size, model.num_layers, model.dropout, model.init) == (512, 2, 0.3, "notebook")
    assert (train.batch_size, train.seq_len, train.learning_rate, train.grad_clip) == (128, 100, 1e-3, 5.0)
    assert (train.epochs, train.steps, train.schedule, train.weight_decay) == (30.0, 0, "constant", 0.0)
    assert config.corpus.drop_newlines and config.corpus.separator == "space"
    assert SAMPLE_PRESETS["notebook"] == {"prompt": "story", "length": 500, "temperature": 1.0, "top_k": 5}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("budget", BUDGETS)
def test_a_given_budget_replaces_the_presets(preset: str, budget: str) -> None:
    train = from_options({budget: 2}, preset).train
    assert {name: getattr(train, name) for name in BUDGETS} == {**dict.fromkeys(BUDGETS, 0), budget: 2}


@pytest.mark.parametrize(
    ("options", "preset", "items"),
    [
        ({}, "quick", "none"), ({"items": "none"}, "quick", "none"), ({"items": "blank"}, "items", "blank"),
        ({"preset": "items"}, "items", "line"), ({"items": "line", "preset": "quick"}, "quick", "line"),
    ],
)  # fmt: skip
def test_a_list_takes_its_own_preset_where_none_is_named(options: dict[str, Any], preset: str, items: str) -> None:
    config = from_options(options)
    assert (config.preset, config.corpus.items) == (preset, items)
    assert config.train.epochs == (20.0 if preset == "items" else 0.0)


def test_several_budgets_hold_together() -> None:
    train = from_options({"epochs": 2, "minutes": 3.5}, "balanced").train
    assert (train.epochs, train.steps, train.minutes) == (2, 0, 3.5)


def test_a_budget_of_zero_leaves_the_presets_others() -> None:
    assert from_options({"minutes": 0}, "quick").train.steps == from_options({}).train.steps
    with pytest.raises(ConfigError, match="training would never end"):
        from_options({"steps": 0}, "quick")


def test_options_win_over_the_preset_and_leave_the_rest() -> None:
    config = from_options({"hidden_size": 64, "lowercase": True, "preset": "balanced"})
    assert config.model.hidden_size == 64 and config.corpus.lowercase
    assert config.model.dropout == PRESETS["balanced"]["dropout"] and config.train.steps == 4000


@pytest.mark.parametrize("preset", ["quik", "", None, 3, ["quick"]])
def test_an_unknown_preset_names_the_known(preset: Any) -> None:
    with pytest.raises(ConfigError, match="quick, balanced, quality, items, notebook"):
        from_options({"preset": preset})


@pytest.mark.parametrize("options", [None, [], "hidden_size=3", 7])
def test_options_are_an_object(options: Any) -> None:
    with pytest.raises(ConfigError, match="options must be an object"):
        from_options(options)


def test_an_unknown_option_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'batchsize'; did you mean batch_size"):
        from_options({"batchsize": 3})


WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(options=st.dictionaries(st.sampled_from((*option_names(), "preset", "x", "")), WILD, max_size=4))
def test_wild_options_make_a_config_or_a_config_error(options: dict[str, Any]) -> None:
    try:
        config = from_options(options)
    except ConfigError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert config.train.steps or config.train.epochs or config.train.minutes
