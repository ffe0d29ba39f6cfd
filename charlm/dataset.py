"""A text as an id stream: its split into train, validation and test, and batches that carry on where the last ended."""

from collections.abc import Iterator

import numpy as np

from charlm.errors import CorpusError
from charlm.tokenizer import IdArray

# Fewer held-out tokens than this say nothing about a model; the text is then too short to hold any out.
MIN_HELD_OUT = 20
# Validation rows (DESIGN.md): about this long, at least 1, at most 64.
ROW_TOKENS = 6_000
MAX_ROWS = 64


def split_sizes(tokens: int, val_fraction: float, test_fraction: float = 0.0) -> tuple[int, int, int]:
    """How many tokens train, validation and test get; the two held-out parts are the text's tail, in that order."""
    train = int(tokens * (1.0 - val_fraction - test_fraction))
    test = tokens - int(tokens * (1.0 - test_fraction))
    return train, tokens - train - test, test


def fitted_sizes(tokens: int, val_fraction: float, test_fraction: float = 0.0) -> tuple[int, int, int]:
    """As `split_sizes`; a validation part too short to say anything goes to training, and is then 0."""
    train, val, test = split_sizes(tokens, val_fraction, test_fraction)
    return (train, val, test) if val >= MIN_HELD_OUT else (train + val, 0, test)


class Dataset:
    """The ids of one corpus, split and cut into batches.

    Args:
        ids: the whole text, int32 (N,).
        batch_size: rows read side by side; made smaller where the text would leave no step.
        seq_len: tokens a row and step; made smaller likewise.
        val_fraction: share held out for validation, 0 to 0.9.
        test_fraction: share at the end for a final test.

    Raises:
        CorpusError: fewer than 3 tokens, or none left to train on.
    """

    def __init__(
        self, ids: IdArray, batch_size: int, seq_len: int, val_fraction: float = 0.1, test_fraction: float = 0.0
    ) -> None:
        self.notes: list[str] = []
        self._split(ids, val_fraction, test_fraction)
        self._fit_batches(batch_size, seq_len)

    def _split(self, ids: IdArray, val_fraction: float, test_fraction: float) -> None:
        if len(ids) < 3:
            raise CorpusError(f"a training needs at least 3 characters; this corpus has {len(ids)}")
        train, val, test = fitted_sizes(len(ids), val_fraction, test_fraction)
        if not val:
            why = f"only {len(ids):,} characters" if val_fraction else "nothing held out"
            self.notes.append(f"{why}: validation is the training text itself, so it measures learning by heart")
        self.train_ids = ids[:train]
        self.val_ids = ids[train : train + val] if val else self.train_ids
        self.test_ids = ids[len(ids) - test :]
        if train < 3:
            raise CorpusError(f"the training part has {train} characters of {len(ids):,}; hold out less")

    def _fit_batches(self, batch_size: int, seq_len: int) -> None:
        """Shrink rows, then their number, until an epoch has a step; say so."""
        targets = len(self.train_ids) - 1
        self.seq_len = min(seq_len, targets)
        self.batch_size = min(batch_size, targets // self.seq_len)
        self.steps_per_epoch = targets // (self.batch_size * self.seq_len)
        if (self.batch_size, self.seq_len) != (batch_size, seq_len):
            self.notes.append(
                f"a batch of {batch_size} x {seq_len} needs {batch_size * seq_len + 1:,} characters, the training part "
                f"has {targets + 1:,}: trained with {self.batch_size} x {self.seq_len}"
            )

    def batches(self, epoch: int, start: int = 0) -> Iterator[tuple[IdArray, IdArray]]:
        """Inputs and targets one later, int32 (B, T) each, from batch `start` of `epoch` on.

        Row r of a batch goes on where row r of the batch before ended. What does not divide evenly is left out at
        the end in even epochs and at the beginning in odd ones, so that no character is never learned.
        """
        row = self.steps_per_epoch * self.seq_len
        used = self.batch_size * row
        offset = (len(self.train_ids) - 1 - used) * (epoch % 2)
        inputs = self.train_ids[offset : offset + used].reshape(self.batch_size, row)
        targets = self.train_ids[offset + 1 : offset + 1 + used].reshape(self.batch_size, row)
        for first in range(start * self.seq_len, row, self.seq_len):
            yield inputs[:, first : first + self.seq_len], targets[:, first : first + self.seq_len]


def validation_rows(ids: IdArray) -> tuple[IdArray, IdArray]:
    """A held-out text as contiguous rows: inputs and targets, int32 (R, L); targets that pad the last row are -1."""
    predictions = len(ids) - 1
    rows = min(MAX_ROWS, max(1, round(predictions / ROW_TOKENS)))
    length = -(-predictions // rows)
    inputs = np.zeros((rows, length), dtype=np.int32)
    targets = np.full((rows, length), -1, dtype=np.int32)
    inputs.reshape(-1)[:predictions] = ids[:-1]
    targets.reshape(-1)[:predictions] = ids[1:]
    return inputs, targets
