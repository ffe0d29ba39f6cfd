"""Run folders: made, found, renamed, deleted; damaged ones; who holds one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from charlm.errors import CharLMError, CheckpointError, ConfigError, JobError
from charlm.models import build_model
from charlm.runs.checkpoint import save_weights
from charlm.runs.history import MetricsLog
from charlm.runs.run import Run, folder_bytes, read_json
from charlm.runs.store import RunStore, load_run
from tests.tiny_runs import entered, spoil, store_in, trained


@pytest.fixture
def run(store: RunStore) -> Run:
    """A run that rests."""
    [run] = entered(store, label="mine")
    run.update(status="stopped")
    run.release()
    return store.get(run.run_id)


# --- finding ---------------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_id_prefix_label_and_folder(store: RunStore, run: Run) -> None:
    for token in (run.run_id, run.run_id[:-3], "mine", str(run.folder)):
        assert store.find(token).run_id == run.run_id


def test_what_fits_several_runs_lists_their_ids(store: RunStore) -> None:
    ids = [run.run_id for run in entered(store, "lstm", "gru")]
    for token in (ids[0][:8], ids[0][:4]):
        with pytest.raises(CheckpointError) as caught:
            store.find(token)
        assert all(run_id in str(caught.value) for run_id in ids)
    for run_id in ids:
        store.get(run_id).update(label="twins")
    with pytest.raises(CheckpointError, match="'twins' fits 2 runs"):
        store.find("twins")


def test_an_id_wins_over_a_label(store: RunStore) -> None:
    first, second = entered(store, "lstm", "gru")
    second.update(label=first.run_id)
    assert store.find(first.run_id).run_id == first.run_id


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "../runs", "../../etc", "/etc/passwd", "a/../b", "..\\x", "\0", "x\n", "%2e%2e", "x" * 5000,
     "/" + "x" * 300, "-rf", " ", "é" * 200],
)  # fmt: skip
def test_what_is_no_run_is_found_nowhere(token: str, store: RunStore, run: Run) -> None:
    with pytest.raises(CheckpointError, match="there is no run"):
        store.get(token)
    with pytest.raises(CheckpointError, match="there is no run"):
        store.find(token)


@pytest.mark.parametrize("wrong", [None, 5, [], {"run": "x"}, True])
def test_an_id_that_is_no_text_is_refused_in_a_sentence(wrong: object, store: RunStore) -> None:
    with pytest.raises(CheckpointError, match="there is no run"):
        store.get(wrong)  # type: ignore[arg-type]


def test_a_path_never_leads_out_of_the_store(store: RunStore, run: Run, tmp_path: Path) -> None:
    inner = RunStore(run.folder / "inner", tmp_path / "none")
    for token in (f"../{run.run_id}", "..", f"../../runs/{run.run_id}", str(run.folder)):
        with pytest.raises(CheckpointError):
            inner.get(token)


def test_newest_first_and_shipped_last(tmp_path: Path) -> None:
    made = [entered(store_in(tmp_path), "lstm")[0] for _ in range(2)]
    for at, run in enumerate(made):
        run.update(created=f"2026-01-0{at + 1}T00:00:00+00:00")
    shipped = RunStore(tmp_path / "shipped")
    gru, lstm = (entered(shipped, arch)[0] for arch in ("gru", "lstm"))
    runs = store_in(tmp_path).list()
    assert [run.run_id for run in runs] == [made[1].run_id, made[0].run_id, lstm.run_id, gru.run_id]
    assert [run.shipped for run in runs] == [False, False, True, True]


def test_what_has_not_changed_is_not_read_again(store: RunStore, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr("charlm.runs.run.read_json", lambda path, *most: read.append(path) or read_json(path, *most))
    before, *_ = store.list()
    read.clear()
    [again] = [one for one in store.list() if not one.shipped]
    assert not read and again.info == before.info and again is not before
    again.hold()
    before.release()  # each has a lock of its own
    with pytest.raises(JobError):
        store.get(run.run_id).hold()
    again.release()
    store.get(run.run_id).update(label="changed by another")
    assert store.list()[0].label == "changed by another" and before.label == "mine"
    shutil.rmtree(run.folder)
    assert run.run_id not in [one.run_id for one in store.list()]


def test_all_who_look_at_a_run_read_its_log_once(store: RunStore, run: Run) -> None:
    def write(step: int) -> None:  # as another process does
        MetricsLog(run.log.path).append({"step": step, "train_loss": 1.0})

    write(1)
    first = store.get(run.run_id).history()
    assert store.get(run.run_id).history() is first is store.list()[0].history()
    write(2)
    again = store.get(run.run_id).history()
    assert [row["step"] for row in again.rows] == [1, 2] and again.rows[0] is first.rows[0]
    store.delete(run)
    store.restore(run.run_id).log.path.unlink()
    assert not store.get(run.run_id).history().rows


def test_links_in_a_circle_and_files_hide_no_run(store: RunStore, run: Run) -> None:
    (store.root / "round").symlink_to("round")
    (store.root / "a file").touch()
    (store.root / "linked").symlink_to(run.folder, target_is_directory=True)
    (run.folder / "torn.tmp").touch()
    assert [one.run_id for one in store.list()] == ["linked", run.run_id]
    assert store.sweep() and not (run.folder / "torn.tmp").exists()


def test_load_run_looks_where_the_environment_says(store: RunStore, run: Run) -> None:
    assert load_run("mine").run_id == run.run_id


def test_a_copied_folder_is_a_run_of_its_own(store: RunStore, run: Run) -> None:
    copy = run.folder.with_name("a copy (2)")
    copy.mkdir()
    (copy / "run.json").write_bytes((run.folder / "run.json").read_bytes())
    assert {one.run_id for one in store.list()} == {run.run_id, "a copy (2)"}
    assert store.get("a copy (2)").folder == copy


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b"[" * 100_000, b'{"run_id": "x", "label": "y"}',
     b'{"label": 1e400}'],
)  # fmt: skip
def test_a_damaged_description_is_one_sentence_and_breaks_no_list(content: bytes, store: RunStore, run: Run) -> None:
    good = entered(store)[0]
    (run.folder / "run.json").write_bytes(content)
    assert [one.run_id for one in store.list()] == [good.run_id]
    with pytest.raises(CheckpointError) as caught:
        store.get(run.run_id)
    assert "run.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"progress": []}, {"progress": {"step": "many"}}, {"progress": {"best_val_loss": [1]}}, {"corpus": "x"},
     {"model": {"arch": "perceptron"}}, {"train": {"steps": "x"}}, {"num_parameters": "many"}, {"model": None}],
)  # fmt: skip
def test_odd_values_are_refused_when_a_run_is_opened_not_later(changes: dict, store: RunStore, run: Run) -> None:
    spoil(run.folder / "run.json", **changes)
    assert store.list() == []
    with pytest.raises(CheckpointError, match=r"is not a run's description"):
        store.get(run.run_id)


def test_folders_that_are_no_runs_are_passed_over(store: RunStore, run: Run) -> None:
    (store.root / "empty").mkdir()
    (store.root / "odd" / "run.json").mkdir(parents=True)
    (store.root / "a file").write_text("x")
    assert [one.run_id for one in store.list()] == [run.run_id]
    with pytest.raises(CheckpointError):
        store.get("odd")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_pipes_and_folders_in_the_place_of_files_stop_nothing(store: RunStore, run: Run) -> None:
    (store.root / "pipe").mkdir()
    os.mkfifo(store.root / "pipe" / "run.json")
    for name in ("metrics.jsonl", "samples.jsonl", "best.safetensors"):
        (run.folder / name).mkdir()
    [found] = store.list()
    assert found.run_id == run.run_id and (found.metrics(), found.samples(), found.history().rows) == ([], [], ())
    with pytest.raises(CheckpointError, match=r"best\.safetensors .* cannot be read"):
        found.load_model()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b'{"tokens": "abc"}', b'{"tokens": ["a", "a"]}', b'{"tokens": ["ab"]}',
                b'{"tokens": ["a"]}', b'{"tokens": [1]}'],
)  # fmt: skip
def test_a_damaged_tokenizer_is_one_sentence(content: bytes, run: Run) -> None:
    (run.folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="tokenizer"):
        run.tokenizer()


def test_missing_truncated_and_foreign_weights_are_one_sentence(run: Run) -> None:
    with pytest.raises(CheckpointError, match="saved no weights yet"):
        run.load_model()
    path = run.folder / "best.safetensors"
    save_weights(path, build_model(run.model_config))
    whole = path.read_bytes()
    for damaged in (whole[:100], whole[: len(whole) // 2], b"", b"\0" * 64):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"best\.safetensors") as caught:
            run.load_model()
        assert "\n" not in str(caught.value)


# --- changing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "kept"),
    [("a/b\\c", "a/b\\c"), ("  two\nlines\t \x1b[31mred ", "two lines [31mred"), ("<script>&", "<script>&"),
     ("x" * 80, "x" * 80), ("\ud800half", "half"), ("é́ 名前", "é́ 名前")],
)  # fmt: skip
def test_labels_are_one_line_and_stay_text(label: str, kept: str, store: RunStore, run: Run) -> None:
    store.rename(run, label)
    assert store.get(run.run_id).label == kept
    assert store.find(kept).run_id == run.run_id


@pytest.mark.parametrize("label", ["", " \n\t", "x" * 81])
def test_labels_of_no_or_too_many_characters_are_refused(label: str, store: RunStore, run: Run) -> None:
    with pytest.raises(ConfigError, match="1 to 80 characters"):
        store.rename(run, label)
    assert store.get(run.run_id).label == "mine"


def test_a_rename_and_a_training_keep_each_others_changes(store: RunStore) -> None:
    [training] = entered(store)
    page = store.get(training.run_id)  # read before the training goes on
    training.update({"step": 10, "best_val_loss": 2.5})
    store.rename(page, "renamed")
    training.update({"step": 20}, status="finished")
    run = store.get(training.run_id)
    assert (run.label, run.step, run.best_val_loss, run.info["status"]) == ("renamed", 20, 2.5, "finished")


def test_many_threads_change_one_run(store: RunStore, run: Run) -> None:
    def change(name: str) -> None:
        mine = store.get(run.run_id)
        for value in range(10):
            mine.update({}, **{name: value})

    threads = [threading.Thread(target=change, args=[f"field{at}"]) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    info = json.loads((run.folder / "run.json").read_text())
    assert all(info[f"field{at}"] == 9 for at in range(6))


def test_a_run_that_is_gone_is_not_brought_back(store: RunStore, run: Run) -> None:
    held, other = store.get(run.run_id), store.get(run.run_id)
    store.delete(run)
    assert not run.folder.exists() and store.list() == []
    with pytest.raises(CheckpointError):
        held.update(status="running")
    with pytest.raises(CheckpointError, match="any more"):
        store.delete(other)
    assert other.status == "stopped" and not run.folder.exists()


def test_active_and_shipped_runs_are_not_deleted(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    [active] = entered(store)
    with pytest.raises(JobError, match="queued; stop it first"):
        store.delete(store.get(active.run_id))
    [shipped] = entered(RunStore(tmp_path / "shipped"))
    shipped.release()
    with pytest.raises(CheckpointError, match="cannot be deleted"):
        store.delete(store.get(shipped.run_id))
    with pytest.raises(CheckpointError, match="read-only"):
        store.rename(store.get(shipped.run_id), "mine now")
    assert shipped.folder.exists() and active.folder.exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CheckpointError, match=r"a run cannot be made in .*file.*CHARLM_RUNS"):
        entered(RunStore(tmp_path / "file"))


def test_a_race_begins_whole_or_not_at_all(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    create = store.create
    made: list[Run] = []

    def once(*args: object) -> Run:
        if made:
            raise CheckpointError("a run cannot be made: disk full")
        made.append(create(*args))  # type: ignore[arg-type]
        return made[0]

    monkeypatch.setattr(store, "create", once)
    with pytest.raises(CheckpointError, match="disk full"):
        entered(store, "lstm", "gru")
    assert store.list() == []


def test_runs_made_at_once_are_all_different(store: RunStore, run: Run, request: pytest.FixtureRequest) -> None:
    each = 1000 if request.config.getoption("--all-faults") else 50
    info, tokenizer, ids = dict(run.info), run.tokenizer(), []

    def make() -> None:
        for _ in range(each):
            made = store.create(info | {"run_id": "", "status": "queued"}, tokenizer)
            ids.append(made.run_id)
            made.release()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 8 * each and {one.name for one in store.root.iterdir()} == {*ids, run.run_id}
    assert {one.run_id for one in store.list()} == {*ids, run.run_id}


# --- trash, leftovers, disk ------------------------------------------------------------------------------------------


def test_what_is_deleted_in_the_moment_before_a_change_stays_away(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_and_lose(path: Path) -> dict:
        info = read_json(path)
        run.folder.rename(tmp_path / "elsewhere")
        return info

    monkeypatch.setattr("charlm.runs.run.read_json", read_and_lose)
    with pytest.raises(CheckpointError, match=r"has no run\.json"):
        run.update(label="yours")
    assert not run.folder.exists() and (tmp_path / "elsewhere" / "run.json").exists()


def test_what_is_deleted_can_be_restored_until_the_trash_is_emptied(store: RunStore) -> None:
    first, second = trained(store, "rnn"), trained(store, "gru")
    before = {path.name: path.read_bytes() for path in first[0].folder.rglob("*.*")}
    for run in (first[0], second[0]):
        store.delete(run)
    assert store.list() == [] and [run.run_id for run in store.trashed()] == [second[0].run_id, first[0].run_id]
    for token in (first[0].run_id, f".trash/{first[0].run_id}"):
        with pytest.raises(CheckpointError, match="there is no run"):
            store.get(token)
    back = store.restore(first[0].run_id)
    assert {path.name: path.read_bytes() for path in back.folder.rglob("*.*")} == before
    assert back.load_model() is not None and [run.run_id for run in store.trashed()] == [second[0].run_id]
    assert store.empty_trash() > 10_000 and store.trashed() == [] and store.empty_trash() == 0
    with pytest.raises(CheckpointError, match="in the trash"):
        store.restore(second[0].run_id)


@pytest.mark.parametrize("token", ["", "..", "../runs", "/etc", "a" * 300, "no\x00ne", ".trash"])
def test_nothing_else_is_restored(token: str, store: RunStore, run: Run) -> None:
    with pytest.raises(CheckpointError, match="in the trash"):
        store.restore(token)


def test_a_restored_run_never_replaces_another(store: RunStore, run: Run) -> None:
    run.release()
    copy = store.root.parent / "copy"
    shutil.copytree(run.folder, copy)
    store.delete(store.get(run.run_id))
    copy.rename(store.root / run.run_id)
    with pytest.raises(CheckpointError, match="there is another run"):
        store.restore(run.run_id)
    assert len(store.trashed()) == 1 and len(store.list()) == 1


def test_keeping_the_best_only(store: RunStore) -> None:
    [run] = trained(store, "lstm")
    size, spare, best = run.size_bytes, run.spare_bytes, run.load_model().state_dict()
    assert 0 < spare < size and store.trim(run) == spare
    kept = store.get(run.run_id)
    assert kept.trimmed and kept.spare_bytes == 0 and kept.size_bytes < size - spare + 200
    assert all(torch.equal(best[name], tensor) for name, tensor in kept.load_model().state_dict().items())
    assert store.trim(kept) == 0
    (run.folder / "best.safetensors").write_bytes(b"noise")
    with pytest.raises(CheckpointError, match="has no best weights that can be read; nothing was removed"):
        store.trim(kept)
    [busy] = entered(store)
    with pytest.raises(JobError, match="stop it first"):
        store.trim(busy)
    shipped = RunStore(store.shipped, store.root).get(run.run_id)
    with pytest.raises(CheckpointError, match="read-only"):
        store.trim(shipped)


def test_leftovers_of_killed_processes_are_swept_and_nothing_else(store: RunStore) -> None:
    [done], [busy] = trained(store), entered(store)
    half = store.root / "20261123-000000-lstm-0123456789"
    strange, mine = store.root / "my notes", store.root / "20261123-000000-lstm-0123456789x"
    for folder in (half, strange, mine):
        folder.mkdir()
        (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    torn = [run.folder / "best.safetensors.1.2.tmp" for run in (done, busy)]
    for path in torn:
        path.write_bytes(b"half")
    emptied = store.trash / "20261123-000000-gru-0123456789"
    emptied.mkdir(parents=True)
    (emptied / "metrics.jsonl").touch()
    assert set(store.sweep()) == {done.folder, half, emptied}
    assert [path.exists() for path in (*torn, half, strange, mine)] == [False, True, False, True, True]
    assert store.sweep() == [] and store.get(done.run_id).load_model() is not None
    busy.release()
    assert store.sweep() == [busy.folder]


def test_a_folder_takes_what_its_files_do(store: RunStore, run: Run) -> None:
    before = run.size_bytes
    (run.folder / "snapshots" / "deep").mkdir(parents=True)
    (run.folder / "snapshots" / "deep" / "0.safetensors").write_bytes(b"12345")
    (run.folder / "gone").symlink_to("nowhere")
    (run.folder / "up").symlink_to("..", target_is_directory=True)
    assert run.size_bytes == before + 5 and folder_bytes(run.folder / "nowhere") == 0


def test_damaged_best_weights_are_not_the_end(store: RunStore, caplog: pytest.LogCaptureFixture) -> None:
    [run] = trained(store)
    data = bytearray((run.folder / "best.safetensors").read_bytes())
    data[-3] ^= 1
    (run.folder / "best.safetensors").write_bytes(data)
    model, last = run.load_model(), run.load_model("last")
    assert all(torch.equal(last.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert "its checksum does not fit its content; its last weights are used instead" in caplog.text
    (run.folder / "last.safetensors").unlink()
    with pytest.raises(CheckpointError, match="checksum does not fit"):
        run.load_model()


# --- who holds it ----------------------------------------------------------------------------------------------------


def test_a_status_read_just_before_the_end_is_the_end(store: RunStore) -> None:
    [training] = entered(store)
    training.update(status="running")
    seen = store.get(training.run_id)
    assert seen.status == "running"
    training.update(status="finished")
    training.release()
    assert seen.status == "finished"


def test_looking_at_a_run_does_not_change_it(store: RunStore, run: Run) -> None:
    spoil(run.folder / "run.json", status="running")
    assert [store.get(run.run_id).status for _ in range(3)] == ["interrupted"] * 3
    run.hold()
    assert store.get(run.run_id).status == "running"
    with pytest.raises(JobError, match="trained elsewhere"):
        store.get(run.run_id).hold()
    run.release()


HOLD = """
import sys
from pathlib import Path
from charlm.runs.run import Run
run = Run(Path(sys.argv[1]))
run.hold()
run.update(status="running")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_run_of_another_process_runs_as_long_as_that_lives(store: RunStore, run: Run) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    try:
        assert process.stdout and process.stdout.readline() == b"held\n"
        assert store.get(run.run_id).status == "running"
        with pytest.raises(JobError, match="is running"):
            store.delete(store.get(run.run_id))
    finally:
        process.kill()
        process.communicate()
    assert store.get(run.run_id).status == "interrupted"
    store.delete(store.get(run.run_id))


def test_a_trained_run_says_what_it_is(store: RunStore) -> None:
    [run] = trained(store, label="mine")
    assert (run.status, run.arch, run.step, run.total_steps) == ("finished", "lstm", 12, 12)
    assert run.num_parameters == run.load_model().num_parameters
    measured = {row["val_loss"]: row["step"] for row in run.metrics() if row["val_loss"]}
    assert run.best_val_loss == pytest.approx(min(measured)) and run.best_step == measured[min(measured)]
    assert [row["step"] for row in run.metrics(since=8)] == [9, 10, 11, 12]
    assert [one["step"] for one in run.samples()] == [4, 8, 12]
    assert run.size_bytes == sum(file.stat().st_size for file in run.folder.rglob("*") if file.is_file())
    assert {file.name for file in run.folder.iterdir()} >= {
        "run.json", "tokenizer.json", "metrics.jsonl", "samples.jsonl", "best.safetensors", "last.safetensors",
    }  # fmt: skip
    info = json.loads((run.folder / "run.json").read_text())
    assert info["run_id"] == run.run_id and info["created"].endswith("+00:00") and info["versions"]["torch"]


def test_errors_of_this_module_are_the_librarys_own() -> None:
    assert issubclass(CheckpointError, CharLMError)
