"""What every test stands on: own folders for runs and data, one thread, no outside look-ups."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.patience import patience

if TYPE_CHECKING:
    from charlm.jobs.service import Jobs
    from charlm.runs.store import RunStore

# Before torch is imported: tiny models are fastest on one thread, and the sums come out the same everywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

ROOT = Path(__file__).resolve().parent.parent
LSTM_TEXT = "long short term memory and gated recurrent units are used in text generation"
MOST_WORKERS = 4  # each has a server and a browser of its own
DEADLINE = 300.0  # seconds of a quiet machine until a test counts as hung

# A loaded machine is no fault of the code: examples may take as long as they take.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also what takes long and finds little that is new")
    parser.addoption("--browser", default="chromium", choices=["chromium", "firefox"], help="which opens the page")
    parser.addoption("--screenshots", default=None, metavar="DIR", help="where the browser tests leave their pictures")
    parser.addoption(
        "--kills", type=int, default=12, metavar="N", help="trainings that tests/faults/test_kill.py kills"
    )
    parser.addoption("--reloads", type=int, metavar="N", help="how often tests/e2e/test_reloads.py reloads")
    parser.addoption(
        "--all-faults", action="store_true", help="every error at every write, and 8 x 1,000 runs made at once"
    )
    parser.addoption("--soak", type=float, default=0.0, metavar="MINUTES", help="how long tests/faults/test_soak.py is")
    parser.addoption("--fuzz", type=int, default=2_000, metavar="N", help="damaged files that tests/fuzz reads")
    parser.addoption("--fuzz-seed", type=int, default=1, metavar="S", help="which: the same seed, the same files")
    parser.addoption("--fuzz-keep", default=None, metavar="DIR", help="where those are kept that fail")
    parser.addoption("--soak-log", default=None, metavar="FILE", help="where it writes a line a minute")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker for each core; none for a few named files, which need no second one, nor where prints are wanted."""
    if config.option.capture == "no" or all(".py" in one for one in config.args):
        return 0
    return min(os.cpu_count() or 1, MOST_WORKERS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests are skipped unless asked for; where a test's file works with arrays, it is one of numbers."""
    for item in items:
        if not config.getoption("--slow") and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="takes long; --slow runs it"))
        if isinstance(item, pytest.Function) and {"torch", "np"} & vars(item.module).keys():
            item.add_marker(pytest.mark.numeric)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Every test has a deadline, which is as far away as the machine is busy."""
    if item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(patience(DEADLINE)))
    return (yield)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New runs and texts go to the test's own folder, and nobody's settings leak in."""
    monkeypatch.setenv("CHARLM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CHARLM_DATA", str(tmp_path / "data"))
    for name in ("CHARLM_PUBLIC", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path: Path) -> "RunStore":
    """A store without shipped runs."""
    from tests.tiny_runs import store_in

    return store_in(tmp_path)


@pytest.fixture
def jobs(store: "RunStore") -> "Iterator[Jobs]":
    """The trainings of this store; what is at work at the end is interrupted."""
    from charlm.jobs.service import Jobs

    made = Jobs(store)
    yield made
    made.close(seconds=patience(30))


@pytest.fixture
def quick_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of a few steps and short samples, so that orders are heard at once."""
    shorten(monkeypatch, 0.01)


@pytest.fixture
def single_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of one step and short samples, so that a race ends at the step that is meant."""
    shorten(monkeypatch, 0.0)


def shorten(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Slices of so many seconds, and samples of 20 characters."""
    from charlm.config import SampleConfig
    from charlm.jobs import runner, scheduler

    monkeypatch.setattr(scheduler, "SLICE_SECONDS", seconds)
    monkeypatch.setattr(runner, "SAMPLE", SampleConfig(length=20, seed=1))


@pytest.fixture
def repository() -> Path:
    """The folder that holds app.py."""
    return ROOT


@pytest.fixture
def lstm_text() -> str:
    """Seventy-six characters that must train and be learned by heart."""
    return LSTM_TEXT
