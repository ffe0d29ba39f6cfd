"""The program that times a notebook's training and ours to the same loss: both sides, tiny."""

import json
import re
from pathlib import Path

import pytest
import torch

from bench import time_to_quality, usual_notebook
from charlm.data.batches import Dataset
from charlm.tokenizers import CharTokenizer

TEXT = "the cat sat on the mat and a dog ran from the hen. " * 60


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {"HIDDEN": 8, "ROWS": 4, "COLUMNS": 10, "EPOCHS": 3}.items():
        monkeypatch.setattr(usual_notebook, name, value)
    sizes = {"hidden_size": 12, "epochs": 4, "batch_size": 4, "seq_len": 10, "eval_every": 30}
    monkeypatch.setitem(time_to_quality.RECIPES, "gru", sizes)
    path = tmp_path / "pets.txt"
    path.write_text(TEXT)
    return str(path)


def notebook(seed: int = 0) -> usual_notebook.Notebook:
    tokenizer = CharTokenizer.fit(TEXT)
    data = Dataset(tokenizer.encode(TEXT), 1, 1)
    return usual_notebook.Notebook("gru", data.train_ids, data.val_ids, tokenizer.vocab_size, seed)


@pytest.mark.slow
def test_both_sides_and_the_table(corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = ["--corpus", corpus, "--work", str(tmp_path / "work")]
    time_to_quality.main(["usual", "gru", *work])
    log = (tmp_path / "work" / "usual-gru.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in log]
    assert [entry["epoch"] for entry in entries] == [1, 2, 3]
    assert entries[2]["loss"] < entries[0]["loss"] and entries[2]["seconds"] > entries[0]["seconds"]
    time_to_quality.main(["ours", "gru", "--seeds", "1", *work])
    row = [cell.strip() for cell in capsys.readouterr().out.strip().splitlines()[-1].strip("|").split("|")]
    assert row[0] == "gru" and row[1] == f"{min(entry['loss'] for entry in entries):.4f}" and row[4] == "1"
    assert float(row[7]) <= float(row[1]) and re.fullmatch(r"\d+\.\d", row[8])


def test_the_usual_side_goes_on_where_it_was(corpus: str, tmp_path: Path) -> None:
    whole = notebook()
    for _ in range(2):
        whole.train_epoch()
    first = notebook()
    first.train_epoch()
    first.save(tmp_path / "state.pt")
    second = notebook(seed=5)
    second.load(tmp_path / "state.pt")
    second.train_epoch()
    assert second.epoch == 2 and second.seconds > first.seconds
    for one, two in zip(whole.net.state_dict().values(), second.net.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two)


def test_all_epochs_count_as_the_quickest() -> None:
    entries = [{"epoch": n, "seconds": s, "loss": x} for n, s, x in ((1, 9.0, 2.0), (2, 13.0, 1.0), (3, 20.0, 1.5))]
    assert time_to_quality.best_of(entries) == {"epoch": 2, "seconds": 8.0, "loss": 1.0}
