"""What every test stands on: own folders for runs and data, one thread, no outside look-ups."""

import os
from pathlib import Path

import pytest

# Before torch is imported: tiny models are fastest on one thread, and the sums come out the same everywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

ROOT = Path(__file__).resolve().parent.parent
LSTM_TEXT = "long short term memory and gated recurrent units are used in text generation"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", default=None, metavar="DIR", help="where the browser tests leave their pictures")
    parser.addoption(
        "--kills", type=int, default=12, metavar="N", help="trainings that tests/faults/test_kill.py kills"
    )
    parser.addoption("--all-faults", action="store_true", help="tests/faults/test_disk.py: every error at every write")
    parser.addoption("--soak", type=float, default=0.0, metavar="MINUTES", help="how long tests/faults/test_soak.py is")
    parser.addoption("--soak-log", default=None, metavar="FILE", help="where it writes a line a minute")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New runs and texts go to the test's own folder, and nobody's settings leak in."""
    monkeypatch.setenv("CHARLM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CHARLM_DATA", str(tmp_path / "data"))
    for name in ("CHARLM_PUBLIC", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def repository() -> Path:
    """The folder that holds app.py."""
    return ROOT


@pytest.fixture
def lstm_text() -> str:
    """Seventy-six characters that must train and be learned by heart."""
    return LSTM_TEXT
