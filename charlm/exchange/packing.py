"""Weights in fewer bytes: matrices as 16-bit floats, or as 8-bit whole numbers with a scale for each row."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from charlm.errors import CheckpointError

Array = np.ndarray[Any, np.dtype[np.float32]]
Bits = Literal[8, 16]
LARGEST_HALF = float(np.finfo(np.float16).max)
LARGEST_BYTE = 127


@dataclass(frozen=True)
class Packed:
    """One tensor as bytes, little-endian, row after row.

    Attributes:
        name: torch's own.
        shape: rows and columns, or the length of a vector.
        kind: f4 (32-bit floats), f2 (16-bit floats), or i1 (a 32-bit float for each row, then 8-bit whole numbers that
            are to be multiplied with their row's).
        data: the bytes.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    data: bytes = field(repr=False)


def pack(name: str, values: Array, bits: Bits) -> Packed:
    """A tensor in about `bits` bits a number. Vectors, the biases, are few and stay as they are.

    Raises:
        CheckpointError: a number is too large for 16 bits.
    """
    if values.ndim == 1:
        return Packed(name, values.shape, "f4", values.astype("<f4").tobytes())
    if bits == 8:
        return Packed(name, values.shape, "i1", _bytes_of_rows(values))
    largest = float(np.abs(values).max())
    if largest > LARGEST_HALF:
        raise CheckpointError(
            f"{name} reaches {largest:,.0f}, and 16-bit numbers end at {LARGEST_HALF:,.0f}; "
            "take 8-bit ones, which have a scale for each row"
        )
    return Packed(name, values.shape, "f2", values.astype("<f2").tobytes())


def _bytes_of_rows(values: Array) -> bytes:
    """The scale of each row, its largest number by 127, and the numbers as multiples of it."""
    scales = (np.abs(values).max(axis=1, keepdims=True) / LARGEST_BYTE).astype("<f4")
    scales[scales < np.finfo(np.float32).tiny] = 1.0  # a row of zeros
    multiples = np.clip(np.rint(values / scales), -LARGEST_BYTE, LARGEST_BYTE).astype("i1")
    return bytes(scales.tobytes() + multiples.tobytes())


def unpack(kind: str, shape: tuple[int, ...], data: bytes) -> Array:
    """The numbers that a reader of packed bytes computes with."""
    if kind != "i1":
        return np.frombuffer(data, dtype=f"<{kind}").astype(np.float32).reshape(shape)
    scales = np.frombuffer(data, dtype="<f4", count=shape[0])
    multiples = np.frombuffer(data, dtype="i1", offset=scales.nbytes).reshape(shape)
    return multiples * scales[:, None]
