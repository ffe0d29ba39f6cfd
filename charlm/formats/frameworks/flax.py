"""Parameters of Flax, nnx and linen, as one flat table: `lstm.cell.ii.kernel`, `params/Dense_0/kernel`.

Kernels are (in, out), an LSTM's gates i f g o, a GRU's r z n with the reset after the product, as torch has them.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from charlm.formats.frameworks.weights import Tensors, cell, last_block, need

GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}
STATE = ("rngs", "rng", "dropout", "rngs_stream")  # random numbers' state, which an nnx module has among its own
LEAVES = ("kernel", "embedding")


def is_flax(names: Iterable[str]) -> bool:
    """Whether parameters have Flax's names."""
    return any(_path(name)[-1:] == [leaf] for name in names for leaf in LEAVES)


def _path(name: str) -> list[str]:
    parts = [part for part in re.split(r"[./]", name) if part]
    parts = parts[:-1] if parts[-1:] == ["value"] else parts
    return parts[1:] if parts[:1] == ["params"] else parts


def from_flax(tensors: Mapping[str, Tensor]) -> Tensors:
    """The parameters by torch's names.

    Raises:
        ValueError: a layer is none that torch has, too.
    """
    modules: dict[tuple[str, ...], Tensors] = {}
    for name, tensor in tensors.items():
        *path, leaf = _path(name) or [""]
        if not set(path) & set(STATE):
            modules.setdefault(tuple(path), {})[leaf] = tensor
    found: Tensors = {}
    for stack in dict.fromkeys(own[:-1] for own in modules if own and _is_gate(own[-1])):
        inner = {own[-1]: parts for own, parts in modules.items() if own[:-1] == stack and _is_gate(own[-1])}
        found |= _cell(".".join(stack) or "cell", inner)
        modules = {own: parts for own, parts in modules.items() if not (own[:-1] == stack and _is_gate(own[-1]))}
    for own, parts in modules.items():
        name = ".".join(own)
        if "embedding" in parts:
            found[f"{name}.embedding.weight"] = need(parts, "embedding", 2)
        elif "kernel" in parts:
            found[f"{name}.weight"] = need(parts, "kernel", 2).t()
            found |= {f"{name}.bias": parts["bias"]} if "bias" in parts else {}
        else:
            found |= {f"{name}.{leaf}": tensor for leaf, tensor in parts.items()}  # said to be another layer
    return found


def _is_gate(name: str) -> bool:
    return bool(re.fullmatch(r"[ih][ifgorzn]_?|dense_[ih]|[ih]", name))


def _cell(stack: str, inner: Mapping[str, Tensors]) -> Tensors:
    """One layer, of one matrix for all gates or of one for each."""
    if "dense_i" in inner and "dense_h" in inner:
        whole = {side: _part(inner, f"dense_{side}") for side in "ih"}
        biases = {side: inner[f"dense_{side}"].get("bias") for side in "ih"}
        return cell(stack, whole["i"], whole["h"], biases["i"], biases["h"])
    if "i" in inner and "h" in inner:
        return cell(stack, _part(inner, "i"), _part(inner, "h"), inner["i"].get("bias"), inner["h"].get("bias"))
    order = GATES["lstm" if {"hi", "ho"} <= inner.keys() else "gru"]
    matrices, biases = {}, {}
    for side in "ih":
        names = [f"{side}{gate}_" if f"{side}{gate}_" in inner else f"{side}{gate}" for gate in order]
        matrices[side] = torch.cat([_part(inner, name) for name in names])
        held = [inner[name].get("bias") for name in names]
        if all(bias is not None for bias in held):
            biases[side] = torch.cat([bias for bias in held if bias is not None])
        else:  # a GRU's new gate alone has one on the side of the state
            biases[side] = last_block(held[-1], len(order)) if held[-1] is not None else None
    return cell(stack, matrices["i"], matrices["h"], biases["i"], biases["h"])


def _part(inner: Mapping[str, Tensors], name: str) -> Tensor:
    if name not in inner:
        raise ValueError(f"its cell has no {name!r}")
    return need(inner[name], "kernel", 2).t()
