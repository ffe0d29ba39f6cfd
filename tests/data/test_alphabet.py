"""A text is cut down to what a model knows, and what is lost is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.data.corpus import Corpus, drop_unknown, text_sha256
from charlm.errors import CorpusError
from charlm.tokenizers import CharTokenizer


def corpus_of(text: str) -> Corpus:
    return Corpus("a.txt", text, text_sha256(text), ("mended",), key="k")


def test_a_text_that_is_known_stays_as_it_is() -> None:
    corpus = corpus_of("abba")
    assert drop_unknown(corpus, CharTokenizer("ba")) is corpus


@given(text=st.text("abcdeé", min_size=20), known=st.sampled_from(["abcde", "ab", "x", "aé"]))
def test_only_known_characters_are_left_and_the_rest_is_counted(text: str, known: str) -> None:
    kept = "".join(character for character in text if character in known)
    if len(kept) == len(text):
        return
    try:
        part = drop_unknown(corpus_of(text), CharTokenizer(known))
    except CorpusError as error:
        assert "remains" in str(error) and (len(kept) < len(text) / 2 or len(set(kept)) < 2)
        return
    assert part.text == kept and part.sha256 == text_sha256(kept) and part.key == ""
    assert part.repairs[0] == "mended" and f"{len(text) - len(kept)} of {len(text)} characters" in part.repairs[1]


def test_many_unknown_characters_are_named_in_part() -> None:
    text = "ab" * 50 + "".join(map(chr, range(0x400, 0x420)))
    part = drop_unknown(corpus_of(text), CharTokenizer("ab"))
    assert part.repairs[1].endswith("and 20 more")
    with pytest.raises(CorpusError, match=r"too little of a\.txt remains.*own script"):
        drop_unknown(corpus_of("Ж" * 99 + "ab"), CharTokenizer("ab"))
