"""A recurrent model's weights in the order in which compiled loops read them."""

from typing import Any, NamedTuple

import numpy as np
import torch

from charlm.models.product import pack, padded_columns
from charlm.models.recurrent import RecurrentModel

Array = np.ndarray[Any, Any]
LSTM_GATES, GRU_GATES = 4, 3


class Weights(NamedTuple):
    """A model's weights, ordered for reading; N is gates * H filled up to whole tiles of n columns.

    Attributes:
        gates: 4 of an LSTM, 3 of a GRU, 1 of a plain RNN.
        relu: whether the plain RNN bends its sum with relu instead of tanh.
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
