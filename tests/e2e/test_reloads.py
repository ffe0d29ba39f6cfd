"""A visitor who reloads and reloads in mid-training, and one who sees the disk refuse."""

import contextlib
import errno
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from charlm.errors import JobError
from tests.faults.disk import Disk, refuse
from tests.patience import patience
from tests.tiny_runs import settings, small_corpus, wait_for

SPARE_THREADS = 3  # of the writing of texts, and timers; fewer than the reloads, each of which may leave none
SECOND = 1000  # Playwright counts milliseconds
CUT_OFF = ("error loading dynamically imported module", "download failed")  # Firefox's words for what a reload cut off


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A visitor who has opened nothing yet; an uncaught error in the page fails the test."""
    visitor = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = visitor.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.extend([] if str(error).startswith(CUT_OFF) else [str(error)]))
    opened.set_default_timeout(patience(60) * SECOND)
    yield opened
    visitor.close()
    assert not problems


@pytest.fixture
def training(services: Any) -> Iterator[list[str]]:
    """The run ids of a race that goes on until the test ends."""
    ids = services.jobs.start(small_corpus(), settings(steps=1_000_000, eval_every=50), ["lstm", "gru"])
    wait_for(lambda: services.jobs.status(ids[0])["step"] > 0)
    yield ids
    with contextlib.suppress(JobError):
        services.jobs.stop_job(ids[0])
    wait_for(lambda: services.jobs.current() is None)


def lasting_threads() -> list[str]:
    """The names of all threads but those of the server's pool, which come and go."""
    return sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("AnyIO"))


def has_passed(services: Any, step: int) -> bool:
    passed: bool = services.jobs.current()["step"] > step
    return passed


def test_reloads_leave_the_job_alone(
    page: Any, server: str, services: Any, training: list[str], request: pytest.FixtureRequest
) -> None:
    page.goto(server)
    page.locator("#strip .job").wait_for()
    [job], threads = services.jobs._queue.jobs(), lasting_threads()
    reloads: int = request.config.getoption("--reloads") or 20
    for number in range(1, reloads + 1):
        step = services.jobs.current()["step"]
        page.reload(wait_until="domcontentloaded")
        if number % 5 == 0:
            page.locator("#strip .job[data-status=running]").wait_for()
            wait_for(partial(has_passed, services, step))
    assert services.jobs._queue.jobs() == [job] and services.jobs.current()["run_ids"] == training
    assert {services.jobs.status(run_id)["status"] for run_id in training} == {"running"}
    most = len(threads) + SPARE_THREADS
    wait_for(lambda: len(lasting_threads()) <= most, f"for {threads}, not {lasting_threads()}")


def test_a_disk_that_refuses_is_seen_within_five_seconds(
    page: Any, server: str, services: Any, training: list[str]
) -> None:
    page.goto(server)
    page.locator("#strip .job[data-status=running]").wait_for()
    broken = threading.Event()
    with Disk(lambda count: broken.is_set(), refuse(errno.ENOSPC)).installed():
        broken.set()
        said = page.locator("#strip .job[data-status=paused]", has_text="No space left on device")
        said.wait_for(timeout=patience(5) * SECOND)
        step = services.jobs.current()["step"]
        broken.clear()
        page.locator("#strip .job[data-status=running]").wait_for()
        wait_for(partial(has_passed, services, step), "for it to go on")
    said.wait_for(state="detached")
