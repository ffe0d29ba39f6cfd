"""Texts as they are typed into one line, and back."""

from hypothesis import given
from hypothesis import strategies as st

from charlm.config import escape, escape_lines, unescape, unescape_lines

TEXTS = st.text(st.sampled_from("\n\t\r\\ntr<x ") | st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.lists(TEXTS))
def test_what_is_typed_is_what_was_meant(texts: list[str]) -> None:
    assert all(unescape(escape(text)) == text and "\n" not in escape(text) for text in texts)
    assert unescape_lines(escape_lines(tuple(texts))) == tuple(texts)


def test_by_hand() -> None:
    assert unescape(r"a\n\tb\\n\d") == "a\n\tb\\n\\d"
    assert unescape_lines("\n" + r"\n\n" + "\n\nEnd") == ("\n\n", "End")
