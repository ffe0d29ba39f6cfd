"""The choice of the next token."""

from typing import Any

import numpy as np

from charlm.config import SampleConfig
from charlm.errors import JobError

Logits = np.ndarray[Any, np.dtype[np.float64]]
BEYOND_NUMBERS = (
    "the model's state grew beyond all numbers while it wrote, as a relu RNN's may; "
    "train it again with a smaller learning_rate"
)


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
        raise JobError(BEYOND_NUMBERS)
    draw = rng.random()
    if config.greedy:
        return int(np.argmax(logits))
    cumulative = np.cumsum(probabilities(logits, config))
    return int(np.searchsorted(cumulative, draw * cumulative[-1], side="right"))
