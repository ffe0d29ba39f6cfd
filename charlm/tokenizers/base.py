"""What every tokenizer offers, so that training, sampling and comparing need not know what a token is."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, ClassVar, Protocol

import numpy as np

# The smallest of uint8, uint16 and int32 that holds the vocabulary.
IdArray = np.ndarray[Any, np.dtype[np.integer[Any]]]
_HALVES = re.compile("[\ud800-\udfff]")


def id_type(vocab_size: int) -> np.dtype[np.integer[Any]]:
    """The smallest of uint8, uint16 and int32 that holds `vocab_size` different ids."""
    return np.dtype(np.uint8 if vocab_size <= 1 << 8 else np.uint16 if vocab_size <= 1 << 16 else np.int32)


def without_halves(text: str) -> str:
    """A text that fits UTF-8: half characters (lone surrogates) become the sign for what cannot be shown."""
    return _HALVES.sub("\ufffd", text)


class Speller(Protocol):
    """Writes a text on, token by token; the pieces one after the other are the text."""

    def take(self, chosen: int) -> str:
        """What the token `chosen` adds to the text; "" while a character is not whole yet."""


class Tokenizer(ABC):
    """Text to ids and back.

    Attributes:
        level: char, word or bpe.
        tokens: how each id is shown.
        unk_id: the id of whatever is not in the vocabulary; None where there is no such.
    """

    level: ClassVar[str]
    tokens: list[str]
    unk_id: int | None = None

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return len(self.tokens)

    def encode(self, text: str, skip_unknown: bool = False) -> IdArray:
        """Ids of `text`, (N,).

        Raises:
            CorpusError: something in it has no id, there is none for the unknown, and `skip_unknown` is off.
        """
        nothing = np.empty(0, dtype=id_type(self.vocab_size))
        return np.concatenate([nothing, *self.encode_blocks(text, skip_unknown)])

    @abstractmethod
    def encode_blocks(
        self, text: str, skip_unknown: bool = False, start: int = 0, end: int | None = None
    ) -> Iterator[IdArray]:
        """As `encode`, of the part from `start` to `end`, a block at a time; no more memory than for a block is taken.

        A part is encoded as if the rest of the text were not there.
        """

    def count(self, text: str, start: int = 0, end: int | None = None) -> int:
        """How many ids a part of `text` has; all of it must be known."""
        return sum(len(block) for block in self.encode_blocks(text, start=start, end=end))

    def read(self, prompt: str) -> IdArray:
        """Ids of a prompt as people type it: what has no id is left out, or is the unknown."""
        return self.encode(prompt, skip_unknown=True)

    @abstractmethod
    def unknown(self, text: str) -> list[str]:
        """What of `text` is not in the vocabulary, each once, in order of appearance."""

    @abstractmethod
    def speller(self, before: str = "") -> Speller:
        """What writes a text on after `before`."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; a character whose last byte is missing is left out."""
        return "".join(map(self.speller().take, ids))

    @abstractmethod
    def to_file(self) -> bytes:
        """What tokenizer.json holds."""


# Characters given to the package at a time, about: with more it gets slower, and takes more memory.
_BLOCK = 1 << 12
# Where a text may be cut: no token of any rule reaches from a character that is seen into a blank. (The package takes
# less for blanks than Python does; these it does.)
_CUT = re.compile(r"(?<=\S)[ \t\n\r\u3000]")


def package() -> ModuleType:
    """The package `tokenizers`. It shall not start threads of its own beside a training's."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import tokenizers

    return tokenizers


def blocks(text: str, start: int = 0, end: int | None = None) -> Iterator[str]:
    """A part of a text in pieces that are encoded as they would be within the whole."""
    end = len(text) if end is None else end
    while start < end:
        cut = _CUT.search(text, min(start + _BLOCK, end), end)
        stop = cut.start() if cut else end
        yield without_halves(text[start:stop])
        start = stop


class HuggingTokenizer(Tokenizer):
    """A tokenizer of the package `tokenizers`.

    Args:
        engine: the package's own, built by this program and never from somebody's file.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def encode_blocks(
        self, text: str, skip_unknown: bool = False, start: int = 0, end: int | None = None
    ) -> Iterator[IdArray]:
        """See Tokenizer; nothing is unknown, or has an id for that."""
        kind = id_type(self.vocab_size)
        for block in blocks(text, start, end):
            [encoding] = self.engine.encode_batch_fast([block], add_special_tokens=False)
            yield np.array(encoding.ids, dtype=kind)

    def to_file(self) -> bytes:
        """What `tokenizers.Tokenizer.from_file` reads."""
        written: str = self.engine.to_str()
        return written.encode()
