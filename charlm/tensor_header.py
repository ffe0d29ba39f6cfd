"""The header of a safetensors file: what it says of each tensor must fill the file, and it may carry a checksum."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

from charlm import bounded_json

# The header's entry for the file's own checksum, and what stands there while it is taken.
SEAL, UNSEALED = "sha256", "0" * 64
ABOUT = "charlm"  # the header's entry for what is told beside the tensors
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
        said = bounded_json.parsed(raw[8:].rstrip(b" "), MOST_HEADER, most_depth=3)
        if not isinstance(said, dict):
            raise ValueError("its header is no object")
        about = said.pop("__metadata__", {})
        if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
            raise ValueError("its header is damaged")
        return cls(raw, _laid_out(said, file_size - len(raw)), about)

    def told(self) -> dict[str, Any]:
        """What was written beside the tensors."""
        told = bounded_json.parsed(self.about.get(ABOUT, "{}"), MOST_HEADER, most_depth=4)
        return told if isinstance(told, dict) else {}

    def check_seal(self, digest: "hashlib._Hash") -> None:
        """Compare the file's SHA-256 with the one it carries; files of other programs carry none.

        Args:
            digest: begun by `unsealed`, and fed with all that follows the header.

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
            fields = bounded_json.known_fields(value, ("dtype", "shape", "data_offsets"))
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
    if not bounded_json.is_count(value):
        raise ValueError
    return int(value)


def seal_of(digest: str) -> bytes:
    """How a checksum stands in a header."""
    return f'"{SEAL}":"{digest}"'.encode()
