"""Checkpoints of TensorFlow: NAME.index names the variables, NAME.data-00000-of-00001 holds their bytes.

The index is a table of LevelDB: a footer of two handles and a magic number, an index block of keys and handles, blocks
of entries whose keys share their beginnings. A value is a BundleEntryProto. Why own code: all else takes TensorFlow.
"""

import math
import os
import pickletools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from charlm.errors import CheckpointError
from charlm.files import one_line, open_plain
from charlm.formats.frameworks.char_rnn import from_char_rnn, is_char_rnn
from charlm.formats.frameworks.keras import from_paths
from charlm.formats.frameworks.weights import Tensors, Weights

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER = 48  # bytes
TRAILER = 5  # bytes after a block: whether it is compressed, and its checksum
MOST_INDEX, MOST_ENTRIES, MOST_DIMENSIONS = 4 << 20, 5_000, 8
DTYPES = {
    1: torch.float32,
    2: torch.float64,
    14: torch.bfloat16,
    19: torch.float16,
}  # of its DataType; others are skipped
# Where checkpoints of objects, as Keras writes them, have the name of a variable.
OBJECT = re.compile(r"(?P<path>.+)/\.ATTRIBUTES/VARIABLE_VALUE")
SLOT = re.compile(r".*(?:\.OPTIMIZER_SLOT|(?:^|/)(?:optimizer|save_counter|_CHECKPOINTABLE)\b).*")
# Opcodes of a pickle that only holds texts, as char-rnn-tensorflow's chars_vocab.pkl does.
TEXTS = ("BINUNICODE", "SHORT_BINUNICODE")
HARMLESS = (
    "PROTO", "FRAME", "MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE",
    "EMPTY_LIST", "APPENDS", "APPEND", "STOP", *TEXTS,
)  # fmt: skip
MOST_PICKLE = 1 << 20


@dataclass
class Entry:
    """Where a variable lies."""

    dtype: int = 0
    shape: list[int] = field(default_factory=list)
    shard: int = 0
    offset: int = 0
    size: int = 0


def read_tensorflow(path: Path, pickles: bool) -> Weights:
    """The variables of a checkpoint of char-rnn-tensorflow, or of a Keras model's weights.

    Args:
        path: of its index.
        pickles: whether a chars_vocab.pkl beside it may be looked at; it is not run.

    Raises:
        CheckpointError: it is damaged, its data are not beside it, or it is another model.
    """
    try:
        entries = dict(read_index(path))
        tensors = _variables(path, entries)
        chars = _pickled_texts(path.with_name("chars_vocab.pkl")) if pickles else []
        facts = {"chars": chars} if chars else {}
        if is_char_rnn(tensors):
            return Weights(from_char_rnn(tensors), facts)
        objects = {found["path"]: part for name, part in tensors.items() if (found := OBJECT.fullmatch(name))}
        if not objects:
            shown = next(iter(tensors), "nothing")
            raise ValueError(f"it has {shown[:60]!r}, and neither char-rnn's names nor those of a Keras model")
        return Weights(from_paths(objects), facts)
    except (OSError, ValueError, IndexError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path.name} cannot be imported: {one_line(str(reason), 240)}") from None


def _variables(path: Path, entries: dict[str, Entry]) -> Tensors:
    name = path.name.removesuffix(".index")
    tensors: Tensors = {}
    shards = sorted({entry.shard for key, entry in entries.items() if key})
    found = {shard: next(iter(path.parent.glob(f"{_escaped(name)}.data-{shard:05}-of-*")), None) for shard in shards}
    for key, entry in entries.items():
        if not key or entry.dtype not in DTYPES or SLOT.fullmatch(key):
            continue
        dtype, shard = DTYPES[entry.dtype], found[entry.shard]
        if shard is None:
            raise ValueError(
                f"{name}.data-{entry.shard:05}-of-.. is not beside it; take both files, or a zip of the folder"
            )
        if entry.size != math.prod(entry.shape) * dtype.itemsize or len(entry.shape) > MOST_DIMENSIONS:
            raise ValueError(f"its entry for {key[:60]!r} is damaged")
        tensors[key] = _read(shard, entry, dtype)
    return tensors


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _read(shard: Path, entry: Entry, dtype: torch.dtype) -> torch.Tensor:
    with open_plain(shard) as file:
        if entry.offset + entry.size > os.fstat(file.fileno()).st_size:
            raise ValueError(f"{shard.name} is cut off")
        file.seek(entry.offset)
        data = bytearray(file.read(entry.size))
    return torch.frombuffer(data, dtype=dtype).reshape(entry.shape) if entry.size else torch.zeros(entry.shape)


def read_index(path: Path) -> Iterator[tuple[str, Entry]]:
    """The variables by name, and under an empty name the header.

    Raises:
        ValueError, IndexError: it is damaged.
    """
    with open_plain(path) as file:
        data = file.read(MOST_INDEX + 1)
    if len(data) > MOST_INDEX or len(data) < FOOTER or data[-8:] != MAGIC:
        raise ValueError("it is no index of a checkpoint, or too long")
    footer = data[-FOOTER:]
    place = 0
    for _ in range(2):  # the handle of a block that is empty here, which is passed over
        _, place = _varint(footer, place)
    start, place = _varint(footer, place)
    size, _ = _varint(footer, place)
    count = 0
    for _, handle in _block(data, start, size):
        begin, place = _varint(handle, 0)
        length, _ = _varint(handle, place)
        for key, value in _block(data, begin, length):
            count += 1
            if count > MOST_ENTRIES:
                raise ValueError(f"it names more than {MOST_ENTRIES:,} variables")
            yield key.decode("utf-8"), _entry(value) if key else Entry()


def _block(data: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a block: key and value."""
    if start + size + TRAILER > len(data) or size < 4:
        raise ValueError("it is cut off")
    if data[start + size]:
        raise ValueError("it is compressed, as TensorFlow does not write it")
    block = data[start : start + size]
    restarts = int.from_bytes(block[-4:], "little")
    end, place, key = len(block) - 4 - 4 * restarts, 0, b""
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        length, place = _varint(block, place)
        if shared > len(key) or place + own + length > end:
            raise ValueError("its blocks are damaged")
        key = key[:shared] + block[place : place + own]
        place += own
        yield key, block[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the place after it."""
    value = 0
    for shift in range(0, 64, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("it has a number without an end")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer, by number."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield tag >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, place = _varint(message, place)
        if size is None or place + size > len(message):
            raise ValueError("its entries are damaged")
        yield tag >> 3, message[place : place + size]
        place += size


def _entry(message: bytes) -> Entry:
    """A BundleEntryProto: dtype 1, shape 2, shard 3, offset 4, size 5; a variable in slices, 7, is none of ours."""
    entry = Entry()
    for number, value in _fields(message):
        if number == 2 and isinstance(value, bytes):
            for _, dimension in _fields(value):
                sizes = dict(_fields(dimension)) if isinstance(dimension, bytes) else {}
                length = sizes.get(1, 0)
                entry.shape.append(length if isinstance(length, int) else 0)
        elif number in (1, 3, 4, 5) and isinstance(value, int):
            setattr(entry, {1: "dtype", 3: "shard", 4: "offset", 5: "size"}[number], value)
        elif number == 7:
            raise ValueError("it holds a variable in slices")
    return entry


def _pickled_texts(path: Path) -> list[str]:
    """The texts in a pickle that holds nothing else, in their order; empty if there is no such file."""
    try:
        with open_plain(path) as file:
            data = file.read(MOST_PICKLE)
        found = [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(data)]
    except (OSError, ValueError, IndexError, OverflowError):
        return []
    return [str(text) for name, text in found if name in TEXTS] if all(name in HARMLESS for name, _ in found) else []
