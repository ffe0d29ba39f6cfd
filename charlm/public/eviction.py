"""Disk space on a public Space: when runs, texts and uploads together take too much, the oldest make room."""

import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from charlm.errors import CharLMError
from charlm.runs.run import ACTIVE, Run, folder_bytes
from charlm.runs.store import RunStore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """Something that can make room: a folder, or the files of one name."""

    paths: tuple[Path, ...]
    size: int  # bytes
    used: float  # when it was last written or touched, seconds since 1970


def evict(store: RunStore, data: Path, cache: Path, most: int) -> list[Path]:
    """Remove the oldest of what visitors left, until all of it takes at most `most` bytes.

    Args:
        store: its runs count, deleted ones too; those at work stay, as do their texts.
        data: folder of texts and uploads.
        cache: folder of files that were uploaded or are to be downloaded, each in a folder of its own.
        most: bytes.

    Returns:
        What was removed.
    """
    kept = sorted([*_runs(store), *_texts(store, data), *_folders(cache)], key=lambda one: one.used)
    total, removed = sum(one.size for one in kept), list[Path]()
    for one in kept:
        if total <= most:
            break
        gone = [path for path in one.paths if _remove(path)]
        total -= one.size if len(gone) == len(one.paths) else 0
        removed += gone
    if removed:
        log.warning("the disk was full: removed %d old runs, texts and uploads", len(removed))
    return removed


def _runs(store: RunStore) -> Iterator[Kept]:
    for run in [*store.list(), *store.trashed()]:
        if not run.shipped and run.status not in ACTIVE:
            yield _kept([run.folder])


def _texts(store: RunStore, data: Path) -> Iterator[Kept]:
    at_work = {str(run.corpus.get("sha256")) for run in store.list() if run.status in ACTIVE}
    names: dict[Path, list[Path]] = {}
    for file in (file for folder in ("uploads", "texts", "catalog", "ladders") for file in _entries(data / folder)):
        names.setdefault(file.with_suffix(""), []).append(file)
    return (_kept(files) for stem, files in names.items() if stem.name not in at_work)


def _folders(cache: Path) -> Iterator[Kept]:
    return (_kept([path]) for path in _entries(cache))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _kept(paths: Iterable[Path]) -> Kept:
    paths, size, used = tuple(paths), 0, 0.0
    for path in paths:
        try:
            state = path.stat()
            size += folder_bytes(path) if path.is_dir() else state.st_size
            used = max(used, state.st_mtime)
        except OSError:
            continue  # gone meanwhile
    return Kept(paths, size, used)


def _remove(path: Path) -> bool:
    """Remove a file, or a run that nobody has begun to use meanwhile; whether it is gone."""
    try:
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif not (path / "run.json").is_file():
            shutil.rmtree(path)
        else:
            _remove_run(Run(path))
    except (OSError, CharLMError) as error:
        log.warning("%s stays: %s", path.name, error)
        return False
    return True


def _remove_run(run: Run) -> None:
    run.hold()
    try:
        shutil.rmtree(run.folder)
    finally:
        run.release()
