"""Measurements are made once, kept where they belong, stopped on request, and refused in a sentence."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.analysis import surprise
from charlm.analysis.measurement import Progress, Subject
from charlm.data.catalog import data_dir
from charlm.errors import CharLMError, CorpusError, LimitError, MeasurementError
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import Finding, Serving
from charlm.serving import measurements as served
from charlm.serving.measurements import Measurements, ask
from tests.patience import wait_for
from tests.tiny_runs import TEXT, trained

PASTED = "The cat sat on the mat and the dog ran. " * 4


@pytest.fixture
def runs(store: RunStore) -> list[Run]:
    return trained(store, "lstm", "gru", steps=4)


@pytest.fixture
def serving(store: RunStore) -> Serving:
    return Serving(store)


def answered(serving: Serving, *asked: Any) -> list[Finding]:
    serving.inspect(*asked)
    more = asked[2:] or (None,)
    wait_for(lambda: all(one.done for one in serving.inspect(*asked[:2], *more, begin=False)))
    return serving.inspect(*asked[:2], *more, begin=False)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Surprise goes through its steps, but the last one waits for this."""
    go, measure = threading.Event(), surprise.measure

    def slow(subject: Subject, settings: surprise.Settings) -> Iterator[Progress[surprise.Surprise]]:
        result = list(measure(subject, settings))[-1].result
        yield Progress(0.5, result)
        while not go.wait(0.01):
            yield Progress(0.6)
        yield Progress(1.0, result)

    monkeypatch.setattr(surprise, "measure", slow)
    yield go
    go.set()


def test_a_result_is_measured_once_and_kept_beside_its_run(serving: Serving, store: RunStore, runs: list[Run]) -> None:
    first = answered(serving, "surprise", runs)
    assert all(one.share == 1.0 and one.result and not one.error for one in first)
    [file] = (runs[0].folder / "measured").iterdir()
    assert json.loads(file.read_text(encoding="utf-8")) == first[0].result
    before, size = runs[0].size_bytes, file.stat().st_size
    file.write_text(json.dumps({**first[0].result, "tokens": 17}), encoding="utf-8")
    [again] = Serving(store).inspect("surprise", runs[:1], begin=False)
    assert again.done and again.result and again.result["tokens"] == 17
    assert before > size > 0
    store.delete(runs[0])
    assert not file.exists()


def test_settings_text_and_weights_are_what_a_result_is_of(serving: Serving, runs: list[Run]) -> None:
    run = runs[0]
    keys = {
        ask("surprise", run).key, ask("surprise", runs[1]).key, ask("surprise", run, PASTED).key,
        ask("surprise", run, None, {"characters": 100}).key, ask("memory", run).key,
    }  # fmt: skip
    assert len(keys) == 5 and ask("surprise", run).key in keys
    weights = (runs[1].folder / "best.safetensors").read_bytes()
    before = ask("surprise", run).key
    (run.folder / "best.safetensors").write_bytes(weights)
    assert ask("surprise", run).key != before


def test_nothing_is_measured_that_nobody_asked_for(serving: Serving, runs: list[Run]) -> None:
    [one] = serving.inspect("surprise", runs[:1], begin=False)
    assert not one.done and not one.begun and one.result is None and not serving.measurements.at_work()


def test_stop_keeps_what_was_found(serving: Serving, runs: list[Run], held: threading.Event) -> None:
    asked = "surprise", runs[:1]
    wait_for(lambda: serving.inspect(*asked)[0].result is not None)
    assert [question.name for question in serving.measurements.at_work()] == ["surprise"]
    serving.stop_inspecting(*asked)
    wait_for(lambda: not serving.measurements.at_work())
    [found] = serving.inspect(*asked, begin=False)
    assert found.done and found.is_unfinished and found.result and not (runs[0].folder / "measured").exists()
    held.set()
    assert answered(serving, *asked)[0].share == 1.0  # asked again, it begins again


def test_every_model_has_its_first_picture_before_the_second_of_any(
    serving: Serving, runs: list[Run], held: threading.Event
) -> None:
    wait_for(lambda: all(one.result is not None for one in serving.inspect("surprise", runs)))
    assert not any(one.done for one in serving.inspect("surprise", runs))


def test_a_measurement_ends_with_its_seconds(runs: list[Run], held: threading.Event) -> None:
    took: list[float] = []
    measurements, question = Measurements(), ask("surprise", runs[0])
    measurements.begin(question, 0.05, took.append)
    wait_for(lambda: bool(took))
    found = measurements.look(question)
    assert found and found.is_unfinished and found.result and took[0] > 0.05


def test_what_fails_says_so_and_the_others_go_on(
    serving: Serving, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = surprise.measure

    def one_breaks(subject: Subject, settings: surprise.Settings) -> Any:
        if subject.model.config.arch == "lstm":
            raise ZeroDivisionError("no traceback reaches anyone")
        return measure(subject, settings)

    monkeypatch.setattr(surprise, "measure", one_breaks)
    lstm, gru = answered(serving, "surprise", runs)
    assert "failed unexpectedly" in lstm.error and "traceback" not in lstm.error and lstm.result is None
    assert gru.result and not gru.error


def test_a_wrong_question_is_refused_in_a_sentence(serving: Serving, runs: list[Run]) -> None:
    for asked, said in [
        (("nothing", runs), "'nothing' is not one of: memory"),
        (("surprise", []), "choose 1 to 6 models"),
        (("surprise", runs, None, {"character": 10}), "did you mean characters"),
        (("surprise", runs, None, {"characters": 1}), "characters 1 is outside 10"),
    ]:
        with pytest.raises(CharLMError, match=said):
            serving.inspect(*asked)
    assert "the text to measure on is empty" in serving.inspect("surprise", runs, "  ")[0].error


def test_a_text_in_another_script_is_refused(serving: Serving, runs: list[Run]) -> None:
    [found] = answered(serving, "surprise", runs[:1], "Ἐν ἀρχῇ ἦν ὁ λόγος the cat")
    assert "knows only" in found.error and found.result is None
    [none] = answered(serving, "surprise", runs[:1], "Ἐνἀρχῇ")
    assert "at least 2 are needed" in none.error


def test_a_run_without_its_text_takes_a_pasted_one(serving: Serving, runs: list[Run]) -> None:
    for file in (data_dir() / "texts").iterdir():
        file.unlink()
    assert "is no longer here" in answered(serving, "surprise", runs[:1])[0].error
    assert answered(serving, "surprise", runs[:1], PASTED)[0].result


def test_a_run_in_training_or_without_weights_is_refused(serving: Serving, runs: list[Run]) -> None:
    runs[0].hold()
    runs[0].update(status="running")
    assert "is still training" in serving.inspect("surprise", runs)[0].error
    (runs[1].folder / "best.safetensors").unlink()
    assert "has no weights yet" in serving.inspect("surprise", runs[1:])[0].error
    runs[0].release()


def test_too_many_wait(runs: list[Run], held: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "WAITING", 1)
    measurements = Measurements()
    measurements.begin(ask("surprise", runs[0]))
    with pytest.raises(LimitError, match="1 measurements wait already"):
        measurements.begin(ask("surprise", runs[1]))


def test_a_full_disk_costs_the_cache_only(
    serving: Serving, runs: list[Run], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(served, "write_atomically", full)
    assert answered(serving, "surprise", runs[:1])[0].result and "cannot be kept" in caplog.text


def test_old_results_make_room(serving: Serving, runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "KEPT_FILES", 2)
    for characters in (20, 30, 40):
        answered(serving, "surprise", runs[:1], None, {"characters": characters})
    assert len(list((runs[0].folder / "measured").iterdir())) == 2


def test_the_included_runs_keep_theirs_in_the_data_folder() -> None:
    run = next(run for run in RunStore().list() if run.shipped and run.arch == "gru")
    assert list((run.folder / "measured").glob("memory-*.json")), "an included run brings its results"
    question = ask("surprise", run, TEXT, {"characters": 50}, owner="somebody")
    Measurements().measured(question)
    assert question.places[1].is_file() and question.places[1].is_relative_to(data_dir())
    assert not question.places[0].exists() and "somebody" in question.places[1].parts


def test_in_this_thread_errors_are_raised(runs: list[Run]) -> None:
    with pytest.raises(CorpusError):
        Measurements().measured(ask("surprise", runs[0], "Ἐν ἀρχῇ"))
    with pytest.raises(MeasurementError):
        Measurements().measured(ask("surprise", runs[0], ""))


def test_a_damaged_result_is_measured_again(store: RunStore, runs: list[Run]) -> None:
    good = Measurements().measured(ask("surprise", runs[0]))
    [file] = (runs[0].folder / "measured").iterdir()
    whole = file.read_text(encoding="utf-8")
    for bad in (
        whole[: len(whole) // 2], "", "null", "[]", "{}", json.dumps({**good, "kinds": []}),
        json.dumps({**good, "bits": "many"}), json.dumps({**good, "bits_per_character": None}),
    ):  # fmt: skip
        file.write_text(bad, encoding="utf-8")
        assert Serving(store).inspect("surprise", runs[:1], begin=False)[0].result is None, bad[:40]
        assert Measurements().measured(ask("surprise", runs[0])) == good
        assert file.read_text(encoding="utf-8") == whole


def test_what_every_measurement_finds_is_of_its_type(store: RunStore) -> None:
    [run] = trained(store, "lstm", text=TEXT * 20, steps=4)
    for name in served.MEASUREMENTS:
        question = ask(name, run)
        served.put_away(question, Measurements().measured(question))
        assert served.kept(question) is not None, name


def test_runs_of_equal_weights_are_told_apart(serving: Serving, runs: list[Run]) -> None:
    first, second = runs
    (second.folder / "best.safetensors").write_bytes((first.folder / "best.safetensors").read_bytes())
    same = [ask("surprise", run) for run in runs]
    assert same[0].key == same[1].key and same[0].identity != same[1].identity
    serving.inspect("surprise", runs[:1])
    wait_for(lambda: serving.inspect("surprise", runs[:1], begin=False)[0].done)
    assert not serving.inspect("surprise", runs[1:], begin=False)[0].begun


def test_wanted_again_before_it_has_stopped(serving: Serving, runs: list[Run], held: threading.Event) -> None:
    asked = "surprise", runs[:1]
    wait_for(lambda: serving.inspect(*asked)[0].result is not None)
    with serving.measurements._lock:
        [task] = serving.measurements._tasks.values()
        task.stopped = True
    serving.inspect(*asked)
    held.set()
    assert answered(serving, *asked)[0].share == 1.0


def test_a_result_that_is_no_json_costs_the_cache_only(
    serving: Serving, runs: list[Run], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measure = surprise.measure

    def odd(subject: Subject, settings: surprise.Settings) -> Iterator[Progress[Any]]:
        result: Any = list(measure(subject, settings))[-1].result
        yield Progress(1.0, {**result, "names": {1, 2}} if subject.model.config.arch == "lstm" else result)

    monkeypatch.setattr(surprise, "measure", odd)
    lstm, gru = answered(serving, "surprise", runs)
    assert lstm.result and gru.result and "cannot be kept" in caplog.text


def test_a_run_that_is_deleted_meanwhile_leaves_nothing(
    serving: Serving, store: RunStore, runs: list[Run], held: threading.Event
) -> None:
    asked, folder = ("surprise", runs[:1]), runs[0].folder
    wait_for(lambda: serving.inspect(*asked)[0].result is not None)
    store.delete(runs[0])
    held.set()
    wait_for(lambda: not serving.measurements.at_work())
    assert not folder.exists() and "has no weights yet" in serving.inspect(*asked)[0].error


def test_a_text_of_words_that_a_model_does_not_know_is_refused(serving: Serving, store: RunStore) -> None:
    [run] = trained(store, "gru", text=TEXT * 20, level="word", steps=4)
    [found] = answered(serving, "surprise", [run], "Quite other words indeed stand here and none was ever read before")
    assert "words of this text; take one like those" in found.error and found.result is None
    assert answered(serving, "surprise", [run], PASTED)[0].result
