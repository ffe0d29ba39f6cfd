"""Text to ids and back. A character tokenizer numbers the distinct characters of a text in code point order."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from charlm.errors import CheckpointError, CorpusError

IdArray = np.ndarray[Any, np.dtype[np.int32]]


def _code_points(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The characters of `text` as numbers, (N,)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


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
        self._ids = np.full(int(points.max(initial=0)) + 1, -1, dtype=np.int32)  # by code point; -1: unknown
        self._ids[points] = np.arange(len(self.tokens), dtype=np.int32)

    @classmethod
    def fit(cls, text: str) -> Self:
        """The tokenizer of all characters in `text`."""
        present = np.unique(_code_points(text))
        return cls(chr(point) for point in present)

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return len(self.tokens)

    def _lookup(self, text: str) -> IdArray:
        points = _code_points(text)
        known = points < len(self._ids)
        return np.where(known, self._ids[np.where(known, points, 0)], np.int32(-1))

    def encode(self, text: str, skip_unknown: bool = False) -> IdArray:
        """Ids of `text`, int32 (N,).

        Raises:
            CorpusError: a character is not known and `skip_unknown` is off.
        """
        ids = self._lookup(text)
        if skip_unknown:
            return ids[ids >= 0]
        if ids.size and ids.min() < 0:
            raise CorpusError(f"this model does not know {', '.join(map(repr, self.unknown(text)[:8]))}")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`."""
        return "".join([self.tokens[i] for i in ids])

    def unknown(self, text: str) -> list[str]:
        """The distinct characters of `text` that have no id, in order of appearance."""
        return [character for character in dict.fromkeys(text) if self._lookup(character)[0] < 0]

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
        return cls(tokens)
