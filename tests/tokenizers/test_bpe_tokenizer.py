"""Subwords to ids and back."""

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import CheckpointError, ConfigError
from charlm.tokenizers import BPETokenizer, base
from charlm.tokenizers.subwords import MOST_SUBWORD, byte_signs, default_size

STORY = "the king was old, the king's daughter was not; 12 kings, 12 daughters. Zoë 王王王\n" * 5
SIGNS = st.sampled_from([*"aBé߀'.,_<>19 \n\t\r\x1c\x85\xa0\u2028\u3000王\U0001f600\u0301", "the ", "king", "'s"])
TEXTS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.lists(SIGNS, max_size=60).map("".join))


@settings(deadline=None, max_examples=200)
@given(TEXTS)
def test_any_text_is_written_as_it_was(text: str) -> None:
    tokenizer = BPETokenizer.fit(STORY, 300)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.unk_id is None and tokenizer.unknown(text) == []


@settings(deadline=None, max_examples=200)
@given(TEXTS, st.integers(1, 5))
def test_blocks_and_parts_change_nothing(text: str, block: int) -> None:
    tokenizer = BPETokenizer.fit(STORY + text, 300)
    whole, third = tokenizer.encode(text), len(text) // 3
    assert whole.tolist() == tokenizer.engine.encode(text).ids
    part = tokenizer.encode(text[third : 2 * third])
    patch = pytest.MonkeyPatch()
    patch.setattr(base, "_BLOCK", block)
    try:
        assert tokenizer.encode(text).tolist() == whole.tolist()
        assert BPETokenizer.fit(STORY + text, 300).merges == tokenizer.merges
        blocks = list(tokenizer.encode_blocks(text, start=third, end=2 * third))
        assert [number for block in blocks for number in block] == part.tolist()
    finally:
        patch.undo()


@settings(deadline=None)
@given(TEXTS)
def test_what_is_written_to_a_file_reads_the_same_elsewhere(text: str) -> None:
    tokenizer = BPETokenizer.fit(STORY + text, 320)
    other = tokenizers.Tokenizer.from_str(tokenizer.to_file().decode())
    assert other.encode(text).ids == tokenizer.encode(text).tolist()
    assert other.decode(tokenizer.encode(STORY).tolist()) == STORY


@settings(deadline=None)
@given(st.lists(st.integers(0, 299)))
def test_a_text_is_its_pieces(ids: list[int]) -> None:
    tokenizer = BPETokenizer.fit(STORY, 300)
    ids = [chosen for chosen in ids if chosen < tokenizer.vocab_size]
    speller = tokenizer.speller("the")
    pieces = [speller.take(chosen) for chosen in ids]
    assert tokenizer.decode(ids) == "".join(pieces)
    "".join(pieces).encode()  # no half characters


def test_bytes_wait_for_their_character() -> None:
    tokenizer = BPETokenizer([])
    speller = tokenizer.speller()
    assert [speller.take(chosen) for chosen in tokenizer.encode("é王")] == ["", "é", "", "", "王"]
    assert tokenizer.decode(tokenizer.encode("é王")[:4]) == "é"


def test_tokens_are_shown_as_text_or_bytes() -> None:
    tokenizer = BPETokenizer.fit(STORY, 300)
    assert " king" in tokenizer.tokens and "a" in tokenizer.tokens and "<c3>" in tokenizer.tokens
    assert len(byte_signs()) == 256 and set(byte_signs()) == set(tokenizers.pre_tokenizers.ByteLevel.alphabet())


def test_only_the_training_part_is_learned_from() -> None:
    assert BPETokenizer.fit("aaaa bbbb cdcdcd", 300, end=9).merges == BPETokenizer.fit("aaaa bbbb", 300).merges
    assert max(map(len, BPETokenizer.fit("ab" * 500, 300).bytes)) <= MOST_SUBWORD


def test_the_size_is_asked_for_or_follows_the_text() -> None:
    assert default_size(0) == 256 and default_size(505_508) == 1267 and default_size(10**8) == 8192
    assert BPETokenizer.fit(STORY, 270).vocab_size == 270
    assert BPETokenizer.fit("ab", 1000).vocab_size == 256
    with pytest.raises(ConfigError, match="vocab_size 100 is too small for subwords; set 256 or more"):
        BPETokenizer.fit(STORY, 100)


@pytest.mark.parametrize("merges", [[("a", "王")], [("ab", "c")], [("a", "b"), ("a", "b")], [("", "a")]])
def test_merges_that_are_none(merges: list[tuple[str, str]]) -> None:
    with pytest.raises(CheckpointError, match="a subword tokenizer"):
        BPETokenizer(merges)


def test_half_characters_are_written_as_what_cannot_be_shown() -> None:
    tokenizer = BPETokenizer.fit(STORY, 300)
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def test_a_blank_at_a_prompts_end_is_the_next_tokens() -> None:
    tokenizer = BPETokenizer.fit(STORY, 300)
    king = tokenizer.tokens.index(" king")
    assert tokenizer.read("old ").tolist() == tokenizer.read("old").tolist()
    assert [tokenizer.speller(before).take(king) for before in ("old", "old ", "old  ", "", " ")] == [
        *(" king", "king", " king", " king", " king")
    ]
