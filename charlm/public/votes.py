"""Blind votes as one visitor of a public Space takes part in them."""

from collections.abc import Iterator, Sequence

from charlm.analysis.measurement import Progress
from charlm.analysis.votes import Tallies
from charlm.config import SampleConfig
from charlm.errors import LimitError
from charlm.public.identity import Who, someone
from charlm.public.limits import ELSEWHERE, Limits
from charlm.runs.run import Run
from charlm.serving.ballots import Ballot
from charlm.serving.votes import Answer, Votes, counted


class VisitorVotes:
    """A visitor's own votes, and those of all on models that everybody knows.

    Args:
        votes: of all; its models write within the visitor's limits.
        who: asks at every call.
        limits: the table.
    """

    def __init__(self, votes: Votes, who: Who, limits: Limits) -> None:
        self._votes, self._who, self._limits = votes, who, limits

    def ballot(self, runs: Sequence[Run], config: SampleConfig, seed: int | None = None) -> Iterator[Progress[Ballot]]:
        """See `Votes.ballot`; it counts as a generation.

        Raises:
            LimitError: so many votes are kept of the visitor, or as for `VisitorServing.compare`.
        """
        visitor = someone(self._who)
        kept = sum(line["visitor"] == visitor.key for line in self._votes.log.lines())
        if kept >= self._limits.votes:
            raise LimitError(
                f"{kept:,} of the {self._limits.votes:,} blind votes that this public Space keeps of you are there; "
                f"reset yours, or {ELSEWHERE}"
            )
        yield from self._votes.ballot(runs, config, seed, visitor.key)

    def vote(self, ballot: str, place: int, kind: str) -> Answer:
        """See `Votes.vote`; another visitor's ballot is answered as one that never was."""
        return self._votes.vote(ballot, place, kind, someone(self._who).key)

    def tallies(self) -> Tallies:
        """The visitor's own votes, and together with them those of others; of these only on shipped models.

        Who has no secret of their own shares an address, and sees no votes of their own.
        """
        visitor = someone(self._who)
        lines, own = self._votes.log.lines(), visitor.key if visitor.known else None
        mine = [line for line in lines if line["visitor"] == own]
        shown = [line for line in lines if line["shipped"] or line["visitor"] == own]
        return {"own": counted(mine), "together": counted(shown)}

    def reset(self) -> int:
        """Remove the visitor's own votes; returns how many.

        Raises:
            CheckpointError: they cannot be removed.
            LimitError: nothing proves that they are theirs.
        """
        visitor = someone(self._who)
        if not visitor.known:
            raise LimitError(
                "this browser brings no secret of its own, so your votes cannot be told from those of others at your "
                "address; allow cookies"
            )
        return self._votes.log.remove(visitor.key)
