"""The background thread: queue, pause, stop and resume at every state, endings, failures."""

import contextlib
import functools
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from charlm.errors import CheckpointError, ConfigError, CorpusError, JobError
from charlm.jobs import queue as job_module
from charlm.jobs import runner, scheduler
from charlm.jobs.service import Jobs
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from tests.patience import patience
from tests.tiny_runs import TEXT, begin, settings, small_corpus, trained, wait_for

LONG: dict[str, Any] = {"steps": 1_000_000, "eval_every": 1_000_000}
ENDED = ("stopped", "finished", "failed", "interrupted")


pytestmark = pytest.mark.usefixtures("quick_slices")


def until(jobs: Jobs, run_id: str, *words: str) -> dict[str, Any]:
    """The status once its word is one of `words`."""

    def there() -> dict[str, Any] | None:
        state = jobs.status(run_id)
        return state if state["status"] in words else None

    return wait_for(there, f"for {run_id} to be {words}; it is {jobs.status(run_id)}")


def until_step(jobs: Jobs, run_id: str, step: int = 1) -> dict[str, Any]:
    wait_for(lambda: jobs.status(run_id)["step"] >= step)
    return jobs.status(run_id)


def idle(jobs: Jobs) -> None:
    wait_for(lambda: jobs.current() is None)


class Gate:
    """Holds the training thread before it opens a race, until let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        dataset_of = scheduler.dataset_of

        def wait(*args: Any) -> Any:
            self.reached.set()
            assert self.open.wait(patience(60))
            return dataset_of(*args)

        monkeypatch.setattr(scheduler, "dataset_of", wait)


# --- a whole training ------------------------------------------------------------------------------------------------


def test_a_training_from_queue_to_end(jobs: Jobs) -> None:
    [run_id] = begin(jobs)
    state = until(jobs, run_id, "finished")
    assert set(state) == {
        "run_id", "status", "step", "total_steps", "epoch", "train_loss", "val_loss", "test_loss", "best_val_loss",
        "best_step", "chars_per_second", "seconds", "eta_seconds", "position", "message", "metrics", "sample",
    }  # fmt: skip
    assert state["step"] == state["total_steps"] == 12 and state["best_val_loss"] <= state["val_loss"]
    assert [row["step"] for row in state["metrics"]] == list(range(1, 13)) and len(state["sample"]) == 20
    assert [row["step"] for row in jobs.status(run_id, since_step=10)["metrics"]] == [11, 12]
    assert jobs.status(run_id, since_step=10**12)["metrics"] == []
    idle(jobs)
    assert jobs.status(run_id)["position"] is None and jobs.queue() == []


def test_an_end_is_never_taken_for_an_interruption(jobs: Jobs) -> None:
    """Whoever asks all the time sees queued, running and finished, in this order, and nothing else."""
    [run_id] = begin(jobs, steps=30)
    words: list[str] = []

    def ask() -> bool:
        words.append(jobs.status(run_id)["status"])
        return words[-1] in ENDED

    wait_for(ask)
    assert list(dict.fromkeys(words)) in (["queued", "running", "finished"], ["running", "finished"])


def test_what_cannot_be_trained_is_refused_at_once(jobs: Jobs, store: RunStore) -> None:
    with pytest.raises(ConfigError, match="different architectures"):
        begin(jobs, "lstm", "lstm")
    with pytest.raises(ConfigError, match="GB"):
        jobs.start(small_corpus(TEXT * 3000), settings(hidden_size=4096, batch_size=4096, seq_len=4096), ["lstm"])
    with pytest.raises(CorpusError, match="at least 3"):
        jobs.start(small_corpus("ab"), settings(), ["lstm"])
    assert store.list() == [] and jobs.current() is None


def test_what_the_strip_shows(jobs: Jobs) -> None:
    ids = begin(jobs, "lstm", "gru", eval_every=1, steps=1_000_000)
    wait_for(lambda: all(jobs.status(run_id)["best_val_loss"] for run_id in ids))
    later = begin(jobs)
    shown = jobs.current()
    assert shown is not None
    assert (shown["kind"], shown["title"], shown["corpus"]) == ("race", "Race", "pets.txt")
    assert shown["status"] == "running" and shown["queued"] == 1 and shown["run_ids"] == ids
    assert shown["total_steps"] == 1_000_000 and 0 < shown["progress"] < 1 and shown["eta_seconds"] > 0
    assert [one["arch"] for one in shown["runs"]] == ["lstm", "gru"] and shown["runs"][0]["best_val_loss"] > 0
    assert jobs.status(later[0])["position"] == 1 and "number 1 in the queue" in jobs.status(later[0])["message"]
    jobs.stop_job(ids[1])
    until(jobs, later[0], "finished")
    assert [jobs.status(run_id)["status"] for run_id in ids] == ["stopped"] * 2


def test_first_in_first_out(jobs: Jobs, store: RunStore) -> None:
    ids = [begin(jobs, label=str(place))[0] for place in range(3)]
    assert jobs.queue() == [[run_id] for run_id in ids][-len(jobs.queue()) :]
    idle(jobs)
    ends = [store.get(run_id).folder.joinpath("last.safetensors").stat().st_mtime_ns for run_id in ids]
    assert ends == sorted(ends) and [store.get(run_id).status for run_id in ids] == ["finished"] * 3


def test_a_slow_step_shows_that_it_is_worked_on(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "SLOW_SECONDS", -1.0)
    [run_id] = begin(jobs, **LONG)
    until_step(jobs, run_id)
    assert "since the last step" in jobs.status(run_id)["message"]


# --- pause, stop, resume ---------------------------------------------------------------------------------------------


def test_pause_rests_and_resume_goes_on(jobs: Jobs) -> None:
    ids = begin(jobs, "lstm", "gru", **LONG)
    until_step(jobs, ids[0])
    assert jobs.pause(ids[1])["status"] == "paused"
    resting = wait_for(lambda: steps_at_rest(jobs, ids))
    assert [jobs.status(run_id)["status"] for run_id in ids] == ["paused"] * 2
    current = jobs.current()
    assert current and current["status"] == "paused"
    assert jobs.resume(ids[0])["status"] == "running"
    until_step(jobs, ids[1], resting[1] + 1)
    with pytest.raises(JobError, match=r"running; steps can change only once it has ended"):
        jobs.resume(ids[0], {"steps": 5})


def steps_at_rest(jobs: Jobs, ids: list[str]) -> list[int] | None:
    """The steps, if they are the same after a while in which the thread surely looked around."""
    before = [jobs.status(run_id)["step"] for run_id in ids]
    threading.Event().wait(0.1)
    return before if before == [jobs.status(run_id)["step"] for run_id in ids] else None


def test_stop_while_running_keeps_what_was_learned(jobs: Jobs, store: RunStore) -> None:
    [run_id] = begin(jobs, **LONG)
    until_step(jobs, run_id)
    answer = jobs.stop(run_id)
    assert answer["status"] in ("running", "stopped")
    assert answer["status"] == "stopped" or answer["message"].startswith("stopping")
    state = until(jobs, run_id, "stopped")
    assert state["best_val_loss"] == state["val_loss"] and state["best_step"] == state["step"] and state["sample"]
    assert state["metrics"][-1]["step"] == state["step"] and state["metrics"][-1]["val_loss"] is not None
    assert store.get(run_id).load_model() is not None


def test_it_is_training_only_while_steps_are_made(jobs: Jobs) -> None:
    assert not jobs.is_training()
    [run_id] = begin(jobs, **LONG)
    until_step(jobs, run_id)
    assert jobs.is_training()
    jobs.pause(run_id)
    assert not jobs.is_training()
    jobs.stop(run_id)
    idle(jobs)
    assert not jobs.is_training()


def test_stop_while_paused(jobs: Jobs) -> None:
    [run_id] = begin(jobs, **LONG)
    until_step(jobs, run_id)
    jobs.pause(run_id)
    jobs.stop(run_id)
    assert until(jobs, run_id, "stopped")["best_val_loss"] is not None
    idle(jobs)


def test_stop_while_preparing(jobs: Jobs, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    [run_id] = begin(jobs, **LONG)
    assert gate.reached.wait(patience(60))
    state = jobs.status(run_id)
    assert (state["status"], state["message"]) == ("queued", "preparing the text")
    jobs.stop(run_id)
    gate.open.set()
    assert until(jobs, run_id, "stopped")["best_val_loss"] is not None
    assert store.get(run_id).load_model() is not None


def test_pause_while_preparing_and_in_the_queue(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    [first], [second] = begin(jobs, **LONG), begin(jobs, **LONG)
    assert gate.reached.wait(patience(60))
    jobs.pause(first)
    jobs.pause(second)
    gate.open.set()
    until(jobs, first, "paused")
    jobs.stop(first)
    until(jobs, second, "paused")
    jobs.resume(second)
    until_step(jobs, second, 3)


def test_stopping_one_racer_lets_the_others_go_on(jobs: Jobs) -> None:
    lstm, gru, rnn = begin(jobs, "lstm", "gru", "rnn", **LONG)
    until_step(jobs, rnn)
    jobs.stop(gru)
    state = until(jobs, gru, "stopped")
    assert state["eta_seconds"] is None and state["position"] is None
    until_step(jobs, lstm, state["step"] + 2)
    # run.json says that it has ended a moment before its trainer does.
    wait_for(lambda: (current := jobs.current()) is not None and current["runs"][1]["progress"] == 1.0)
    current = jobs.current()
    assert current and current["run_ids"] == [lstm, gru, rnn]
    with pytest.raises(JobError, match="not training here; it is stopped"):
        jobs.stop(gru)
    jobs.pause(gru)  # the strip speaks for the whole race through any of its runs
    until(jobs, lstm, "paused")
    jobs.resume(gru)
    until(jobs, lstm, "running")
    jobs.stop_job(gru)
    idle(jobs)
    assert [jobs.status(run_id)["status"] for run_id in (lstm, gru, rnn)] == ["stopped"] * 3


def test_a_stopped_racer_waits_for_its_race_to_go_on(jobs: Jobs) -> None:
    lstm, gru = begin(jobs, "lstm", "gru", **LONG)
    until_step(jobs, gru)
    jobs.stop(gru)
    step = until(jobs, gru, "stopped")["step"]
    state = jobs.resume(gru, {"steps": 3})
    assert (state["status"], state["position"]) == ("queued", 1)
    jobs.stop(lstm)
    assert until(jobs, gru, "finished")["step"] == step + 3


def test_stopping_in_the_queue(jobs: Jobs, store: RunStore) -> None:
    [first] = begin(jobs, **LONG)
    lstm, gru = begin(jobs, "lstm", "gru")
    [last] = begin(jobs)
    assert jobs.stop(last)["status"] == "stopped" and "before it began" in jobs.status(last)["message"]
    jobs.stop(lstm)
    assert jobs.queue() == [[first], [gru]]
    with pytest.raises(JobError, match="it is stopped"):
        jobs.stop(lstm)
    jobs.stop(first)
    until(jobs, gru, "finished")
    assert store.get(lstm).step == 0 and store.get(last).best_val_loss is None
    jobs.resume(last)
    assert until(jobs, last, "finished")["step"] == 12


def test_after_the_end_only_resume_is_possible(jobs: Jobs) -> None:
    [run_id] = begin(jobs)
    until(jobs, run_id, "finished")
    idle(jobs)
    for order in (jobs.pause, jobs.stop, jobs.stop_job):
        with pytest.raises(JobError, match="not training here; it is finished"):
            order(run_id)
        with pytest.raises(CheckpointError, match="there is no run 'none'"):
            order("none")
    with pytest.raises(JobError, match="say how many more"):
        jobs.resume(run_id)
    with pytest.raises(ConfigError, match="unknown setting"):
        jobs.resume(run_id, {"hidden_size": 64})
    jobs.resume(run_id, {"steps": 4})
    assert until(jobs, run_id, "finished")["step"] == 16


def test_stop_and_resume_equal_an_uninterrupted_run(jobs: Jobs, store: RunStore) -> None:
    options: dict[str, Any] = {"dropout": 0.2, "steps": 300, "eval_every": 50, "schedule": "plateau"}
    [run_id] = begin(jobs, **options)
    for step in (1, 90):
        until_step(jobs, run_id, step)
        jobs.stop(run_id)
        until(jobs, run_id, "stopped")
        idle(jobs)
        jobs.resume(run_id)
    until(jobs, run_id, "finished")
    [whole] = trained(store, **options)
    mine, theirs = (load_file(run.folder / "resume.safetensors") for run in (store.get(run_id), whole))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_rename_during_training_stays(jobs: Jobs, store: RunStore) -> None:
    [run_id] = begin(jobs, **LONG)
    until_step(jobs, run_id)
    store.rename(store.get(run_id), "<i>mine</i>/2")
    with pytest.raises(JobError, match="stop it first"):
        store.delete(store.get(run_id))
    jobs.stop(run_id)
    until(jobs, run_id, "stopped")
    assert store.get(run_id).label == "<i>mine</i>/2" and store.get(run_id).step > 0


def test_orders_from_everywhere_at_once(jobs: Jobs) -> None:
    """Whatever the moment, an order is obeyed or refused in a sentence, and a look-up answers."""
    errors: list[Exception] = []

    def bother(run_id: str, at: int) -> None:
        for turn in range(40):
            try:
                [jobs.pause, jobs.resume, jobs.status, jobs.resume, lambda _: jobs.current()][(turn + at) % 5](run_id)
            except (JobError, ConfigError):
                pass
            except Exception as error:
                errors.append(error)

    def is_done(ids: list[str]) -> bool:
        """An order to pause may be obeyed when all who gave it have gone: who is found paused goes on."""
        for run_id in ids:
            if jobs.status(run_id)["status"] == "paused":
                with contextlib.suppress(JobError):
                    jobs.resume(run_id)
        return jobs.current() is None

    for _ in range(3):
        ids = begin(jobs, "lstm", "rnn", steps=20)
        threads = [threading.Thread(target=bother, args=(run_id, at)) for at, run_id in enumerate(ids * 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(functools.partial(is_done, ids), "for the trainings to end")
    assert not errors


# --- endings ---------------------------------------------------------------------------------------------------------


def test_close_leaves_all_interrupted_and_resumable(store: RunStore) -> None:
    jobs = Jobs(store)
    running = begin(jobs, "lstm", "gru", **LONG)
    waiting = begin(jobs, "lstm", "rnn") + begin(jobs)
    until_step(jobs, running[1])
    jobs.close(seconds=patience(60))
    assert {store.get(run_id).status for run_id in running + waiting} == {"interrupted"}
    step = store.get(running[1]).step
    later = Jobs(store)
    try:
        later.resume(running[1], {"steps": 2})
        later.resume(waiting[0])
        assert until(later, running[1], "finished")["step"] == step + 2
        assert until(later, waiting[0], "finished")["step"] == 12
    finally:
        later.close(seconds=patience(30))


def test_close_while_paused_and_without_work(store: RunStore) -> None:
    Jobs(store).close()
    jobs = Jobs(store)
    [run_id] = begin(jobs, **LONG)
    until_step(jobs, run_id)
    jobs.pause(run_id)
    jobs.close(seconds=patience(60))
    assert store.get(run_id).status == "interrupted" and store.get(run_id).step > 0


TRAINS = """
import sys
from tests.tiny_runs import settings, small_corpus, store_in
from charlm.jobs.service import Jobs
from pathlib import Path
jobs = Jobs(store_in(Path(sys.argv[1])))
[run_id] = jobs.start(small_corpus(), settings(steps=1000000, eval_every=5), ["gru"])
while not jobs.status(run_id)["best_val_loss"]:
    pass
print(run_id, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_process_leaves_a_run_that_goes_on(jobs: Jobs, store: RunStore, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    try:
        assert process.stdout
        run_id = process.stdout.readline().decode().strip()
        assert jobs.status(run_id)["status"] == "running" and jobs.current() is None
        with pytest.raises(JobError, match="running already"):
            jobs.resume(run_id)
        with pytest.raises(JobError, match="not training here; it is running"):
            jobs.stop(run_id)
    finally:
        process.kill()
        process.communicate()
    assert jobs.status(run_id)["status"] == "interrupted"
    assert store.get(run_id).load_model() is not None
    jobs.resume(run_id, {"steps": 20})
    state = until(jobs, run_id, "finished")
    steps = [row["step"] for row in state["metrics"]]
    assert steps == sorted(set(steps)) and state["best_val_loss"] is not None


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_full_disk_makes_a_run_rest_and_a_stop_ends_it_as_failed(
    jobs: Jobs, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even run.json can be written: the status says it all the same, and is written down later."""
    monkeypatch.setattr(runner, "UPDATE_SECONDS", 0.0)
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.0)
    write, full = Run.update, threading.Event()
    [run_id] = begin(jobs, **LONG)
    until_step(jobs, run_id)

    def update(self: Run, *args: Any, **fields: Any) -> None:
        if full.is_set() and self.run_id == run_id:
            raise CheckpointError(f"run.json of {self.label} cannot be written") from OSError(28, "No space left")
        write(self, *args, **fields)

    monkeypatch.setattr(Run, "update", update)
    full.set()
    state = until(jobs, run_id, "paused")
    assert state["message"].startswith("waiting for the disk") and "No space left" in state["message"]
    assert not jobs.is_training()
    full.clear()
    until_step(jobs, run_id, until(jobs, run_id, "running")["step"] + 1)
    full.set()
    until(jobs, run_id, "paused")
    [next_id] = begin(jobs)
    jobs.stop(run_id)
    state = until(jobs, run_id, "failed")
    assert "No space left" in state["message"]
    assert until(jobs, next_id, "finished")["step"] == 12
    full.clear()
    assert jobs.status(run_id)["status"] == "failed"
    assert store.get(run_id).status == "failed" and "No space left" in store.get(run_id).message


def test_a_deleted_folder_does_not_stop_the_queue(jobs: Jobs, store: RunStore) -> None:
    [run_id] = begin(jobs, eval_every=1, steps=1_000_000)
    until_step(jobs, run_id)
    store.get(run_id).folder.rename(store.root.parent / "elsewhere")
    [next_id] = begin(jobs)
    assert until(jobs, next_id, "finished")["step"] == 12
    with pytest.raises(CheckpointError, match="there is no run"):
        jobs.status(run_id)
    assert not store.get(next_id).folder.with_name(run_id).exists()


@pytest.mark.parametrize("damaged", ["tokenizer.json", "resume.safetensors"])
def test_a_run_that_cannot_be_opened_again_fails_in_a_sentence(damaged: str, jobs: Jobs, store: RunStore) -> None:
    [run] = trained(store)
    (run.folder / damaged).write_bytes(b"{")
    jobs.resume(run.run_id, {"steps": 2})
    state = until(jobs, run.run_id, "failed")
    assert damaged in state["message"] and "\n" not in state["message"]
    idle(jobs)


def test_a_bug_in_one_job_is_not_the_end_of_all(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    build = runner.build_model

    def broken(config: Any, seed: int) -> Any:
        if config.arch == "gru":
            raise TypeError("a bug")
        return build(config, seed)

    monkeypatch.setattr(runner, "build_model", broken)
    lstm, gru = begin(jobs, "lstm", "gru")
    [after] = begin(jobs)
    assert until(jobs, after, "finished")["step"] == 12
    assert [jobs.status(run_id)["status"] for run_id in (lstm, gru)] == ["failed"] * 2
    assert jobs.status(gru)["message"] == "training broke off: a bug"
