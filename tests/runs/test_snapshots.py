"""Weights kept along a training: at which steps, how many, what of them stays, and that they change nothing else."""

import errno
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from charlm.config import TrainConfig
from charlm.errors import CheckpointError, ConfigError, MeasurementError
from charlm.jobs import runner
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.runs import snapshots
from charlm.runs.checkpoint import save_snapshot
from charlm.runs.resume import fork
from charlm.runs.run import Run
from charlm.runs.snapshots import MOST, SnapshotKeeper, planned_snapshots, snapshot_path
from charlm.runs.store import RunStore
from charlm.ui.compare.ranking import default_runs
from tests.tiny_runs import (
    TRAINED,
    assert_same_training,
    resumed,
    spoil,
    stopped,
    trained,
    untimed,
)

SOON: dict[str, Any] = {"hidden_size": 4, "num_layers": 1}


def same_weights(one: Any, other: Any, off: float = 0.0) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.allclose(mine[name], theirs[name], rtol=off, atol=off / 100) for name in mine)


# --- which steps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [1, 2, 3, 12, 100, 1_200, 5_916, 10_000_000])
@pytest.mark.parametrize("count", [1, 2, 3, 12, MOST])
@pytest.mark.parametrize("first", [0, 500])
def test_planned_steps_are_bounded_and_spaced_by_a_factor(first: int, count: int, total: int) -> None:
    steps = planned_snapshots(first, first + total, count)
    assert steps[0] == first and len(steps) <= count and steps == sorted(set(steps))
    if count > 1:
        assert steps[-1] == first + total
    if total >= 100_000 and count > 3:
        assert len(steps) == count
        ratios = [(b - first) / (a - first) for a, b in pairwise(steps[1:])]
        assert max(ratios) - min(ratios) < 0.01 and steps[1] == first + total // snapshots.SPAN


def kept_by(keeper: SnapshotKeeper, steps: range) -> list[int]:
    for step in steps:
        if keeper.is_due(step):
            keeper.keep(step, Path.touch)
    return snapshots.snapshot_steps(keeper.folder)


def test_by_the_clock_powers_of_two_are_kept_and_the_earliest_go(tmp_path: Path) -> None:
    assert kept_by(SnapshotKeeper(tmp_path, 5, 100, 0, None), range(9)) == [0, 1, 2, 4, 8]
    again = SnapshotKeeper(tmp_path, 5, 100, 5, None)  # what is beyond step 5 is trained again
    assert snapshots.snapshot_steps(tmp_path) == [0, 1, 2, 4]
    assert kept_by(again, range(6, 70)) == [0, 8, 16, 32, 64]


def test_a_longer_budget_keeps_the_first_and_the_latest(tmp_path: Path) -> None:
    assert kept_by(SnapshotKeeper(tmp_path, 4, 100, 0, 100), range(101)) == [0, 1, 4, 100]
    before = snapshots.snapshot_steps(tmp_path)
    after = kept_by(SnapshotKeeper(tmp_path, 4, 100, 100, 10_000), range(101, 10_001))
    assert before[0] == after[0] == 0 and after[-1] == 10_000 and len(after) == len(before) == 4


@pytest.mark.parametrize(
    ("wanted", "size", "kept"),
    [(12, 64_000_001, 0), (12, 40_000_000, 1), (12, 7_000_000, 9), (12, 100, 12), (0, 100, 0)],
)
def test_large_models_keep_fewer(wanted: int, size: int, kept: int, tmp_path: Path) -> None:
    assert len(kept_by(SnapshotKeeper(tmp_path, wanted, size, 0, 5_000), range(5_001))) == kept
    assert kept or list(tmp_path.iterdir()) == []


def test_the_setting_has_bounds() -> None:
    with pytest.raises(ConfigError, match="snapshots 25 is outside 0 to 24"):
        TrainConfig(snapshots=MOST + 1)


# --- in a training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", TRAINED)
def test_each_is_what_the_weights_were_in_16_bits(arch: str, store: RunStore) -> None:
    [run] = trained(store, arch, snapshots=4)
    assert run.snapshots() == [0, 1, 12]
    assert same_weights(run.load_snapshot(12), run.load_model("last"), 1e-3)
    assert not same_weights(run.load_snapshot(0), run.load_snapshot(12), 1e-3)
    shorter = trained(store, arch, steps=1, schedule="constant")[0]
    other = trained(store, arch, schedule="constant")[0]
    assert same_weights(other.load_snapshot(1), shorter.load_model("last"), 1e-3)


def test_they_change_no_bit_and_none_writes_nothing(store: RunStore) -> None:
    [on], [off] = trained(store, dropout=0.2), trained(store, dropout=0.2, snapshots=0)
    assert_same_training(on, off)
    assert untimed(on.metrics()) == untimed(off.metrics()) and on.samples() == off.samples()
    assert on.snapshots() == [0, 1, 2, 3, 6, 12] and off.snapshots() == []
    assert not (off.folder / "snapshots").exists()


def test_an_ngram_keeps_none(store: RunStore) -> None:
    [run] = trained(store, "ngram")
    assert run.snapshots() == [] and not (run.folder / "snapshots").exists()


def test_what_is_stopped_and_resumed_keeps_what_the_whole_keeps(store: RunStore, single_steps: None) -> None:
    [whole] = trained(store, **SOON)
    run = stopped(store, 5, **SOON)
    assert run.snapshots() == [0, 1, 2, 3]
    [run] = resumed(store, run)
    assert run.snapshots() == whole.snapshots() == [0, 1, 2, 3, 6, 12]
    for step in whole.snapshots():
        assert snapshot_path(run.folder, step).read_bytes() == snapshot_path(whole.folder, step).read_bytes()


def test_what_was_lost_with_a_killed_process_is_kept_again(store: RunStore, single_steps: None) -> None:
    [whole] = trained(store, **SOON)
    run = stopped(store, 2, **SOON)
    for step in (3, 6):
        snapshot_path(run.folder, step).write_bytes(b"of steps that were not saved")
    (run.folder / "snapshots" / "9.safetensors.1.2.tmp").write_bytes(b"half")
    [run] = resumed(store, run)
    names = {path.name for path in (run.folder / "snapshots").iterdir()}
    assert names == {f"{step}.safetensors" for step in whole.snapshots()}
    assert same_weights(run.load_snapshot(6), whole.load_snapshot(6))


def test_a_run_of_before_keeps_from_where_it_goes_on(store: RunStore, single_steps: None) -> None:
    run = stopped(store, 4, **SOON, snapshots=0)
    train = run.train_config.to_dict()
    del train["snapshots"]
    spoil(run.folder / "run.json", train=train)
    assert Run(run.folder).train_config.snapshots == 12
    [run] = resumed(store, run)
    assert run.snapshots() == [4, 5, 6, 8, 12]


def test_a_fork_starts_with_none_of_its_parents(store: RunStore) -> None:
    [parent] = trained(store, **SOON)
    child, corpus = fork(store, parent, {"steps": 8})
    assert child.snapshots() == []
    run_trainers(prepare([child], corpus, resume=True), Control())
    child = store.get(child.run_id)
    assert child.snapshots() == [12, 13, 14, 16, 20]
    assert same_weights(child.load_snapshot(12), parent.load_snapshot(12))
    with pytest.raises(MeasurementError, match="began with weights of lstm-pets"):
        child.load_initial()


def test_the_last_step_of_a_training_that_ends_early_is_kept(store: RunStore) -> None:
    [run] = trained(store, steps=400, eval_every=1, patience=1, learning_rate=0.5, **SOON)
    assert run.step < 400 and run.snapshots()[-1] == run.step
    [timed] = trained(store, steps=0, minutes=0.01, **SOON)
    powers = [0, *(2**power for power in range(timed.step.bit_length())), timed.step]
    assert timed.snapshots() == sorted({0, *sorted(set(powers))[-11:]})


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_full_disk_costs_the_snapshot_and_nothing_else(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    [whole] = trained(store, **SOON)
    real = save_snapshot

    def refuses(path: Path, model: Any) -> None:
        if path.name in ("0.safetensors", "2.safetensors"):
            raise OSError(errno.ENOSPC, "no space left")
        real(path, model)

    monkeypatch.setattr(runner, "save_snapshot", refuses)
    with caplog.at_level(logging.WARNING):
        [run] = trained(store, **SOON)
    assert run.status == "finished" and run.snapshots() == [1, 3, 6, 12]
    assert sum("are not kept: [Errno 28] no space left" in one for one in caplog.messages) == 2
    assert_same_training(run, whole)


def test_weights_beyond_16_bits_are_not_kept(store: RunStore, tmp_path: Path) -> None:
    model = trained(store, **SOON)[0].load_model()
    next(model.parameters()).fill_(1e6)
    with pytest.raises(ValueError, match="larger than 16 bits"):
        save_snapshot(tmp_path / "x.safetensors", model)
    assert list(tmp_path.glob("*.safetensors")) == []


def test_a_damaged_one_is_refused(store: RunStore) -> None:
    [run] = trained(store, **SOON)
    path = snapshot_path(run.folder, 6)
    data = bytearray(path.read_bytes())
    data[-3] ^= 8
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum"):
        run.load_snapshot(6)
    [other] = trained(store, hidden_size=6, num_layers=1)
    path.write_bytes(snapshot_path(other.folder, 6).read_bytes())
    with pytest.raises(CheckpointError, match="this model needs"):
        run.load_snapshot(6)
    with pytest.raises(CheckpointError, match="kept no weights of step 7; it has those of 0, 1, 2, 3, 6, 12"):
        run.load_snapshot(7)


def test_other_files_are_passed_over(store: RunStore, tmp_path: Path) -> None:
    [run] = trained(store, **SOON)
    folder = run.folder / "snapshots"
    for name in ("007.safetensors", "x.safetensors", "-1.safetensors", "9" * 13 + ".safetensors", "notes.txt"):
        (folder / name).write_bytes(b"")
    (folder / "9.safetensors").symlink_to(tmp_path / "elsewhere")
    assert run.snapshots() == [0, 1, 2, 3, 6, 12]


def test_keeping_only_the_best_removes_them(store: RunStore) -> None:
    [run] = trained(store, **SOON)
    before, spare = run.size_bytes, run.spare_bytes
    kept = sum(snapshot_path(run.folder, step).stat().st_size for step in run.snapshots())
    assert spare > kept > 0 and store.trim(run) == spare
    run = store.get(run.run_id)
    assert run.snapshots() == [] and not (run.folder / "snapshots").exists() and run.spare_bytes == 0
    assert run.size_bytes == pytest.approx(before - spare, abs=100)


def test_leftovers_of_killed_processes_are_swept(store: RunStore) -> None:
    [run] = trained(store, **SOON)
    leftover = run.folder / "snapshots" / "6.safetensors.1.2.tmp"
    leftover.write_bytes(b"half")
    assert list(store.sweep()) == [run.folder] and not leftover.exists() and 6 in run.snapshots()


# --- before the training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", TRAINED)
def test_the_first_weights_are_made_again_from_seed_and_text(arch: str, store: RunStore) -> None:
    [run] = trained(store, arch, steps=1)
    kept = run.load_initial()
    assert same_weights(kept, run.load_snapshot(0))
    snapshot_path(run.folder, 0).unlink()
    made = run.load_initial()
    assert same_weights(made, kept, 1e-3) and not made.training
    assert not same_weights(made, run.load_model("last"), 1e-3)
    assert any(not torch.equal(one, one.half().float()) for one in made.state_dict().values())  # not from 16 bits


def test_where_they_cannot_be_made_it_says_why(store: RunStore) -> None:
    [run] = trained(store, snapshots=0)
    spoil(run.folder / "run.json", corpus={**run.corpus, "sha256": "0" * 64})
    with pytest.raises(MeasurementError, match="no longer here"):
        Run(run.folder).load_initial()
    spoil(run.folder / "run.json", imported={"format": "zip"})
    with pytest.raises(MeasurementError, match="trained elsewhere"):
        Run(run.folder).load_initial()
    [counted] = trained(store, "ngram")
    with pytest.raises(MeasurementError, match="n-gram"):
        counted.load_initial()


# --- the small race that comes with the app --------------------------------------------------------------------------


def test_the_larger_shipped_runs_come_first_and_are_compared(tmp_path: Path) -> None:
    runs = RunStore(tmp_path).list()
    small = [run for run in runs if run.snapshots()]
    assert {run.run_id for run in small} == {f"sherlock-small-{arch}" for arch in ("lstm", "gru", "rnn")}
    assert all(len(run.snapshots()) == 12 and run.spare_bytes == 0 for run in small)
    files = [file for run in small for file in run.folder.rglob("*") if "measured" not in file.parts and file.is_file()]
    assert sum(file.stat().st_size for file in files) < 3_000_000  # without what was measured of them
    assert default_runs(runs) == ["sherlock-lstm", "sherlock-gru", "sherlock-rnn"]
    assert runs[0].run_id == "sherlock-lstm" and len({run.group for run in small}) == 1
    assert runs[0].group not in {run.group for run in small}


@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn"])
def test_what_they_began_with_can_be_made_again(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunStore().get(f"sherlock-small-{arch}")
    kept = run.load_initial()
    monkeypatch.setattr(Run, "snapshots", lambda _: [])
    assert same_weights(run.load_initial(), kept, 1e-3)
