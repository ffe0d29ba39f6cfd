"""Races that may stop early, in the background: look by look, stopped, cut off, and what is removed at the end."""

from typing import Any

import pytest

from charlm.analysis.comparison import compare
from charlm.errors import ConfigError
from charlm.jobs.service import Jobs
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from tests.tiny_runs import TEXT, settings, small_corpus, wait_for

LONG = TEXT * 40
EARLY: dict[str, Any] = {"seeds": 4, "steps": 3, "eval_every": 3, "num_layers": 1, "early_stop": True, "snapshots": 0}
ENDLESS = EARLY | {"steps": 1_000_000, "eval_every": 1_000_000}

pytestmark = pytest.mark.usefixtures("quick_slices")


def begun(jobs: Jobs, *archs: str, **options: Any) -> list[str]:
    return jobs.start(small_corpus(LONG), settings(**{**EARLY, **options}), archs)


def seeds_of(runs: list[Run], arch: str) -> list[int]:
    return sorted(run.train_config.seed for run in runs if run.arch == arch)


def idle(jobs: Jobs) -> None:
    wait_for(lambda: jobs.current() is None)


def test_a_race_ends_at_the_look_that_tells_the_best_apart(jobs: Jobs) -> None:
    ids = begun(jobs, "lstm", "ngram")
    assert len(ids) == 5
    idle(jobs)
    runs = list(jobs.store.list())
    assert seeds_of(runs, "lstm") == [7, 8, 9] and seeds_of(runs, "ngram") == [7]
    assert {run.status for run in runs} == {"finished"} and {tuple(run.looks) for run in runs} == {(3, 4)}
    assert {run.run_id for run in runs} < set(ids) and not list(jobs.store.trashed())
    found = compare(runs)
    assert found.ended_early and found.to_dict()["ended_early"] is True
    assert "It ended early: after 3 of 4 seeds" in " ".join(found.sentences())
    assert "1 training was not needed" in " ".join(found.sentences())
    jobs.resume(ids[0], {"steps": 4})  # whatever its race has shown
    idle(jobs)
    assert jobs.store.get(ids[0]).step == 7


def test_without_a_winner_all_seeds_are_trained(jobs: Jobs) -> None:
    ids = begun(jobs, "lstm", "gru", learning_rate=1e-7)
    idle(jobs)
    runs = [jobs.store.get(run_id) for run_id in ids]
    assert {run.status for run in runs} == {"finished"} and seeds_of(runs, "gru") == [7, 8, 9, 10]
    found = compare(runs)
    assert not found.ended_early and "ended early" not in " ".join(found.sentences())


def test_what_waits_for_a_look_says_so_and_is_stopped_by_itself(jobs: Jobs) -> None:
    ids = begun(jobs, "lstm", "gru", **ENDLESS)
    last = next(one for one in ids if jobs.store.get(one).train_config.seed == 10)
    at_work = [one for one in ids if jobs.store.get(one).train_config.seed < 10]
    wait_for(lambda: all(jobs.status(one)["step"] > 0 for one in at_work))
    state = jobs.status(last)
    assert (state["status"], state["step"]) == ("queued", 0) and "waiting for a look" in state["message"]
    assert jobs.stop(last)["status"] == "stopped" and jobs.status(ids[0])["status"] == "running"
    assert jobs.store.get(last).message == "stopped before it began"
    jobs.stop_job(ids[0])
    idle(jobs)
    ended = [jobs.store.get(run_id) for run_id in ids]
    assert {run.status for run in ended} == {"stopped"}
    assert {run.train_config.seed for run in ended if not run.step} == {10}


def test_a_server_that_ends_leaves_all_of_it_to_be_resumed(store: RunStore, jobs: Jobs) -> None:
    first = Jobs(store)
    ids = begun(first, "lstm", "ngram", steps=40, eval_every=20)
    wait_for(lambda: first.status(ids[0])["step"] > 0)
    first.close()
    cut_off = [run for run in store.list() if run.status == "interrupted"]
    assert {10} < {run.train_config.seed for run in cut_off}
    jobs.resume_interrupted()
    idle(jobs)
    runs = list(store.list())
    assert {run.status for run in runs} == {"finished"} and seeds_of(runs, "lstm") == [7, 8, 9]


@pytest.mark.parametrize(
    ("archs", "options", "said"),
    [(["lstm", "gru"], {"seeds": 3}, "needs 4 seeds or more, not 3"),
     (["lstm"], {}, "needs two architectures to compare, not lstm alone")],
)  # fmt: skip
def test_what_cannot_stop_early_is_refused(jobs: Jobs, archs: list[str], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        begun(jobs, *archs, **options)
    assert not list(jobs.store.list())
