"""The app starts as a newcomer, and as a Space, would start it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.patience import client, wait_for
from tests.server import ROOT, serving


def front_matter() -> dict[str, str]:
    """README's first block, `name: value` a line."""
    _, block, _ = (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return dict(line.split(": ", 1) for line in block.splitlines())


def requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_front_matter_is_what_a_space_asks_for() -> None:
    space = front_matter()
    assert {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "app_file"} <= space.keys()
    assert space["sdk"] == "gradio" and space["python_version"] == '"3.12"' and len(space["short_description"]) <= 60
    assert space["license"] == "mit"
    assert (ROOT / space["app_file"]).is_file()
    assert tuple(map(int, space["sdk_version"].split("."))) >= (6, 31)


def test_readme_names_the_two_commands_first() -> None:
    first_screen = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:35]
    assert "    pip install -r requirements.txt && python app.py" in first_screen
    assert "    pip install -r requirements-dev.txt && pytest" in first_screen


def test_readme_shows_pictures_that_are_there() -> None:
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown and all((ROOT / path).is_file() for path in shown)


def test_requirements_list_what_runs_the_app() -> None:
    listed = requirements("requirements.txt")
    names = {re.split(r"[<>=]", line)[0] for line in listed}
    assert "torch>=2.10,<=2.13.0" in listed and "gradio>=6.31,<7" in listed
    assert not names & {"pytest", "playwright", "hypothesis", "ruff", "mypy"}
    assert requirements("requirements-dev.txt")[0] == "-r requirements.txt"


@pytest.fixture
def space(tmp_path: Path) -> Iterator[str]:
    """app.py in a process of its own, with the environment of a Space; its address."""
    with serving(tmp_path, SPACE_ID="somebody/charlm-lab", SYSTEM="spaces", HOME=str(tmp_path)) as server:
        yield server.address


def test_a_space_opens_trains_and_generates(space: str) -> None:
    lab = client(space)
    assert "sherlock" in str(lab.predict(api_name="/corpora"))
    options = {"hidden_size": 8, "num_layers": 1, "steps": 3, "seq_len": 16, "batch_size": 4}
    job = lab.predict("sherlock", None, "rnn", options, api_name="/train")

    def ended() -> Any:
        state = lab.predict(job["run_id"], -1, api_name="/status")
        return state["status"] not in ("queued", "running") and state

    state = wait_for(ended)
    assert state["status"] == "finished", state["message"]
    assert state["step"] == 3 and state["best_val_loss"] and state["metrics"][-1]["step"] == 3
    written = list(lab.submit(job["run_id"], "Holmes", 40, {"seed": 3}, api_name="/generate"))
    assert len(written[-1]) >= 40
