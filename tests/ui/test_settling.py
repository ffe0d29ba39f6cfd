"""What was measured of the machine beside other work is measured again when the app is at rest."""

import json
import subprocess
import sys

import pytest
import torch

from charlm.data.catalog import data_dir
from charlm.training.machine import FILE, speed
from charlm.ui.services import AppServices
from tests.patience import patience
from tests.tiny_runs import settings, small_corpus, wait_for


def told() -> bool:
    """Whether the kept measurement is one that nothing else disturbed."""
    return bool(json.loads((data_dir() / FILE).read_bytes())["quiet"])


def main() -> None:
    """An app at work, and then at rest."""
    assert torch.__version__  # an app that has not loaded it has nothing to settle yet
    speed()
    file = data_dir() / FILE
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"quiet": False}))
    app = AppServices()
    [run_id] = app.jobs.start(small_corpus(), settings(steps=1_000_000, eval_every=50), ["gru"])
    app.tidy()
    assert not told(), "a training is at work"
    app.jobs.stop(run_id)
    wait_for(lambda: not app.jobs.queue())
    wait_for(lambda: app.tidy() or told())
    assert speed().quiet
    app.jobs.close(patience(30))


@pytest.mark.slow
def test_an_app_at_rest_measures_again_what_was_disturbed() -> None:
    """In a program of its own, which has no threads of other tests."""
    subprocess.run([sys.executable, "-m", "tests.ui.test_settling"], check=True, timeout=patience(240))


if __name__ == "__main__":
    main()
