"""A public Space over a real server, and an app for one user, one each for all tests of a session."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import handle_file

from charlm.serving import NgramBaselines
from charlm.ui.app import build_demo
from charlm.ui.services import PublicAppServices
from tests.patience import client
from tests.tiny_runs import TEXT, wait_for
from tests.ui.servers import private_services, public_space, served


@pytest.fixture(autouse=True)
def no_ladders(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a text costs without a network is not measured beside the tests, where it would come at any moment."""
    monkeypatch.setattr(NgramBaselines, "_request", lambda *_: None)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicAppServices]:
    with public_space(tmp_path_factory.mktemp("public")) as made:
        yield made


@pytest.fixture(scope="session")
def public_demo(lab: PublicAppServices, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The page of the public Space, with all its events."""
    return build_demo(lab.services, tmp_path_factory.mktemp("secret"))


@pytest.fixture(scope="session")
def address(lab: PublicAppServices, public_demo: Any) -> Iterator[str]:
    with served(public_demo, lab.services) as url:
        yield url


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
    with private_services(tmp_path_factory.mktemp("alone")) as services:
        demo = build_demo(services, tmp_path_factory.mktemp("secret"))
        with served(demo, services) as url:
            yield url
