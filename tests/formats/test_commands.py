"""`import` and `export` on the command line: one answer, or one line that says why not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from charlm.cli import main
from charlm.runs.store import RunStore
from tests.cli.test_cli import answer, refusal
from tests.formats.models import TOKENS, Foreign, made_run, udacity_file

TEXT = "the hare eats a root, so the toe hears the other hare rest\n" * 12


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A notebook's file; the current folder is the test's own."""
    monkeypatch.chdir(tmp_path)
    udacity_file(tmp_path / "rnn.net")
    return "rnn.net"


def test_import_prints_the_new_runs_id(net: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", net]) == 0
    out, err = capsys.readouterr()
    shown = answer(capsys, "runs", "show", out.strip())
    assert shown["label"] == "rnn" and shown["best_val_loss"] is None and "rnn: lstm, 1,388 parameters" in err
    assert main(["runs", "list"]) == main(["runs", "show", out.strip()]) == 0
    assert answer(capsys, "generate", "rnn", "--length", "5", "--prompt", "the")["prompt"] == "the"


def test_import_json_says_what_came_in(net: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("book.txt").write_text(TEXT, encoding="utf-8")
    made = answer(capsys, "import", net, "--label", "mine", "--corpus", "book.txt")
    assert made["label"] == "mine" and made["arch"] == "lstm" and 2.0 < made["val_loss"] < 3.0
    assert made["imported"]["format"] == "udacity" and "',' " not in made["message"] and "','" in made["message"]
    scores = answer(capsys, "evaluate", "mine")
    assert scores["nats_per_token"] == pytest.approx(made["val_loss"], abs=1e-6)


def test_characters_and_nonlinearity_are_taken_from_outside(net: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(Foreign(torch.nn.RNN, nonlinearity="relu").state_dict(), "plain.pt")
    Path("list.txt").write_text("".join(TOKENS), encoding="utf-8")
    made = answer(capsys, "import", "plain.pt", "--characters", "list.txt", "--nonlinearity", "relu")
    shown = answer(capsys, "runs", "show", made["run_id"])
    assert shown["model"]["nonlinearity"] == "relu" and shown["model"]["vocab_size"] == len(TOKENS)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["import"], "FILE"), (["import", "nobody.pt"], "nobody.pt"), (["import", "."], "no file"),
     (["import", "bad.pt"], "bad.pt"), (["import", "plain.pt"], "--characters"),
     (["import", "plain.pt", "--characters", "nobody.json"], "nobody.json"),
     (["import", "rnn.net", "--nonlinearity", "sin"], "tanh, relu"),
     (["import", "rnn.net", "--corpus", "nobody.txt"], "nobody.txt"),
     (["import", "rnn.net", "--runs-dir", "rnn.net"], "cannot be made in rnn.net"),
     (["export", "nobody"], "nobody"), (["export", "made-gru", "--format", "word"], "exported as zip, "),
     (["export", "made-gru", "--format", "udacity"], "export it as torch"),
     (["export", "made-gru", "--out", "no/where/x.zip"], "there is no folder"),
     (["export", "made-gru", "--out", "rnn.net"], "add --force")],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_one_line(words: list[str], said: str, net: str, capsys: pytest.CaptureFixture[str]) -> None:
    made_run(RunStore(), arch="gru")
    torch.save(Foreign().state_dict(), "plain.pt")
    Path("bad.pt").write_bytes(b"\x80\x02noise")
    before = set(Path().rglob("*"))
    assert said in refusal(capsys, *words)
    assert {path for path in set(Path().rglob("*")) - before if path.suffix != ".lock"} == set()


@pytest.mark.parametrize("kind", ["zip", "torch", "udacity", "onnx"])
def test_export_writes_one_file_and_overwrites_none(kind: str, net: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(RunStore())
    assert main(["export", run.run_id, "--format", kind]) == 0
    written = Path(capsys.readouterr().out.strip())
    assert written.is_file() and written.name.startswith(f"{run.label}.") and not written.is_absolute()
    assert "exists; add --force" in refusal(capsys, "export", run.run_id, "--format", kind)
    made: Any = answer(capsys, "export", run.run_id, "--format", kind, "--force")
    assert made["path"] == str(written) and made["bytes"] == written.stat().st_size
    Path("folder").mkdir()
    assert answer(capsys, "export", run.run_id, "--format", kind, "--out", "folder")["path"].startswith("folder")
    assert not list(Path().rglob("*.part"))


def test_the_two_pages_of_a_run_lie_side_by_side_and_a_label_that_is_taken_needs_out(
    net: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = made_run(RunStore()), made_run(RunStore())
    for one in (run, other):
        RunStore().rename(one, "my / run")
    names = {answer(capsys, "export", run.run_id, "--format", kind)["path"] for kind in ("html", "html8")}
    assert names == {"my-run.html", "my-run-8bit.html"}
    assert "my-run.html exists" in refusal(capsys, "export", other.run_id, "--format", "html")
    assert answer(capsys, "export", other.run_id, "--format", "html", "--out", "other.html")["path"] == "other.html"


def test_a_runs_zip_comes_back_as_a_new_run(net: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = answer(capsys, "import", net, "--label", "there")
    answer(capsys, "export", "there", "--out", "there.bin")
    back = answer(capsys, "import", "there.bin", "--label", "back")
    assert back["imported"]["format"] == "zip" and back["run_id"] != made["run_id"]
    written = [answer(capsys, "generate", label, "--length", "30", "--greedy")["text"] for label in ("there", "back")]
    assert written[0] == written[1]


def test_an_imported_model_learns_another_text(net: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("book.txt").write_text(TEXT, encoding="utf-8")
    answer(capsys, "import", net)
    assert "imported without a text" in refusal(capsys, "fork", "rnn", "--steps", "3")
    assert "imported without a text" in refusal(capsys, "evaluate", "rnn")
    assert "fork it" in refusal(capsys, "resume", "rnn", "--steps", "3")
    before = answer(capsys, "evaluate", "rnn", "--corpus", "book.txt")["nats_per_token"]
    more = ("--steps", "60", "--learning-rate", "0.03", "--label", "tuned")
    made = answer(capsys, "fork", "rnn", "--corpus", "book.txt", *more)
    assert made["steps"] == 60 and made["best_val_loss"] < before - 0.1
    assert answer(capsys, "resume", "tuned", "--steps", "5")["steps"] == 65
    assert answer(capsys, "fork", "tuned", "--steps", "5")["steps"] == 70
    shown = answer(capsys, "runs", "show", "tuned")
    assert shown["ancestry"][0]["label"] == "rnn" and shown["corpus"]["name"] == "book.txt"
    tokens = json.loads((Path(shown["folder"]) / "tokenizer.json").read_text(encoding="utf-8"))["tokens"]
    assert tokens == list(TOKENS), "the parent's ids stay"


def test_what_a_fork_leaves_out_is_said(net: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("book.txt").write_text(TEXT, encoding="utf-8")
    answer(capsys, "import", net)
    assert main(["fork", "rnn", "--corpus", "book.txt", "--steps", "2"]) == 0
    assert "12 of 708 characters left out, which the model does not know: ','" in capsys.readouterr().err
    Path("strange.txt").write_text("ЖЗИКЛМ" * 200, encoding="utf-8")
    assert "too little of strange.txt remains" in refusal(capsys, "fork", "rnn", "--corpus", "strange.txt")
