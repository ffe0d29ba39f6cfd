"""Texts in the making, and what writes them: several beside each other, as rows of one batch."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import torch

from charlm.config import SampleConfig
from charlm.errors import JobError
from charlm.generation.sampling import BEYOND_NUMBERS, REMEMBERED, Logits, choose
from charlm.models import LanguageModel
from charlm.models.kernels.decode import CHOOSE, Stepper
from charlm.models.kernels.sampling import NOTHING, Settings
from charlm.tokenizers import Speller, Tokenizer


class StopFilter:
    """Passes a text on, piece by piece, up to the first stop string, of which nothing is passed on.

    That is the one that is complete first; of those that end at the same character, the longest. How the text is cut
    into pieces changes nothing.

    Args:
        stops: the stop strings.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops = tuple(stops)
        self.found = False
        self._held = ""  # may be the beginning of a stop string

    def copy(self) -> "StopFilter":
        """One that goes on from here by itself."""
        other = StopFilter(self.stops)
        other.found, other._held = self.found, self._held
        return other

    def feed(self, piece: str) -> str:
        """What can be passed on now, after the next piece; nothing once a stop string was found."""
        if not self.stops:
            return piece
        text, self._held = self._held + piece, ""
        if self.found:
            return ""
        places = [(text.find(stop) + len(stop), text.find(stop)) for stop in self.stops if stop in text]
        if places:
            self.found = True
            return text[: min(places)[1]]
        held = max(_begun(text, stop) for stop in self.stops)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """What was held back, now that no more is to come."""
        held, self._held = self._held, ""
        return held


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of a text are the beginning of a stop string."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


Ids = np.ndarray[Any, np.dtype[np.int64]]


def first_id(tokenizer: Tokenizer) -> int:
    """What stands before an empty prompt, unseen: a line end, else a space, else the first token that is known."""
    for blank in ("\n", " "):
        ids = tokenizer.encode(blank, skip_unknown=True)
        if len(ids) and ids[0] != tokenizer.unk_id:
            return int(ids[0])
    return 1 if tokenizer.unk_id == 0 else 0


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> Ids:
    """What a model reads of a prompt, at least one token; what has no id is skipped."""
    ids = tokenizer.read(prompt).astype(np.int64)
    return ids if len(ids) else np.array([first_id(tokenizer)])


def text_ids(tokenizer: Tokenizer, prompt: str, text: str) -> tuple[Ids, Ids]:
    """What a model reads of a prompt, and what it has written of a text after it.

    Where the tokens of both together are none of the prompt's, for a word goes on across the border, each is by itself.
    """
    before, whole = prompt_ids(tokenizer, prompt), tokenizer.read(prompt + text).astype(np.int64)
    if np.array_equal(whole[: len(before)], before) and len(tokenizer.read(prompt)):
        return before, whole[len(before) :]
    return before, tokenizer.read(text).astype(np.int64)


def banned_id(tokenizer: Tokenizer, config: SampleConfig) -> int | None:
    """The token that stands for unknown ones, unless it may be written; None where there is none."""
    return None if config.allow_unk else tokenizer.unk_id


@dataclass(eq=False)
class Stream:
    """One text in the making.

    Attributes:
        tokenizer: the model's.
        unread: ids the model has not read yet, at least one.
        config: how it is written.
        rng: its own.
        left: tokens still to be written.
        speller: what each further token adds to the text.
        banned: an id that is never chosen.
        ending: looks out for stop strings.
        recent: the ids that were read last.
        state: of what writes it, after all that was read; None before the first.
        error: why it cannot go on.
    """

    tokenizer: Tokenizer
    unread: Ids
    config: SampleConfig
    rng: np.random.Generator
    left: int
    speller: Speller
    banned: int | None
    ending: StopFilter
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
            prompt: read first; what has no id is skipped.
            config: how it is written.
            seed: instead of the config's, if given.
            written: what has been written after the prompt before: the stream goes on as if it had never stopped.
        """
        before, ids = text_ids(tokenizer, prompt, written)
        bits = np.random.PCG64(config.seed if seed is None else seed)
        bits.advance(len(ids))  # a number was drawn for each of them
        rng, speller = np.random.Generator(bits), tokenizer.speller(prompt + written)
        unread, banned = np.concatenate([before, ids]), banned_id(tokenizer, config)
        return cls(tokenizer, unread, config, rng, config.length, speller, banned, StopFilter(config.stop))

    @property
    def done(self) -> bool:
        """Whether nothing is left to write, or it failed."""
        return self.left == 0 or bool(self.error)

    def take(self, chosen: Ids) -> str:
        """Note what was chosen for it, from CHOOSE on nothing; returns what that adds to the text."""
        chosen = chosen[: self.left]
        valid = chosen[: int(np.argmax(chosen == CHOOSE))] if CHOOSE in chosen else chosen
        self.left -= len(valid)
        piece = self.ending.feed("".join(map(self.speller.take, valid.tolist())))
        if self.ending.found:
            self.left = 0
            return piece
        self.error = BEYOND_NUMBERS if len(valid) < len(chosen) else ""
        return piece + (self.ending.flush() if self.done else "")


class Decoder(Protocol):
    """What writes several texts beside each other."""

    def decode(self, streams: Sequence[Stream], steps: int) -> list[str]:
        """Let each read or write up to `steps` tokens; returns what that adds to each text."""


class Reader(Protocol):
    """A model that reads, for who chooses the tokens; states are its own matter."""

    def initial_state(self) -> Any:
        """The state of one row before the first token."""

    def read(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """Ids (B, T) and the state before them -> logits after the last ones (B, V) and the state after them."""

    def select(self, state: Any, rows: Ids) -> Any:
        """The state of these rows, of which one may be named several times."""


class CompiledDecoder:
    """Writes with compiled loops; a text is the same bit for bit alone and beside others.

    Args:
        model: as it is now; it is not asked again.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._stepper = Stepper(model)

    def initial_state(self) -> Any:
        """See Reader."""
        return self._stepper.initial_state(1)

    def read(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """See Reader."""
        for column in ids.T:
            logits, state = self._stepper.logits(column, state)
        return logits, state

    def select(self, state: Any, rows: Ids) -> Any:
        """See Reader."""
        return state[:, :, rows]

    def decode(self, streams: Sequence[Stream], steps: int) -> list[str]:
        """See Decoder."""
        steps = min(steps, max(len(stream.unread) - 1 + stream.left for stream in streams))
        given, draws = np.full((len(streams), steps), CHOOSE), np.zeros((len(streams), steps))
        known = [min(steps, len(stream.unread) - 1) for stream in streams]
        for row, (stream, count) in enumerate(zip(streams, known, strict=True)):
            given[row, :count] = stream.unread[1 : count + 1]
            draws[row, count:] = stream.rng.random(steps - count)
        ids = np.array([stream.unread[0] for stream in streams])
        start = self.initial_state()[:, :, 0]
        states = [start if stream.state is None else stream.state for stream in streams]
        plan = _settings(streams), ids, given, draws, np.stack(states, axis=2), _recent(streams)
        written, state = self._stepper.decode(*plan)
        for row, stream in enumerate(streams):
            rest = stream.unread[steps:]
            stream.recent.extend([stream.unread[0], *written[row, :-1]])
            stream.unread, stream.state = rest if len(rest) else written[row, -1:], state[:, :, row]
        return [
            stream.take(written[row, count:]) for row, (stream, count) in enumerate(zip(streams, known, strict=True))
        ]


def _settings(streams: Sequence[Stream]) -> Settings:
    """How each row draws, for the compiled loops."""
    configs = [stream.config for stream in streams]
    banned = [NOTHING if stream.banned is None else stream.banned for stream in streams]
    return Settings(
        np.array([0.0 if config.greedy else config.temperature for config in configs]),
        np.array([config.top_k for config in configs], np.int64),
        np.array([config.top_p for config in configs]),
        np.array([config.min_p for config in configs]),
        np.array([config.repetition_penalty for config in configs]),
        np.array(banned, np.int64),
    )


def _recent(streams: Sequence[Stream]) -> Ids:
    """The ids each row has read last, (B, REMEMBERED), the oldest first."""
    recent = np.full((len(streams), REMEMBERED), NOTHING)
    for row, stream in zip(recent, streams, strict=True):
        row[REMEMBERED - len(stream.recent) :] = stream.recent
    return recent


class TorchDecoder:
    """Writes with the model's own forward pass, for GPUs and where nothing can be compiled.

    On a CPU one text after the other, so that none depends on its company; on a GPU all in one batch.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._device = model.device
        self._together = self._device.type == "cuda"

    def initial_state(self) -> Any:
        """See Reader."""
        return self._model.initial_state(1)

    @torch.inference_mode()
    def read(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """See Reader."""
        logits, state = self._model(torch.from_numpy(ids).to(self._device), state)
        return logits[:, -1].float().cpu().numpy(), state

    def select(self, state: Any, rows: Ids) -> Any:
        """See Reader."""
        chosen = torch.from_numpy(rows).to(self._device)
        return tuple(part.index_select(1, chosen) for part in state)

    def decode(self, streams: Sequence[Stream], steps: int) -> list[str]:
        """See Decoder."""
        for stream in streams:
            if len(stream.unread) > 1:
                self._step([stream], stream.unread[None, :-1])
                stream.unread = stream.unread[-1:]
        batches = [streams] if self._together else [[stream] for stream in streams]
        written: dict[Stream, list[int]] = {stream: [] for stream in streams}
        for batch in batches:
            for _ in range(min(steps, max(stream.left for stream in batch))):
                logits = self._step(batch, np.array([stream.unread for stream in batch]))
                for stream, row in zip(batch, logits, strict=True):
                    written[stream].append(_chosen(row, stream))
                    stream.unread = np.array([max(written[stream][-1], 0)])
        return [stream.take(np.array(ids, np.int64)) for stream, ids in written.items()]

    def _step(self, batch: Sequence[Stream], ids: Ids) -> Logits:
        """Ids (B, T) -> logits after the last ones (B, V); the streams' states are those after them."""
        states = [self.initial_state() if stream.state is None else stream.state for stream in batch]
        state = tuple(torch.cat(parts, dim=1) for parts in zip(*states, strict=True)) if len(batch) > 1 else states[0]
        logits, state = self.read(ids, state)
        for row, stream in enumerate(batch):
            stream.state = tuple(part[:, row : row + 1] for part in state)
            stream.recent.extend(ids[row].tolist())
        return logits


def _chosen(logits: Logits, stream: Stream) -> int:
    """The next token of a stream; CHOOSE if there is none to be had."""
    try:
        return choose(logits, stream.config, stream.rng, list(stream.recent), stream.banned)
    except JobError:
        return CHOOSE
