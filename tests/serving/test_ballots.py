"""Ballots: a passage that no model has learned from, equal texts in an order that nobody knows, one vote each."""

from collections import Counter
from typing import Any

import pytest

from charlm.analysis.votes import HUMAN
from charlm.data.catalog import data_dir
from charlm.errors import ConfigError, CorpusError
from charlm.runs.store import RunStore
from charlm.serving.ballots import (
    MOST_OWN,
    OPEN_SECONDS,
    Ballot,
    OpenBallots,
    Passage,
    held_out_passage,
    shuffled_ballot,
)
from tests.tiny_runs import TEXT, entered

BOOK = "".join(f"{line} Then number {place} came along.\n" for place, line in enumerate(TEXT.splitlines() * 20))


@pytest.mark.parametrize("seed", range(40))
def test_prompt_and_passage_stand_one_after_the_other_in_the_held_out_part(store: RunStore, seed: int) -> None:
    runs = entered(store, "lstm", "gru", text=BOOK)
    found = held_out_passage(runs, 300, seed)
    assert (found.part, found.corpus) == ("validation", "pets.txt")
    at = BOOK.index(found.prompt + found.text)
    assert at >= 0.9 * len(BOOK) - 1 and at + len(found.prompt) + len(found.text) == len(BOOK)
    assert len(found.text) >= 300 and 100 <= len(found.prompt) <= 160
    assert found.prompt[-1].isspace() and not found.text[0].isspace()
    assert BOOK[at - 1].isspace() and not found.prompt[0].isspace()
    assert held_out_passage(runs, 300, seed) == found


def test_places_differ_by_the_seed(store: RunStore) -> None:
    runs = entered(store, "lstm", text=BOOK)
    assert len({held_out_passage(runs, 100, seed).text for seed in range(30)}) > 20


def test_the_test_part_comes_first_and_what_any_model_has_read_is_left_out(store: RunStore) -> None:
    [small] = entered(store, "lstm", text=BOOK, test_fraction=0.1)
    [large] = entered(store, "gru", text=BOOK, test_fraction=0.2)
    [without] = entered(store, "rnn", text=BOOK, val_fraction=0.3)
    for seed in range(20):
        tested = held_out_passage([large, small], 200, seed)
        assert tested.part == "test" and BOOK.index(tested.prompt + tested.text) >= 0.9 * len(BOOK) - 1
        validated = held_out_passage([large, without], 200, seed)  # both: from 0.7 to 0.8
        at = BOOK.index(validated.prompt + validated.text)
        assert validated.part == "validation" and at >= 0.7 * len(BOOK) - 1
        assert at + len(validated.prompt) + len(validated.text) <= 0.8 * len(BOOK) + 1
    with pytest.raises(ConfigError, match=r"the validation part of pets.txt that none of the models has read has 0 "):
        held_out_passage([large, *entered(store, "rnn", text=BOOK, val_fraction=0.1)], 200, 1)


def test_a_text_without_spaces_is_cut_anywhere(store: RunStore) -> None:
    text = "".join(chr(0x4E00 + place * place % 997) for place in range(9000))
    found = held_out_passage(entered(store, "lstm", text=text), 300, 3)
    assert len(found.prompt) == 160 and found.prompt + found.text in text


def test_what_cannot_be_used_is_said_in_a_sentence(store: RunStore) -> None:
    [one], [other] = (entered(store, "lstm", text=text, label=f"on {len(text)}") for text in (BOOK, BOOK + "More.\n"))
    with pytest.raises(ConfigError, match=r"models of the same text, and on .* was trained on pets.txt"):
        held_out_passage([one, other], 100, 1)
    with pytest.raises(ConfigError, match=r"validation part of pets.txt .* takes 1,000,220; choose a shorter length"):
        held_out_passage([one], 1_000_000, 1)
    [short] = entered(store, "lstm", text=TEXT)
    with pytest.raises(ConfigError, match="takes 320"):
        held_out_passage([short], 100, 1)
    for path in (data_dir() / "texts").iterdir():
        path.unlink()
    with pytest.raises(CorpusError, match=r"on .* is not here, and a passage of it is needed"):
        held_out_passage([one], 100, 1)


PASSAGE = Passage("Once ", "upon a time there was a hen, and then a fox.", "test", "tales.txt")


def test_all_texts_are_as_long_as_the_shortest(store: RunStore) -> None:
    runs = entered(store, "lstm", "gru")
    made = shuffled_ballot(runs, ["x" * 30, "y" * 25], PASSAGE, "")
    assert {len(text) for text in made.texts} == {25} and len(made.texts) == 3
    by_author = dict(zip([one.run_id for one in made.authors], made.texts, strict=True))
    assert by_author == {runs[0].run_id: "x" * 25, runs[1].run_id: "y" * 25, HUMAN: "upon a time there was a h"}
    assert made.texts[made.human] == by_author[HUMAN] and not made.shipped
    with pytest.raises(CorpusError, match="wrote 19 characters, which are too few to judge"):
        shuffled_ballot(runs, ["x" * 30, "y" * 19], PASSAGE, "")


def test_every_order_comes_and_ids_are_never_the_same(store: RunStore) -> None:
    """600 ballots of three: six orders, each about 100 times."""
    runs = entered(store, "lstm", "gru")
    made = [shuffled_ballot(runs, ["x" * 30, "y" * 30], PASSAGE, "") for _ in range(600)]
    orders = Counter(tuple(one.run_id for one in ballot.authors) for ballot in made)
    assert len(orders) == 6 and all(55 < number < 150 for number in orders.values())
    assert len({ballot.ballot for ballot in made}) == 600 and min(len(ballot.ballot) for ballot in made) >= 20


def ballot(key: str, visitor: str = "", **more: Any) -> Ballot:
    return Ballot(key, "Once ", ("a" * 30, "b" * 30), (), "test", "tales.txt", visitor=visitor, **more)


def test_a_ballot_is_good_for_one_vote_of_its_visitor_within_an_hour() -> None:
    now = [0.0]
    waiting = OpenBallots(lambda: now[0])
    waiting.add(ballot("one", "anna"))
    for wrong, visitor in (("two", "anna"), ("one", "boris"), ("", "anna")):
        with pytest.raises(ConfigError, match="waits for a vote"):
            waiting.take(wrong, 0, visitor)
    for place in (-1, 2):
        with pytest.raises(ConfigError, match=f"place {place} is outside 0 to 1"):
            waiting.take("one", place, "anna")
    assert waiting.take("one", 1, "anna").ballot == "one"
    with pytest.raises(ConfigError, match="it was voted on, or has expired"):
        waiting.take("one", 1, "anna")
    waiting.add(ballot("late", "anna"))
    now[0] = OPEN_SECONDS
    with pytest.raises(ConfigError, match="'late'"):
        waiting.take("late", 0, "anna")


def test_a_visitor_has_so_many_open_and_all_have_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = OpenBallots()
    waiting.add(ballot("theirs", "boris"))
    for place in range(MOST_OWN + 1):
        waiting.add(ballot(f"mine {place}", "anna"))
    with pytest.raises(ConfigError):
        waiting.take("mine 0", 0, "anna")
    assert waiting.take("mine 1", 0, "anna") and waiting.take("theirs", 0, "boris")
    monkeypatch.setattr("charlm.serving.ballots.MOST_OPEN", 3)
    for place in range(4):
        waiting.add(ballot(f"by {place}", f"v{place}"))
    with pytest.raises(ConfigError):
        waiting.take("by 0", 0, "v0")
    assert waiting.take("by 1", 0, "v1")
