"""A corpus as ids: its tokenizer, how many tokens its parts have, and the dataset that a training reads."""

from charlm.catalog import data_dir
from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.corpus import Corpus
from charlm.dataset import Cut, Dataset, Sizes, character_sizes, cut_of, ids_of
from charlm.errors import ConfigError
from charlm.tokenizer import Tokenizer, fit_tokenizer


def text_sizes(corpus: Corpus, cleaning: CorpusConfig, tokenizer: Tokenizer) -> Sizes:
    """As `character_sizes`; a validation part in which there is no token to predict goes to training, too."""
    train, val, test = character_sizes(len(corpus.text), cleaning, corpus.held_out)
    if val and not _has_two(tokenizer, corpus.text, train, train + val):
        return train + val, 0, test
    return train, val, test


def _has_two(tokenizer: Tokenizer, text: str, start: int, end: int) -> bool:
    """Whether a part has at least two tokens; no more of it is encoded than tells."""
    count = 0
    for block in tokenizer.encode_blocks(text, start=start, end=end):
        count += len(block)
        if count > 1:
            return True
    return False


def token_sizes(corpus: Corpus, sizes: Sizes, tokenizer: Tokenizer) -> Sizes:
    """How many tokens the parts of a text have, each encoded by itself."""
    train, val, _ = sizes
    ends = (train, train + val, len(corpus.text))
    first, second, third = (
        tokenizer.count(corpus.text, start, end) for start, end in zip((0, *ends), ends, strict=False)
    )
    return first, second, third


def dataset_of(tokenizer: Tokenizer, corpus: Corpus, train: TrainConfig, cleaning: CorpusConfig) -> Dataset:
    """The corpus as a training reads it; `corpus` is not needed any more then.

    Raises:
        CorpusError: see `charlm.dataset.ids_of`.
    """
    sizes, folder = text_sizes(corpus, cleaning, tokenizer), data_dir()
    held_out, test = sizes[0], sizes[0] + sizes[1]
    if tokenizer.level == "char":  # one array: characters are the same wherever a text is cut
        ids = ids_of(corpus.text, tokenizer, folder)
        parts = ids[:held_out], ids[held_out:test], ids[test:]
        return Dataset(parts, train.batch_size, train.seq_len, cleaning.val_fraction)
    ends = ((0, held_out), (held_out, test), (test, len(corpus.text)))
    first, second, third = (ids_of(corpus.text, tokenizer, folder, start=start, end=end) for start, end in ends)
    return Dataset((first, second, third), train.batch_size, train.seq_len, cleaning.val_fraction, characters=sizes)


def tokenizer_for(corpus: Corpus, model: ModelConfig, cleaning: CorpusConfig) -> Tokenizer:
    """The tokenizer of a text: of all its characters, or of the words or subwords of its training part.

    Raises:
        ConfigError: a setting leaves no vocabulary, or it is not that of this text.
    """
    tokenizer = fit_tokenizer(corpus.text, model, character_sizes(len(corpus.text), cleaning, corpus.held_out)[0])
    if model.level == "char":
        check_vocabulary(tokenizer, model)
    return tokenizer


def check_vocabulary(tokenizer: Tokenizer, model: ModelConfig) -> None:
    """Refuse a number of tokens that the tokenizer does not have."""
    if model.vocab_size not in (0, tokenizer.vocab_size):
        raise ConfigError(
            f"vocab_size {model.vocab_size} does not fit: this corpus has {tokenizer.vocab_size} distinct ones"
        )


def corpus_cut(corpus: Corpus, tokenizer: Tokenizer, train: TrainConfig, cleaning: CorpusConfig) -> tuple[Cut, Sizes]:
    """How a text is cut with these settings, and how many characters each part has.

    Raises:
        CorpusError: see `Cut`.
    """
    sizes = text_sizes(corpus, cleaning, tokenizer)
    return cut_of(token_sizes(corpus, sizes, tokenizer), train, cleaning, tokenizer.level), sizes
