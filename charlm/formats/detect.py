"""What a file is, by its content: its name means nothing. A pickle is found wherever it hides.

Why own code: strangers' files are looked at before any reader of their format is trusted with them, in bounded memory.
"""

import gzip
import io
import json
import lzma
import pickletools
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, cast

from charlm.errors import CheckpointError
from charlm.files import open_plain
from charlm.formats.run_zip import MOST_DIRECTORY, UNREADABLE

Kind = Literal[
    "run", "safetensors", "torch", "legacy torch", "torchscript", "tar", "pickle", "packed", "unknown",
    "gguf", "npz", "keras", "hdf5", "tensorflow", "json", "folder",
]  # fmt: skip
# Descriptions of the kinds that hold a pickle.
PICKLES: dict[str, str] = {
    **dict.fromkeys(("torch", "legacy torch"), "a pickle of torch.save"),
    **dict.fromkeys(("tar", "packed"), "an archive with a pickle inside"),
    "torchscript": "a TorchScript program",
    "pickle": "a pickle",
}
# The first pickle of a file that torch.save wrote before 1.6: a magic number.
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
# How files of other frameworks begin or end, and what a zip holds that is one, or a folder of such.
HDF5, TENSORFLOW = b"\x89HDF\r\n\x1a\n", (0xDB4775248B80FB57).to_bytes(8, "little")
MODELS = (
    ".safetensors", ".npz", ".keras", ".h5", ".hdf5", ".index", ".pt", ".pth", ".ckpt", ".net", ".bin", "manifest.json",
)  # fmt: skip
OPCODES = {opcode.code.encode("latin-1") for opcode in pickletools.opcodes}
HEAD = 1 << 16  # bytes of a member that are read
MOST_MEMBERS = 1_000
MOST_HEADER = 1 << 20  # of a safetensors file
END = 22  # bytes of a zip's last record
DEPTH = 3  # levels of archives in archives that are searched
DAMAGED = (*UNREADABLE, lzma.LZMAError, tarfile.TarError, KeyError)


def kind_of(path: Path) -> Kind:
    """The kind of a file: "tar" is what torch.save wrote before 0.1.10, "packed" any other archive with a pickle in it.

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


def describe_pickle(path: Path) -> str:
    """What a file is that is or holds a pickle, a run's zip included; empty if it holds none.

    Raises:
        CheckpointError: there is no such file, or it cannot be read.
    """
    kind = kind_of(path)
    if kind in ("run", "folder", "npz", "keras"):
        with open_plain(path) as file:
            return PICKLES["packed"] if _holds_pickle(file, DEPTH) else ""
    return PICKLES.get(kind, "")


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
    if head.startswith(HDF5):
        return "hdf5"
    if head.startswith(b"GGUF"):
        return "gguf"
    if _tail(file, len(TENSORFLOW)) == TENSORFLOW:
        return "tensorflow"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        return "json"
    if {"pickle", "storages", "tensors"} <= set(_tar_names(file)):
        return "tar"
    return "packed" if _holds_pickle(file, DEPTH) else "unknown"


def _tail(file: IO[bytes], size: int) -> bytes:
    file.seek(max(0, file.seek(0, io.SEEK_END) - size))
    return file.read()


def _zip_kind(file: IO[bytes], head: bytes) -> Kind | None:
    """The kind of a zip; None if it is no zip, or none of those known here."""
    try:
        with open_zip(file) as archive:
            names = [name.rpartition("/")[2] for name in islice(archive.namelist(), MOST_MEMBERS)]
    except DAMAGED:
        return "torch" if head.startswith(b"PK\x03\x04") and b"data.pkl" in head else None
    if "data.pkl" in names:
        return "torchscript" if "constants.pkl" in names else "torch"
    if "run.json" in names:
        return "run"
    if {"config.json", "model.weights.h5"} <= set(names):
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return "folder" if any(name.lower().endswith((*MODELS, ".json")) for name in names) else None


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """Open a zip whose list of members is short enough to be read at once.

    Raises:
        BadZipFile: it is no zip, or its list is too long.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - END - 0xFFFF))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06", 0, len(tail) - END + 4)
    listed = int.from_bytes(tail[end + 12 : end + 16], "little")
    if tail[max(0, end - 20) : end].startswith(b"PK\x06\x07"):  # zip64 has a longer record before that
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


class _Bounded:
    """A pickle's file that allocates no more than is left of it, whatever size a pickle declares.

    Its lines come without backslashes: pickletools would decode them as escapes, and warn of odd ones. Only opcodes
    that are refused anyway have texts in lines.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, place = file, file.tell()
        self._size = file.seek(0, io.SEEK_END)
        self.tell = file.tell
        file.seek(place)

    def read(self, size: int = -1) -> bytes:
        left = self._size - self._file.tell()
        return self._file.read(left if size < 0 else min(size, left))

    def readline(self) -> bytes:
        return self._file.readline().replace(b"\\", b"/")


def opcodes(file: IO[bytes]) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    """The opcodes of a pickle from the file's position, each with its argument and place; nothing is run.

    Raises:
        ValueError, UnicodeError, OverflowError, IndexError: it is damaged, or no pickle.
    """
    return pickletools.genops(cast(IO[bytes], _Bounded(file)))


def is_pickle(head: bytes) -> bool:
    """Whether a file with these first bytes is a pickle; one of protocol 0 or 1, without a mark, must be whole here."""
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":  # so may the length of a safetensors' header begin
        return head[2:3] in OPCODES
    try:
        return len(head) > 1 and any(opcode.name == "STOP" for opcode, _, _ in opcodes(io.BytesIO(head)))
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
    """Whether a file packed into this one is a pickle, or itself holds one."""
    return any(is_pickle(head) or (depth > 1 and _holds_pickle(io.BytesIO(head), depth - 1)) for head in _heads(file))


def _heads(file: IO[bytes]) -> Iterator[bytes]:
    """The first bytes of each file that is packed into this one; what is damaged is skipped."""
    for unpack in (_zip_heads, _tar_heads, partial(_stream_head, gzip.open), partial(_stream_head, lzma.open)):
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


def _stream_head(unpack: Callable[..., Any], file: IO[bytes]) -> Iterator[bytes]:
    with unpack(file) as inner:
        yield inner.read(HEAD)
