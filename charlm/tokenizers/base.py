"""The interface of all tokenizers, so that training and generation need not know what a token is."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, ClassVar, Protocol

import numpy as np

# What a speller adds for `end_id`: a code point that Unicode assigns to no character; no text that is read holds it.
END = "\uffff"
IdArray = np.ndarray[Any, np.dtype[np.integer[Any]]]  # of `id_type`
_HALVES = re.compile("[\ud800-\udfff]")
# Characters given to the package at a time, about: with more it gets slower and takes more memory.
_BLOCK = 1 << 12
# Where a text may be split: no token of any rule extends from a visible character into white space. (What the package
# takes for white space is less than what Python does; these characters are.)
_SPLIT = re.compile(r"(?<=\S)[ \t\n\r\u3000]")


def id_type(vocab_size: int) -> np.dtype[np.integer[Any]]:
    """The smallest of uint8, uint16 and int32 that holds `vocab_size` different ids."""
    return np.dtype(np.uint8 if vocab_size <= 1 << 8 else np.uint16 if vocab_size <= 1 << 16 else np.int32)


def without_halves(text: str) -> str:
    """A text that fits UTF-8: lone surrogates become U+FFFD."""
    return _HALVES.sub("\ufffd", text)


class Speller(Protocol):
    """Turns tokens into text, one by one, after a text that is there already."""

    def take(self, chosen: int) -> str:
        """What the next token adds to the text: empty while a character is incomplete, END for `end_id`."""


class Tokenizer(ABC):
    """Text to ids and back.

    Attributes:
        level: char, word or bpe.
        tokens: the tokens as they are shown, in the order of their ids.
        unk_id: the id of what is not in the vocabulary; None if there is no such id.
        border: the id between the items of a list, which is read from the zero state; None: its texts are no lists.
        begin_id: the id that a model reads before every text; None if there is no such id.
        end_id: the id that ends a text when it is drawn; None if there is no such id.
        silent_ids: ids that stand for no text and are never written, such as padding; `end_id` is none of them.
    """

    level: ClassVar[str]
    tokens: list[str]
    unk_id: int | None = None
    border: int | None = None
    begin_id: int | None = None
    end_id: int | None = None
    silent_ids: Sequence[int] = ()

    @property
    def vocab_size(self) -> int:
        """The number of different ids."""
        return len(self.tokens)

    def encode(self, text: str, skip_unknown: bool = False) -> IdArray:
        """The ids of a text, (N,).

        Args:
            text: to encode.
            skip_unknown: whether what has no id is left out where there is no `unk_id`.

        Raises:
            CorpusError: something has no id, there is no `unk_id`, and `skip_unknown` is False.
        """
        nothing = np.empty(0, dtype=id_type(self.vocab_size))
        return np.concatenate([nothing, *self.encode_blocks(text, skip_unknown)])

    @abstractmethod
    def encode_blocks(
        self, text: str, skip_unknown: bool = False, start: int = 0, end: int | None = None
    ) -> Iterator[IdArray]:
        """The ids of a part of a text, a block at a time, in the memory of one block.

        Args:
            text: the whole text.
            skip_unknown: see `encode`.
            start, end: of the part, in characters; it is encoded as if the rest of the text were not there.

        Yields:
            Ids, (N,), of one block after the other.

        Raises:
            CorpusError: see `encode`.
        """

    def count(self, text: str, start: int = 0, end: int | None = None) -> int:
        """The number of ids of a part of a text.

        Args:
            text: the whole text.
            start: where the part begins, in characters.
            end: where it ends; None: at the end of the text.

        Raises:
            CorpusError: something has no id, and there is no `unk_id`.
        """
        return sum(len(block) for block in self.encode_blocks(text, start=start, end=end))

    def spell(self, prompt: str) -> tuple[str, dict[str, str]]:
        """A prompt as people type it, spelled with what the vocabulary has, and what was replaced by what."""
        return prompt, {}

    def read(self, prompt: str) -> IdArray:
        """The ids of a prompt, respelled by `spell`: what still has no id is left out, or gets `unk_id`."""
        return self.encode(self.spell(prompt)[0], skip_unknown=True)

    @abstractmethod
    def unknown(self, text: str) -> list[str]:
        """The parts of a text that are not in the vocabulary, each once, in order of appearance."""

    @abstractmethod
    def speller(self, before: str = "") -> Speller:
        """A speller that continues the text `before`."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; an incomplete character at the end is left out."""
        return "".join(map(self.speller().take, ids))

    @abstractmethod
    def to_file(self) -> bytes:
        """The content of tokenizer.json."""


def package() -> ModuleType:
    """The package `tokenizers`, set not to start threads of its own beside those of a training."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import tokenizers

    return tokenizers


def blocks(text: str, start: int = 0, end: int | None = None) -> Iterator[str]:
    """A part of a text in pieces whose tokens are those of the part.

    Args:
        text: the whole text.
        start, end: of the part, in characters.
    """
    end = len(text) if end is None else end
    while start < end:
        split = _SPLIT.search(text, min(start + _BLOCK, end), end)
        stop = split.start() if split else end
        yield without_halves(text[start:stop])
        start = stop


class HuggingTokenizer(Tokenizer):
    """A tokenizer of the package `tokenizers`.

    Args:
        engine: the package's own object, which is never read from an uploaded file.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def encode_blocks(
        self, text: str, skip_unknown: bool = False, start: int = 0, end: int | None = None
    ) -> Iterator[IdArray]:
        """See Tokenizer; what is unknown has an id.

        Args:
            text: the whole text.
            skip_unknown: without effect.
            start: where the part begins, in characters.
            end: where it ends; None: at the end of the text.
        """
        kind = id_type(self.vocab_size)
        for block in blocks(text, start, end):
            [encoding] = self.engine.encode_batch_fast([block], add_special_tokens=False)
            yield np.array(encoding.ids, dtype=kind)

    def to_file(self) -> bytes:
        """See Tokenizer; `tokenizers.Tokenizer.from_file` can read it."""
        written: str = self.engine.to_str()
        return written.encode()
