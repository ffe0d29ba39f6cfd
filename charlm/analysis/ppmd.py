"""What a text costs PPMd, a compressor of about 2001: while it adapts to the text, and frozen before each row of it."""

import threading
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from charlm.errors import MeasurementError
from charlm.files import is_number
from charlm.training.estimate import free_memory

ORDER = 8  # bytes of context, the most
MEGABYTES = (256, 128, 64)  # of memory: the first of which half the free memory has room
MIN_ROWS = 3
ROW_BYTES = 6_000_000  # of training text are read for the rows together, which takes one to four seconds
NO_PACKAGE = "PPMd is left out: the package pyppmd is missing; pip install pyppmd brings it"

_one_at_a_time = threading.Lock()  # so that its memory is taken once


@dataclass(frozen=True)
class Ppmd:
    """What a character or a token of the held-out text costs.

    Attributes:
        adapting: read as one piece after the training text; the model goes on learning from it.
        frozen: read row by row as in a validation, each row after the training text alone.
        rows: that were read for this, spread evenly.
        all_rows: of the held-out text.
        megabytes: of memory it had.
    """

    adapting: float
    frozen: float
    rows: int
    all_rows: int
    megabytes: int

    @property
    def is_short_of_memory(self) -> bool:
        """Whether it had less than usual, and so may cost more than it would."""
        return self.megabytes < MEGABYTES[0]

    def scaled(self, factor: float) -> Self:
        """The same in another unit."""
        return replace(self, adapting=self.adapting * factor, frozen=self.frozen * factor)

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """From JSON that the fields were written as.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(value, dict) or value.keys() != cls.__dataclass_fields__.keys():
            raise ValueError("these are no costs under PPMd")
        sizes = [value[name] for name in ("rows", "all_rows", "megabytes")]
        if not all(is_number(value[name], 0) for name in ("adapting", "frozen")):
            raise ValueError("these costs under PPMd are no numbers")
        if not all(type(size) is int and size > 0 for size in sizes) or sizes[0] > sizes[1]:
            raise ValueError("these costs under PPMd have no rows or no memory")
        return cls(**value)


def check_available() -> int:
    """The megabytes of memory that PPMd may take here.

    Raises:
        MeasurementError: the package is missing, or too little memory is free.
    """
    try:
        import pyppmd  # noqa: F401
    except ImportError as error:
        raise MeasurementError(NO_PACKAGE) from error
    free = free_memory() >> 20
    for megabytes in MEGABYTES:
        if 2 * megabytes <= free:
            return megabytes
    raise MeasurementError(f"PPMd is left out: {2 * MEGABYTES[-1]} MB of memory must be free for it, {free:,} MB are")


def ppmd_costs(train_text: str, held_out_text: str, rows: int) -> Ppmd:
    """Bits per character that the held-out text adds to the training text under PPMd7 (variant H), as UTF-8.

    8 (size(train + text) - size(train)) / characters, where `text` is all of the held-out text, or one row of it. A
    row takes another pass over the training text, so of many rows some are read, spread evenly; at least three.

    Args:
        train_text: the training part; may be empty.
        held_out_text: the held-out part, at least one character.
        rows: in which a validation reads it.

    Raises:
        MeasurementError: the package is missing, or too little memory is free.
    """
    train, held_out = (text.encode("utf-8", "surrogatepass") for text in (train_text, held_out_text))
    length = -(-len(held_out_text) // max(1, rows))
    starts = range(0, len(held_out_text), length)
    most = min(len(starts), max(MIN_ROWS, ROW_BYTES // max(1, len(train))))
    chosen = [starts[place] for place in np.linspace(0, len(starts) - 1, most).round().astype(int)]
    read = [held_out_text[start : start + length] for start in chosen]
    with _one_at_a_time:
        megabytes = check_available()
        try:
            alone = _size(train, b"", megabytes)
            adapting = _size(train, held_out, megabytes) - alone
            frozen = sum(_size(train, row.encode("utf-8", "surrogatepass"), megabytes) - alone for row in read)
        except MemoryError as error:
            raise MeasurementError(f"PPMd is left out: its {megabytes} MB of memory were refused") from error
    characters = sum(len(row) for row in read)
    return Ppmd(8 * adapting / len(held_out_text), 8 * frozen / characters, len(read), len(starts), megabytes)


def _size(train: bytes, text: bytes, megabytes: int) -> int:
    """Bytes of both compressed as one; the memory is free again afterwards."""
    from pyppmd import Ppmd7Encoder

    encoder = Ppmd7Encoder(ORDER, megabytes << 20)
    return len(encoder.encode(train)) + len(encoder.encode(text)) + len(encoder.flush())
