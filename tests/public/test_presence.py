"""How much of the server one visitor holds at a moment, and an address."""

from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from charlm.errors import LimitError
from charlm.public.limits import Limits, Visitor
from charlm.public.middleware import SCOPE_KEY, ConcurrencyLimits

LIMITS = Limits(waiting_requests=3, per_address=2)
ANN, BOB = Visitor("ann", "198.51.100.7"), Visitor("bob", "198.51.100.7")


def queue_of(*waiting: Visitor | None, at_work: tuple[Visitor, ...] = ()) -> Any:
    """Gradio's queue with events of these visitors; None: one that came another way."""

    def event(visitor: Visitor | None) -> Any:
        return SimpleNamespace(request=SimpleNamespace(scope={SCOPE_KEY: visitor} if visitor else {}))

    lane = SimpleNamespace(queue=[event(visitor) for visitor in waiting])
    jobs = [None, *([event(visitor)] for visitor in at_work)]
    return SimpleNamespace(event_queue_per_concurrency_id={"a": lane}, active_jobs=jobs)


def test_so_many_requests_and_no_more() -> None:
    presence = ConcurrencyLimits(LIMITS)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(presence.request(ANN))
        with pytest.raises(LimitError, match="3 requests of yours"), presence.request(ANN):
            raise AssertionError("let in")
        for _ in range(3):
            stack.enter_context(presence.request(BOB))
        with pytest.raises(LimitError), presence.request(Visitor("carl", "198.51.100.7")):
            raise AssertionError("an address has two shares")
        with presence.request(Visitor("carl", "198.51.100.8")):
            pass
    with presence.request(ANN):
        assert dict(presence._open) == {"ann": 1, "address 198.51.100.7": 1}
    assert not presence._open  # nobody is remembered


def test_a_request_that_fails_is_over() -> None:
    presence = ConcurrencyLimits(LIMITS)
    for _ in range(5):
        with pytest.raises(ValueError), presence.request(ANN):
            raise ValueError
    assert not presence._open


def test_events_that_wait_or_work_count() -> None:
    presence = ConcurrencyLimits(LIMITS)
    presence.check_queue(queue_of(ANN, BOB, None, at_work=(ANN,)), ANN)
    with pytest.raises(LimitError, match="events"):
        presence.check_queue(queue_of(ANN, BOB, at_work=(ANN, ANN)), ANN)
    presence.check_queue(queue_of(ANN, BOB, at_work=(ANN, ANN)), BOB)
    with pytest.raises(LimitError):
        presence.check_queue(queue_of(ANN, ANN, ANN, BOB, BOB, BOB), Visitor("carl", "198.51.100.7"))
