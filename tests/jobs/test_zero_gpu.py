"""Trainings in slices, as on ZeroGPU: real trainings, on the CPU, in this process and in forked ones.

What lends the GPU is stood in for, as it is to be had on Hugging Face alone; `forked` does what the package `spaces`
does with a generator there (0.51: a process that is forked, pickled pieces, a flag that closes it).
"""

import contextlib
import inspect
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from charlm.errors import ConfigError
from charlm.jobs import zero_gpu
from charlm.jobs.service import ZERO_GPU, Jobs
from charlm.jobs.zero_gpu import LENT, Slice, train_slice
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from tests.conftest import ROOT
from tests.jobs.test_jobs import LONG, idle, until, until_step
from tests.tiny_runs import assert_same_training, begin, trained, untimed, wait_for

pytestmark = [
    pytest.mark.usefixtures("quick_slices"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
# As many slices as can be: each ends with the first turn of a trainer.
shortest = partial(train_slice, device="cpu", seconds=0.0)
whole = partial(train_slice, device="cpu")


def forked(task: Any, pids: list[int]) -> Slice:
    """A generator that runs in a forked process of its own each time; `pids` are told."""

    def pieces(*args: Any) -> Iterator[Any]:
        context = multiprocessing.get_context("fork")
        queue, closing = context.SimpleQueue(), context.Event()

        def work() -> None:
            stream = task(*args)
            for piece in stream:
                if closing.is_set():
                    stream.close()
                    break
                queue.put(piece)
            queue.put(None)

        process = context.Process(target=work, daemon=True)
        process.start()
        pids.append(process.pid or 0)
        try:
            while True:
                while queue.empty() and process.is_alive():
                    process.join(0.01)
                if queue.empty():
                    raise RuntimeError("GPU task aborted")
                if (piece := queue.get()) is None:
                    return
                yield piece
        finally:
            closing.set()
            while process.is_alive():  # it may wait for its pipe to be read
                process.join(0.01)
                while not queue.empty():
                    queue.get()

    return pieces  # type: ignore[return-value]


@pytest.fixture
def lending(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Jobs on a Space that lends a GPU in this way."""
    opened = []

    def made(lend: Any) -> Jobs:
        jobs = Jobs(store)
        jobs.lend = lend
        opened.append(jobs)
        monkeypatch.setenv("SPACES_ZERO_GPU", "true")
        return jobs

    yield made
    for jobs in opened:
        jobs.close()


def assert_same(one: Run, other: Run) -> None:
    assert one.status == other.status == "finished", one.message
    assert_same_training(one, other)
    assert untimed(one.metrics()) == untimed(other.metrics()) and one.samples() == other.samples()


@pytest.mark.parametrize(
    "archs", [("lstm",), pytest.param(("gru", "mingru", "transformer", "ngram"), marks=pytest.mark.slow)]
)
def test_slices_make_the_run_that_a_whole_training_makes(archs: tuple[str, ...], store: RunStore, lending: Any) -> None:
    wanted = trained(store, *archs, dropout=0.2, snapshots=3)
    begun = 0

    def counted(*args: Any) -> Any:
        nonlocal begun
        begun += 1
        return shortest(*args)

    jobs = lending(counted)
    made = begin(jobs, *archs, dropout=0.2, snapshots=3, device="cuda")
    idle(jobs)
    assert begun > 3
    for run_id, other in zip(made, wanted, strict=True):
        run = store.get(run_id)
        assert run.message == LENT and run.snapshots() == other.snapshots()
        if run.model_config.is_counted:
            assert run.best_val_loss == other.best_val_loss
        else:
            assert_same(run, other)


def test_in_another_process_it_is_the_same_run(store: RunStore, lending: Any) -> None:
    [wanted], pids = trained(store), []
    jobs = lending(forked(shortest, pids))
    [made] = begin(jobs, device="cuda")
    idle(jobs)
    assert len(pids) > 3 and os.getpid() not in pids
    assert_same(store.get(made), wanted)
    assert jobs.status(made)["step"] == 12


@pytest.mark.slow
def test_a_process_that_is_killed_costs_what_was_not_saved(store: RunStore, lending: Any) -> None:
    pids: list[int] = []
    jobs = lending(forked(whole, pids))
    [made] = begin(jobs, device="cuda", **{**LONG, "steps": 400})
    until_step(jobs, made)
    os.kill(pids[0], signal.SIGKILL)
    idle(jobs)
    run = store.get(made)
    assert run.status == "finished" and run.step == 400 and len(pids) == 1
    assert run.message.startswith("no GPU was lent (GPU task aborted): from step ")


@pytest.mark.parametrize("first", [0, 2])
def test_where_no_gpu_is_lent_it_goes_on_on_the_cpu(first: int, store: RunStore, lending: Any) -> None:
    class Refusal(Exception):
        message = "You have exceeded your free ZeroGPU quota (60s requested vs. 12s left)."

        def __str__(self) -> str:
            return "shown for a page, not a log"

    lent = 0

    def lend(*args: Any) -> Iterator[Any]:
        nonlocal lent
        if lent == first:
            raise Refusal
        lent += 1
        yield from shortest(*args)

    [wanted] = trained(store)
    jobs = lending(lend)
    [made] = begin(jobs, device="cuda")
    idle(jobs)
    run = store.get(made)
    assert_same(run, wanted)
    assert run.message.startswith(f"no GPU was lent ({Refusal.message}): from step ") and lent == first
    assert ("step 0 " in run.message) == (first == 0) and run.info["device"] == "cpu"


def test_pause_resume_and_stop_reach_the_slice(store: RunStore, lending: Any) -> None:
    pids: list[int] = []
    jobs = lending(forked(whole, pids))
    [made] = begin(jobs, device="cuda", **LONG)
    before = until_step(jobs, made, 3)
    assert before["eta_seconds"] and before["message"] == LENT
    jobs.pause(made)
    wait_for(lambda: "resume.safetensors" in os.listdir(store.get(made).folder))
    paused = until(jobs, made, "paused")
    jobs.resume(made)
    until_step(jobs, made, paused["step"] + 3)
    assert len(pids) == 2
    jobs.stop(made)
    idle(jobs)
    run = store.get(made)
    assert run.status == "stopped" and run.step > paused["step"] and run.metrics()[-1]["val_loss"]
    assert run.folder.joinpath("best.safetensors").exists() and jobs.status(made)["message"] == LENT


def test_one_run_of_a_race_is_stopped_and_the_other_goes_on(store: RunStore, lending: Any) -> None:
    pids: list[int] = []
    jobs = lending(forked(whole, pids))
    one, other = begin(jobs, "lstm", "gru", device="cuda", **LONG)
    until_step(jobs, other)
    jobs.stop(one)
    until(jobs, one, "stopped")
    until_step(jobs, other, jobs.status(other)["step"] + 5)
    assert len(pids) == 2 and jobs.status(other)["status"] == "running"
    jobs.close()
    assert store.get(other).status == "interrupted" and store.get(one).status == "stopped"


@pytest.mark.slow
def test_a_failure_in_the_slice_is_the_runs(store: RunStore, lending: Any) -> None:
    jobs = lending(forked(whole, []))
    hot = {"learning_rate": 1.0, "grad_clip": 0.0, "init": "torch", "warmup_steps": 0}
    [made] = begin(jobs, "rnn", device="cuda", nonlinearity="relu", **{**LONG, **hot})
    state = until(jobs, made, "failed")
    idle(jobs)
    assert "try a third of it" in state["message"] and store.get(made).info["mend"]["learning_rate"] > 0


def test_auto_spends_nobodys_quota(store: RunStore, lending: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("a GPU was asked for")

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # as `spaces` makes torch say in the first process
    jobs = lending(never)
    made = [*begin(jobs), *begin(jobs, "ngram", device="cuda")]
    idle(jobs)
    assert all(store.get(run_id).status == "finished" and not store.get(run_id).message for run_id in made)
    assert jobs.lent == ZERO_GPU


def test_elsewhere_nothing_is_lent(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert zero_gpu.lender() is None and Jobs(store).lent == ""
    with pytest.raises(ConfigError, match="device 'cuda' is not available here"):
        begin(Jobs(store), device="cuda")
    monkeypatch.setenv("SPACES_ZERO_GPU", "0")
    assert Jobs(store).lend is None


@pytest.mark.slow
def test_the_package_takes_it_for_a_generator(store: RunStore, lending: Any) -> None:
    """The real decorator, which elsewhere than on ZeroGPU gives back what it is given."""
    spaces = pytest.importorskip("spaces", reason="pip install -r requirements-slow.txt brings it")
    assert inspect.isgeneratorfunction(train_slice)
    decorated = spaces.GPU(duration=zero_gpu.LENT_SECONDS)(train_slice)
    jobs = lending(partial(decorated, device="cpu", seconds=0.0))
    [made], [wanted] = begin(jobs, device="cuda"), trained(store)
    idle(jobs)
    assert_same(store.get(made), wanted)


@pytest.mark.slow
def test_on_a_space_the_page_trains_for_as_long_as_the_visitors_quota_lasts(tmp_path: Path) -> None:
    """The real package between the real page and a service of our own; see zero_gpu_space.py."""
    pytest.importorskip("spaces", reason="pip install -r requirements-slow.txt brings it")
    folders = {"CHARLM_RUNS": str(tmp_path / "runs"), "CHARLM_DATA": str(tmp_path / "data")}
    command, output = [sys.executable, "-m", "tests.jobs.zero_gpu_space"], tmp_path / "output"
    with output.open("wb") as file:  # no pipe: the process that was forked would hold it
        env = {**os.environ, **folders, "SPACES_ZERO_GPU": "true"}
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, start_new_session=True)
        assert process.wait() == 0
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    told = json.loads(output.read_text(encoding="utf-8").splitlines()[-1])
    assert told["status"] == "finished" and told["step"] == 2_000 and told["cuda"] and told["lent"] == ZERO_GPU
    assert LENT in told["messages"] and "no GPU was lent (You have exceeded your ZeroGPU quota" in told["messages"][-1]
    paths = [path for path, _ in told["asked"]]
    assert paths[0] == "/startup-report" and paths.count("/schedule") == 3 and paths.count("/release") == 2
    schedule = next(query for path, query in told["asked"] if path == "/schedule")
    assert schedule["durationSeconds"] == ["60"] and schedule["token"] == ["a.e30.b"]
