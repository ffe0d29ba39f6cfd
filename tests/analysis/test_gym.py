"""The memory gym: its tasks against an independent checker, its scores on models whose answer is known."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from charlm.analysis.gym import Gym, Settings, accuracy, finding, measure, rows, sized
from charlm.analysis.gym_tasks import COPIED, COUNTS, TASKS, Task, example
from charlm.analysis.measurement import Measured
from charlm.architectures import ARCHITECTURES
from charlm.errors import ConfigError, MeasurementError
from charlm.models import LanguageModel, State, build_model, model_class

TRAINED = tuple(arch for arch, about in ARCHITECTURES.items() if not about.counted)
QUICK = Settings(archs=("lstm",), seeds=1, steps=4, longest=2, parameters=1000)
PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}


def learned(settings: Settings) -> Gym:
    """What a measurement ends with, after progress that only grows and results that JSON can hold."""
    steps = list(measure(settings))
    shares = [step.share for step in steps]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert steps[-1].result is not None
    json.dumps(steps[-1].result, allow_nan=False)
    return steps[-1].result


# --- the tasks -------------------------------------------------------------------------------------------------------


def closed(shown: str) -> str:
    """Opening brackets with what closes them, by a stack."""
    stack = [PAIRS[one] for one in shown]
    return shown + "|" + "".join(stack.pop() for _ in shown)


# From the part of a sequence that is no answer, all of it; the delay is known.
CHECKED: dict[str, Callable[[str, int], str]] = {
    "copy": lambda given, delay: given[:COPIED] + "_" * delay + ":" + given[:COPIED],
    "first": lambda given, delay: given[: delay + 1] + "?" + given[0],
    "brackets": lambda given, delay: closed(given[:delay]),
    "parity": lambda given, delay: given[:delay] + "=" + str(given[:delay].count("1") % 2),
    "counting": lambda given, delay: "a" * given.count("a") + "b" * given.count("a") + ".",
}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("delay", [1, 2, 7, 40])
def test_every_answer_is_right_and_all_are_asked_for(name: str, delay: int) -> None:
    task = TASKS[name]
    batch = task.make(np.random.default_rng(delay), delay, 60)
    assert batch["ids"].dtype == np.int64 and batch["ids"].shape == batch["answers"].shape
    sizes = set()
    for ids, answers in zip(batch["ids"], batch["answers"], strict=True):
        shown, places = "".join(task.tokens[token] for token in ids), np.flatnonzero(answers)
        wanted = CHECKED[name](shown[: places[0]], delay)
        assert shown[: len(wanted)] == wanted and set(shown[len(wanted) :]) <= {"."}
        assert places.tolist() == list(range(places[0], len(wanted)))  # to its end
        sizes.add(len(wanted))
    assert len(sizes) == (COUNTS if name == "counting" else 1)


@pytest.mark.parametrize("name", TASKS)
def test_answers_are_as_likely_as_chance_says_and_seeds_differ(name: str) -> None:
    task = TASKS[name]
    one, same, other = (task.make(np.random.default_rng(seed), 9, 4000) for seed in (1, 1, 2))
    assert np.array_equal(one["ids"], same["ids"]) and not np.array_equal(one["ids"], other["ids"])
    if name == "counting":  # the best guess is one of the lengths
        counted = np.bincount((one["ids"] == 0).sum(axis=1))
    else:
        last = [np.flatnonzero(answers)[-1] for answers in one["answers"]]
        counted = np.bincount(one["ids"][np.arange(4000), last])
    assert max(counted) / 4000 == pytest.approx(task.chance, abs=0.03)
    assert (counted > 0).sum() == round(1 / task.chance)


def test_examples_are_shown_as_question_and_answer() -> None:
    question, answer = example("brackets", 3)
    assert closed(question[:3]) == question + answer and len(answer) == 3
    assert all(question and answer for question, answer in map(example, TASKS))


# --- scores ----------------------------------------------------------------------------------------------------------


class Oracle(LanguageModel):
    """Solves a task by computing it, from all that it has read; wrong answers on every `wrong`th row."""

    def __init__(self, name: str, delay: int, wrong: int = 0) -> None:
        super().__init__(sized("rnn", len(TASKS[name].tokens), Settings(parameters=1000), 8))
        self.name, self.delay, self.wrong = name, delay, wrong

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        tokens = TASKS[self.name].tokens
        logits = torch.zeros(*ids.shape, len(tokens))
        for row, sequence in enumerate(ids.tolist()):
            shown = "".join(tokens[token] for token in sequence)
            for place in range(len(shown)):
                whole = CHECKED[self.name](shown[: place + 1], self.delay) if place else shown
                if place + 1 < len(whole):
                    answer = tokens.index(whole[place + 1])
                    spoilt = self.wrong and row % self.wrong == 0
                    logits[row, place, (answer + 1) % len(tokens) if spoilt else answer] = 1.0
        return logits, ()

    def initial_state(self, batch_size: int) -> State:
        return ()


@pytest.mark.parametrize("name", TASKS)
def test_a_model_that_computes_the_answers_is_right_everywhere(name: str) -> None:
    task = TASKS[name]
    batch = task.make(np.random.default_rng(1), 5, 80)
    assert accuracy(Oracle(name, 5), task, batch) == 1.0
    assert accuracy(Oracle(name, 5, wrong=4), task, batch) == 0.75


@pytest.mark.parametrize("arch", TRAINED)
@pytest.mark.parametrize("name", TASKS)
def test_an_untrained_model_is_near_chance(name: str, arch: str) -> None:
    task: Task = TASKS[name]
    batch = task.make(np.random.default_rng(1), 6, 400)
    config = sized(arch, len(task.tokens), Settings(parameters=1000), batch["ids"].shape[1])
    scores = [accuracy(build_model(config, seed).eval(), task, batch) for seed in range(3)]
    assert np.mean(scores) < task.chance + 0.12


# --- training --------------------------------------------------------------------------------------------------------


def test_an_lstm_learns_to_copy_over_two_blanks() -> None:
    result = learned(Settings(task="copy", archs=("lstm",), seeds=1, longest=2, parameters=5000, learning_rate=0.02))
    [learner] = result["learners"]
    assert learner["reach"] == 2 and [row["delay"] for row in learner["rows"]] == [1, 2]
    assert learner["steps"][0] < 1000  # it ends early
    assert finding([Measured("", "", result)]) == (
        "Delayed copy: at least 90 % right up to 2 blanks with the LSTM (one seed; chance 12.5 %)."
    )


@pytest.mark.parametrize("arch", TRAINED)
def test_every_architecture_trains_at_about_the_same_size(arch: str) -> None:
    settings = Settings(archs=(arch,), seeds=2, steps=3, first_delay=3, longest=8, parameters=4000)
    result = learned(settings)
    [learner] = result["learners"]
    assert learner["arch"] == arch and learner["steps"] == [3, 3] and result["seeds"] == 2
    assert learner["parameters"] == pytest.approx(4000, rel=0.15)
    assert [row["delay"] for row in learner["rows"]] == [3, 6, 8]
    for row in learner["rows"]:
        assert row["low"] == min(row["accuracies"]) <= row["mean"] <= max(row["accuracies"]) == row["high"]
    assert learned(settings) == result
    assert learned(Settings.from_dict({**settings.to_dict(), "seed": 8})) != result


def test_ten_thousand_parameters_are_met_closely_by_all() -> None:
    for arch in TRAINED:
        config = sized(arch, 10, Settings(), 300)
        assert model_class(arch).on_meta_device(config).num_parameters == pytest.approx(10_000, rel=0.08), arch


def test_all_architectures_of_a_seed_come_before_the_next_seed() -> None:
    settings = Settings.from_dict({**QUICK.to_dict(), "archs": ["lstm", "rnn"], "seeds": 2})
    found = [step.result for step in measure(settings) if step.result]
    assert [[len(one["steps"]) for one in result["learners"]] for result in found] == [[1], [1, 1], [2, 1], [2, 2]]


def test_a_loss_beyond_all_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from charlm.analysis import gym

    def broken(*args: object) -> LanguageModel:
        model = build_model(*args)  # type: ignore[arg-type]
        next(model.parameters()).data.fill_(float("nan"))
        return model

    monkeypatch.setattr(gym, "build_model", broken)
    with pytest.raises(MeasurementError, match=r"loss of the LSTM.*learning_rate 0.005"):
        list(measure(QUICK))


# --- what is said ----------------------------------------------------------------------------------------------------


def scored(**means: list[float]) -> Measured[Gym]:
    learners = [
        {
            "arch": arch, "parameters": 10_000, "hidden_size": 9, "layers": 1, "steps": [5, 5, 5],
            "reach": next((2**at for at in (1, 0) if min(scores[: at + 1]) >= 0.9), None),
            "rows": [
                {"delay": 2**at, "mean": score, "low": score, "high": score, "accuracies": [score] * 3}
                for at, score in enumerate(scores)
            ],
        }
        for arch, scores in means.items()
    ]  # fmt: skip
    return Measured("", "", Gym(
        task="parity", title="Parity", delay="bits", chance=0.5, seeds=3, learners=learners,  # type: ignore[typeddict-item]
    ))  # fmt: skip


def test_findings_say_how_far_each_reaches() -> None:
    found = scored(rnn=[0.5, 0.5], lstm=[1.0, 0.95], gru=[0.92, 0.6])
    assert finding([found]) == (
        "Parity: at least 90 % right up to 2 bits with the LSTM and up to 1 with the GRU, at no delay with the RNN "
        "(mean of 3 seeds; chance 50.0 %)."
    )
    assert finding([scored(rnn=[0.6, 0.5], gru=[0.1, 0.1])]) == (
        "Parity: at least 90 % right at no delay with the RNN and the GRU (mean of 3 seeds; chance 50.0 %)."
    )
    assert finding([scored()]) == "" and finding([]) == ""


def test_the_table_has_a_row_for_each_architecture_and_delay() -> None:
    table = rows(scored(rnn=[0.5, 0.6], lstm=[1.0, 0.95]).result)
    assert [(row["arch"], row["delay"], row["accuracy"]) for row in table] == [
        ("rnn", 1, 0.5), ("rnn", 2, 0.6), ("lstm", 1, 1.0), ("lstm", 2, 0.95),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"archs": ["ngram"]}, "'ngram'; those that learn by gradient"),
        ({"archs": ["lstn"]}, "'lstn'; those that learn by gradient"),
        ({"archs": []}, "no architecture"),
        ({"task": "sums"}, "task 'sums' is not one of"),
        ({"first_delay": 9, "longest": 8}, "first_delay 9 is larger than longest, 8"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Settings.from_dict(options)
