"""Subwords to ids and back: byte-pair encoding (Sennrich et al. 2016) of bytes, which can write any text."""

import codecs
import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Self

from charlm.errors import CheckpointError, ConfigError
from charlm.tokenizers.base import HuggingTokenizer, IdArray, blocks, package

BYTES = 256
MOST_SUBWORD = 32  # bytes of a token
MOST_TOKENS, CHARACTERS_A_TOKEN = 8192, 500
# The pieces of a text across which no bytes are merged: letters with the space before them, digits, signs, white space.
# Their length is bounded, so that no text makes training the tokenizer slow.
PIECE = (
    r"'(?:[sdmt]|ll|ve|re)(?![\p{L}\p{M}])| ?[\p{L}\p{M}]{1,32}| ?\p{N}{1,32}| ?[^\s\p{L}\p{M}\p{N}]{1,32}"
    r"|\s{1,32}(?!\S)|\s{1,32}"
)


def default_size(characters: int) -> int:
    """A good vocabulary size for a training text of so many characters."""
    return min(MOST_TOKENS, BYTES + characters // CHARACTERS_A_TOKEN)


@cache
def byte_signs() -> dict[str, int]:
    """The characters that stand for bytes in the package's vocabularies, in the order of their ids, and the bytes."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # the bytes that GPT-2 writes as themselves
    others = [byte for byte in range(BYTES) if byte not in plain]
    signs = {chr(byte): byte for byte in plain} | {chr(BYTES + place): byte for place, byte in enumerate(others)}
    return dict(sorted(signs.items()))


class BPETokenizer(HuggingTokenizer):
    """One id for each byte, and one for each merge of two tokens, in the order in which they were found.

    Args:
        merges: pairs of earlier tokens, written with `byte_signs`.

    Attributes:
        written: the tokens in the order of their ids, as the package writes them.
        bytes: the bytes of each token.
    """

    level = "bpe"

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        self.merges = list(merges)
        self.written = list(byte_signs())
        known = set(self.written)
        for first, second in self.merges:
            if first not in known or second not in known:
                raise CheckpointError("a subword tokenizer joins tokens that it does not have")
            if first + second in known or len(first + second) > MOST_SUBWORD:
                raise CheckpointError(f"a subword tokenizer has distinct tokens of up to {MOST_SUBWORD} bytes")
            self.written.append(first + second)
            known.add(first + second)
        self.bytes = [bytes(map(byte_signs().__getitem__, token)) for token in self.written]
        self.tokens = list(map(_shown, self.bytes))
        ids = {token: place for place, token in enumerate(self.written)}
        super().__init__(_engine(ids, self.merges))

    @classmethod
    def fit(cls, text: str, size: int = 0, end: int | None = None) -> Self:
        """The tokenizer of the most frequent pairs of a text.

        Args:
            text: the merges are found in it.
            size: of the vocabulary, the 256 bytes included; 0: `default_size`. A short text may have fewer.
            end: where the part ends in which they are found, in characters; None: at the end of the text.

        Raises:
            ConfigError: the vocabulary is too small for all bytes.
        """
        size = size or default_size(len(text) if end is None else end)
        if size < BYTES:
            raise ConfigError(f"vocab_size {size} is too small for subwords; set {BYTES} or more, or 0")
        tokenizers = package()
        engine = _engine({}, [])
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=size, min_frequency=2, initial_alphabet=list(byte_signs()), max_token_length=MOST_SUBWORD,
            special_tokens=[], show_progress=False,
        )  # fmt: skip
        engine.train_from_iterator(blocks(text, 0, end), trainer)
        return cls(_distinct(json.loads(engine.to_str())["model"]["merges"]))

    def unknown(self, text: str) -> list[str]:
        """See Tokenizer; nothing is unknown."""
        return []

    def read(self, prompt: str) -> IdArray:
        """See Tokenizer; a space at the end is left out, because the next token begins with one."""
        return self.encode(prompt[:-1] if ends_with_space(prompt) else prompt)

    def speller(self, before: str = "") -> "BPESpeller":
        """See Tokenizer."""
        return BPESpeller(self.bytes, ends_with_space(before))


class BPESpeller:
    """See Speller; bytes wait until their character is complete, and invalid ones become U+FFFD.

    Args:
        token_bytes: the bytes of each token.
        has_space: whether the text so far ends with the space that the first token may begin with.
    """

    def __init__(self, token_bytes: Sequence[bytes], has_space: bool = False) -> None:
        self._bytes, self._has_space = token_bytes, has_space
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self, chosen: int) -> str:
        """See Speller."""
        piece = self._decoder.decode(self._bytes[chosen])
        if piece and self._has_space:
            self._has_space = False
            return piece.removeprefix(" ")
        return piece


def ends_with_space(prompt: str) -> bool:
    """Whether a prompt ends with one space after something that is not white space."""
    return prompt.endswith(" ") and not prompt[-2:-1].isspace() and len(prompt) > 1


def _shown(token: bytes) -> str:
    """A token as it is shown: its text, or its bytes if they are not whole characters."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return f"<{token.hex(' ')}>"


def _distinct(merges: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first merge into each token; further ones into the same token are dropped."""
    firsts: dict[str, tuple[str, str]] = {}
    for first, second in merges:
        firsts.setdefault(first + second, (first, second))
    return list(firsts.values())


def _engine(ids: dict[str, int], merges: Sequence[tuple[str, str]]) -> Any:
    """The tokenizer of the package for a vocabulary and merges."""
    tokenizers = package()
    pre = tokenizers.pre_tokenizers
    engine = tokenizers.Tokenizer(tokenizers.models.BPE(ids, list(merges)))
    split = pre.Split(tokenizers.Regex(PIECE), "isolated")
    engine.pre_tokenizer = pre.Sequence([split, pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    engine.decoder = tokenizers.decoders.ByteLevel()
    return engine
