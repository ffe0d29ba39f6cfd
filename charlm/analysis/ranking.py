"""Who is ahead: runs ranked at equal steps, and at equal seconds of their own computing."""

from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def best_until(rows: Rows, by: str, limit: float) -> float | None:
    """The lowest validation loss among rows whose `by` ("step" or "seconds") is at most `limit`; None without one."""
    losses = [row["val_loss"] for row in rows if row.get("val_loss") is not None and row[by] <= limit]
    return min(losses, default=None)


def common_limit(runs: Mapping[str, Rows], by: str) -> float:
    """How far all runs have come: the largest `by` that every one of them has reached; 0 if one has no row."""
    return min((rows[-1][by] if rows else 0.0 for rows in runs.values()), default=0.0)


def standing(runs: Mapping[str, Rows], by: str, limit: float | None = None) -> list[tuple[str, float]]:
    """Keys with their best validation loss up to a limit of `by`, best first; runs without one are left out.

    Args:
        runs: rows by key.
        by: "step" or "seconds".
        limit: None: how far all of them have come.
    """
    limit = common_limit(runs, by) if limit is None else limit
    scored = [(key, best_until(rows, by, limit)) for key, rows in runs.items()]
    return sorted(((key, loss) for key, loss in scored if loss is not None), key=lambda entry: entry[1])
