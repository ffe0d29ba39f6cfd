"""A hostile visitor of the public Space: all at once, without end, in loops; the others are still served."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from charlm.public.limits import Limits
from charlm.public.visitor import MOST_SCORERS
from charlm.serving import Serving
from charlm.ui.services import PublicAppServices
from tests.patience import patience
from tests.tiny_runs import spoil, wait_for
from tests.ui.strangers import LONG, SHIPPED, SOON, Bare, at_once, stranger

LIMITS = Limits()
# What lets a run go on, and what stands after run id and options.
CONTINUED: tuple[tuple[Any, ...], ...] = (("resume",), ("fork", "", None))


@pytest.fixture
def failed(lab: PublicAppServices, address: str) -> Iterator[tuple[Bare, str, Path]]:
    """A visitor, and a run of theirs whose run.json says whatever they like, as one that was brought along may."""
    one = stranger(address)
    run_id = one.predict("train", "sherlock", None, "rnn", SOON)["run_id"]
    wait_for(lambda: one.predict("status", run_id, -1)["status"] == "finished", "for the training")
    yield one, run_id, lab.store.get(run_id).folder / "run.json"


@pytest.mark.slow
def test_three_hundred_events_are_not_let_into_the_queue(address: str) -> None:
    flood, other = stranger(address), stranger(address)
    body = {"data": ["sherlock-rnn", "", 1000, {}]}
    answers = at_once(lambda _: flood.post("call/generate", body), 300)
    accepted = [answer for answer in answers if answer.status_code == 200]
    refused = [answer.text for answer in answers if answer.status_code != 200]
    assert all("wait" in text for text in refused) and len(accepted) + len(refused) == 300
    assert other.predict("generate", "sherlock-rnn", "The", 5, {}).startswith("The")
    said = [flood.get(f"gradio_api/call/generate/{answer.json()['event_id']}").text for answer in accepted]
    assert sum("event: complete" in text for text in said) <= LIMITS.texts_a_minute
    assert other.predict("runs")


def test_a_visitor_holds_so_many_open_requests(address: str) -> None:
    greedy, other = stranger(address), stranger(address)
    with ExitStack() as stack, httpx.Client(limits=httpx.Limits(max_connections=None), timeout=patience(60)) as client:
        streams = [
            stack.enter_context(
                client.stream("GET", f"{address}/gradio_api/heartbeat/{place}", headers=greedy.headers)
            ).status_code
            for place in range(LIMITS.waiting_requests + 8)
        ]
        assert streams.count(200) == LIMITS.waiting_requests and streams.count(429) == 8
        assert other.predict("runs") and greedy.get("config").status_code == 429
    wait_for(lambda: greedy.get("config").status_code == 200, "for the streams to end")


def test_starts_in_the_same_instant_are_counted(lab: PublicAppServices, address: str, idle: None) -> None:
    one = stranger(address)
    said = at_once(lambda _: one.call("train", "sherlock", None, "rnn", LONG), 8)
    begun = [answer[0]["run_id"] for event, answer in said if event == "complete"]
    assert 1 <= len(begun) <= LIMITS.runs
    assert len([run for run in one.predict("runs") if run["run_id"] not in SHIPPED]) == len(begun)
    assert one.predict("limits")["left"]["minutes"] >= 0


@pytest.mark.slow
def test_deleting_and_starting_again_ends(lab: PublicAppServices, address: str, idle: None) -> None:
    one, begun = stranger(address), 0
    for _ in range(LIMITS.starts_an_hour + 1):
        event, answer = one.call("train", "sherlock", None, "rnn", {**SOON, "steps": 1, "eval_every": 1})
        if event == "error":
            break
        begun, run_id = begun + 1, answer[0]["run_id"]
        wait_for(lambda run_id=run_id: lab.store.get(run_id).status == "finished", "for the training")  # type: ignore[misc]
        lab.store.delete(lab.store.get(run_id))
    assert begun == LIMITS.starts_an_hour and "starts" in str(answer)


@pytest.mark.parametrize(
    ("name", "inputs", "word"),
    [("race", ["sherlock", None, ["lstm"] * 100_000, SOON], "runs you may keep"),
     ("compare", [["sherlock-rnn"] * 100_000, "", 5, {}], "1 to 6 models"),
     ("train", ["sherlock", None, "rnn", {**SOON, "label": "x" * 1_000_000}], "label"),
     ("generate", ["sherlock-rnn", "x" * 1_000_000, 5, {}], "prompt"),
     ("generate", ["sherlock-rnn", "", 1e300, {}], "length"),
     ("train", ["sherlock", None, "rnn", {str(place): place for place in range(50_000)}], ""),
     ("train", ["x" * 1_000_000, None, "rnn", SOON], "")],
)  # fmt: skip
def test_what_is_huge_is_refused_in_a_sentence(name: str, inputs: list[Any], word: str, address: str) -> None:
    event, said = stranger(address).call(name, *inputs)
    assert event == "error" and word in str(said) and len(str(said)) < 2000


@pytest.mark.parametrize("minutes", ["abc", float("nan"), float("inf"), -5, [5], {"a": 1}, "5", True])
def test_no_odd_number_of_minutes_buys_time(
    minutes: Any, lab: PublicAppServices, failed: tuple[Bare, str, Path], idle: None
) -> None:
    one, run_id, _ = failed
    for name, *rest in CONTINUED:
        answer = one.post(f"call/{name}", {"data": [run_id, {"minutes": minutes, "steps": 5}, *rest]})
        if answer.status_code == 200:
            one.get(f"gradio_api/call/{name}/{answer.json()['event_id']}")
    for run in lab.store.list():
        if not run.shipped:
            assert 0 < run.train_config.minutes <= LIMITS.run_minutes


@pytest.mark.parametrize(
    "wild", [{"steps": 100_000_000}, {"minutes": 0.0, "steps": 100_000_000}, {"batch_size": 4096, "seq_len": 4096}]
)
def test_a_mend_that_was_brought_along_buys_nothing(
    wild: dict[str, Any], failed: tuple[Bare, str, Path], idle: None
) -> None:
    one, run_id, path = failed
    spoil(path, status="failed", mend=wild)
    assert "public Space" in one.refused("retry", run_id)


def test_a_run_without_a_limit_of_time_is_not_tried_again(failed: tuple[Bare, str, Path], idle: None) -> None:
    one, run_id, path = failed
    train = json.loads(path.read_text())["train"]
    spoil(path, status="failed", train={**train, "minutes": 0.0}, mend={"learning_rate": 0.001})
    assert "no limit of time" in one.refused("retry", run_id)


@pytest.mark.parametrize("call", CONTINUED)
def test_a_run_that_is_too_wide_for_this_place_does_not_go_on(
    call: tuple[Any, ...], failed: tuple[Bare, str, Path]
) -> None:
    (one, run_id, path), (name, *rest) = failed, call
    spoil(path, train={**json.loads(path.read_text())["train"], "batch_size": 4096, "seq_len": 4096})
    assert "batch_size times seq_len" in one.refused(name, run_id, {"steps": 5}, *rest)


def test_a_new_run_belongs_to_who_made_it(lab: PublicAppServices) -> None:
    """Not to whom a description that was brought along names."""
    source = lab.store.get("sherlock-rnn")
    run = lab.store.create({**source.info, "owner": "victim"}, source.tokenizer())
    assert run.owner == ""
    lab.store.discard(run)


def test_scoring_in_parallel_is_one_at_a_time(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, text = stranger(address), "The dog. " * 100
    inside, together, whole = [], [], Serving.evaluate

    def watched(*args: Any) -> dict[str, Any]:
        inside.append(args)
        together.append(len(inside))
        time.sleep(0.2)  # so that all others come meanwhile
        try:
            return whole(*args)
        finally:
            inside.pop()

    monkeypatch.setattr(Serving, "evaluate", watched)
    said = at_once(lambda _: one.call("evaluate", "sherlock-rnn", text, {}), 6)
    assert [event for event, _ in said].count("complete") >= 1
    assert all("try again" in str(answer) for event, answer in said if event == "error")
    crowd = at_once(lambda _: stranger(address).call("evaluate", "sherlock-rnn", text, {}), MOST_SCORERS + 4)
    assert [event for event, _ in crowd].count("complete") >= MOST_SCORERS
    assert all("try again" in str(answer) for event, answer in crowd if event == "error")
    assert set(together) == {1}


def test_downloads_are_counted(lab: PublicAppServices, address: str) -> None:
    from charlm.errors import LimitError
    from charlm.public.identity import asking
    from charlm.public.limits import Visitor

    token = asking.set(Visitor("who downloads"))
    try:
        for _ in range(LIMITS.downloads_an_hour):
            lab.services.files.text("a.csv", "a")
        with pytest.raises(LimitError, match="downloads an hour"):
            lab.services.files.text("a.csv", "a")
    finally:
        asking.reset(token)
