"""The choice of the next token, compiled; sample.probabilities says in plain words what it draws from."""

import math
from typing import Any, NamedTuple

import numpy as np

from charlm.models.kernels.jit import compiled, inlined

Array = np.ndarray[Any, Any]
BEYOND_NUMBERS = -1  # chosen where a logit is no finite number
NUCLEUS = 32  # of so many likeliest tokens top-p's are mostly among
ROUNDING = 1e-9  # what a share may lack and is reached all the same: the order of adding up shall not decide
NOTHING = -1  # in place of an id: none was read yet, none is banned


class Settings(NamedTuple):
    """How each row draws, (B,) each.

    Temperature 0 takes the likeliest. `banned` is the id that is never chosen, or NOTHING.
    """

    temperature: Array
    top_k: Array
    top_p: Array
    min_p: Array
    penalty: Array
    banned: Array


@inlined
def weigh(logits: Array, recent: Array, penalty: float, banned: int, scores: Array) -> None:
    """Set the scores (V,) to the logits, those of recent ids made less likely, the banned one's -inf."""
    for i in range(logits.shape[0]):
        scores[i] = np.float64(logits[i])
    if penalty != 1.0:
        for n in range(recent.shape[0]):
            again = recent[n]  # from the logit, so that an id that occurs twice is penalised once
            if again >= 0:
                score = np.float64(logits[again])
                scores[again] = score / penalty if score > 0.0 else score * penalty
    if banned >= 0:
        scores[banned] = -np.inf


@inlined
def rank(values: Array, count: int, order: Array) -> None:
    """Set order[:count] to where the largest values stand, largest first; of equals, the earlier first."""
    found = 0
    for i in range(values.shape[0]):
        if found == count and values[i] <= values[order[count - 1]]:
            continue
        found = min(found + 1, count)
        place = found - 1
        while place > 0 and values[order[place - 1]] < values[i]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i


@inlined
def keep(weights: Array, order: Array, count: int, kept: Array) -> None:
    """Set to 0 all weights but those at order[:count]."""
    for n in range(count):
        kept[n] = weights[order[n]]
    for i in range(weights.shape[0]):
        weights[i] = 0.0
    for n in range(count):
        weights[order[n]] = kept[n]


@inlined
def total(weights: Array) -> float:
    """Their sum, one after the other."""
    added = 0.0
    for i in range(weights.shape[0]):
        added += weights[i]
    return added


@inlined
def nucleus(weights: Array, top_p: float, order: Array) -> int:
    """How many of the likeliest tokens, ranked in `order`, it takes to reach the share top_p."""
    goal, size = (top_p - ROUNDING) * total(weights), weights.shape[0]
    ranked = min(NUCLEUS, size)
    while True:
        rank(weights, ranked, order)
        before = 0.0
        for n in range(ranked):
            if before >= goal:
                return n
            before += weights[order[n]]
        if ranked == size:
            return size
        ranked = min(4 * ranked, size)


@inlined
def rule_out(weights: Array, least: float) -> None:
    """Set to 0 all weights below `least`."""
    for i in range(weights.shape[0]):
        if weights[i] < least:
            weights[i] = 0.0


@compiled
def choose(settings: Settings, row: int, logits: Array, recent: Array, draw: float, work: Array, order: Array) -> int:
    """The next token of a row for one number drawn from [0, 1).

    `recent` are the ids (N,) it read last, in any order, NOTHING where there is none. `work` (3, V) of float64 and
    `order` (V,) of integers are room to work in.
    """
    size, likeliest, finite = logits.shape[0], 0, True
    temperature, top_k, top_p = settings.temperature[row], settings.top_k[row], settings.top_p[row]
    scores, weights, kept = work
    weigh(logits, recent, settings.penalty[row], settings.banned[row], scores)
    for i in range(size):
        finite = finite and math.isfinite(logits[i])
        if scores[i] > scores[likeliest]:
            likeliest = i
    if not finite:
        return BEYOND_NUMBERS
    if temperature == 0.0:
        return likeliest
    highest = scores[likeliest] / temperature
    for i in range(size):
        weights[i] = math.exp(scores[i] / temperature - highest)
    if 0 < top_k < size:
        rank(scores, top_k, order)
        keep(weights, order, top_k, kept)
    if top_p < 1.0:
        keep(weights, order, nucleus(weights, top_p, order), kept)
    if settings.min_p[row] > 0.0:
        rule_out(weights, settings.min_p[row])  # of the likeliest one's weight, which is 1
    below, goal = 0.0, draw * total(weights)
    for i in range(size):
        below += weights[i]
        if below > goal:
            return i
    return likeliest  # the sums' last rounding left nothing above the goal
