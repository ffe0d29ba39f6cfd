"""The queue: places, moving, several at once, what was interrupted before, and a thousand runs from many threads."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from charlm.errors import CheckpointError, ConfigError, JobError
from charlm.jobs.service import Jobs, trainings_at_once
from charlm.runs import run, store
from charlm.runs.store import RunStore
from tests.tiny_runs import begin, entered, small_corpus, trained, wait_for

LONG: dict[str, Any] = {"steps": 1_000_000, "eval_every": 1_000_000}


pytestmark = pytest.mark.usefixtures("quick_slices")


def until(jobs: Jobs, run_id: str, word: str) -> None:
    wait_for(lambda: jobs.status(run_id)["status"] == word, f"for {word}: {jobs.status(run_id)}")


def places(jobs: Jobs, *ids: str) -> list[int | None]:
    return [jobs.status(run_id)["position"] for run_id in ids]


def test_what_waits_is_moved_and_what_is_at_work_is_not(jobs: Jobs) -> None:
    [first] = begin(jobs, **LONG)
    until(jobs, first, "running")
    second, other = begin(jobs, "lstm", "gru")
    [third], [fourth] = begin(jobs), begin(jobs)
    assert places(jobs, first, second, other, third, fourth) == [0, 1, 1, 2, 3]
    assert jobs.move(fourth, -2)["position"] == 1 and places(jobs, second, third) == [2, 3]
    assert jobs.move(fourth, -99)["position"] == 1 and jobs.move(fourth, 99)["position"] == 3
    assert jobs.move(other, 1)["position"] == 2 and places(jobs, second, third, fourth) == [2, 1, 3]
    for run_id, said in ((first, "at work already; only what waits"), (first[:-1], "there is no run")):
        with pytest.raises((JobError, CheckpointError), match=said):
            jobs.move(run_id, 1)
    jobs.stop(first)
    wait_for(lambda: jobs.current() is None)
    with pytest.raises(JobError, match="not training here; it is finished"):
        jobs.move(fourth, 1)
    assert jobs.store.get(third).created <= jobs.store.get(fourth).created


def test_the_list_of_the_queue(jobs: Jobs) -> None:
    assert jobs.queue_list() == []
    [first] = begin(jobs, **LONG)
    until(jobs, first, "running")
    ids = begin(jobs, "gru", "rnn")
    assert jobs.queue_list() == [
        {"run_ids": [first], "archs": ["lstm"], "title": "lstm-pets", "corpus": "pets.txt", "status": "running",
         "position": 0},
        {"run_ids": ids, "archs": ["gru", "rnn"], "title": "Race", "corpus": "pets.txt", "status": "queued",
         "position": 1},
    ]  # fmt: skip


def test_the_same_label_twice_is_two_runs(jobs: Jobs, store: RunStore) -> None:
    [first], [second] = begin(jobs, label="twin"), begin(jobs, label="twin")
    until(jobs, second, "finished")
    assert first != second and [store.get(run_id).label for run_id in (first, second)] == ["twin", "twin"]
    with pytest.raises(CheckpointError, match=f"{second}.*{first}|{first}.*{second}"):
        store.find("twin")


def test_several_at_once_and_fewer_again(jobs: Jobs) -> None:
    ids = [begin(jobs, **LONG)[0] for _ in range(4)]
    until(jobs, ids[0], "running")
    assert places(jobs, *ids) == [0, 1, 2, 3]
    jobs.set_at_once(3)
    wait_for(lambda: all(jobs.status(run_id)["step"] for run_id in ids[:3]))
    assert places(jobs, *ids) == [0, 0, 0, 1]
    current = jobs.current()
    assert current and (current["beside"], current["queued"]) == (2, 1)
    jobs.pause(ids[1])
    until(jobs, ids[1], "paused")
    assert jobs.is_training() and jobs.status(ids[0])["status"] == "running"
    jobs.set_at_once(1)
    jobs.stop(ids[0])
    until(jobs, ids[0], "stopped")
    assert places(jobs, *ids[1:]) == [0, 0, 1], "those at work go on, the next one waits for both"
    jobs.stop(ids[1])
    until(jobs, ids[1], "stopped")
    assert jobs.status(ids[3])["status"] == "queued"
    jobs.stop(ids[2])
    until(jobs, ids[3], "running")
    wait_for(lambda: len(jobs._queue._threads) == 1)


@pytest.mark.parametrize("number", [0, 17, 1.5, -1, True])
def test_how_many_at_once_has_bounds(number: Any, jobs: Jobs) -> None:
    with pytest.raises(ConfigError, match="from 1 to 16 trainings"):
        jobs.set_at_once(number)
    assert jobs.at_once == 1


def test_how_many_at_once_comes_from_the_environment(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLM_AT_ONCE", "3")
    assert Jobs(store).at_once == trainings_at_once() == 3
    for wrong in ("0", "many", "-1", "17", "²"):
        monkeypatch.setenv("CHARLM_AT_ONCE", wrong)
        with pytest.raises(ConfigError, match="CHARLM_AT_ONCE must be a whole number from 1 to 16"):
            Jobs(store)


def test_what_was_interrupted_is_offered_once_and_goes_on_as_the_race_it_was(store: RunStore) -> None:
    before = Jobs(store)
    racing, waiting = begin(before, "lstm", "gru", steps=120), begin(before)
    wait_for(lambda: before.status(racing[1])["step"] > 5)
    before.close(seconds=60)
    [over] = trained(store)
    jobs = Jobs(store)
    try:
        assert [one.run_id for one in jobs.interrupted()] == [*racing, *waiting]
        jobs.resume_interrupted()
        assert jobs.interrupted() == []
        assert [job["run_ids"] for job in jobs.queue_list()] == [racing, waiting]
        until(jobs, waiting[0], "finished")
        assert [store.get(run_id).step for run_id in racing] == [120, 120] and store.get(over.run_id).step == 12
    finally:
        jobs.close(seconds=30)


def test_what_was_interrupted_can_be_left_alone(store: RunStore) -> None:
    runs = entered(store, "lstm", "gru")
    jobs = Jobs(store)
    assert jobs.interrupted() == [], "another process trains them"
    for one in runs:
        one.release()
    later = Jobs(store)
    assert len(later.interrupted()) == 2
    store.delete(runs[0])
    assert [one.run_id for one in later.interrupted()] == [runs[1].run_id]
    later.dismiss_interrupted()
    assert later.interrupted() == [] and store.get(runs[1].run_id).status == "interrupted"
    assert Jobs(store).interrupted() == [], "it is asked once, not at every start"
    later.resume(runs[1].run_id)
    until(later, runs[1].run_id, "finished")
    later.close(seconds=30)


def test_one_that_cannot_go_on_does_not_hold_the_others(store: RunStore) -> None:
    for one in (broken := entered(store, text="abc" * 500)) + (fine := entered(store)):
        one.release()
    from charlm.data.catalog import data_dir

    (data_dir() / "texts" / f"{broken[0].corpus['sha256']}.txt").unlink()
    jobs = Jobs(store)
    with pytest.raises(Exception, match="is no longer here"):
        jobs.resume_interrupted()
    until(jobs, fine[0].run_id, "finished")
    assert store.get(broken[0].run_id).status == "interrupted"
    jobs.close(seconds=30)


def test_fork_and_retry_go_through_the_queue(jobs: Jobs, store: RunStore) -> None:
    [parent] = trained(store)
    forked = jobs.fork(parent.run_id, {"steps": 4, "learning_rate": 0.001})
    until(jobs, forked["run_id"], "finished")
    assert jobs.status(forked["run_id"])["step"] == 16
    hot = {"learning_rate": 9.0, "grad_clip": 0, "schedule": "constant", "seq_len": 64, "seed": 7, "steps": 200}
    [diverging] = begin(jobs, "rnn", nonlinearity="relu", **hot)
    until(jobs, diverging, "failed")
    again = jobs.retry(diverging)
    wait_for(lambda: jobs.status(again["run_id"])["status"] in ("finished", "failed"))
    assert store.get(again["run_id"]).train_config.learning_rate == 3.0
    with pytest.raises(JobError, match="nothing to fix"):
        jobs.retry(parent.run_id)


def test_a_jump_of_the_wall_clock_harms_nothing(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations do not notice; the dates of runs are what the clock says."""
    jump = [timedelta()]

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + jump[0]

    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump[0].total_seconds())
    for module in (run, store):
        monkeypatch.setattr(module, "datetime", Jumping)
    [run_id] = begin(jobs, **LONG)
    for years in (50, -30):
        jump[0] = timedelta(days=365 * years)
        step = jobs.status(run_id)["step"]
        wait_for(lambda step=step: jobs.status(run_id)["step"] > step + 3)
        state = jobs.status(run_id)
        assert 0 <= state["seconds"] < 1000 and "since the last step" not in state["message"]
    ids = [begin(jobs)[0] for _ in range(2)]
    jobs.stop(run_id)
    for one in ids:
        until(jobs, one, "finished")
    seconds = [row["seconds"] for row in jobs.status(run_id)["metrics"]]
    assert seconds == sorted(seconds) and jobs.store.get(ids[0]).created < datetime.now(UTC).isoformat()


def test_a_fork_may_go_on_with_another_text(jobs: Jobs, store: RunStore) -> None:
    [parent] = trained(store)
    other = small_corpus("The hen sat on the cat, and then the mat ran. \n" * 20)
    forked = jobs.fork(parent.run_id, {"steps": 4}, other)
    until(jobs, forked["run_id"], "finished")
    run = store.get(forked["run_id"])
    assert run.step == 4 and run.corpus["sha256"] == other.sha256
    assert run.tokenizer().tokens == parent.tokenizer().tokens
    assert [row["step"] for row in run.metrics()] == [1, 2, 3, 4]
