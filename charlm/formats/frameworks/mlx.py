"""Parameters of MLX: `layers.0.Wx` and the like, all else is named as torch does.

Matrices are (G * H, in), an LSTM's gates i f g o, a GRU's r z n; of the state's side a GRU has the new gate's bias.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor

from charlm.formats.frameworks.weights import Tensors, cell, last_block, need

OWN = ("Wx", "Wh", "Wxh", "Whh", "bias", "b", "bhn")


def is_mlx(names: Iterable[str]) -> bool:
    """Whether parameters have MLX's names; of min-char-rnn's, read in state_dict.py, some are the same."""
    names = set(names)
    return "Why" not in names and any(name.rpartition(".")[2] in ("Wx", "Wxh") for name in names)


def from_mlx(tensors: Mapping[str, Tensor]) -> Tensors:
    """The parameters by torch's names.

    Raises:
        ValueError: a layer lacks a matrix.
    """
    layers: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        layers.setdefault(layer, {})[leaf] = tensor
    found: Tensors = {}
    for layer, parts in layers.items():
        if "Wx" not in parts and "Wxh" not in parts:
            found |= {f"{layer}.{leaf}".lstrip("."): tensor for leaf, tensor in parts.items()}
            continue
        w_ih = need(parts, "Wx" if "Wx" in parts else "Wxh", 2)
        w_hh = need(parts, "Wh" if "Wx" in parts else "Whh", 2)
        b_hh = last_block(need(parts, "bhn", 1), 3) if "bhn" in parts else None
        found |= cell(layer or "rnn", w_ih, w_hh, parts.get("b", parts.get("bias")), b_hh)
        found |= {f"{layer}.{leaf}": tensor for leaf, tensor in parts.items() if leaf not in OWN}
    return found
