"""What the texts of runs cost without a network: measured once, beside everything else, and kept."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from charlm.analysis.baselines import Baselines
from charlm.analysis.ppmd import NO_PACKAGE
from charlm.data.catalog import data_dir
from charlm.errors import CorpusError
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import NgramBaselines
from tests.tiny_runs import TEXT, spoil, trained, wait_for


@pytest.fixture
def run(store: RunStore) -> Run:
    return trained(store, "rnn")[0]


def test_it_is_measured_in_a_thread_and_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    baselines = NgramBaselines()
    assert baselines.of([run]) is None and baselines.is_coming([run])
    found = wait_for(lambda: baselines.of([run]))
    assert len(found.orders) == 12 and found.whole and not baselines.is_coming([run])
    assert baselines.of([run]) is found
    [kept] = (data_dir() / "ladders").iterdir()
    assert json.loads(kept.read_text()) == found.to_dict()
    monkeypatch.setattr("charlm.serving.baselines.measure_run", lambda *_: pytest.fail("measured twice"))
    assert NgramBaselines().measured(run) == found


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"orders": [1e999]}'])
def test_a_damaged_file_is_measured_anew(content: str, run: Run) -> None:
    found = NgramBaselines().measured(run)
    [kept] = (data_dir() / "ladders").iterdir()
    kept.write_text(content)
    assert NgramBaselines().measured(run) == found and json.loads(kept.read_text()) == found.to_dict()


def without_ppmd(found: Baselines) -> str:
    """The file of a program of before."""
    return json.dumps({name: value for name, value in found.to_dict().items() if not name.startswith("ppmd")})


def test_a_file_of_before_ppmd_is_completed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = NgramBaselines().measured(run)
    assert found.ppmd and found.to_dict()["gzip"] > 0
    [kept] = (data_dir() / "ladders").iterdir()
    kept.write_text(without_ppmd(found))
    monkeypatch.setattr("charlm.serving.baselines.measure_run", lambda *_: pytest.fail("counted twice"))
    assert NgramBaselines().measured(run) == found and json.loads(kept.read_text()) == found.to_dict()


def test_what_cannot_be_completed_stays_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = NgramBaselines().measured(run)
    [kept] = (data_dir() / "ladders").iterdir()
    before = without_ppmd(found)
    kept.write_text(before)
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "pyppmd", None)
        assert NgramBaselines().measured(run) == replace(found, ppmd=None, ppmd_missing=NO_PACKAGE)
        kept.write_text("")
        assert NgramBaselines().measured(run) == replace(found, ppmd=None, ppmd_missing=NO_PACKAGE)
        assert json.loads(kept.read_text())["ppmd_missing"] == NO_PACKAGE
    assert NgramBaselines().measured(run) == found  # the package is there
    kept.write_text(before)
    for text in (data_dir() / "texts").iterdir():
        text.unlink()
    again = NgramBaselines().measured(run)
    assert again.orders == found.orders and again.ppmd is None and "no longer here" in again.ppmd_missing
    assert kept.read_text() == before


def test_an_ngram_stands_on_its_rung(store: RunStore, run: Run) -> None:
    [ngram] = trained(store, "ngram", order=3)
    baselines = NgramBaselines()
    assert baselines.key(ngram) == baselines.key(run)
    assert baselines.measured(run).orders[2] == pytest.approx(ngram.best_val_loss, rel=1e-5)


def test_only_runs_of_one_text_and_split_share_one(store: RunStore, run: Run) -> None:
    baselines = NgramBaselines()
    wait_for(lambda: baselines.of([run]))
    [other] = trained(store, "gru", text=TEXT[:800])
    [cut] = trained(store, "gru", val_fraction=0.2)
    [same] = trained(store, "gru")
    assert baselines.of([run, same]) is baselines.of([run]) is not None
    assert baselines.of([run, other]) is None and baselines.of([run, cut]) is None and baselines.of([]) is None
    assert NgramBaselines(fitted=500).key(run) != baselines.key(run)
    assert not NgramBaselines(fitted=500).measured(run).whole


def test_what_cannot_be_measured_is_left_alone_for_a_while(
    store: RunStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in (data_dir() / "texts").iterdir():
        text.unlink()
    baselines = NgramBaselines()
    with pytest.raises(CorpusError, match="no longer here"):
        baselines.measured(run)
    assert baselines.of([run]) is None
    wait_for(lambda: not baselines.is_coming([run]))
    assert baselines.of([run]) is None and not baselines.is_coming([run])
    trained(store, "gru")  # the text is there again
    monkeypatch.setattr("charlm.serving.baselines.time.monotonic", lambda: 1e12)
    assert wait_for(lambda: baselines.of([run]))


def test_nothing_held_out_has_no_ladder(store: RunStore) -> None:
    [run] = trained(store, "rnn", val_fraction=0.0)
    with pytest.raises(CorpusError, match="nothing is held out of the text of rnn-pets"):
        NgramBaselines().measured(run)


def test_a_run_without_a_text_or_tokenizer_has_no_key(run: Run, tmp_path: Path) -> None:
    baselines = NgramBaselines()
    (run.folder / "tokenizer.json").unlink()
    assert baselines.key(run) == "" and baselines.of([run]) is None and not baselines.is_coming([run])
    spoil(run.folder / "run.json", corpus={})
    assert NgramBaselines().key(Run(run.folder)) == ""
