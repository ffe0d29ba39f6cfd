"""One real app and one real browser for all tests of a session."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.start import CHROMIUM_ARGS
from charlm.errors import JobError
from tests.e2e.steps import SECOND, open_app
from tests.patience import patience, wait_for

# What Firefox says of a script that a page was loading when it was left.
CUT_OFF = "error loading dynamically imported module"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests are slow but for those of `smoke`, and get, as is usual for them, a second try."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.flaky(reruns=1))  # the summary names who needed it
            if item.get_closest_marker("smoke") is None:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def own_folders() -> None:
    """The session's server has folders of its own; nothing changes from test to test."""


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that holds the server's runs and data."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARLM_RUNS", str(folder / "runs"))
        patch.setenv("CHARLM_DATA", str(folder / "data"))
        for name in ("CHARLM_PUBLIC", "SPACE_ID"):
            patch.delenv(name, raising=False)
        yield folder


@pytest.fixture(scope="session")
def services(places: Path) -> Iterator[Any]:
    """Runs, jobs and models of the session, as app.py makes them."""
    from charlm.experiments.searches import Searches
    from charlm.jobs.service import Jobs
    from charlm.public.services import Services
    from charlm.runs.store import RunStore
    from charlm.serving import Serving
    from charlm.ui.services import Files

    store = RunStore()
    jobs = Jobs(store)
    searches = Searches(store.root, jobs.is_training)
    made = Services(store, jobs, Serving(store, jobs.is_training), Files(), searches=searches)
    made.serving.warm_up()  # on a new machine the loops are compiled first; no page is to wait for that
    yield made
    searches.close(patience(30))
    made.jobs.close(patience(30))


@pytest.fixture(scope="session")
def server(services: Any, chromium_path: str) -> Iterator[str]:
    """The address of the running app."""
    from charlm.data.catalog import data_dir
    from charlm.ui.app import build_demo, launch_options

    demo = build_demo(services, data_dir())
    _, address, _ = demo.launch(**launch_options(), server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield address
    demo.close()


def program(package: str, other: str) -> str:
    """A browser's program by either name, the first being Debian's package; or a skip that says how to get it."""
    pytest.importorskip("playwright", reason="the browser tests need playwright: pip install -r requirements-dev.txt")
    path = shutil.which(package) or shutil.which(other)
    if path is None:
        pytest.skip(f"no {package} at hand; on Debian: apt-get install {package}")
    return path


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Chromium's program, or a skip."""
    return program("chromium", "chromium-browser")


@pytest.fixture(scope="session")
def firefox_path() -> str:
    """The program of a Firefox as it is, which Playwright speaks to by WebDriver BiDi; or a skip."""
    return program("firefox-esr", "firefox")


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless browser, the one of --browser; `downloads` is the folder that it saves into, see `steps.download`."""
    if request.config.getoption("--browser") == "chromium":
        options: dict[str, Any] = {"args": list(CHROMIUM_ARGS)}
        path, kind = request.getfixturevalue("chromium_path"), "chromium"
    else:
        prefs = {"browser.download.alwaysOpenPanel": False}  # else its list of downloads takes the page's focus
        options = {"channel": "moz-firefox", "firefox_user_prefs": prefs}
        path, kind = request.getfixturevalue("firefox_path"), "firefox"
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("downloads")
    with sync_playwright() as playwright:
        launched = getattr(playwright, kind).launch(executable_path=path, downloads_path=folder, **options)
        launched.downloads = folder
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, server: str) -> Iterator[Any]:
    """A fresh visitor on the opened app; an error in the page's scripts fails the test."""
    from playwright.sync_api import expect

    visitor = browser.new_context(
        viewport={"width": 1280, "height": 900}, accept_downloads=True, reduced_motion="reduce"
    )
    opened = visitor.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.extend([str(error)] if CUT_OFF not in str(error) else []))
    opened.on("console", lambda told: problems.extend([told.text] if "js_on_load" in told.text else []))
    opened.set_default_timeout(patience(60) * SECOND)
    expect.set_options(timeout=patience(60) * SECOND)
    open_app(opened, server)
    yield opened
    visitor.close()
    assert not problems


@pytest.fixture(autouse=True)
def as_found(request: pytest.FixtureRequest) -> Iterator[None]:
    """The next test finds the server as this one did: nothing is at work, and a test's runs and texts are gone."""
    if "services" not in request.fixturenames:
        yield
        return
    services = request.getfixturevalue("services")
    before, texts = {run.run_id for run in services.store.list()}, {one.key for one in services.texts.list()}

    def stopped() -> bool:
        job = services.jobs.current()
        if job is not None:
            with contextlib.suppress(JobError):  # it has just ended by itself
                services.jobs.stop_job(job["run_ids"][0])
        return job is None

    def at_rest() -> bool:
        measurements = services.serving.measurements
        for question in measurements.at_work():
            measurements.stop(question)
        return not measurements.at_work()

    yield
    services.searches.close(patience(30))
    wait_for(stopped, "for the job to end")
    wait_for(at_rest, "for the measurements to end")
    for run in services.store.list():
        if run.run_id not in before:
            services.store.delete(run)
    for one in services.texts.list():
        if one.key not in texts:
            services.texts.delete(one.key)


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: --screenshots DIR, or the session's temporary folder."""
    chosen = request.config.getoption("--screenshots")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
