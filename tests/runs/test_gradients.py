"""The gradient through time, recorded along a training: what is recorded, what stays, and that it changes no bit."""

import json
import logging
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from charlm.analysis import gradient
from charlm.analysis.gradient import record, recorded
from charlm.formats.run_zip import read_zip, write_zip
from charlm.jobs import runner
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.models.recurrent import RNNModel
from charlm.runs.gradients import FILE, MOST, GradientLog, main_curve, thinned
from charlm.runs.resume import fork
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from tests.tiny_runs import (
    TRAINED,
    assert_same_training,
    entered,
    resumed,
    small_corpus,
    spoil,
    stopped,
    trained,
    untimed,
)

RECORDED: dict[str, Any] = {"record_gradient": True, "num_layers": 1}


def steps_of(run: Run) -> list[int]:
    return [row["step"] for row in run.gradients()]


# --- in a training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", TRAINED)
def test_a_training_records_its_states_and_changes_no_bit(arch: str, store: RunStore) -> None:
    options = {"dropout": 0.2, "num_layers": 2}
    drawn = []
    for wanted in (True, False):
        torch.manual_seed(1)
        trained(store, arch, **options, record_gradient=wanted)
        drawn.append(torch.random.get_rng_state())
    assert torch.equal(*drawn)
    off, on = store.list()[:2]
    assert_same_training(on, off)
    assert untimed(on.metrics()) == untimed(off.metrics()) and on.samples() == off.samples()
    assert off.gradients() == [] and not (off.folder / FILE).exists()
    assert steps_of(on) == [0, 4, 8, 12]
    states = {"lstm": {"h0", "h1", "c0", "c1"}, "transformer": set()}.get(arch, {"h0", "h1"})
    for row in on.gradients():
        assert row.keys() == {"step", "half_life", "input", *states}
        assert all(len(row[name]) == (19 if arch == "transformer" else 64) for name in {*states, "input"})
    first, *_, last = on.gradients()
    assert first["input"] != last["input"]


@pytest.mark.parametrize("which", ["initial", "last"])
def test_a_record_is_what_measuring_the_weights_gives(which: str, store: RunStore) -> None:
    [run] = trained(store, "gru", **RECORDED)
    [trainer] = prepare([run], small_corpus())
    if which == "initial":
        model, row = trainer.model, run.gradients()[0]
    else:
        model, row = run.load_model("last"), run.gradients()[-1]
    found = record(model, trainer.dataset.val_ids)
    assert row == recorded(row["step"], found) and row["half_life"] == found["half_life"]
    norms = [one["log10_norm"] for one in found["rows"] if one["state"] == "h"]
    assert row["h0"] == pytest.approx(norms, abs=0.005 + 1e-9)


def test_a_scaled_rotation_is_recorded_as_one(store: RunStore) -> None:
    """h' = a Q h + W x with a permutation Q loses log10 a at each step; without a learning rate it stays so."""
    options = {**RECORDED, "nonlinearity": "relu", "learning_rate": 1e-10, "steps": 4}
    [run] = entered(store, "rnn", **options)
    [trainer] = prepare([run], small_corpus())
    assert isinstance(trainer.model, RNNModel)
    with torch.no_grad():
        trainer.model.rnn.weight_hh_l0.copy_(0.8 * torch.eye(8)[torch.tensor([3, 0, 7, 1, 2, 6, 4, 5])])
        trainer.model.rnn.weight_ih_l0.uniform_(0.1, 1.0)
        trainer.model.rnn.bias_ih_l0.zero_()
        trainer.model.rnn.bias_hh_l0.zero_()
    run_trainers([trainer], Control())
    rows = store.get(run.run_id).gradients()
    assert [row["step"] for row in rows] == [0, 4]
    for row in rows:
        assert row["half_life"] == 4  # 0.8^4 = 0.41, 0.8^3 = 0.51
        falls = [row["h0"][lag] - row["h0"][0] for lag in range(64)]
        assert falls == pytest.approx([lag * math.log10(0.8) for lag in range(64)], abs=0.011)


def test_an_ngram_records_nothing(store: RunStore, caplog: pytest.LogCaptureFixture) -> None:
    [run] = trained(store, "ngram", **RECORDED)
    assert run.gradients() == [] and not (run.folder / FILE).exists() and "gradient" not in caplog.text


def test_a_stopped_and_resumed_run_records_no_step_twice(store: RunStore, single_steps: None) -> None:
    [whole] = trained(store, **RECORDED)
    run = stopped(store, 6, **RECORDED)
    assert steps_of(run) == [0, 4, 6]  # a stop validates once more
    [run] = resumed(store, run)
    assert steps_of(run) == [0, 4, 6, 8, 12]
    assert [row for row in run.gradients() if row["step"] != 6] == whole.gradients()
    assert_same_training(run, whole)


def test_what_a_killed_process_recorded_beyond_its_last_save_is_recorded_again(
    store: RunStore, single_steps: None
) -> None:
    [whole] = trained(store, **RECORDED)
    run = stopped(store, 5, **RECORDED)
    lost = {**run.gradients()[0], "h0": [1.0]}
    for step in (8, 12):
        run.gradient_log.append({**lost, "step": step})
    with (run.folder / FILE).open("a") as file:
        file.write('{"step": 14, "half')
    [run] = resumed(store, run)
    assert steps_of(run) == [0, 4, 5, 8, 12]
    assert run.gradients()[-2:] == whole.gradients()[-2:]


def test_a_run_of_before_goes_on_without(store: RunStore, single_steps: None) -> None:
    run = stopped(store, 4)
    train = run.train_config.to_dict()
    del train["record_gradient"]
    spoil(run.folder / "run.json", train=train)
    assert Run(run.folder).train_config.record_gradient is False
    [run] = resumed(store, run)
    assert run.status == "finished" and run.gradients() == [] and not (run.folder / FILE).exists()


def test_a_fork_inherits_it_as_it_does_the_losses(store: RunStore) -> None:
    [parent] = trained(store, **RECORDED)
    child, corpus = fork(store, parent, {"steps": 8})
    assert child.gradients() == parent.gradients()
    run_trainers(prepare([child], corpus, resume=True), Control())
    assert steps_of(store.get(child.run_id)) == [0, 4, 8, 12, 16, 20]
    other, _ = fork(store, parent, {"steps": 8}, small_corpus("A bird sang. The hen sat on the mat.\n" * 60))
    assert other.gradients() == []
    [plain] = trained(store, num_layers=1)
    assert not (fork(store, plain, {"steps": 8})[0].folder / FILE).exists()


def test_it_counts_in_the_runs_bytes_and_outlives_a_trim(store: RunStore) -> None:
    [run] = trained(store, **RECORDED)
    size = (run.folder / FILE).stat().st_size
    before = run.size_bytes
    (run.folder / FILE).rename(store.root.parent / FILE)
    assert run.size_bytes == before - size
    (store.root.parent / FILE).rename(run.folder / FILE)
    store.trim(run)
    assert steps_of(store.get(run.run_id)) == [0, 4, 8, 12]


# --- what goes wrong -------------------------------------------------------------------------------------------------


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one for one in caplog.messages if "is not recorded" in one]


def test_a_held_out_text_that_is_too_short_is_said_once(store: RunStore, caplog: pytest.LogCaptureFixture) -> None:
    text = "The cat sat on the mat, and then it ran.\n" * 12
    [run] = trained(store, text=text, **RECORDED)
    assert run.status == "finished" and run.message == "" and run.gradients() == []
    assert len(warnings(caplog)) == 1 and "the gradient needs 104" in caplog.text


@pytest.mark.parametrize("error", [OSError(28, "no space left"), RuntimeError("not enough memory"), MemoryError()])
def test_what_prevents_a_record_costs_that_one_and_nothing_else(
    error: Exception, store: RunStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    [whole] = trained(store, **RECORDED)
    real, asked = GradientLog.append, []

    def refuses(log: GradientLog, row: dict[str, Any]) -> None:
        asked.append(row["step"])
        if row["step"] in (4, 8):
            raise error
        real(log, row)

    monkeypatch.setattr(GradientLog, "append", refuses)
    with caplog.at_level(logging.WARNING):
        [run] = trained(store, **RECORDED)
    assert run.status == "finished" and asked == [0, 4, 8, 12] and steps_of(run) == [0, 12]
    assert len(warnings(caplog)) == 1
    assert_same_training(run, whole)


def test_a_training_that_diverges_fails_as_it_does_without(store: RunStore) -> None:
    hot: dict[str, Any] = {"nonlinearity": "relu", "learning_rate": 10.0, "grad_clip": 0.0, "steps": 400,
                           "eval_every": 1, "schedule": "constant", "warmup_steps": 0}  # fmt: skip
    [on], [off] = trained(store, "rnn", **hot, **RECORDED), trained(store, "rnn", **hot, num_layers=1)
    assert (on.status, on.message, on.step) == (off.status, off.message, off.step)
    assert on.status == "failed"


def test_records_that_take_too_long_are_left_out(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "RECORD_SECONDS", 0.0)
    monkeypatch.setattr(runner, "RECORD_SHARE", 0.0)
    [run] = trained(store, **RECORDED)
    assert run.status == "finished" and steps_of(run) == [0]
    monkeypatch.setattr(runner, "RECORD_SHARE", 1e6)
    [run] = trained(store, **RECORDED)
    assert steps_of(run) == [0, 4, 8, 12]


def test_an_interruption_breaks_a_record_off(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    [run] = entered(store, **RECORDED)
    control = Control()
    [trainer] = prepare([run], small_corpus())
    real = gradient.record

    def interrupted(*args: Any, **more: Any) -> Any:
        control.interrupted = trainer.state.step == 4
        return real(*args, **more)

    monkeypatch.setattr(gradient, "record", interrupted)
    run_trainers([trainer], control)
    run = store.get(run.run_id)
    assert run.status == "interrupted" and steps_of(run) == [0]
    monkeypatch.setattr(gradient, "record", real)
    [run] = resumed(store, run)
    assert steps_of(run)[0] == 0 and steps_of(run)[-2:] == [8, 12]


# --- the file --------------------------------------------------------------------------------------------------------


def row_of(step: int, **more: Any) -> dict[str, Any]:
    return {"step": step, "half_life": 2, "h0": [0.5, -1.25, None], "input": [0.0], **more}


@pytest.mark.slow
def test_of_too_many_records_those_close_to_others_go(tmp_path: Path) -> None:
    log, newest = GradientLog(tmp_path / FILE), 0
    for step in range(0, 5 * 730, 5):
        log.append(row_of(step))
        newest = step
    steps = [row["step"] for row in log.rows()]
    assert len(steps) == MOST and steps[0] == 0 and steps[-1] == newest
    gaps = [later - earlier for earlier, later in pairwise(steps)]
    assert max(gaps) <= 4 * (newest / MOST) and sorted(set(steps)) == steps
    assert log.rows(since=steps[-3]) == [row_of(step) for step in steps[-2:]]


def test_the_largest_record_keeps_the_file_below_its_bound(tmp_path: Path) -> None:
    log = GradientLog(tmp_path / FILE)
    curves = {f"{state}{layer}": [-123.45] * 64 for state in "hc" for layer in range(8)}
    log.write({"step": step, "half_life": None, **curves, "input": [-123.45] * 64} for step in range(MOST + 20))
    assert len(log.rows()) == MOST and 500_000 < log.path.stat().st_size < 1_100_000


@pytest.mark.parametrize(
    "line",
    ["", "x", "[]", "{}", '{"step": 4}', '{"step": -1, "half_life": 1, "h0": [1]}', '{"step": 4, "half_life": "1"}',
     '{"step": 4, "half_life": 1, "h0": []}', '{"step": 4, "half_life": 1, "h0": ["<b>"]}',
     '{"step": 4, "half_life": 1, "h0": [[1]]}', '{"step": 4, "half_life": -1, "h0": [1]}',
     '{"step": 4, "half_life": 1, "h0": [1e999]}', '{"step": 4, "half_life": 1, "h0": [NaN]}',
     json.dumps({"step": 4, "half_life": 1, "h0": [0.0] * 65}), '{"step": 4, "half_life": 1, "h9": [1]}'],
)  # fmt: skip
def test_what_is_no_record_is_passed_over(line: str, tmp_path: Path) -> None:
    log = GradientLog(tmp_path / FILE)
    log.append(row_of(2))
    with log.path.open("a") as file:
        file.write(line + "\n")
    log.path.touch()
    assert log.rows() == [row_of(2)]
    log.append(row_of(6))
    assert log.rows() == [row_of(2), row_of(6)]


def test_the_main_curve_is_the_last_layers() -> None:
    assert main_curve({"half_life": 1, "h0": [], "h1": [], "c1": [], "input": []}) == "h1"
    assert main_curve({"half_life": 1, "input": []}) == "input"
    assert thinned([]) == []


def test_a_zip_takes_it_along_and_brings_back_what_is_a_record(store: RunStore, tmp_path: Path) -> None:
    [run] = trained(store, **RECORDED)
    with (run.folder / FILE).open("a") as file:
        file.write(json.dumps(row_of(90, prompt="<script>", text="x", h1="<b>")) + "\n" + json.dumps(row_of(99)) + "\n")
    write_zip(run, tmp_path / "run.zip")
    made = read_zip(store, tmp_path / "run.zip")
    assert made.gradients() == [*run.gradients()] and steps_of(made) == [0, 4, 8, 12, 99]
    assert "<" not in (made.folder / FILE).read_text()
