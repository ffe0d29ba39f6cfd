"""An experiment that may stop early: it trains up to a look, and further only if the best is not told apart there."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from charlm.analysis.comparison import is_settled
from charlm.errors import CheckpointError
from charlm.runs.run import Run


def by_looks(runs: Sequence[Run], waiting: Sequence[Run]) -> Iterator[list[Run]]:
    """What to train next, look by look.

    Args:
        runs: all of the experiment; each has its looks.
        waiting: those of them that are not trained yet. One that has begun is trained on with the first.

    Yields:
        Runs to be trained to their end before the next are asked for. It ends when the best is told apart from all
        others, or all are trained.
    """
    seeds, waiting = sorted({run.train_config.seed for run in runs}), list(waiting)
    for look in runs[0].looks:
        part = [run for run in waiting if run.step or run.train_config.seed in seeds[:look]]
        waiting = [run for run in waiting if run not in part]
        if part:
            yield part
        if not waiting or is_settled(list(_as_they_are(run for run in runs if run not in waiting))):
            return


def _as_they_are(runs: Iterable[Run]) -> Iterator[Run]:
    """The runs as they are on disk now, without those that were deleted meanwhile."""
    for run in runs:
        with suppress(CheckpointError):
            yield Run(run.folder)
