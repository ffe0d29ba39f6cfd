"""Texts by a pretrained model: token by token with its cache, a text after the other, cut at their characters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from charlm.errors import JobError
from charlm.generation.sampling import NO_TOKEN, choose
from charlm.generation.streams import Stream

if TYPE_CHECKING:
    from charlm.pretrained.model import Pretrained

READ_AT_ONCE = 64  # tokens of a prompt, until another text has its turn
TOKENS_A_CHARACTER = 8  # at most, until a text ends that consists of nothing


class Reader:
    """Reads ids with a network, from the token that begins a text on.

    Args:
        network: transformers' module.

    Attributes:
        length: tokens read.
    """

    def __init__(self, network: Any) -> None:
        from transformers import DynamicCache

        self._network = network
        self._cache = DynamicCache(config=network.config)
        self.length = 0

    @torch.inference_mode()
    def read(self, ids: Sequence[int], logits: int = 1) -> Tensor:
        """Read ids; returns the logits after each of the last `logits` of them, (logits, V) float32."""
        given = torch.tensor([list(ids)])
        found = self._network(input_ids=given, cache=self._cache, use_cache=True, logits_to_keep=logits)
        self.length += len(ids)
        rows: Tensor = found.logits[0, -logits:].float()
        return rows


@dataclass
class Reading:
    """What a text's model has read of it.

    Attributes:
        reader: with the model's cache.
        ids: all that was read, without what begins a text.
        characters: written.
        tokens: written.
    """

    reader: Reader
    ids: list[int] = field(default_factory=list)
    characters: int = 0
    tokens: int = 0


class PretrainedDecoder:
    """Writes texts beside each other, each by itself, so that none depends on its company.

    A text ends after as many characters as its settings have tokens, or where the model ends it. Where a text becomes
    longer than the context, what was read is forgotten, and the last half of the context is read again.

    Args:
        model: that writes.
    """

    def __init__(self, model: "Pretrained") -> None:
        self._model = model

    def decode(self, streams: Sequence[Stream], steps: int) -> list[str]:
        """Let each stream write up to `steps` tokens, or read a part of its prompt; returns what that adds to each."""
        return [self._continue(stream, steps) for stream in streams]

    def _continue(self, stream: Stream, steps: int) -> str:
        if stream.config.beams > 1:
            stream.error = f"{self._model.label} writes without beam search; set beams to 1"
            return ""
        if stream.state is None:
            stream.unread = stream.unread[1:]  # what begins a text is read again and again
            stream.state = self._begin()
        if len(stream.unread) > READ_AT_ONCE:
            self._read(stream, stream.unread[:READ_AT_ONCE].tolist())
            stream.unread = stream.unread[READ_AT_ONCE:]
            return ""
        pieces = []
        for _ in range(steps):
            if not stream.done:
                pieces.append(self._write(stream))
        return "".join(pieces)

    def _begin(self) -> Reading:
        return Reading(Reader(self._model.network))

    def _write(self, stream: Stream) -> str:
        """One more token; returns what it adds to the text."""
        reading: Reading = stream.state
        try:
            row = self._read(stream, stream.unread.tolist()).double().numpy()
            token = choose(row, stream.config, stream.rng, list(stream.recent), stream.banned)
        except JobError:
            token = NO_TOKEN
        reading.tokens += 1
        stream.unread = np.array([token])
        stream.left = 2  # the end is where the characters are
        piece = stream.take(np.array([token]))
        piece = piece[: stream.config.length - reading.characters]
        reading.characters += len(piece)
        is_full = reading.characters >= stream.config.length
        if is_full or reading.tokens >= TOKENS_A_CHARACTER * stream.config.length:
            stream.left = 0
        return piece

    def _read(self, stream: Stream, ids: list[int]) -> Tensor:
        """Read the next ids of a stream; the logits after them, (V,)."""
        reading: Reading = stream.state
        stream.recent.extend(ids)
        reading.ids += ids
        begin = [self._model.tokenizer.begin] if not reading.reader.length else []
        if reading.reader.length + len(begin) + len(ids) > self._model.context:
            reading.reader = Reader(self._model.network)
            begin, ids = [self._model.tokenizer.begin], reading.ids[-(self._model.context // 2) :]
        return reading.reader.read([*begin, *ids])[0]
