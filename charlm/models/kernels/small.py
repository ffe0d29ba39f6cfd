"""Loss and gradients of a small recurrent model, without autograd and torch's operations.

A step of a small model is hardly computing: its tensors are many and short, and an operation of torch takes one to
five microseconds until it begins, an autograd node a hundred. A compiled loop takes a quarter of one, and so does
numpy. Here are the loops that compute the layers anyway, called one after another; the numbers are those of bptt.py and
of torch's output layer but for rounding. What is not the plain case is left to them.

All sequences are time-major: (T, B, ...). N is T x B, G the gates of a cell, V the vocabulary.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from charlm.models.kernels.bptt import GRU, LSTM, CellSpec
from charlm.models.kernels.cross_entropy import LANES, losses
from charlm.models.kernels.matmul import COLUMNS, add_transposed, multiply, tiles_of
from charlm.models.kernels.plan import hashed_dropout

Array = np.ndarray[Any, Any]
# Numbers (T, B, G*H) of a batch, or of a part of it, up to which it is computed so: of more bptt.py takes a piece at a
# time, which stays in the cache; with narrower registers the library multiplies faster before.
MOST_NUMBERS = {"AVX512": 1 << 20, "AVX2": 1 << 18}.get(torch.backends.cpu.get_cpu_capability(), 1 << 15)
# A bias of which exp is nothing beside any other.
NEVER = np.float32(-1e30)
NO_WEIGHT = np.empty((0, 0), np.float32)  # for the loops, which read the tiles


class Layer(NamedTuple):
    """A layer's weights, or gradients like them: (G*H, V) or (G*H, H), (G*H, H), and (G*H,) twice."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array


class Output(NamedTuple):
    """The output layer's, (V, H) and (V,)."""

    weight: Array
    bias: Array


class Dropout(NamedTuple):
    """Dropout of rows (N, H), see `plan.hashed_dropout`."""

    share: float
    seed: int
    period: int

    @classmethod
    def of(cls, share: float, generator: torch.Generator, ids: Tensor, locked: bool) -> Self:
        """Drawn as `plan.dropout` draws it, for ids (B, T)."""
        seed = int(torch.randint(2**32, (), generator=generator)) if share else 0
        return cls(share, seed, len(ids) if locked else ids.numel())

    def of_rows(self, x: Array) -> Array:
        """A copy of x (N, H) with zeros; x itself where nothing is dropped."""
        if not self.share:
            return x
        out = np.empty_like(x)
        hashed_dropout(x, out, self.seed, int(self.share * 2**32), 1.0 / (1.0 - self.share), self.period)
        return out


class _Kept(NamedTuple):
    """What the backward pass of a layer needs: its input (N, H), None where ids are looked up; see cells.py."""

    x: Array | None
    gates: Array
    hs: Array
    extra: Array


def loss_and_gradients(
    cell: CellSpec, layers: Sequence[Layer], output: Output, ids: Array, targets: Array, tokens: int,
    state: Sequence[Array], dropouts: Sequence[Dropout],
) -> tuple[float, list[Array], list[Array]]:  # fmt: skip
    """A batch forward and back.

    Args:
        cell: of all layers.
        layers: their weights, float32; the first one looks ids up. H divides by 16.
        output: the output layer's.
        ids: (T, B) int64.
        targets: (T, B) int64; those of -1 do not count.
        tokens: that the loss is the mean of; the batch may be a part of theirs.
        state: before the batch: h, and for the LSTM c, (L, B, H) each.
        dropouts: of the input of each layer above the first, and of the output's.

    Returns:
        The losses' sum through `tokens`, the state after the batch, and the gradients, in the order of the weights.

    Raises:
        IndexError: an id or a target is outside the vocabulary.
    """
    _check(ids, 0, len(output.bias))
    _check(targets, -1, len(output.bias))
    ends, kept = [np.empty_like(part) for part in state], []
    x = None
    for place, layer in enumerate(layers):
        x = dropouts[place - 1].of_rows(x) if x is not None else None
        one = _forward(cell, layer, ids, x, state[0][place], state[-1][place])
        kept.append(one)
        ends[0][place] = one.extra[-1] if cell is GRU else one.hs[-1]  # the GRU's in full
        if cell is LSTM:
            ends[1][place] = one.extra[-1]
        x = one.hs[1:].reshape(ids.size, -1)
    assert x is not None
    loss, dx, doutput = _output(output, dropouts[-1], x, targets.ravel(), tokens)
    grads: list[Array] = []
    for place in range(len(layers) - 1, -1, -1):
        dlayer, below = _backward(cell, layers[place], ids, kept[place], dx)
        dx = dropouts[place - 1].of_rows(below) if below is not None else dx
        grads = [*dlayer, *grads]
    return loss, ends, [*grads, *doutput]


def _forward(cell: CellSpec, layer: Layer, ids: Array, x: Array | None, h: Array, c: Array) -> _Kept:
    """A layer over a sequence, from its input x (N, H), or None where ids are looked up, and the states before it."""
    (steps, batch), (width, hidden) = ids.shape, layer.weight_hh.shape
    gates = np.empty((steps, batch, cell.saved * hidden), np.float32)
    hs, extra = (np.empty((steps + 1, batch, hidden), np.float32) for _ in range(2))
    hs[0], extra[0] = h, c
    bias = layer.bias_ih + layer.bias_hh
    if cell is GRU:  # whose reset gate multiplies a part of the other bias
        bias[-hidden:] = layer.bias_ih[-hidden:]
    rows = np.arange(ids.size).reshape(ids.shape)
    if x is not None:
        source = np.empty((ids.size, width), np.float32)
        multiply(x, tiles_of(layer.weight_ih.T), source)
    elif ids.size < layer.weight_ih.shape[1]:
        source = layer.weight_ih.T.take(ids.ravel(), 0)
    else:
        source, rows = np.ascontiguousarray(layer.weight_ih.T), ids
    past = np.empty((batch, width), np.float32)
    fixed = bias, layer.bias_hh[-hidden:], past, gates, hs, extra
    cell.forward(0, True, NO_WEIGHT, tiles_of(layer.weight_hh.T), source, rows, *fixed)
    return _Kept(x, gates, hs, extra)


def _output(
    output: Output, dropout: Dropout, features: Array, targets: Array, tokens: int
) -> tuple[float, Array, Output]:
    """The output layer and its loss: their sum through `tokens`, and the gradients of features (N, H) and weights."""
    size, hidden = output.weight.shape
    weight = np.zeros((-(-size // COLUMNS) * COLUMNS, hidden), np.float32)
    weight[:size] = output.weight
    bias = np.full(-(-size // LANES) * LANES, NEVER)
    bias[:size] = output.bias
    x = dropout.of_rows(features)
    logits = np.empty((len(x), len(bias)), np.float32)
    multiply(x, tiles_of(weight.T), logits)
    loss = losses(logits, bias, targets, np.empty_like(bias), True) / tokens
    dlogits, dfeatures, dweight = np.zeros((len(x), len(weight)), np.float32), np.empty_like(x), np.zeros_like(weight)
    np.multiply(logits[:, :size], np.float32(1 / tokens), out=dlogits[:, :size])
    multiply(dlogits, tiles_of(weight), dfeatures)
    add_transposed(dlogits, x, dweight)
    return loss, dropout.of_rows(dfeatures), Output(dweight[:size], dlogits.sum(0)[:size])


def _backward(cell: CellSpec, layer: Layer, ids: Array, kept: _Kept, grad: Array) -> tuple[Layer, Array | None]:
    """The gradients of a layer's weights and of its input, (N, H), or None, by that of its hidden states (N, H)."""
    (steps, batch), (width, hidden) = ids.shape, layer.weight_hh.shape
    dh, carry = np.zeros((2, batch, hidden), np.float32)
    d = np.empty((steps, batch, width), np.float32)
    dpast = np.empty_like(d) if cell is GRU else d
    into = np.zeros((layer.weight_ih.shape[1] if kept.x is None else 1, width), np.float32)
    rows = ids if kept.x is None else np.zeros_like(ids)
    fixed = grad.reshape(steps, batch, hidden), dh, carry, *kept[1:], d, dpast, into
    cell.backward(0, steps, 0, NO_WEIGHT, tiles_of(layer.weight_hh), rows, *fixed)
    flat, flat_past = d.reshape(-1, width), dpast.reshape(-1, width)
    dweight_hh = np.zeros_like(layer.weight_hh)
    add_transposed(flat_past, kept.hs[:-1].reshape(-1, hidden), dweight_hh)
    dbias = into.sum(0)
    dbias_past = flat_past.sum(0) if cell is GRU else dbias.copy()
    if kept.x is None:
        return Layer(np.ascontiguousarray(into.T), dweight_hh, dbias, dbias_past), None
    dweight_ih, dx = np.zeros_like(layer.weight_ih), np.empty_like(kept.x)
    add_transposed(flat, kept.x, dweight_ih)
    multiply(flat, tiles_of(layer.weight_ih), dx)
    return Layer(dweight_ih, dweight_hh, dbias, dbias_past), dx


def _check(ids: Array, lowest: int, size: int) -> None:
    """Refuse ids outside the vocabulary: compiled loops would read memory that is not theirs."""
    low, high = int(ids.min()), int(ids.max())
    if low < lowest or high >= size:
        raise IndexError(f"an id of {low if low < lowest else high} is outside this model's 0 to {size - 1}")
