"""Named arrays in a file of another program: safetensors, and numpy's npz, of which nothing is unpickled.

Why own code: see charlm/runs/tensor_file.py; numpy reads an array's header as Python and allocates the size it says.
"""

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charlm.errors import CheckpointError
from charlm.files import one_line, open_plain
from charlm.formats.frameworks.flax import from_flax, is_flax
from charlm.formats.frameworks.mlx import from_mlx, is_mlx
from charlm.formats.frameworks.weights import Tensors, Weights
from charlm.formats.run_zip import ZipMembers
from charlm.runs.tensor_file import ABOUT, SEAL, Header

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "U16": torch.int32, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
MOST_ARRAYS = 1_000
MOST_HEADER = 10_000  # bytes of an array's header
HEADER = re.compile(
    rb"\{'descr': '(?P<order>[<>|=]?)(?P<kind>O|[fiubcU]\d{1,6})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:\d{1,15},? ?)*)\),? ?\}\s*"
)


def read_safetensors(path: Path) -> Weights:
    """The tensors of a safetensors file and its metadata.

    Raises:
        CheckpointError: it is damaged.
    """
    tensors: Tensors = {}
    try:
        with open_plain(path) as file:
            header = Header.read(file, os.fstat(file.fileno()).st_size)
            if {ABOUT, SEAL} & header.about.keys():  # ours, but its checksum did not fit
                raise ValueError("its checksum does not fit its content, or its settings are damaged")
            if len(header.entries) > MOST_ARRAYS:
                raise ValueError(f"it has {len(header.entries):,} tensors")
            for name, entry in header.entries.items():
                data = bytearray(file.read(entry.size))
                tensors[name] = _tensor(data, DTYPES[entry.dtype], entry.shape)
            return Weights(_renamed(tensors), dict(header.about))
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {one_line(str(error), 160)}") from None


def _tensor(data: bytearray, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if not math.prod(shape):
        return torch.zeros(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).reshape(shape)


def read_npz(path: Path, most_bytes: int) -> Weights:
    """The arrays of an npz file; those of texts are facts.

    Args:
        path: of the file.
        most_bytes: that it may unpack to.

    Raises:
        CheckpointError: it is damaged, holds Python objects, or more than it may.
    """
    held = read_arrays(path, most_bytes)
    facts: dict[str, Any] = {name: value for name, value in held.items() if isinstance(value, list)}
    try:
        return Weights(_renamed({name: value for name, value in held.items() if isinstance(value, Tensor)}), facts)
    except ValueError as error:
        raise CheckpointError(f"{path.name} cannot be imported: {one_line(str(error), 160)}") from None


def read_arrays(path: Path, most_bytes: int) -> dict[str, Any]:
    """The arrays of an npz file by name: tensors, and lists of texts.

    Args:
        path: of the file.
        most_bytes: that it may unpack to.

    Raises:
        CheckpointError: as for `read_npz`.
    """
    archive = ZipMembers(path, most_bytes)
    try:
        if len(archive.names) > MOST_ARRAYS:
            raise ValueError(f"it has {len(archive.names):,} arrays")
        return {name.removesuffix(".npy"): _array(archive.read(name, most_bytes)) for name in archive.names}
    except (ValueError, EOFError, SyntaxError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {one_line(str(error), 160)}") from None
    finally:
        archive.close()


def _array(data: bytes) -> Tensor | list[str]:
    """One array of a .npy file, or the texts in one."""
    start = {b"\x93NUMPY\x01": 10, b"\x93NUMPY\x02": 12, b"\x93NUMPY\x03": 12}.get(data[:7], 0)
    size = int.from_bytes(data[8:start], "little")
    found = HEADER.fullmatch(data[start : start + size]) if start and size <= MOST_HEADER else None
    if found is None:
        raise ValueError("it holds what is no array")
    if found["kind"] == b"O":
        raise ValueError("it holds Python objects, and making such can run code; save arrays of numbers only")
    dtype = np.dtype((found["order"] + found["kind"]).decode())
    shape, rest = tuple(map(int, found["shape"].replace(b",", b" ").split())), memoryview(data)[start + size :]
    if math.prod(shape) * dtype.itemsize != len(rest) or not dtype.itemsize:
        raise ValueError("an array in it is cut off, or longer than it says")
    array = np.frombuffer(rest, dtype=dtype).reshape(shape, order="F" if found["fortran"] == b"True" else "C")
    if dtype.kind == "U":
        return [str(text) for text in array.ravel()]
    if dtype.kind not in "fiub":
        raise ValueError(f"it holds an array of {dtype.name}")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _renamed(tensors: Tensors) -> Tensors:
    """The tensors by torch's names, if they have those of another framework."""
    if is_mlx(tensors):
        return from_mlx(tensors)
    return from_flax(tensors) if is_flax(tensors) else tensors
