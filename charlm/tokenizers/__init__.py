"""Tokenizers: text to ids and back, by characters, words or subwords.

A tokenizer is fitted to a text, or read from a tokenizer.json that anyone may have written: of such a file only
vocabulary and merges are taken, and checked; the rest is built from scratch.
"""

from collections.abc import Mapping
from typing import Any

from charlm.config import ModelConfig
from charlm.errors import CheckpointError
from charlm.files import is_utf8
from charlm.tokenizers.base import END, IdArray, Speller, Tokenizer, id_type
from charlm.tokenizers.characters import CharTokenizer
from charlm.tokenizers.subwords import MOST_SUBWORD, BPETokenizer
from charlm.tokenizers.words import MOST_WORD, WordTokenizer

__all__ = [
    "END", "BPETokenizer", "CharTokenizer", "IdArray", "Speller", "Tokenizer", "WordTokenizer", "fit_tokenizer",
    "id_type", "most_tokenizer_bytes", "read_tokenizer",
]  # fmt: skip

# The most bytes that one token takes in a file: a character 12, escaped; a word 6 a character; a subword 2 a byte, and
# the two halves of its merge as many again; the rest is punctuation.
_TOKEN_BYTES = {"char": 24, "word": 6 * MOST_WORD + 40, "bpe": 4 * MOST_SUBWORD + 100}
_OTHER_BYTES = 4096


def most_tokenizer_bytes(vocab_size: int, level: str = "char") -> int:
    """The most bytes that the tokenizer.json of a vocabulary can have."""
    return _OTHER_BYTES + _TOKEN_BYTES[level] * vocab_size


def fit_tokenizer(text: str, config: ModelConfig, end: int) -> Tokenizer:
    """The tokenizer for a text.

    Args:
        text: all of it.
        config: level, words, min_count, vocab_size.
        end: where the training part ends; the vocabulary of words or subwords is fitted to that alone.

    Raises:
        ConfigError: a setting leaves no vocabulary.
    """
    if config.level == "word":
        return WordTokenizer.fit(text, config.words, config.min_count, config.vocab_size, end)
    if config.level == "bpe":
        return BPETokenizer.fit(text, config.vocab_size, end)
    return CharTokenizer.fit(text)


def read_tokenizer(data: Any, config: ModelConfig) -> Tokenizer:
    """The tokenizer in the content of tokenizer.json.

    Args:
        data: parsed JSON.
        config: of the model that the ids belong to.

    Raises:
        CheckpointError: it is none, or of another model.
    """
    tokenizer: Tokenizer
    if config.level == "word":
        tokenizer = WordTokenizer(_in_order(_model(data, "WordLevel")), config.words)
    elif config.level == "bpe":
        tokenizer = _read_subwords(data)
    else:
        tokenizer = CharTokenizer.from_dict(data)
    if tokenizer.vocab_size != config.vocab_size:
        raise CheckpointError(f"its tokenizer has {tokenizer.vocab_size:,} tokens, its model {config.vocab_size:,}")
    return tokenizer


def _read_subwords(data: Any) -> BPETokenizer:
    model = _model(data, "BPE")
    merges = model.get("merges")
    if not isinstance(merges, list) or not all(map(_is_pair, merges)):
        raise CheckpointError("tokenizer.json does not hold a list of pairs under 'merges'")
    tokenizer = BPETokenizer([(first, second) for first, second in merges])
    if tokenizer.written != _in_order(model):
        raise CheckpointError("tokenizer.json holds a vocabulary that is not that of its merges")
    return tokenizer


def _model(data: Any, kind: str) -> Mapping[str, Any]:
    model = data.get("model") if isinstance(data, Mapping) else None
    if not isinstance(model, Mapping) or model.get("type") != kind:
        raise CheckpointError(f"tokenizer.json does not hold a {kind} model")
    return model


def _in_order(model: Mapping[str, Any]) -> list[str]:
    """The tokens of a vocabulary in the order of their ids, which are 0, 1, 2 and so on."""
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, Mapping):
        raise CheckpointError("tokenizer.json does not hold a vocabulary")
    by_id = {number: str(token) for token, number in vocabulary.items() if type(number) is int}
    if by_id.keys() != set(range(len(vocabulary))):
        raise CheckpointError("tokenizer.json does not number its tokens 0, 1, 2 and so on")
    tokens = [by_id[place] for place in range(len(vocabulary))]
    if not all(map(is_utf8, tokens)):
        raise CheckpointError("tokenizer.json holds half a character (a lone surrogate) among its tokens")
    return tokens


def _is_pair(merge: Any) -> bool:
    return isinstance(merge, list) and len(merge) == 2 and all(isinstance(part, str) for part in merge)
