"""Lists of characters as other programs write them, and what only looks like one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.formats.vocabularies import listed


@pytest.mark.parametrize(
    "value", [["a", "b"], "ab", {"a": 0, "b": 1}, {"b": 1, "a": 0}, {0: "a", 1: "b"}, {"1": "b", "0": "a"}]
)
def test_every_usual_form_is_a_list(value: Any) -> None:
    assert listed(value) == ["a", "b"]


@pytest.mark.parametrize(
    "value", [{"a": {}, "b": 1}, {"a": [0]}, {"a": 0, "b": 2}, {"a": 0.5}, [1, 2], 5, None, {"a": None}]
)
def test_what_is_none_is_empty(value: Any) -> None:
    assert listed(value) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_nothing_that_json_can_say_is_an_error(value: Any) -> None:
    assert all(isinstance(token, str) for token in listed(value))
