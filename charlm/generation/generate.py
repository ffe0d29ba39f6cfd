"""Texts from a model: one as it grows, or many at once."""

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from charlm.config import SampleConfig
from charlm.errors import JobError
from charlm.generation.beam import BeamSearch, StepModel
from charlm.generation.compiled import can_compile, compile_model
from charlm.generation.sampling import NO_TOKEN, REMEMBERED, Logits, SamplingParams, choose
from charlm.generation.streams import Ids, Stream
from charlm.models import LanguageModel
from charlm.models.kernels.matmul import ROWS
from charlm.models.kernels.plan import all_threads, team
from charlm.tokenizers import Tokenizer


class Decoder(StepModel):
    """A model that writes several texts beside each other, sampled ones and searched ones."""

    def decode(self, streams: Sequence[Stream], steps: int) -> list[str]:
        """Let each stream read or write up to `steps` tokens; returns what that adds to each text."""
        sampled = [stream for stream in streams if stream.config.beams == 1]
        pieces = dict(zip(sampled, self.sample(sampled, steps) if sampled else (), strict=True))
        for stream in streams:
            if stream.config.beams > 1:
                stream.state = stream.state or BeamSearch(self, stream)
                pieces[stream] = stream.state.advance(steps)
        return [pieces[stream] for stream in streams]

    @abstractmethod
    def sample(self, streams: Sequence[Stream], steps: int) -> list[str]:
        """As `decode`, for streams whose tokens are drawn; at least one."""


class CompiledDecoder(Decoder):
    """Writes with compiled loops; a text is the same bit for bit alone and beside others.

    Args:
        model: one that `can_compile`; copied as it is now.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = compile_model(model)

    def initial_state(self) -> Any:
        return self._model.initial_state(1)

    def read(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        for column in ids.T:
            logits, state = self._model.logits(column, state)
        return logits, state

    def select(self, state: Any, rows: Ids) -> Any:
        return tuple(part[:, :, rows] for part in state)

    def sample(self, streams: Sequence[Stream], steps: int) -> list[str]:
        steps = min(steps, max(len(stream.unread) - 1 + stream.left for stream in streams))
        given, draws = np.full((len(streams), steps), NO_TOKEN), np.zeros((len(streams), steps))
        known = [min(steps, len(stream.unread) - 1) for stream in streams]
        recent = np.full((len(streams), REMEMBERED), NO_TOKEN)  # the oldest first
        for row, (stream, count) in enumerate(zip(streams, known, strict=True)):
            given[row, :count] = stream.unread[1 : count + 1]
            draws[row, count:] = stream.rng.random(steps - count)
            recent[row, REMEMBERED - len(stream.recent) :] = stream.recent
        configs, banned = [stream.config for stream in streams], [stream.banned for stream in streams]
        params = SamplingParams.of(configs, banned, [stream.tokenizer.border for stream in streams])
        ids = np.array([stream.unread[0] for stream in streams])
        each = [self.initial_state() if stream.state is None else stream.state for stream in streams]
        states = tuple(np.concatenate(parts, axis=2) for parts in zip(*each, strict=True))
        written, state = self._model.decode(params, ids, given, draws, states, recent)
        for row, stream in enumerate(streams):
            rest = stream.unread[steps:]
            stream.recent.extend([stream.unread[0], *written[row, :-1]])
            stream.unread, stream.state = rest if len(rest) else written[row, -1:], self.select(state, np.array([row]))
        return [stream.take(chosen[count:]) for chosen, stream, count in zip(written, streams, known, strict=True)]


class TorchDecoder(Decoder):
    """Writes with the model's own forward pass, for GPUs and where nothing can be compiled.

    On a CPU one text after the other, so that none depends on its company; on a GPU all in one batch.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._device = model.device
        self._together = self._device.type != "cpu"

    def initial_state(self) -> Any:
        return self._model.initial_state(1)

    @torch.inference_mode()
    def read(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        logits, state = self._model(torch.from_numpy(ids).to(self._device), state)
        return logits[:, -1].float().cpu().numpy(), state

    def select(self, state: Any, rows: Ids) -> Any:
        return tuple(part.index_select(1, torch.from_numpy(rows).to(part.device)) for part in state)

    def sample(self, streams: Sequence[Stream], steps: int) -> list[str]:
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
                    if written[stream][-1] == stream.tokenizer.border:  # the next item begins from nothing
                        stream.state = None
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
    """The next token of a stream; NO_TOKEN if a logit is not finite."""
    try:
        return choose(logits, stream.config, stream.rng, list(stream.recent), stream.banned)
    except JobError:
        return NO_TOKEN


def decoder_for(model: LanguageModel) -> Decoder:
    """The fastest decoder of a model as it is now; puts it into evaluation mode."""
    model.eval()
    model.prepare()
    return CompiledDecoder(model) if can_compile(model) else TorchDecoder(model)


Key = TypeVar("Key", bound=Hashable)
# Tokens computed in one call: few at first, so that the first come soon; then more, with less overhead.
FIRST_STEPS, MOST_STEPS = 8, 64


def generate(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str = "", config: SampleConfig | None = None
) -> Iterator[str]:
    """Yield the text after `prompt`, a token at a time; the same seed and settings give the same text.

    Args:
        model: put into evaluation mode; as it is when the first character is asked for.
        tokenizer: the model's own.
        prompt: read first; characters the model does not know are skipped, words are read as unknown.
        config: how it is written; one text, whatever its `samples`: for several see `generate_many`.

    Raises:
        JobError: the model's numbers grew beyond all bounds.
    """
    stream = Stream.start(tokenizer, prompt, config or SampleConfig())
    decoder, steps = decoder_for(model), FIRST_STEPS
    while not stream.done:
        for piece in decoder.decode([stream], steps):
            yield from piece
        steps = min(2 * steps, MOST_STEPS)
    if stream.error:
        raise JobError(stream.error)


def generate_many(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[str], config: SampleConfig | None = None
) -> list[str]:
    """The texts after many prompts, written at once; each as `generate` writes it alone, with config.seed + its place.

    Args:
        model: put into evaluation mode.
        tokenizer: the model's own.
        prompts: one for each text; the same one many times for many samples.
        config: as for `generate`.

    Raises:
        JobError: the model's numbers grew beyond all bounds in one of them.
    """
    config, decoder = config or SampleConfig(), decoder_for(model)
    seeds = range(config.seed, config.seed + len(prompts))
    streams = [Stream.start(tokenizer, prompt, config, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
    parts = max(1, min(all_threads(), len(streams) // ROWS)) if isinstance(decoder, CompiledDecoder) else 1
    with team(parts) as share_out:
        texts = list(share_out(partial(_write_all, decoder), [streams[part::parts] for part in range(parts)]))
    error = next((stream.error for stream in streams if stream.error), "")
    if error:
        raise JobError(error)
    return [texts[place % parts][place // parts] for place in range(len(streams))]


def _write_all(decoder: Decoder, streams: Sequence[Stream]) -> list[str]:
    """The texts of these streams, written to their ends beside each other."""
    texts = dict.fromkeys(streams, "")
    while writing := [stream for stream in streams if not stream.done]:
        for stream, piece in zip(writing, decoder.decode(writing, MOST_STEPS), strict=True):
            texts[stream] += piece
    return list(texts.values())


def interleave(streams: Mapping[Key, Iterator[str]]) -> Iterator[tuple[Key, str]]:
    """Take a piece from each stream in turn, until all have ended."""
    waiting = dict(streams)
    while waiting:
        for key, stream in list(waiting.items()):
            piece = next(stream, None)
            if piece is None:
                del waiting[key]
            else:
                yield key, piece
