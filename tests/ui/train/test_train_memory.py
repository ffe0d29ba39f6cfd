"""What a browser tab remembers of the form of Train is believed only as far as the controls can show it."""

from typing import Any

import pytest

from charlm.data.catalog import entries
from charlm.ui.train.form import NAMES, preset_values
from charlm.ui.train.memory import corpus_of, is_filled, offer_of, settings_of


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


def test_another_text_counts_until_the_next_one_is_handed_over() -> None:
    first, second, *_ = [(entry.title, entry.key) for entry in entries()]
    choices, handed_over = [first, second], {"key": first[1], "handed_over": 1}
    known = {"chosen": offer_of(handed_over), "corpus": second[1]}
    assert corpus_of(known, handed_over, choices) == second[1]
    assert corpus_of(known, {**handed_over, "handed_over": 2}, choices) == first[1]  # the same one, meant once more
    assert corpus_of({**known, "corpus": first[1]}, {"key": second[1], "handed_over": 1}, choices) == second[1]
    assert corpus_of(known, handed_over, [first]) == first[1]  # a text that is gone
    for unknown in ({}, {"chosen": known["chosen"]}, {"chosen": known["chosen"], "corpus": [second[1]]}):
        assert corpus_of(unknown, handed_over, choices) == first[1]
    for foreign in (None, {}, {"handed_over": "<img>"}, {"key": first[1], "handed_over": None}):
        assert offer_of(foreign) == f"{first[1]} 0"


@pytest.mark.parametrize("text", [None, 3, "", "{", "[]", "{}", '{"steps": 3}'])
def test_what_is_no_memory_of_a_preset(text: Any) -> None:
    assert not is_filled(text)
