"""What word and byte-pair tokenizers share: the package `tokenizers`, loaded when the first of them is made."""

import os
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from charlm.tokenizer.interface import IdArray, Tokenizer, id_type, without_halves

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
