"""Run folders of an earlier version load, list, write, are scored and go on (tests/old_runs/README.md)."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import charlm
from charlm.cli import main
from tests.tiny_runs import assert_same_training, untimed

OLD = Path(__file__).resolve().parent / "old_runs"
NAMES = sorted(path.parent.name for path in OLD.glob("*/run.json"))
TRAINED = 12  # steps of a network when it was ended
ADDED = {"left_alone"}  # what resuming has always added to run.json


@pytest.fixture(autouse=True)
def runs(tmp_path: Path) -> Path:
    """Copies of the old runs and of their text, where the program looks for its own."""
    shutil.copytree(OLD, tmp_path / "runs", ignore=shutil.ignore_patterns("data"))
    shutil.copytree(OLD / "data", tmp_path / "data")
    return tmp_path / "runs"


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a command prints with --json."""
    code = main([*words, "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def info_of(folder: Path) -> dict[str, Any]:
    info: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return info


def test_there_is_one_of_each_architecture() -> None:
    assert {info_of(OLD / name)["model"]["arch"] for name in NAMES} >= {
        "lstm", "gru", "rnn", "transformer", "mingru", "ngram",
    }  # fmt: skip


def test_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {run["run_id"]: run for run in answer(capsys, "runs", "list")}
    assert set(NAMES) <= listed.keys()
    for name in NAMES:
        assert listed[name]["label"] == info_of(OLD / name)["label"]
        assert listed[name]["status"] == ("interrupted" if name.startswith("race") else "stopped")


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_writes_and_is_scored(name: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = charlm.load_run(name)
    assert run.step == info_of(OLD / name)["progress"]["step"] and run.samples()
    sample = charlm.SampleConfig(length=30, seed=3)
    text = "".join(charlm.generate(run.load_model(), run.tokenizer(), "the ", sample))
    told = answer(capsys, "generate", name, "--prompt", "the ", "--length", "30", "--seed", "3")
    assert text and told["text"] == text
    scores = answer(capsys, "evaluate", name)
    assert scores["nats_per_token"] == pytest.approx(run.best_val_loss, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_on_to_its_end(name: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, before = charlm.load_run(name).metrics(), info_of(OLD / name)
    again = runs / "again"
    shutil.copytree(runs / name, again)
    for copy in (name, "again"):
        assert answer(capsys, "resume", copy)["status"] == "finished"
    after, run = info_of(runs / name), charlm.load_run(name)
    assert run.step == run.total_steps == before["progress"]["total_steps"]
    assert after.keys() == before.keys() | ADDED and after["progress"].keys() == before["progress"].keys()
    assert_same_training(run, charlm.load_run("again"))
    rows = run.metrics()
    assert rows[: len(old)] == old and untimed(rows) == untimed(charlm.load_run("again").metrics())
    steps = [row["step"] for row in rows]
    assert steps == sorted(set(steps)) and steps[-1] == before["progress"]["total_steps"]
    kinds = {tuple(row) for row in old}  # of rows with and without a validation
    assert all(tuple(row) in kinds and math.isfinite(row["train_loss"]) for row in rows)
    assert [row["step"] for row in rows if row["val_loss"] is not None][-1] == steps[-1]
    if before["model"]["arch"] != "ngram":
        assert [row["step"] for row in old][-1] == TRAINED and steps == list(range(1, steps[-1] + 1))
