"""The choice of the next token."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from charlm.config import SampleConfig
from charlm.errors import JobError
from charlm.models.kernels.sampling import ROUNDING

Logits = np.ndarray[Any, np.dtype[np.float64]]
BEYOND_NUMBERS = (
    "the model's state grew beyond all numbers while it wrote, as a relu RNN's may; "
    "train it again with a smaller learning_rate"
)
# The repetition penalty looks back over so many tokens, of the prompt and of the text.
REMEMBERED = 64
NO_IDS: Sequence[int] = ()


def penalized_logits(
    logits: Logits, config: SampleConfig, recent: Sequence[int] = NO_IDS, banned: int | None = None
) -> Logits:
    """Logits (V,) as the choice sees them, (V,): repetitions made less likely, what is never written at -inf.

    Args:
        logits: the model's.
        config: its repetition_penalty.
        recent: the ids read last, of which each is penalised once, however often it occurs.
        banned: an id that is never chosen; None: any may be.

    The penalty is CTRL's (Keskar et al. 2019): a positive logit is divided by it, a negative one multiplied.
    """
    scores = logits.astype(np.float64)
    if config.repetition_penalty != 1.0:
        again = np.unique(np.asarray(recent, np.int64)[-REMEMBERED:])
        scores[again] = np.where(
            scores[again] > 0, scores[again] / config.repetition_penalty, scores[again] * config.repetition_penalty
        )
    if banned is not None:
        scores[banned] = -np.inf
    return scores


def probabilities(
    logits: Logits, config: SampleConfig, recent: Sequence[int] = NO_IDS, banned: int | None = None
) -> Logits:
    """Logits (V,) -> the probabilities the next token is drawn with, (V,).

    In this order, each on what the one before has left:

    1. the repetition penalty (Keskar et al. 2019) on the tokens in `recent`, and `banned` ruled out;
    2. greedy: the likeliest alone, and no more of this;
    3. temperature: logits divided by it;
    4. top-k (Fan et al. 2018): the k likeliest, of equals the earlier ones;
    5. top-p (Holtzman et al. 2020): the likeliest that together reach the share p;
    6. min-p (Nguyen et al. 2024): those with at least that share of the likeliest one's probability.

    Args:
        logits: the model's.
        config: the settings above; beams are another matter, see `beam`.
        recent: the ids read last.
        banned: an id that is never chosen; None: any may be.
    """
    scores = penalized_logits(logits, config, recent, banned)
    if config.greedy:
        chosen = np.zeros(len(scores))
        chosen[int(np.argmax(scores))] = 1.0
        return chosen
    scaled = scores / config.temperature
    if 0 < config.top_k < len(scaled):
        order = np.argsort(-scaled, kind="stable")
        scaled[order[config.top_k :]] = -np.inf
    weights = np.exp(scaled - scaled.max())
    weights /= weights.sum()
    if config.top_p < 1.0:
        order = np.argsort(-weights, kind="stable")
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= config.top_p - ROUNDING]] = 0.0  # the likeliest always stays: nothing comes before it
        weights /= weights.sum()
    if config.min_p > 0.0:
        weights[weights < config.min_p * weights.max()] = 0.0
        weights /= weights.sum()
    return weights


def choose(
    logits: Logits,
    config: SampleConfig,
    rng: np.random.Generator,
    recent: Sequence[int] = NO_IDS,
    banned: int | None = None,
) -> int:
    """The next token's id, drawn by inverting the cumulative distribution with one number from `rng`.

    Args:
        logits, config, recent, banned: as for `probabilities`.
        rng: one number is drawn from it, whatever the settings.

    Raises:
        JobError: a logit is no finite number.
    """
    if not np.isfinite(logits).all():
        raise JobError(BEYOND_NUMBERS)
    draw = rng.random()
    if config.greedy:
        return int(np.argmax(penalized_logits(logits, config, recent, banned)))
    cumulative = np.cumsum(probabilities(logits, config, recent, banned))
    return int(np.searchsorted(cumulative, draw * cumulative[-1], side="right"))
