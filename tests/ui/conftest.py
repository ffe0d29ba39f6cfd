"""A public Space over a real server, and an app for one user, one each for all tests of a session."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import handle_file

from charlm.jobs.service import Jobs
from charlm.public.services import Services
from charlm.serving import NgramBaselines, Serving
from charlm.ui.app import build_demo, launch_options
from charlm.ui.services import Files, PublicAppServices
from tests.patience import client, patience
from tests.tiny_runs import TEXT, store_in, wait_for


@pytest.fixture(autouse=True)
def no_ladders(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a text costs without a network is not measured beside the tests, where it would come at any moment."""
    monkeypatch.setattr(NgramBaselines, "_request", lambda *_: None)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicAppServices]:
    folder = tmp_path_factory.mktemp("public")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARLM_RUNS", str(folder / "runs"))
        patch.setenv("CHARLM_DATA", str(folder / "data"))
        made = PublicAppServices()
    made.begin()
    yield made
    made.jobs.close(seconds=patience(30))


@pytest.fixture(scope="session")
def public_demo(lab: PublicAppServices, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The page of the public Space, with all its events."""
    return build_demo(lab.services, tmp_path_factory.mktemp("secret"))


@pytest.fixture(scope="session")
def address(lab: PublicAppServices, public_demo: Any) -> Iterator[str]:
    options = {**launch_options(lab.services), "server_name": "127.0.0.1", "quiet": True}
    _, url, _ = public_demo.launch(prevent_thread_lock=True, **options)
    yield url.rstrip("/")
    public_demo.close()


@pytest.fixture
def visit(address: str) -> Any:
    """Makes visitors: clients, each with a secret of its own."""
    return lambda: client(address)


@pytest.fixture
def pets(tmp_path: Path) -> Any:
    path = tmp_path / "pets.txt"
    path.write_text(TEXT, encoding="utf-8")
    return handle_file(str(path))


@pytest.fixture
def idle(lab: PublicAppServices) -> Iterator[None]:
    """Nothing trains when the test is over."""
    yield
    for run_id in [run_id for job in lab.jobs.queue() for run_id in job]:
        lab.jobs.stop(run_id)
    wait_for(lambda: not lab.jobs.queue(), "for an empty queue")


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app whose user shares it with nobody."""
    store = store_in(tmp_path_factory.mktemp("alone"))
    jobs = Jobs(store)
    services = Services(store, jobs, Serving(store), Files())
    demo = build_demo(services, tmp_path_factory.mktemp("secret"))
    options = {**launch_options(services), "server_name": "127.0.0.1", "quiet": True}
    _, url, _ = demo.launch(prevent_thread_lock=True, **options)
    yield url.rstrip("/")
    demo.close()
    jobs.close(seconds=patience(30))
