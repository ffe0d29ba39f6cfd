"""Texts from a model: one as it grows, or many at once."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from charlm.config import SampleConfig
from charlm.errors import JobError
from charlm.generation.beam import BeamSearch
from charlm.generation.streams import CompiledDecoder, Decoder, Stream, TorchDecoder
from charlm.models import LanguageModel
from charlm.models.kernels.decode import can_step
from charlm.models.kernels.matmul import ROWS
from charlm.models.kernels.plan import all_threads, team
from charlm.tokenizers import Tokenizer


class ModelDecoder:
    """Writes every kind of text.

    Args:
        own: draws, and reads for the searches.
    """

    def __init__(self, own: CompiledDecoder | TorchDecoder) -> None:
        self._own = own
        self.is_compiled = isinstance(own, CompiledDecoder)

    def decode(self, streams: Sequence[Stream], steps: int) -> list[str]:
        """See Decoder."""
        drawn = [stream for stream in streams if stream.config.beams == 1]
        pieces = dict(zip(drawn, self._own.decode(drawn, steps) if drawn else (), strict=True))
        for stream in streams:
            if stream.config.beams > 1:
                stream.state = stream.state or BeamSearch(self._own, stream)
                pieces[stream] = stream.state.go_on(steps)
        return [pieces[stream] for stream in streams]


def decoder_for(model: LanguageModel) -> ModelDecoder:
    """The quickest way to write with a model as it is now; puts it into evaluation mode."""
    model.eval()
    model.prepare()
    return ModelDecoder(CompiledDecoder(model) if can_step(model) else TorchDecoder(model))


Key = TypeVar("Key", bound=Hashable)
# Tokens computed in one call: the first ones soon, later ones with little said between them.
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
    writer, steps = decoder_for(model), FIRST_STEPS
    while not stream.done:
        for piece in writer.decode([stream], steps):
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
    config, writer = config or SampleConfig(), decoder_for(model)
    seeds = range(config.seed, config.seed + len(prompts))
    streams = [Stream.start(tokenizer, prompt, config, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
    parts = max(1, min(all_threads(), len(streams) // ROWS)) if writer.is_compiled else 1
    with team(parts) as share_out:
        texts = list(share_out(partial(_write_all, writer), [streams[part::parts] for part in range(parts)]))
    error = next((stream.error for stream in streams if stream.error), "")
    if error:
        raise JobError(error)
    return [texts[place % parts][place // parts] for place in range(len(streams))]


def _write_all(writer: Decoder, streams: Sequence[Stream]) -> list[str]:
    """The texts of these streams, written to their ends beside each other."""
    texts = dict.fromkeys(streams, "")
    while writing := [stream for stream in streams if not stream.done]:
        for stream, piece in zip(writing, writer.decode(writing, MOST_STEPS), strict=True):
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
