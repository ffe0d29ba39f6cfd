"""What a file is, told by its content; its name means nothing. A pickle is found wherever it hides."""

import gzip
import io
import json
import lzma
import pickletools
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Literal, cast

from charlm.errors import CheckpointError
from charlm.files import open_plain
from charlm.formats.pickles import Bounded

Kind = Literal["run", "safetensors", "torch", "legacy torch", "torchscript", "tar", "pickle", "packed", "unknown"]
# What the files are called that hold a pickle, each with its article.
CALLED: dict[str, str] = {
    "torch": "a pickle of torch.save",
    "legacy torch": "a pickle of torch.save",
    "torchscript": "a TorchScript program",
    "tar": "an archive with a pickle inside",
    "pickle": "a pickle",
    "packed": "an archive with a pickle inside",
}
# The first pickle of a file that torch.save wrote before 1.6: a magic number.
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
OPCODES = {opcode.code.encode("latin-1") for opcode in pickletools.opcodes}
HEAD = 1 << 16  # bytes of a member that are looked at
MOST_MEMBERS = 1_000
MOST_HEADER = 1 << 20  # of a safetensors file
MOST_DIRECTORY = 1 << 20  # bytes of a zip's list of members
END = 22  # bytes of a zip's last record
DEPTH = 3  # archives in archives that are looked into
DAMAGED = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError,
           NotImplementedError, RuntimeError, KeyError)  # fmt: skip


def kind_of(path: Path) -> Kind:
    """What the file is. "packed" is any other archive with a pickle in it; "tar" what torch.save wrote before 0.1.10.

    Raises:
        CheckpointError: there is no such file, or it cannot be read.
    """
    try:
        with open_plain(path) as file:
            return _kind(file)
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def called(path: Path) -> str:
    """What the file is called if it is or holds a pickle, also a run's zip that does; empty if there is none."""
    kind = kind_of(path)
    if kind == "run":
        with open_plain(path) as file:
            return CALLED["packed"] if _holds_pickle(file, DEPTH) else ""
    return CALLED.get(kind, "")


def _kind(file: IO[bytes]) -> Kind:
    head = file.read(HEAD)
    if head.startswith(LEGACY):
        return "legacy torch"
    if zipped := _zip_kind(file, head):
        return zipped
    if _is_safetensors(head, file):
        return "safetensors"
    if is_pickle(head):
        return "pickle"
    if {"pickle", "storages", "tensors"} <= set(_tar_names(file)):
        return "tar"
    return "packed" if _holds_pickle(file, DEPTH) else "unknown"


def _zip_kind(file: IO[bytes], head: bytes) -> Kind | None:
    """The kind of a zip; None if it is no zip, or one with nothing of ours in it."""
    try:
        with open_zip(file) as archive:
            names = [name.rpartition("/")[2] for name in islice(archive.namelist(), MOST_MEMBERS)]
    except DAMAGED:
        return "torch" if head.startswith(b"PK\x03\x04") and b"data.pkl" in head else None
    if "data.pkl" in names:
        return "torchscript" if "constants.pkl" in names else "torch"
    return "run" if "run.json" in names else None


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """A zip whose list of members is short enough to be read at once.

    Raises:
        BadZipFile: it is none, or its list is too long.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - END - 0xFFFF))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06", 0, len(tail) - END + 4)
    listed = int.from_bytes(tail[end + 12 : end + 16], "little")
    if tail[max(0, end - 20) : end].startswith(b"PK\x06\x07"):  # in the longer form, which stands before that
        listed = int.from_bytes(tail[end - 36 : end - 28], "little")
    if end < 0 or listed > MOST_DIRECTORY:
        raise zipfile.BadZipFile("no zip, or one with far too many members")
    file.seek(0)
    return zipfile.ZipFile(file)


def _is_safetensors(head: bytes, file: IO[bytes]) -> bool:
    size = int.from_bytes(head[:8], "little") if len(head) > 8 else 0
    if not 2 <= size <= MOST_HEADER or head[8:9] != b"{":
        return False
    file.seek(8)
    try:
        return isinstance(json.loads(file.read(size)), dict)
    except (ValueError, RecursionError):
        return False


def is_pickle(head: bytes) -> bool:
    """Whether these first bytes of a file are a pickle of any protocol; a whole one, where no byte announces it."""
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":  # so may the length of a safetensors' header begin
        return head[2:3] in OPCODES
    try:
        opcodes = pickletools.genops(cast(IO[bytes], Bounded(io.BytesIO(head))))
        return any(opcode.name == "STOP" for opcode, _, _ in opcodes) and len(head) > 1
    except (ValueError, UnicodeError, OverflowError, IndexError):
        return False


def _tar_names(file: IO[bytes]) -> list[str]:
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            return [member.name for member in islice(archive, MOST_MEMBERS)]
    except DAMAGED:
        return []


def _holds_pickle(file: IO[bytes], depth: int) -> bool:
    """Whether one of the files packed into this one is a pickle, or itself holds one."""
    return any(is_pickle(head) or (depth > 1 and _holds_pickle(io.BytesIO(head), depth - 1)) for head in _heads(file))


def _heads(file: IO[bytes]) -> Iterator[bytes]:
    """The first bytes of each file that is packed into this one; what is damaged is passed over."""
    for unpack in (_zip_heads, _tar_heads, _gzip_head, _xz_head):
        file.seek(0)
        try:
            yield from unpack(file)
        except DAMAGED:
            continue


def _zip_heads(file: IO[bytes]) -> Iterator[bytes]:
    with open_zip(file) as archive:
        for member in archive.infolist()[:MOST_MEMBERS]:
            with archive.open(member) as inner:
                yield inner.read(HEAD)


def _tar_heads(file: IO[bytes]) -> Iterator[bytes]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in islice(archive, MOST_MEMBERS):
            if member.isfile() and (inner := archive.extractfile(member)):
                yield inner.read(HEAD)


def _gzip_head(file: IO[bytes]) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as inner:
        yield inner.read(HEAD)


def _xz_head(file: IO[bytes]) -> Iterator[bytes]:
    with lzma.open(file) as inner:
        yield inner.read(HEAD)
