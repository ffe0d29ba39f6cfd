"""Counting characters."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.tokenizers import characters
from charlm.tokenizers.characters import count_characters


def test_the_most_common_comes_first_and_ties_go_by_code_point() -> None:
    assert count_characters("banana b") == [("a", 3), ("b", 2), ("n", 2), (" ", 1)]


def test_an_empty_text_has_no_characters() -> None:
    assert count_characters("") == []


@settings(deadline=None)
@given(st.text(alphabet=st.characters(), max_size=60))
def test_counts_are_those_of_a_counter(text: str) -> None:
    assert dict(count_characters(text)) == Counter(text)


def test_blocks_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(characters, "_BLOCK", 3)
    assert dict(count_characters("abc\ud800é€bca😀")) == Counter("abc\ud800é€bca😀")
