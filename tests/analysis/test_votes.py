"""Votes counted: Wilson's intervals, Plackett and Luce's strengths, and a bootstrap that draws whole visitors."""

import csv
import io
from collections.abc import Sequence

import numpy as np
import pytest

from charlm.analysis import votes
from charlm.analysis.difference import wilson
from charlm.analysis.votes import HUMAN, PRIOR, Candidate, Kind, Row, Vote, finding, fit, tally, votes_csv
from charlm.errors import MeasurementError

stats, optimize = pytest.importorskip("scipy.stats"), pytest.importorskip("scipy.optimize")


def cast(chosen: str, *texts: str, visitor: str = "", kind: Kind = "best") -> Vote:
    """A vote for one of these run ids."""
    return Vote(visitor, kind, tuple(Candidate(one, one.upper(), "lstm") for one in texts), texts.index(chosen))


def rows_of(cast_votes: Sequence[Vote], kind: Kind = "best") -> dict[str, Row]:
    return {row["run_id"]: row for row in tally(cast_votes, kind)["rows"]}


@pytest.mark.parametrize(("found", "of"), [(0, 1), (1, 1), (0, 12), (3, 20), (10, 20), (199, 200), (1, 1000)])
def test_wilsons_interval_is_scipys(found: int, of: int) -> None:
    interval = stats.binomtest(found, of).proportion_ci(method="wilson")
    share, low, high = wilson(found, of)
    assert share == found / of
    assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-4)  # 1.96 for 1.95996


def test_where_all_meet_a_strength_is_the_share_with_half_a_vote_for_each() -> None:
    ballots = np.ones((1, 4), bool)
    four = fit(ballots, np.array([10.0]), np.array([7.0, 2, 1, 0]))
    assert four == pytest.approx(np.array([7.5, 2.5, 1.5, 0.5]) / 12)
    two = fit(np.ones((1, 2), bool), np.array([10.0]), np.array([7.0, 3]))  # Bradley and Terry's
    assert two == pytest.approx([7.5 / 11, 3.5 / 11])


def direct(ballots: np.ndarray, counts: np.ndarray, wins: np.ndarray) -> np.ndarray:
    """The same strengths by scipy's minimiser of the penalised likelihood, over logarithms."""
    authors = ballots.shape[1]

    def loss(logs: np.ndarray) -> float:
        strengths = np.exp(logs)
        fitted = wins @ logs - counts @ np.log(ballots @ strengths)
        prior = PRIOR * (logs.sum() - authors * np.log(strengths.sum()))
        return float(-fitted - prior) + 1e-9 * float(logs @ logs)

    found = np.exp(optimize.minimize(loss, np.zeros(authors), method="BFGS", options={"gtol": 1e-9}).x)
    return np.asarray(found / found.sum())


def drawn_votes(random: np.random.Generator, strengths: np.ndarray, number: int) -> list[Vote]:
    """Votes on ballots of two to four authors, as the model would have them."""
    found = []
    for _ in range(number):
        on = random.choice(len(strengths), random.integers(2, 5), replace=False)
        chosen = random.choice(on, p=strengths[on] / strengths[on].sum())
        found.append(cast(f"r{chosen}", *(f"r{one}" for one in on)))
    return found


def test_strengths_maximise_the_penalised_likelihood() -> None:
    random = np.random.default_rng(1)
    strengths = np.array([0.5, 0.2, 0.15, 0.1, 0.05])
    found = drawn_votes(random, strengths, 60)
    rows = rows_of(found)
    ids = [f"r{place}" for place in range(5)]
    ballots = np.array([[any(text.run_id == one for text in vote.texts) for one in ids] for vote in found])
    wins = np.array([rows[one]["chosen"] for one in ids], float)
    expected = direct(ballots, np.ones(len(found)), wins)
    assert [rows[one]["strength"] for one in ids] == pytest.approx(expected, rel=1e-4)


def test_many_votes_find_the_strengths_they_were_drawn_with() -> None:
    random, strengths = np.random.default_rng(2), np.array([0.5, 0.2, 0.15, 0.1, 0.05])
    rows = rows_of(drawn_votes(random, strengths, 6000))
    for place, strength in enumerate(strengths):
        row = rows[f"r{place}"]
        assert row["strength"] == pytest.approx(strength, rel=0.12)
        assert row["strength_low"] is not None and row["strength_high"] is not None
        assert row["strength_low"] < row["strength"] < row["strength_high"]
    assert sum(row["strength"] for row in rows.values()) == pytest.approx(1)


def test_those_who_never_met_are_compared_by_whom_both_met() -> None:
    """A beats the human 3 to 1, B loses 1 to 3: A is some nine times as strong, though the two never met."""
    found = [cast("a", "a", HUMAN)] * 75 + [cast(HUMAN, "a", HUMAN)] * 25
    found += [cast("b", "b", HUMAN)] * 25 + [cast(HUMAN, "b", HUMAN)] * 75
    rows = rows_of(found)
    assert rows["a"]["strength"] / rows["b"]["strength"] == pytest.approx(9, rel=0.1)
    assert rows["a"]["share"] == 0.75 and rows["a"]["chosen"] == 75 and rows["a"]["shown"] == 100


def test_an_author_never_or_always_chosen_keeps_off_the_ends() -> None:
    rows = rows_of([cast("a", "a", "b", HUMAN)] * 5)
    assert [rows[one]["strength"] for one in ("a", "b", HUMAN)] == pytest.approx([5.5 / 6.5, 0.5 / 6.5, 0.5 / 6.5])


def width(row: Row) -> float:
    assert row["strength_low"] is not None and row["strength_high"] is not None
    return row["strength_high"] - row["strength_low"]


def test_of_votes_that_are_all_alike_the_interval_is_still_one() -> None:
    """Ten visitors choose A: strengths are drawn from a Dirichlet distribution, whose margins are beta."""
    rows = rows_of([cast("a", "a", "b", HUMAN, visitor=f"v{place}") for place in range(10)])
    for run_id, chosen in (("a", 10), ("b", 0), (HUMAN, 0)):
        expected = stats.beta(chosen + PRIOR, 10 - chosen + 2 * PRIOR).interval(0.95)
        found = rows[run_id]["strength_low"], rows[run_id]["strength_high"]
        assert found == pytest.approx(expected, abs=0.03)


def test_a_visitor_who_votes_ten_times_alike_counts_as_one() -> None:
    """Of 20 visitors 12 always take A: the interval is that of 20 votes, not of 200."""
    once = [cast("a" if visitor < 12 else "b", "a", "b", visitor=f"v{visitor}") for visitor in range(20)]
    tenfold = [vote for vote in once for _ in range(10)]
    strangers = [vote._replace(visitor=f"w{place}") for place, vote in enumerate(tenfold)]
    few, clustered, many = (rows_of(one)["a"] for one in (once, tenfold, strangers))
    assert width(clustered) == pytest.approx(width(few), rel=0.15)
    assert width(many) < 0.4 * width(clustered)
    expected = 2 * 1.96 * np.sqrt(0.6 * 0.4 / 200)  # of a share of 200
    assert width(many) == pytest.approx(expected, rel=0.15)
    assert tally(tenfold, "best")["visitors"] == 20 and tally(tenfold, "best")["votes"] == 200


def test_the_interval_holds_the_truth_about_95_times_of_100(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 visitors with 1 to 5 votes each, whose tastes differ: A is chosen with a probability of 0.6 on average."""
    monkeypatch.setattr(votes, "RESAMPLES", 300)
    random, held, rounds = np.random.default_rng(3), 0, 300
    for _ in range(rounds):
        found = []
        for visitor, taste in enumerate(random.beta(3, 2, 40)):
            picks = random.random(random.integers(1, 6)) < taste
            found += [cast("a" if pick else "b", "a", "b", visitor=f"v{visitor}") for pick in picks]
        row = rows_of(found)["a"]
        assert row["strength_low"] is not None and row["strength_high"] is not None
        held += row["strength_low"] <= 0.6 <= row["strength_high"]
    assert 0.90 < held / rounds < 0.985


def test_with_few_visitors_no_interval_is_told_and_one_visitors_votes_are_drawn() -> None:
    nine = [cast("a", "a", "b", visitor=f"v{visitor}") for visitor in range(9)] * 5
    assert all(row["strength_low"] is None for row in rows_of(nine).values())
    alone = [cast("ab"[place % 2], "a", "b") for place in range(10)]
    assert all(row["strength_low"] is not None for row in rows_of(alone).values())
    assert all(row["strength_low"] is None for row in rows_of(alone[:9]).values())


def test_the_two_kinds_are_never_added_up() -> None:
    found = [cast("a", "a", HUMAN)] * 3 + [cast(HUMAN, "a", HUMAN, kind="human")] * 2
    best, human = (tally(found, kind) for kind in ("best", "human"))
    assert best["votes"] == 3 and human["votes"] == 2
    assert rows_of(found)["a"]["chosen"] == 3 and rows_of(found, "human")["a"]["chosen"] == 0
    assert rows_of(found, "human")[HUMAN]["share"] == 1.0
    nothing = tally([], "best")
    assert nothing == {"kind": "best", "votes": 0, "visitors": 0, "rows": []} and finding(nothing) == ""


def test_chance_is_one_over_the_texts_of_each_ballot() -> None:
    rows = rows_of([cast("a", "a", HUMAN), cast("a", "a", "b", "c", HUMAN)])
    assert rows["a"]["chance"] == pytest.approx((1 / 2 + 1 / 4) / 2) and rows["b"]["chance"] == 1 / 4
    assert rows["b"]["shown"] == 1 and rows[HUMAN]["shown"] == 2


def test_an_author_is_called_by_the_newest_label_and_the_id_where_two_share_it() -> None:
    texts = (Candidate("a", "old", "gru"), Candidate("b", "same", "rnn"), Candidate(HUMAN))
    newer = (Candidate("a", "same", "gru"), *texts[1:2], Candidate("c", "other", "lstm"), Candidate(HUMAN))
    rows = rows_of([Vote("", "best", newer, 0), Vote("", "best", texts, 1)])
    assert {row["name"] for row in rows.values()} == {"old", "same", "other", "the human"}
    rows = rows_of([Vote("", "best", texts, 1), Vote("", "best", newer, 0)])
    assert {rows[one]["name"] for one in "abc"} == {"same (a)", "same (b)", "other"} and rows["a"]["arch"] == "gru"


def test_a_sentence_says_whether_chance_does_that() -> None:
    sure = tally([cast(HUMAN, "a", HUMAN, kind="human")] * 18 + [cast("a", "a", HUMAN, kind="human")] * 2, "human")
    assert finding(sure) == (
        "The human's passage was recognised in 18 of 20 votes, 90 % (95 % interval 70 to 97 %), where choosing at "
        "random gives 50 %: more often than by chance."
    )
    unsure = tally([cast("a", "a", "b", HUMAN), cast("b", "a", "b", HUMAN), cast("a", "a", "b", HUMAN)], "best")
    assert "A was chosen as the best in 2 of 3 votes" in finding(unsure) and "chance does that, too" in finding(unsure)
    fooled = tally([cast("a", "a", HUMAN, kind="human")] * 20, "human")
    assert "in 0 of 20 votes" in finding(fooled) and "less often than by chance" in finding(fooled)


def test_a_spreadsheet_gets_every_row_and_no_formula() -> None:
    texts = (Candidate("x", "=1+1", "gru"), Candidate(HUMAN))
    found = {"together": {kind: tally([Vote("", kind, texts, 0)], kind) for kind in ("best", "human")}}
    rows = list(csv.DictReader(io.StringIO(votes_csv(found))))  # type: ignore[arg-type]
    assert [(row["votes_of"], row["kind"], row["run_id"]) for row in rows] == [
        ("together", "best", "x"), ("together", "best", ""), ("together", "human", "x"), ("together", "human", ""),
    ]  # fmt: skip
    assert rows[0]["name"] == "'=1+1" and float(rows[0]["share"]) == 1.0 and rows[0]["strength_low"] == ""
    with pytest.raises(MeasurementError, match="no votes yet"):
        votes_csv({"together": {"best": tally([], "best")}})


def test_a_full_file_of_votes_is_counted_within_seconds() -> None:
    """6,000 votes of 600 visitors on ballots of nine models and the human."""
    random, ids = np.random.default_rng(4), [*(f"r{place}" for place in range(9)), HUMAN]
    found = []
    for place in range(6000):
        on = [*random.choice(ids[:9], 4, replace=False).tolist(), HUMAN]
        found.append(cast(on[random.integers(5)], *on, visitor=f"v{place % 600}"))
    rows = rows_of(found)
    assert sum(row["chosen"] for row in rows.values()) == 6000 and set(rows) == set(ids)
    assert all(0.07 < row["strength"] < 0.13 and width(row) < 0.06 for row in rows.values())
