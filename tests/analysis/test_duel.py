"""Where the texts of a duel part, which tokens are the same, and what is said of it."""

import pytest

from charlm.analysis.duel import Written, check_same_tokens, duel_sentence, parted_after, partings, same_tokens
from charlm.config import ModelConfig
from charlm.errors import ConfigError
from charlm.tokenizers import CharTokenizer, Tokenizer, fit_tokenizer

TEXT = "The cat sat on the mat, and then the cat ran away.\n" * 20


def fitted(level: str, **how: object) -> Tokenizer:
    return fit_tokenizer(TEXT, ModelConfig(level=level, **how), len(TEXT))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "other", "place"),
    [
        (Written("abcd"), Written("abxd"), 2),
        (Written("abcd"), Written("abcd"), None),
        (Written("a"), Written("b"), 0),
        (Written(""), Written(""), None),
        (Written("ab", done=False), Written("abcd"), None),  # may still write the same
        (Written("ab"), Written("abcd", done=False), 2),  # a stop string ended it
        (Written("ab"), Written("abcd"), 2),
        (Written("", failed=True), Written("abcd"), None),
        (Written("ax", done=False), Written("ay", done=False), 1),
    ],
)
def test_a_text_parts_where_it_differs_first(first: Written, other: Written, place: int | None) -> None:
    assert parted_after(first, other) == parted_after(other, first) == place


def test_each_column_parts_from_the_first_one() -> None:
    assert partings([Written("abcde"), Written("abxde"), Written("abcdX")]) == [2, 2, 4]
    assert partings([Written("abcde"), Written("abcde"), Written("aXcde")]) == [1, None, 1]
    assert partings([Written("abc"), Written("abc")]) == [None, None]
    assert partings([Written("", failed=True), Written("abc"), Written("abd")]) == [None, 2, 2]
    assert partings([Written("abc")]) == [None] and partings([]) == []


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([["abcde", "abxde"]], "LSTM and GRU part after 2 characters."),
        ([["abcde", "axcde"]], "LSTM and GRU part after 1 character."),
        ([["abcde", "xbcde"]], "LSTM and GRU part at once."),
        ([["abc", "abc"]], "LSTM and GRU wrote the same."),
        ([["abc", "abd"], ["xyz", "abc"]], "LSTM and GRU part after 2 and 0 characters."),
        (
            [["abc", "abd"], ["xyz", "xyz"], ["1", "2"]],
            "LSTM and GRU part after 2 and 0 characters, and not in 1 of 3 samples.",
        ),
        (
            [["abcd", "abcx", "a.cd"]],
            "Against LSTM: GRU parts after 3 characters; RNN parts after 1 character.",
        ),
        ([["abcd", "abcd", "a.cd"]], "Against LSTM: GRU wrote the same; RNN parts after 1 character."),
        ([["abcd"]], ""),
        ([], ""),
    ],
)
def test_the_sentence_says_where(samples: list[list[str]], said: str) -> None:
    names = ["LSTM", "GRU", "RNN"][: len(samples[0]) if samples else 2]
    assert duel_sentence(names, [[Written(text) for text in sample] for sample in samples]) == said


def test_what_is_not_done_agrees_so_far_and_what_failed_is_left_out() -> None:
    writing, done = Written("abc", done=False), Written("abcd")
    assert duel_sentence(["A", "B"], [[writing, done]]) == "A and B agree so far."
    assert duel_sentence(["A", "B", "C"], [[writing, done, Written("x", False)]]) == (
        "Against A: B agrees so far; C parts at once."
    )
    failed = Written("", failed=True)
    assert duel_sentence(["A", "B", "C"], [[failed, done, Written("abx")]]) == "B and C part after 2 characters."
    assert duel_sentence(["A", "B"], [[failed, done]]) == ""


def test_the_same_tokens_have_the_same_ids() -> None:
    assert same_tokens(CharTokenizer("abc"), CharTokenizer("abc"))
    assert not same_tokens(CharTokenizer("abc"), CharTokenizer("acb"))  # u would choose other characters
    assert not same_tokens(CharTokenizer("abc"), CharTokenizer("abcd"))
    kinds = [fitted("char"), fitted("word"), fitted("word", words="cased"), fitted("bpe", vocab_size=270)]
    for place, one in enumerate(kinds):
        assert [same_tokens(one, other) for other in kinds] == [at == place for at in range(len(kinds))]
    assert same_tokens(fitted("bpe", vocab_size=270), kinds[-1]) and same_tokens(fitted("word"), kinds[1])


def test_other_tokens_are_refused_by_name() -> None:
    check_same_tokens({})
    check_same_tokens({"LSTM": fitted("char"), "GRU": fitted("char")})
    tokenizers = {"LSTM": fitted("char"), "words": fitted("word"), "GRU": fitted("char"), "pieces": fitted("bpe")}
    with pytest.raises(ConfigError, match=r"words and pieces differ from LSTM; choose models"):
        check_same_tokens(tokenizers)
    with pytest.raises(ConfigError, match=r"b differs from a; .* or switch duel off"):
        check_same_tokens({"a": CharTokenizer("ab"), "b": CharTokenizer("ba")})
