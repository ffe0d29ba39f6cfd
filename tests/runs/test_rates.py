"""The learning rate changed while a run trains: from the next step on, recorded, and exact on resume."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from charlm.config import suited_rate
from charlm.errors import CheckpointError, ConfigError, JobError
from charlm.formats.run_zip import read_zip, write_zip
from charlm.jobs.scheduler import Control, RunTrainer, prepare, run_trainers
from charlm.runs.rates import rate_at, request_rate, take_rate, wanted_rate
from charlm.runs.resume import fork, reopen
from charlm.runs.run import Run
from charlm.runs.schema import MOST_RATES
from charlm.runs.store import RunStore
from tests.tiny_runs import (
    assert_same_training,
    entered,
    resumed,
    small_corpus,
    spoil,
    store_in,
    trained,
    untimed,
)

pytestmark = pytest.mark.usefixtures("single_steps")
OPTIONS: dict[str, Any] = {"dropout": 0.2, "steps": 60, "eval_every": 20, "learning_rate": 0.01, "warmup_steps": 0}
Asked = Mapping[int, float]  # at which step which learning rate is asked for


def train_on(
    trainers: Sequence[RunTrainer], asked: Asked, end: int | None = None, how: str = "interrupted", race: bool = False
) -> None:
    """Train, ask for learning rates once the first trainer has made so many steps, and end after a step."""
    control, waiting = Control(), dict(asked)
    runs = {trainer.run.run_id: trainer.run for trainer in trainers}

    def look() -> None:
        step = min(trainer.state.step for trainer in trainers)
        if step in waiting and all(trainer.state.step == step for trainer in trainers):
            outside = Run(trainers[0].run.folder)  # as another process sees it
            outside.update(wanted_rate={"to": waiting.pop(step), "race": race})
        if end is not None and step >= end:
            control.interrupted = how == "interrupted"
            control.stopped.update(runs if how == "stopped" else ())

    if 0 in waiting:
        request_rate(Run(trainers[0].run.folder), waiting.pop(0), race)
    run_trainers(trainers, control, look)


def changed(store: RunStore, arch: str, asked: Asked, **options: Any) -> Run:
    """A run trained to its end in one go, its learning rate changed on the way."""
    trainers = prepare(entered(store, arch, **OPTIONS | options), small_corpus())
    train_on(trainers, asked)
    return store.get(trainers[0].run.run_id)


def again(run: Run) -> list[RunTrainer]:
    """Its trainer, resumed."""
    return prepare([run], reopen(run, {}), resume=True)


def recorded(run: Run) -> list[tuple[int, float, float]]:
    return [(one["step"], one["from"], one["to"]) for one in run.rate_changes]


def rates(run: Run) -> dict[int, float]:
    return {row["step"]: row["learning_rate"] for row in run.metrics()}


def test_a_change_takes_effect_with_the_next_step_and_is_recorded(store: RunStore) -> None:
    run = changed(store, "lstm", {25: 0.002, 40: 0.03}, schedule="constant")
    assert recorded(run) == [(25, 0.01, 0.002), (40, 0.002, 0.03)] and run.rate_changes[0]["time"]
    assert run.status == "finished" and run.learning_rate == 0.03 and run.train_config.learning_rate == 0.01
    assert wanted_rate(run) is None
    by_step = rates(run)
    assert [by_step[step] for step in (1, 25, 26, 40, 41, 60)] == [0.01, 0.01, 0.002, 0.002, 0.03, 0.03]
    [plain] = trained(store, "lstm", **OPTIONS, schedule="constant")
    rows = run.metrics()
    assert rows[24]["train_loss"] == plain.metrics()[24]["train_loss"] and plain.rate_changes == []
    assert rows[-1]["train_loss"] != plain.metrics()[-1]["train_loss"]
    assert [rate_at(run, step) for step in (0, 24, 25, 39, 40, 99)] == [0.01, 0.01, 0.002, 0.002, 0.03, 0.03]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "plateau"])
def test_warm_up_and_schedule_are_factors_of_what_it_is_changed_to(schedule: str, store: RunStore) -> None:
    options = {"schedule": schedule, "warmup_steps": 12, "eval_every": 5}
    run = changed(store, "gru", {8: 0.005, 30: 0.02}, **options)
    [plain] = trained(store, "gru", **OPTIONS | options)
    before, after = rates(plain), rates(run)
    if schedule == "plateau":  # what it has made of the rate depends on the losses, which differ once it has changed
        assert after[31] == pytest.approx(4 * after[30]) and after[12] == pytest.approx(0.5 * before[12])
    else:
        assert all(after[step] == pytest.approx(0.5 * before[step]) for step in range(9, 31))
        assert all(after[step] == pytest.approx(2 * before[step]) for step in range(31, 61))
    assert all(after[step] == before[step] for step in range(1, 9))


CASES = [("lstm", "cosine", {}), ("gru", "plateau", {"eval_every": 5}), ("rnn", "constant", {"weight_average": 0.9}),
         ("transformer", "linear", {})]  # fmt: skip


@pytest.mark.parametrize(("arch", "schedule", "more"), CASES)
@pytest.mark.parametrize(
    ("end", "how"),
    [
        pytest.param(20, "stopped", marks=pytest.mark.slow),
        (30, "stopped"),
        pytest.param(44, "interrupted", marks=pytest.mark.slow),
    ],
)
def test_a_changed_training_is_resumed_exactly(
    arch: str, schedule: str, more: dict[str, Any], end: int, how: str, store: RunStore
) -> None:
    options = {"schedule": schedule, **more}
    whole = changed(store, arch, {30: 0.002, 40: 0.02}, **options)
    trainers = prepare(entered(store, arch, **OPTIONS | options), small_corpus())
    train_on(trainers, {30: 0.002, 40: 0.02}, end, how)
    half = store.get(trainers[0].run.run_id)
    assert (half.status, half.step) == (how, end)
    train_on(again(half), {step: rate for step, rate in {30: 0.002, 40: 0.02}.items() if step >= end})
    run = store.get(half.run_id)
    assert recorded(run) == recorded(whole)
    assert_same_training(run, whole)
    if how == "interrupted":
        assert untimed(run.metrics()) == untimed(whole.metrics()) and run.samples() == whole.samples()


@pytest.mark.parametrize("saved", [10, 29, 30])
def test_what_is_killed_after_a_change_makes_it_again_where_it_was(saved: int, store: RunStore) -> None:
    """It was saved before the change, or in the very step of it, and goes on from there: the change is yet to come."""
    whole = changed(store, "lstm", {30: 0.002}, schedule="cosine")
    trainers = prepare(entered(store, "lstm", **OPTIONS, schedule="cosine"), small_corpus())
    [trainer], control = trainers, Control()
    trainer.open()
    trainer.advance(saved, control)
    trainer.save()
    kept = {name: (trainer.run.folder / name).read_bytes() for name in ("resume.safetensors", "last.safetensors")}
    trainer.advance(30, control)
    request_rate(Run(trainer.run.folder), 0.002)
    wanted = trainer.wanted_rate()
    assert wanted is not None and wanted["to"] == 0.002
    trainer.change_rate(wanted["to"], wanted)
    trainer.advance(37, control)
    trainer.release()  # as a process that dies lets go
    for name, data in kept.items():
        (trainer.run.folder / name).write_bytes(data)
    killed = store.get(trainer.run.run_id)
    assert killed.status == "interrupted" and recorded(killed) == [(30, 0.01, 0.002)]
    run_trainers(again(killed), Control())
    run = store.get(killed.run_id)
    assert run.status == "finished" and recorded(run) == recorded(whole)
    assert_same_training(run, whole)
    assert untimed(run.metrics()) == untimed(whole.metrics())


def test_another_wish_after_such_a_death_is_another_future(store: RunStore) -> None:
    trainers = prepare(entered(store, "lstm", **OPTIONS), small_corpus())
    [trainer], control = trainers, Control()
    trainer.open()
    trainer.advance(10, control)
    trainer.save()
    trainer.advance(30, control)
    trainer.change_rate(0.002)
    trainer.release()
    killed = store.get(trainer.run.run_id)
    train_on(again(killed), {20: 0.05})
    run = store.get(killed.run_id)
    assert recorded(run) == [(20, 0.01, 0.05)]
    assert_same_training(run, changed(store, "lstm", {20: 0.05}))


def test_a_race_changes_at_one_step_and_counting_does_not(store: RunStore) -> None:
    runs = entered(store, "gru", "ngram", "rnn", **OPTIONS, schedule="constant")
    train_on(prepare(runs, small_corpus()), {0: 0.004}, race=True)
    gru, ngram, rnn = (store.get(run.run_id) for run in runs)
    assert recorded(gru) == recorded(rnn) == [(0, 0.01, 0.004)] and recorded(ngram) == []
    pair = prepare(entered(store, "lstm", "rnn", **OPTIONS, schedule="constant"), small_corpus())
    train_on(pair, {17: 0.004}, race=True)
    lstm, rnn = (store.get(trainer.run.run_id) for trainer in pair)
    assert recorded(lstm) == recorded(rnn) == [(17, 0.01, 0.004)]
    alone = prepare(entered(store, "lstm", "rnn", **OPTIONS, schedule="constant"), small_corpus())
    train_on(alone, {17: 0.004})
    assert [recorded(store.get(one.run.run_id)) for one in alone] == [[(17, 0.01, 0.004)], []]


def test_resuming_with_another_rate_is_a_change_where_it_goes_on(store: RunStore) -> None:
    options = {"schedule": "constant"}
    trainers = prepare(entered(store, "gru", **OPTIONS | options), small_corpus())
    train_on(trainers, {10: 0.02}, 25)
    [run] = resumed(store, trainers[0].run, learning_rate=0.003)
    assert recorded(run) == [(10, 0.01, 0.02), (25, 0.02, 0.003)] and run.train_config.learning_rate == 0.01
    assert rates(run)[26] == 0.003
    assert_same_training(run, changed(store, "gru", {10: 0.02, 25: 0.003}, **options))
    [longer] = resumed(store, run, steps=5, learning_rate=0.003)  # the same is no change
    assert recorded(longer) == recorded(run) and longer.step == 65
    [suited] = resumed(store, longer, steps=5, learning_rate=0)
    assert suited.rate_changes[-1]["step"] == 65
    assert suited.learning_rate == suited_rate(longer.model_config, longer.total_steps)


def test_a_fork_begins_with_the_rate_of_its_moment(store: RunStore) -> None:
    parent = changed(store, "lstm", {30: 0.002}, schedule="constant")
    child, corpus = fork(store, parent, {"steps": 5})
    assert child.train_config.learning_rate == 0.002 and child.rate_changes == []
    run_trainers(prepare([child], corpus, resume=True), Control())
    [longer] = resumed(store, parent, steps=5)
    assert_same_training(store.get(child.run_id), longer)
    own, corpus = fork(store, parent, {"steps": 5, "learning_rate": 0.5})
    assert own.train_config.learning_rate == 0.5
    own.release()


def test_a_loss_that_explodes_is_blamed_on_the_rate_that_it_was_changed_to(store: RunStore) -> None:
    options = {"learning_rate": 1e-3, "grad_clip": 0, "steps": 400, "nonlinearity": "relu", "dropout": 0, "seq_len": 60,
               "batch_size": 2, "eval_every": 1, "schedule": "constant"}  # fmt: skip
    run = changed(store, "rnn", {5: 10.0}, **options)
    assert run.status == "failed" and "with learning_rate 10; try a third of it (3.3)" in run.message
    assert run.fix == {"learning_rate": 3.3}


def test_a_zip_brings_the_changes_along_and_no_wish(store: RunStore, tmp_path: Path) -> None:
    options = {"schedule": "constant"}
    trainers = prepare(entered(store, "gru", **OPTIONS | options), small_corpus())
    train_on(trainers, {10: 0.002}, 25)
    half = store.get(trainers[0].run.run_id)
    half.update(wanted_rate={"to": 0.5, "race": False})
    write_zip(half, tmp_path / "half.zip")
    made = read_zip(store, tmp_path / "half.zip")
    assert recorded(made) == [(10, 0.01, 0.002)] and wanted_rate(made) is None
    [run] = resumed(store, made)
    assert_same_training(run, changed(store, "gru", {10: 0.002}, **options))


# --- what cannot be asked for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "said"),
    [(0, "learning_rate 0 would end all learning; choose one above 0"), (-0.1, "learning_rate -0.1 is outside"),
     (10.5, "learning_rate 10.5 is outside"), (float("nan"), "must be a finite number"), ("0.1", "must be a number"),
     (None, "must be a number"), (True, "must be a number"), ([0.1], "must be a number"), (10**400, "far too large")],
)  # fmt: skip
def test_what_is_no_learning_rate(rate: Any, said: str, store: RunStore) -> None:
    [run] = entered(store, "lstm")
    with pytest.raises(ConfigError, match=said) as error:
        request_rate(run, rate)
    assert "\n" not in str(error.value) and wanted_rate(store.get(run.run_id)) is None


def test_which_runs_cannot_change(store: RunStore) -> None:
    [ngram] = entered(store, "ngram")
    with pytest.raises(JobError, match="counts its text and has no learning rate"):
        request_rate(ngram, 0.1)
    [done] = trained(store, "lstm")
    with pytest.raises(JobError, match="is finished; its learning rate can be changed while it trains, or by resuming"):
        request_rate(done, 0.1)
    [busy] = entered(store, "lstm")
    for step in range(MOST_RATES):
        take_rate(busy, step, 0.1 + step / 1000)
    with pytest.raises(JobError, match=f"was changed {MOST_RATES} times already; fork it"):
        request_rate(busy, 0.2)
    shutil.rmtree(busy.folder)
    with pytest.raises((CheckpointError, JobError)):
        request_rate(busy, 0.2)


def test_what_was_asked_for_meanwhile_stays(store: RunStore) -> None:
    [run] = entered(store, "lstm")
    request_rate(run, 0.1)
    wanted = wanted_rate(run)
    request_rate(Run(run.folder), 0.3)  # by another process, after this one has looked
    take_rate(run, 0, 0.1, wanted)
    assert recorded(run)[0][2] == 0.1 and wanted_rate(run) == {"to": 0.3, "race": False}


def test_a_disk_that_refuses_the_change_loses_nothing(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = changed(store, "gru", {20: 0.002})
    trainers, real, refusals = prepare(entered(store, "gru", **OPTIONS), small_corpus()), Run.edit, []

    def edit(run: Run, change: Any, progress: Any = None) -> None:
        if "rate_changes" in change({}) and len(refusals) < 3:
            refusals.append(trainers[0].state.step)
            raise CheckpointError("run.json cannot be written") from OSError(28, "No space left on device")
        real(run, change, progress)

    monkeypatch.setattr(Run, "edit", edit)
    monkeypatch.setattr("charlm.jobs.runner.RETRY_SECONDS", 0.0)
    train_on(trainers, {20: 0.002})
    run = store.get(trainers[0].run.run_id)
    assert refusals == [20, 20, 20] and run.status == "finished" and recorded(run) == recorded(whole)
    assert_same_training(run, whole)


ODD: list[Any] = [
    None, 3, "x", {}, [3], [{"step": -1, "from": 0.1, "to": 0.2}], [{"step": 1, "from": 0.1}],
    [{"step": 1, "from": 0.1, "to": "0.2"}], [{"step": 1, "from": 0.1, "to": 99}], [{"step": 1, "from": 0.1, "to": 0}],
    [{"step": 1.5, "from": 0.1, "to": 0.2}], [{"step": True, "from": 0.1, "to": 0.2}],
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_record_counts_as_none(odd: Any, store: RunStore) -> None:
    [run] = entered(store, "lstm")
    spoil(run.folder / "run.json", rate_changes=odd, wanted_rate=odd)
    found = Run(run.folder)
    assert found.rate_changes == [] and wanted_rate(found) is None
    assert found.learning_rate == run.train_config.learning_rate


def test_records_are_in_the_order_of_steps(tmp_path: Path) -> None:
    [run] = entered(store_in(tmp_path), "lstm")
    rows = [{"step": step, "from": 0.1, "to": 0.2, "more": "<b>", "time": "no"} for step in (3, 3, 2, 5)]
    spoil(run.folder / "run.json", rate_changes=rows, wanted_rate={"to": 0.1, "race": "yes", "x": 1})
    found = Run(run.folder)
    assert found.rate_changes == [{"step": step, "from": 0.1, "to": 0.2, "time": ""} for step in (3, 5)]
    assert wanted_rate(found) == {"to": 0.1, "race": False}
    run.release()
