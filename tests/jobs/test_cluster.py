"""Trainings on a Ray cluster: what a node sends is gathered; two nodes of this machine, of which one is lost."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.errors import CheckpointError
from charlm.jobs import Control, cluster
from charlm.jobs.scheduler import prepare, run_trainers
from charlm.runs.resume import reopen_all
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from tests.cli.test_cli import TINY, answer, refusal
from tests.cli.test_cli import book as book
from tests.tiny_runs import assert_same_training, entered, resumed, small_corpus, trained, untimed

LONG: dict[str, Any] = {"steps": 5_000, "eval_every": 1_000}


def assert_same(one: Run, other: Run) -> None:
    assert_same_training(one, other)
    assert untimed(one.metrics()) == untimed(other.metrics()) and one.samples() == other.samples()
    assert one.status == other.status == "finished" and one.test_log.rows() == other.test_log.rows()


# --- without Ray -----------------------------------------------------------------------------------------------------


def test_what_a_node_sends_is_the_run(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "NEWS_SECONDS", 0.0)
    [whole], [run] = trained(store, snapshots=3), entered(store, snapshots=3)
    run.update(label="renamed here")
    sent = 0
    for files in cluster.train_on_node(run.run_id, cluster.changed_files(run.folder, {}), small_corpus(), False):
        cluster.gather(run, files)
        sent += 1
    run.release()
    found = store.get(run.run_id)
    assert sent > 1 and found.label == "renamed here" and found.snapshots() == whole.snapshots()
    assert_same(found, whole)


def test_only_what_has_changed_is_sent(tmp_path: Path) -> None:
    seen: dict[str, tuple[int, int]] = {}
    cluster.put_files(tmp_path, {"run.json": b"{}", "snapshots/4.safetensors": b"x"})
    (tmp_path / ".lock").touch()
    assert list(cluster.changed_files(tmp_path, seen)) == ["snapshots/4.safetensors", "run.json"]
    assert cluster.changed_files(tmp_path, seen) == {}
    (tmp_path / "metrics.jsonl").write_bytes(b"1\n")
    assert cluster.changed_files(tmp_path, seen) == {"metrics.jsonl": b"1\n"}


@pytest.mark.parametrize("name", ["../else", "/etc/else", "a/../../else"])
def test_no_file_outside_the_run_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no file of a run"):
        cluster.put_files(tmp_path / "run", {name: b"x"})


@pytest.mark.parametrize("address", ["here", "ray://localhost:10001", "localhost:port", "localhost:0", ":6379"])
def test_what_is_no_address_is_said(address: str, book: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, "race", book, *TINY, "--ray", address)
    assert "is no address; give HOST:PORT of the cluster's head, or auto" in said


def test_without_the_package_it_is_said_how_to_get_it(
    book: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    assert "pip install 'charlm-lab[ray]'" in refusal(capsys, "experiment", book, *TINY, "--ray", "auto")
    assert not list((tmp_path / "runs").glob("2*"))


def test_where_no_cluster_answers_it_is_said_at_once(
    book: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: name)
    said = refusal(capsys, "race", book, *TINY, "--ray", "127.0.0.1:1")
    assert "there is no Ray cluster at 127.0.0.1:1" in said and "ray start --head" in said
    assert not list((tmp_path / "runs").glob("2*"))


# --- with two nodes --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of a head without slots and two nodes of one slot, on the local interface."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # so Ray keeps to 127.0.0.1; read at its import
        changed.setenv("RAY_USAGE_STATS_ENABLED", "0")
        changed.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        pytest.importorskip("ray", reason="pip install -r requirements-slow.txt brings it")
        from ray.cluster_utils import Cluster

        memory = {"object_store_memory": 80 << 20}
        head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": "127.0.0.1", **memory}
        made = Cluster(initialize_head=True, head_node_args=head)
        made.workers = [made.add_node(num_cpus=1, **memory) for _ in range(2)]
        yield made
        made.shutdown()


@pytest.mark.slow
def test_a_race_on_two_nodes_is_the_race_here(
    nodes: Any, book: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["race", book, *TINY, "--archs", "lstm,gru", "--seeds", "2"]
    here, there = (answer(capsys, *words, *more) for more in ([], ["--ray", nodes.address]))
    assert there["seeds"] == [7, 8] and len(there["runs"]) == 4
    runs = RunStore(tmp_path / "runs", tmp_path / "shipped")
    for mine, theirs in zip(here["runs"], there["runs"], strict=True):
        assert_same(runs.get(mine["run_id"]), runs.get(theirs["run_id"]))


@pytest.mark.slow
def test_a_race_on_two_nodes_goes_to_a_tracker(nodes: Any, book: str, capsys: pytest.CaptureFixture[str]) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = ("race", book, *TINY, "--archs", "lstm,gru", "--ray", nodes.address, "--track", "tensorboard")
    for one in answer(capsys, *words):
        run = RunStore().get(one["run_id"])
        events = accumulator.EventAccumulator(str(run.folder)).Reload()
        assert [row.step for row in events.Scalars("train_loss")] == [row["step"] for row in run.metrics()]


@pytest.mark.slow
def test_a_training_that_fails_on_a_node_fails_here_with_its_reason(nodes: Any, store: RunStore) -> None:
    [run] = entered(store, "lstm")
    cluster.train_on_cluster([run], small_corpus("another text, too short"), nodes.address, Control())
    found = store.get(run.run_id)
    assert found.status == "failed" and found.message and "Traceback" not in found.message


@pytest.mark.slow
def test_what_is_interrupted_here_keeps_what_was_gathered(nodes: Any, store: RunStore) -> None:
    [whole], [run], control = trained(store, "lstm", **LONG), entered(store, "lstm", **LONG), Control()

    def interrupt(line: str) -> None:
        control.interrupted = run.step > 0

    cluster.train_on_cluster([run], small_corpus(), nodes.address, control, say=interrupt)
    run.release()
    found = store.get(run.run_id)
    assert found.status == "interrupted" and 0 < found.step < 5_000
    assert_same(*resumed(store, run), whole)


@pytest.mark.slow
def test_what_a_lost_node_trained_is_begun_again_elsewhere_from_its_last_save(nodes: Any, store: RunStore) -> None:
    """The last test: it costs a node."""
    wholes, runs = trained(store, "lstm", "gru", **LONG), entered(store, "lstm", "gru", **LONG)
    trainers, control = prepare(runs, small_corpus()), Control()

    def cut() -> None:
        control.interrupted = min(trainer.state.step for trainer in trainers) >= 20

    run_trainers(trainers, control, cut)
    runs = [store.get(run.run_id) for run in runs]
    saved, corpus = {run.run_id: run.step for run in runs}, reopen_all(runs, {})
    assert min(saved.values()) >= 20
    said, lost = list[str](), list[Any]()

    def watch(line: str) -> None:
        said.extend([line] if line else [])
        if not lost and all(run.step > saved[run.run_id] for run in runs):
            assert {run.info["status"] for run in runs} == {"running"}
            lost.append(nodes.workers.pop())
            nodes.remove_node(lost[0], allow_graceful=False)

    cluster.train_on_cluster(runs, corpus, nodes.address, Control(), resume=True, say=watch)
    assert len(said) == 1 and "its node was lost; begun again elsewhere from its last save" in said[0]
    for whole, run in zip(wholes, runs, strict=True):
        assert_same(store.get(run.run_id), whole)
