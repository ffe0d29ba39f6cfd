"""Blind votes: how often each text was chosen, with Wilson's intervals, and how strong its author is.

A vote is a choice of one text among the m of a ballot, which were shown without names. Chance alone chooses each with
probability 1/m. By the choice axiom of Luce (1959), which Plackett (1975) extends to rankings, text i of a ballot is
chosen with probability p_i over the sum of p of all texts of the ballot; where a ballot has two texts this is the
model of Bradley and Terry (1952). The strengths p sum to 1: each is the probability of being chosen if all of them
stood on one ballot, so that authors can be compared who did not always meet the same others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np

from charlm.analysis.difference import wilson
from charlm.analysis.measurement import capital
from charlm.errors import MeasurementError
from charlm.files import csv_text

Kind = Literal["best", "human"]
QUESTIONS: dict[Kind, str] = {"best": "Which is best?", "human": "Which did a human write?"}
HUMAN = ""  # in place of a run id: the text is a passage that a human wrote
HUMAN_NAME = "the human"

PRIOR = 0.5  # votes that every text is given beforehand, on ballots with all of them
RESAMPLES, SEED = 1000, 7
FEWEST = 10  # visitors, or votes of one visitor, from which on an interval is told
MOST_STEPS, TOLERANCE = 10_000, 1e-8


class Candidate(NamedTuple):
    """Who wrote a text of a ballot.

    Attributes:
        run_id: of the model; HUMAN: a human did.
        label: the run's at that time; empty for a human.
        arch: a key of ARCHITECTURES; empty for a human.
    """

    run_id: str
    label: str = ""
    arch: str = ""


class Vote(NamedTuple):
    """One choice.

    Attributes:
        visitor: whose it is; empty where everything belongs to one user.
        kind: what was asked for: the best text, or the human's.
        texts: who wrote the texts of the ballot, each once.
        chosen: which of them, from 0 on.
    """

    visitor: str
    kind: Kind
    texts: tuple[Candidate, ...]
    chosen: int


class Row(TypedDict):
    """What the votes say of one author.

    Attributes:
        run_id: empty: the human.
        name: the newest label; with the id where two runs have the same.
        arch: empty: the human.
        chosen: votes.
        shown: ballots that a text of this author stood on.
        share: chosen of shown.
        low, high: Wilson's 95 % interval of the share.
        chance: the share that choosing at random would have on these ballots.
        strength: see the module; 0 to 1.
        strength_low, strength_high: its 95 % interval; None: of too few votes.
    """

    run_id: str
    name: str
    arch: str
    chosen: int
    shown: int
    share: float
    low: float
    high: float
    chance: float
    strength: float
    strength_low: float | None
    strength_high: float | None


class Tally(TypedDict):
    """All votes of one kind.

    Attributes:
        kind: see `Vote`.
        votes: how many there are.
        visitors: whose they are.
        rows: one for each author, the strongest first.
    """

    kind: Kind
    votes: int
    visitors: int
    rows: list[Row]


Whose = Literal["own", "together"]  # votes: the visitor's of a public Space; all that may be shown
Tallies = Mapping[Whose, Mapping[Kind, Tally]]


def tally(votes: Sequence[Vote], kind: Kind) -> Tally:
    """Count the votes of one kind.

    Args:
        votes: of all kinds, the oldest first.
        kind: those that are counted; the two kinds answer different questions and are never added up.
    """
    cast = [vote for vote in votes if vote.kind == kind]
    authors = {one.run_id: one for vote in cast for one in vote.texts}  # as they were called last
    places = {run_id: place for place, run_id in enumerate(authors)}
    ballots = np.zeros((len(cast), len(authors)), bool)
    for row, vote in zip(ballots, cast, strict=True):
        row[[places[one.run_id] for one in vote.texts]] = True
    winners = [places[vote.texts[vote.chosen].run_id] for vote in cast]
    strengths = _strengths_with_intervals(ballots, winners, [vote.visitor for vote in cast])
    rows = []
    for run_id, name in _names(authors).items():
        place = places[run_id]
        sizes = ballots[ballots[:, place]].sum(axis=1)  # of the ballots that it stood on
        chosen, (strength, low_strength, high_strength) = winners.count(place), strengths[place]
        share, low, high = wilson(chosen, len(sizes))
        rows.append(
            Row(
                run_id=run_id, name=name, arch=authors[run_id].arch, chosen=chosen, shown=len(sizes), share=share,
                low=low, high=high, chance=float(np.mean(1 / sizes)), strength=strength, strength_low=low_strength,
                strength_high=high_strength,
            )
        )  # fmt: skip
    rows.sort(key=lambda row: (-row["strength"], row["name"]))
    return Tally(kind=kind, votes=len(cast), visitors=len({vote.visitor for vote in cast}), rows=rows)


def _names(authors: Mapping[str, Candidate]) -> dict[str, str]:
    """What to call each, by run id."""
    times = Counter(one.label for one in authors.values())
    return {
        run_id: HUMAN_NAME if run_id == HUMAN else one.label if times[one.label] == 1 else f"{one.label} ({run_id})"
        for run_id, one in authors.items()
    }


def fit(ballots: np.ndarray, counts: np.ndarray, wins: np.ndarray, prior: np.ndarray | float = PRIOR) -> np.ndarray:
    """The most probable strengths of authors, given first choices.

    By the MM algorithm of Hunter (2004, "MM algorithms for generalized Bradley-Terry models", section 5): each step
    sets p_i to the choices of i over the sum of n / (sum of p on the ballot) of the ballots with i. The weak prior,
    which keeps an author who was never or always chosen off 0 and 1, is PRIOR choices of each on ballots with all of
    them: a Dirichlet distribution of the strengths with the parameters 1 + PRIOR. Where all authors stood on all n
    ballots the result is (choices + PRIOR) / (n + PRIOR * authors).

    Args:
        ballots: which authors stand on each kind of ballot, (B, K), bool.
        counts: votes on each kind of ballot, (..., B).
        wins: votes for each author, (..., K).
        prior: choices of each author beforehand, (..., K) or one number.

    Returns:
        Strengths that sum to 1, (..., K).
    """
    on, prior = ballots.astype(np.float64), np.broadcast_to(prior, wins.shape)
    strengths = np.full(wins.shape, 1.0 / ballots.shape[1])
    for _ in range(MOST_STEPS):
        expected = (counts / (strengths @ on.T)) @ on + prior.sum(axis=-1, keepdims=True)
        better = (wins + prior) / expected
        better /= better.sum(axis=-1, keepdims=True)
        change = np.abs(better - strengths).max()
        strengths = better
        if change < TOLERANCE:
            break
    return strengths


def _strengths_with_intervals(
    ballots: np.ndarray, winners: Sequence[int], visitors: Sequence[str]
) -> list[tuple[float, float | None, float | None]]:
    """Strengths with percentile intervals of a Bayesian bootstrap over visitors (Rubin 1981, "The Bayesian bootstrap").

    Votes of one visitor are alike, so each visitor gets a random weight, with all their votes, from an exponential
    distribution; the choices of the prior get theirs from gamma distributions with the same mean. So an author who was
    never chosen has an interval, too: where each visitor votes once and all meet, strengths are then drawn from a
    Dirichlet distribution with the parameters (choices + PRIOR). Where all votes are of one visitor the votes are
    weighted, and the interval is about this visitor only.

    Args:
        ballots: who stood on the ballot of each vote, (N, K), bool.
        winners: who was chosen, N.
        visitors: whose the votes are, N.
    """
    votes, authors = ballots.shape
    if not votes:
        return []
    kinds, kind_of = np.unique(ballots, axis=0, return_inverse=True)
    order = {visitor: place for place, visitor in enumerate(dict.fromkeys(visitors))}
    groups = np.array([order[visitor] for visitor in visitors]) if len(order) > 1 else np.arange(votes)
    size = int(groups.max()) + 1
    counts, wins = np.zeros((size, len(kinds))), np.zeros((size, authors))
    np.add.at(counts, (groups, kind_of.reshape(-1)), 1.0)
    np.add.at(wins, (groups, np.array(winners)), 1.0)
    strengths = fit(kinds, counts.sum(axis=0), wins.sum(axis=0)).tolist()
    if size < FEWEST:
        return [(one, None, None) for one in strengths]
    random = np.random.default_rng(SEED)
    weights, prior = random.exponential(size=(RESAMPLES, size)), random.gamma(PRIOR, size=(RESAMPLES, authors))
    low, high = np.quantile(fit(kinds, weights @ counts, weights @ wins, prior), [0.025, 0.975], axis=0)
    return list(zip(strengths, low.tolist(), high.tolist(), strict=True))


def finding(found: Tally) -> str:
    """Who was chosen how often, and whether chance does that, in a sentence; empty without votes."""
    if not found["votes"]:
        return ""
    is_human = found["kind"] == "human"
    row = next(row for row in found["rows"] if not is_human or row["run_id"] == HUMAN)
    done = "The human's passage was recognised in" if is_human else f"{capital(row['name'])} was chosen as the best in"
    if row["low"] > row["chance"]:
        judged = "more often than by chance"
    else:
        judged = "less often than by chance" if row["high"] < row["chance"] else "chance does that, too"
    share = f"{_percent(row['share'])} (95 % interval {100 * row['low']:.0f} to {_percent(row['high'])})"
    votes = f"{row['chosen']} of {row['shown']} votes"
    return f"{done} {votes}, {share}, where choosing at random gives {_percent(row['chance'])}: {judged}."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def votes_csv(tallies: Tallies) -> str:
    """All rows of several tallies as CSV.

    Raises:
        MeasurementError: there are no votes.
    """
    rows = table(tallies)
    if not rows:
        raise MeasurementError("there are no votes yet; choose a text of a blind vote first")
    return csv_text([list(rows[0]), *(list(row.values()) for row in rows)])


def table(tallies: Tallies) -> list[dict[str, Any]]:
    """All rows of several tallies, each with `votes_of` and `kind` before it."""
    return [
        {"votes_of": whose, "kind": kind, **row}
        for whose, kinds in tallies.items()
        for kind, found in kinds.items()
        for row in found["rows"]
    ]
