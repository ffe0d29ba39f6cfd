"""What each visitor of a public Space has used of late, and what is left; forgotten when the server ends."""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from charlm.errors import LimitError
from charlm.public.limits import ELSEWHERE, Limits, Visitor

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
MOST_KEYS = 100_000  # visitors and addresses that are remembered
TINY = 1e-6  # seconds


class Window:
    """Counts what happened within the last so many seconds, by key."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds, self._clock = seconds, clock
        self._times: dict[Hashable, deque[float]] = {}

    def count(self, key: Hashable) -> int:
        """How often it happened."""
        times = self._times.get(key)
        if times is None:
            return 0
        while times and times[0] <= self._clock() - self.seconds:
            times.popleft()
        if not times:
            del self._times[key]
        return len(times)

    def add(self, key: Hashable) -> None:
        """It happens now."""
        while len(self._times) >= MOST_KEYS:
            del self._times[next(iter(self._times))]
        self._times.setdefault(key, deque()).append(self._clock())

    def wait(self, key: Hashable, many: int = 1) -> float:
        """Seconds until so many of them, or all, are forgotten."""
        count = self.count(key)
        return max(0.0, self._times[key][min(many, count) - 1] + self.seconds - self._clock()) if count else 0.0


@dataclass
class Reservation:
    """Seconds that a visitor's training or scoring may take, or has taken.

    Attributes:
        name: of the run, or of what else takes them.
        seconds: set aside; once settled, those it took.
        base: what the run had taken before.
        given: when, by the quotas' clock.
    """

    name: str
    seconds: float
    base: float
    given: float
    settled: bool = False


class Quotas:
    """Keeps count for all visitors; every method may be called from any thread.

    Args:
        limits: the table.
        clock: seconds that only grow.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._texts, self._looks = Window(MINUTE, clock), Window(MINUTE, clock)
        self._uploads = Window(HOUR, clock)
        self._downloads, self._starts = Window(HOUR, clock), Window(HOUR, clock)
        self._reservations: dict[str, list[Reservation]] = {}

    def take_text(self, visitor: Visitor, many: int = 1) -> None:
        """Count generations.

        Raises:
            LimitError: the visitor, or all of that address together, had theirs; says how long to wait.
        """
        self._take(self._texts, visitor, self.limits.texts_a_minute, "generations a minute", many)

    def take_look(self, visitor: Visitor) -> None:
        """Count a text whose next tokens are shown.

        Raises:
            LimitError: as for `take_text`.
        """
        self._take(self._looks, visitor, self.limits.looks_a_minute, "looks at next tokens a minute")

    def take_upload(self, visitor: Visitor) -> None:
        """Count an uploaded file.

        Raises:
            LimitError: as for `take_text`.
        """
        self._take(self._uploads, visitor, self.limits.uploads_an_hour, "uploads an hour")

    def take_download(self, visitor: Visitor) -> None:
        """Count a file that is made for download; each takes room on the disk.

        Raises:
            LimitError: as for `take_text`.
        """
        self._take(self._downloads, visitor, self.limits.downloads_an_hour, "downloads an hour")

    def take_start(self, visitor: Visitor) -> None:
        """Count a training that begins; each is a new folder, or reads and scores a whole text again.

        Raises:
            LimitError: as for `take_text`.
        """
        self._take(self._starts, visitor, self.limits.starts_an_hour, "starts of a training an hour")

    def texts_left(self, visitor: Visitor) -> int:
        """Generations that the visitor may still have within this minute."""
        with self._lock:
            return max(0, self.limits.texts_a_minute - self._texts.count(visitor.key))

    def _take(self, window: Window, visitor: Visitor, most: int, what: str, many: int = 1) -> None:
        shares = [(visitor.key, most, "your")]
        if visitor.address:
            shares.append((f"address {visitor.address}", most * self.limits.per_address, "your internet address's"))
        with self._lock:
            for key, share, whose in shares:
                over = window.count(key) + many - share
                if over > 0:
                    wait = max(1, round(window.wait(key, over)))
                    said = "that were" if many == 1 else f"{many} at once are more than is left of"
                    raise LimitError(f"{said} {whose} {share} {what}; wait {wait} s, or {ELSEWHERE}")
            for key, _, _ in shares * many:
                window.add(key)

    def seconds_left(self, visitor: Visitor) -> float:
        """Seconds of training and scoring that the visitor may still have today."""
        with self._lock:
            return min(self._left(key, share) for key, share in self._purses(visitor))

    def check_seconds(self, visitor: Visitor, seconds: float) -> None:
        """Refuse what takes longer than is left today.

        Raises:
            LimitError: says what is left and what is needed.
        """
        with self._lock:
            self._check(visitor, seconds)

    def _check(self, visitor: Visitor, seconds: float) -> None:
        left = min(self._left(key, share) for key, share in self._purses(visitor))
        if seconds > left + TINY:
            raise LimitError(
                f"{left:.0f} s of today's {self.limits.day_minutes:g} minutes of training are left to you and "
                f"{seconds:.0f} s are needed; come back tomorrow, or {ELSEWHERE}"
            )

    def reserve(self, visitor: Visitor, name: str, seconds: float, base: float = 0.0) -> Reservation:
        """Set so many seconds aside for what is called `name`; `settle` says later what it took.

        Args:
            visitor: who pays.
            name: of the run, or of what else takes them.
            seconds: at most.
            base: what the run has taken before.

        Returns:
            What is set aside; a run that gets its id only later is named there.

        Raises:
            LimitError: so much is not left today.
        """
        with self._lock:
            self._check(visitor, seconds)
            reservation = Reservation(name, seconds, base, self._clock())
            for key, _ in self._purses(visitor):
                self._reservations.setdefault(key, []).append(reservation)
        return reservation

    def settle(self, visitor: Visitor, name: str, seconds: float) -> None:
        """What is called `name` rests, after so many seconds in all: those count, fewer or more than reserved."""
        with self._lock:
            for reservation in self._reservations.get(visitor.key, ()):
                if reservation.name == name and not reservation.settled:
                    reservation.seconds, reservation.settled = max(0.0, seconds - reservation.base), True

    def unsettled(self, visitor: Visitor) -> list[str]:
        """Names of what may still be at work."""
        with self._lock:
            return [
                reservation.name for reservation in self._reservations.get(visitor.key, ()) if not reservation.settled
            ]

    def set_aside(self, visitor: Visitor) -> float:
        """Seconds that are kept for what may still be at work."""
        with self._lock:
            return sum(
                reservation.seconds
                for reservation in self._reservations.get(visitor.key, ())
                if not reservation.settled
            )

    def spent(self, visitor: Visitor, name: str) -> float:
        """Seconds that were set aside for `name` today, or that it took."""
        with self._lock:
            return sum(
                reservation.seconds
                for reservation in self._reservations.get(visitor.key, ())
                if reservation.name == name
            )

    def _purses(self, visitor: Visitor) -> list[tuple[str, float]]:
        """Where a visitor's seconds are counted, and how many there are in a day."""
        day = self.limits.day_minutes * MINUTE
        buckets = [(visitor.key, day)]
        if visitor.address:
            buckets.append((f"address {visitor.address}", day * self.limits.per_address))
        return buckets

    def _left(self, key: str, share: float) -> float:
        """Seconds that are left in a bucket; what is older than a day is forgotten."""
        reservations = [
            reservation for reservation in self._reservations.pop(key, ()) if reservation.given > self._clock() - DAY
        ]
        if reservations:
            self._reservations[key] = reservations
        while len(self._reservations) > MOST_KEYS:
            del self._reservations[next(iter(self._reservations))]
        return max(0.0, share - sum(reservation.seconds for reservation in reservations))
