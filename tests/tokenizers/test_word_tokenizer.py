"""Words to ids and back."""

import os
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import WORD_RULES as RULES
from charlm.errors import CheckpointError, ConfigError
from charlm.tokenizers import WordTokenizer, base
from charlm.tokenizers.words import MOST_WORD

STORY = """Once there was a king; the king was old.
"Who are you?" said the king. "I'm the king's daughter," said she, "don't you know?"

The king (he was 3,000 years old, or 99.5 at least) said: <unk>. Well-known! It was o'clock...
"""
SIGNS = st.sampled_from([*"aBé߀'’\"-.,:_<>@19 \n\t\r\x1c\x85\xa0\u2028\u3000王", "<unk>", "@-@", "'s", "n't", "don't"])
TEXTS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.lists(SIGNS, max_size=60).map("".join))


def split(text: str, rule: str) -> list[str]:
    tokenizer = WordTokenizer(["<unk>"], rule)
    return list(tokenizer.words(text))


def test_signs_stand_apart_and_nothing_is_thrown_away() -> None:
    text = "Don't say 'Hello', Mr. Well-Known: it's 3,000.5 o'clock -- at @.@ <unk>, (U.S.)\n\nWe'LL…"
    assert split(text, "cased") == [
        *("Don", "'t", "say", "'", "Hello", "'", ",", "Mr", ".", "Well-Known", ":", "it", "'s", "3,000.5", "o'clock"),
        *("--", "at", "@.@", "<unk>", ",", "(", "U.S", ".", ")", "\n", "\n", "We", "'LL", "…"),
    ]
    assert split(text, "lower") == [word.lower() for word in split(text, "cased")]


def test_spaces_take_what_stands_between_blanks() -> None:
    assert split(" a  (b),\tDon't <unk>\n\n x", "spaces") == ["a", "(b),", "Don't", "<unk>", "<eos>", "<eos>", "x"]


@pytest.mark.parametrize("rule", RULES)
def test_the_vocabulary_is_the_frequent_words_of_the_training_part(rule: str) -> None:
    text = "b a b <unk> c\na b c d d d d"
    tokenizer = WordTokenizer.fit(text, rule, min_count=2, end=text.index("d"))
    assert tokenizer.tokens == ["<unk>", "b", "a", "c"]
    assert (tokenizer.unk_id, tokenizer.vocab_size) == (0, 4)
    assert tokenizer.encode("a <unk> d b").tolist() == [2, 0, 0, 1]
    assert tokenizer.unknown("a d <unk> e d") == ["d", "e"]
    line_end = "\n" if rule != "spaces" else "<eos>"
    assert WordTokenizer.fit(text, rule, 1, end=14).tokens == ["<unk>", "b", line_end, "a", "c"]
    assert WordTokenizer.fit(text, rule, 1, most=3).tokens == ["<unk>", "d", "b"]


def test_no_word_is_left() -> None:
    with pytest.raises(ConfigError, match="no word occurs 3 times in the training part; make min_count smaller"):
        WordTokenizer.fit("a b c", "lower", min_count=3)


def test_what_is_too_long_for_a_word_is_unknown() -> None:
    tokenizer = WordTokenizer.fit(f"a {'b' * MOST_WORD} {'c' * (MOST_WORD + 1)}", "cased")
    assert tokenizer.tokens == ["<unk>", "a", "b" * MOST_WORD]


@settings(deadline=None, max_examples=200)
@given(TEXTS, TEXTS, st.sampled_from(RULES), st.integers(1, 5))
def test_blocks_and_parts_change_nothing(known: str, text: str, rule: str, block: int) -> None:
    tokenizer = WordTokenizer.fit("a b " + known, rule)
    whole = tokenizer.encode(text)
    assert whole.tolist() == tokenizer.engine.encode(text, add_special_tokens=False).ids
    third = len(text) // 3
    part = tokenizer.encode(text[third : 2 * third])
    patch = pytest.MonkeyPatch()
    patch.setattr(base, "_BLOCK", block)
    try:
        assert tokenizer.encode(text).tolist() == whole.tolist()
        assert WordTokenizer.fit("a b " + known, rule).tokens == tokenizer.tokens
        blocks = list(tokenizer.encode_blocks(text, start=third, end=2 * third))
        assert [number for block in blocks for number in block] == part.tolist()
        assert tokenizer.count(text, third, 2 * third) == len(part)
    finally:
        patch.undo()


@settings(deadline=None)
@given(TEXTS, st.sampled_from(RULES))
def test_what_is_written_to_a_file_reads_the_same_elsewhere(text: str, rule: str) -> None:
    tokenizer = WordTokenizer.fit("a " + text, rule)
    other = tokenizers.Tokenizer.from_str(tokenizer.to_file().decode())
    assert other.encode(text).ids == tokenizer.encode(text).tolist()


@settings(deadline=None)
@given(TEXTS, TEXTS, st.sampled_from(RULES), st.data())
def test_a_text_is_its_pieces(known: str, before: str, rule: str, data: st.DataObject) -> None:
    tokenizer = WordTokenizer.fit("a " + known, rule)
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    speller = tokenizer.speller()
    assert tokenizer.decode(ids) == "".join(speller.take(chosen) for chosen in ids)
    half, speller = len(ids) // 2, tokenizer.speller(before)
    assert all(isinstance(speller.take(chosen), str) for chosen in ids[:half])


def test_a_story_is_put_together_again() -> None:
    for rule in ("cased", "lower"):
        tokenizer = WordTokenizer.fit(STORY, rule)
        assert tokenizer.decode(tokenizer.encode(STORY)) == STORY
    tokenizer = WordTokenizer.fit(STORY, "spaces")
    assert tokenizer.decode(tokenizer.encode(STORY)) == STORY


def test_what_stood_between_blanks_comes_back_with_them() -> None:
    tune = "K: Cmaj\n:| > | |: f =c' :| | (3 2 2 e , ! )\nA B :| c\n"
    tokenizer = WordTokenizer.fit(tune, "spaces")
    written = tokenizer.decode(tokenizer.encode(tune))
    assert written == tune
    assert tokenizer.unknown(written) == []
    [bar] = tokenizer.encode(":|")
    assert tokenizer.speller("A").take(bar) == " :|" and tokenizer.speller("A ").take(bar) == ":|"


def test_wikitext_is_made_readable() -> None:
    text = " = The \" Old \" King = \n \n She was 3 @,@ 000 , wasn 't he ? The king 's role @-@ play ( 1 @.@ 5 ) \n"
    tokenizer = WordTokenizer.fit(text, "spaces")
    assert tokenizer.decode(tokenizer.encode(text)) == (
        "= The \"Old\" King =\n\nShe was 3,000, wasn't he? The king's role-play (1.5)\n"
    )


def test_a_text_goes_on_after_its_prompt() -> None:
    tokenizer = WordTokenizer.fit(STORY, "lower")
    [king] = tokenizer.encode("king")
    written = {before: tokenizer.speller(before).take(king) for before in ("", "The", "the ", 'said: "', "old.", "(")}
    assert written == {"": "King", "The": " king", "the ": "king", 'said: "': "king", "old.": " King", "(": "King"}


def test_a_prompt_is_read_as_people_type_it() -> None:
    tokenizer = WordTokenizer.fit("the king , he said .\nking's", "spaces")
    assert tokenizer.decode(tokenizer.read("the king, he said.\n king's")) == "the king , he said .\nking's"
    assert (tokenizer.encode("the king,") == tokenizer.unk_id).tolist() == [False, True]


def test_half_characters_are_unknown() -> None:
    tokenizer = WordTokenizer.fit(STORY, "lower")
    assert tokenizer.encode("the \ud800 king\udc00").tolist()[1] == 0
    assert "\ud800" not in "".join(tokenizer.unknown("\ud800"))


@pytest.mark.parametrize("tokens", [[], ["a"], ["a", "<unk>"], ["<unk>", "a", "a"], ["<unk>", ""], ["<unk>", "a" * 65]])
def test_a_vocabulary_that_is_none(tokens: list[str]) -> None:
    with pytest.raises(CheckpointError, match="a word tokenizer"):
        WordTokenizer(tokens, "lower")


def corpus_file(part: str) -> Path:
    return Path(os.environ.get("CHARLM_CORPORA") or "nowhere") / f"wikitext-2.{part}.txt"


@pytest.mark.slow
@pytest.mark.skipif(not corpus_file("train").is_file(), reason="WikiText-2 is not in CHARLM_CORPORA")
def test_the_counts_of_wikitext() -> None:
    """33,278 types; 2,088,628, 217,646 and 245,569 tokens (Merity et al. 2016)."""
    train = corpus_file("train").read_text(encoding="utf-8")
    tokenizer = WordTokenizer.fit(train, "spaces", min_count=2)
    assert tokenizer.vocab_size == 33_278 and {"<unk>", "<eos>"} <= set(tokenizer.tokens)
    counts = [tokenizer.count(corpus_file(part).read_text(encoding="utf-8")) for part in ("train", "valid", "test")]
    assert counts == [2_088_628, 217_646, 245_569]
