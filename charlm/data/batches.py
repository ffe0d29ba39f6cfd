"""Token ids, split into train, validation and test, and cut into batches that continue where the last ended."""

import copy
import random
from collections.abc import Iterator
from typing import Self

import numpy as np

from charlm.errors import CorpusError
from charlm.tokenizers import IdArray

# Of the training, validation and test part; the held-out ones are the text's tail, in that order.
Sizes = tuple[int, int, int]
Parts = tuple[IdArray, IdArray, IdArray]

MIN_HELD_OUT = 20  # fewer held-out tokens say nothing about a model: a text that short holds none out
LONG_VALIDATION = 2_000_000  # more held-out tokens take minutes to validate on and say no more
ROW_TOKENS, MAX_ROWS = 6_000, 64  # tokens of a validation row, about; and the most rows
COUNTED = 1 << 20  # ids that are counted at a time


def split_sizes(tokens: int, val_fraction: float, test_fraction: float = 0.0) -> Sizes:
    """The sizes of the parts of a text.

    Args:
        tokens: of the whole text, or characters.
        val_fraction, test_fraction: shares that are held out, from 0 to 0.95 together.
    """
    train = int(tokens * (1.0 - val_fraction - test_fraction))
    test = tokens - int(tokens * (1.0 - test_fraction))
    return train, tokens - train - test, test


def without_short_validation(sizes: Sizes) -> Sizes:
    """The same sizes; a validation part of less than MIN_HELD_OUT is added to the training part."""
    train, val, test = sizes
    return sizes if val >= MIN_HELD_OUT else (train + val, 0, test)


class Cut:
    """How a text is split and cut into batches: all that is known of a dataset without its ids.

    Args:
        tokens: of the whole text, to be split by the fractions; or of its parts, of which the validation may be 0.
        batch_size: sequences in a batch; reduced where the text is too short for one step.
        seq_len: tokens in a sequence; reduced likewise.
        val_fraction: share held out for validation, 0 to 0.9.
        test_fraction: share at the end held out for a final test.
        unit: what tokens are called in messages.

    Attributes:
        train, val, test: tokens of each part; val is 0 where validation uses the training text itself.
        steps_per_epoch: batches in one pass.
        notes: what was reduced, and warnings, a sentence each.

    Raises:
        CorpusError: fewer than 3 tokens, or none left to train on.
    """

    def __init__(
        self,
        tokens: int | Sizes,
        batch_size: int,
        seq_len: int,
        val_fraction: float = 0.1,
        test_fraction: float = 0.0,
        unit: str = "characters",
    ) -> None:
        self.notes: list[str] = []
        if isinstance(tokens, int):
            tokens = without_short_validation(split_sizes(tokens, val_fraction, test_fraction))
        self._split(tokens, val_fraction, unit)
        self._fit_batches(batch_size, seq_len, unit)

    def _split(self, sizes: Sizes, val_fraction: float, unit: str) -> None:
        self.train, self.val, self.test = sizes
        tokens = sum(sizes)
        if tokens < 3:
            raise CorpusError(f"training needs at least 3 {unit}; this corpus has {tokens}")
        if not self.val:
            why = f"only {tokens:,} {unit}" if val_fraction else "nothing held out"
            self.notes.append(f"{why}: validation is the training text itself, so it measures memorisation")
        if self.val > LONG_VALIDATION:
            self.notes.append(
                f"every validation reads all {self.val:,} held-out {unit}; "
                f"a val_fraction of {LONG_VALIDATION / tokens:.2g} would do"
            )
        if self.train < 3:
            raise CorpusError(f"the training part has {self.train} {unit} of {tokens:,}; hold out less")

    def _fit_batches(self, batch_size: int, seq_len: int, unit: str) -> None:
        """Reduce the sequence length, then the batch size, until an epoch has a step."""
        targets = self.train - 1
        self.seq_len = min(seq_len, targets)
        self.batch_size = min(batch_size, targets // self.seq_len)
        self.steps_per_epoch = targets // (self.batch_size * self.seq_len)
        if (self.batch_size, self.seq_len) != (batch_size, seq_len):
            self.notes.append(
                f"a batch of {batch_size} x {seq_len} needs {batch_size * seq_len + 1:,} {unit}, the training part "
                f"has {targets + 1:,}: trained with {self.batch_size} x {self.seq_len}"
            )


def unit_of(level: str) -> str:
    """What the tokens of a level are called."""
    return "characters" if level == "char" else "tokens"


class Dataset(Cut):
    """The ids of one corpus, split and cut into batches.

    Args:
        ids: the whole text, (N,), in memory or mapped, to be split by the fractions; or its parts.
        batch_size: rows, see `Cut`.
        seq_len: tokens a row, see `Cut`.
        val_fraction: share held out for validation, see `Cut`.
        test_fraction: share kept for a final test, see `Cut`.
        characters: of each part, where tokens are not characters.

    Attributes:
        train_ids, val_ids, test_ids: the ids of each part.
        chars_per_token: of the training part.

    Raises:
        CorpusError: see `Cut`.
    """

    border: int | None = None  # what separates the items of a list; None: the text is no list

    def __init__(
        self,
        ids: IdArray | Parts,
        batch_size: int,
        seq_len: int,
        val_fraction: float = 0.1,
        test_fraction: float = 0.0,
        characters: Sizes | None = None,
    ) -> None:
        if isinstance(ids, tuple):
            parts = ids
        else:
            train, val, _ = without_short_validation(split_sizes(len(ids), val_fraction, test_fraction))
            parts = ids[:train], ids[train : train + val], ids[train + val :]
        sizes = len(parts[0]), len(parts[1]), len(parts[2])
        super().__init__(sizes, batch_size, seq_len, val_fraction, unit="tokens" if characters else "characters")
        self.train_ids, val_ids, self.test_ids = parts
        self.val_ids = val_ids if self.val else self.train_ids
        self.chars_per_token = characters[0] / self.train if characters else 1.0

    def with_batches(self, batch_size: int, seq_len: int) -> Self:
        """The same ids cut into other batches, which are reduced as for `Cut`; without notes."""
        other = copy.copy(self)
        other.notes = []
        other._fit_batches(batch_size, seq_len, "tokens")
        other.notes = []
        return other

    def counts(self, vocab_size: int) -> IdArray:
        """How often each token occurs in the training part, (V,); counted in blocks, as numpy widens what it counts."""
        counts = np.zeros(vocab_size, np.int64)
        for start in range(0, len(self.train_ids), COUNTED):
            counts += np.bincount(self.train_ids[start : start + COUNTED], minlength=vocab_size)
        return counts

    def begins(self, epoch: int, batch: int, seed: int | None = None) -> bool:
        """Whether the rows of a batch go on from nothing: the hidden state before it is zero."""
        return batch == 0

    def batches(self, epoch: int, start: int = 0, seed: int | None = None) -> Iterator[tuple[IdArray, IdArray]]:
        """The batches of an epoch, counted from 0, from batch `start` on.

        Row r of a batch continues where row r of the batch before ended. What does not divide evenly is left out at
        the end in even epochs and at the beginning in odd ones, so that every token is trained on.

        Args:
            epoch, start: the first batch.
            seed: draws the place of the text at which the epoch begins; it goes on at the beginning after the end.
                None: the beginning.

        Yields:
            Inputs, and targets one token later, (B, T) each.
        """
        row = self.steps_per_epoch * self.seq_len
        used = self.batch_size * row
        offset = (len(self.train_ids) - 1 - used) * (epoch % 2)
        if seed is not None:
            yield from self._wrapped_batches(offset + place_of(seed, len(self.train_ids) - 1), start)
            return
        inputs = self.train_ids[offset : offset + used].reshape(self.batch_size, row)
        targets = self.train_ids[offset + 1 : offset + 1 + used].reshape(self.batch_size, row)
        for first in range(start * self.seq_len, row, self.seq_len):
            yield inputs[:, first : first + self.seq_len], targets[:, first : first + self.seq_len]

    def _wrapped_batches(self, offset: int, start: int) -> Iterator[tuple[IdArray, IdArray]]:
        """The same from another place on; every target still is the token after its input."""
        row, pairs = self.steps_per_epoch * self.seq_len, len(self.train_ids) - 1
        rows = offset + np.arange(self.batch_size)[:, None] * row  # (B, 1)
        for first in range(start * self.seq_len, row, self.seq_len):
            places = (rows + np.arange(first, first + self.seq_len)) % pairs  # (B, T)
            yield self.train_ids[places], self.train_ids[places + 1]


def place_of(seed: int, places: int) -> int:
    """The place of a text, of so many, that a seed draws; the same for every architecture."""
    return random.Random(seed).randrange(places)


def validation_row_count(tokens: int) -> int:
    """The number of rows in which a held-out text of so many tokens is evaluated."""
    return min(MAX_ROWS, max(1, round((tokens - 1) / ROW_TOKENS)))


def validation_rows(ids: IdArray, width: int) -> Iterator[tuple[IdArray, IdArray]]:
    """A held-out text as contiguous rows (docs/background/how-it-measures.md), some columns at a time.

    Args:
        ids: of the text, (N,).
        width: columns at a time.

    Yields:
        Inputs and targets, int64 (R, `width` or fewer); inputs that pad the last row are 0, their targets -1.
    """
    predictions, rows = len(ids) - 1, validation_row_count(len(ids))
    length = -(-predictions // rows)
    starts = np.arange(rows)[:, None] * length  # (R, 1)
    for first in range(0, length, width):
        places = starts + np.arange(first, min(first + width, length))  # (R, C)
        padding = places >= predictions
        places[padding] = 0
        inputs, targets = ids[places].astype(np.int64), ids[places + 1].astype(np.int64)
        inputs[padding], targets[padding] = 0, -1
        yield inputs, targets
