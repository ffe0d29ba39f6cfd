"""Blind votes of visitors: their own, those of all on shipped models, and nobody else's ballots, names or votes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.config import SampleConfig
from charlm.errors import ConfigError, LimitError
from charlm.public import VisitorServing
from charlm.public.limits import Limits, Visitor
from charlm.public.quotas import Quotas
from charlm.public.votes import VisitorVotes
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import GeneratedText, Serving
from charlm.serving.votes import Votes
from tests.tiny_runs import TEXT, entered, trained

ANNA, BORIS, UNKNOWN = Visitor("anna"), Visitor("boris"), Visitor("address", known=False)
BOOK = "".join(f"{line} Then number {place} came along.\n" for place, line in enumerate(TEXT.splitlines() * 20))
CONFIG = SampleConfig(length=60)


class Space:
    """Visitors' votes where every model writes the same; `visitor` is whoever asks."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.visitor: Visitor | None = ANNA
        self.store = RunStore(folder / "runs", folder / "shipped")
        self.kept = Votes(self.store, self.write)
        self.votes = VisitorVotes(self.kept, lambda: self.visitor, limits)
        makers = {"shipped": RunStore(folder / "shipped"), "own": self.store}
        made = {name: entered(store, "gru", text=BOOK, label=name)[0].folder for name, store in makers.items()}
        self.shipped, self.own = Run(made["shipped"], shipped=True), Run(made["own"])

    @staticmethod
    def write(runs: Any, prompt: str, config: SampleConfig) -> Iterator[dict[str, GeneratedText]]:
        yield {run.run_id: GeneratedText(prompt, "x" * config.length, done=True) for run in runs}

    def ballot(self, *runs: Run) -> str:
        made = list(self.votes.ballot(runs, CONFIG))[-1].result
        assert made
        return made.ballot

    def vote(self, visitor: Visitor, *runs: Run, kind: str = "best") -> None:
        self.visitor = visitor
        self.votes.vote(self.ballot(*runs), 0, kind)

    def counted(self, visitor: Visitor) -> tuple[int, int]:
        """Votes for the best text: the visitor's own, and all that are shown to them."""
        self.visitor = visitor
        tallies = self.votes.tallies()
        return tallies["own"]["best"]["votes"], tallies["together"]["best"]["votes"]


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return Space(tmp_path, Limits(votes=3))


def test_own_votes_and_those_of_all_on_shipped_models_are_shown(space: Space) -> None:
    space.vote(ANNA, space.shipped)
    space.vote(ANNA, space.shipped, space.own)
    space.vote(BORIS, space.shipped)
    space.vote(BORIS, space.shipped, kind="human")
    assert space.counted(ANNA) == (2, 3) and space.counted(BORIS) == (1, 2)
    names = {row["name"] for kinds in space.votes.tallies().values() for one in kinds.values() for row in one["rows"]}
    assert names == {"shipped", "the human"}  # Anna's own model is nobody else's business
    space.visitor = ANNA
    assert {row["name"] for row in space.votes.tallies()["together"]["best"]["rows"]} == {"shipped", "own", "the human"}
    assert space.counted(UNKNOWN) == (0, 2)


def test_reset_deletes_ones_own_only(space: Space) -> None:
    space.vote(ANNA, space.shipped)
    space.vote(BORIS, space.shipped)
    space.visitor = ANNA
    assert space.votes.reset() == 1 and space.counted(ANNA) == (0, 1) and space.counted(BORIS) == (1, 1)
    space.vote(UNKNOWN, space.shipped)
    with pytest.raises(LimitError, match="your votes cannot be told from those of others at your address"):
        space.votes.reset()
    assert space.counted(BORIS) == (1, 2)


def test_nobody_votes_on_anothers_ballot(space: Space) -> None:
    ballot = space.ballot(space.shipped)
    space.visitor = BORIS
    with pytest.raises(ConfigError, match="waits for a vote"):
        space.votes.vote(ballot, 0, "best")
    space.visitor = ANNA
    assert space.votes.vote(ballot, 0, "best")["chosen"] == 0
    space.visitor = None
    with pytest.raises(LimitError, match="it is not known who asks"):
        space.votes.tallies()


def test_so_many_votes_are_kept_of_a_visitor(space: Space) -> None:
    for _ in range(3):
        space.vote(ANNA, space.shipped)
    with pytest.raises(LimitError, match="3 of the 3 blind votes that this public Space keeps of you are there"):
        space.ballot(space.shipped)
    space.vote(BORIS, space.shipped)
    space.visitor = ANNA
    assert space.votes.reset() == 3 and space.ballot(space.shipped)


def test_a_file_holds_a_digest_of_who_voted(space: Space) -> None:
    space.vote(ANNA, space.own)
    [line] = space.kept.log.lines()
    assert line["visitor"] == ANNA.key and not line["shipped"]


def test_a_ballot_counts_as_a_generation(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs", tmp_path / "shipped")
    runs = trained(store, "ngram", text=BOOK)
    serving = VisitorServing(Serving(store), lambda: ANNA, Quotas(Limits(texts_a_minute=2, length=100)))
    for _ in range(2):
        assert list(serving.votes.ballot(runs, CONFIG))[-1].result
    with pytest.raises(LimitError, match="2 generations a minute"):
        list(serving.votes.ballot(runs, CONFIG))
    with pytest.raises(LimitError, match="length is 200, more than the 100"):
        list(serving.votes.ballot(runs, SampleConfig(length=200)))
