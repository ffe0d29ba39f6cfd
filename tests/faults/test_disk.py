"""A disk that refuses: the training rests, says why, loses nothing, and goes on when the disk takes what it writes."""

import errno
import itertools
import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from charlm import files
from charlm.errors import CheckpointError, CorpusError
from charlm.jobs import runner, scheduler
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.jobs.service import Jobs
from charlm.runs import checkpoint
from charlm.runs.checkpoint import is_valid, load_training, weights_about
from charlm.runs.history import MetricsLog
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from tests.faults.disk import Disk, Short, refuse
from tests.faults.outcome import content, rows, same
from tests.faults.zygote import Zygote
from tests.patience import patience
from tests.tiny_runs import entered, settings, small_corpus, store_in, wait_for

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
# Snapshots are not waited for; they have a test of their own.
SHORT: dict[str, Any] = {"steps": 2, "eval_every": 2, "dropout": 0.3, "num_layers": 1, "snapshots": 0}
RESTING = "cannot be written"


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Every step is saved, nothing is written by the clock, and a disk that refuses is asked again at once."""
    patch.setattr(runner, "SAVE_SECONDS", 0.0)
    patch.setattr(runner, "SAVE_SHARE", float("inf"))
    patch.setattr(runner, "UPDATE_SECONDS", float("inf"))
    patch.setattr(runner, "RETRY_SECONDS", 0.0)
    patch.setattr(scheduler, "PAUSE_SECONDS", 0.002)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The step of the last state that was saved, by run id."""
    steps: dict[str, int] = {}

    def save(folder: Path, model: Any, state: Any) -> None:
        checkpoint.save_training(folder, model, state)
        steps[folder.name] = state.step

    monkeypatch.setattr(runner, "save_training", save)
    return steps


def outcome(run: Run) -> dict[str, Any]:
    """All that a training comes to, times excepted."""
    found = {name: content(run.folder / f"{name}.safetensors") for name in ("last", "best", "resume")}
    return {f"{file} {name}": value for file, inner in found.items() for name, value in inner.items()} | {
        "rows": rows(run), "samples": run.samples(), "best": (run.best_val_loss, run.best_step), "status": run.status,
    }  # fmt: skip


def keeps_what_was_saved(run: Run, step: int) -> None:
    """No good checkpoint is lost: the newest state that was saved loads, or a newer one; so do the best weights."""
    if step:
        assert load_training(run.folder, run.model_config, run.train_config)[1].step >= step
    if (best := run.folder / "best.safetensors").exists():
        assert is_valid(best) and weights_about(best)["val_loss"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """What a short training comes to on a good disk, and the operations it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARLM_DATA", str(folder / "data"))
        hurry(patch)
        store = store_in(folder)
        runs = entered(store, **SHORT)
        with Disk().installed() as disk:
            run_trainers(prepare(runs, small_corpus()), Control())
        yield outcome(store.get(runs[0].run_id)), disk.names


@pytest.fixture
def faults(undisturbed: tuple[dict[str, Any], list[str]], request: pytest.FixtureRequest) -> list[tuple[int, int]]:
    """Every operation of a short training with an error for it; by option with each of them."""
    numbers = range(1, len(undisturbed[1]) + 1)
    if request.config.getoption("--all-faults"):
        return list(itertools.product(numbers, ERRORS))
    return list(zip(numbers, itertools.cycle(ERRORS), strict=False))


def test_a_training_uses_every_operation(undisturbed: tuple[dict[str, Any], list[str]]) -> None:
    assert set(undisturbed[1]) == {"open", "write", "flush", "fsync", "replace"}


@pytest.mark.slow
def test_one_refusal_delays_and_changes_nothing(
    tmp_path: Path,
    undisturbed: tuple[dict[str, Any], list[str]],
    faults: list[tuple[int, int]],
    saved: dict[str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = store_in(tmp_path)
    for number, code in faults:
        caplog.clear()
        [run] = entered(store, **SHORT)
        trainers = prepare([run], small_corpus())

        def look(run: Run = run, trainers: list[Any] = trainers) -> None:
            if trainers[0].trouble:
                keeps_what_was_saved(run, saved.get(run.run_id, 0))

        with Disk(number.__eq__, refuse(code)).installed() as disk:
            run_trainers(trainers, Control(), look)
        what = f"{disk.names[number - 1]}, number {number}, {errno.errorcode[code]}"
        assert same(outcome(store.get(run.run_id)), undisturbed[0]), what
        assert os.strerror(code) in caplog.text and "continues by itself" in caplog.text, what
        assert not list(run.folder.glob("*.tmp")), what
        store.discard(run)


@pytest.mark.slow
def test_one_refusal_may_cost_a_snapshot_and_changes_nothing_else(
    tmp_path: Path, undisturbed: tuple[dict[str, Any], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    store, lost, number = store_in(tmp_path), 0, 0
    while True:  # until there are no more operations
        caplog.clear()
        number += 1
        [run] = entered(store, **{**SHORT, "snapshots": 3})
        with Disk(number.__eq__, refuse(errno.ENOSPC)).installed() as disk:
            run_trainers(prepare([run], small_corpus()), Control())
        if number > disk.count:
            break
        run, what = store.get(run.run_id), f"{disk.names[number - 1]}, number {number}"
        assert same(outcome(run), undisturbed[0]), what
        lost += "are not kept" in caplog.text
        assert os.strerror(errno.ENOSPC) in caplog.text, what
        assert ("are not kept" in caplog.text) != ("continues by itself" in caplog.text), what
        assert not list(run.folder.rglob("*.tmp")) and len(run.snapshots()) >= 2, what
        for step in run.snapshots():
            assert run.load_snapshot(step), what
        store.discard(run)
    assert run.snapshots() == [0, 1, 2] and lost >= 12


class Broken(Disk):
    """A disk that takes so many operations of the training's threads and then no more, until it is mended."""

    def __init__(self, number: int, code: int) -> None:
        super().__init__(lambda count: self.is_broken, refuse(code))
        self._number = number
        self._tests = threading.get_ident()
        self.is_broken = False

    def operate(self, name: str, first: Callable[[], Any] = lambda: None) -> None:
        if threading.get_ident() != self._tests:
            self._number -= 1
            if not self._number:
                self.is_broken = True
        super().operate(name, first)

    def mend(self) -> None:
        self._number, self.is_broken = 0, False


def resting(jobs: Jobs, run_id: str, code: int) -> bool:
    """Whether the job says that it rests, and why."""
    state = jobs.status(run_id)
    return state["status"] == "paused" and RESTING in state["message"] and os.strerror(code) in state["message"]


def has_halted(jobs: Jobs, run_id: str) -> bool:
    return jobs.status(run_id)["status"] in ("paused", "failed")


def has_finished(jobs: Jobs, run_id: str) -> bool:
    finished: bool = jobs.status(run_id)["status"] == "finished"
    return finished


@pytest.mark.slow
def test_a_disk_that_goes_on_refusing_lets_the_job_rest(
    tmp_path: Path,
    undisturbed: tuple[dict[str, Any], list[str]],
    faults: list[tuple[int, int]],
    saved: dict[str, int],
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    ends = ("mended", "closed")
    store, every = store_in(tmp_path), request.config.getoption("--all-faults")
    for at, (number, code) in enumerate(faults):
        for end in ends if every else ends[at % 2 : at % 2 + 1]:
            caplog.clear()
            jobs, disk = Jobs(store), Broken(number, code)
            with disk.installed():
                [run_id] = jobs.start(small_corpus(), settings(**SHORT), ["lstm"])
                if number < len(undisturbed[1]):  # after the last one, run.json says already that it has finished
                    wait_for(partial(resting, jobs, run_id, code), f"for operation {number} to fail")
                wait_for(lambda: RESTING in caplog.text, f"for operation {number} to be spoken of")
                assert os.strerror(code) in caplog.text
                run = store.get(run_id)
                keeps_what_was_saved(run, saved.get(run_id, 0))
                if end == "mended":
                    disk.mend()
                    wait_for(partial(has_finished, jobs, run_id), "for it to go on")
                jobs.close(patience(30))
            if end == "closed" and number < len(undisturbed[1]):
                assert store.get(run_id).status == "interrupted"
                jobs = go_on(store, run_id)
            assert same(outcome(store.get(run_id)), undisturbed[0]), (number, code, end)
            jobs.close(patience(30))
            store.discard(store.get(run_id))


def go_on(store: RunStore, run_id: str) -> Jobs:
    """Resume a run in a new server, to its end."""
    jobs = Jobs(store)
    jobs.resume(run_id)
    wait_for(partial(has_finished, jobs, run_id), "for it to go on")
    return jobs


def test_a_run_that_cannot_be_made_ready_to_go_on_says_so_and_goes_on_later(
    tmp_path: Path, undisturbed: tuple[dict[str, Any], list[str]]
) -> None:
    """Its logs are cut to what was saved first; a refusal then may also fail it, for nothing has been learned since."""
    store = store_in(tmp_path)
    [broken_off] = entered(store, **SHORT)
    control = Control()
    run_trainers(prepare([broken_off], small_corpus()), control, lambda: setattr(control, "interrupted", True))
    assert store.get(broken_off.run_id).status == "interrupted" and 0 < broken_off.step < SHORT["steps"]
    for number, code in zip(range(1, 13), itertools.cycle(ERRORS), strict=False):
        run_id = f"copy-{number}"
        shutil.copytree(broken_off.folder, store.root / run_id)
        jobs, disk = Jobs(store), Broken(number, code)
        with disk.installed():
            jobs.resume(run_id)
            wait_for(partial(has_halted, jobs, run_id), f"for operation {number} to fail")
            assert os.strerror(code) in jobs.status(run_id)["message"]
            disk.mend()
            if jobs.status(run_id)["status"] == "failed":
                jobs.resume(run_id)
            wait_for(partial(has_finished, jobs, run_id), "for it to go on")
        jobs.close(patience(30))
        assert same(outcome(store.get(run_id)), undisturbed[0]), number


@pytest.mark.slow
def test_others_in_a_race_rest_with_the_one_whose_disk_refuses(tmp_path: Path, saved: dict[str, int]) -> None:
    store = store_in(tmp_path)
    jobs, disk = Jobs(store), Broken(60, errno.ENOSPC)
    with disk.installed():
        ids = jobs.start(small_corpus(), settings(**{**SHORT, "steps": 1000}), ["lstm", "gru"])
        wait_for(lambda: all(jobs.status(run_id)["status"] == "paused" for run_id in ids))
        disk.mend()  # before the stop, which a disk that refuses makes a failure
        jobs.stop(ids[0])
        wait_for(lambda: jobs.status(ids[1])["status"] == "finished")
        assert jobs.status(ids[0])["status"] == "stopped"
        jobs.close(patience(30))


def test_a_run_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with Disk().installed() as disk:
        for run in entered(store, "lstm", "gru"):
            store.discard(run)
    shutil.rmtree(os.environ["CHARLM_DATA"])
    for number, code in zip(range(1, disk.count + 1), itertools.cycle(ERRORS), strict=False):
        with (
            Disk(number.__eq__, refuse(code)).installed(),
            pytest.raises((CheckpointError, CorpusError), match=os.strerror(code)),
        ):
            entered(store, "lstm", "gru")
        assert not list(store.root.glob("[!.]*")), number
        assert not list(tmp_path.rglob("*.tmp"))
        shutil.rmtree(os.environ["CHARLM_DATA"], ignore_errors=True)


# --- a disk that is full ----------------------------------------------------------------------------------------------


def test_a_limit_on_the_size_of_files(
    tmp_path: Path, undisturbed: tuple[dict[str, Any], list[str]], zygote: Zygote
) -> None:
    """The system itself cuts writes short; the worker, a process of its own, says what its jobs say."""
    for limit in (0, 300, 3000, 5000):
        folder = tmp_path / str(limit)
        told = zygote.order(folder, "cramped", options=SHORT, limit=limit)["told"]
        [run] = store_in(folder).list()
        assert told[0][0] == "rests" and "large" in " ".join(told[0]), limit
        assert same(outcome(run), undisturbed[0]), limit


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    """Leave no room beside this file."""
    with path.open("ab", buffering=0) as file:
        try:
            while file.write(b"x" * 4096) == 4096:
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC


def test_a_full_disk(tiny: Path, undisturbed: tuple[dict[str, Any], list[str]], saved: dict[str, int]) -> None:
    store, ballast = store_in(tiny), tiny / "ballast"
    jobs = Jobs(store)
    [run_id] = jobs.start(small_corpus(), settings(**{**SHORT, "steps": 100_000}), ["lstm"])
    wait_for(lambda: saved.get(run_id))
    fill(ballast)
    wait_for(lambda: resting(jobs, run_id, errno.ENOSPC), "for the disk to be full")
    keeps_what_was_saved(store.get(run_id), saved[run_id])
    step = jobs.status(run_id)["step"]
    ballast.unlink()
    wait_for(lambda: jobs.status(run_id)["step"] > step, "for the training to go on")
    jobs.stop(run_id)
    wait_for(lambda: jobs.status(run_id)["status"] == "stopped")
    keeps_what_was_saved(store.get(run_id), saved[run_id])
    jobs.close(patience(30))


# --- a row that was written in part -----------------------------------------------------------------------------------


def test_a_row_that_is_refused_in_its_middle_is_taken_back(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "log.jsonl")
    log.append({"step": 1})
    before = log.path.read_bytes()
    with Disk(lambda number: number == 2, refuse(errno.ENOSPC)).installed(), pytest.raises(OSError):
        log.append({"step": 2, "loss": 1.25})
    assert log.path.read_bytes() == before
    log.append({"step": 2})
    assert log.rows() == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("truncates", [True, False], ids=["taken back", "left there"])
def test_a_row_written_in_part_spoils_no_other(
    tmp_path: Path, truncates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MetricsLog(tmp_path / "log.jsonl")
    log.append({"step": 1})

    def short(*args: Any, **options: Any) -> Short:
        return Short(open(*args, **options), truncates)

    monkeypatch.setattr(files, "open", short, raising=False)
    with pytest.raises(OSError):
        log.append({"step": 2, "loss": 1.25})
    monkeypatch.undo()
    assert log.rows() == [{"step": 1}]
    log.append({"step": 2, "loss": 1.25})
    log.append({"step": 3})
    assert [row["step"] for row in log.rows()] == [1, 2, 3]
    log.cut(after=2)
    assert log.path.read_bytes().splitlines() == [b'{"step": 1}', b'{"step": 2, "loss": 1.25}']


def test_the_log_says_when_a_refusal_begins_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store = store_in(tmp_path)
    jobs, disk = Jobs(store), Broken(30, errno.EIO)
    with disk.installed():
        [run_id] = jobs.start(small_corpus(), settings(**SHORT), ["rnn"])
        wait_for(partial(resting, jobs, run_id, errno.EIO))
        tried = disk.count
        wait_for(lambda: disk.count > tried + 5, "for it to try again")
        said = [record for record in caplog.records if RESTING in record.message]
        jobs.close(patience(30))
    assert len(said) == 1
