"""Pretrained models on the command line, named as runs are."""

import json
from pathlib import Path
from typing import Any

import pytest

from charlm.cli import main
from charlm.pretrained import load
from charlm.runs.store import RunStore
from charlm.serving.pretrained import held_out_part
from tests.pretrained.tiny_pretrained import saved
from tests.tiny_runs import TEXT, store_in, trained

for _needed in ("transformers", "gguf", "accelerate"):
    pytest.importorskip(_needed, reason="pip install -r requirements-pretrained.txt brings what pretrained models need")

HOW = ("--prompt", "The cat", "--length", "40", "--seed", "3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(saved(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def run_id(tmp_path: Path) -> str:
    return trained(store_in(tmp_path), "lstm", steps=4)[0].run_id


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_it_generates(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", folder, *HOW]) == 0
    text = capsys.readouterr().out
    assert text.startswith("The cat") and len(text) == 47
    assert told(capsys, "generate", folder, *HOW)["text"] == text[7:]


def test_it_is_compared(folder: str, run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = told(capsys, "compare", run_id, folder, *HOW)
    assert one["arch"] == "lstm" and other["arch"] == "pretrained" and other["label"] == "tiny"
    assert len(one["text"]) == len(other["text"]) == 40 and other["best_val_loss"] is None
    assert main(["compare", run_id, folder, *HOW]) == 0
    assert "== tiny\nThe cat" in capsys.readouterr().out


def test_it_is_scored_on_what_was_held_out_of_a_run(
    folder: str, run_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, _ = held_out_part(RunStore(tmp_path / "runs").get(run_id), 80)
    *_, expected = load(folder).score(text)
    assert expected.result is not None
    found = told(capsys, "evaluate", folder, "--held-out-of", run_id, "--characters", "80")
    assert found["bits_per_char"] == pytest.approx(expected.result.bits_per_char, rel=1e-6)
    assert found["characters"] == 80 and found["parameters"] == load(folder).num_parameters
    own = told(capsys, "evaluate", run_id, "--held-out-of", run_id, "--characters", "80")
    assert own["tokens"] == 79
    assert main(["evaluate", folder, "--held-out-of", run_id]) == 0
    assert "an upper bound" in capsys.readouterr().err


def test_it_is_scored_on_a_text(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pets.txt").write_text(TEXT, encoding="utf-8")
    assert told(capsys, "evaluate", folder, "--corpus", str(tmp_path / "pets.txt"))["characters"] == len(TEXT)
    part = told(capsys, "evaluate", folder, "--corpus", str(tmp_path / "pets.txt"), "--split", "val")
    assert part["characters"] < len(TEXT) / 5


def test_what_cannot_be_is_said_in_a_line(folder: str, run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (("evaluate", folder), "has no text of its own; name one with --corpus, or a run with --held-out-of"),
        (("evaluate", folder, "--held-out-of", run_id, "--split", "val"), "leave out --corpus and --split"),
        (("generate", folder, "--beams", "2"), "tiny writes without beam search"),
        (("compare", folder, run_id, "--duel"), "a duel needs models with the same tokens"),
        (("generate", "nowhere.gguf"), "there is no model 'nowhere.gguf'"),
    ):
        assert main(list(words)) == 2, words
        assert said in capsys.readouterr().err
