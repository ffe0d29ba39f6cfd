"""Variables of char-rnn-tensorflow and what was made of it, ml5.js among them.

A kernel (in + H, 4 * H) is that of inputs over that of the state, its gates i j f o (j is torch's g); 1 is added to the
forget gate when the model runs, and is not stored.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from charlm.formats.frameworks.weights import Tensors, cell, gates

CELL = re.compile(r"(?P<scope>.*/)?(?P<kind>\w*cell)/(?:(?P<part>kernel|weights|bias|biases)|.+)")
NUMBER = re.compile(r"(?:^|/)cell_?(\d{1,3})/")
LSTM, RNN = ("basic_lstm_cell", "lstm_cell"), ("basic_rnn_cell",)
FORGET_BIAS = 1.0
HEADS = re.compile(r"(?:.*/)?(?P<name>embedding|softmax_w|softmax_b)")
SLOTS = re.compile(r".*/(?:Adam(?:_1)?|RMSProp(?:_1)?|Momentum|ExponentialMovingAverage)")


def is_char_rnn(names: Iterable[str]) -> bool:
    """Whether variables have these names."""
    return any(HEADS.fullmatch(name) for name in names)


def from_char_rnn(variables: Mapping[str, Tensor]) -> Tensors:
    """The variables by torch's names.

    Raises:
        ValueError: cells of another kind, or other shapes.
    """
    found: Tensors = {}
    layers: dict[int, Tensors] = {}
    for name, tensor in variables.items():
        if SLOTS.fullmatch(name):
            continue
        if head := HEADS.fullmatch(name):
            found[head["name"]] = tensor
        elif part := CELL.fullmatch(name):
            if part["kind"] not in (*LSTM, *RNN) or not part["part"]:
                raise ValueError(_other(name))
            number = NUMBER.search(part["scope"] or "")
            layers.setdefault(int(number[1]) if number else 0, {})[f"{part['kind']} {part['part'][0]}"] = tensor
        elif tensor.dim() > 1:
            raise ValueError(f"it has another layer, {name!r}")
    tensors = {"embedding.weight": found["embedding"]} if "embedding" in found else {}
    for layer in sorted(layers):
        tensors |= _layer(f"cell{layer}", layers[layer])
    if found.get("softmax_w") is None or found["softmax_w"].dim() != 2:
        raise ValueError("it has no 'softmax_w'")
    tensors["output.weight"] = found["softmax_w"].t()
    return tensors | ({"output.bias": found["softmax_b"]} if "softmax_b" in found else {})


def _other(name: str) -> str:
    why = ", which multiplies the state by the reset gate before its matrix, as torch's GRU does not" * ("gru" in name)
    return f"{name!r} is of another cell{why}"


def _layer(stack: str, parts: Tensors) -> Tensors:
    """One layer: the kernel's rows are those of the input, then of the state."""
    kernel = next((part for name, part in parts.items() if name[-1] in "kw"), None)
    bias = next((part for name, part in parts.items() if name.endswith(" b")), None)
    kind = next(iter(parts)).partition(" ")[0]
    if kernel is None or kernel.dim() != 2 or (bias is not None and bias.shape != kernel.shape[1:]):
        raise ValueError(f"{stack!r} has no kernel, or a bias of another length")
    matrix = kernel.t().float()
    bias = matrix.new_zeros(len(matrix)) if bias is None else bias.float()
    hidden = len(matrix)
    if kind in LSTM:
        hidden //= 4
        matrix, bias = gates(matrix, (0, 2, 1, 3)), gates(bias, (0, 2, 1, 3)).clone()
        bias[hidden : 2 * hidden] += FORGET_BIAS
    if not 0 < hidden < matrix.shape[1]:
        raise ValueError(f"{stack!r} has a kernel {tuple(kernel.shape)}, no room for input and state")
    w_ih, w_hh = torch.split(matrix, [matrix.shape[1] - hidden, hidden], dim=1)
    return cell(stack, w_ih, w_hh, bias)
