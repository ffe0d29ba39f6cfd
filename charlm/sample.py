"""Drawing text from a model: the choice of the next token, and generators of text."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch

from charlm.config import SampleConfig
from charlm.errors import JobError
from charlm.models import LanguageModel, State
from charlm.tokenizer import CharTokenizer

Key = TypeVar("Key", bound=Hashable)
Logits = np.ndarray[Any, np.dtype[np.float64]]


def probabilities(logits: Logits, config: SampleConfig) -> Logits:
    """Logits (V,) -> the probabilities the next token is drawn with, (V,).

    Temperature first, then top-k (Fan et al. 2018), then top-p (Holtzman et al. 2020) on what is left.
    """
    if config.greedy:
        chosen = np.zeros(len(logits))
        chosen[int(np.argmax(logits))] = 1.0
        return chosen
    scaled = logits.astype(np.float64) / config.temperature
    if 0 < config.top_k < len(scaled):
        order = np.argsort(-scaled, kind="stable")
        scaled[order[config.top_k :]] = -np.inf
    weights = np.exp(scaled - scaled.max())
    weights /= weights.sum()
    if config.top_p < 1.0:
        order = np.argsort(-weights, kind="stable")
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= config.top_p]] = 0.0  # the likeliest always stays: nothing comes before it
        weights /= weights.sum()
    return weights


def choose(logits: Logits, config: SampleConfig, rng: np.random.Generator) -> int:
    """The next token's id, drawn by inverting the cumulative distribution with one number from `rng`.

    Raises:
        JobError: a logit is no finite number.
    """
    if not np.isfinite(logits).all():
        raise JobError(
            "the model's state grew beyond all numbers while it wrote, as a relu RNN's may; "
            "train it again with a smaller learning_rate"
        )
    draw = rng.random()
    if config.greedy:
        return int(np.argmax(logits))
    cumulative = np.cumsum(probabilities(logits, config))
    return int(np.searchsorted(cumulative, draw * cumulative[-1], side="right"))


def first_id(tokenizer: CharTokenizer) -> int:
    """What stands before an empty prompt, unseen: a line end, else a space, else the first token."""
    known = [token for token in ("\n", " ") if not tokenizer.unknown(token)]
    return int(tokenizer.encode(known[0])[0]) if known else 0


@torch.no_grad()
def generate(
    model: LanguageModel, tokenizer: CharTokenizer, prompt: str = "", config: SampleConfig | None = None
) -> Iterator[str]:
    """Yield the text after `prompt`, a character at a time; the same seed and settings give the same text.

    Args:
        model: put into evaluation mode.
        tokenizer: the model's own.
        prompt: read first; characters the model does not know are skipped.
        config: length, temperature, top_k, top_p, greedy, seed.
    """
    config = config or SampleConfig()
    model.eval()
    rng = np.random.default_rng(config.seed)
    ids = tokenizer.encode(prompt, skip_unknown=True)
    if not len(ids):
        ids = np.array([first_id(tokenizer)], dtype=np.int32)
    state: State = model.initial_state(1)
    device = state[0].device
    pending = torch.from_numpy(ids).long().to(device)[None]  # (1, T)
    for _ in range(config.length):
        logits, state = model(pending, state)
        chosen = choose(logits[0, -1].float().cpu().numpy(), config, rng)
        yield tokenizer.tokens[chosen]
        pending = torch.tensor([[chosen]], device=device)


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
