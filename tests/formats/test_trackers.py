"""Trackers: what TensorBoard's and trackio's own readers find is what the run's folder holds, each step once."""

import socket
import sys
import zipfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from charlm.cli import main
from charlm.errors import ConfigError
from charlm.formats import trackers
from charlm.formats.exports import find_format
from charlm.formats.trackers import Entry, Follower, Subject, Tracking, measures_of, subject_of
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.jobs.service import Jobs
from charlm.runs.run import Run
from charlm.runs.store import SHIPPED, RunStore
from charlm.ui.services import AppServices, PublicAppServices
from tests.cli.test_cli import TINY, answer, refusal
from tests.cli.test_cli import book as book
from tests.tiny_runs import begin, entered, small_corpus, trained, wait_for

EVERY = ("--eval-every", "2")
ONE_LINE = "failed ("


@pytest.fixture
def tensorboard() -> Any:
    """TensorBoard's reader of event files."""
    where = "tensorboard.backend.event_processing.event_accumulator"
    return pytest.importorskip(where, reason="pip install -r requirements-tensorboard.txt")


@pytest.fixture(scope="module")
def trackio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The package trackio with a folder of its own, which it reads when it is imported."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        changed.setenv("HF_HUB_OFFLINE", "1")
        yield pytest.importorskip("trackio", reason="pip install -r requirements-trackio.txt")


class Recorder:
    """A tracker that keeps what it is told."""

    def __init__(self, subject: Subject) -> None:
        self.entries = list[Entry]()
        self.is_closed = False

    def log(self, entry: Entry) -> None:
        self.entries.append(entry)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


class Failing(Recorder):
    """One that takes a single entry."""

    def log(self, entry: Entry) -> None:
        super().log(entry)
        if len(self.entries) > 1:
            raise RuntimeError("the server\nis gone")


def read_events(tensorboard: Any, folder: Path) -> Any:
    """What TensorBoard reads in a folder."""
    return tensorboard.EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def texts_of(events: Any, tag: str) -> dict[int, str]:
    """The texts of a tag by step."""
    found = events.Tensors(f"{tag}/text_summary")
    assert len({one.step for one in found}) == len(found)
    return {one.step: one.tensor_proto.string_val[0].decode() for one in found}


def rows_of(run: Run, name: str) -> list[tuple[int, float]]:
    """A measure of a run by step, as its folder has it."""
    rows = [(row["step"], measures_of(run, row)) for row in run.metrics()]
    return [(step, measures[name]) for step, measures in rows if name in measures]


def assert_events_are_of(run: Run, events: Any) -> None:
    """All measures and samples of the run, each step once, and its settings."""
    assert_scalars_are_of(run, events)
    samples = {row["step"]: row["prompt"] + row["text"] for row in run.samples()}
    assert samples
    assert texts_of(events, "sample") == {step: trackers.as_block(text) for step, text in samples.items()}
    [settings] = texts_of(events, "settings").values()
    assert f"| label | {run.label.replace('|', '&#124;')} |" in settings
    assert f"| seed | {run.train_config.seed} |" in settings and f"| corpus | {run.corpus['name']} |" in settings
    assert set(events.PluginTagToContent("hparams")) >= {"_hparams_/session_start_info"}


def assert_scalars_are_of(run: Run, events: Any) -> None:
    """All measures of the run, each step once, when they were measured by its own seconds."""
    began = datetime.fromisoformat(run.created).timestamp()
    names = {name for row in run.metrics() for name in measures_of(run, row)}
    usual = {"train_loss", "val_loss", "bits_per_char"} | (
        {"learning_rate"} if not run.model_config.is_counted else set()
    )
    assert names >= usual and set(events.Tags()["scalars"]) == names
    for name in names:
        found = [(one.step, one.value) for one in events.Scalars(name)]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in rows_of(run, name)], name
    walls = [one.wall_time - began for one in events.Scalars("train_loss")]
    assert walls == [pytest.approx(row["seconds"], abs=1e-4) for row in run.metrics()]


def assert_trackio_is_of(trackio: Any, run: Run) -> None:
    """The same in trackio's database."""
    from trackio.sqlite_storage import SQLiteStorage

    [mine] = [one for one in trackio.Api().runs(trackers.PROJECT) if one.name == run.run_id]
    logged = SQLiteStorage.get_logs(trackers.PROJECT, mine.name, run_id=mine.id)
    rows = {row["step"]: measures_of(run, row) for row in run.metrics()}
    assert [row["step"] for row in logged] == list(rows)
    samples = {row["step"]: row["prompt"] + row["text"] for row in run.samples()}
    assert samples and samples.keys() <= rows.keys()
    for row in logged:
        assert {name: row[name] for name in rows[row["step"]]} == rows[row["step"]]
        text = row.get("sample", {}).get("_value")
        assert text == (trackers.as_block(samples[row["step"]]) if row["step"] in samples else None)
    assert mine.config["label"] == run.label and mine.config["hidden_size"] == run.model_config.hidden_size
    assert mine.config["_Group"] == (run.group or None)


# --- with the trackers -----------------------------------------------------------------------------------------------


def test_a_race_goes_to_tensorboard_and_goes_on_there(
    tensorboard: Any, book: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("race", book, *TINY, *EVERY, "--archs", "lstm,ngram", "--label", "a | b", "--track", "tensorboard")
    assert main(list(words)) == 0
    err = capsys.readouterr().err
    assert f"tensorboard: tensorboard --logdir {RunStore().root}" in err and ONE_LINE not in err
    runs = {run.arch: run for run in RunStore().list() if not run.shipped}
    opened = {arch: read_events(tensorboard, run.folder) for arch, run in runs.items()}
    for arch in ("lstm", "ngram"):
        assert_events_are_of(runs[arch], opened[arch])
    run_id = runs["lstm"].run_id
    for steps in (7, 10):
        answer(capsys, "resume", run_id, "--steps", "3", "--track", "tensorboard")
        run = RunStore().get(run_id)
        sizes = [path.stat().st_size for path in sorted(run.folder.glob("*tfevents*"))]
        assert run.step == steps and len(sizes) == 2 and sizes[0] == 0
        assert_events_are_of(run, read_events(tensorboard, run.folder))
        assert_scalars_are_of(run, opened["lstm"].Reload())  # of a page that was open all the time


def test_what_was_trained_without_a_tracker_is_there_when_it_is_resumed_with_one(
    tensorboard: Any, book: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = answer(capsys, "train", book, *TINY, *EVERY)["run_id"]
    answer(capsys, "resume", run_id, "--steps", "2", "--track", "tensorboard")
    run = RunStore().get(run_id)
    assert_events_are_of(run, read_events(tensorboard, run.folder))


def test_a_race_goes_to_trackio_and_goes_on_there(trackio: Any, book: str, capsys: pytest.CaptureFixture[str]) -> None:
    answered = answer(capsys, "race", book, *TINY, *EVERY, "--archs", "gru,ngram", "--track", "trackio")
    runs = {one["arch"]: RunStore().get(one["run_id"]) for one in answered}
    for run in runs.values():
        assert run.group
        assert_trackio_is_of(trackio, run)
    run_id = runs["gru"].run_id
    answer(capsys, "resume", run_id, "--steps", "3", "--track", "trackio")
    assert RunStore().get(run_id).step == 7
    assert_trackio_is_of(trackio, RunStore().get(run_id))
    assert_trackio_is_of(trackio, runs["ngram"])


def test_trainings_of_the_page_go_to_a_tracker_side_by_side(trackio: Any, store: RunStore) -> None:
    out = sys.stdout
    jobs = Jobs(store, at_once=2, track="trackio")
    archs = [("gru",), ("rnn", "lstm")]
    ids = [run_id for names in archs for run_id in begin(jobs, *names)]
    wait_for(lambda: not jobs.queue())
    for run_id in ids:
        assert store.get(run_id).status == "finished"
        assert_trackio_is_of(trackio, store.get(run_id))
    jobs.resume(ids[0], {"steps": 3})
    wait_for(lambda: not jobs.queue())
    assert store.get(ids[0]).step == 15
    assert_trackio_is_of(trackio, store.get(ids[0]))
    jobs.close()
    assert sys.stdout is out


def test_trackio_ends_the_run_before_when_another_begins(trackio: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Else they need no context of their own."""

    def opened(name: str) -> Any:
        return trackio.init("ends", name=name, embed=False, auto_log_gpu=False, auto_log_cpu=False)

    first = opened("first")
    assert "Run finished" not in capsys.readouterr().out
    second = opened("second")
    assert "Run finished" in capsys.readouterr().out
    for run in (first, second):
        run.finish()


def trials_of(capsys: pytest.CaptureFixture[str], book: str, track: str) -> dict[str, Any]:
    """A small search that is tracked: what it answers."""
    small = ("--hidden-size", "8", "--num-layers", "1", "--seq-len", "10", "--batch-size", "4", "--minutes", "0.05")
    return dict(answer(capsys, "search", book, *small, "--archs", "gru", "--track", track))


def test_trials_go_to_tensorboard(tensorboard: Any, book: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = trials_of(capsys, book, "tensorboard")
    folder = RunStore().root / "searches" / found["search"]
    trials = found["archs"][0]["trials"]
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {f"gru-{one['number']}" for one in trials}
    assert any(one["losses"] for one in trials)
    for one in trials:
        events = read_events(tensorboard, folder / f"gru-{one['number']}")
        scalars = [[row.step, pytest.approx(row.value, rel=1e-6)] for row in events.Scalars("val_loss")]
        assert one["losses"] == scalars
        [settings] = texts_of(events, "settings").values()
        assert (
            f"| state | {one['state']} |" in settings
            and f"| batch_size | {one['settings']['batch_size']} |" in settings
        )


@pytest.mark.slow
def test_trials_go_to_trackio(trackio: Any, book: str, capsys: pytest.CaptureFixture[str]) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    found = trials_of(capsys, book, "trackio")
    runs = {one.name: one for one in trackio.Api().runs(trackers.PROJECT) if one.config["_Group"] == found["search"]}
    trials = found["archs"][0]["trials"]
    assert set(runs) == {f"{found['search']}-gru-{one['number']}" for one in trials}
    for one in trials:
        mine = runs[f"{found['search']}-gru-{one['number']}"]
        logged = SQLiteStorage.get_logs(trackers.PROJECT, mine.name, run_id=mine.id)
        assert [[row["step"], row["val_loss"]] for row in logged] == one["losses"]
        assert mine.config["hidden_size"] == one["settings"]["hidden_size"]


@pytest.mark.parametrize("arch", ["rnn", "ngram"])
def test_event_files_of_a_finished_run(arch: str, tensorboard: Any, store: RunStore, tmp_path: Path) -> None:
    [run] = trained(store, arch)
    kind = find_format("tensorboard")
    path = tmp_path / kind.file_name(run)
    kind.write(run, path)
    with zipfile.ZipFile(path) as archive:
        [name] = archive.namelist()
        archive.extractall(tmp_path / "logs")
    assert name.startswith(f"{run.run_id}/events.out.tfevents.") and socket.gethostname() not in name.split(".")
    assert_events_are_of(run, read_events(tensorboard, tmp_path / "logs" / run.run_id))
    assert not list(run.folder.glob("*tfevents*"))


def test_event_files_of_an_included_run(tensorboard: Any, tmp_path: Path) -> None:
    run = Run(SHIPPED / "sherlock-gru", shipped=True)
    find_format("tensorboard").write(run, tmp_path / "gru.zip")
    with zipfile.ZipFile(tmp_path / "gru.zip") as archive:
        archive.extractall(tmp_path)
    assert_events_are_of(run, read_events(tensorboard, tmp_path / run.run_id))


def test_a_tracker_that_cannot_begin_costs_a_line(
    tensorboard: Any, book: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = answer(capsys, "train", book, *TINY)["run_id"]
    (RunStore().get(run_id).folder / "events.out.tfevents.1").mkdir()
    assert main(["resume", run_id, "--steps", "3", "--track", "tensorboard"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "tensorboard" in line]
    assert len(said) == 1 and ONE_LINE in said[0] and said[0].endswith("; the training goes on without it")
    assert RunStore().get(run_id).step == 7


# --- without them ----------------------------------------------------------------------------------------------------


def followed(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, kind: type[Recorder], stop_at: int = 99
) -> tuple[Run, list[Recorder], list[str]]:
    """A run that was tracked while it trained: it, its trackers, and what was said."""
    made: list[Recorder] = []
    said: list[str] = []

    def opened(subject: Subject) -> Recorder:
        made.append(kind(subject))
        return made[-1]

    monkeypatch.setattr(trackers, "TRACKERS", {"tensorboard": opened})
    [run], control = entered(store, eval_every=5), Control()
    [trainer] = prepare([run], small_corpus())
    tracking = Tracking("tensorboard", [run], said.append)

    def on_slice() -> None:
        tracking.follow()
        if trainer.state.step >= stop_at:
            control.stopped.add(run.run_id)

    run_trainers([trainer], control, on_slice)
    tracking.close()
    return store.get(run.run_id), made, said


def as_logged(run: Run) -> list[tuple[int, dict[str, float]]]:
    return [(row["step"], measures_of(run, row)) for row in run.metrics()]


@pytest.mark.parametrize("stop_at", [99, 7])
def test_each_step_is_passed_on_once_while_it_trains(
    stop_at: int, store: RunStore, single_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, [tracker], said = followed(store, monkeypatch, Recorder, stop_at)
    assert run.step == min(stop_at, 12) and run.metrics()[-1]["val_loss"] is not None
    assert [(one.step, one.measures) for one in tracker.entries] == as_logged(run)
    assert [one.step for one in tracker.entries if one.sample] == [row["step"] for row in run.samples()]
    assert tracker.is_closed and len(said) == 1


def test_it_is_live(store: RunStore, single_steps: None) -> None:
    [run] = entered(store, eval_every=4)
    [trainer] = prepare([run], small_corpus())
    tracker = Recorder(subject_of(run))
    follower, seen = Follower(run, tracker), list[tuple[int, int]]()

    def on_slice() -> None:
        follower.follow()
        seen.append((trainer.state.step, tracker.entries[-1].step if tracker.entries else 0))

    run_trainers([trainer], Control(), on_slice)
    assert len({step for step, _ in seen}) == 12
    assert all(step - 1 <= newest <= step for step, newest in seen)


def test_one_that_fails_on_the_way_costs_a_line(
    store: RunStore, single_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, [tracker], [_, warning] = followed(store, monkeypatch, Failing)
    assert warning == "tensorboard failed (the server); the training goes on without it"
    assert run.status == "finished" and run.step == 12 and len(tracker.entries) == 2 and not tracker.is_closed


@pytest.mark.parametrize("words", [("train",), ("race", "--archs", "lstm"), ("experiment", "--archs", "lstm")])
def test_without_its_package_it_is_said_how_to_get_it(
    words: Sequence[str], book: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    for name in ("tensorboard", "trackio"):
        said = refusal(capsys, words[0], book, *words[1:], *TINY, "--track", name)
        assert f"{name} needs the package {name}: pip install -r requirements-{name}.txt" in said
    assert not list(RunStore().root.glob("2*"))


def test_the_pages_tracker_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    assert trackers.wanted_tracker() == ""
    monkeypatch.setenv("CHARLM_TRACK", "tensorboard")
    assert trackers.wanted_tracker() == "tensorboard"
    made = AppServices()
    assert f"tensorboard --logdir {made.store.root}" in made.services.tracked
    assert made.services.track == "tensorboard"
    with pytest.raises(ConfigError, match="CHARLM_TRACK sends trainings to a tracker on this machine"):
        PublicAppServices()
    monkeypatch.setenv("CHARLM_TRACK", "wandb")
    with pytest.raises(ConfigError, match="'wandb' is no tracker; choose among tensorboard, trackio"):
        AppServices()


def test_a_wrong_tracker_is_one_sentence(
    book: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "track 'wandb' is no tracker; choose among tensorboard, trackio" in refusal(
        capsys, "train", book, *TINY, "--track", "wandb"
    )
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    monkeypatch.setenv("TRACKIO_SPACE_ID", "me/mine")
    said = refusal(capsys, "train", book, *TINY, "--track", "trackio")
    assert "TRACKIO_SPACE_ID names another: unset it" in said
    assert not list(RunStore().root.glob("2*"))


def test_event_files_need_their_package(store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [run] = trained(store)
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-tensorboard\.txt"):
        find_format("tensorboard").write(run, tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_neither_is_loaded_before_it_is_wanted(store: RunStore) -> None:
    before = set(sys.modules)
    (run,) = trained(store)
    Tracking("", [run], pytest.fail).follow()
    assert not {"tensorboard", "trackio"} & (set(sys.modules) - before)
