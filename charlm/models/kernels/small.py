"""Loss and gradients of a small recurrent model, without autograd: a few compiled calls a batch.

A step of a small model is hardly computing: its tensors are many and short, and each operation on one takes
microseconds until it begins. Here a layer is one call forward and one back, and so is the output with its loss. The
numbers are those of bptt.py and of torch's output layer but for rounding; what is not the plain case is left to them.
All sequences are time-major: (T, B, ...). N is T x B, G*H as in cells.py, V the vocabulary.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from charlm.models.kernels import bptt, cells
from charlm.models.kernels.bptt import CellSpec
from charlm.models.kernels.cross_entropy import LANES, losses
from charlm.models.kernels.jit import compiled, inlined
from charlm.models.kernels.matmul import COLUMNS, add_transposed, multiply, tile
from charlm.models.kernels.plan import hashed_dropout

Array = np.ndarray[Any, Any]
# Number of a cell, as the compiled calls take it.
LSTM, GRU, RNN, RELU = range(4)
KINDS = {bptt.LSTM: LSTM, bptt.GRU: GRU, bptt.RNN: RNN, bptt.RELU: RELU}
# Numbers (T, B, G*H) of a batch, or of a part of it, up to which it is computed so: of more bptt.py takes a piece at a
# time, which stays in the cache; with narrower registers the library multiplies faster before.
MOST_NUMBERS = {"AVX512": 1 << 20, "AVX2": 1 << 18}.get(torch.backends.cpu.get_cpu_capability(), 1 << 15)
# A bias of which exp is nothing beside any other.
NEVER = np.float32(-1e30)


@compiled
def out_of_range(ids: Array, lowest: int, size: int) -> int:
    """The first of some ids (R, C) below `lowest` or from `size` on; `lowest` if there is none."""
    for r in range(ids.shape[0]):
        for c in range(ids.shape[1]):
            if ids[r, c] < lowest or ids[r, c] >= size:
                return int(ids[r, c])
    return lowest


@inlined
def tiles_of(matrix: Array) -> Array:
    """A matrix (K, 16 N) in tiles (N, K, 16)."""
    tiles = np.empty((matrix.shape[1] // COLUMNS, matrix.shape[0], COLUMNS), np.float32)
    tile(matrix, tiles)
    return tiles


@inlined
def column_sums(x: Array) -> Array:
    """The sum of the rows of x (N, M), (M,)."""
    total = np.zeros(x.shape[1], np.float32)
    for n in range(x.shape[0]):
        row = x[n]
        for j in range(row.shape[0]):
            total[j] += row[j]
    return total


@inlined
def copy_rows(x: Array, y: Array) -> None:
    """Copy x (B, H) to y."""
    for b in range(x.shape[0]):
        for j in range(x.shape[1]):
            y[b, j] = x[b, j]


@inlined
def drop(x: Array, share: float, seed: int, period: int) -> Array:
    """Dropout of x (N, H), a copy; x itself where nothing is dropped."""
    if share == 0.0:
        return x
    out = np.empty_like(x)
    hashed_dropout(x, out, seed, int(share * 2**32), 1.0 / (1.0 - share), period)
    return out


@compiled
def forward(
    kind: int, saved: int, ids: Array, x: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array,
    h: Array, c: Array, h_end: Array, c_end: Array, share: float, seed: int, period: int,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """A layer over a sequence.

    Args:
        kind: of cell.
        saved: times H, the numbers of a row that the backward pass needs.
        ids: (T, B), what the first layer looks up.
        x: (N, I), what another takes; empty for the first.
        weight_ih: (G*H, V) or (G*H, I).
        weight_hh: (G*H, H).
        bias_ih: (G*H,).
        bias_hh: (G*H,).
        h: (B, H), the state before.
        c: (B, H), the LSTM's cell, or h.
        h_end: (B, H), the state after, written.
        c_end: (B, H), the LSTM's cell after, written.
        share, seed, period: of the dropout of x, see `drop`.

    Returns:
        x after its dropout, and gates (T, B, saved H), hs and extra (T + 1, B, H) as of `cells.lstm_forward`.
    """
    x = drop(x, share, seed, period)
    (steps, batch), (width, hidden) = ids.shape, weight_hh.shape
    gates = np.empty((steps, batch, saved * hidden), np.float32)
    hs = np.empty((steps + 1, batch, hidden), np.float32)
    extra = np.empty((steps + 1, batch, hidden), np.float32)
    copy_rows(h, hs[0])
    copy_rows(c, extra[0])
    bias, bias_past = np.empty(width, np.float32), np.empty(hidden, np.float32)
    for j in range(width):
        bias[j] = bias_ih[j] + bias_hh[j]
    for j in range(hidden):
        bias_past[j] = bias_hh[width - hidden + j]
        if kind == GRU:
            bias[width - hidden + j] = bias_ih[width - hidden + j]
    past, no_weight = np.empty((batch, width), np.float32), np.empty((0, 0), np.float32)
    rows = np.empty((steps, batch), np.int64)
    for t in range(steps):
        for b in range(batch):
            rows[t, b] = t * batch + b
    if x.shape[0]:
        source = np.empty((x.shape[0], width), np.float32)
        multiply(x, tiles_of(weight_ih.T), source)
    elif steps * batch < weight_ih.shape[1]:
        source = np.empty((steps * batch, width), np.float32)
        for t in range(steps):
            for b in range(batch):
                for j in range(width):
                    source[t * batch + b, j] = weight_ih[j, ids[t, b]]
    else:
        rows, source = ids, np.empty((weight_ih.shape[1], width), np.float32)
        for j in range(width):
            for v in range(source.shape[0]):
                source[v, j] = weight_ih[j, v]
    tiles = tiles_of(weight_hh.T)
    if kind == LSTM:
        cells.lstm_forward(0, True, no_weight, tiles, source, rows, bias, bias_past, past, gates, hs, extra)
    elif kind == GRU:
        cells.gru_forward(0, True, no_weight, tiles, source, rows, bias, bias_past, past, gates, hs, extra)
    elif kind == RNN:
        cells.rnn_forward(0, True, no_weight, tiles, source, rows, bias, bias_past, past, gates, hs, extra)
    else:
        cells.relu_forward(0, True, no_weight, tiles, source, rows, bias, bias_past, past, gates, hs, extra)
    copy_rows(extra[steps] if kind == GRU else hs[steps], h_end)
    if kind == LSTM:
        copy_rows(extra[steps], c_end)
    return x, gates, hs, extra


@compiled
def output(
    features: Array, weight: Array, bias: Array, targets: Array, tokens: int, dweight: Array, dbias: Array,
    share: float, seed: int, period: int,
) -> tuple[float, Array]:  # fmt: skip
    """The output layer and its loss, forward and back.

    Args:
        features: (N, H).
        weight: (V, H).
        bias: (V,).
        targets: (T, B); those of -1 do not count.
        tokens: that the loss is the mean of; of the batch, of which this may be a part.
        dweight: (V, H), written.
        dbias: (V,), written.
        share, seed, period: of the dropout of the features, see `drop`.

    Returns:
        The sum of the losses through `tokens`, and the gradient of the features, (N, H).
    """
    size, hidden = weight.shape
    columns = -(-size // COLUMNS) * COLUMNS
    padded, padded_bias = np.zeros((columns, hidden), np.float32), np.empty(-(-size // LANES) * LANES, np.float32)
    padded_bias[:] = NEVER
    for v in range(size):
        padded_bias[v] = bias[v]
        for j in range(hidden):
            padded[v, j] = weight[v, j]
    logits, exps = np.empty((features.shape[0], padded_bias.shape[0]), np.float32), np.empty_like(padded_bias)
    dropped = drop(features, share, seed, period)
    multiply(dropped, tiles_of(padded.T), logits)
    total = losses(logits, padded_bias, targets.ravel(), exps, True)
    dlogits, scale = np.zeros((features.shape[0], columns), np.float32), np.float32(1.0 / tokens)
    for n in range(features.shape[0]):
        row, of_row = dlogits[n], logits[n]
        for v in range(size):
            row[v] = of_row[v] * scale
    dfeatures = np.empty_like(features)
    multiply(dlogits, tiles_of(padded), dfeatures)
    padded[:] = 0
    add_transposed(dlogits, dropped, padded)
    sums = column_sums(dlogits)
    for v in range(size):
        dbias[v] = sums[v]
        for j in range(hidden):
            dweight[v, j] = padded[v, j]
    return total / tokens, drop(dfeatures, share, seed, period)


@compiled
def backward(
    kind: int, ids: Array, x: Array, weight_ih: Array, weight_hh: Array, gates: Array, hs: Array, extra: Array,
    grad: Array, dweight_ih: Array, dweight_hh: Array, dbias_ih: Array, dbias_hh: Array,
    share: float, seed: int, period: int,
) -> Array:  # fmt: skip
    """The gradient of `forward`, that of the last states being none.

    Args:
        kind, ids, weight_ih, weight_hh, share, seed, period: as of `forward`.
        x, gates, hs, extra: what it returned.
        grad: (N, H), gradient of the hidden states.
        dweight_ih, dweight_hh, dbias_ih, dbias_hh: gradients like the weights and biases, written; the first two hold
            zeros.

    Returns:
        The gradient of x before its dropout, (N, I); empty for the first layer.
    """
    (steps, batch), (width, hidden) = ids.shape, weight_hh.shape
    dh, carry = np.zeros((batch, hidden), np.float32), np.zeros((batch, hidden), np.float32)
    d = np.empty((steps, batch, width), np.float32)
    dpast = np.empty((steps, batch, width), np.float32) if kind == GRU else d
    is_first = x.shape[0] == 0
    into = np.zeros((weight_ih.shape[1] if is_first else 1, width), np.float32)
    rows = ids if is_first else np.zeros((steps, batch), np.int64)
    no_weight, tiles, of_states = np.empty((0, 0), np.float32), tiles_of(weight_hh), grad.reshape(steps, batch, hidden)
    if kind == LSTM:
        cells.lstm_backward(0, steps, 0, no_weight, tiles, rows, of_states, dh, carry, gates, hs, extra, d, dpast, into)
    elif kind == GRU:
        cells.gru_backward(0, steps, 0, no_weight, tiles, rows, of_states, dh, carry, gates, hs, extra, d, dpast, into)
    elif kind == RNN:
        cells.rnn_backward(0, steps, 0, no_weight, tiles, rows, of_states, dh, carry, gates, hs, extra, d, dpast, into)
    else:
        cells.relu_backward(0, steps, 0, no_weight, tiles, rows, of_states, dh, carry, gates, hs, extra, d, dpast, into)
    flat, flat_past = d.reshape(-1, width), dpast.reshape(-1, width)
    add_transposed(flat_past, hs[:steps].reshape(-1, hidden), dweight_hh)
    sums = column_sums(into)
    sums_past = column_sums(flat_past) if kind == GRU else sums
    for j in range(width):
        dbias_ih[j], dbias_hh[j] = sums[j], sums_past[j]
    if is_first:
        for j in range(width):
            for v in range(into.shape[0]):
                dweight_ih[j, v] = into[v, j]
        return x
    add_transposed(flat, x, dweight_ih)
    dx = np.empty_like(x)
    multiply(flat, tiles_of(weight_ih), dx)
    return drop(dx, share, seed, period)


class Layer(NamedTuple):
    """Weights of a layer, or gradients like them; see `forward`."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array


class Dropout(NamedTuple):
    """See `drop`."""

    share: float
    seed: int
    period: int

    @classmethod
    def of(cls, share: float, generator: torch.Generator, ids: Tensor, locked: bool) -> Self:
        """Drawn as `plan.dropout` draws it, for ids (B, T)."""
        seed = int(torch.randint(2**32, (), generator=generator)) if share else 0
        return cls(share, seed, len(ids) if locked else ids.numel())


def loss_and_gradients(
    cell: CellSpec, layers: Sequence[Layer], output_layer: tuple[Array, Array], ids: Array, targets: Array,
    tokens: int, state: Sequence[Array], dropouts: Sequence[Dropout],
) -> tuple[float, list[Array], list[Array]]:  # fmt: skip
    """A batch forward and back.

    Args:
        cell: of all layers.
        layers: their weights, float32; the first one looks ids up.
        output_layer: weight (V, H) and bias (V,).
        ids: (T, B) int64.
        targets: (T, B) int64; those of -1 do not count.
        tokens: that the loss is the mean of.
        state: before the batch: h, and for the LSTM c, (L, B, H) each.
        dropouts: of the input of each layer, and of the output's; the first one has none.

    Returns:
        The losses' sum through `tokens`, the state after the batch, and the gradients, in the order of the weights.

    Raises:
        IndexError: an id or a target is outside the vocabulary.
    """
    kind, size = KINDS[cell], len(output_layer[1])
    for given, lowest in ((ids, 0), (targets, -1)):
        if (wrong := out_of_range(given, lowest, size)) != lowest:
            raise IndexError(f"an id of {wrong} is outside this model's 0 to {size - 1}")
    grads = [Layer(*map(np.zeros_like, layer)) for layer in layers]
    doutput = tuple(map(np.empty_like, output_layer))
    ends = [np.empty_like(part) for part in state]
    x, kept = np.empty((0, 0), np.float32), list[tuple[Array, Array, Array, Array]]()
    for place, layer in enumerate(layers):
        states = state[0][place], state[-1][place], ends[0][place], ends[-1][place]
        kept.append(forward(kind, cell.saved, ids, x, *layer, *states, *dropouts[place]))
        x = kept[-1][2][1:].reshape(ids.size, -1)
    (weight, bias), (dweight, dbias) = output_layer, doutput
    loss, dx = output(x, weight, bias, targets, tokens, dweight, dbias, *dropouts[-1])
    for place in range(len(layers) - 1, -1, -1):
        (x, gates, hs, extra), (weight_ih, weight_hh, _, _) = kept[place], layers[place]
        rest = *grads[place], *dropouts[place]
        dx = backward(kind, ids, x, weight_ih, weight_hh, gates, hs, extra, dx, *rest)
    return loss, ends, [grad for layer in (*grads, doutput) for grad in layer]
