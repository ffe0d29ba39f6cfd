"""A corpus as a dataset: its tokenizer, the sizes of its parts, and its token ids, in memory or in a mapped file."""

import itertools
import mmap
import tempfile
from pathlib import Path

import numpy as np

from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.data.batches import Cut, Dataset, Sizes, split_sizes, unit_of, without_short_validation
from charlm.data.catalog import data_dir
from charlm.data.corpus import Corpus
from charlm.data.item_batches import items_dataset
from charlm.errors import ConfigError, CorpusError
from charlm.tokenizers import IdArray, Tokenizer, fit_tokenizer, id_type

MAPPED_FROM = 1 << 26  # ids that take this many bytes or more are kept in a file


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
        return without_short_validation(split_sizes(characters, cleaning.val_fraction, cleaning.test_fraction))
    if sum(held_out) > characters:
        raise CorpusError(f"{sum(held_out):,} characters are to be held out of a text that has {characters:,}")
    return without_short_validation((characters - sum(held_out), *held_out))


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
