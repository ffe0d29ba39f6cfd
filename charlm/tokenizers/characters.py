"""Characters to ids and back, in the order of their code points; their counts, and how each is shown."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from charlm.errors import CheckpointError, CorpusError
from charlm.files import is_count, is_utf8
from charlm.tokenizers.base import END, IdArray, Tokenizer, id_type
from charlm.tokenizers.prompts import respelled

# Characters at a time, so that what is computed of them stays in the processor's cache, however long the text is.
_BLOCK = 1 << 16
# How a token that stands for no character is named, `<PAD>`.
_SPECIAL = re.compile(r"<[^<>\s]{1,30}>")


def _blocks(text: str, start: int = 0, end: int | None = None) -> Iterator[str]:
    end = len(text) if end is None else end
    for place in range(start, end, _BLOCK):
        yield text[place : min(place + _BLOCK, end)]


def _code_points(text: str) -> np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]:
    """The code points of a text, (N,), in the smallest of 1, 2 and 4 bytes that holds them all."""
    try:
        return np.frombuffer(text.encode("latin-1"), dtype=np.uint8)
    except UnicodeEncodeError:
        pairs = text.encode("utf-16-le", "surrogatepass")
    if len(pairs) == 2 * len(text):
        return np.frombuffer(pairs, dtype="<u2")
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _distinct(text: str) -> set[str]:
    """The distinct characters of a text."""
    narrow, wide = b"", np.zeros(0x110000, dtype=bool)  # Latin-1, where deleting known ones is fastest; all others
    for block in _blocks(text):
        points = _code_points(block)
        if points.itemsize == 1:
            narrow += bytes(set(points.tobytes().translate(None, narrow)))
        else:
            wide[points] = True
    return {*narrow.decode("latin-1"), *map(chr, np.flatnonzero(wide))}


def count_characters(text: str) -> list[tuple[str, int]]:
    """Characters with their counts, the most common first, ties in the order of their code points.

    Args:
        text: any text; lone surrogates are counted like other characters.

    Returns:
        (character, count) pairs; empty for an empty text.
    """
    counts = np.zeros(0, dtype=np.int64)
    for block in _blocks(text):
        found = np.bincount(_code_points(block), minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    present = np.flatnonzero(counts)
    order = present[np.argsort(-counts[present], kind="stable")]
    return [(chr(code), int(counts[code])) for code in order]


class CharSpeller:
    """See Speller."""

    def __init__(self, tokens: list[str]) -> None:
        self.take = tokens.__getitem__


class CharTokenizer(Tokenizer):
    """One id for each character; models of other programs may have ids for special tokens beside them.

    Args:
        tokens: the distinct characters in the order of their ids, and names as `<PAD>` for ids of special tokens.
        begin: the id of the special token that a model reads before every text, if there is one.
        end: the id of the one that ends a text, if there is one; it may be the same.
    """

    level = "char"

    def __init__(self, tokens: Iterable[str], begin: int | None = None, end: int | None = None) -> None:
        self.tokens = list(tokens)
        special = [place for place, token in enumerate(self.tokens) if len(token) != 1]
        if len(set(self.tokens)) != len(self.tokens) or not all(is_special(self.tokens[place]) for place in special):
            raise CheckpointError("a character tokenizer needs distinct single characters")
        if any(one is not None and one not in special for one in (begin, end)):
            raise CheckpointError("what begins or ends a text must be a special token, such as '<EOS>'")
        self.begin_id, self.end_id, self._special = begin, end, frozenset(special)
        self.silent_ids = tuple(place for place in special if place != end)
        points = _code_points("".join(token for token in self.tokens if len(token) == 1))
        # Ids by code point; unknown ones have `vocab_size`, as has the last, which stands for all beyond it.
        self._ids = np.full(int(points.max(initial=0)) + 2, self.vocab_size, dtype=id_type(self.vocab_size + 1))
        self._ids[points] = [place for place in range(self.vocab_size) if place not in self._special]

    @classmethod
    def fit(cls, text: str) -> Self:
        """The tokenizer of all characters of a text."""
        return cls(sorted(_distinct(text)))

    def encode(self, text: str, skip_unknown: bool = False) -> IdArray:
        """See Tokenizer."""
        ids = np.empty(len(text), dtype=id_type(self.vocab_size))
        end = 0
        for block in self.encode_blocks(text, skip_unknown):
            ids[end : end + len(block)] = block
            end += len(block)
        return ids[:end]

    def encode_blocks(
        self, text: str, skip_unknown: bool = False, start: int = 0, end: int | None = None
    ) -> Iterator[IdArray]:
        """See Tokenizer.

        Args:
            text: the whole text.
            skip_unknown: whether characters that are not in the vocabulary are left out.
            start: where the part begins, in characters.
            end: where it ends; None: at the end of the text.

        Raises:
            CorpusError: a character is not in the vocabulary, and `skip_unknown` is False.
        """
        for block in _blocks(text, start, end):
            ids = self._lookup(block)
            if ids.max() == self.vocab_size:
                if not skip_unknown:
                    raise CorpusError(f"this model does not know {', '.join(map(repr, self.unknown(text)[:8]))}")
                ids = ids[ids < self.vocab_size]
            yield ids.astype(id_type(self.vocab_size), copy=False)

    def count(self, text: str, start: int = 0, end: int | None = None) -> int:
        """The number of characters of a part of a text, known or not.

        Args:
            text: the whole text.
            start: where the part begins, in characters.
            end: where it ends; None: at the end of the text.
        """
        return (len(text) if end is None else end) - start

    def _lookup(self, text: str) -> IdArray:
        """Ids, and `vocab_size` for unknown characters."""
        return self._ids.take(_code_points(text), mode="clip")

    def decode(self, ids: Iterable[int]) -> str:
        """See Tokenizer."""
        return "".join([self.tokens[i] for i in ids if i not in self._special])

    def unknown(self, text: str) -> list[str]:
        """See Tokenizer."""
        found: dict[str, None] = {}
        for block in _blocks(text):
            places = np.flatnonzero(self._lookup(block) == self.vocab_size)
            found.update(dict.fromkeys(map(block.__getitem__, places)))
        return list(found)

    def spell(self, prompt: str) -> tuple[str, dict[str, str]]:
        """See Tokenizer."""
        known = set(self.tokens)
        return (prompt, {}) if known.issuperset(prompt) else respelled(prompt, known.issuperset)

    def speller(self, before: str = "") -> CharSpeller:
        """See Tokenizer."""
        return CharSpeller([self._spelled(place) for place in range(self.vocab_size)] if self._special else self.tokens)

    def grown(self, characters: Iterable[str]) -> "CharTokenizer":
        """A tokenizer that knows further characters, too: the ids there are stay, theirs follow by code point.

        Args:
            characters: distinct ones that it does not know.
        """
        return CharTokenizer([*self.tokens, *sorted(characters)], self.begin_id, self.end_id)

    def _spelled(self, place: int) -> str:
        return END if place == self.end_id else "" if place in self._special else self.tokens[place]

    def to_file(self) -> bytes:
        """See Tokenizer."""
        ends = {"begin": self.begin_id, "end": self.end_id}
        about = {
            "level": self.level,
            "tokens": self.tokens,
            **{name: one for name, one in ends.items() if one is not None},
        }
        return json.dumps(about, ensure_ascii=False).encode()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The tokenizer in the content of tokenizer.json.

        Raises:
            CheckpointError: the content is not a character tokenizer.
        """
        tokens = data.get("tokens") if isinstance(data, Mapping) else None
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise CheckpointError("tokenizer.json does not hold a list of characters under 'tokens'")
        if not is_utf8("".join(tokens)):  # no file and no page could take its text
            raise CheckpointError("tokenizer.json holds half a character (a lone surrogate) among its tokens")
        ends = [data.get("begin"), data.get("end")]
        if not all(one is None or is_count(one) for one in ends):
            raise CheckpointError("tokenizer.json names a 'begin' or 'end' that is no id")
        return cls(tokens, *ends)


def is_special(token: str) -> bool:
    """Whether a token is the name of a special one, as `<PAD>`: it stands for no character."""
    return bool(_SPECIAL.fullmatch(token)) and token.isprintable()


SIGNS = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍", "\xa0": "⍽", "\x7f": "␡"}
NAMES = {" ": "space", "\n": "line end", "\t": "tab", "\r": "carriage return", "\xa0": "no-break space"}
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")


def visible(character: str) -> str:
    """One character as something visible: `␣` for a space, `U+200B` for what has no sign; `<PAD>` as it is."""
    if len(character) > 1:
        return character
    if character in SIGNS:
        return SIGNS[character]
    if character < " ":
        return chr(0x2400 + ord(character))  # Unicode's pictures of the control codes
    kind = unicodedata.category(character)
    if kind in UNSEEN:
        return f"U+{ord(character):04X}"
    return f"◌{character}" if kind.startswith("M") else character


def visible_line(text: str, blank: str = "·") -> str:
    """A text as one visible line: spaces as `blank`, line endings and all else as `visible` has them."""
    return "".join(blank if character == " " else visible(character) for character in text)


def called(character: str) -> str:
    """The name of a character, where its sign says too little: its Unicode name or code point; `<PAD>` as it is."""
    if len(character) > 1:
        return character
    return NAMES.get(character) or unicodedata.name(character, f"U+{ord(character):04X}").lower()
