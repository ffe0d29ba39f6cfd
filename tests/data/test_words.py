"""Which words of a text the corpus does not have."""

from hypothesis import given
from hypothesis import strategies as st

from charlm.data.corpus import WORD, lexicon, unknown_words, usual_beginning


def unknown(text: str, corpus: str, ended: bool = True) -> tuple[list[str], float]:
    spans, words = unknown_words(text, lexicon(corpus), ended)
    return [text[start:end] for start, end in spans], len(spans) / words if words else 0.0


def test_words_are_compared_in_small_letters() -> None:
    assert unknown("THE cat Dogg", "The CAT and the dog") == (["Dogg"], 1 / 3)


def test_apostrophes_hyphens_digits_and_underscores() -> None:
    assert lexicon("Don't well-known x_1 42 rock'n'roll") == {
        "don't", "well-known", "well", "known", "x", "rock'n'roll",
    }  # fmt: skip
    assert unknown("well known unknown-known", "well-known")[0] == ["unknown-known"]


def test_letters_whose_small_form_is_longer() -> None:
    """The capital I with a dot becomes two characters in small letters; its word is known all the same."""
    assert unknown("İstanbul STRASSE", "İstanbul strasse") == ([], 0.0)


def test_other_scripts() -> None:
    assert unknown("мир война 平和", "Война и мир") == (["平和"], 1 / 3)


def test_a_word_at_the_end_of_an_unfinished_text_is_not_judged() -> None:
    assert unknown("the catas", "the catastrophe", ended=False) == ([], 0.0)
    assert unknown("the catas", "the catastrophe") == (["catas"], 0.5)
    assert unknown("the catas ", "the catastrophe", ended=False) == (["catas"], 0.5)


def test_nothing_to_judge() -> None:
    assert unknown("", "a b") == ([], 0.0) and unknown("12 -- 3", "a") == ([], 0.0)
    assert lexicon("") == frozenset()


@given(st.text())
def test_a_text_knows_all_its_own_words(text: str) -> None:
    assert unknown_words(text, lexicon(text)) == ([], len(WORD.findall(text)))


@given(st.text(), st.text())
def test_spans_lie_in_the_text_in_order(text: str, corpus: str) -> None:
    spans, words = unknown_words(text, lexicon(corpus))
    ends = [place for span in spans for place in span]
    assert ends == sorted(ends) and all(0 <= place <= len(text) for place in ends) and len(spans) <= words


def test_a_prompt_that_suits_a_text_is_what_its_sentences_begin_with() -> None:
    german = "Ein Hase lief. Der Fuchs sah ihn. »Der Hase ist fort«, sprach er.\nDer Wald schwieg."
    assert usual_beginning(german) == "Der "
    assert usual_beginning("the end. then he ran. then 5 more. I saw. I ran. I sat.") == "then "
    assert usual_beginning("abc") == usual_beginning("") == usual_beginning("狐狸遇见了母鸡。母鸡跑回家。") == ""
