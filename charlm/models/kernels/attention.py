"""A Transformer's attention on a CPU: norms, rotation, softmax and products of a head in one compiled pass.

It is that of training and validation; texts are written by generation/compiled/transformer.py. torch's operations lay
every one of these out in memory, the whole window rotated and masked; here a head's keys and values are prepared once
and stay in the cache, and 16 queries at a time are compared with those that they may see. The backward pass computes
the weights again (Dao et al. 2022) instead of keeping them.

Queries and keys lie in columns, (D', ..): loops over tokens are long enough to be vectorised, those over a head's D
numbers are not, and their sums keep their order. D', T' and P' are D, T and the places that are read, in whole tiles.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from charlm.models.kernels.jit import ONE, compiled, exp, inlined
from charlm.models.kernels.matmul import COLUMNS, add_fours, tile

Array = np.ndarray[Any, Any]
FLOAT = np.float32
EPSILON = FLOAT(1e-5)  # of the norms, as torch's
ZERO = FLOAT(0)


class Attention(Function):
    """Causal attention within a sliding window, with normalised and rotated queries and keys."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, past: tuple[Tensor, Tensor], filled: Tensor, cos: Tensor, sin: Tensor, scale: float
    ) -> tuple[Tensor, ...]:
        """What every new token gets, (B, T, N, D), and keys and values of the next window, without gradients.

        Args:
            ctx: autograd's.
            qkv: (B, T, 3, N, D) float32, queries, keys and values of the new tokens.
            past: keys and values of the window, (B, W, N, D) each; they get no gradient.
            filled: (B,), how many of its last places hold a token.
            cos, sin: (D / 2, P) of the angles of each place; P is the most of `filled`, and T more.
            scale: a score is the product times this.
        """
        qkv = qkv.contiguous()
        rows, steps, _, heads, width = qkv.shape
        out, shares = qkv.new_empty(rows, steps, heads, width), qkv.new_empty(rows, heads, steps)
        ends = [torch.empty_like(part, memory_format=torch.contiguous_format) for part in past]
        read = [part.detach().contiguous().numpy() for part in (qkv, *past, filled, cos, sin)]
        ctx.read = [*read, FLOAT(scale)]
        written = [part.numpy() for part in (out, shares, *ends)]
        attend(*ctx.read, *written)
        ctx.save_for_backward(qkv, out, shares)
        ctx.mark_non_differentiable(*ends)
        return out, *ends

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of `qkv`."""
        qkv, out, shares = ctx.saved_tensors
        dqkv = torch.empty_like(qkv)
        given = [part.numpy() for part in (out, shares, grads[0].contiguous(), dqkv)]
        attend_backward(*ctx.read, *given)
        return dqkv, None, None, None, None, None


@inlined
def padded(size: int) -> int:
    """The next multiple of COLUMNS."""
    return (size + COLUMNS - 1) // COLUMNS * COLUMNS


@inlined
def normalise(x: Array, size: int, begin: int, end: int, mean: Array, factor: Array) -> None:
    """Bring columns to mean 0 and variance 1.

    Args:
        x: (D', S), overwritten.
        size: D, the rows of x that count.
        begin, end: the columns from `begin` to before `end`.
        mean: (S,), overwritten.
        factor: (S,), overwritten by what each column was multiplied with.
    """
    share = ONE / FLOAT(size)
    mean[begin:end] = ZERO
    factor[begin:end] = ZERO
    for d in range(size):
        row = x[d]
        for j in range(begin, end):
            mean[j] += row[j] * share
    for d in range(size):
        row = x[d]
        for j in range(begin, end):
            row[j] -= mean[j]
            factor[j] += row[j] * row[j]
    for j in range(begin, end):
        factor[j] = ONE / np.sqrt(factor[j] * share + EPSILON)
    for d in range(size):
        row = x[d]
        for j in range(begin, end):
            row[j] *= factor[j]


@inlined
def normalise_backward(
    dx: Array, x: Array, size: int, first: int, factor: Array, room: tuple[Array, Array]
) -> None:  # fmt: skip
    """The gradient of `normalise`.

    Args:
        dx: (D', ..), from column `first` on the gradient of the result; becomes that of what was normalised.
        x: (D', T), the result.
        size: D.
        first: a column.
        factor: (T,), as the forward pass wrote it.
        room: two rows of at least T, overwritten.
    """
    share, count, (mean, along) = ONE / FLOAT(size), x.shape[1], room
    mean[:] = ZERO
    along[:] = ZERO
    for d in range(size):
        row, result = dx[d, first : first + count], x[d]
        for j in range(count):
            mean[j] += row[j] * share
            along[j] += row[j] * result[j] * share
    for d in range(size):
        row, result = dx[d, first : first + count], x[d]
        for j in range(count):
            row[j] = (row[j] - mean[j] - result[j] * along[j]) * factor[j]


@inlined
def rotate_columns(x: Array, size: int, count: int, first: int, cos: Array, sin: Array, way: Any, factor: Any) -> None:
    """Rotate columns by the angles of their places, as `rotate` in transformer.py does.

    Args:
        x: (D', S), overwritten.
        size: D.
        count: the number of columns.
        first: the place of column 0.
        cos, sin: (D / 2, P).
        way: 1, or -1 to rotate back.
        factor: that all numbers are multiplied with.
    """
    half = size // 2
    for d in range(half):
        low, high, c, s = x[d], x[half + d], cos[d, first:], sin[d, first:]
        for j in range(count):
            a, b = low[j] * factor, high[j] * factor
            low[j] = a * c[j] - b * s[j] * way
            high[j] = b * c[j] + a * s[j] * way


class Head(NamedTuple):
    """What a head's products take, written for one head after the other; numbers beyond D, T and P are zero.

    Attributes:
        q, k: (D', T') and (D', P'), normalised and rotated, the queries times the scale.
        v: (P', D').
        q_tiles, k_tiles: q and k in tiles.
        straight: (2, D, T), the new queries and keys, normalised and not rotated.
        factors: (2, T'), see `normalise`, of queries and keys.
        room: two rows (P',), to work in.
    """

    q: Array
    k: Array
    v: Array
    q_tiles: Array
    k_tiles: Array
    straight: Array
    factors: Array
    room: tuple[Array, Array]


@inlined
def new_head(steps: int, size: int, places: int) -> Head:
    """Arrays for a head of `size` units, T new tokens and P places."""
    queries, places, wide = padded(steps), padded(places), padded(size)
    return Head(
        np.zeros((wide, queries), FLOAT),
        np.zeros((wide, places), FLOAT),
        np.zeros((places, wide), FLOAT),
        np.empty((queries // COLUMNS, wide, COLUMNS), FLOAT),
        np.empty((places // COLUMNS, wide, COLUMNS), FLOAT),
        np.empty((2, size, steps), FLOAT),
        np.empty((2, queries), FLOAT),
        (np.empty(places, FLOAT), np.empty(places, FLOAT)),
    )


@inlined
def prepare(
    b: int, n: int, qkv: Array, keys: Array, values: Array, cos: Array, sin: Array, scale: Any, head: Head
) -> None:  # fmt: skip
    """Write a head's queries, keys and values.

    Args:
        b, n: row of the batch, and head.
        qkv, keys, values, cos, sin, scale: as for `attend`.
        head: overwritten.
    """
    steps, size, old = qkv.shape[1], qkv.shape[4], cos.shape[1] - qkv.shape[1]
    q, k, v, straight, factors = head.q, head.k, head.v, head.straight, head.factors
    first, (mean, factor) = keys.shape[1] - old, head.room
    for p in range(old):
        for d in range(size):
            k[d, p] = keys[b, first + p, n, d]
            v[p, d] = values[b, first + p, n, d]
    for t in range(steps):
        for d in range(size):
            q[d, t] = qkv[b, t, 0, n, d]
            k[d, old + t] = qkv[b, t, 1, n, d]
            v[old + t, d] = qkv[b, t, 2, n, d]
    normalise(q, size, 0, steps, mean, factors[0])
    normalise(k, size, old, old + steps, mean, factor)
    for t in range(steps):
        factors[1, t] = factor[old + t]
    for d in range(size):
        for t in range(steps):
            straight[0, d, t], straight[1, d, t] = q[d, t], k[d, old + t]
    rotate_columns(q, size, steps, old, cos, sin, ONE, scale)
    rotate_columns(k, size, old + steps, 0, cos, sin, ONE, ONE)
    tile(q, head.q_tiles)
    tile(k, head.k_tiles)


@inlined
def weigh(scores: Array, begin: int, end: int, level: Any) -> None:
    """exp(score - level) of a row (S,) from `begin` to before `end`; the others become 0."""
    for j in range(scores.shape[0]):
        scores[j] = exp(scores[j] - level)
    for j in range(begin):
        scores[j] = ZERO
    for j in range(end, scores.shape[0]):
        scores[j] = ZERO


@inlined
def total(row: Array, lanes: Array) -> Any:
    """The sum of a row of whole tiles, added up in as many sums as a tile has columns, (COLUMNS,)."""
    lanes[:] = ZERO
    for j in range(0, row.shape[0], COLUMNS):
        for c in range(COLUMNS):
            lanes[c] += row[j + c]
    added = ZERO
    for c in range(COLUMNS):
        added += lanes[c]
    return added


@compiled
def attend(
    qkv: Array, keys: Array, values: Array, filled: Array, cos: Array, sin: Array, scale: Any,
    out: Array, shares: Array, next_keys: Array, next_values: Array,
) -> None:  # fmt: skip
    """The forward pass; see `Attention`. No score is above scale * D, which normalised rows cannot exceed.

    Args:
        qkv: (B, T, 3, N, D).
        keys, values: (B, W, N, D), normalised and not rotated.
        filled: (B,).
        cos, sin: (D / 2, P).
        scale: a float32.
        out: (B, T, N, D), written.
        shares: (B, N, T), written: the inverse of each query's sum of exponentials of scores less the highest possible.
        next_keys, next_values: (B, W, N, D), written.
    """
    rows, steps, _, heads, size = qkv.shape
    window, old, level = keys.shape[1], cos.shape[1] - steps, scale * FLOAT(size)
    head = new_head(steps, size, cos.shape[1])
    wide, places = head.k.shape
    numbers, lanes = np.empty(COLUMNS * places, FLOAT), np.empty(COLUMNS, FLOAT)
    sums, kept = np.empty((COLUMNS, wide), FLOAT), max(0, window - steps)
    for b in range(rows):
        for n in range(heads):
            prepare(b, n, qkv, keys, values, cos, sin, scale, head)
            for p in range(kept):
                for d in range(size):
                    next_keys[b, p, n, d] = keys[b, window - kept + p, n, d]
                    next_values[b, p, n, d] = values[b, window - kept + p, n, d]
            for p in range(kept, window):
                for d in range(size):
                    next_keys[b, p, n, d] = head.straight[1, d, p - window + steps]
                    next_values[b, p, n, d] = qkv[b, p - window + steps, 2, n, d]
            for t in range(0, steps, COLUMNS):
                count = min(COLUMNS, steps - t)
                lowest = max(0, old - filled[b], t + old - window)
                first, last = lowest // COLUMNS, padded(old + t + count) // COLUMNS
                begin, width = first * COLUMNS, (last - first) * COLUMNS
                scores = numbers[: COLUMNS * width].reshape(COLUMNS, width)
                scores[:] = ZERO
                add_fours(head.q_tiles[t // COLUMNS].T, head.k_tiles[first:last], scores)
                sums[:] = ZERO
                for r in range(count):
                    weigh(scores[r], max(lowest, t + r + old - window) - begin, old + t + r + 1 - begin, level)
                    shares[b, n, t + r] = ONE / total(scores[r], lanes)
                add_fours(scores, head.v[begin : last * COLUMNS], sums)
                for r in range(count):
                    for d in range(size):
                        out[b, t + r, n, d] = sums[r, d] * shares[b, n, t + r]


@compiled
def attend_backward(
    qkv: Array, keys: Array, values: Array, filled: Array, cos: Array, sin: Array, scale: Any,
    out: Array, shares: Array, grad: Array, dqkv: Array,
) -> None:  # fmt: skip
    """The gradient of `attend`.

    Args:
        qkv, keys, values, filled, cos, sin, scale: as in the forward pass.
        out: (B, T, N, D), its result.
        shares: (B, N, T), likewise.
        grad: (B, T, N, D), gradient of `out`.
        dqkv: (B, T, 3, N, D), overwritten by the gradient of `qkv`.
    """
    rows, steps, _, heads, size = qkv.shape
    window, old, level = keys.shape[1], cos.shape[1] - steps, scale * FLOAT(size)
    head = new_head(steps, size, cos.shape[1])
    wide, places = head.k.shape
    dq, dk, dv = np.empty(head.q.shape, FLOAT), np.empty((wide, places), FLOAT), np.empty((wide, places), FLOAT)
    v_tiles, by_place = np.empty(head.k_tiles.shape, FLOAT), np.zeros((places, wide), FLOAT)
    numbers, more = np.empty((2, COLUMNS * places), FLOAT), np.empty(wide * places, FLOAT)
    douts, sums = np.zeros((wide, COLUMNS), FLOAT), np.empty((COLUMNS, wide), FLOAT)
    along = np.empty(COLUMNS, FLOAT)
    for b in range(rows):
        for n in range(heads):
            prepare(b, n, qkv, keys, values, cos, sin, scale, head)
            tile(head.v.T, v_tiles)
            for p in range(old + steps):
                for d in range(size):
                    by_place[p, d] = head.k[d, p]
            dk[:] = ZERO
            dv[:] = ZERO
            for t in range(0, steps, COLUMNS):
                count = min(COLUMNS, steps - t)
                lowest = max(0, old - filled[b], t + old - window)
                first, last = lowest // COLUMNS, padded(old + t + count) // COLUMNS
                begin, width = first * COLUMNS, (last - first) * COLUMNS
                scores = numbers[0, : COLUMNS * width].reshape(COLUMNS, width)
                dscores = numbers[1, : COLUMNS * width].reshape(COLUMNS, width)
                along[:] = ZERO
                for r in range(count):
                    for d in range(size):
                        douts[d, r] = grad[b, t + r, n, d]
                        along[r] += grad[b, t + r, n, d] * out[b, t + r, n, d]
                scores[:] = ZERO
                add_fours(head.q_tiles[t // COLUMNS].T, head.k_tiles[first:last], scores)
                dscores[:] = ZERO
                add_fours(douts.T, v_tiles[first:last], dscores)
                for r in range(count):
                    x, dx, share, less = scores[r], dscores[r], shares[b, n, t + r], along[r]
                    weigh(x, max(lowest, t + r + old - window) - begin, old + t + r + 1 - begin, level)
                    for j in range(width):
                        x[j] *= share
                    for j in range(width):
                        dx[j] = (dx[j] - less) * x[j]
                scores[count:] = ZERO
                dscores[count:] = ZERO
                sums[:] = ZERO
                add_fours(dscores, by_place[begin : last * COLUMNS], sums)
                for r in range(count):
                    for d in range(size):
                        dq[d, t + r] = sums[r, d]
                product = more[: wide * width].reshape(wide, width)
                for left, right, into in ((head.q_tiles[t // COLUMNS], dscores, dk), (douts, scores, dv)):
                    product[:] = ZERO
                    add_fours(left, right, product)
                    for d in range(size):
                        row, some = into[d, begin : begin + width], product[d]
                        for j in range(width):
                            row[j] += some[j]
            rotate_columns(dq, size, steps, old, cos, sin, -ONE, scale)
            rotate_columns(dk, size, old + steps, 0, cos, sin, -ONE, ONE)
            normalise_backward(dq, head.straight[0], size, 0, head.factors[0], head.room)
            normalise_backward(dk, head.straight[1], size, old, head.factors[1], head.room)
            for t in range(steps):
                for d in range(size):
                    dqkv[b, t, 0, n, d] = dq[d, t]
                    dqkv[b, t, 1, n, d] = dk[d, old + t]
                    dqkv[b, t, 2, n, d] = dv[d, old + t]
