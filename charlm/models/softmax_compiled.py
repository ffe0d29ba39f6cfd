"""From logits to losses and their gradients, compiled: three passes over a row that stays in the cache."""

from typing import Any

import numpy as np

from charlm.models.compiled import compiled, exp, get, put

Array = np.ndarray[Any, Any]
LANES = 128  # maxima and sums kept side by side: a single one would wait for itself
LOWEST, NONE, ONE = np.float32(-np.inf), np.float32(0), np.float32(1)


@compiled
def losses(logits: Array, bias: Array, targets: Array, exps: Array, into_gradients: bool) -> float:
    """The summed cross-entropy of logits (n, V), to which bias (V,) is yet to be added; targets of -1 do not count.

    Args:
        logits: 16 bits hold bfloat16; they become their own gradients if that is wanted.
        bias: float32.
        targets: (n,).
        exps: (V,) float32, room to work in.
        into_gradients: whether that is wanted.
    """
    size, lanes, total = bias.shape[0], np.empty(LANES, np.float32), 0.0
    whole = size // LANES * LANES
    for r in range(logits.shape[0]):
        row, target = logits[r], targets[r]
        lanes[:] = LOWEST
        for first in range(0, whole, LANES):
            x, b, e = row[first : first + LANES], bias[first : first + LANES], exps[first : first + LANES]
            for k in range(LANES):
                e[k] = get(x, k) + b[k]
                lanes[k] = max(lanes[k], e[k])
        highest = LOWEST
        for k in range(LANES):
            highest = max(highest, lanes[k])
        for j in range(whole, size):
            exps[j] = get(row, j) + bias[j]
            highest = max(highest, exps[j])
        chosen = exps[max(target, 0)] - highest
        lanes[:] = NONE
        for first in range(0, whole, LANES):
            e = exps[first : first + LANES]
            for k in range(LANES):
                e[k] = exp(e[k] - highest)
                lanes[k] += e[k]
        added = NONE
        for k in range(LANES):
            added += lanes[k]
        for j in range(whole, size):
            exps[j] = exp(exps[j] - highest)
            added += exps[j]
        if target >= 0:
            total += np.log(np.float64(added)) - np.float64(chosen)
        if into_gradients:
            share = ONE / added if target >= 0 else NONE
            for j in range(size):
                put(row, j, exps[j] * share)
            if target >= 0:
                put(row, target, exps[target] * share - ONE)
    return total
