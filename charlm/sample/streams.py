"""Texts in the making, and what writes them: several beside each other, as rows of one batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch

from charlm.config import SampleConfig
from charlm.errors import JobError
from charlm.models import LanguageModel
from charlm.models.stepping import CHOOSE, Settings, Stepper, can_step
from charlm.sample.choice import BEYOND_NUMBERS, Logits, choose
from charlm.tokenizer import CharTokenizer

Ids = np.ndarray[Any, np.dtype[np.int64]]


def first_id(tokenizer: CharTokenizer) -> int:
    """What stands before an empty prompt, unseen: a line end, else a space, else the first token."""
    known = [token for token in ("\n", " ") if not tokenizer.unknown(token)]
    return int(tokenizer.encode(known[0])[0]) if known else 0


@dataclass(eq=False)
class Stream:
    """One text in the making, a row of a batch.

    Attributes:
        unread: ids the model has not read yet, at least one.
        config: how it draws.
        rng: its own.
        left: tokens still to be written.
        state: of the model after all that was read, in the writer's form; None before the first.
        error: why it cannot go on.
    """

    unread: Ids
    config: SampleConfig
    rng: np.random.Generator
    left: int
    state: Any = None
    error: str = ""

    @classmethod
    def start(cls, tokenizer: CharTokenizer, prompt: str, config: SampleConfig, seed: int | None = None) -> Self:
        """A text after `prompt`, whose unknown characters are skipped; `seed` instead of the config's if given."""
        ids = tokenizer.encode(prompt, skip_unknown=True).astype(np.int64)
        ids = ids if len(ids) else np.array([first_id(tokenizer)])
        rng = np.random.default_rng(config.seed if seed is None else seed)
        return cls(ids, config, rng, config.length)

    @property
    def done(self) -> bool:
        """Whether nothing is left to write, or it failed."""
        return self.left == 0 or bool(self.error)

    def take(self, chosen: Ids) -> Ids:
        """Note what was chosen for it, from CHOOSE on nothing; returns what of it belongs to the text."""
        chosen = chosen[: self.left]
        valid = chosen[: int(np.argmax(chosen == CHOOSE))] if CHOOSE in chosen else chosen
        self.error = BEYOND_NUMBERS if len(valid) < len(chosen) else ""
        self.left -= len(valid)
        return valid


class Writer(Protocol):
    """A model that writes several texts beside each other."""

    def write(self, streams: Sequence[Stream], steps: int) -> list[Ids]:
        """Let each read or write up to `steps` tokens; returns what each has newly written."""


class CompiledWriter:
    """Writes with compiled loops; a text is the same bit for bit alone and beside others.

    Args:
        model: as it is now; it is not asked again.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._stepper = Stepper(model)

    def write(self, streams: Sequence[Stream], steps: int) -> list[Ids]:
        """See Writer."""
        steps = min(steps, max(len(stream.unread) - 1 + stream.left for stream in streams))
        given, draws = np.full((len(streams), steps), CHOOSE), np.zeros((len(streams), steps))
        known = [min(steps, len(stream.unread) - 1) for stream in streams]
        for row, (stream, count) in enumerate(zip(streams, known, strict=True)):
            given[row, :count] = stream.unread[1 : count + 1]
            draws[row, count:] = stream.rng.random(steps - count)
        ids = np.array([stream.unread[0] for stream in streams])
        start = self._stepper.initial_state(1)[:, :, 0]
        states = [start if stream.state is None else stream.state for stream in streams]
        settings = _settings([stream.config for stream in streams])
        written, state = self._stepper.write(settings, ids, given, draws, np.stack(states, axis=2))
        for row, stream in enumerate(streams):
            rest = stream.unread[steps:]
            stream.unread, stream.state = rest if len(rest) else written[row, -1:], state[:, :, row]
        return [
            stream.take(written[row, count:]) for row, (stream, count) in enumerate(zip(streams, known, strict=True))
        ]


def _settings(configs: Sequence[SampleConfig]) -> Settings:
    """How each row draws, for the compiled loops."""
    temperatures = [0.0 if config.greedy else config.temperature for config in configs]
    top_k, top_p = [config.top_k for config in configs], [config.top_p for config in configs]
    return Settings(np.array(temperatures), np.array(top_k, np.int64), np.array(top_p))


class TorchWriter:
    """Writes with the model's own forward pass, for GPUs and where nothing can be compiled.

    On a CPU one text after the other, so that none depends on its company; on a GPU all in one batch.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._together = self._device.type == "cuda"

    @torch.inference_mode()
    def write(self, streams: Sequence[Stream], steps: int) -> list[Ids]:
        """See Writer."""
        for stream in streams:
            if len(stream.unread) > 1:
                self._read([stream], stream.unread[None, :-1])
                stream.unread = stream.unread[-1:]
        batches = [streams] if self._together else [[stream] for stream in streams]
        written: dict[Stream, list[int]] = {stream: [] for stream in streams}
        for batch in batches:
            for _ in range(min(steps, max(stream.left for stream in batch))):
                logits = self._read(batch, np.array([stream.unread for stream in batch]))
                for stream, row in zip(batch, logits, strict=True):
                    written[stream].append(_chosen(row, stream))
                    stream.unread = np.array([max(written[stream][-1], 0)])
        return [stream.take(np.array(ids, np.int64)) for stream, ids in written.items()]

    def _read(self, batch: Sequence[Stream], ids: Ids) -> Logits:
        """Ids (B, T) -> logits after the last ones (B, V); the streams' states are those after them."""
        states = [self._model.initial_state(1) if stream.state is None else stream.state for stream in batch]
        state = tuple(torch.cat(parts, dim=1) for parts in zip(*states, strict=True))
        logits, state = self._model(torch.from_numpy(ids).to(self._device), state)
        for row, stream in enumerate(batch):
            stream.state = tuple(part[:, row : row + 1] for part in state)
        return logits[:, -1].float().cpu().numpy()


def _chosen(logits: Logits, stream: Stream) -> int:
    """The next token of a stream; CHOOSE if there is none to be had."""
    try:
        return choose(logits, stream.config, stream.rng)
    except JobError:
        return CHOOSE


def writer_for(model: LanguageModel) -> Writer:
    """The quickest way to write with a model as it is now; puts it into evaluation mode."""
    model.eval()
    return CompiledWriter(model) if can_step(model) else TorchWriter(model)
