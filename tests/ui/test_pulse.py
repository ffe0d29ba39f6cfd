"""The page's clock: how long pages wait, and the route that answers them."""

import heapq
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from charlm.errors import CheckpointError
from charlm.jobs.service import Jobs
from charlm.public.services import Services
from charlm.serving import Serving
from charlm.ui import status_bar
from charlm.ui.app import launch_options
from charlm.ui.services import Files
from charlm.ui.status_bar import PollEndpoint
from charlm.ui.train.live import Watches
from tests.tiny_runs import store_in


@pytest.mark.parametrize(("pages", "expected"), [(1, 1.0), (2, 1.0), (5, 5 / 3), (100, 5.0)])
def test_many_pages_ask_no_more_often_than_a_few(pages: int, expected: float, tmp_path: Path) -> None:
    store = store_in(tmp_path)
    services = Services(store, Jobs(store), Serving(store), Files())
    clock = PollEndpoint(services, Watches(services))
    due = [(place / pages, place) for place in range(pages)]
    waits: list[float] = []
    while due[0][0] < 60:
        now, place = heapq.heappop(due)
        wait = clock._wait(now)
        heapq.heappush(due, (now + wait, place))
        waits += [wait] if now > 40 else []
    assert sum(waits) / len(waits) == pytest.approx(expected, rel=0.1)
    assert max(waits) <= status_bar.SLOWEST_SECONDS and min(waits) >= status_bar.LIVE_SECONDS


async def echo(asked: Any) -> dict[str, Any]:
    return {"asked": asked}


def client(auth: Any = None) -> TestClient:
    """A browser before an app that has the route and a strip."""
    app: Any = Starlette(routes=launch_options()["app_kwargs"]["routes"])
    strip = SimpleNamespace(elem_id="strip", poll=echo)
    blocks = SimpleNamespace(blocks={1: SimpleNamespace(elem_id=None), 2: strip})
    app.auth, app.auth_dependency, app.get_blocks = auth, None, lambda: blocks
    return TestClient(app)


def test_the_route_asks_the_strip() -> None:
    answer = client().post(status_bar.PATH, json={"strip": "ö"})
    assert answer.json() == {"asked": {"strip": "ö"}} and answer.content == '{"asked":{"strip":"ö"}}'.encode()


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"", 400), (b"[" * 50_000, 400), (b"0" * 1_000_000, 400), (b"\xff", 400)]
)
def test_what_is_no_question_is_refused(body: bytes, status: int) -> None:
    assert client().post(status_bar.PATH, content=body).status_code == status


def test_a_page_behind_a_login_takes_gradios_way() -> None:
    assert client(auth={"name": "word"}).post(status_bar.PATH, json={}).status_code == 401
    assert client().get(status_bar.PATH).status_code == 405


def ended_run(label: str, status: str, loss: float | None, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"run_id": label, "label": label, "status": status, "best_val_loss": loss, **more})


def test_what_became_of_a_job_is_told_in_words() -> None:
    runs = {
        run.run_id: run
        for run in (
            ended_run("gru", "finished", 1.5),
            ended_run("lstm", "finished", 1.25),
            ended_run("rnn", "stopped", 2.0, step=1188),
            ended_run("bad", "failed", None, message="The loss is not finite."),
            ended_run("slow", "running", 1.0),
        )
    }

    def get(run_id: Any) -> Any:
        if run_id not in runs:
            raise CheckpointError("there is none")
        return runs[run_id]

    services: Any = SimpleNamespace(store=SimpleNamespace(get=get))
    told = status_bar.ended_state(services, [*runs, "none", None])
    assert told == {
        "said": "Finished: gru and lstm. Stopped and saved at step 1,188: rnn. Failed: bad. The loss is not finite. "
        "lstm has the lowest validation loss, 1.25.",
        "active": ["slow"],
    }
    assert status_bar.ended_state(services, ["slow", "none"]) == {"said": "", "active": ["slow"]}
