"""Apps for the tests, for one user or as a public Space, and real servers of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from charlm.jobs.service import Jobs
from charlm.public.services import Services
from charlm.serving import Serving
from charlm.ui.app import launch_options
from charlm.ui.services import Files, PublicAppServices
from tests.patience import patience
from tests.tiny_runs import store_in


@contextmanager
def private_services(folder: Path) -> Iterator[Services]:
    """What an app stands on whose user shares it with nobody; without shipped runs."""
    store = store_in(folder)
    jobs = Jobs(store)
    yield Services(store, jobs, Serving(store), Files())
    jobs.close(seconds=patience(30))


@contextmanager
def public_space(folder: Path) -> Iterator[PublicAppServices]:
    """What a public Space stands on, its runs and texts in this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARLM_RUNS", str(folder / "runs"))
        patch.setenv("CHARLM_DATA", str(folder / "data"))
        made = PublicAppServices()
    made.begin()
    yield made
    made.jobs.close(seconds=patience(30))


@contextmanager
def served(demo: Any, *services: Services, **options: Any) -> Iterator[str]:
    """The address of a page's server; `services` and `options` are those of `launch_options`."""
    _, url, _ = demo.launch(
        prevent_thread_lock=True, **{**launch_options(*services, **options), "server_name": "127.0.0.1", "quiet": True}
    )
    yield url.rstrip("/")
    demo.close()
