"""A minGRU step by step, compiled."""

from typing import Any, NamedTuple

import numpy as np
import torch

from charlm.generation.compiled.base import Array, CompiledModel, State, clear, fill, is_type_of, step, zeros
from charlm.generation.compiled.residual import (
    ZERO,
    Shared,
    SharedWork,
    add_wide,
    embedding_of,
    layer_norm,
    look_up,
    packed,
    put_logits,
    shared_weights,
)
from charlm.models.kernels.jit import inlined, is_wanted
from charlm.models.kernels.matmul16 import add_products, padded_columns
from charlm.models.kernels.scan import next_state
from charlm.models.mingru import TAPS, MinGRUModel


class Weights(NamedTuple):
    """A model's weights, the larger matrices in 16 bits, see `kernels.matmul16`.

    Attributes:
        table: (V, H).
        taps: (L, TAPS, H), the convolution.
        gates: (L, 2 H / 32, H + 2, 16), of the update gate and of the candidates.
        bias: (L, 2 H filled up).
        shared: what a Transformer has, too.
    """

    table: Array
    taps: Array
    gates: Array
    bias: Array
    shared: Shared


class Work(NamedTuple):
    """Work arrays: the sums (R, 2 H filled up), the convolution's results (R, H), and what a Transformer has, too."""

    sums: Array
    mixed: Array
    shared: SharedWork
    logits: Array


@inlined
def convolve(x: Array, past: Array, row: int, taps: Array, y: Array) -> None:
    """A step of the convolution.

    Args:
        x: (H,), the present value.
        past: (TAPS - 1, B, H), the values before it, the oldest first; moves on.
        row: of the batch.
        taps: (TAPS, H).
        y: (H,), overwritten.
    """
    for j in range(x.shape[0]):
        y[j] = x[j] * taps[TAPS - 1, j]
    for tap in range(TAPS - 1):
        for j in range(x.shape[0]):
            y[j] += past[tap, row, j] * taps[tap, j]
        for j in range(x.shape[0]):
            past[tap, row, j] = x[j] if tap == TAPS - 2 else past[tap + 1, row, j]


@inlined
def recur(sums: Array, h: Array, x: Array) -> None:
    """A step of the recurrence; the new state h (H,) is added to x (H,)."""
    size = h.shape[0]
    k, c = sums[:size], sums[size : 2 * size]
    for j in range(size):
        h[j] = next_state(k[j], c[j], h[j])
    for j in range(size):
        x[j] += h[j]


@inlined
def mingru_step(w: Weights, ids: Array, hidden: Array, seen: Array, work: Work) -> None:
    """Read one token of each row.

    Args:
        w: the model.
        ids: (B,) int64.
        hidden: (L, 1, B, H) float32, the recurrence's state; becomes the next one.
        seen: (L, TAPS - 1, B, H) float32, the convolution's last inputs; likewise.
        work: overwritten; its logits are the result.
    """
    rows, shared = ids.shape[0], work.shared
    look_up(w.table, ids, shared.x)
    for layer in range(hidden.shape[0]):
        for b in range(rows):
            layer_norm(shared.x[b], w.shared.norms[layer, 0], shared.normed[b])
            convolve(shared.normed[b], seen[layer], b, w.taps[layer], work.mixed[b])
        fill(work.sums, rows, w.bias[layer])
        add_products(work.mixed, rows, w.gates[layer], work.sums)
        for b in range(rows):
            recur(work.sums[b], hidden[layer, 0, b], shared.x[b])
        add_wide(w.shared, layer, rows, shared)
    put_logits(w.shared, rows, shared)


@inlined
def clear_row(hidden: Array, seen: Array, row: int) -> None:
    """Set a row of the state to zero."""
    for layer in range(hidden.shape[0]):
        for j in range(hidden.shape[3]):
            hidden[layer, 0, row, j] = ZERO
            for tap in range(TAPS - 1):
                seen[layer, tap, row, j] = ZERO


if is_wanted():
    from numba.extending import overload

    @overload(step)
    def _step(w, ids, state, work):  # type: ignore[no-untyped-def]
        if is_type_of(w, Weights):
            return lambda w, ids, state, work: mingru_step(w, ids, state[0], state[1], work)

    @overload(clear)
    def _clear(w, state, row):  # type: ignore[no-untyped-def]
        if is_type_of(w, Weights):
            return lambda w, state, row: clear_row(state[0], state[1], row)


class CompiledMinGRU(CompiledModel):
    """A minGRU; its state is the recurrence's (L, 1, B, H) and the convolution's last inputs (L, TAPS - 1, B, H).

    Args:
        model: on the CPU.
    """

    def __init__(self, model: MinGRUModel) -> None:
        config = model.config
        bias = np.zeros((config.num_layers, padded_columns(2 * config.hidden_size)), np.float32)
        with torch.no_grad():
            taps = np.stack([block.conv.weight.float().numpy() for block in model.blocks])
            for row, block in zip(bias, model.blocks, strict=True):
                row[: 2 * config.hidden_size] = block.gates.bias.float().numpy()
        gates = packed(model, lambda block: block.gates)
        self.weights = Weights(embedding_of(model), taps, gates, bias, shared_weights(model))

    def initial_state(self, rows: int) -> State:
        layers, _, size = self.weights.taps.shape
        return tuple(np.zeros((layers, depth, rows, size), np.float32) for depth in (1, TAPS - 1))

    def work_arrays(self, rows: int) -> Any:
        w = self.weights
        sums, mixed = zeros(rows, w.bias.shape[1], w.table.shape[1])
        shared = SharedWork(*zeros(rows, *SharedWork.widths(w.shared)))
        return Work(sums, mixed, shared, shared.logits)
