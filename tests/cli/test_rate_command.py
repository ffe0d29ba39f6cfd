"""`rate`: the learning rate of a run that trains in another process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.cli import main
from charlm.runs.store import RunStore
from tests.cli.test_cli import ROOT, TINY, answer, begun, book, refusal, run_id
from tests.patience import patience
from tests.tiny_runs import entered

__all__ = ["book", "run_id"]  # fixtures


def ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.communicate(timeout=patience(60))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a child without a signal")
def test_the_rate_of_a_training_in_another_process_is_changed(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    process = begun(book, *TINY, "--steps", "1000000", "--learning-rate", "0.01", "--label", "far")
    try:
        changed = answer(capsys, "rate", "far", "0.002")
        assert changed["label"] == "far" and changed["learning_rate"] == 0.002 and changed["step"] >= 1
        assert main(["rate", "far", "5e-4"]) == 0
        assert capsys.readouterr().out.startswith("far: learning rate 0.0005 from step ")
        assert answer(capsys, "rate", "far", "0.0005")["step"] is None  # it is so already
    finally:
        ended(process)
    shown = answer(capsys, "runs", "show", "far")
    assert shown["status"] == "stopped" or shown["status"] == "interrupted"
    [first, second] = shown["rate_changes"]
    assert (first["step"], first["from"], first["to"]) == (changed["step"], 0.01, 0.002)
    assert (second["from"], second["to"]) == (0.002, 0.0005) and second["step"] > first["step"]
    assert shown["train"]["learning_rate"] == 0.01
    rows = [json.loads(line) for line in (Path(shown["folder"]) / "metrics.jsonl").read_text().splitlines()]
    early = [row["learning_rate"] for row in rows if row["step"] <= first["step"]]
    late = [row["learning_rate"] for row in rows if row["step"] > second["step"]]
    warm_up = 0.01 * min(1.0, first["step"] / 51)  # of the last step before the change
    assert max(early) == pytest.approx(warm_up, rel=0.01)
    assert late and max(late) <= 0.0005
    assert answer(capsys, "resume", "far", "--steps", "3", "--learning-rate", "0.004")["steps"] == shown["steps"] + 3
    assert answer(capsys, "runs", "show", "far")["rate_changes"][-1]["to"] == 0.004


@pytest.mark.slow
def test_a_race_in_another_process(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["race", book, *TINY, "--steps", "1000000", "--eval-every", "1", "--archs", "gru,rnn", "--label", "pair"]
    process = subprocess.Popen(
        [sys.executable, "-m", "charlm", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        assert any(b"step" in line for line in process.stderr)
        step = answer(capsys, "rate", "pair-gru", "0.002", "--race")["step"]
    finally:
        ended(process)
    changes = [answer(capsys, "runs", "show", f"pair-{arch}")["rate_changes"] for arch in ("gru", "rnn")]
    assert [[(one["step"], one["to"]) for one in own] for own in changes] == [[(step, 0.002)]] * 2


def test_a_wrong_rate_is_one_sentence(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is finished; its learning rate can be changed while it trains" in refusal(capsys, "rate", run_id, "0.1")
    assert "learning_rate must be a number, not 'fast'" in refusal(capsys, "rate", run_id, "fast")
    assert "learning_rate 99.0 is outside" in refusal(capsys, "rate", run_id, "99")
    assert "learning_rate 0 would end all learning" in refusal(capsys, "rate", run_id, "0")
    assert "nothing" in refusal(capsys, "rate", "nothing", "0.1")


def test_what_waits_changes_with_its_first_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.cli.runs.TAKEN_SECONDS", 0.1)
    [queued] = entered(RunStore(), label="queued")
    assert main(["rate", "queued", "0.25"]) == 0
    assert capsys.readouterr().out == "queued: learning rate 0.25 with its next step\n"
    assert answer(capsys, "rate", "queued", "0.5")["step"] is None
    assert RunStore().find("queued").info["wanted_rate"] == {"to": 0.5, "race": False}
    queued.release()
