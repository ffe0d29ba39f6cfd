"""Writing files so that a reader, or a crash, never meets half of one, and the disk's word is checked."""

import errno
import hashlib
import os
import stat
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

# What a file system says that flushes files, but no folders.
UNKNOWN_TO_FOLDERS = (errno.EINVAL, errno.ENOTSUP)
LEFTOVERS = "*.tmp"  # what a killed process may leave of a file it was writing


class NoFile(OSError):
    """Something else stands where a file should."""


def open_plain(path: Path) -> BufferedReader:
    """A file opened for reading, never a pipe or a device in its place: those would wait, or go on for ever.

    Raises:
        NoFile: it is no plain file.
        OSError: it is missing or unreadable.
    """
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NoFile(errno.EINVAL, "it is no plain file", str(path))
    return file


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def write_atomically(path: Path, data: bytes | Iterable[bytes | memoryview], keep: Path | None = None) -> None:
    """Put `data` into `path`: written beside it, flushed to the disk, read back, and only then renamed over it.

    Args:
        path: the file; its folder exists.
        data: its new content, whole or in pieces.
        keep: the name that the old content gets; without it, the old content is gone.

    Raises:
        OSError: the disk did not take it; `path` is as it was (or, at the very end, already replaced).
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        digest = _write(beside, [data] if isinstance(data, bytes) else data)
        with open(beside, "rb") as file:
            if hashlib.file_digest(file, "sha256").digest() != digest:
                raise OSError(errno.EIO, "what was written reads back differently", str(path))
        if keep is not None:
            with suppress(FileNotFoundError):
                os.replace(path, keep)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> bytes:
    """Write a new file through to the disk; returns its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.digest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a power failure, where the system can do that."""
    if sys.platform == "win32":  # knows no such thing
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNKNOWN_TO_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def append(path: Path, line: bytes) -> None:
    """Add a line at the end of a file, in one write; what the disk did not take whole is taken back.

    A line that is torn all the same (the disk refused even that, or a process was killed) does not spoil the next one.

    Raises:
        OSError: the line is not there.
    """
    with open(path, "a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            line = line if file.read(1) == b"\n" else b"\n" + line
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            with suppress(OSError):
                file.truncate(size)
            raise
