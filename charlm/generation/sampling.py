"""The choice of the next token: one rule, which numba compiles, and which numpy runs where there is no numba."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from charlm.config import SampleConfig
from charlm.errors import JobError
from charlm.models.kernels.jit import compiled, inlined, is_wanted

Array = np.ndarray[Any, Any]
Logits = np.ndarray[Any, np.dtype[np.float64]]
NO_TOKEN = -1  # in place of an id: none was read yet, none is banned, none is known yet, none could be chosen
NOT_FINITE = (
    "the model's state grew beyond all numbers while it wrote, as a relu RNN's may; "
    "train it again with a smaller learning_rate"
)
# The repetition penalty looks back over so many tokens, of the prompt and of the text.
REMEMBERED = 64
NUCLEUS = 32  # of so many most likely tokens top-p's are mostly among
ROUNDING = 1e-9  # what a share may lack and still counts as reached: the order of a sum must not decide
NO_IDS: Sequence[int] = ()


class SamplingParams(NamedTuple):
    """How each row of a batch draws, (B,) each; see SampleConfig.

    Attributes:
        temperature: float64; 0 takes the most likely token.
        top_k: int64; 0: all.
        top_p: float64.
        min_p: float64.
        penalty: float64, of repetitions; 1: none.
        banned: (B, K) int64, the ids that are never chosen; NO_TOKEN where a row has fewer.
        border: int64, the id that is read from the zero state, or NO_TOKEN.
    """

    temperature: Array
    top_k: Array
    top_p: Array
    min_p: Array
    penalty: Array
    banned: Array
    border: Array

    @classmethod
    def of(
        cls, configs: Sequence[SampleConfig], banned: Sequence[Sequence[int]], borders: Sequence[int | None] = ()
    ) -> "SamplingParams":
        """The settings of each row, the ids that are never chosen in it, and that of a border between items."""
        borders = borders or [None] * len(configs)
        never = np.full((len(configs), max([1, *map(len, banned)])), NO_TOKEN)
        for row, ids in enumerate(banned):
            never[row, : len(ids)] = ids
        return cls(
            np.array([0.0 if config.greedy else config.temperature for config in configs]),
            np.array([config.top_k for config in configs], np.int64),
            np.array([config.top_p for config in configs]),
            np.array([config.min_p for config in configs]),
            np.array([config.repetition_penalty for config in configs]),
            never,
            np.array([NO_TOKEN if one is None else one for one in borders], np.int64),
        )


if is_wanted():  # a heap, which numba compiles in a tenth of the time of its own sort

    @inlined
    def _sift(values: Array, heap: Array, place: int, size: int) -> None:
        """Let heap[place] sink to where nothing below it is smaller, or as large and later."""
        while 2 * place + 1 < size:
            child = 2 * place + 1
            for other in (child + 1, place):
                if other < size:
                    a, b = heap[other], heap[child]
                    if values[a] < values[b] or (values[a] == values[b] and a > b):
                        child = other
            if child == place:
                return
            heap[place], heap[child] = heap[child], heap[place]
            place = child

    @inlined
    def top(values: Array, count: int) -> Array:
        """Places of the `count` largest values, largest first; of equals, the earlier first."""
        heap = np.arange(count)
        for place in range(count // 2, -1, -1):
            _sift(values, heap, place, count)
        for i in range(count, values.shape[0]):
            if values[i] > values[heap[0]]:
                heap[0] = i
                _sift(values, heap, 0, count)
        for size in range(count - 1, 0, -1):
            heap[0], heap[size] = heap[size], heap[0]
            _sift(values, heap, 0, size)
        return heap

else:

    def top(values: Array, count: int) -> Array:
        """Places of the `count` largest values, largest first; of equals, the earlier first."""
        order: Array = np.argsort(-values, kind="stable")[:count]
        return order


@inlined
def only(weights: Array, places: Array) -> Array:
    """The weights at these places, zero elsewhere."""
    kept = np.zeros_like(weights)
    kept[places] = weights[places]
    return kept


@inlined
def nucleus(weights: Array, top_p: float) -> Array:
    """Places of the most likely tokens that together reach the share top_p."""
    size, count, goal = weights.shape[0], NUCLEUS, (top_p - ROUNDING) * np.cumsum(weights)[-1]
    while True:
        places = top(weights, min(count, size))
        reached = np.cumsum(weights[places]) >= goal
        if reached[-1]:
            return places[: np.argmax(reached) + 1]
        if count >= size:
            return places
        count *= 4


@compiled
def penalize(logits: Array, recent: Array, penalty: float, banned: Array) -> Array:
    """Logits (V,) with those of recent ids (N,) made less likely (CTRL, Keskar et al. 2019), the banned ones' -inf.

    A positive logit is divided by the penalty, a negative one multiplied; once, however often the id occurs.

    Args:
        logits: (V,) float64.
        recent: (N,) int64, the ids read last, in any order; NO_TOKEN where there is none.
        penalty: of repetitions, above 0; 1 changes nothing.
        banned: (K,) int64, ids that are never chosen; NO_TOKEN where there is none.
    """
    scores = logits.copy()
    if penalty != 1.0:
        for i in recent:
            if i >= 0:
                scores[i] = logits[i] / penalty if logits[i] > 0.0 else logits[i] * penalty
    for i in banned:
        if i >= 0:
            scores[i] = -np.inf
    return scores


@compiled
def token_weights(params: SamplingParams, row: int, logits: Array, recent: Array) -> Array:
    """The probabilities, up to a factor, that the next token of a row is drawn with; (V,) float64.

    In this order, each on what the one before has left:

    1. the repetition penalty on the tokens in `recent`, and `banned` ruled out;
    2. greedy (temperature 0): the most likely alone, and no more of this;
    3. temperature: logits divided by it;
    4. top-k (Fan et al. 2018): the k most likely, of equals the earlier ones;
    5. top-p (Holtzman et al. 2020): the most likely that together reach the share p;
    6. min-p (Nguyen et al. 2024): those with at least that share of the most likely one's probability.

    Args:
        params: of all rows.
        row: which of them.
        logits: (V,) float64, all finite.
        recent: int64 (N,), the ids read last, in any order; NO_TOKEN where there is none.
    """
    scores = penalize(logits, recent, params.penalty[row], params.banned[row])
    temperature, top_k, best = params.temperature[row], params.top_k[row], np.argmax(scores)
    if temperature == 0.0:
        weights = np.zeros_like(scores)
        weights[best] = 1.0
        return weights
    weights = np.exp(scores / temperature - scores[best] / temperature)
    if 0 < top_k < scores.shape[0]:
        weights = only(weights, top(scores, top_k))
    if params.top_p[row] < 1.0:
        weights = only(weights, nucleus(weights, params.top_p[row]))
    if params.min_p[row] > 0.0:
        weights = np.where(weights < params.min_p[row], 0.0, weights)  # the most likely one's is 1
    return weights


@compiled
def sample_token(params: SamplingParams, row: int, logits: Array, recent: Array, draw: float) -> int:
    """The next token of a row, by inverting the cumulative distribution.

    Args:
        params, row, logits, recent: as for `token_weights`, but the logits need not be finite.
        draw: a uniform random number from [0, 1).

    Returns:
        The id; NO_TOKEN where a logit is not finite.
    """
    if not np.isfinite(logits.sum()):
        return NO_TOKEN
    cumulative = np.cumsum(token_weights(params, row, logits, recent))
    return int(np.argmax(cumulative > draw * cumulative[-1]))


def penalized_logits(
    logits: Array, config: SampleConfig, recent: Sequence[int] = NO_IDS, banned: Sequence[int] = NO_IDS
) -> Logits:
    """The logits after repetition penalty and ban, (V,) float64; see `penalize`.

    Args:
        logits: the model's, (V,).
        config: has the repetition penalty.
        recent: the ids read last, of which the last REMEMBERED count.
        banned: ids that are never chosen.
    """
    return penalize(_as_double(logits), _last(recent), config.repetition_penalty, np.array(banned, np.int64))


def probabilities(
    logits: Array, config: SampleConfig, recent: Sequence[int] = NO_IDS, banned: Sequence[int] = NO_IDS
) -> Logits:
    """The probabilities that the next token is drawn with, (V,); see `token_weights`.

    Args:
        logits: the model's, (V,), all finite.
        config: how to draw; beams are another matter, see `beam`.
        recent: the ids read last, of which the last REMEMBERED count.
        banned: ids that are never chosen.
    """
    weights: Logits = token_weights(SamplingParams.of([config], [banned]), 0, _as_double(logits), _last(recent))
    weights /= weights.sum()
    return weights


def choose(
    logits: Array,
    config: SampleConfig,
    rng: np.random.Generator,
    recent: Sequence[int] = NO_IDS,
    banned: Sequence[int] = NO_IDS,
) -> int:
    """The next token's id.

    Args:
        logits, config, recent, banned: as for `probabilities`.
        rng: one number is drawn from it, whatever the settings.

    Raises:
        JobError: a logit is not finite.
    """
    params, draw = SamplingParams.of([config], [banned]), rng.random()
    token = int(sample_token(params, 0, _as_double(logits), _last(recent), draw))
    if token == NO_TOKEN:
        raise JobError(NOT_FINITE)
    return token


def _as_double(logits: Array) -> Logits:
    return np.ascontiguousarray(logits, np.float64)


def _last(ids: Sequence[int]) -> Array:
    return np.array(ids[-REMEMBERED:], np.int64)
