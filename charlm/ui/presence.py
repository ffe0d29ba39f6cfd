"""How much of a public server each visitor holds at this moment: requests without an answer, events in the queue."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from charlm.errors import LimitError
from charlm.limits import ELSEWHERE, Limits, Visitor

MARK = "charlm.visitor"  # where the visitor stands in a request's scope, which gradio's queue keeps


class Presence:
    """Counts by visitor and by internet address; works in the server's one loop only.

    Args:
        limits: the table.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()

    @contextmanager
    def request(self, visitor: Visitor) -> Iterator[None]:
        """A request of this visitor, from its first byte to the last one of its answer.

        Raises:
            LimitError: too many others have no answer yet.
        """
        shares = self._shares(visitor)
        if any(self._open[key] >= most for key, most in shares):
            raise self._refusal("requests")
        self._open.update(key for key, _ in shares)
        try:
            yield
        finally:
            self._open.subtract(key for key, _ in shares)
            self._open += Counter()  # forgets those at zero

    def check_queue(self, queue: Any, visitor: Visitor) -> None:
        """Whether this visitor may put one more event into gradio's queue.

        Raises:
            LimitError: too many are there.
        """
        held: Counter[str] = Counter()
        for event in _events(queue):
            held.update(key for key, _ in self._shares(event.request.scope.get(MARK) or Visitor("")))
        if any(held[key] >= most for key, most in self._shares(visitor)):
            raise self._refusal("events")

    def _shares(self, visitor: Visitor) -> list[tuple[str, int]]:
        """Under which names it is counted, and how many there may be of each."""
        most = self._limits.waiting_requests
        by_address = [(f"address {visitor.address}", most * self._limits.per_address)] if visitor.address else []
        return [(visitor.key, most), *by_address]

    def _refusal(self, what: str) -> LimitError:
        most = self._limits.waiting_requests
        return LimitError(f"{most} {what} of yours wait for an answer; wait until there are fewer, or {ELSEWHERE}")


def _events(queue: Any) -> Iterator[Any]:
    """What waits in gradio's queue, and what is at work."""
    for waiting in queue.event_queue_per_concurrency_id.values():
        yield from waiting.queue
    for at_work in queue.active_jobs:
        yield from at_work or ()
