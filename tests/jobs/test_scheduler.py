"""Racers: the same batches, equal steps, stops and failures that touch one only, exact resume."""

import json
import math
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from charlm.architectures import ARCHS, RACE_ARCHS
from charlm.config import SampleConfig
from charlm.errors import JobError
from charlm.jobs import runner, scheduler
from charlm.jobs.scheduler import Control, RunTrainer, prepare, run_trainers
from charlm.runs.checkpoint import save_weights
from charlm.runs.resume import fork, reopen
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.training.data_parallel import DataParallelStep
from tests.tiny_runs import assert_same_training, entered, small_corpus, state_numbers, trained, untimed

evaluate_module = import_module("charlm.training.evaluate")  # its function has its name


@pytest.fixture(autouse=True)
def short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SAMPLE", SampleConfig(length=20, seed=1))


def trainers_of(runs: list[Run], resume: bool = False) -> list[RunTrainer]:
    return prepare(runs, small_corpus(), resume)


def again(store: RunStore, run: Run, **options: Any) -> Run:
    """Resume a run to its end."""
    run = store.get(run.run_id)
    reopen(run, options)
    run_trainers(trainers_of([run], resume=True), Control())
    return store.get(run.run_id)


def stop_at(step: int, *archs: str) -> tuple[Control, Callable[[list[RunTrainer]], Callable[[], None]]]:
    """A control, and an on_slice that stops trainers once they have made `step` steps."""
    control = Control()

    def watch(trainers: list[RunTrainer]) -> Callable[[], None]:
        def look() -> None:
            ready = [trainer for trainer in trainers if trainer.state.step >= step]
            control.stopped.update(trainer.run.run_id for trainer in ready if not archs or trainer.run.arch in archs)

        return look

    return control, watch


def one_step_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "SLICE_SECONDS", 0.0)


# --- together --------------------------------------------------------------------------------------------------------


def test_all_racers_see_the_same_batches(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, list[bytes]] = {}
    gradients = DataParallelStep.gradients

    def spy(self: DataParallelStep, inputs: torch.Tensor, targets: torch.Tensor, hidden: Any) -> Any:
        seen.setdefault(id(self), []).append(torch.stack([inputs, targets]).numpy().tobytes())
        return gradients(self, inputs, targets, hidden)

    monkeypatch.setattr(DataParallelStep, "gradients", spy)
    trainers = trainers_of(entered(store, *RACE_ARCHS, steps=60))
    run_trainers(trainers, Control())
    first, *others = seen.values()
    assert len(seen) == 3 and len(first) == 60 and all(one == first for one in others)
    assert len(set(first)) > trainers[0].dataset.steps_per_epoch - 1


def test_after_every_round_all_stand_at_equal_steps_whatever_pauses(store: RunStore) -> None:
    trainers, control, spread = trainers_of(entered(store, *RACE_ARCHS, steps=40)), Control(), []
    calls = iter(range(10_000))

    def on_slice() -> None:
        control.paused = next(calls) % 3 == 1  # cuts slices short
        steps = [trainer.state.step for trainer in trainers]
        spread.append(steps == sorted(steps, reverse=True))

    run_trainers(trainers, control, on_slice)
    assert all(spread), "a later racer was ahead of an earlier one"
    assert [trainer.state.step for trainer in trainers] == [40, 40, 40]


def test_a_race_trains_each_exactly_as_if_alone(store: RunStore) -> None:
    together = trained(store, *ARCHS)
    for run in together:
        [alone] = trained(store, run.arch)
        assert alone.best_val_loss == run.best_val_loss
        assert_same_weights(alone, run, "last")


def assert_same_weights(one: Run, other: Run, which: str = "resume") -> None:
    first, second = (load_file(run.folder / f"{which}.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


# --- stop, pause, interrupt ------------------------------------------------------------------------------------------


def test_stopping_one_lets_the_others_go_on(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    one_step_slices(monkeypatch)
    trainers = trainers_of(entered(store, *RACE_ARCHS))
    control, watch = stop_at(6, "gru")
    run_trainers(trainers, control, watch(trainers))
    runs = {run.arch: run for run in store.list()}
    assert {arch: run.status for arch, run in runs.items()} == {"lstm": "finished", "gru": "stopped", "rnn": "finished"}
    assert runs["gru"].step == 6 and runs["gru"].load_model() is not None


def test_a_stop_before_the_first_validation_keeps_what_was_learned(store: RunStore) -> None:
    trainers = trainers_of(entered(store, eval_every=1000, steps=1000))
    control, watch = stop_at(1)
    run_trainers(trainers, control, watch(trainers))
    [run] = store.list()
    assert run.status == "stopped" and run.step == run.best_step == 1 and math.isfinite(run.best_val_loss or math.nan)
    run.load_model()
    [row] = run.metrics()
    assert row["step"] == 1 and row["val_loss"] == pytest.approx(run.best_val_loss)
    assert [sample["step"] for sample in run.samples()] == [1]


def test_a_stop_while_paused_ends_the_one_and_trains_nobody(store: RunStore) -> None:
    trainers, control, states = trainers_of(entered(store, "lstm", "gru", steps=1000)), Control(), []

    def on_slice() -> None:
        states.append([trainer.state.step for trainer in trainers])
        control.paused = True
        if len(states) == 5:
            control.stopped.add(trainers[0].run.run_id)
        if len(states) == 12:
            control.stopped.add(trainers[1].run.run_id)

    run_trainers(trainers, control, on_slice)
    assert all(state == states[0] for state in states)
    assert [store.get(trainer.run.run_id).status for trainer in trainers] == ["stopped", "stopped"]


def test_an_interruption_saves_all_even_before_the_first_step(store: RunStore) -> None:
    control = Control(interrupted=True)
    runs = entered(store, "lstm", "gru")
    run_trainers(trainers_of(runs), control)
    assert [store.get(run.run_id).status for run in runs] == ["interrupted"] * 2
    assert again(store, runs[0]).status == "finished"


@pytest.mark.parametrize("status", ["stopped", "interrupted"])
@pytest.mark.parametrize("arch", RACE_ARCHS)
def test_fifty_and_fifty_steps_are_a_hundred_bit_for_bit(
    arch: str, status: str, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_step_slices(monkeypatch)
    options: dict[str, Any] = {"dropout": 0.3, "steps": 100, "eval_every": 20, "nonlinearity": "relu"}
    [whole] = trained(store, arch, **options)
    trainers = trainers_of(entered(store, arch, **options))
    control, watch = stop_at(50)

    def interrupt() -> None:
        control.interrupted = trainers[0].state.step >= 50

    run_trainers(trainers, control, watch(trainers) if status == "stopped" else interrupt)
    halted = store.get(trainers[0].run.run_id)
    assert (halted.status, halted.step) == (status, 50)
    resumed = again(store, halted)
    assert resumed.step == 100 and resumed.status == "finished"
    assert_same_weights(resumed, whole)
    steps = [row["step"] for row in resumed.metrics()]
    assert steps == sorted(set(steps))
    seconds = [row["seconds"] for row in resumed.metrics()]
    assert seconds == sorted(seconds)
    mine, theirs = (
        {row["step"]: row["val_loss"] for row in run.metrics() if row["val_loss"]} for run in (resumed, whole)
    )
    assert {step: loss for step, loss in mine.items() if step != 50} == theirs


def test_the_validation_of_a_stop_is_nothing_to_plateau_and_patience(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a rate that learns nothing every evaluation counts as stale; that of the stop must not."""
    one_step_slices(monkeypatch)
    options: dict[str, Any] = {
        "schedule": "plateau",
        "patience": 6,
        "learning_rate": 0.5,
        "eval_every": 4,
        "steps": 60,
        "grad_clip": 0,
    }
    [whole] = trained(store, **options)
    trainers = trainers_of(entered(store, **options))
    for at in (6, 13, 14):
        control, watch = stop_at(at)
        run_trainers(trainers, control, watch(trainers))
        run = store.get(trainers[0].run.run_id)
        if run.status == "finished":
            break
        reopen(run, {})
        trainers = trainers_of([run], resume=True)
    run_trainers(trainers, Control())
    resumed = store.get(trainers[0].run.run_id)
    assert resumed.step == whole.step
    assert_same_weights(resumed, whole)
    assert state_numbers(resumed) == state_numbers(whole)


def test_a_finished_run_is_extended(store: RunStore) -> None:
    [run] = trained(store)
    longer = again(store, run, steps=8)
    assert (longer.step, longer.total_steps, longer.status) == (20, 20, "finished")
    assert [row["step"] for row in longer.metrics()] == list(range(1, 21))
    assert longer.seconds > run.seconds and (longer.best_val_loss or 9) <= (run.best_val_loss or 0)


def test_a_run_that_ran_out_of_patience_gets_new_one(store: RunStore) -> None:
    [run] = trained(store, learning_rate=0.5, patience=1, eval_every=2, steps=200, dropout=0.9, schedule="constant")
    assert run.step < 200
    assert state_numbers(run)["stale"] >= 1
    assert again(store, run, steps=2).step == run.step + 2


def test_a_run_cut_off_before_its_first_save_begins_anew(store: RunStore) -> None:
    trainers = trainers_of(entered(store))
    trainers[0].open()
    trainers[0].advance(5, Control())
    trainers[0].run.release()  # as a process that dies does
    run = store.get(trainers[0].run.run_id)
    assert run.status == "interrupted" and not (run.folder / "resume.safetensors").exists()
    resumed = again(store, run)
    [whole] = trained(store)
    assert [row["step"] for row in resumed.metrics()] == list(range(1, 13))
    assert_same_weights(resumed, whole)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_run_of_a_gpu_goes_on_on_the_cpu_where_there_is_none(store: RunStore) -> None:
    [elsewhere, here] = [trained(store, steps=4)[0] for _ in range(2)]
    told = json.loads((elsewhere.folder / "run.json").read_text())
    told["train"]["device"] = told["device"] = "cuda"
    (elsewhere.folder / "run.json").write_text(json.dumps(told))
    moved, stayed = again(store, elsewhere, steps=8), again(store, here, steps=8)
    assert moved.status == "finished" and moved.train_config.device == "cuda"
    assert "device 'cuda' is not available here: it goes on on the CPU" in moved.message and not stayed.message
    assert_same_training(moved, stayed)
    forked, corpus = fork(store, moved, {"steps": 2})
    run_trainers(prepare([forked], corpus, resume=True), Control())
    assert store.get(forked.run_id).status == "finished" and "goes on on the CPU" in store.get(forked.run_id).message


def test_a_worse_validation_after_a_resume_does_not_replace_better_weights(store: RunStore) -> None:
    [run] = trained(store)
    save_weights(run.folder / "best.safetensors", run.load_model(), step=8, val_loss=0.01)
    best = (run.folder / "best.safetensors").read_bytes()
    resumed = again(store, run, steps=4)
    assert resumed.best_val_loss == 0.01 and (run.folder / "best.safetensors").read_bytes() == best


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_loss_beyond_numbers_ends_that_racer_only(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    one_step_slices(monkeypatch)
    trainers = trainers_of(entered(store, *RACE_ARCHS))

    def break_one() -> None:
        gru = trainers[1]
        if gru.state.step >= 4 and not gru.ended:
            with torch.no_grad():
                gru.model.get_parameter("fc.bias").fill_(math.nan)

    run_trainers(trainers, Control(), break_one)
    lstm, gru, rnn = (store.get(trainer.run.run_id) for trainer in trainers)
    assert (lstm.status, gru.status, rnn.status) == ("finished", "failed", "finished")
    assert re.search(r"loss became nan at step \d+ with learning_rate \S+; try a third of it", gru.message)
    assert gru.load_model() is not None and gru.best_step == 4  # would refuse weights that are not finite


def test_a_learning_rate_that_is_far_too_high(store: RunStore) -> None:
    options: dict[str, Any] = {
        "learning_rate": 10.0,
        "grad_clip": 0.0,
        "nonlinearity": "relu",
        "warmup_steps": 0,
        "steps": 400,
    }
    [run] = trained(store, "rnn", **options, eval_every=1, seq_len=60, batch_size=2)
    assert run.status == "failed" and "learning_rate 10" in run.message and "\n" not in run.message
    if run.best_val_loss is not None:
        assert math.isfinite(run.best_val_loss) and run.load_model() is not None


@pytest.mark.parametrize(
    ("error", "said"),
    [(RuntimeError("odd shapes"), "training broke off: odd shapes"), (IndexError("list index"), "training broke off"),
     (RuntimeError("not enough memory: you tried"), "halve batch_size"), (MemoryError(), "halve batch_size"),
     (KeyError(), "KeyError"), (JobError("the loss became nan"), "the loss became nan")],
)  # fmt: skip
def test_whatever_goes_wrong_in_one_is_its_own(
    error: Exception, said: str, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers, save = trainers_of(entered(store, "lstm", "gru")), runner.save_weights

    def broken(path: Path, *args: Any, **more: Any) -> None:
        if path.parent == trainers[0].run.folder:
            raise error
        save(path, *args, **more)

    monkeypatch.setattr(runner, "save_weights", broken)
    run_trainers(trainers, Control())
    lstm, gru = (store.get(trainer.run.run_id) for trainer in trainers)
    assert lstm.status == "failed" and said in lstm.message and gru.status == "finished"


def test_a_disk_that_refuses_makes_all_rest_until_it_takes_again(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.0)
    trainers, save, said = trainers_of(entered(store, "lstm", "gru")), runner.save_weights, []
    full = [True] * 5

    def refused(path: Path, *args: Any, **more: Any) -> None:
        if path.parent == trainers[0].run.folder and full and full.pop():
            raise OSError(28, "No space left on device")
        save(path, *args, **more)

    monkeypatch.setattr(runner, "save_weights", refused)
    run_trainers(trainers, Control(), lambda: said.append((trainers[0].trouble, trainers[1].state.step)))
    rest = [step for trouble, step in said if "No space left on device" in trouble]
    assert len(rest) >= 4 and len(set(rest)) == 1, "the other one went on meanwhile"
    assert sum("free some space" in record.message for record in caplog.records) == 1
    [lone] = trained(store, "lstm")
    assert [one.status for one in store.list()] == ["finished"] * 3
    assert_same_training(store.get(trainers[0].run.run_id), lone)


def test_who_must_end_does_not_wait_for_the_disk(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    trainers, control = trainers_of(entered(store)), Control()
    monkeypatch.setattr(runner, "save_weights", refused)
    run_trainers(
        trainers, control, lambda: control.stopped.update({trainers[0].run.run_id} if trainers[0].trouble else ())
    )
    [run] = store.list()
    assert run.status == "failed" and run.message.endswith("No space left on device; free some space, then resume it")


def test_one_that_ended_while_the_disk_was_full_does_not_hold_up_the_others(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers, control, save = trainers_of(entered(store, "lstm", "gru")), Control(), runner.save_weights
    full = trainers[0].run

    def refused(path: Path, *args: Any, **more: Any) -> None:
        if path.parent == full.folder:
            raise OSError(28, "No space left on device")
        save(path, *args, **more)

    monkeypatch.setattr(runner, "save_weights", refused)
    run_trainers(trainers, control, lambda: control.stopped.update({full.run_id} if trainers[0].trouble else ()))
    assert [store.get(trainer.run.run_id).status for trainer in trainers] == ["failed", "finished"]


def test_an_interruption_on_a_full_disk_leaves_what_was_saved(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    [whole] = trained(store)
    trainers, control = trainers_of(entered(store, steps=12)), Control()

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    def fill() -> None:
        if trainers[0].state.step == 4:
            trainers[0].save()
            monkeypatch.setattr(runner, "save_weights", refused)
        control.interrupted = bool(trainers[0].trouble)

    one_step_slices(monkeypatch)
    run_trainers(trainers, control, fill)
    run = store.get(trainers[0].run.run_id)
    assert run.status == "interrupted" and Run(run.folder).message == ""
    monkeypatch.setattr(runner, "save_weights", save_weights)  # undo would forget the test's own data folder, too
    assert_same_training(again(store, run), whole)


def test_an_interruption_breaks_a_validation_off_and_nothing_differs(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is saved as it stands; the validation comes first when the run goes on."""
    trainers, control, pieces = trainers_of(entered(store, dropout=0.2)), Control(), iter(range(1000))
    score = evaluate_module._score

    def slow(*args: Any) -> Any:
        control.interrupted = trainers[0].state.step == 8 or control.interrupted
        next(pieces)
        return score(*args)

    monkeypatch.setattr(evaluate_module, "CHUNK", 2)
    monkeypatch.setattr(evaluate_module, "_score", slow)
    run_trainers(trainers, control)
    [run] = store.list()
    assert (run.status, run.step) == ("interrupted", 8) and [row["step"] for row in run.metrics()][-1] == 7
    monkeypatch.setattr(evaluate_module, "_score", score)
    gone_on, [whole] = again(store, run), trained(store, dropout=0.2)
    assert_same_training(gone_on, whole)
    assert untimed(gone_on.metrics()) == untimed(whole.metrics())


def test_a_folder_that_vanishes_ends_that_racer_only(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    one_step_slices(monkeypatch)
    trainers = trainers_of(entered(store, "lstm", "gru"))

    def vanish() -> None:
        if trainers[0].state.step >= 4 and trainers[0].run.folder.exists():
            trainers[0].run.folder.rename(store.root.parent / "elsewhere")

    run_trainers(trainers, Control(), vanish)
    assert trainers[0].ended and trainers[0].failure and [run.status for run in store.list()] == ["finished"]


def test_a_model_that_cannot_write_a_sample_trains_on(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def speechless(*_: Any) -> Iterator[str]:
        yield from "ab"
        raise JobError("the model's state grew beyond all numbers")

    monkeypatch.setattr(runner, "generate", speechless)
    [run] = trained(store)
    assert run.status == "finished" and {sample["text"] for sample in run.samples()} == {"ab"}


def test_runs_of_other_batches_train_side_by_side_on_one_set_of_ids(store: RunStore) -> None:
    runs = [*entered(store, "rnn", seed=1), *entered(store, "rnn", seed=1, batch_size=8)]
    trainers = prepare(runs, small_corpus())
    first, second = (trainer.dataset for trainer in trainers)
    assert (first.batch_size, second.batch_size) == (4, 8) and first.train_ids is second.train_ids
    run_trainers(trainers, Control())
    assert [(run.status, run.step) for run in map(Run, (run.folder for run in runs))] == [("finished", 12)] * 2
    [alone] = trained(store, "rnn", seed=1, batch_size=8)
    assert_same_training(Run(runs[1].folder), alone)
