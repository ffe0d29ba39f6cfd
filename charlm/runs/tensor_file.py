"""Tensors in a file: safetensors with its own checksum, checked and compared before any of its data is read.

Why this is own code and not the package safetensors: that maps files into memory, and a file that is cut short while it
is mapped kills the process; reading from bytes, or writing to bytes, holds every tensor twice. Here a stranger's header
is bounded and compared with what the model needs before anything is allocated, and each tensor is read into its place;
what is written goes out in pieces, with a SHA-256 of the whole in its header. Any safetensors reader opens the files.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import torch
from torch import Tensor

from charlm import files
from charlm.errors import CheckpointError
from charlm.files import open_plain, write_atomically

# The header's entry for the file's own checksum, and what stands there while it is taken.
SEAL, UNSEALED = "sha256", "0" * 64
ABOUT = "charlm"  # the header's entry for the metadata beside the tensors
MOST_HEADER = 1 << 20
# Those that are written here.
DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.uint8: "U8",
    torch.uint16: "U16",
    torch.int32: "I32",
    torch.int64: "I64",
}
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class Entry:
    """What a header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "Entry":
        """Of a tensor, which may be on torch's meta device."""
        return cls(DTYPES[tensor.dtype], tuple(tensor.shape))

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * SIZES[self.dtype]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"[:80]


Entries = Mapping[str, Entry]


@dataclass(frozen=True)
class Header:
    """The beginning of a safetensors file whose entries fill the rest of it without gap or overlap."""

    raw: bytes
    entries: Entries
    about: Mapping[str, str]

    @classmethod
    def read(cls, file: BinaryIO, file_size: int) -> "Header":
        """The header of a file, which stands then where its data begins.

        Raises:
            ValueError: there is none, or it does not describe a file of this size.
        """
        raw = file.read(8)
        size = int.from_bytes(raw, "little")
        if len(raw) < 8 or not 0 < size <= file_size - 8:
            raise ValueError("it is cut off")
        if size > MOST_HEADER:
            raise ValueError(f"its header is said to be {size:,} bytes long; at most {MOST_HEADER:,} are read")
        raw += file.read(size)
        said = files.parsed(raw[8:].rstrip(b" "), MOST_HEADER, most_depth=3)
        if not isinstance(said, dict):
            raise ValueError("its header is no object")
        about = said.pop("__metadata__", None)
        about = {} if about is None else about  # MLX writes null
        if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
            raise ValueError("its header is damaged")
        return cls(raw, _laid_out(said, file_size - len(raw)), about)

    def metadata(self) -> dict[str, Any]:
        """What was written beside the tensors."""
        found = files.parsed(self.about.get(ABOUT, "{}"), MOST_HEADER, most_depth=4)
        return found if isinstance(found, dict) else {}

    def check_seal(self, digest: "hashlib._Hash") -> None:
        """Compare the file's SHA-256 with the one it carries; files of other programs carry none.

        Args:
            digest: started by `unsealed`, and updated with all that follows the header.

        Raises:
            ValueError: its content has changed.
        """
        said = self.about.get(SEAL)
        if said is None and self.about.keys() > {ABOUT}:
            raise ValueError("its header is damaged")
        if said is not None and digest.hexdigest() != said:
            raise ValueError("its checksum does not fit its content")

    def unsealed(self) -> "hashlib._Hash":
        """The SHA-256 of the header as it was before it was sealed."""
        return hashlib.sha256(self.raw.replace(seal_of(self.about.get(SEAL, UNSEALED)), seal_of(UNSEALED), 1))


def _laid_out(said: Mapping[str, Any], room: int) -> dict[str, Entry]:
    """The entries of a header, in the order of their places, which fill `room` bytes."""
    places: list[tuple[int, int, str, Entry]] = []
    for name, value in said.items():
        try:
            fields = files.known_fields(value, ("dtype", "shape", "data_offsets"))
            begin, end = map(_count, fields["data_offsets"])
            entry = Entry(str(fields["dtype"]), tuple(map(_count, fields["shape"])))
            if entry.dtype not in SIZES or end - begin != entry.size:
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"its entry for {name[:60]!r} is damaged") from None
        places.append((begin, end, name, entry))
    places.sort(key=lambda place: place[:2])
    at = 0
    for begin, end, name, _ in places:
        if begin != at:
            raise ValueError(f"{name[:60]!r} does not begin where the tensor before it ends")
        at = end
    if at != room:
        raise ValueError(f"it has {room:,} bytes of data where its tensors take {at:,}")
    return {name: entry for _, _, name, entry in places}


def _count(value: Any) -> int:
    if not files.is_count(value):
        raise ValueError
    return int(value)


def seal_of(digest: str) -> bytes:
    """How a checksum stands in a header."""
    return f'"{SEAL}":"{digest}"'.encode()


Made = TypeVar("Made")
BLOCK = 1 << 20  # of a file, or numbers of a tensor, looked at together


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], keep: Path | None = None
) -> None:
    """Write a file in one go.

    Args:
        path: the file; its folder exists.
        tensors: by name.
        metadata: what is written beside them, plain values.
        keep: the name that the old content gets; without it, the old content is gone.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    ordered = dict(sorted(plain.items(), key=lambda item: (-item[1].element_size(), item[0])))  # none lies astride
    head: dict[str, Any] = {"__metadata__": {ABOUT: json.dumps(metadata), SEAL: UNSEALED}}
    at = 0
    for name, tensor in ordered.items():
        entry = Entry.of(tensor)
        head[name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": (at, at + entry.size)}
        at += entry.size
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    numbers = [_bytes_of(tensor) for tensor in ordered.values() if tensor.numel()]
    write_atomically(path, sealed_pieces(len(text).to_bytes(8, "little") + text, numbers), keep)


def _bytes_of(tensor: Tensor) -> memoryview:
    """Where the numbers of a tensor are, which has some."""
    return memoryview(tensor.view(-1).numpy()).cast("B")  # type: ignore[arg-type]  # numpy's stubs know no buffers


def sealed_pieces(data: bytes, more: Sequence[memoryview] = ()) -> list[bytes | memoryview]:
    """A safetensors file, in pieces, with its own SHA-256 in its header, taken while that place holds zeros.

    Args:
        data: its beginning, at least the header.
        more: what follows.
    """
    digest = hashlib.sha256(data)
    for piece in more:
        digest.update(piece)
    place, mark = data.index(seal_of(UNSEALED)), len(seal_of(UNSEALED))
    whole = memoryview(data)
    return [whole[:place], seal_of(digest.hexdigest()), whole[place + mark :], *more]


def read_tensors(path: Path, expected: Callable[[Entries], Entries]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and the metadata beside them.

    Numbers are read into their place, so that the file is in memory once; one that is not what is expected is refused
    by its header.

    Args:
        path: the file.
        expected: the entries it must have, given those it has.

    Raises:
        CheckpointError: missing, damaged, of other names, shapes or types, or of numbers that are not finite.
    """

    def take(file: BufferedReader, header: Header) -> dict[str, Tensor]:
        _compare(header.entries, expected(header.entries))
        digest = header.unsealed()
        tensors = {name: _read_tensor(file, entry, digest) for name, entry in header.entries.items()}
        header.check_seal(digest)
        return tensors

    tensors, metadata = _opened(path, take)
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise CheckpointError(f"{path.name}: {name} holds values that are not finite numbers")
    return tensors, metadata


def _read_tensor(file: BufferedReader, entry: Entry, digest: "hashlib._Hash") -> Tensor:
    """The next tensor of a file, of one of the types that are written here."""
    tensor = torch.empty(entry.shape, dtype=next(dtype for dtype, name in DTYPES.items() if name == entry.dtype))
    if entry.size:
        place = _bytes_of(tensor)
        if file.readinto(place) < entry.size:
            raise ValueError("it is cut off")
        digest.update(place)
    return tensor


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a file whose checksum fits; its data is read and not kept.

    Raises:
        CheckpointError: missing or damaged.
    """

    def pass_by(file: BufferedReader, header: Header) -> None:
        digest = header.unsealed()
        while block := file.read(BLOCK):
            digest.update(block)
        header.check_seal(digest)

    return _opened(path, pass_by)[1]


def _opened(path: Path, take: Callable[[BufferedReader, Header], Made]) -> tuple[Made, dict[str, Any]]:
    """What `take` makes of a file whose header was read, and its metadata."""
    try:
        with open_plain(path) as file:
            header = Header.read(file, os.fstat(file.fileno()).st_size)
            return take(file, header), header.metadata()
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is missing in {path.parent.name}; the run saved no weights yet") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} in {path.parent.name} cannot be read: {error}") from error


def _compare(held: Entries, expected: Entries) -> None:
    if odd := sorted(held.keys() ^ expected.keys()):
        raise ValueError(f"{odd[0][:60]!r} is {'missing' if odd[0] in expected else 'too much'} for this model")
    for name, entry in held.items():
        if entry != expected[name]:
            raise ValueError(f"{name} is {entry}, this model needs {expected[name]}")


def is_finite(tensor: Tensor) -> bool:
    """Whether all its numbers are finite, looked at in blocks: no second tensor is made."""
    return not tensor.is_floating_point() or all(map(_all_finite, tensor.flatten().split(BLOCK)))


def _all_finite(block: Tensor) -> bool:
    return bool(torch.isfinite(block).all())
