"""Every setting is checked: out of range is refused with its name, its value and the way out."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.architectures import ARCHS
from charlm.config import Config, CorpusConfig, ModelConfig, SampleConfig, TrainConfig, suited_rate
from charlm.errors import ConfigError

CLASSES: tuple[type[Config], ...] = (ModelConfig, TrainConfig, SampleConfig, CorpusConfig)
FIELDS = [(cls, field) for cls in CLASSES for field in dataclasses.fields(cls)]
NUMBERS = [(cls, field) for cls, field in FIELDS if type(field.default) in (int, float)]
WORDS = [(cls, field) for cls, field in FIELDS if field.metadata["choices"]]


def name_of(value: Any) -> str:
    return value.name if isinstance(value, dataclasses.Field) else value.__name__


def make(cls: type[Config], **values: Any) -> Config:
    return cls.from_dict(values)


@pytest.mark.parametrize("cls", CLASSES)
def test_defaults_are_legal_and_survive_json(cls: type[Config]) -> None:
    config = cls()
    assert cls.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(("cls", "field"), FIELDS, ids=name_of)
def test_every_field_says_what_it_is(cls: type[Config], field: dataclasses.Field) -> None:
    assert cls.field(field.name) is field
    assert 8 < len(field.metadata["hint"]) < 110
    if type(field.default) in (int, float):
        assert field.metadata["low"] <= field.default <= field.metadata["high"]
    if field.metadata["choices"]:
        assert field.default in field.metadata["choices"]


@pytest.mark.parametrize(("cls", "field"), NUMBERS, ids=name_of)
@given(data=st.data())
def test_a_number_out_of_range_is_refused_by_name_and_value(
    cls: type[Config], field: dataclasses.Field, data: st.DataObject
) -> None:
    low, high, kind = field.metadata["low"], field.metadata["high"], type(field.default)
    if kind is int:
        value: float = data.draw(st.one_of(st.integers(max_value=int(low) - 1), st.integers(min_value=int(high) + 1)))
    else:
        below = st.floats(max_value=low, exclude_max=True, allow_infinity=False)
        above = st.floats(min_value=high, exclude_min=True, allow_infinity=False)
        value = data.draw(st.one_of(below, above))
    with pytest.raises(ConfigError) as caught:
        make(cls, **{field.name: value})
    said = str(caught.value)
    assert field.name in said and f"{low:,}" in said and f"{high:,}" in said and f"{value:,}" in said


@pytest.mark.parametrize(("cls", "field"), NUMBERS, ids=name_of)
@pytest.mark.parametrize("value", ["3", None, True, math.nan, math.inf, -math.inf, [1]])
def test_what_is_no_finite_number_is_refused(cls: type[Config], field: dataclasses.Field, value: Any) -> None:
    with pytest.raises(ConfigError, match=field.name):
        make(cls, **{field.name: value})


@pytest.mark.parametrize(("cls", "field"), [pair for pair in NUMBERS if type(pair[1].default) is int], ids=name_of)
def test_a_fraction_is_no_whole_number(cls: type[Config], field: dataclasses.Field) -> None:
    with pytest.raises(ConfigError, match="whole number"):
        make(cls, **{field.name: 0.5})


@pytest.mark.parametrize(("cls", "field"), WORDS, ids=name_of)
@given(value=st.text(max_size=12))
def test_a_word_that_is_no_choice_is_refused_with_the_choices(
    cls: type[Config], field: dataclasses.Field, value: str
) -> None:
    if value in field.metadata["choices"]:
        return
    with pytest.raises(ConfigError) as caught:
        make(cls, **{field.name: value})
    assert all(choice in str(caught.value) for choice in field.metadata["choices"])


@pytest.mark.parametrize(("cls", "field"), [pair for pair in FIELDS if type(pair[1].default) is bool], ids=name_of)
@pytest.mark.parametrize("value", [1, "yes", None])
def test_a_switch_is_true_or_false(cls: type[Config], field: dataclasses.Field, value: Any) -> None:
    with pytest.raises(ConfigError, match=field.name):
        make(cls, **{field.name: value})


def test_a_slider_gives_whole_floats_for_ints() -> None:
    config = ModelConfig(hidden_size=64.0)  # type: ignore[arg-type]
    assert config.hidden_size == 64 and type(config.hidden_size) is int


def test_settings_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="tie_weights needs embed_dim"):
        ModelConfig(tie_weights=True)
    with pytest.raises(ConfigError, match="give at least one"):
        TrainConfig(steps=0)
    with pytest.raises(ConfigError, match=r"val_fraction 0\.9 and test_fraction 0\.5"):
        CorpusConfig(val_fraction=0.9, test_fraction=0.5)


def test_stop_strings_are_texts_or_one_text() -> None:
    assert SampleConfig(stop="a, b").stop == ("a, b",)  # type: ignore[arg-type]
    assert SampleConfig.from_dict({"stop": ["b", "", "a", "b"]}).stop == ("b", "a")
    wrongs: dict[str, Any] = {"must be a text or a list": 3, "not \\[1\\]": [1], "half a char": ["a\ud800"]}
    wrongs |= {"has 81 characters": ["x" * 81], "has 9 texts; at most 8": list("abcdefghi")}
    for said, wrong in wrongs.items():
        with pytest.raises(ConfigError, match=f"stop .*{said}"):
            SampleConfig(stop=wrong)


def test_what_is_not_drawn_has_one_sample() -> None:
    for how in ({"greedy": True}, {"beams": 2}):
        assert SampleConfig(**how).samples == 1  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="samples is 2; ask for 1 sample"):
            SampleConfig(samples=2, **how)  # type: ignore[arg-type]


def test_a_label_has_a_length() -> None:
    with pytest.raises(ConfigError, match="label has 81 characters; at most 80"):
        TrainConfig(label="x" * 81)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean hidden_size"):
        ModelConfig.from_dict({"hiden_size": 3})
    with pytest.raises(ConfigError, match="known are: length, temperature"):
        SampleConfig.from_dict({"zzz": 3})


def test_configs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().hidden_size = 3  # type: ignore[misc]


@pytest.mark.parametrize("value", [10**301, -(10**400)])
def test_numbers_beyond_all_measure_are_refused(value: int) -> None:
    with pytest.raises(ConfigError, match="hidden_size is far too large"):
        ModelConfig(hidden_size=value)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"label .* half a character"):
        TrainConfig(label="a\ud800")


@pytest.mark.parametrize("arch", ARCHS)
def test_wide_layers_learn_slower(arch: str) -> None:
    rates = [suited_rate(ModelConfig(arch=arch, hidden_size=size)) for size in (8, 64, 128, 512, 4096)]
    assert rates[0] == rates[1] > rates[2] > rates[3] > rates[4] > 0
    resolved = TrainConfig().resolve(ModelConfig(arch=arch, hidden_size=128))
    assert resolved.learning_rate == rates[2] and resolved.resolve(ModelConfig(hidden_size=512)) == resolved


@pytest.mark.parametrize("arch", ARCHS)
def test_short_trainings_take_larger_steps(arch: str) -> None:
    model = ModelConfig(arch=arch, hidden_size=128)
    rates = [suited_rate(model, steps) for steps in (1, 50, 250, 800, 100_000)]
    assert rates[0] == rates[1] > rates[2] > rates[3] == rates[4] == suited_rate(model)
    assert rates[1] == pytest.approx(2 * rates[3], rel=0.05)
    assert TrainConfig().resolve(model, 250).learning_rate == rates[2]
    assert TrainConfig(learning_rate=0.01).resolve(model, 250).learning_rate == 0.01
