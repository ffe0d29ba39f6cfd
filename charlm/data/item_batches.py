"""Batches of a list's items, each of which begins anew; see charlm/data/items.py."""

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np

from charlm.config import CorpusConfig, TrainConfig
from charlm.data.batches import Cut, Dataset, Parts, Sizes
from charlm.data.items import border_of
from charlm.tokenizers import IdArray, Tokenizer

WINDOW = 16  # batches whose items are sorted by length, so that little of a batch is padding
ROWS = 64  # items that are evaluated at a time
Batch = tuple[IdArray, IdArray]


def lengths_of(ids: IdArray, border: int) -> IdArray:
    """The tokens of each item of a list, (N,), its border included; what follows the last border is an item, too."""
    ends = np.flatnonzero(ids == border) + 1
    ends = ends if len(ends) and ends[-1] == len(ids) else np.append(ends, len(ids))
    return np.diff(ends, prepend=0)


class ItemCut(Cut):
    """How a list is cut into batches; see `Cut`.

    A batch has one piece of each of `batch_size` items. Items of a batch begin together, from the zero state, and end
    together: where one is shorter than the others, the rest of its row is padding. Those of more than `seq_len` tokens
    take several batches, the state carried from one to the next.

    Args:
        sizes: tokens of the parts.
        lengths: tokens of each item of the training part, its border included.
        batch_size: items in a batch; reduced where there are fewer.
        seq_len: tokens of an item in a batch, at most.
        val_fraction: see `Cut`.
    """

    def __init__(self, sizes: Sizes, lengths: IdArray, batch_size: int, seq_len: int, val_fraction: float) -> None:
        self.notes: list[str] = []
        self.lengths = lengths
        self._split(sizes, val_fraction, "characters")
        self._fit_items(batch_size, seq_len)

    def _fit_items(self, batch_size: int, seq_len: int) -> None:
        """Reduce the batch size to the number of items; count the batches of an epoch."""
        self.seq_len = min(seq_len, int(self.lengths.max()))
        self.batch_size = min(batch_size, len(self.lengths))
        if self.batch_size < batch_size:
            self.notes.append(f"a batch of {batch_size} items, the training part has {self.batch_size}")
        pieces = np.sort(self._pieces())
        self.steps_per_epoch = int(_of_batches(pieces, self.batch_size).max(1).sum())

    def _pieces(self) -> IdArray:
        """In how many batches each item is read."""
        return -(-self.lengths // self.seq_len)


def _of_batches(values: IdArray, size: int) -> IdArray:
    """Values (N,), none negative, in rows of a batch each, the last filled up with -1."""
    return np.pad(values, (0, -len(values) % size), constant_values=-1).reshape(-1, size)


class ItemDataset(ItemCut, Dataset):
    """A list as ids; see `ItemCut`.

    Args:
        parts: ids of each part.
        border: the border's id.
        batch_size, seq_len, val_fraction: see `ItemCut`.
    """

    def __init__(self, parts: Parts, border: int, batch_size: int, seq_len: int, val_fraction: float) -> None:
        train, val, test = parts
        lengths = lengths_of(train, border)
        super().__init__((len(train), len(val), len(test)), lengths, batch_size, seq_len, val_fraction)
        self.border: int = border
        self.train_ids, self.test_ids, self.chars_per_token = train, test, 1.0
        self.val_ids = val if self.val else train
        self._ends = np.cumsum(lengths)
        self._planned: tuple[int, int | None] | None = None
        self._groups: tuple[IdArray, list[int]] = (np.empty((0, 0), np.int64), [])

    def _fit_batches(self, batch_size: int, seq_len: int, unit: str) -> None:
        self._fit_items(batch_size, seq_len)
        self._planned = None

    def begins(self, epoch: int, batch: int, seed: int | None = None) -> bool:
        """Whether the items of a batch begin with it."""
        starts = self._plan(epoch, seed)[1]
        place = bisect_left(starts, batch)
        return place < len(starts) and starts[place] == batch

    def batches(self, epoch: int, start: int = 0, seed: int | None = None) -> Iterator[Batch]:
        """The batches of an epoch, from batch `start` on; the items are shuffled anew in each epoch.

        Args:
            epoch, start: the first batch.
            seed: draws another order; None: the order that follows from the epoch.

        Yields:
            Inputs, and targets one token later, (B, T) each, with T up to `seq_len`; a target of -1 is padding.
        """
        groups, starts = self._plan(epoch, seed)
        for group, first, end in zip(groups, starts, [*starts[1:], self.steps_per_epoch], strict=True):
            if end <= start:
                continue
            inputs, targets = padded_items(
                self.train_ids, self._ends, self.lengths, group[group >= 0], self.border, self.batch_size
            )
            for number in range(max(first, start) - first, end - first):
                part = slice(number * self.seq_len, (number + 1) * self.seq_len)
                yield inputs[:, part], targets[:, part]

    def _plan(self, epoch: int, seed: int | None) -> tuple[IdArray, list[int]]:
        """The items of an epoch that are read together, (groups, B), and the batch with which each group begins."""
        if (epoch, seed) != self._planned:
            rng = np.random.default_rng([epoch, 0 if seed is None else 1 + seed])
            order, pieces = rng.permutation(len(self.lengths)), self._pieces()
            order = order[np.argsort(pieces[order], kind="stable")]
            for first in range(0, len(order), WINDOW * self.batch_size):  # alike in length, and still by chance
                part = order[first : first + WINDOW * self.batch_size]
                part[:] = part[np.lexsort((self.lengths[part], pieces[part]))]
            groups = rng.permutation(_of_batches(order, self.batch_size))
            starts = np.cumsum([0, *pieces[groups].max(1, where=groups >= 0, initial=0)])[:-1].tolist()
            self._planned, self._groups = (epoch, seed), (groups, starts)
        return self._groups


def padded_items(ids: IdArray, ends: IdArray, lengths: IdArray, chosen: IdArray, border: int, rows: int) -> Batch:
    """Inputs and targets of items, (rows, T) each: the border is read first, and predicted last; -1 is padding."""
    longest = int(lengths[chosen].max())
    inputs, targets = np.zeros((rows, longest), ids.dtype), np.full((rows, longest), -1, np.int64)
    for row, item in enumerate(chosen.tolist()):
        end, length = int(ends[item]), int(lengths[item])
        targets[row, :length] = ids[end - length : end]
        inputs[row, 0], inputs[row, 1:length] = border, ids[end - length : end - 1]
    return inputs, targets


def evaluated_items(ids: IdArray, border: int, width: int) -> Iterator[tuple[bool, IdArray, IdArray]]:
    """A list in the order of its text, ROWS items beside each other, `width` columns at a time.

    Args:
        ids: (N,).
        border: the border's id.
        width: columns, at most.

    Yields:
        Whether the rows begin here, from the zero state; inputs and targets, int64 (ROWS, `width` or fewer).
    """
    lengths = lengths_of(ids, border)
    ends = np.cumsum(lengths)
    for first in range(0, len(lengths), ROWS):
        chosen = np.arange(first, min(first + ROWS, len(lengths)))
        inputs, targets = padded_items(ids, ends, lengths, chosen, border, ROWS)
        for place in range(0, inputs.shape[1], width):
            part = slice(place, place + width)
            yield place == 0, inputs[:, part].astype(np.int64), targets[:, part]


def items_dataset(
    ids: IdArray, sizes: Sizes, tokenizer: Tokenizer, train: TrainConfig, cleaning: CorpusConfig
) -> ItemDataset:
    """The dataset of a list; see `charlm.data.dataset.dataset_of`.

    Args:
        ids: of the whole text.
        sizes: of its parts.
        tokenizer: of characters.
        train: batch size and sequence length.
        cleaning: which items, and the fractions.
    """
    first, second = sizes[0], sizes[0] + sizes[1]
    [border] = tokenizer.encode(border_of(cleaning.items)).tolist()
    parts = ids[:first], ids[first:second], ids[second:]
    return ItemDataset(parts, border, train.batch_size, train.seq_len, cleaning.val_fraction)
