"""Texts as a page says they stand in its columns: whatever comes, only texts are taken; and what becomes of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.config import SampleConfig
from charlm.errors import ConfigError
from charlm.serving import GeneratedText
from charlm.ui.compare.view import LONGEST, MOST_SAMPLES, check_room, gone_on, still, texts_in
from tests.ui.shown_runs import FakeRun

RUNS = [FakeRun("a"), FakeRun("b", "gru")]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
)


@given(JSON)
def test_anything_may_come(message: Any) -> None:
    for sent in (message, json.dumps(message)):
        for run_id, texts in texts_in(sent, RUNS).items():
            assert run_id in ("a", "b") and 0 < len(texts) <= MOST_SAMPLES
            assert [one.sample for one in texts] == list(range(len(texts)))
            assert all(f"{one.prompt}{one.text}".encode() is not None for one in texts)


@pytest.mark.parametrize("message", ["{", "[" * 99, None, "", "5", '{"a": "x"}', '{"a": [["x"]]}', "{}"])
def test_what_is_none_is_none(message: Any) -> None:
    assert texts_in(message, RUNS) == {}


def test_texts_are_taken_as_they_stand() -> None:
    told = {"b": [["P", "t\r\n"], None, ["", "u\ud800"]], "gone": [["P", "t"]], "a": [[1, 2]]}
    assert texts_in(told, RUNS) == {"b": [GeneratedText("P", "t\r\n", 0), GeneratedText("", "u?", 1)]}
    assert len(texts_in({"a": [["", "x"]] * 50}, RUNS)["a"]) == MOST_SAMPLES


def test_a_text_has_room_to_grow() -> None:
    check_room({"a": [GeneratedText("", "x" * 100)]}, SampleConfig())
    for present, said in (({}, "press Generate"), ({"a": [GeneratedText("P", "x" * LONGEST)]}, "20,001 characters")):
        with pytest.raises(ConfigError, match=said):
            check_room(present, SampleConfig())


def test_one_sample_grows_and_the_others_rest() -> None:
    present = {"a": [GeneratedText("P", "one"), GeneratedText("P", "two", 1)], "b": [GeneratedText("", "three")]}
    grown = [{"a": GeneratedText("P", "two and")}, {"a": GeneratedText("P", "two and more", done=True)}]
    states = list(gone_on(present, {"a": [present["a"][1]]}, iter(grown)))
    assert [[one.text for one in state["a"].samples] for state in states] == [
        ["one", "two and"],
        ["one", "two and more"],
    ]
    assert states[0]["b"] == still(present)["b"] == GeneratedText("", "three", done=True)


def test_a_model_that_has_no_text_yet_gets_one() -> None:
    present = {"a": [GeneratedText("P", "one")]}
    [state] = gone_on(present, present, iter([{"a": GeneratedText("P", "one more"), "b": GeneratedText("P", "new")}]))
    assert (state["a"].text, state["b"].text) == ("one more", "new")
    [state] = gone_on(present, present, iter([{"a": GeneratedText("", error="no weights", done=True)}]))
    assert state["a"].error == "no weights"
