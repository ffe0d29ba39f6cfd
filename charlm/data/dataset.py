"""A corpus as token ids: the split into train, validation and test, and batches that continue where the last ended."""

import copy
import itertools
import mmap
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.data.catalog import data_dir
from charlm.data.corpus import Corpus
from charlm.errors import ConfigError, CorpusError
from charlm.tokenizers import IdArray, Tokenizer, fit_tokenizer, id_type

# Of the training, validation and test part; the held-out ones are the text's tail, in that order.
Sizes = tuple[int, int, int]
Parts = tuple[IdArray, IdArray, IdArray]

MIN_HELD_OUT = 20  # fewer held-out tokens say nothing about a model: a text that short holds none out
LONG_VALIDATION = 2_000_000  # more held-out tokens take minutes to validate on and say no more
ROW_TOKENS, MAX_ROWS = 6_000, 64  # tokens of a validation row, about; and the most rows
COUNTED = 1 << 20  # ids that are counted at a time
MAPPED_FROM = 1 << 26  # ids that take this many bytes or more are kept in a file


def split_sizes(tokens: int, val_fraction: float, test_fraction: float = 0.0) -> Sizes:
    """The sizes of the parts of a text.

    Args:
        tokens: of the whole text, or characters.
        val_fraction, test_fraction: shares that are held out, from 0 to 0.95 together.
    """
    train = int(tokens * (1.0 - val_fraction - test_fraction))
    test = tokens - int(tokens * (1.0 - test_fraction))
    return train, tokens - train - test, test


def _without_short_validation(sizes: Sizes) -> Sizes:
    """The same sizes; a validation part of less than MIN_HELD_OUT is added to the training part."""
    train, val, test = sizes
    return sizes if val >= MIN_HELD_OUT else (train + val, 0, test)


def character_sizes(characters: int, cleaning: CorpusConfig, held_out: tuple[int, int] | None = None) -> Sizes:
    """The characters of the parts of a text, whatever its tokens are; validation may be 0.

    Args:
        characters: of the whole text.
        cleaning: the fractions to hold out.
        held_out: characters of the validation and test part that came with the text; they override the fractions.

    Raises:
        CorpusError: more is held out than there is.
    """
    if held_out is None:
        return _without_short_validation(split_sizes(characters, cleaning.val_fraction, cleaning.test_fraction))
    if sum(held_out) > characters:
        raise CorpusError(f"{sum(held_out):,} characters are to be held out of a text that has {characters:,}")
    return _without_short_validation((characters - sum(held_out), *held_out))


def ids_of(
    text: str,
    tokenizer: Tokenizer,
    folder: Path,
    mapped_from: int = MAPPED_FROM,
    start: int = 0,
    end: int | None = None,
) -> IdArray:
    """The token ids of a text, or of a part of it: in memory if they are few, else in a memory-mapped file.

    Args:
        text: the text to encode.
        tokenizer: must know all its characters.
        folder: of the file; created if need be. The file has no name there and is gone with the ids.
        mapped_from: size in bytes, at one id a character, from which the ids go into a file.
        start, end: of the part, in characters.

    Returns:
        Ids, (N,), of the smallest type that holds the vocabulary.

    Raises:
        CorpusError: a character is unknown, or the folder has no room.
    """
    end = len(text) if end is None else end
    kind = id_type(tokenizer.vocab_size)
    size = (end - start) * kind.itemsize
    blocks = tokenizer.encode_blocks(text, start=start, end=end)
    if size < max(1, mapped_from):
        return np.concatenate([np.empty(0, kind), *blocks])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            for block in blocks:
                file.write(block.data)  # not through the map: a full disk would end the process there
            file.flush()
            if not file.tell():  # white space only; an empty file cannot be mapped
                return np.empty(0, kind)
            return np.frombuffer(mmap.mmap(file.fileno(), file.tell()), dtype=kind)
    except OSError as error:
        raise CorpusError(
            f"a text this long needs {size / 1e6:,.0f} MB in {folder} while it is trained on: "
            f"{error.strerror or error}; make room there, or let CHARLM_DATA name a folder that has it"
        ) from error


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
            tokens = _without_short_validation(split_sizes(tokens, val_fraction, test_fraction))
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


def cut_of(tokens: Sizes, train: TrainConfig, cleaning: CorpusConfig, level: str = "char") -> Cut:
    """The cut of a text with these settings.

    Args:
        tokens: of each part.
        train: batch size and sequence length.
        cleaning: the fractions.
        level: char, word or bpe.

    Raises:
        CorpusError: see `Cut`.
    """
    return Cut(tokens, train.batch_size, train.seq_len, cleaning.val_fraction, unit=unit_of(level))


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
            train, val, _ = _without_short_validation(split_sizes(len(ids), val_fraction, test_fraction))
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


def text_sizes(corpus: Corpus, cleaning: CorpusConfig, tokenizer: Tokenizer) -> Sizes:
    """The characters of the parts of a text; validation is 0 where it would have no token to predict.

    Args:
        corpus: the text.
        cleaning: the fractions to hold out.
        tokenizer: must know all its characters.

    Raises:
        CorpusError: see `character_sizes`.
    """
    train, val, test = character_sizes(len(corpus.text), cleaning, corpus.held_out)
    # No more of the part is encoded than shows its second token.
    tokens = itertools.chain.from_iterable(tokenizer.encode_blocks(corpus.text, start=train, end=train + val))
    if val and len(list(itertools.islice(tokens, 2))) < 2:
        return train + val, 0, test
    return train, val, test


def token_sizes(corpus: Corpus, sizes: Sizes, tokenizer: Tokenizer) -> Sizes:
    """The tokens of the parts of a text, each encoded by itself.

    Args:
        corpus: the text.
        sizes: the characters of the parts.
        tokenizer: must know all its characters.
    """
    train, val, test = (tokenizer.count(corpus.text, start, end) for start, end in _bounds(sizes))
    return train, val, test


def _bounds(sizes: Sizes) -> list[tuple[int, int]]:
    """Start and end of each part."""
    ends = list(itertools.accumulate(sizes))
    return list(itertools.pairwise((0, *ends)))


def dataset_of(tokenizer: Tokenizer, corpus: Corpus, train: TrainConfig, cleaning: CorpusConfig) -> Dataset:
    """The dataset of a corpus, which is not needed any more then.

    Args:
        tokenizer: must know all its characters.
        corpus: the text.
        train: batch size and sequence length.
        cleaning: the fractions to hold out.

    Raises:
        CorpusError: see `ids_of`.
    """
    sizes, folder = text_sizes(corpus, cleaning, tokenizer), data_dir()
    if cleaning.is_list:
        from charlm.data.item_batches import items_dataset

        return items_dataset(ids_of(corpus.text, tokenizer, folder), sizes, tokenizer, train, cleaning)
    if tokenizer.level == "char":  # one array: characters are the same wherever a text is cut
        ids = ids_of(corpus.text, tokenizer, folder)
        first, second, third = (ids[start:end] for start, end in _bounds(sizes))
        return Dataset((first, second, third), train.batch_size, train.seq_len, cleaning.val_fraction)
    first, second, third = (
        ids_of(corpus.text, tokenizer, folder, start=start, end=end) for start, end in _bounds(sizes)
    )
    return Dataset((first, second, third), train.batch_size, train.seq_len, cleaning.val_fraction, characters=sizes)


def tokenizer_for(corpus: Corpus, model: ModelConfig, cleaning: CorpusConfig) -> Tokenizer:
    """The tokenizer of a text: of all its characters, or of the words or subwords of its training part.

    Args:
        corpus: the text.
        model: level, words, min_count, vocab_size.
        cleaning: the fractions to hold out.

    Raises:
        ConfigError: a setting leaves no vocabulary, or does not fit this text.
    """
    if cleaning.is_list and model.level != "char":
        raise ConfigError(
            f"items are learned by characters, and level is {model.level!r}; set level to char, or items to none"
        )
    tokenizer = fit_tokenizer(corpus.text, model, character_sizes(len(corpus.text), cleaning, corpus.held_out)[0])
    if model.level == "char":
        check_vocabulary(tokenizer, model)
    return tokenizer


def check_vocabulary(tokenizer: Tokenizer, model: ModelConfig) -> None:
    """Raise ConfigError if the model's vocabulary, where it is set, has not the tokenizer's size."""
    if model.vocab_size not in (0, tokenizer.vocab_size):
        raise ConfigError(
            f"vocab_size {model.vocab_size} does not fit: this corpus has {tokenizer.vocab_size} distinct ones"
        )


def corpus_cut(corpus: Corpus, tokenizer: Tokenizer, train: TrainConfig, cleaning: CorpusConfig) -> tuple[Cut, Sizes]:
    """The cut of a text with these settings, and the characters of each part.

    Args:
        corpus: the text.
        tokenizer: must know all its characters.
        train: batch size and sequence length.
        cleaning: the fractions to hold out.

    Raises:
        CorpusError: see `Cut`.
    """
    sizes = text_sizes(corpus, cleaning, tokenizer)
    if cleaning.is_list:
        return dataset_of(tokenizer, corpus, train, cleaning), sizes
    return cut_of(token_sizes(corpus, sizes, tokenizer), train, cleaning, tokenizer.level), sizes
