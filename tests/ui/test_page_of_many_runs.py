"""An app over a folder of many runs: what its start reads of them, and what a page is sent of them."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from charlm.runs.history import HistoryReader
from charlm.runs.run import read_json
from charlm.ui.app import build_demo
from charlm.ui.compare.ranking import default_runs, run_choices
from tests.tiny_runs import entered, store_in
from tests.ui.servers import private_services

COPIES = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Races of an LSTM and a GRU that are over."""
    store = store_in(tmp_path)
    for run in entered(store, "lstm", "gru"):
        run.log.append({"step": 1, "train_loss": 2.0, "val_loss": 2.0})
        run.update({"best_val_loss": 2.0, "best_step": 1, "step": 1}, status="finished")
        run.release()
        for number in range(1, COPIES):
            copy = run.folder.with_name(f"{run.run_id}-{number}")
            shutil.copytree(run.folder, copy)
            day = f"2026-01-{number:02}T00:00:00+00:00"
            store.get(copy.name).update(created=day, group=f"race {number}")
    return tmp_path


def test_a_start_reads_each_run_once_and_no_log_of_a_race_that_is_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[str] = Counter()
    logs = list[Path]()
    begun = HistoryReader._read_on
    monkeypatch.setattr(
        "charlm.runs.run.read_json", lambda path, *most: read.update([path.parent.name]) or read_json(path, *most)
    )
    monkeypatch.setattr(
        HistoryReader, "_read_on", lambda reader, *given: logs.append(reader.path) or begun(reader, *given)
    )
    with private_services(folder) as services:
        services.jobs.interrupted()
        demo = build_demo(services, folder / "data")
        runs = services.store.list()
        chosen = default_runs(runs)
        assert len(runs) == 2 * COPIES and len(chosen) == 2
        assert {read[run.run_id] for run in runs if run.run_id not in chosen} == {1}
        assert not logs
        sent = json.dumps(demo.get_config_file(), default=str)
        assert {run.run_id for run in runs if run.run_id in sent} == set(chosen)


def test_names_met_twice_say_when(folder: Path) -> None:
    runs = store_in(folder).list()
    runs[0].label = "the only one"
    names = [name for name, _ in run_choices(runs)]
    assert [" · " in name.removeprefix("LSTM · ").removeprefix("GRU · ") for name in names] == [False] + [True] * (
        2 * COPIES - 1
    )
