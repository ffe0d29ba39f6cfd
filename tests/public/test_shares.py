"""What visitors share, and what they bring along: the queue, the writers, the day, files of their own."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from charlm.analysis import surprise
from charlm.analysis.measurement import Progress
from charlm.config import SampleConfig
from charlm.errors import CheckpointError, LimitError
from charlm.formats.exports import find_format
from charlm.jobs.service import Jobs
from charlm.public import VisitorJobs, VisitorRuns, VisitorServing
from charlm.public.limits import Limits, Visitor
from charlm.public.quotas import Quotas
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import Finding, GeneratedText, Serving, measurements
from charlm.ui.services import PublicAppServices
from tests.patience import patience
from tests.tiny_runs import begin, settings, small_corpus, store_in, trained, wait_for

ANNA, BORIS = Visitor("anna"), Visitor("boris")
LONG = {"steps": 2000, "eval_every": 1000, "batch_size": 256, "seq_len": 60}


@dataclass
class Place:
    """A public Space without a server; `visitor` is whoever asks."""

    limits: Limits
    store: RunStore
    everybody: Jobs
    visitor: Visitor = ANNA

    def __post_init__(self) -> None:
        quotas, who = Quotas(self.limits), lambda: self.visitor
        self.runs = VisitorRuns(self.store, who, self.limits)
        self.jobs: Any = VisitorJobs(self.everybody, self.runs, who, quotas)
        self.serving = VisitorServing(Serving(self.store), who, quotas)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Makes the place, with other numbers in its table."""
    made: list[Place] = []

    def make(**numbers: Any) -> Place:
        limits = replace(Limits(), **numbers)
        store = RunStore(tmp_path / "runs", tmp_path / "shipped", owner=lambda: made[0].visitor.key)
        made.append(Place(limits, store, Jobs(store, limits.together_trainings)))
        return made[0]

    yield make
    for one in made:
        one.everybody.close(seconds=patience(30))


def test_so_many_trainings_wait_and_no_more(place: Callable[..., Place]) -> None:
    lab = place(together_waiting=2, runs=5)
    for _ in range(3):
        begin(lab.jobs, "rnn", **LONG)
    wait_for(lambda: lab.everybody.waiting() == 2)
    lab.visitor = BORIS
    with pytest.raises(LimitError, match="2 trainings wait already; try again in some minutes"):
        begin(lab.jobs, "rnn", **LONG)
    assert sum(job["position"] == 0 for job in lab.everybody.queue_list()) == lab.limits.together_trainings


def test_a_day_has_so_many_minutes(place: Callable[..., Place]) -> None:
    lab = place(day_minutes=0.1)
    with pytest.raises(LimitError, match=r"6 s of today's 0.1 minutes .* 10 s are needed; come back tomorrow"):
        begin(lab.jobs, "rnn")


def test_a_fork_grows_no_further_than_a_model_may_here(place: Callable[..., Place]) -> None:
    letters = "".join(chr(code) for code in range(0x0430, 0x0450))  # 32 that the parent does not know
    lab = place(vocab_size=40)
    [run_id] = begin(lab.jobs, "rnn", steps=4)
    wait_for(lambda: lab.store.get(run_id).status == "finished")
    known = lab.store.get(run_id).model_config.vocab_size
    options, text = {"steps": 4, "grow": True}, small_corpus().text
    with pytest.raises(LimitError, match=rf"vocab_size is {known + 32}, more than the 40"):
        lab.jobs.fork(run_id, options, small_corpus(text + letters, "more.txt"))
    assert [run.run_id for run in lab.store.list()] == [run_id]
    fork = lab.jobs.fork(run_id, options, small_corpus(text + letters[:3], "more.txt"))["run_id"]
    wait_for(lambda: lab.store.get(fork).status == "finished")
    assert lab.store.get(fork).model_config.vocab_size == known + 3 <= 40


def minutes(lab: Place) -> tuple[float, float]:
    left = lab.jobs.left()
    return left["minutes"], left["set_aside"]


def test_a_race_reserves_what_it_will_need_so_that_a_second_one_can_be_started(place: Callable[..., Place]) -> None:
    lab = place(runs=6)
    first = begin(lab.jobs, "lstm", "gru", "rnn", **LONG | {"batch_size": 4})
    left, reserved = minutes(lab)
    assert 0 < reserved < 5 and left == pytest.approx(15 - reserved, abs=0.15)
    assert lab.store.get(first[0]).train_config.minutes == 5.0  # its limit is as wide as ever
    second = begin(lab.jobs, "lstm", "gru", "rnn", **LONG | {"batch_size": 4})
    assert minutes(lab)[1] == pytest.approx(2 * reserved, abs=0.15) and len({*first, *second}) == 6


def test_short_trainings_reserve_little_and_give_it_back(place: Callable[..., Place]) -> None:
    lab = place()
    [run_id] = begin(lab.jobs, "rnn", steps=4)
    assert sum(one.seconds for one in lab.jobs._quota._quotas.reservations(ANNA)) <= 10.0
    wait_for(lambda: lab.store.get(run_id).status == "finished")
    assert lab.jobs.left()["set_aside"] == 0.0 and lab.jobs.left()["minutes"] >= 14.8
    lab.jobs.resume(run_id, {"steps": 4})
    wait_for(lambda: lab.store.get(run_id).step == 8)
    wait_for(lambda: lab.store.get(run_id).status == "finished")
    fork = lab.jobs.fork(run_id, {"steps": 4})["run_id"]
    wait_for(lambda: lab.store.get(fork).status == "finished")
    assert lab.jobs.left()["set_aside"] == 0.0 and lab.jobs.left()["minutes"] >= 14.5


def test_an_estimate_that_was_too_low_ends_with_the_day(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.public.quotas.GROWTH", 0.2)
    monkeypatch.setattr("charlm.public.quotas.LEAST_SECONDS", 0.5)
    lab = place(day_minutes=0.05)  # three seconds
    monkeypatch.setattr(lab.jobs._quota, "needs", lambda *_: [0.1])
    [run_id] = begin(lab.jobs, "rnn", **LONG | {"eval_every": 2000})
    quotas = lab.jobs._quota._quotas
    quotas.reserve(ANNA, "other things", 1.5)
    seen = list[float]()

    def ended() -> bool:
        seen.append(sum(one.seconds for one in quotas.reservations(ANNA) if not one.settled))
        return lab.store.get(run_id).status == "stopped"

    wait_for(ended)
    run = lab.store.get(run_id)
    assert max(seen) <= 3.0 + 1e-6 and run.seconds > 0.5 and run.step < 2000
    assert run.message == "stopped and saved: no training time is left for it today; resume it tomorrow"
    with pytest.raises(LimitError, match="come back tomorrow"):
        lab.jobs.resume(run_id)


def test_an_estimate_that_was_too_low_grows_into_what_is_left(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.public.quotas.GROWTH", 0.2)
    monkeypatch.setattr("charlm.public.quotas.LEAST_SECONDS", 0.1)
    lab = place()
    monkeypatch.setattr(lab.jobs._quota, "needs", lambda *_: [0.0])
    [run_id] = begin(lab.jobs, "rnn", steps=150, eval_every=50, batch_size=64, seq_len=60)
    wait_for(lambda: lab.store.get(run_id).status == "finished")
    run = lab.store.get(run_id)
    assert run.step == 150 and run.seconds > 0.1
    [reservation] = lab.jobs._quota._quotas.reservations(ANNA)
    assert lab.jobs.left()["set_aside"] == 0.0 and reservation.seconds == pytest.approx(run.seconds)


def test_a_training_that_cannot_begin_reserves_nothing(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = place()

    def refuse(*_: Any) -> None:
        raise CheckpointError("the runs' folder cannot be written")

    monkeypatch.setattr(lab.everybody, "start", refuse)
    with pytest.raises(CheckpointError, match="cannot be written"):
        begin(lab.jobs, "rnn")
    assert minutes(lab) == (15.0, 0.0)


def test_so_many_write_at_once(place: Callable[..., Place]) -> None:
    lab = place(together_writing=1)
    [run] = trained(lab.store, "rnn")
    first = lab.serving.generate(run, "The", SampleConfig(length=900))
    assert next(first)
    lab.visitor = BORIS
    with pytest.raises(LimitError, match="1 texts are being written just now; try again in some seconds"):
        next(lab.serving.generate(run, "The", SampleConfig(length=5)))
    first.close()
    assert list(lab.serving.generate(run, "The", SampleConfig(length=5)))[-1].done


def test_samples_and_beams_count_as_so_many_texts(place: Callable[..., Place]) -> None:
    lab = place(together_writing=4, texts_a_minute=6)
    [run] = trained(lab.store, "rnn")
    with pytest.raises(LimitError, match="samples times beams is 7, more than the 6 of this public Space; ask for few"):
        next(lab.serving.generate(run, "The", SampleConfig(length=5, samples=7)))
    with pytest.raises(LimitError, match="0 texts are being written just now"):
        next(lab.serving.compare([run], "The", SampleConfig(length=5, beams=5)))
    assert len(list(lab.serving.generate(run, "The", SampleConfig(length=5, samples=4)))[-1].samples) == 4
    begun = {run.run_id: [GeneratedText("The", " cat", at) for at in range(3)]}
    with pytest.raises(LimitError, match="3 at once are more than is left of your 6 generations a minute; wait"):
        next(lab.serving.compare([run], "", SampleConfig(length=5), begun))
    assert list(lab.serving.generate(run, "The", SampleConfig(length=5, beams=2)))[-1].done
    with pytest.raises(LimitError, match="that were your 6 generations a minute"):
        next(lab.serving.generate(run, "The", SampleConfig(length=5)))


def exported(store: RunStore, path: Path) -> Run:
    """A trained run, and its zip at `path`."""
    [run] = trained(store, "rnn")
    find_format("zip").write(run, path)
    return run


def test_a_run_that_is_brought_along_is_its_visitors_own(place: Callable[..., Place], tmp_path: Path) -> None:
    lab = place(runs=2)
    exported(store_in(tmp_path / "elsewhere"), tmp_path / "run.zip")
    made = lab.runs.take_in(tmp_path / "run.zip", label="mine")
    assert lab.runs.get(made.run_id).owner == "anna" and made.label == "mine"
    lab.visitor = BORIS
    with pytest.raises(CheckpointError, match="there is no run"):
        lab.runs.get(made.run_id)
    lab.visitor = ANNA
    lab.runs.take_in(tmp_path / "run.zip")
    with pytest.raises(LimitError, match="2 of the 2 runs"):
        lab.runs.take_in(tmp_path / "run.zip")


def test_it_has_so_many_bytes(place: Callable[..., Place], tmp_path: Path) -> None:
    exported(store_in(tmp_path / "elsewhere"), tmp_path / "run.zip")
    with pytest.raises(CheckpointError, match=r"at most 0.0 MB"):
        place(checkpoint_bytes=1000).runs.take_in(tmp_path / "run.zip")


@pytest.mark.parametrize("name", ["a.net", "a.zip", "a.safetensors", "a.json", "a", "run.zip.txt"])
@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_is_refused_whatever_its_name(
    name: str, new: bool, place: Callable[..., Place], tmp_path: Path
) -> None:
    file = io.BytesIO()
    torch.save({"n_hidden": 4, "tokens": ("a", "b")}, file, _use_new_zipfile_serialization=new)
    (tmp_path / name).write_bytes(file.getvalue())
    lab = place()
    with pytest.raises(CheckpointError, match="a pickle can run programs"):
        lab.runs.take_in(tmp_path / name)
    assert not lab.store.list()


def test_what_was_brought_along_is_not_trained_beyond_the_table(place: Callable[..., Place], tmp_path: Path) -> None:
    lab = place(hidden_size=4)
    exported(store_in(tmp_path / "elsewhere"), tmp_path / "run.zip")
    made = lab.runs.take_in(tmp_path / "run.zip")
    for go_on in (lab.jobs.resume, lab.jobs.fork):
        with pytest.raises(LimitError, match="hidden_size is 8, more than the 4"):
            go_on(made.run_id, {"steps": 5})
    assert list(lab.serving.generate(made, "The", SampleConfig(length=5)))[-1].done  # but it writes


def test_a_state_that_would_be_too_large_is_refused_at_the_door(place: Callable[..., Place], tmp_path: Path) -> None:
    """How far a Transformer looks back takes nothing in its file, and much while it writes."""
    [run] = trained(store_in(tmp_path / "elsewhere"), "transformer", context=12)
    find_format("zip").write(run, tmp_path / "run.zip")
    lab = place(context=11)
    with pytest.raises((LimitError, CheckpointError), match="is 12, more than the 11"):
        lab.runs.take_in(tmp_path / "run.zip")
    assert not lab.store.list()
    with pytest.raises(LimitError, match="is 12, more than the 11"):
        lab.jobs.start(small_corpus(), settings(context=12), ["transformer"])


def test_a_public_space_trains_one_at_a_time_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLM_AT_ONCE", "8")
    lab = PublicAppServices()
    assert lab.jobs.at_once == lab.services.jobs.at_once == 1
    with pytest.raises(LimitError, match="1 training at once"):
        lab.services.jobs.set_at_once(2)


def test_the_settings_table_is_for_new_runs(place: Callable[..., Place]) -> None:
    lab = place(steps=10)
    with pytest.raises(LimitError, match="steps is 12, more than the 10 of this public Space; choose fewer"):
        lab.jobs.start(small_corpus(), settings(), ["rnn"])


def measured(lab: Place, *asked: Any) -> list[Finding]:
    wait_for(lambda: all(one.done for one in lab.serving.inspect(*asked, begin=False)))
    return lab.serving.inspect(*asked, begin=False)


def taken(lab: Place, visitor: Visitor) -> float:
    """Seconds of the day that a visitor has had, or that are reserved."""
    return lab.limits.day_minutes * 60 - lab.serving._quotas.seconds_left(visitor)


def test_a_measurement_of_several_models_begins_whole_or_not_at_all(place: Callable[..., Place]) -> None:
    lab = place(day_minutes=2.0, measurement_seconds=50)
    runs = trained(lab.store, "lstm", "gru", "rnn")
    with pytest.raises(LimitError, match="50 s are needed"):
        lab.serving.inspect("surprise", runs)
    assert taken(lab, ANNA) == 0 and not lab.serving._serving.measurements.at_work(ANNA.key)
    lab.serving.inspect("surprise", runs[:2])
    assert all(one.result for one in measured(lab, "surprise", runs[:2]))
    wait_for(lambda: 0 < taken(lab, ANNA) < 50)


def test_cross_perplexity_costs_a_visitor_what_it_took(place: Callable[..., Place]) -> None:
    lab = place(measurement_seconds=50)
    runs = trained(lab.store, "gru", "ngram", steps=2)
    steps = lab.serving.cross(runs, {"length": 50})
    assert next(steps).result is None and taken(lab, ANNA) == 100
    with pytest.raises(LimitError, match="another text is being scored just now"):
        next(lab.serving.cross(runs))
    found, cost = list(steps)[-1].result, taken(lab, ANNA)
    assert found is not None and 0 < cost < 100
    [known] = lab.serving.cross(runs, {"length": 50})  # a second time it costs nothing
    assert known.result == found and taken(lab, ANNA) == cost
    lab.serving._quotas.reserve(ANNA, "all the rest", lab.serving._quotas.seconds_left(ANNA))
    with pytest.raises(LimitError, match=r"0 s of today's"):
        next(lab.serving.cross(runs))


def test_cross_perplexity_that_takes_too_long_ends(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = place(measurement_seconds=1)
    [run] = trained(lab.store, "gru", steps=2)

    def slow(*given: Any) -> Iterator[Any]:
        time.sleep(1.1)
        yield Progress(0.1)

    monkeypatch.setattr(lab.serving._serving, "cross", slow)
    with pytest.raises(LimitError, match="longer than the 1 seconds that this public Space gives 1 model"):
        list(lab.serving.cross([run]))
    assert 1 <= taken(lab, ANNA) < 5


def test_where_too_many_wait_those_begun_end_again(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = place()
    runs = trained(lab.store, "lstm", "gru")
    monkeypatch.setattr(measurements, "WAITING", 1)
    with pytest.raises(LimitError, match="1 measurements wait already"):
        lab.serving.inspect("surprise", runs)
    wait_for(lambda: not lab.serving._serving.measurements.at_work(ANNA.key))
    wait_for(lambda: taken(lab, ANNA) < 5)


def test_with_no_minutes_left_what_is_known_is_still_shown(place: Callable[..., Place]) -> None:
    lab = place()
    [run] = trained(lab.store, "gru")
    lab.serving.inspect("surprise", [run])
    assert measured(lab, "surprise", [run])[0].result
    lab.serving._quotas.reserve(ANNA, "all the rest", lab.serving._quotas.seconds_left(ANNA))
    assert lab.serving.inspect("surprise", [run])[0].result
    with pytest.raises(LimitError, match="0 s of today's"):
        lab.serving.inspect("surprise", [run], "The cat ran away and the dog sat on the mat.")


def test_what_one_measures_no_other_sees_or_stops(place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch) -> None:
    go, measure = threading.Event(), surprise.measure

    def slow(*given: Any) -> Iterator[Any]:
        while not go.wait(0.01):
            yield Progress(0.1)
        yield from measure(*given)

    monkeypatch.setattr(surprise, "measure", slow)
    lab = place()
    [run] = trained(lab.store, "gru")
    asked = "surprise", [run], "The cat ran away and the dog sat on the mat."
    lab.serving.inspect(*asked)
    lab.serving.inspect(*asked)  # once more costs nothing more
    assert taken(lab, ANNA) == lab.limits.measurement_seconds
    with pytest.raises(LimitError, match="measurement of yours is at work"):
        lab.serving.inspect("memory", [run])
    lab.visitor = BORIS
    assert not lab.serving.inspect(*asked, begin=False)[0].begun
    lab.serving.stop_inspecting(*asked)
    lab.serving.inspect(*asked)
    assert taken(lab, BORIS) == lab.limits.measurement_seconds
    lab.visitor = ANNA
    go.set()
    assert measured(lab, *asked)[0].result
    wait_for(lambda: taken(lab, ANNA) < 5)
