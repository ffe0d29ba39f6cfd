"""Exact resume: 200 steps are 100, a stop, a resume and 100 more, to the bit, whatever is trained and however."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from charlm.jobs.scheduler import Control, RunTrainer, prepare, run_trainers
from charlm.runs.store import RunStore
from tests.tiny_runs import (
    assert_same_training,
    entered,
    resumed,
    small_corpus,
    trained,
    untimed,
)

ARCHITECTURES: dict[str, dict[str, Any]] = {"lstm": {}, "gru": {}, "rnn": {}, "rnn-relu": {"nonlinearity": "relu"}}
SCHEDULES = ("constant", "linear", "cosine", "plateau")
OTHERS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("lstm",), {"embed_dim": 8, "tie_weights": True}),
    (("gru",), {"embed_dim": 5, "num_layers": 1, "dropout": 0.0}),
    (("rnn",), {"num_layers": 3, "dropout": 0.5}),
    (("lstm",), {"init": "torch", "weight_decay": 0.1, "beta1": 0.7, "beta2": 0.9}),
    (("gru",), {"init": "notebook", "grad_clip": 0, "warmup_steps": 150}),
    (("lstm",), {"steps": 0, "epochs": 6.1, "eval_every": 0}),
    (("gru",), {"patience": 9, "schedule": "plateau", "learning_rate": 0.3}),
    (("rnn",), {"batch_size": 1, "seq_len": 3}),
    (("lstm",), {"precision": "bfloat16"}),
    (("gru", "transformer"), {"weight_average": 0.95}),
    (("lstm",), {"weight_average": 0.9, "schedule": "plateau", "embed_dim": 8, "tie_weights": True}),
    (("lstm",), {"batch_size": 30, "seq_len": 40}),  # one step an epoch
    (
        ("lstm", "gru", "rnn"),
        {
            "embed_dim": 6,
            "output_dropout": 0.4,
            "input_dropout": 0.3,
            "embed_dropout": 0.2,
            "weight_dropout": 0.5,
            "locked_dropout": True,
        },
    ),
    (("gru",), {"embed_dropout": 0.2, "weight_dropout": 0.5, "init": "xavier"}),
    (("transformer",), {"context": 14, "num_heads": 2, "embed_dim": 5}),
    (("mingru",), {"embed_dim": 8, "tie_weights": True, "num_layers": 1, "precision": "bfloat16"}),
    (("mingru", "transformer"), {"num_layers": 1, "schedule": "plateau"}),
    (("lstm", "gru", "rnn"), {"dropout": 0.3}),
    (("gru", "lstm"), {"schedule": "plateau", "learning_rate": 0.1}),
    (("rnn", "gru"), {"schedule": "constant", "embed_dim": 8, "tie_weights": True}),
]
CASES = [
    *(
        ((arch.split("-")[0],), {**options, "schedule": schedule})
        for arch, options in ARCHITECTURES.items()
        for schedule in SCHEDULES
    ),
    *OTHERS,
]


pytestmark = pytest.mark.usefixtures("single_steps")


def named(case: tuple[Sequence[str], dict[str, Any]]) -> str:
    return "-".join([*case[0], *(f"{name}={value}" for name, value in case[1].items())])


def until(step: int, how: str, trainers: Sequence[RunTrainer], control: Control) -> Callable[[], None]:
    """An on_slice that stops or interrupts the race once all have made so many steps."""

    def look() -> None:
        if all(trainer.state.step >= step or trainer.ended for trainer in trainers):
            if how == "interrupted":
                control.interrupted = True
            control.stopped.update(trainer.run.run_id for trainer in trainers)

    return look


# Only with --slow: ReLU differs from tanh in no schedule, the schedules are the same code for all, and the parts of the
# rest are in other cases, too.
ELSEWHERE_TOO = (
    "gru-schedule=", "mingru-schedule=", "transformer-schedule=", "rnn-batch_size", "lstm-batch_size",
    "gru-embed_dropout", "gru-patience", "rnn-nonlinearity=relu-", "lstm-init=torch", "gru-init=notebook",
    "lstm-weight_average", "mingru-transformer-", "lstm-gru-rnn-dropout=0.3", "gru-lstm-", "rnn-gru-",
)  # fmt: skip


def case_of(case: tuple[tuple[str, ...], dict[str, Any]]) -> Any:
    slow = named(case).startswith(ELSEWHERE_TOO)
    return pytest.param(case, id=named(case), marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize("case", [case_of(case) for case in CASES])
def test_200_steps_are_100_and_100(case: tuple[tuple[str, ...], dict[str, Any]], store: RunStore) -> None:
    archs, changed = case
    options = {"dropout": 0.2, "steps": 200, "eval_every": 40, **changed}
    wholes = trained(store, *archs, **options)
    trainers = prepare(entered(store, *archs, **options), small_corpus())
    control = Control()
    run_trainers(trainers, control, until(100, "stopped", trainers, control))
    halves = [store.get(trainer.run.run_id) for trainer in trainers]
    assert [run.status for run in halves] == ["stopped"] * len(archs) and halves[0].step == 100
    for run, whole in zip(resumed(store, *halves), wholes, strict=True):
        assert run.status == "finished" and run.step == whole.step
        assert_same_training(run, whole)
        regular = {row["step"] for row in whole.metrics()}
        assert [row["val_loss"] for row in run.metrics() if row["step"] in regular and row["step"] != 100] == [
            row["val_loss"] for row in whole.metrics() if row["step"] != 100
        ]


@pytest.mark.parametrize("changed", [{}, {"tie_weights": True}, {"softmax_samples": 50, "tie_weights": True}])
def test_a_training_of_many_tokens_goes_on_where_it_was(changed: dict[str, Any], store: RunStore) -> None:
    """Their loss is computed in chunks, and among tokens that are drawn."""
    text = "".join(chr(0x4E00 + place * place % 1499) for place in range(1499)) * 2
    text += "".join(map(chr, range(0x4E00, 0x4E00 + 1499)))
    options: dict[str, Any] = {"embed_dim": 8, "weight_dropout": 0.3, "steps": 24, "eval_every": 9, **changed}
    [whole] = trained(store, "lstm", text=text, **options)
    assert whole.model_config.vocab_size == 1499
    trainers, control = prepare(entered(store, "lstm", text=text, **options), small_corpus(text)), Control()
    run_trainers(trainers, control, until(13, "interrupted", trainers, control))
    half = store.get(trainers[0].run.run_id)
    assert half.step == 13
    [run] = resumed(store, half)
    assert_same_training(run, whole)
    assert untimed(run.metrics()) == untimed(whole.metrics())


@pytest.mark.parametrize("step", [1, 7, 33, 34, 40, 99])
def test_an_interruption_at_any_step_leaves_no_trace_even_in_the_log(step: int, store: RunStore) -> None:
    """33 steps are an epoch, 40 the first validation; losses since the last row of the log are not lost."""
    options: dict[str, Any] = {"dropout": 0.2, "steps": 100, "eval_every": 40}
    [whole] = trained(store, "gru", **options)
    trainers, control = prepare(entered(store, "gru", **options), small_corpus()), Control()
    run_trainers(trainers, control, until(step, "interrupted", trainers, control))
    half = store.get(trainers[0].run.run_id)
    assert (half.status, half.step) == ("interrupted", step)
    [run] = resumed(store, half)
    assert_same_training(run, whole)
    assert untimed(run.metrics()) == untimed(whole.metrics())
    assert run.samples() == whole.samples() and run.block_log.rows() == whole.block_log.rows()
    blocks = run.val_blocks(run.best_step)
    assert sum(loss for loss, _ in blocks) / sum(tokens for _, tokens in blocks) == pytest.approx(run.best_val_loss)
    assert run.val_blocks(run.best_step - 1) == ()


@pytest.mark.slow
def test_a_training_that_is_interrupted_again_and_again(store: RunStore) -> None:
    options: dict[str, Any] = {"dropout": 0.2, "steps": 60, "eval_every": 7, "schedule": "plateau"}
    wholes = trained(store, "lstm", "rnn", **options)
    runs = entered(store, "lstm", "rnn", **options)
    trainers = prepare(runs, small_corpus())
    for step in range(9, 60, 9):
        control = Control()
        run_trainers(trainers, control, until(step, "interrupted", trainers, control))
        ended = [store.get(run.run_id) for run in runs]
        from charlm.runs.resume import reopen

        corpora = [reopen(run, {}) for run in ended]
        trainers = prepare(ended, corpora[0], resume=True)
    run_trainers(trainers, Control())
    for run, whole in zip(runs, wholes, strict=True):
        assert_same_training(store.get(run.run_id), whole)
        assert untimed(store.get(run.run_id).metrics()) == untimed(whole.metrics())
