"""Eviction: the oldest make room, what is at work stays, nothing outside the folders is touched."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlm.files import write_atomically
from charlm.public.eviction import evict
from charlm.runs.run import folder_bytes
from charlm.runs.store import RunStore
from tests.tiny_runs import entered, trained


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of texts and of downloads."""
    data, cache = tmp_path / "data", tmp_path / "cache"
    for folder in (data / "uploads", data / "texts", cache):
        folder.mkdir(parents=True)
    return data, cache


def leave(path: Path, size: int, age: float) -> Path:
    """A file of so many bytes that was last used `age` seconds after 1970."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (age, age))
    os.utime(path.parent, (age, age))
    return path


def test_nothing_goes_while_there_is_room(store: RunStore, places: tuple[Path, Path]) -> None:
    kept = leave(places[1] / "a" / "a.txt", 100, 1.0)
    assert evict(store, *places, most=100) == [] and kept.exists()


def test_the_oldest_go_first_and_no_more_than_needed(store: RunStore, places: tuple[Path, Path]) -> None:
    data, cache = places
    old = leave(cache / "old" / "a.zip", 1000, 10.0)
    text = leave(data / "texts" / "b.txt", 1000, 20.0)
    leave(data / "texts" / "b.json", 10, 20.0)
    new = leave(cache / "new" / "c.zip", 1000, 30.0)
    removed = evict(store, data, cache, most=2100)
    assert removed == [old.parent] and text.exists() and new.exists()
    evict(store, data, cache, most=1500)
    assert not text.exists() and not text.with_suffix(".json").exists() and new.exists()


def test_runs_go_with_their_age_and_deleted_ones_too(store: RunStore, places: tuple[Path, Path]) -> None:
    [old], [new] = trained(store, "rnn"), trained(store, "rnn")
    store.delete(store.get(old.run_id))
    for folder, age in ((store.trash / old.run_id, 10.0), (new.folder, 20.0)):
        os.utime(folder, (age, age))
    evict(store, *places, most=folder_bytes(new.folder) + folder_bytes(places[0]))
    assert not store.trashed() and store.get(new.run_id)
    evict(store, *places, most=0)
    assert [run.run_id for run in store.list() if not run.shipped] == []


def test_a_training_keeps_its_run_and_its_text(store: RunStore, places: tuple[Path, Path]) -> None:
    data, cache = places
    [run] = entered(store, "rnn")
    text = leave(data / "texts" / f"{run.corpus['sha256']}.txt", 1000, 1.0)
    gone = leave(data / "texts" / "other.txt", 1000, 2.0)
    evict(store, data, cache, most=0)
    assert text.exists() and not gone.exists() and store.get(run.run_id).status == "queued"
    run.release()


def test_a_run_that_is_held_meanwhile_stays(
    store: RunStore, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its training goes on between the look at it and its removal."""
    [run] = trained(store, "rnn")
    run.hold()
    monkeypatch.setattr("charlm.public.eviction.ACTIVE", ())
    assert evict(store, *places, most=0) and (run.folder / "best.safetensors").is_file()
    assert run.folder not in evict(store, *places, most=0)
    run.release()


def test_shipped_runs_never_go(store: RunStore, places: tuple[Path, Path]) -> None:
    [run] = trained(store, "rnn")
    store.shipped.mkdir(parents=True)
    run.folder.rename(store.shipped / run.run_id)
    evict(store, *places, most=0)
    assert store.get(run.run_id).shipped


def test_a_link_goes_and_what_it_leads_to_stays(store: RunStore, places: tuple[Path, Path], tmp_path: Path) -> None:
    treasure = leave(tmp_path / "elsewhere" / "keys.txt", 100, 1.0)
    (places[1] / "link").symlink_to(treasure.parent)
    (places[0] / "texts" / "b.txt").symlink_to(treasure)
    evict(store, *places, most=0)
    assert treasure.exists()
    assert not list(places[1].iterdir()) and not list((places[0] / "texts").iterdir())


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(files=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 10**9)), max_size=12), most=st.integers(0, 12_000))
def test_what_stays_fits_and_is_the_youngest(
    files: list[tuple[int, int]], most: int, store: RunStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("room")
    data, cache = folder / "data", folder / "cache"
    for place, (size, age) in enumerate(files):
        leave(cache / f"{place}" / "file", size, float(age))
    removed = {int(path.name) for path in evict(store, data, cache, most)}
    stayed = set(range(len(files))) - removed
    assert sum(files[place][0] for place in stayed) <= most
    if removed and stayed:
        assert max(files[place][1] for place in removed) <= min(files[place][1] for place in stayed)


def test_half_written_files_count_too(store: RunStore, places: tuple[Path, Path]) -> None:
    write_atomically(places[0] / "uploads" / "a.bin", b"x" * 100)
    assert evict(store, *places, most=99) == [places[0] / "uploads" / "a.bin"]
