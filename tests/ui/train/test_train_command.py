"""The command line that the Train form stands for: the program reads the form's own settings out of it."""

import shlex
from typing import Any

import pytest

from charlm.cli import main
from charlm.presets import PRESETS, RunConfig, from_options
from charlm.ui.train.form import command, preset_values, run_config


def understood(line: str, monkeypatch: pytest.MonkeyPatch, track: str = "") -> tuple[str, RunConfig, list[str]]:
    heard: list[Any] = []

    def take(tokens: list[str], config: RunConfig, archs: list[str], runs_dir: Any, *rest: Any) -> list[Any]:
        assert len(tokens) == 1 and [one for one in rest if one] == [one for one in (track,) if one]
        heard.extend((tokens[0], config, archs))
        return []

    monkeypatch.setattr("charlm.cli.train.train_all", take)
    assert shlex.split(line)[:3] == ["python", "-m", "charlm"]
    assert main([*shlex.split(line)[3:], "--json"]) == 0
    return heard[0], heard[1], heard[2]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "changed", [{}, {"learning_rate": 0.003, "seed": 11, "schedule": "cosine", "label": 'it\'s "x"'}]
)
def test_it_trains_the_same(preset: str, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = run_config(preset, {**preset_values(preset), **changed}, None)
    line = command(config, "my text.txt", ["lstm", "transformer"])
    corpus, read, archs = understood(line, monkeypatch)
    assert (corpus, archs) == ("my text.txt", ["lstm", "transformer"])
    assert (read.model, read.train, read.corpus) == (config.model, config.train, config.corpus)


def test_it_is_tracked_where_the_page_is(monkeypatch: pytest.MonkeyPatch) -> None:
    config = run_config("tiny", preset_values("tiny"), None)
    line = command(config, "sherlock", ["lstm"], "tensorboard")
    assert understood(line, monkeypatch, "tensorboard")[2] == ["lstm"]
    assert "--track" not in command(config, "sherlock", ["lstm"])


def test_what_a_preset_would_choose_on_another_machine_is_said() -> None:
    line = command(run_config("quick", preset_values("quick"), None), "sherlock", ["lstm"])
    assert "--hidden-size" in line and "--steps" in line and "--dropout" in line
    assert from_options({}, "tiny").model.hidden_size == 128
    assert "--hidden-size" not in command(run_config("tiny", preset_values("tiny"), None), "sherlock", ["lstm"])
