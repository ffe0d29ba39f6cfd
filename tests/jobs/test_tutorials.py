"""reproduce: a tutorial's settings, its way of measuring and ours, epoch by epoch, gone on with after a break."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.usual_notebook import get_batches
from charlm.cli import main
from charlm.config import ModelConfig
from charlm.data.batches import Dataset
from charlm.jobs.tutorials import (
    BATCH_MEAN,
    LAST_BATCH,
    OURS,
    TUTORIALS,
    WAYS,
    Tutorial,
    batch_losses,
    measured,
)
from charlm.models import build_model
from charlm.presets import from_options
from charlm.runs.store import RunStore

TEXT = "A fox met a hen by the gate. The hen ran home; the fox sat down and sang. " * 30


@pytest.fixture
def fable(monkeypatch: pytest.MonkeyPatch) -> Tutorial:
    """A tutorial of seconds."""
    figures = {"gru": {1: 2.5, 3: 2.0, 0: 1.9}}
    small = {"hidden_size": 8, "num_layers": 1, "seq_len": 10, "batch_size": 4, "drop_newlines": False}
    made = Tutorial("a fable", "fable.txt", ("gru", "rnn"), 3, LAST_BATCH, figures, "notebook", small, TEXT)
    monkeypatch.setitem(TUTORIALS, "fable", made)
    return made


def reproduced(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: str) -> list[dict[str, Any]]:
    assert main(["reproduce", "fable", *words, "--runs-dir", str(tmp_path), "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return rows


def test_published_and_ours_stand_side_by_side(
    fable: Tutorial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = reproduced(capsys, tmp_path)
    gru = [row for row in rows if row["arch"] == "gru"]
    assert [(row["epoch"], row["measured"], row["published"]) for row in gru] == [
        ("1", LAST_BATCH, 2.5), ("1", OURS, None), ("3", LAST_BATCH, 2.0), ("3", OURS, None),
        ("best", LAST_BATCH, 1.9), ("best", OURS, None),
    ]  # fmt: skip
    assert all(row["difference"] == pytest.approx(row["ours"] - row["published"]) for row in gru if row["published"])
    assert [row["epoch"] for row in rows if row["arch"] == "rnn"] == ["3", "3"]
    run = next(run for run in RunStore(tmp_path).list() if run.label == "reproduce-fable-gru")
    assert [row["val_loss"] for row in run.metrics() if row["val_loss"] is not None] == [
        entry[OURS] for entry in measured(run)
    ]


def test_it_goes_on_where_it_was_and_ends_the_same(
    fable: Tutorial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = reproduced(capsys, tmp_path / "a", "--arch", "gru", "--epochs", "1")
    assert [row["epoch"] for row in first] == ["1", "1"]
    rest = reproduced(capsys, tmp_path / "a", "--arch", "gru")
    assert rest[:2] == first and reproduced(capsys, tmp_path / "a", "--arch", "gru") == rest
    assert reproduced(capsys, tmp_path / "a", "--arch", "gru", "--epochs", "1") == first
    assert len([run for run in RunStore(tmp_path / "a").list() if not run.shipped]) == 1
    assert reproduced(capsys, tmp_path / "b", "--arch", "gru") == rest


def test_an_epoch_that_was_not_measured_is_measured(
    fable: Tutorial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = reproduced(capsys, tmp_path, "--arch", "rnn", "--epochs", "1")
    [run] = [run for run in RunStore(tmp_path).list() if not run.shipped]
    (run.folder / "analysis" / "reproduce.jsonl").unlink()
    assert reproduced(capsys, tmp_path, "--arch", "rnn", "--epochs", "1") == rows


def test_a_torn_last_line_is_measured_again(
    fable: Tutorial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = reproduced(capsys, tmp_path, "--arch", "rnn", "--epochs", "1")
    [run] = [run for run in RunStore(tmp_path).list() if not run.shipped]
    path = run.folder / "analysis" / "reproduce.jsonl"
    path.write_text(path.read_text()[:20])
    assert reproduced(capsys, tmp_path, "--arch", "rnn", "--epochs", "1") == rows


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "reproduce knows grimm, anna, wikitext-2, tiny"),
        (["grimm", "--arch", "mingru"], "grimm was published of lstm, gru, rnn, not of 'mingru'"),
        (["grimm", "--epochs", "31"], "epochs 31 is not between 1 and the 30"),
        (["grimm", "--epochs", "-1"], "epochs -1 is not between 1 and the 30"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", *words]) == 2
    assert said in capsys.readouterr().err


def test_all_are_listed_and_their_settings_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(TUTORIALS)
    for tutorial in TUTORIALS.values():
        assert tutorial.way in WAYS and set(tutorial.losses) <= set(tutorial.archs)
        assert (
            from_options(dict(tutorial.options), tutorial.preset).train.schedule == "constant"
        )  # more epochs may follow


def test_batches_through_the_held_out_text_are_the_notebooks() -> None:
    ids = np.random.default_rng(0).integers(0, 5, 811).astype(np.uint8)
    data = Dataset(ids, batch_size=2, seq_len=9, val_fraction=0.1)
    model = build_model(ModelConfig(vocab_size=5, hidden_size=6, dropout=0.5), 1).eval()
    losses = batch_losses(model, data)
    state, theirs = model.initial_state(2), []
    for x, y in get_batches(data.val_ids.astype(np.int64), 2, 9):
        logits, state = model(torch.from_numpy(x), state)
        theirs.append(F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(y).flatten()).item())
    assert len(losses) == 4 and losses == pytest.approx(theirs, rel=1e-5)
    torch.manual_seed(0)
    noisy = batch_losses(model.train(), data)
    assert noisy != losses and not any(map(math.isnan, noisy))


def test_a_held_out_text_shorter_than_a_batch_has_no_figure() -> None:
    data = Dataset(np.zeros(300, np.uint8), batch_size=8, seq_len=20)
    model = build_model(ModelConfig(vocab_size=2, hidden_size=4), 1)
    assert batch_losses(model, data) == []
    assert math.isnan(WAYS[BATCH_MEAN](None, model, data, 1))  # type: ignore[arg-type]
