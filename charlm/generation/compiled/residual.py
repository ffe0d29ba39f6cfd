"""What Transformer and minGRU share, step by step, compiled: norms, the wider layer, the logits."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from charlm.generation.compiled.base import Array, copy, fill
from charlm.models.blocks import ResidualModel
from charlm.models.kernels.jit import HALF, ONE, exp, inlined
from charlm.models.kernels.matmul16 import add_products, inputs_of, pack, padded_columns

ZERO, EPSILON = np.float32(0), np.float32(1e-5)  # the latter as of torch's LayerNorm
# erf(x) = 1 - t P(t) exp(-x^2), t = 1 / (1 + A0 x) for x >= 0, within 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
A0, ROOT_HALF = np.float32(0.3275911), np.float32(math.sqrt(0.5))
A1, A2, A3, A4, A5 = map(np.float32, (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429))


class Shared(NamedTuple):
    """Weights of every residual model, in tiles, see `kernels.matmul16`.

    Attributes:
        norms: (L, 2, 2, H), weight and bias of each block's norms.
        up: (L, M / 32, H + 2, 16), to the wider layer of M units.
        down: (L, H / 32, M + 2, 16), and back.
        norm: (2, H), weight and bias of the last norm.
        out: (V / 32, H + 2, 16), of the logits.
        out_bias: (V filled up,).
    """

    norms: Array
    up: Array
    down: Array
    norm: Array
    out: Array
    out_bias: Array


class SharedWork(NamedTuple):
    """Work arrays of R = `padded_rows(B)` rows in float32.

    Attributes:
        x: (R, H), what the blocks add to.
        normed: (R, H).
        added: (R, H filled up).
        wide: (R, M filled up).
        active: (R, M).
        logits: (R, V filled up).
    """

    x: Array
    normed: Array
    added: Array
    wide: Array
    active: Array
    logits: Array

    @staticmethod
    def widths(w: Shared) -> tuple[int, ...]:
        """Those of the arrays."""
        size, wide = w.norm.shape[1], inputs_of(w.down)
        return size, size, padded_columns(size), padded_columns(wide), wide, len(w.out_bias)


@torch.no_grad()
def embedding_of(model: ResidualModel) -> Array:
    """The input of the first block for each token, (V, H) in float32, a copy."""
    table = model.embed.weight if model.widen is None else model.widen(model.embed.weight)
    return table.float().numpy().copy()


@torch.no_grad()
def shared_weights(model: ResidualModel) -> Shared:
    """A copy of the model's weights as they are now."""
    bias = np.zeros(padded_columns(model.config.vocab_size), np.float32)
    bias[: model.config.vocab_size] = model.fc.bias.float().numpy()
    return Shared(
        norms=np.stack([np.stack([_affine(block.norm), _affine(block.wide.norm)]) for block in model.blocks]),
        up=packed(model, lambda block: block.wide.up),
        down=packed(model, lambda block: block.wide.down),
        norm=_affine(model.norm),
        out=pack(model.fc.weight.float().numpy()),
        out_bias=bias,
    )


@torch.no_grad()
def packed(model: ResidualModel, layer: Callable[[Any], nn.Linear]) -> Array:
    """A layer of each block in tiles, (L, N / 32, K + 2, 16)."""
    return np.stack([pack(layer(block).weight.float().numpy()) for block in model.blocks])


def _affine(norm: nn.LayerNorm) -> Array:
    return np.stack([norm.weight.float().numpy(), norm.bias.float().numpy()])


@inlined
def total(x: Array) -> Any:
    """The sum of (N,) float32, as eight sums beside each other."""
    whole = x.shape[0] // 8 * 8
    a, b, c, d, e, f, g, h = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for j in range(0, whole, 8):
        a, b, c, d = a + x[j], b + x[j + 1], c + x[j + 2], d + x[j + 3]
        e, f, g, h = e + x[j + 4], f + x[j + 5], g + x[j + 6], h + x[j + 7]
    for j in range(whole, x.shape[0]):
        a += x[j]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@inlined
def normalize(x: Array, y: Array) -> None:
    """y = x (N,) with mean 0 and variance 1; y is used on the way, and must not be x."""
    size = x.shape[0]
    mean = total(x) / np.float32(size)
    for j in range(size):
        y[j] = (x[j] - mean) * (x[j] - mean)
    scale = ONE / np.sqrt(total(y) / np.float32(size) + EPSILON)
    for j in range(size):
        y[j] = (x[j] - mean) * scale


@inlined
def layer_norm(x: Array, affine: Array, y: Array) -> None:
    """y (H,) = the norm of x (H,) times affine[0] plus affine[1]."""
    normalize(x, y)
    for j in range(x.shape[0]):
        y[j] = y[j] * affine[0, j] + affine[1, j]


@inlined
def gelu(x: Array, y: Array) -> None:
    """y = GELU of as many numbers of x as y has, by erf, within 2e-7 of x."""
    for j in range(y.shape[0]):
        size = abs(x[j]) * ROOT_HALF
        t = ONE / (ONE + A0 * size)
        below = ((((A5 * t + A4) * t + A3) * t + A2) * t + A1) * t * exp(-size * size)
        tail = HALF * x[j] * below
        y[j] = x[j] - tail if x[j] >= ZERO else tail


@inlined
def products(x: Array, rows: int, w: Array, y: Array) -> None:
    """y (R, 32 N) = x (R, K) times a matrix in tiles."""
    for b in range(rows):
        for j in range(y.shape[1]):
            y[b, j] = ZERO
    add_products(x, rows, w, y)


@inlined
def look_up(table: Array, ids: Array, x: Array) -> None:
    """x (R, H) = the vectors of ids (B,)."""
    for b in range(ids.shape[0]):
        copy(x[b], table[ids[b]])


@inlined
def add_rows(x: Array, rows: int, y: Array) -> None:
    """x (R, H) += y (R, H filled up)."""
    for b in range(rows):
        for j in range(x.shape[1]):
            x[b, j] += y[b, j]


@inlined
def add_wide(w: Shared, layer: int, rows: int, work: SharedWork) -> None:
    """Add the wider layer of a block to x."""
    for b in range(rows):
        layer_norm(work.x[b], w.norms[layer, 1], work.normed[b])
    products(work.normed, rows, w.up[layer], work.wide)
    for b in range(rows):
        gelu(work.wide[b], work.active[b])
    products(work.active, rows, w.down[layer], work.added)
    add_rows(work.x, rows, work.added)


@inlined
def put_logits(w: Shared, rows: int, work: SharedWork) -> None:
    """The logits of what the blocks have added up to."""
    for b in range(rows):
        layer_norm(work.x[b], w.norm, work.normed[b])
    fill(work.logits, rows, w.out_bias)
    add_products(work.normed, rows, w.out, work.logits)
