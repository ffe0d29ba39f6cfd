"""Prompts as people type them: what a model has not seen is read in another spelling that it knows, and said."""

from collections.abc import Iterable

import pytest

from charlm.tokenizers import CharTokenizer, Tokenizer
from charlm.tokenizers.words import WordTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PLAIN = CharTokenizer(f"{LETTERS} \n.,-'\"")


def spelled(known: Iterable[str], prompt: str) -> str:
    return CharTokenizer(known).spell(prompt)[0]


@pytest.mark.parametrize(
    ("known", "typed", "read"),
    [
        (PLAIN.tokens, "“it’s” ‘so’ «là»", '"it\'s" \'so\' "là"'),
        (PLAIN.tokens, "a – b — c …", "a - b - c ..."),
        (PLAIN.tokens, "The END\r\nof it\u00a0\tall\u2028x", "the end\nof it  all\nx"),
        (f"{LETTERS} “”’‘", "\"it's\" 'so'", "“it’s” ‘so’"),
        (f"{LETTERS} …—", "so... - or", "so… — or"),
        ("cafe\u0301 ", "caf\u00e9", "cafe\u0301"),
        ("caf\u00e9", "cafe\u0301", "caf\u00e9"),
        ("caf\u00e9", "CAFE\u0301", "caf\u00e9"),
        ("ACDEFGHIK", "acd", "ACD"),
        (LETTERS, "日本é!", "日本é!"),  # no other spelling: left, and skipped when it is read
    ],
)
def test_a_character_is_read_as_the_model_knows_it(known: Iterable[str], typed: str, read: str) -> None:
    assert spelled(known, typed) == read


def test_what_is_known_stays_and_what_is_replaced_is_said() -> None:
    assert PLAIN.spell("a fox, 'so'") == ("a fox, 'so'", {})
    assert PLAIN.spell("A “fox”") == ('a "fox"', {"A": "a", "“": '"', "”": '"'})
    assert PLAIN.read("A “fox” é").tolist() == PLAIN.encode('a "fox" ').tolist()


@pytest.mark.parametrize(
    ("text", "rule", "typed", "read"),
    [
        ("the whale is here", "cased", "The Whale is Here", "the whale is here"),
        ("Moby rose", "cased", "moby rose", "Moby rose"),
        ("don’t “ go ” — now …", "cased", 'don\'t "go" - now', "don’t “go” — now"),
        ('don\'t " go " - now', "cased", "don’t “go” — now", 'don\'t "go" - now'),
        ("the the", "lower", "The zebra", "The zebra"),
        ("A B :| c", "spaces", "a c :|", "A c :|"),
    ],
)
def test_a_word_is_read_as_the_model_knows_it(text: str, rule: str, typed: str, read: str) -> None:
    tokenizer: Tokenizer = WordTokenizer.fit(text, rule)
    assert tokenizer.spell(typed)[0] == read
    assert len(tokenizer.unknown(read)) <= len(tokenizer.unknown(typed))
