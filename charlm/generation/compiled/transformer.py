"""A Transformer step by step, compiled: keys and values in a ring of as many places as it attends to.

Unlike the model's own state, which rotates keys by their place in the window whenever it reads them, the ring holds
keys rotated by their place in the text: attention depends on distances only, so that the logits are the same within
rounding. Angles are computed in float64 and stay exact for any length of text.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from charlm.generation.compiled.base import Array, CompiledModel, State, clear, is_type_of, step, zeros
from charlm.generation.compiled.residual import (
    ZERO,
    Shared,
    SharedWork,
    add_rows,
    add_wide,
    embedding_of,
    layer_norm,
    look_up,
    normalize,
    packed,
    products,
    put_logits,
    shared_weights,
    total,
)
from charlm.models.kernels.jit import ONE, exp, inlined, is_wanted
from charlm.models.kernels.matmul16 import padded_columns
from charlm.models.transformer import SHARPNESS, TransformerModel, speeds_of


class Weights(NamedTuple):
    """A model's weights, the larger matrices in 16 bits, see `kernels.matmul16`.

    Attributes:
        table: (V, H).
        qkv: (L, 3 H / 32, H + 2, 16).
        out: (L, H / 32, H + 2, 16).
        speeds: (D / 2,) float64, the angle in radians by which each pair of a head's D units is rotated a token.
        scale: of scores, a float32.
        shared: what a minGRU has, too.
    """

    table: Array
    qkv: Array
    out: Array
    speeds: Array
    scale: Any
    shared: Shared


class Work(NamedTuple):
    """Work arrays.

    Attributes:
        qkv: (R, 3 H filled up).
        seen: (R, H), what attention gives.
        head: (3, D), a query, a key, and room.
        turn: (2, D / 2), cosines and sines.
        scores: (C,), of one head.
        shared: what a minGRU has, too.
        logits: (R, V filled up).
    """

    qkv: Array
    seen: Array
    head: Array
    turn: Array
    scores: Array
    shared: SharedWork
    logits: Array


@inlined
def turned(x: Array, room: Array, turn: Array, y: Array) -> None:
    """y (D,) = the norm of x (D,), its pairs (j, j + D / 2) rotated; `room` (D,) is overwritten."""
    normalize(x, room)
    half = turn.shape[1]
    for j in range(half):
        y[j] = room[j] * turn[0, j] - room[j + half] * turn[1, j]
        y[j + half] = room[j + half] * turn[0, j] + room[j] * turn[1, j]


@inlined
def attend(query: Array, keys: Array, values: Array, scale: Any, scores: Array, y: Array) -> None:
    """What one head sees; sums go over the units of a head, and over the places of the ring, in their order.

    Args:
        query: (D,), D is even.
        keys: (D, C); of the C places the first N count.
        values: (C, D).
        scale: of the scores.
        scores: (N,), overwritten.
        y: (D,), overwritten.
    """
    size, count = query.shape[0], scores.shape[0]
    for s in range(count):
        scores[s] = ZERO
    for d in range(0, size // 4 * 4, 4):  # four at a time, which saves loads and stores of the sums
        a, b, c, e = query[d] * scale, query[d + 1] * scale, query[d + 2] * scale, query[d + 3] * scale
        first, second, third, fourth = keys[d], keys[d + 1], keys[d + 2], keys[d + 3]
        for s in range(count):
            scores[s] += (a * first[s] + b * second[s]) + (c * third[s] + e * fourth[s])
    for d in range(size // 4 * 4, size):
        a, first = query[d] * scale, keys[d]
        for s in range(count):
            scores[s] += a * first[s]
    most = scores[0]
    for s in range(count):
        most = max(most, scores[s])
    for s in range(count):
        scores[s] = exp(scores[s] - most)
    share = ONE / total(scores)
    for d in range(size):
        y[d] = ZERO
    for s in range(0, count // 4 * 4, 4):
        a, b, c, e = scores[s], scores[s + 1], scores[s + 2], scores[s + 3]
        first, second, third, fourth = values[s], values[s + 1], values[s + 2], values[s + 3]
        for d in range(size):
            y[d] += (a * first[d] + b * second[d]) + (c * third[d] + e * fourth[d])
    for s in range(count // 4 * 4, count):
        a, first = scores[s], values[s]
        for d in range(size):
            y[d] += a * first[d]
    for d in range(size):
        y[d] *= share


@inlined
def transformer_step(w: Weights, ids: Array, keys: Array, values: Array, read: Array, work: Work) -> None:
    """Read one token of each row.

    Args:
        w: the model.
        ids: (B,) int64.
        keys: (L, N, B, D, C) float32 of N heads, rotated; the token's replace the oldest.
        values: (L, N, B, C, D) float32, likewise.
        read: (1, 1, B) int64, tokens read before; grows.
        work: overwritten; its logits are the result.
    """
    rows, shared, heads, places = ids.shape[0], work.shared, keys.shape[1], keys.shape[4]
    size, width = shared.x.shape[1], keys.shape[3]
    query, key, room = work.head[0], work.head[1], work.head[2]
    look_up(w.table, ids, shared.x)
    for layer in range(keys.shape[0]):
        for b in range(rows):
            layer_norm(shared.x[b], w.shared.norms[layer, 0], shared.normed[b])
        products(shared.normed, rows, w.qkv[layer], work.qkv)
        for b in range(rows):
            place = read[0, 0, b] % places
            count = min(read[0, 0, b] + 1, places)
            for j in range(w.speeds.shape[0]):
                angle = read[0, 0, b] * w.speeds[j]
                work.turn[0, j], work.turn[1, j] = math.cos(angle), math.sin(angle)
            for n in range(heads):
                start, ring = n * width, keys[layer, n, b]
                turned(work.qkv[b, start : start + width], room, work.turn, query)
                turned(work.qkv[b, size + start : size + start + width], room, work.turn, key)
                value = work.qkv[b, 2 * size + start : 2 * size + start + width]
                for d in range(width):
                    ring[d, place] = key[d]
                    values[layer, n, b, place, d] = value[d]
                seen = work.seen[b, start : start + width]
                attend(query, ring, values[layer, n, b], w.scale, work.scores[:count], seen)
        products(work.seen, rows, w.out[layer], shared.added)
        add_rows(shared.x, rows, shared.added)
        add_wide(w.shared, layer, rows, shared)
    put_logits(w.shared, rows, shared)
    for b in range(rows):
        read[0, 0, b] += 1


if is_wanted():
    from numba.extending import overload

    @overload(step)
    def _step(w, ids, state, work):  # type: ignore[no-untyped-def]
        if is_type_of(w, Weights):
            return lambda w, ids, state, work: transformer_step(w, ids, state[0], state[1], state[2], work)

    @overload(clear)
    def _clear(w, state, row):  # type: ignore[no-untyped-def]
        if is_type_of(w, Weights):

            def forget(w, state, row):  # type: ignore[no-untyped-def]
                state[2][0, 0, row] = 0  # what stands in the ring is not attended to

            return forget


class CompiledTransformer(CompiledModel):
    """A Transformer; its state is the keys (L, N, B, D, C), the values (L, N, B, C, D), and the tokens read (1, 1, B).

    Args:
        model: on the CPU.
    """

    def __init__(self, model: TransformerModel) -> None:
        config = model.config
        width = config.hidden_size // config.num_heads
        self._ring = config.num_layers, config.num_heads, model.window + 1, width
        self.weights = Weights(
            table=embedding_of(model),
            qkv=packed(model, lambda block: block.qkv),
            out=packed(model, lambda block: block.out),
            speeds=np.array(speeds_of(config)),
            scale=np.float32(SHARPNESS / math.sqrt(width)),
            shared=shared_weights(model),
        )

    def initial_state(self, rows: int) -> State:
        layers, heads, places, width = self._ring
        return (
            np.zeros((layers, heads, rows, width, places), np.float32),
            np.zeros((layers, heads, rows, places, width), np.float32),
            np.zeros((1, 1, rows), np.int64),
        )

    def work_arrays(self, rows: int) -> Any:
        _, _, places, width = self._ring
        size = self.weights.table.shape[1]
        qkv, seen = zeros(rows, padded_columns(3 * size), size)
        head, turn = np.zeros((3, width), np.float32), np.zeros((2, width // 2), np.float32)
        shared = SharedWork(*zeros(rows, *SharedWork.widths(self.weights.shared)))
        return Work(qkv, seen, head, turn, np.zeros(places, np.float32), shared, shared.logits)
