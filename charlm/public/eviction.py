"""Disk space on a public Space: when runs, texts and uploads together take too much, the oldest are removed."""

import logging
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from charlm.errors import CharLMError
from charlm.runs.run import ACTIVE, Run, folder_bytes
from charlm.runs.store import RunStore

log = logging.getLogger(__name__)


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
    units = sorted(((*_used(paths), paths) for paths in _units(store, data, cache)), key=lambda unit: unit[0])
    total, removed = sum(size for _, size, _ in units), list[Path]()
    for _, size, paths in units:
        if total <= most:
            break
        gone = [path for path in paths if _remove(path)]
        total -= size if len(gone) == len(paths) else 0
        removed += gone
    if removed:
        log.warning("the disk was full: removed %d old runs, texts and uploads", len(removed))
    return removed


def _units(store: RunStore, data: Path, cache: Path) -> Iterator[Sequence[Path]]:
    """What can be removed, and only together: a run, the files of one name, a folder of the cache."""
    runs, names = store.list(), defaultdict[Path, list[Path]](list)
    for run in [*runs, *store.trashed()]:
        if not run.shipped and run.status not in ACTIVE:
            yield [run.folder]
    for folder in ("uploads", "texts", "catalog", "ladders", "measured"):
        for file in _entries(data / folder):
            names[file.with_suffix("")].append(file)
    at_work = {str(run.corpus.get("sha256")) for run in runs if run.status in ACTIVE}
    yield from (files for stem, files in names.items() if stem.name not in at_work)
    yield from ([path] for path in _entries(cache))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _used(paths: Sequence[Path]) -> tuple[float, int]:
    """When they were last written or touched, in seconds since 1970, and their bytes."""
    used, size = 0.0, 0
    for path in paths:
        try:
            state = path.stat()
            size += folder_bytes(path) if path.is_dir() else state.st_size
            used = max(used, state.st_mtime)
        except OSError:
            continue  # gone meanwhile
    return used, size


def _remove(path: Path) -> bool:
    """Remove a file, or a run that is not in use meanwhile; returns whether it is gone."""
    try:
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif not (path / "run.json").is_file():
            shutil.rmtree(path)
        else:
            run = Run(path)
            run.hold()
            try:
                shutil.rmtree(run.folder)
            finally:
                run.release()
    except (OSError, CharLMError) as error:
        log.warning("%s stays: %s", path.name, error)
        return False
    return True
