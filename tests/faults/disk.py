"""A disk that goes wrong on demand: it stands between charlm.files and the real one."""

import builtins
import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from charlm import files


class Disk:
    """`open` and `os` of charlm.files. Every open, write, flush, fsync and replace is counted and may go wrong.

    Args:
        strikes: whether the operation of this number, from 1, goes wrong.
        harm: what then happens; half of what was to be written is on the disk by then.
    """

    def __init__(
        self, strikes: Callable[[int], bool] = lambda number: False, harm: Callable[[], Any] = lambda: None
    ) -> None:
        self.strikes = strikes
        self.harm = harm
        self.patient = True  # else fsync only counts: what a killed process has written is there without
        self.count = 0
        self.names: list[str] = []  # of the operations so far

    @contextlib.contextmanager
    def installed(self) -> Iterator["Disk"]:
        """What charlm writes goes over this disk meanwhile."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "open", self.open, raising=False)
            patch.setattr(files, "os", _System(self))
            yield self

    def operate(self, name: str, first: Callable[[], Any] = lambda: None) -> None:
        """Count an operation; if it goes wrong, do `first`, then the harm."""
        self.count += 1
        self.names.append(name)
        if self.strikes(self.count):
            first()
            self.harm()

    def open(self, path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        """As the builtin; files to read are none of our business."""
        if mode.startswith("r"):
            return builtins.open(path, mode, *rest, **options)
        self.operate("open")
        return _File(builtins.open(path, mode, *rest, **options), self)


def refuse(code: int) -> Callable[[], None]:
    """What a disk says that does not take something."""

    def harm() -> None:
        raise OSError(code, os.strerror(code))

    return harm


class _System:
    """The module os, with two of its functions over the disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def fsync(self, descriptor: int) -> None:
        self._disk.operate("fsync")
        if self._disk.patient:
            os.fsync(descriptor)

    def replace(self, source: Any, target: Any) -> None:
        self._disk.operate("replace")
        os.replace(source, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


class Wrapped:
    """A file, some of whose methods are replaced by subclasses."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class Short(Wrapped):
    """A file of which the disk takes only the beginning, without a word, and which it may not truncate either."""

    def __init__(self, file: Any, truncates: bool) -> None:
        super().__init__(file)
        self._truncates = truncates

    def write(self, data: bytes) -> int:
        written: int = self._file.write(data[: len(data) // 2])
        return written

    def truncate(self, size: int) -> int:
        if not self._truncates:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        found: int = self._file.truncate(size)
        return found


class _File(Wrapped):
    """A file opened for writing."""

    def __init__(self, file: Any, disk: Disk) -> None:
        super().__init__(file)
        self._disk = disk

    def write(self, data: Any) -> int:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._disk.operate("write", half)
        return self._file.write(data)

    def flush(self) -> None:
        self._disk.operate("flush")
        self._file.flush()
