"""Notes: what its user wrote about a run stays with it, in lines of printable text, and with no other."""

import json
from pathlib import Path
from typing import Any

import pytest

from charlm.cli import main
from charlm.errors import CheckpointError, ConfigError
from charlm.formats.run_zip import read_zip, write_zip
from charlm.public import VisitorRuns
from charlm.public.limits import Limits, Visitor
from charlm.runs.resume import fork, reopen
from charlm.runs.run import MAX_NOTE, Run
from charlm.runs.store import SHIPPED, RunStore
from tests.tiny_runs import trained

NOTE = "<b>first</b> try\n\nthe rate was too high"


def test_a_note_stays_and_is_removed_again(store: RunStore) -> None:
    [run] = trained(store, steps=2)
    assert run.note == ""
    store.annotate(run, f"  {NOTE}\n\n")
    assert run.note == store.get(run.run_id).note == NOTE
    store.rename(store.get(run.run_id), "another")
    assert store.get(run.run_id).note == NOTE
    store.annotate(run, " \n")
    assert store.get(run.run_id).note == ""


def test_a_note_is_bounded_and_plain(store: RunStore) -> None:
    [run] = trained(store, steps=2)
    with pytest.raises(ConfigError, match=f"up to {MAX_NOTE:,} characters; this one has {MAX_NOTE + 1:,}"):
        store.annotate(run, "x" * (MAX_NOTE + 1))
    store.annotate(run, "a\x00b\x1b[0m\u202ec\ud800\r\nd\u2028e")
    assert store.get(run.run_id).note == "a b [0m c\nd\ne"
    store.annotate(run, "y" * MAX_NOTE)
    assert store.get(run.run_id).note == "y" * MAX_NOTE


@pytest.mark.parametrize("value", [5, None, ["x"], {"a": 1}])
def test_a_file_that_holds_no_text_has_no_note(value: Any, store: RunStore) -> None:
    [run] = trained(store, steps=2)
    path = run.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "note": value}))
    assert store.get(run.run_id).note == ""


def test_a_resumed_run_keeps_it_and_a_fork_has_none(store: RunStore) -> None:
    [run] = trained(store, steps=2)
    store.annotate(run, NOTE)
    child, _ = fork(store, store.get(run.run_id), {"steps": 2})
    child.release()
    assert child.note == "" and "note" not in child.info
    again = store.get(run.run_id)
    reopen(again, {"steps": 2})
    again.release()
    assert store.get(run.run_id).note == NOTE


def test_a_zip_takes_it_along(store: RunStore, tmp_path: Path) -> None:
    [run] = trained(store, steps=2)
    store.annotate(run, NOTE)
    write_zip(run, tmp_path / "run.zip")
    assert read_zip(store, tmp_path / "run.zip").note == NOTE


def test_what_came_with_the_app_has_none(store: RunStore) -> None:
    with pytest.raises(CheckpointError, match="read-only"):
        store.annotate(Run(SHIPPED / "sherlock-rnn", shipped=True), NOTE)


def test_nobody_writes_about_anothers_run(tmp_path: Path) -> None:
    visitors = [Visitor("anna")]
    store = RunStore(tmp_path / "runs", tmp_path / "shipped", owner=lambda: visitors[-1].key)
    runs = VisitorRuns(store, lambda: visitors[-1], Limits())
    [run] = trained(store, steps=2)
    runs.annotate(run, NOTE)
    visitors.append(Visitor("boris"))
    with pytest.raises(CheckpointError, match="there is no run"):
        runs.annotate(run, "mine now")
    assert store.get(run.run_id).note == NOTE


def test_the_command_line_writes_shows_and_removes_it(
    store: RunStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARLM_RUNS", str(store.root))
    [run] = trained(store, steps=2, label="night")
    assert main(["runs", "note", "night", NOTE]) == 0
    assert f"the note of night ({run.run_id}) is written" in capsys.readouterr().out
    assert main(["runs", "show", "night", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["note"] == NOTE
    assert main(["runs", "note", "night", "", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"run_id": run.run_id, "note": ""}
    assert main(["runs", "note", "night", "x" * 3000]) == 2 and "3,000" in capsys.readouterr().err
