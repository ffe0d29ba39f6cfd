"""What a browser tab remembers of the form of Train is believed only as far as the controls can show it."""

from typing import Any

import pytest

from charlm.ui.train.form import NAMES, preset_values
from charlm.ui.train.memory import corpus_of, is_filled, settings_of


def test_what_a_preset_filled_in_can_be_shown() -> None:
    values = preset_values("quick")
    assert settings_of(values) == values and list(settings_of(values)) == list(NAMES)


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden_size", "<img>"), ("hidden_size", None), ("hidden_size", True), ("hidden_size", [1]), ("schedule", 7),
     ("schedule", "fast"), ("schedule", ["linear"]), ("tie_weights", 1), ("label", 3), ("label", "x" * 81),
     ("device", None), ("learning_rate", {})],
)  # fmt: skip
def test_what_no_control_can_show_is_passed_over(name: str, value: Any) -> None:
    assert settings_of({name: value, "steps": 5, "unknown": 1}) == {"steps": 5}


def test_a_learning_rate_that_is_found_by_itself_stays_empty() -> None:
    assert settings_of({"learning_rate": ""}) == {"learning_rate": ""}
    assert settings_of({"learning_rate": 0.01}) == {"learning_rate": 0.01}


def test_another_text_counts_beside_the_one_it_was_picked_beside() -> None:
    known = {"chosen": "a", "corpus": "b"}
    assert corpus_of(known, "a", ["a", "b"]) == "b"
    assert corpus_of(known, "c", ["a", "b", "c"]) == "c" and corpus_of(known, "a", ["a"]) == "a"
    assert corpus_of({}, "a", ["a"]) == "a" and corpus_of({"chosen": "a", "corpus": ["b"]}, "a", ["b"]) == "a"


@pytest.mark.parametrize("text", [None, 3, "", "{", "[]", "{}", '{"steps": 3}'])
def test_what_is_no_memory_of_a_preset(text: Any) -> None:
    assert not is_filled(text)
