"""Races of several seeds on the command line: what they print, and that they go on as one thing."""

import json
from pathlib import Path
from typing import Any

import pytest

from charlm.analysis.seeds import level_at
from charlm.cli import main
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.runs.create import create_runs
from charlm.runs.store import RunStore
from tests.cli.test_cli import TINY, answer, refusal
from tests.cli.test_cli import book as book
from tests.tiny_runs import TEXT, assert_same_training, entered, settings, small_corpus, trained

LONG = TEXT * 40
SETTINGS: dict[str, Any] = {"text": LONG, "seeds": 2, "steps": 300, "eval_every": 60, "dropout": 0.2}


@pytest.fixture
def long_book(tmp_path: Path) -> str:
    path = tmp_path / "long.txt"
    path.write_text(LONG, encoding="utf-8")
    return str(path)


def test_a_race_of_seeds_prints_means_and_claims(long_book: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["race", long_book, *TINY, "--archs", "gru,rnn", "--seeds", "2"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["model", "parameters", "mean"] and len(lines) == 5
    assert "2 seeds each, paired; equal layers" in lines[-1] and lines[-1].endswith("on which nothing was chosen.")


def test_json_has_runs_groups_and_differences(long_book: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = answer(capsys, "race", long_book, *TINY, "--archs", "gru,rnn", "--seeds", "2", "--budget", "flops")
    assert len(told["runs"]) == 4 and [len(group["runs"]) for group in told["groups"]] == [2, 2]
    assert told["measured_on"] == "test" and len(told["differences"]) == 1 and told["seeds"] == [7, 8]
    assert "multiply-adds" in told["equal"][1] or "budgets" in told["equal"][1]  # of four steps a fourth is much
    compared = answer(capsys, "runs", "compare", told["runs"][0]["run_id"])
    assert compared == {name: value for name, value in told.items() if name != "runs"}


def test_an_experiment_has_five_seeds_and_equal_parameters(
    long_book: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--hidden-size", "16", "--num-layers", "1", "--steps", "2", "--seq-len", "10", "--batch-size", "2"]
    told = answer(capsys, "experiment", long_book, *words, "--archs", "lstm,rnn")
    assert len(told["seeds"]) == 5 and len(told["runs"]) == 10 and "parameters" in told["equal"][0]
    assert len({group["hidden_size"] for group in told["groups"]}) == 2
    less = answer(capsys, "experiment", long_book, *words, "--archs", "lstm,rnn", "--seeds", "2", "--match", "width")
    assert len(less["seeds"]) == 2 and len({group["hidden_size"] for group in less["groups"]}) == 1


def test_one_architecture_says_that_there_is_nothing_to_compare_with(
    long_book: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["race", long_book, *TINY, "--archs", "gru", "--seeds", "2"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3 and "differ in nothing but their seeds" in err


@pytest.mark.slow
def test_a_race_that_was_cut_off_goes_on_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = RunStore(tmp_path / "runs", tmp_path / "shipped")
    wholes = trained(store, "gru", "rnn", **SETTINGS)
    trainers, control = prepare(entered(store, "gru", "rnn", **SETTINGS), small_corpus(LONG)), Control()

    def cut() -> None:
        control.interrupted = any(trainer.state.step >= 23 for trainer in trainers)

    run_trainers(trainers, control, cut)
    halves = [store.get(trainer.run.run_id) for trainer in trainers]
    assert {run.status for run in halves} == {"interrupted"}
    told = answer(capsys, "resume", halves[2].run_id, "--race", "--runs-dir", str(store.root))
    assert {one["run_id"] for one in told["runs"]} == {run.run_id for run in halves} and told["seeds"] == [7, 8]
    for whole, half in zip(wholes, halves, strict=True):
        assert_same_training(store.get(half.run_id), whole)
        assert store.get(half.run_id).test_log.rows() == whole.test_log.rows()
    assert main(["resume", halves[0].run_id, "--race", "--steps", "5", "--runs-dir", str(store.root)]) == 0
    assert {store.get(run.run_id).step for run in halves} == {305}
    capsys.readouterr()
    assert "has finished its 305 steps" in refusal(
        capsys, "resume", halves[0].run_id, "--race", "--runs-dir", str(store.root)
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--seeds", "0"], "seeds 0 is outside 1 to 10"), (["--seeds", "11"], "seeds 11 is outside 1 to 10"),
     (["--match", "size"], "match 'size' is not one of: width, parameters"),
     (["--budget", "time"], "budget 'time' is not one of: tokens, seconds, flops"),
     (["--budget", "flops", "--steps", "0", "--minutes", "1"], "only minutes (1) are given"),
     (["--seeds", "3", "--seed", str(2**31 - 2)], "seed 2,147,483,648 is outside")],
)  # fmt: skip
def test_what_cannot_be_raced_is_said(
    words: list[str], said: str, book: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refusal(capsys, "race", book, *TINY, *words)
    assert not list((tmp_path / "runs").glob("2*"))


def test_train_has_no_options_of_a_race(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--seeds" in refusal(capsys, "train", book, *TINY, "--seeds", "2")


def test_json_is_one_line(long_book: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["race", long_book, *TINY, "--archs", "gru", "--seeds", "2", "--json"]) == 0
    assert [len(json.loads(line)["runs"]) for line in capsys.readouterr().out.splitlines()] == [2]


# --- early stopping --------------------------------------------------------------------------------------------------

EARLY = ("--hidden-size", "8", "--num-layers", "1", "--steps", "3", "--seq-len", "10", "--batch-size", "2")


def test_an_experiment_stops_when_the_best_is_told_apart(
    long_book: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["experiment", long_book, *EARLY, "--archs", "lstm,ngram", "--seeds", "4", "--early-stop"]
    told = answer(capsys, *words)
    assert told["looks"] == [3, 4] and told["seeds"] == [7, 8, 9] and 0 < told["level"] < 0.05
    assert [one["claimed"] for one in told["differences"]] == [True]
    assert len(told["runs"]) == 4 == len(list((tmp_path / "runs").glob("*/run.json")))
    assert "looked at after 3 and 4 seeds" in told["sentences"][-1]
    assert answer(capsys, "runs", "compare", told["runs"][0]["run_id"])["level"] == told["level"]


@pytest.mark.slow
def test_an_experiment_without_a_winner_trains_all_its_seeds(
    long_book: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["experiment", long_book, *EARLY, "--archs", "lstm,gru", "--seeds", "4", "--early-stop"]
    told = answer(capsys, *words, "--learning-rate", "1e-7", "--match", "width")
    assert told["seeds"] == [7, 8, 9, 10] and len(told["runs"]) == 8
    assert [one["claimed"] for one in told["differences"]] == [False]
    assert told["level"] == pytest.approx(level_at(4, [3, 4]))


@pytest.mark.slow
def test_an_experiment_that_was_cut_off_goes_on_to_its_next_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = RunStore(tmp_path / "runs", tmp_path / "shipped")
    corpus, config = small_corpus(LONG), settings(seeds=4, steps=3, eval_every=3)
    runs = create_runs(store, corpus, config, ["lstm", "ngram"], looks=[3, 4])
    run_trainers(prepare(runs[:2], corpus), Control())  # the first seed
    for run in runs:
        run.release()
    told = answer(capsys, "resume", runs[3].run_id, "--race", "--runs-dir", str(store.root))
    assert {one["status"] for one in told["runs"]} == {"finished"} and len(told["runs"]) == 4
    assert told["seeds"] == [7, 8, 9] and told["looks"] == [3, 4]
    assert len(store.list()) == 4


@pytest.mark.slow
def test_before_the_first_look_nothing_is_claimed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = RunStore(tmp_path / "runs", tmp_path / "shipped")
    corpus, config = small_corpus(LONG), settings(seeds=4, steps=3, eval_every=3)
    runs = create_runs(store, corpus, config, ["lstm", "ngram"], looks=[3, 4])
    run_trainers(prepare(runs[:3], corpus), Control())
    said = refusal(capsys, "runs", "compare", runs[0].run_id, "--runs-dir", str(store.root))
    assert "this experiment is first looked at after 3 seeds; 2 are trained" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--seeds", "3"], "early stopping needs 4 seeds or more, not 3"),
     (["--archs", "gru"], "early stopping needs two architectures to compare, not gru alone")],
)  # fmt: skip
def test_what_cannot_stop_early_is_said(
    words: list[str], said: str, long_book: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refusal(capsys, "experiment", long_book, *EARLY, *words, "--early-stop")
    assert not list((tmp_path / "runs").glob("2*"))
