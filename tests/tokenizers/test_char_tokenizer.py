"""Characters to ids and back."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import CheckpointError, CorpusError
from charlm.tokenizers import CharTokenizer, id_type
from charlm.tokenizers import characters as module

# Python keeps a text in 1, 2 or 4 bytes a character; half characters (lone surrogates) are characters too.
KINDS = [st.text(st.characters(max_codepoint=top), min_size=1) for top in (0x7F, 0xFF, 0xFFFF)]
TEXTS = st.one_of(*KINDS, st.text(min_size=1), st.text(st.sampled_from("a\xe9\ud83d\ude00\U0001f600"), min_size=1))


@pytest.fixture(params=[1, 2, 7, 1 << 17], autouse=True)
def block(request: pytest.FixtureRequest) -> int:
    """The borders of the blocks in which a text is read must not matter."""
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "_BLOCK", request.param)
    request.addfinalizer(patch.undo)
    return request.param


@settings(deadline=None)
@given(TEXTS)
def test_round_trip(text: str) -> None:
    tokenizer = CharTokenizer.fit(text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.uint8 and len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.tokens == sorted(set(text))
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert CharTokenizer.from_dict(json.loads(tokenizer.to_file())).tokens == tokenizer.tokens
    assert [*np.concatenate([*tokenizer.encode_blocks(text)])] == [*ids]


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_unknown_characters_are_named_and_skipped(known: str, text: str) -> None:
    tokenizer = CharTokenizer.fit(known)
    unknown = tokenizer.unknown(text)
    assert unknown == list(dict.fromkeys(character for character in text if character not in known))
    assert tokenizer.decode(tokenizer.encode(text, skip_unknown=True)) == "".join(c for c in text if c in known)
    if unknown:
        with pytest.raises(CorpusError, match="does not know") as caught:
            tokenizer.encode(text)
        assert str(caught.value).endswith(", ".join(map(repr, unknown[:8])))


@pytest.mark.parametrize(
    ("vocab_size", "kind"),
    [(1, np.uint8), (255, np.uint8), (256, np.uint8), (257, np.uint16), (65_536, np.uint16), (65_537, np.int32)],
)
def test_ids_take_as_little_as_the_vocabulary_allows(vocab_size: int, kind: type, block: int) -> None:
    assert id_type(vocab_size) == kind
    if vocab_size > 257 and block < 1000:
        return
    tokens = [chr(point) for point in range(0x400, 0x400 + vocab_size)]
    tokenizer, text = CharTokenizer(tokens), "".join(reversed(tokens))
    ids = tokenizer.encode(text)
    assert ids.dtype == kind and np.array_equal(ids, np.arange(vocab_size)[::-1])
    with pytest.raises(CorpusError, match="does not know 'a'"):  # no id is taken for a sign of the unknown
        tokenizer.encode(text + "a")
    with pytest.raises(CorpusError, match="does not know"):
        tokenizer.encode(text + chr(0x400 + vocab_size))
    assert np.array_equal(tokenizer.encode("a" + text, skip_unknown=True), ids)


def test_any_order_of_tokens_is_kept() -> None:
    tokenizer = CharTokenizer(["b", "a", "\U0001f98a"])
    assert tokenizer.encode("ab\U0001f98a").tolist() == [1, 0, 2]


def test_nothing_is_encoded_as_nothing() -> None:
    tokenizer = CharTokenizer("ab")
    assert tokenizer.encode("").tolist() == tokenizer.encode("xyz", skip_unknown=True).tolist() == []
    assert CharTokenizer.fit("").tokens == [] and CharTokenizer([]).encode("xy", skip_unknown=True).tolist() == []


@pytest.mark.parametrize(
    "data", [{}, {"tokens": "abc"}, {"tokens": [1, 2]}, {"tokens": ["a", "a"]}, {"tokens": ["ab"]}, []]
)
def test_damaged_files_are_refused(data: object) -> None:
    with pytest.raises(CheckpointError):
        CharTokenizer.from_dict(data)  # type: ignore[arg-type]
