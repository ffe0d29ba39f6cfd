"""How numbers are written: nats with 3 decimals, bits with 2, thousands with commas, `1 m 38 s`."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps

from charlm.analysis.measurement import listed as listed  # sentences of the page and of the measurements alike
from charlm.files import csv_text as csv_text
from charlm.files import plain_cell as plain_cell

MISSING = "—"


def measured(write: Callable[[float], str]) -> Callable[[float | None], str]:
    """A way to write numbers that writes a dash for what was not measured, or is no number."""

    @wraps(write)
    def written(value: float | None) -> str:
        return write(value) if value is not None and math.isfinite(value) else MISSING

    return written


@measured
def whole(value: float) -> str:
    """`284238` as `284,238`."""
    return f"{round(value):,}"


@measured
def nats(value: float) -> str:
    """A loss in nats per token, three decimals."""
    return f"{value:.3f}"


@measured
def bits(value: float) -> str:
    """Bits per character, two decimals."""
    return f"{value:.2f}"


@measured
def perplexity(loss: float) -> str:
    """The perplexity exp(loss) of a loss in nats, written with about three digits."""
    value = math.exp(min(loss, 700.0))
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}" if value < 1e7 else f"{value:.1e}"


@measured
def percent(share: float) -> str:
    """A share from 0 to 1 as `2.1 %`."""
    return f"{100 * share:.1f} %"


@measured
def duration(seconds: float) -> str:
    """`98` as `1 m 38 s`, `7384` as `2 h 03 m`."""
    minutes, rest = divmod(round(seconds), 60)
    if seconds < 0:
        return MISSING
    return f"{minutes // 60} h {minutes % 60:02d} m" if minutes >= 60 else f"{minutes} m {rest:02d} s"


@measured
def size(num_bytes: float) -> str:
    """`15938355` as `15.9 MB`; decimal units."""
    if num_bytes < 999.5:
        return f"{num_bytes:.0f} B"
    for unit in ("kB", "MB"):
        num_bytes /= 1000
        if num_bytes < 999.5:
            return f"{num_bytes:.1f} {unit}"
    return f"{num_bytes / 1000:.1f} GB"


def count(number: int, noun: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def ordinal(place: int) -> str:
    """`1st`, `2nd`, `11th`."""
    ending = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place:,}{ending}"


def day(created: str, now: datetime | None = None) -> str:
    """An ISO time in UTC as `now`, `today 14:10`, `yesterday` or `3 May 2026`, in the server's time zone."""
    try:
        then = datetime.fromisoformat(created)
    except (TypeError, ValueError):
        return MISSING
    then = (then if then.tzinfo else then.replace(tzinfo=UTC)).astimezone()
    now = (now or datetime.now(UTC)).astimezone()
    days = (now.date() - then.date()).days
    if days == 0:
        return f"today {then:%H:%M}"
    return "yesterday" if days == 1 else f"{then.day} {then:%b %Y}"
