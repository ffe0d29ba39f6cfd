"""What each visitor used of late: windows that open again, seconds set aside and settled, an address's share."""

import threading
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import LimitError
from charlm.public.limits import Limits, Visitor
from charlm.public.quotas import DAY, HOUR, MINUTE, Action, Quotas, Window

ANN, BOB = Visitor("ann"), Visitor("bob")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock: Clock) -> Quotas:
    return Quotas(Limits(), clock)


def times(take: Callable[[Visitor], None], visitor: Visitor, most: int = 10_000) -> int:
    """How often one may."""
    for count in range(most):
        try:
            take(visitor)
        except LimitError:
            return count
    return most


def unsettled(quotas: Quotas) -> list[str]:
    return [one.name for one in quotas.reservations(ANN) if not one.settled]


def test_many_at_once_wait_until_so_many_are_forgotten(quotas: Quotas, clock: Clock) -> None:
    for _ in range(4):
        clock.now += 10
        quotas.take("text", ANN, 2)
    with pytest.raises(LimitError, match="4 at once are more than is left of your 10 generations a minute; wait 30 s"):
        quotas.take("text", ANN, 4)
    quotas.take("text", ANN, 2)
    with pytest.raises(LimitError, match="that were your 10 generations a minute; wait 30 s"):
        quotas.take("text", ANN)


@pytest.mark.parametrize(
    ("what", "most", "seconds"),
    [("text", "texts_a_minute", MINUTE), ("upload", "uploads_an_hour", HOUR), ("download", "downloads_an_hour", HOUR),
     ("start", "starts_an_hour", HOUR), ("look", "looks_a_minute", MINUTE)],
)  # fmt: skip
def test_a_window_closes_and_opens_again(what: Action, most: str, seconds: float, quotas: Quotas, clock: Clock) -> None:
    take, number = partial(quotas.take, what), getattr(quotas.limits, most)
    assert times(take, ANN) == number
    assert times(take, BOB, 1) == 1  # another visitor
    clock.now = seconds - 1
    with pytest.raises(LimitError, match="wait 1 s"):
        take(ANN)
    clock.now = seconds
    assert times(take, ANN) == number


def test_an_address_has_eight_visitors_shares(quotas: Quotas) -> None:
    most, shares = quotas.limits.texts_a_minute, quotas.limits.per_address
    crowd = [Visitor(f"visitor {place}", "198.51.100.7") for place in range(20)]
    assert sum(times(partial(quotas.take, "text"), visitor) for visitor in crowd) == most * shares
    with pytest.raises(LimitError, match="internet address"):
        quotas.take("text", crowd[-1])
    assert times(partial(quotas.take, "text"), Visitor("elsewhere", "198.51.100.8")) == most


def test_this_machine_itself_has_no_address_to_share(quotas: Quotas) -> None:
    assert all(times(partial(quotas.take, "text"), Visitor(f"{place}"), 1) for place in range(200))


def test_many_threads_take_no_more_than_there_is(quotas: Quotas) -> None:
    taken: list[int] = []
    threads = [
        threading.Thread(target=lambda: taken.append(times(partial(quotas.take, "text"), ANN))) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == quotas.limits.texts_a_minute


def test_seconds_are_set_aside_and_settled(quotas: Quotas, clock: Clock) -> None:
    quotas.reserve(ANN, "run", 300.0)
    assert quotas.seconds_left(ANN) == 600 and unsettled(quotas) == ["run"]
    quotas.settle(ANN, "run", 20.0)
    assert quotas.seconds_left(ANN) == 880 and unsettled(quotas) == []
    quotas.reserve(ANN, "run", 100.0, base=20.0)
    quotas.settle(ANN, "run", 50.0)
    assert sum(one.seconds for one in quotas.reservations(ANN)) == 50 and quotas.seconds_left(ANN) == 850
    clock.now = DAY + 1
    assert quotas.seconds_left(ANN) == 900


def test_what_took_longer_than_granted_counts_in_full(quotas: Quotas) -> None:
    """A thousand trainings of a millionth second each are no gift."""
    for place in range(10):
        quotas.reserve(ANN, f"run {place}", 1e-6)
        quotas.settle(ANN, f"run {place}", 2.0)
    assert quotas.seconds_left(ANN) == 880


def test_a_grant_may_get_its_name_later(quotas: Quotas) -> None:
    quotas.reserve(ANN, "", 300.0).name = "run"
    quotas.settle(ANN, "", 0.0)
    assert unsettled(quotas) == ["run"] and quotas.seconds_left(ANN) == 600


def test_more_than_is_left_is_refused_and_takes_nothing(quotas: Quotas) -> None:
    quotas.reserve(ANN, "one", 850.0)
    with pytest.raises(LimitError, match="come back tomorrow"):
        quotas.reserve(ANN, "two", 60.0)
    assert quotas.seconds_left(ANN) == 50 and quotas.seconds_left(BOB) == 900


def test_new_secrets_do_not_refill_an_address(quotas: Quotas) -> None:
    reserved = 0.0
    for place in range(50):
        visitor = Visitor(f"secret {place}", "198.51.100.7")
        if quotas.seconds_left(visitor) >= 300:
            quotas.reserve(visitor, f"run {place}", 300.0)
            reserved += 300.0
    assert reserved == quotas.limits.day_minutes * MINUTE * quotas.limits.per_address


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 100)), max_size=60))
def test_a_window_counts_what_is_young(steps: list[tuple[str, float]]) -> None:
    clock, seen = Clock(), list[tuple[str, float]]()
    window = Window(60.0, clock)
    for key, passes in steps:
        clock.now += passes
        window.add(key)
        seen.append((key, clock.now))
        for one in "ab":
            young = [at for name, at in seen if name == one and at > clock.now - 60.0]
            assert window.count(one) == len(young)
            assert window.wait(one) == pytest.approx(young[0] + 60.0 - clock.now if young else 0.0)


def test_a_crowd_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch, quotas: Quotas) -> None:
    monkeypatch.setattr("charlm.public.quotas.MOST_KEYS", 10)
    for place in range(50):
        quotas.take("text", Visitor(f"{place}"))
        quotas.reserve(Visitor(f"{place}"), "run", 1.0)
        quotas.seconds_left(Visitor(f"{place}"))
    assert len(quotas._windows["text"]._times) <= 10 and len(quotas._reservations) <= 11


# --- trainings that take what they need -------------------------------------------------------------------------------


def at_work(quotas: Quotas, seconds: float, most: float = 300.0, run_id: str = "run", who: Visitor = ANN) -> None:
    quotas.follow(who, quotas.reserve(who, "", seconds), run_id, most)


def test_a_training_that_takes_longer_than_expected_gets_more_as_long_as_there_is_some(quotas: Quotas) -> None:
    at_work(quotas, 20.0)
    assert quotas.may_go_on("run", 19.0) and quotas.seconds_left(ANN) == 880
    assert quotas.may_go_on("run", 20.5) and quotas.seconds_left(ANN) == 850
    assert quotas.may_go_on("run", 51.0) and quotas.seconds_left(ANN) == 820
    assert quotas.may_go_on("run", 200.0) and quotas.seconds_left(ANN) == 700  # a step that took long
    assert quotas.may_go_on("run", 299.0) and quotas.seconds_left(ANN) == 601
    assert quotas.may_go_on("run", 320.0) and quotas.seconds_left(ANN) == 600  # its most: its own budget ends it
    quotas.settle(ANN, "run", 310.0)
    assert quotas.seconds_left(ANN) == 590 and quotas.may_go_on("run", 1e9)


def test_a_training_ends_when_nothing_is_left_of_the_day(quotas: Quotas) -> None:
    at_work(quotas, 20.0)
    quotas.reserve(ANN, "others", 870.0)
    assert quotas.may_go_on("run", 29.9) and quotas.seconds_left(ANN) == 0
    assert not quotas.may_go_on("run", 30.1) and quotas.seconds_left(ANN) == 0
    quotas.settle(ANN, "others", 100.0)
    assert quotas.may_go_on("run", 30.1)  # what others gave back
    assert quotas.seconds_left(ANN) == 740


def test_a_training_ends_when_nothing_is_left_of_the_addresss(quotas: Quotas) -> None:
    crowd = [Visitor(f"{place}", "198.51.100.7") for place in range(9)]
    at_work(quotas, 20.0, who=crowd[0])
    for visitor in crowd[1:8]:
        quotas.reserve(visitor, "all", 900.0)
    quotas.reserve(crowd[8], "all", quotas.seconds_left(crowd[8]))
    assert quotas.may_go_on("run", 20.0) and not quotas.may_go_on("run", 20.1)


def test_what_a_resumed_training_took_before_does_not_count_again(quotas: Quotas) -> None:
    reservation = quotas.reserve(ANN, "", 50.0)
    reservation.base = 1000.0
    quotas.follow(ANN, reservation, "run", 50.0)
    assert quotas.may_go_on("run", 1050.0) and quotas.seconds_left(ANN) == 850
    assert quotas.may_go_on("unknown", 1e6)


def test_trainings_of_a_crowd_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch, quotas: Quotas) -> None:
    monkeypatch.setattr("charlm.public.quotas.MOST_KEYS", 10)
    for place in range(50):
        at_work(quotas, 1.0, run_id=f"{place}", who=Visitor(f"{place}"))
    assert len(quotas._growing) <= 10


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 200)), max_size=40))
def test_reservations_never_exceed_the_day(steps: list[tuple[int, float]]) -> None:
    quotas, taken = Quotas(Limits(), Clock()), [0.0] * 4
    for place in range(4):
        at_work(quotas, 20.0, most=400.0, run_id=f"{place}")
    for place, more in steps:
        if quotas.may_go_on(f"{place}", taken[place] + more):
            taken[place] += more
        assert sum(one.seconds for one in quotas.reservations(ANN)) <= 900 + 1e-6
        assert all(one.seconds <= 400 + 1e-6 for one in quotas.reservations(ANN))
