"""LSTM, GRU and RNN step by step, compiled."""

from typing import NamedTuple

import numpy as np
import torch

from charlm.generation.compiled.base import Array, CompiledModel, State, clear, copy, fill, is_type_of, step, zeros
from charlm.models.kernels.jit import inlined, is_wanted, sigmoid, tanh
from charlm.models.kernels.matmul16 import add_products, inputs_of, pack, padded_columns, padded_rows
from charlm.models.recurrent import RecurrentModel

LSTM_GATES, GRU_GATES = 4, 3


class Weights(NamedTuple):
    """A model's weights, ordered for reading; N is gates * H filled up to whole tiles of 32 columns.

    Matrices are in 16 bits, see `kernels.matmul16`; everything else is float32.

    Attributes:
        gates: 4 of an LSTM, 3 of a GRU, 1 of a plain RNN.
        relu: whether the plain RNN's nonlinearity is relu instead of tanh.
        table: (V, N) the first layer's input part of each token, biases added; with an embedding (V, E), its vectors.
        first: (N / 32, E + 2, 16) the first layer's input weights; no tiles without an embedding.
        inputs: (L - 1, N / 32, H + 2, 16) those of the other layers.
        hidden: (L, N / 32, H + 2, 16) recurrent weights.
        bias: (L, N) of the input part.
        past_bias: (L, N) of the GRU's recurrent part, which has its own sum; the others' is in `bias`.
        out: (V / 32, H + 2, 16) weights of the logits.
        out_bias: (V filled up,).
    """

    gates: int
    relu: bool
    table: Array
    first: Array
    inputs: Array
    hidden: Array
    bias: Array
    past_bias: Array
    out: Array
    out_bias: Array


@torch.no_grad()
def weights_of(model: RecurrentModel) -> Weights:
    """A copy of the model's weights as they are now."""
    config, recurrent = model.config, _numbers(model, "rnn.weight_hh_l0")
    gates = len(recurrent) // config.hidden_size
    hidden = [pack(_numbers(model, f"rnn.weight_hh_l{layer}")) for layer in range(config.num_layers)]
    inputs = [pack(_numbers(model, f"rnn.weight_ih_l{layer}")) for layer in range(1, config.num_layers)]
    bias, past_bias = _biases(model, gates)
    first = _numbers(model, "rnn.weight_ih_l0")  # (gates * H, V or E)
    if model.embed is not None:
        table, first = model.embed.weight.float().numpy().copy(), pack(first)
    else:
        table, first = _lookup(first, bias[0]), pack(first[:0])
    out_bias = np.zeros(padded_columns(config.vocab_size), np.float32)
    out_bias[: config.vocab_size] = model.fc.bias.float().numpy()
    return Weights(
        gates=gates,
        relu=config.arch == "rnn" and config.nonlinearity == "relu",
        table=table,
        first=first,
        inputs=np.stack(inputs) if inputs else np.empty((0, *hidden[0].shape), np.int32),
        hidden=np.stack(hidden),
        bias=bias,
        past_bias=past_bias,
        out=pack(model.fc.weight.float().numpy()),
        out_bias=out_bias,
    )


def _numbers(model: RecurrentModel, name: str) -> Array:
    return model.get_parameter(name).float().numpy()


def _biases(model: RecurrentModel, gates: int) -> tuple[Array, Array]:
    """Of the input part and of the GRU's recurrent part, (L, N) each."""
    config = model.config
    width = gates * config.hidden_size
    bias, past_bias = np.zeros((2, config.num_layers, padded_columns(width)), np.float32)
    for layer in range(config.num_layers):
        own = past_bias if gates == GRU_GATES else bias
        bias[layer, :width] = _numbers(model, f"rnn.bias_ih_l{layer}")
        own[layer, :width] += _numbers(model, f"rnn.bias_hh_l{layer}")
    return bias, past_bias


def _lookup(weight: Array, bias: Array) -> Array:
    """The input part of each token, (V, N), from the weights of one-hot inputs (gates * H, V)."""
    table = np.tile(bias, (weight.shape[1], 1))
    table[:, : len(weight)] += weight.T
    return table


@inlined
def lstm_row(a: Array, h: Array, c: Array) -> None:
    """A step of one row of an LSTM.

    Args:
        a: (>= 4 H,) float32, the gates' sums in torch's order i, f, g, o; overwritten.
        h: (H,) float32, the hidden state; becomes the next one.
        c: (H,) float32, the cell; likewise.
    """
    size = h.shape[0]
    i, f, g, o = a[:size], a[size : 2 * size], a[2 * size : 3 * size], a[3 * size : 4 * size]
    for j in range(2 * size):
        a[j] = sigmoid(a[j])
    for j in range(size):
        g[j] = tanh(g[j])
    for j in range(size):
        o[j] = sigmoid(o[j])
    for j in range(size):
        g[j] *= i[j]
    for j in range(size):
        c[j] = f[j] * c[j] + g[j]
    for j in range(size):
        h[j] = tanh(c[j]) * o[j]


@inlined
def gru_row(a: Array, past: Array, h: Array) -> None:
    """A step of one row of a GRU.

    Args:
        a: (>= 3 H,) float32, the input's sums in torch's order r, z, n; overwritten.
        past: (>= 3 H,) float32, those of the recurrent part; overwritten.
        h: (H,) float32, the hidden state; becomes the next one.
    """
    size = h.shape[0]
    r, z, n = a[:size], a[size : 2 * size], a[2 * size : 3 * size]
    for j in range(2 * size):
        a[j] = sigmoid(a[j] + past[j])
    past_n = past[2 * size : 3 * size]
    for j in range(size):
        past_n[j] *= r[j]
    for j in range(size):
        n[j] = tanh(n[j] + past_n[j])
    for j in range(size):
        h[j] = n[j] + z[j] * (h[j] - n[j])


@inlined
def rnn_row(a: Array, h: Array, relu: bool) -> None:
    """A step of one row of a plain RNN.

    Args:
        a: (>= H,) float32, the sum of input and recurrent part.
        h: (H,) float32, overwritten by the next hidden state.
        relu: whether the nonlinearity is relu instead of tanh.
    """
    for j in range(h.shape[0]):
        h[j] = max(a[j], np.float32(0)) if relu else tanh(a[j])


@inlined
def look_up(w: Weights, ids: Array, vectors: Array, gates: Array) -> None:
    """Compute the first layer's input part for one token of each row.

    Args:
        w: the model.
        ids: (B,) int64.
        vectors: (R, E) float32 with R = `padded_rows(B)`, overwritten; not used without an embedding.
        gates: (R, N) float32, overwritten by the input part.
    """
    rows = ids.shape[0]
    if w.first.shape[0] == 0:
        for b in range(rows):
            copy(gates[b], w.table[ids[b]])
        return
    for b in range(rows):
        copy(vectors[b], w.table[ids[b]])
    fill(gates, rows, w.bias[0])
    add_products(vectors, rows, w.first, gates)


class Work(NamedTuple):
    """Work arrays of `R = padded_rows(B)` rows in float32: embedding vectors (R, E), two kinds of sums, logits."""

    vectors: Array
    gates: Array
    past: Array
    logits: Array


@inlined
def recurrent_step(w: Weights, ids: Array, state: Array, work: Work) -> None:
    """Read one token of each row.

    Args:
        w: the model.
        ids: (B,) int64.
        state: (S, L, R, H) float32, becomes the next one.
        work: overwritten; its logits are the result.
    """
    rows, h, c, gates, past = ids.shape[0], state[0], state[state.shape[0] - 1], work.gates, work.past
    for layer in range(h.shape[0]):
        if layer == 0:
            look_up(w, ids, work.vectors, gates)
        else:
            fill(gates, rows, w.bias[layer])
            add_products(h[layer - 1], rows, w.inputs[layer - 1], gates)
        if w.gates == GRU_GATES:
            fill(past, rows, w.past_bias[layer])
            add_products(h[layer], rows, w.hidden[layer], past)
        else:
            add_products(h[layer], rows, w.hidden[layer], gates)
        for b in range(rows):
            if w.gates == LSTM_GATES:
                lstm_row(gates[b], h[layer, b], c[layer, b])
            elif w.gates == GRU_GATES:
                gru_row(gates[b], past[b], h[layer, b])
            else:
                rnn_row(gates[b], h[layer, b], w.relu)
    fill(work.logits, rows, w.out_bias)
    add_products(h[h.shape[0] - 1], rows, w.out, work.logits)


@inlined
def clear_row(state: Array, row: int) -> None:
    """Set a row of a state (S, L, R, H) to zero."""
    for s in range(state.shape[0]):
        for layer in range(state.shape[1]):
            for j in range(state.shape[3]):
                state[s, layer, row, j] = 0.0


if is_wanted():
    from numba.extending import overload

    @overload(step)
    def _step(w, ids, state, work):  # type: ignore[no-untyped-def]
        if is_type_of(w, Weights):
            return lambda w, ids, state, work: recurrent_step(w, ids, state[0], work)

    @overload(clear)
    def _clear(w, state, row):  # type: ignore[no-untyped-def]
        if is_type_of(w, Weights):
            return lambda w, state, row: clear_row(state[0], row)


class CompiledRNN(CompiledModel):
    """An LSTM, a GRU or an RNN; its state is one array (S, L, B, H).

    Args:
        model: on the CPU.
    """

    def __init__(self, model: RecurrentModel) -> None:
        self._shape = model.NUM_STATES, model.config.num_layers, model.config.hidden_size
        self.weights = weights_of(model)

    def initial_state(self, rows: int) -> State:
        states, layers, hidden = self._shape
        return (np.zeros((states, layers, rows, hidden), np.float32),)

    def padded(self, state: State) -> State:
        rows = state[0].shape[2]
        padded = self.initial_state(padded_rows(rows))
        padded[0][:, :, :rows] = state[0]
        return padded

    def work_arrays(self, rows: int) -> Work:
        w = self.weights
        return Work(*zeros(rows, inputs_of(w.first), w.bias.shape[1], w.bias.shape[1], w.out_bias.shape[0]))
