"""Texts in the making: what a model reads of a prompt, where a text stops, and what is still to be written."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from charlm.config import SampleConfig
from charlm.generation.sampling import NO_TOKEN, NOT_FINITE, REMEMBERED
from charlm.tokenizers import END, Speller, Tokenizer

Ids = np.ndarray[Any, np.dtype[np.int64]]


class StopFilter:
    """Passes a text on, piece by piece, up to the first stop string, of which nothing is passed on.

    The first is the one that is complete first; of those that end at the same character, the longest. How the text is
    cut into pieces changes nothing.

    Args:
        stops: the stop strings.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops = tuple(stops)
        self.found = False
        self._held = ""  # may be the beginning of a stop string

    def copy(self) -> "StopFilter":
        """An independent copy in the same state."""
        other = StopFilter(self.stops)
        other.found, other._held = self.found, self._held
        return other

    def feed(self, piece: str) -> str:
        """The text that can be passed on after the next piece; nothing once a stop string was found."""
        if not self.stops:
            return piece
        text, self._held = self._held + piece, ""
        if self.found:
            return ""
        places = [(text.find(stop) + len(stop), text.find(stop)) for stop in self.stops if stop in text]
        if places:
            self.found = True
            return text[: min(places)[1]]
        held = max(_overlap(text, stop) for stop in self.stops)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """The text held back, at the end of the text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text are the beginning of a stop string."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


def first_id(tokenizer: Tokenizer) -> int:
    """The id read for an empty prompt: what begins a text or an item, else a line end, a space, or the first known."""
    if tokenizer.border is not None:
        return tokenizer.border
    if tokenizer.begin_id is not None:
        return tokenizer.begin_id
    for blank in ("\n", " "):
        ids = tokenizer.encode(blank, skip_unknown=True)
        if len(ids) and ids[0] != tokenizer.unk_id:
            return int(ids[0])
    return next((one for one in range(tokenizer.vocab_size) if not _is_nothing(tokenizer, one)), 0)


def _is_nothing(tokenizer: Tokenizer, token: int) -> bool:
    return token in (tokenizer.unk_id, tokenizer.end_id) or token in tokenizer.silent_ids


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> Ids:
    """The ids that a model reads of a prompt, at least one; characters without an id are skipped.

    Of a list only the last item counts, after its border.
    """
    ids = tokenizer.read(prompt).astype(np.int64)
    begins = tokenizer.border is not None or tokenizer.begin_id is not None or not len(ids)
    return last_item(np.concatenate([[first_id(tokenizer)], ids]) if begins else ids, tokenizer)


def last_item(ids: Ids, tokenizer: Tokenizer) -> Ids:
    """The ids from the last border on; all of them where there is none."""
    borders = np.flatnonzero(ids == tokenizer.border).tolist() if tokenizer.border is not None else []
    return ids[borders[-1] :] if borders else ids


def text_ids(tokenizer: Tokenizer, prompt: str, text: str) -> tuple[Ids, Ids]:
    """The ids that a model reads of a prompt, and those of a text written after it.

    Where the tokens of both together do not begin with the prompt's, because a word continues across the border, each
    is encoded by itself.

    Args:
        tokenizer: the model's.
        prompt: may be empty, then one id stands for it; see `first_id`.
        text: written after the prompt; may be empty.
    """
    if tokenizer.border is not None:
        return prompt_ids(tokenizer, prompt), tokenizer.read(text).astype(np.int64)
    before, whole = tokenizer.read(prompt), tokenizer.read(prompt + text).astype(np.int64)
    if np.array_equal(whole[: len(before)], before) and len(before):
        return prompt_ids(tokenizer, prompt), whole[len(before) :]
    return prompt_ids(tokenizer, prompt), tokenizer.read(text).astype(np.int64)


def banned_ids(tokenizer: Tokenizer, config: SampleConfig) -> tuple[int, ...]:
    """The tokens that are never written: those that stand for nothing, and the unknown one unless it may be."""
    unknown = () if config.allow_unk or tokenizer.unk_id is None else (tokenizer.unk_id,)
    return (*tokenizer.silent_ids, *unknown)


@dataclass(eq=False)
class Stream:
    """One text in the making.

    Attributes:
        tokenizer: the model's.
        unread: ids the model has not read yet, at least one.
        config: how it is written.
        rng: its own random numbers.
        left: tokens still to be written.
        speller: what each further token adds to the text.
        banned: ids that are never chosen.
        stop_filter: ends the text at a stop string, or where the model ends it.
        recent: the ids that were read last.
        state: the decoder's, after all that was read; None before the first.
        error: why it cannot continue; empty: it can.
    """

    tokenizer: Tokenizer
    unread: Ids
    config: SampleConfig
    rng: np.random.Generator
    left: int
    speller: Speller
    banned: tuple[int, ...]
    stop_filter: StopFilter
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    state: Any = None
    error: str = ""

    @classmethod
    def start(
        cls, tokenizer: Tokenizer, prompt: str, config: SampleConfig, seed: int | None = None, written: str = ""
    ) -> Self:
        """A text after `prompt`.

        Args:
            tokenizer: the model's.
            prompt: read first; characters without an id are skipped.
            config: how it is written.
            seed: instead of the config's, if given.
            written: the text written after the prompt so far; the stream continues as if it had never stopped.
        """
        before, ids = text_ids(tokenizer, prompt, written)
        bits = np.random.PCG64(config.seed if seed is None else seed)
        bits.advance(len(ids))  # a number was drawn for each of them
        rng, speller = np.random.Generator(bits), tokenizer.speller(prompt + written)
        unread, banned = last_item(np.concatenate([before, ids]), tokenizer), banned_ids(tokenizer, config)
        stops = config.stop if tokenizer.end_id is None else (*config.stop, END)
        if config.beams > 1 and tokenizer.border is not None:  # the likeliest item, not several
            stops = *stops, tokenizer.tokens[tokenizer.border]
        return cls(tokenizer, unread, config, rng, config.length, speller, banned, StopFilter(stops))

    @property
    def done(self) -> bool:
        """Whether nothing is left to write, or it failed."""
        return self.left == 0 or bool(self.error)

    def take(self, chosen: Ids) -> str:
        """Take the tokens chosen for it, up to the first NO_TOKEN; returns what they add to the text."""
        chosen = chosen[: self.left]
        valid = chosen[: int(np.argmax(chosen == NO_TOKEN))] if NO_TOKEN in chosen else chosen
        self.left -= len(valid)
        piece = self.stop_filter.feed("".join(map(self.speller.take, valid.tolist())))
        if self.stop_filter.found:
            self.left = 0
            return piece
        self.error = NOT_FINITE if len(valid) < len(chosen) else ""
        return piece + (self.stop_filter.flush() if self.done else "")
