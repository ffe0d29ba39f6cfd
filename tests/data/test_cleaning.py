"""Cleaning: what is done piece by piece comes out as if done at once, and no text makes it slow."""

import re
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import CorpusConfig
from charlm.data.decoding import _Line, by_lines, clean

PIECES = st.lists(
    st.sampled_from(["\n", "\r\n", "Σ", "ΑΣ", "'", "e", "\u0301", "\u0323", "İ", "가", "ᄀ", "ᅡ", "a b", "ß"])
)
MARKS = st.lists(st.sampled_from(["\n", "\r\n", "\r", "*** END OF THIS", "***END OF", "end of", " ", "x"])).map("".join)


@settings(deadline=None)
@given(PIECES.map("".join), st.integers(1, 9))
def test_pieces_change_as_the_whole_does(text: str, block: int) -> None:
    assert by_lines(text, str.lower, block) == text.lower()
    assert by_lines(text, lambda piece: unicodedata.normalize("NFC", piece), block) == unicodedata.normalize(
        "NFC", text
    )


@settings(deadline=None)
@given(MARKS, st.integers(0, 30))
def test_a_line_is_found_where_a_multiline_pattern_finds_it(text: str, start: int) -> None:
    pattern = r"\*\*\* ?END OF|end of"
    start = min(start, len(text))
    found = _Line(pattern).search(text, start)
    expected = re.compile(f"^(?:{pattern})", re.MULTILINE).search(text, start)
    assert (found and (found[0].lstrip("\n"), found.end())) == (expected and (expected[0], expected.end()))


def test_a_long_line_of_credits_ends() -> None:
    frame = "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n"
    long = "Produced by " + "x" * 100_000
    assert clean(frame + long, CorpusConfig())[0] == long + "\n"  # a pattern that backtracks would take years
    assert clean(frame + long + "\n\nTale.", CorpusConfig())[0] == "Tale.\n"


def test_unicode_form_is_told_only_where_it_changed() -> None:
    config = CorpusConfig(nfc=True)
    assert clean("plain", config) == ("plain", [])
    assert clean("é\nè", config) == ("é\nè", [])
    assert clean("e\u0301\ne\u0300", config) == ("é\nè", ["converted to Unicode NFC, 2 characters fewer"])


@settings(deadline=None)
@given(st.text("\n\r \tab"), st.text("\n\r \tab"), st.booleans())
def test_a_book_loses_the_blanks_around_it(first: str, second: str, closed: bool) -> None:
    start, end = "*** START OF THE PROJECT GUTENBERG EBOOK X ***", "\n*** END OF THE PROJECT GUTENBERG EBOOK X ***"
    text = f"{start}\n{first}{end}\n{start}\n{second}{end if closed else ''}"
    books = [book for book in (first.strip(), second.strip()) if book]
    found, notes = clean(text, CorpusConfig(lf=False))
    assert found == ("\n\n".join(books) + "\n" if books else text) and len(notes) == bool(books)
