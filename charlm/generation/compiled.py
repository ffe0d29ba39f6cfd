"""Recurrent models step by step, compiled: many tokens of many texts in one call, without Python in between.

A text's state and tokens are the same bit for bit whether it is written alone or beside others.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

from charlm.generation.sampling import NO_TOKEN, SamplingParams, sample_token
from charlm.models import LanguageModel
from charlm.models.kernels.jit import compiled, inlined, is_wanted, sigmoid, tanh
from charlm.models.kernels.matmul import add_products, pack, padded_columns, padded_rows
from charlm.models.recurrent import RecurrentModel

Array = np.ndarray[Any, Any]
LSTM_GATES, GRU_GATES = 4, 3


class Weights(NamedTuple):
    """A model's weights, ordered for reading; N is gates * H filled up to whole tiles of n columns.

    Attributes:
        gates: 4 of an LSTM, 3 of a GRU, 1 of a plain RNN.
        relu: whether the plain RNN's nonlinearity is relu instead of tanh.
        table: (V, N) the first layer's input part of each token, biases added; with an embedding (V, E), its vectors.
        first: (N / n, E, n) the first layer's input weights; no tiles without an embedding.
        inputs: (L - 1, N / n, H, n) those of the other layers.
        hidden: (L, N / n, H, n) recurrent weights.
        bias: (L, N) of the input part.
        past_bias: (L, N) of the GRU's recurrent part, which has its own sum; the others' is in `bias`.
        out: (V / n, H, n) weights of the logits.
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
    """A copy of the model's weights as they are now, in float32."""
    config, recurrent = model.config, _numbers(model, "rnn.weight_hh_l0")
    gates = len(recurrent) // config.hidden_size
    hidden = [pack(_numbers(model, f"rnn.weight_hh_l{layer}")) for layer in range(config.num_layers)]
    inputs = [pack(_numbers(model, f"rnn.weight_ih_l{layer}")) for layer in range(1, config.num_layers)]
    bias, past_bias = _biases(model, gates)
    first = _numbers(model, "rnn.weight_ih_l0")  # (gates * H, V or E)
    if model.embed is not None:
        table, first = model.embed.weight.float().numpy().copy(), pack(first)
    else:
        table, first = _lookup(first, bias[0]), np.empty((0, 1, 1), np.float32)
    out_bias = np.zeros(padded_columns(config.vocab_size), np.float32)
    out_bias[: config.vocab_size] = model.fc.bias.float().numpy()
    return Weights(
        gates=gates,
        relu=config.arch == "rnn" and config.nonlinearity == "relu",
        table=table,
        first=first,
        inputs=np.stack(inputs) if inputs else np.empty((0, *hidden[0].shape), np.float32),
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
def copy(to: Array, row: Array) -> None:
    """Copy a row; a loop, which compiles in a tenth of the time of to[:] = row."""
    for j in range(row.shape[0]):
        to[j] = row[j]


@inlined
def fill(y: Array, rows: int, start: Array) -> None:
    """Start each row's sums with the same numbers.

    Args:
        y: (R, N) float32.
        rows: how many of its rows are overwritten.
        start: (N,) float32.
    """
    for b in range(rows):
        copy(y[b], start)


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


@compiled
def step(w: Weights, ids: Array, state: Array, vectors: Array, gates: Array, past: Array, logits: Array) -> None:
    """Read one token of each row. All float arrays are float32 and have R = `padded_rows(B)` rows.

    Args:
        w: the model.
        ids: (B,) int64.
        state: (S, L, R, H), becomes the next one.
        vectors: (R, E), overwritten.
        gates: (R, N), overwritten.
        past: (R, N), overwritten.
        logits: (R, V filled up), overwritten by the result.
    """
    rows, h, c = ids.shape[0], state[0], state[state.shape[0] - 1]
    for layer in range(h.shape[0]):
        if layer == 0:
            look_up(w, ids, vectors, gates)
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
    fill(logits, rows, w.out_bias)
    add_products(h[h.shape[0] - 1], rows, w.out, logits)


@compiled
def decode(
    w: Weights, params: SamplingParams, ids: Array, given: Array, draws: Array, recent: Array, state: Array,
    vectors: Array, gates: Array, past: Array, logits: Array, written: Array,
) -> None:  # fmt: skip
    """T times, read a token of each row and choose the next one: the given one, or else a sampled one.

    Args:
        w: the model.
        params: how each row samples.
        ids: (B,) int64, read first; becomes the tokens chosen last, which are not read.
        given: (B, T) int64, NO_TOKEN where a token is to be sampled.
        draws: (B, T) float64 in [0, 1), for the choices.
        recent: (B, N) int64, the ids read before, the oldest first; overwritten by those that are read.
        state: (S, L, R, H), becomes the one after all that was read.
        vectors, gates, past, logits: work arrays, see `step`.
        written: (B, T) int64, overwritten by the tokens; where the logits are not finite, by NO_TOKEN, and the row
            continues with token 0.
    """
    size = w.table.shape[0]
    for t in range(written.shape[1]):
        step(w, ids, state, vectors, gates, past, logits)
        for b in range(ids.shape[0]):
            recent[b, t % recent.shape[1]] = ids[b]
            token = given[b, t]
            if token == NO_TOKEN:
                token = sample_token(params, b, logits[b, :size].astype(np.float64), recent[b], draws[b, t])
            written[b, t] = token
            ids[b] = max(token, 0)
            if token == params.border[b] and token >= 0:  # the next item begins from nothing
                for s in range(state.shape[0]):
                    for layer in range(state.shape[1]):
                        for j in range(state.shape[3]):
                            state[s, layer, b, j] = 0.0


class CompiledRNN:
    """A copy of a model's weights as they are now, made ready for compiled steps; later changes do not reach it.

    Args:
        model: a recurrent one on the CPU.
    """

    def __init__(self, model: LanguageModel) -> None:
        assert isinstance(model, RecurrentModel)
        self._vocab_size = model.config.vocab_size
        self._shape = model.NUM_STATES, model.config.num_layers, model.config.hidden_size
        self.weights = weights_of(model)

    def initial_state(self, rows: int) -> Array:
        """The state before the first token, (S, L, rows, H)."""
        states, layers, hidden = self._shape
        return np.zeros((states, layers, rows, hidden), np.float32)

    def logits(self, ids: Array, state: Array) -> tuple[Array, Array]:
        """Ids (B,) and the state before them -> logits (B, V) and the state after them."""
        state, (vectors, gates, past, logits) = self._padded(state), self._work_arrays(len(ids))
        step(self.weights, ids.astype(np.int64), state, vectors, gates, past, logits)
        return logits[: len(ids), : self._vocab_size], state[:, :, : len(ids)]

    def decode(
        self, params: SamplingParams, ids: Array, given: Array, draws: Array, state: Array, recent: Array
    ) -> tuple[Array, Array]:
        """Read ids (B,), then T times read the next token, given or sampled.

        Args:
            params: how each row samples.
            ids: (B,) int64, read first.
            given: (B, T) int64, the tokens that come next; NO_TOKEN where one is to be sampled.
            draws: (B, T) float64 in [0, 1), for the choices.
            state: (S, L, B, H) before `ids`.
            recent: (B, N) int64, read before `ids`, the oldest first, NO_TOKEN in front where there are fewer.

        Returns:
            The tokens after `ids`, (B, T), the last ones not read yet; NO_TOKEN from where logits were not finite.
            The state before the last ones.
        """
        state, written = self._padded(state), np.empty(given.shape, np.int64)
        read = ids.copy(), given, draws, recent.copy(), state
        decode(self.weights, params, *read, *self._work_arrays(len(ids)), written)
        return written, state[:, :, : len(ids)]

    def _work_arrays(self, rows: int) -> tuple[Array, Array, Array, Array]:
        """For embedding vectors, two kinds of sums, and logits."""
        w = self.weights
        widths = w.first.shape[1], w.bias.shape[1], w.bias.shape[1], w.out_bias.shape[0]
        vectors, gates, past, logits = (np.zeros((padded_rows(rows), width), np.float32) for width in widths)
        return vectors, gates, past, logits

    def _padded(self, state: Array) -> Array:
        """A copy of a state with as many rows as products want."""
        rows = state.shape[2]
        padded = self.initial_state(padded_rows(rows))
        padded[:, :, :rows] = state
        return padded


def can_compile(model: LanguageModel) -> bool:
    """Whether there is a CompiledRNN for the model: it is recurrent, on the CPU, and loops can be compiled."""
    return is_wanted() and isinstance(model, RecurrentModel) and model.device.type == "cpu"
