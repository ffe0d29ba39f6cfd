"""The programs that train long: equal parameters, what is finished is not trained again, tables, pictures, cards."""

import json
import re
from pathlib import Path

import pytest

from bench import how_far, make_shipped
from charlm.data.catalog import DEFAULT_KEY
from charlm.runs.checkpoint import load_weights
from charlm.runs.store import Run
from tests.tiny_runs import lines_of

SMALL = ["batch_size=4", "seq_len=8", "num_layers=1", "steps=12", "eval_every=4"]


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "pets.txt"
    path.write_text("the cat sat on the mat and a dog ran from the hen. " * 30)
    return str(path)


def test_each_has_about_as_many_parameters(
    corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], single_steps: None
) -> None:
    work = ["--work", str(tmp_path / "work"), "--cells", str(tmp_path / "cells.jsonl")]
    small = [*SMALL, "parameters=30000"]
    for arch in ("lstm", "rnn"):
        how_far.main([corpus, arch, "5", *small, *work])
    out = capsys.readouterr().out
    how_far.main([corpus, "rnn", "5", *small, *work])  # nothing is trained twice
    again = capsys.readouterr().out
    head, _, *rows = lines_of(again)
    assert head == list(how_far.HEAD) and lines_of(out)[-2:] == rows
    assert {row[1] for row in rows} == {"LSTM", "RNN"} and {row[2] for row in rows} == {"5"}
    assert all(25_000 < int(row[5].replace(",", "")) < 35_000 for row in rows)
    how_far.main(["picture", *work])
    picture = (tmp_path / "how-far-pets-txt.svg").read_text()
    assert "LSTM, 5 min" in picture and "RNN, 5 min" in picture and "#0072b2" in picture.lower()


def test_a_setting_replaces_the_recipes(corpus: str) -> None:
    chosen = how_far.recipe(corpus, "transformer", {"dropout": 0.1, "minutes": 3.0, "parameters": 50_000})
    assert chosen["num_layers"] == 4 and chosen["dropout"] == 0.1 and chosen["hidden_size"] % 16 == 0
    assert how_far.recipe(corpus, "lstm", {"hidden_size": 24})["hidden_size"] == 24


def test_models_are_published_in_16_bits_with_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], single_steps: None
) -> None:
    monkeypatch.setattr(make_shipped, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(make_shipped, "PARAMETERS", 20_000)
    monkeypatch.setattr(make_shipped, "ARCHS", ("gru",))
    monkeypatch.setattr(make_shipped, "PASSES", 0.02)
    for _ in range(2):
        make_shipped.main(["--work", str(tmp_path / "work")])
    [folder] = (tmp_path / "shipped").iterdir()
    assert folder.name == f"{DEFAULT_KEY}-gru"
    run = Run(folder, shipped=True)
    model = load_weights(folder / "best.safetensors", run.model_config)
    assert model.num_parameters == run.num_parameters
    weights = (folder / "best.safetensors").stat().st_size
    assert weights < 2.2 * run.num_parameters + 2_000
    said = (folder / "README.md").read_text()
    loss = float(re.search(r"nats per character: (\d\.\d{4})", said)[1])  # type: ignore[index]
    assert loss == pytest.approx(run.best_val_loss, abs=make_shipped.MOST_LOST)
    assert re.findall(r"^## (.*)$", said, re.M) == ["Data", "Recipe", "Curve", "Losses", "Samples", "Limits"]
    assert f"{weights:,} bytes" in capsys.readouterr().out
    assert json.loads((folder / "run.json").read_text())["label"] == folder.name


def test_the_small_race_comes_with_its_snapshots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], single_steps: None
) -> None:
    for name, value in {"SHIPPED": tmp_path / "shipped", "SMALL": {"gru": 4}, "SMALL_PASSES": 0.02}.items():
        monkeypatch.setattr(make_shipped, name, value)
    make_shipped.main(["--small", "--work", str(tmp_path / "work")])
    [folder] = (tmp_path / "shipped").iterdir()
    run = Run(folder, shipped=True)
    assert folder.name == f"{DEFAULT_KEY}-small-gru" and run.label == "small-gru"
    assert run.snapshots()[0] == 0 and run.snapshots()[-1] == run.step and run.load_initial()
    said = (folder / "README.md").read_text()
    assert f"weights at {len(run.snapshots())} steps" in said and "make_shipped --small gru" in said
    assert "in the small race" in capsys.readouterr().out
    monkeypatch.setattr(make_shipped, "MOST_SMALL", 1000)
    with pytest.raises(SystemExit, match="small race is too large"):
        make_shipped.main(["--small", "--work", str(tmp_path / "work")])


def test_too_long_or_too_coarse_is_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, single_steps: None
) -> None:
    monkeypatch.setattr(make_shipped, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(make_shipped, "PARAMETERS", 20_000)
    monkeypatch.setattr(make_shipped, "ARCHS", ("rnn",))
    monkeypatch.setattr(make_shipped, "PASSES", 0.02)
    for name, value in {"MOST_BYTES": 1000, "MOST_TOGETHER": 1000}.items():
        with monkeypatch.context() as patched, pytest.raises(SystemExit, match=r"1,000 bytes|too large together"):
            patched.setattr(make_shipped, name, value)
            make_shipped.main(["--work", str(tmp_path / "work")])
