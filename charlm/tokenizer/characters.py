"""Text to ids and back. A character tokenizer numbers the distinct characters of a text in code point order."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from charlm.errors import CheckpointError, CorpusError

# The smallest of uint8, uint16 and int32 that holds the vocabulary.
IdArray = np.ndarray[Any, np.dtype[np.integer[Any]]]
# Characters worked on at a time: what is made of them stays in the processor's cache, whatever the text's length.
_BLOCK = 1 << 16


def id_type(vocab_size: int) -> np.dtype[np.integer[Any]]:
    """The smallest of uint8, uint16 and int32 that holds `vocab_size` different ids."""
    return np.dtype(np.uint8 if vocab_size <= 1 << 8 else np.uint16 if vocab_size <= 1 << 16 else np.int32)


def most_tokenizer_bytes(vocab_size: int) -> int:
    """How long a tokenizer.json may be: a character takes 12 bytes at most, and as much again for what is around it."""
    return 1024 + 24 * vocab_size


def _blocks(text: str) -> Iterator[str]:
    for start in range(0, len(text), _BLOCK):
        yield text[start : start + _BLOCK]


def _code_points(text: str) -> np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]:
    """The characters of `text` as numbers, (N,), in the smallest of 1, 2 and 4 bytes that fits them all."""
    try:
        return np.frombuffer(text.encode("latin-1"), dtype=np.uint8)
    except UnicodeEncodeError:
        pairs = text.encode("utf-16-le", "surrogatepass")
    if len(pairs) == 2 * len(text):
        return np.frombuffer(pairs, dtype="<u2")
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _distinct(text: str) -> set[str]:
    """The characters that occur in `text`."""
    narrow, wide = b"", np.zeros(0x110000, dtype=bool)  # Latin-1, where taking out the known ones is fastest; the rest
    for block in _blocks(text):
        points = _code_points(block)
        if points.itemsize == 1:
            narrow += bytes(set(points.tobytes().translate(None, narrow)))
        else:
            wide[points] = True
    return {*narrow.decode("latin-1"), *map(chr, np.flatnonzero(wide))}


class CharTokenizer:
    """One id a character.

    Args:
        tokens: the distinct characters; their positions are their ids.
    """

    level = "char"

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = list(tokens)
        if len(set(self.tokens)) != len(self.tokens) or any(len(token) != 1 for token in self.tokens):
            raise CheckpointError("a character tokenizer needs distinct single characters")
        points = _code_points("".join(self.tokens))
        # By code point; unknown ones have `vocab_size`, as has the last place, where all beyond it are looked up.
        self._ids = np.full(int(points.max(initial=0)) + 2, self.vocab_size, dtype=id_type(self.vocab_size + 1))
        self._ids[points] = np.arange(self.vocab_size)

    @classmethod
    def fit(cls, text: str) -> Self:
        """The tokenizer of all characters in `text`."""
        return cls(sorted(_distinct(text)))

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return len(self.tokens)

    def encode(self, text: str, skip_unknown: bool = False) -> IdArray:
        """Ids of `text`, (N,).

        Raises:
            CorpusError: a character is not known and `skip_unknown` is off.
        """
        ids = np.empty(len(text), dtype=id_type(self.vocab_size))
        end = 0
        for block in self.encode_blocks(text, skip_unknown):
            ids[end : end + len(block)] = block
            end += len(block)
        return ids[:end]

    def encode_blocks(self, text: str, skip_unknown: bool = False) -> Iterator[IdArray]:
        """As `encode`, a block of the text at a time; no more memory than for a block is taken."""
        for block in _blocks(text):
            ids = self._lookup(block)
            if ids.max() == self.vocab_size:
                if not skip_unknown:
                    raise CorpusError(f"this model does not know {', '.join(map(repr, self.unknown(text)[:8]))}")
                ids = ids[ids < self.vocab_size]
            yield ids.astype(id_type(self.vocab_size), copy=False)

    def _lookup(self, text: str) -> IdArray:
        """Ids, and `vocab_size` for unknown characters."""
        return self._ids.take(_code_points(text), mode="clip")

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`."""
        return "".join([self.tokens[i] for i in ids])

    def unknown(self, text: str) -> list[str]:
        """The distinct characters of `text` that have no id, in order of appearance."""
        found: dict[str, None] = {}
        for block in _blocks(text):
            places = np.flatnonzero(self._lookup(block) == self.vocab_size)
            found.update(dict.fromkeys(map(block.__getitem__, places)))
        return list(found)

    def to_dict(self) -> dict[str, Any]:
        """What tokenizer.json holds."""
        return {"level": self.level, "tokens": self.tokens}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """A tokenizer from tokenizer.json's content.

        Raises:
            CheckpointError: the content is not a character tokenizer.
        """
        tokens = data.get("tokens") if isinstance(data, Mapping) else None
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise CheckpointError("tokenizer.json does not hold a list of characters under 'tokens'")
        if any("\ud800" <= token <= "\udfff" for token in tokens):  # no file and no page could take its text
            raise CheckpointError("tokenizer.json holds half a character (a lone surrogate) among its tokens")
        return cls(tokens)
