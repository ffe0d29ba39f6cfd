"""Models of Keras: `.keras`, `.h5` and `.weights.h5`; the order of the layers comes from the configuration.

Kernels are (in, G * H), recurrent ones (H, G * H). An LSTM's gates are i f c o, torch's i f g o; a GRU's z r h, where
torch has r z n. A GRU with reset_after has two biases, (2, 3 * H), and is torch's; the other kind is not.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from charlm.formats.frameworks.weights import MASKED, Tensors, Weights, by_number, cell, gates, need

GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
# What leaves no trace in what a model computes when it writes.
SILENT = (
    "InputLayer", "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "ActivityRegularization",
    "Masking",
)  # fmt: skip
ACTIVATIONS = ("linear", "softmax", None)  # after the output
NOT_TORCHS = (
    "reset_after=False: it multiplies the state by the reset gate before its matrix, as torch's GRU and ours do not; "
    "train it with reset_after=True"
)
TEXTGENRNN = (
    "it is textgenrnn's: its output reads an attention over the embedding and both layers of 40 characters, which no "
    "stack of layers here computes, so nothing near it would be the same model"
)
MOST_LAYERS = 60
VARIABLES = {"embeddings": "embedding", "kernel": "kernel", "recurrent_kernel": "recurrent", "bias": "bias"}


def from_config(config: Any, arrays: Mapping[str, Tensor], weights: Mapping[str, list[str]]) -> Weights:
    """The layers of a model with its configuration.

    Args:
        config: the parsed config.json, or the attribute model_config.
        arrays: by their paths in the HDF5 file.
        weights: the paths by layer, by its name in an .h5 file; empty: a .weights.h5 of version 3.

    Raises:
        ValueError: a layer has no place in a stack, or is set otherwise than torch's.
    """
    layers = list(_layers(config))
    if not weights:
        weights = _paths_by_layer(layers, arrays)
    tensors, facts, place, has_output = Tensors(), dict[str, Any](), 0, False
    for kind, about in layers:
        name = str(about.get("name"))
        if kind == "TimeDistributed":
            kind, about = _inner(about)
        if kind in SILENT or (kind in ("Activation", "Softmax") and about.get("activation", "softmax") in ACTIVATIONS):
            continue
        parts = [arrays[path] for path in weights.get(name, []) if path in arrays]
        if has_output:
            raise ValueError(f"layer {name!r} ({kind}) follows its output")
        if kind in GATES:
            facts |= _settings(kind, name, about)
            tensors |= _recurrent(f"cell{place}", kind, name, parts)
            place += 1
        elif kind == "Embedding" and not tensors:
            facts[MASKED] = bool(about.get("mask_zero"))
            tensors["embedding.weight"] = _matrix(name, parts)
        elif kind == "Dense":
            if about.get("activation") not in ACTIVATIONS:
                raise ValueError(f"layer {name!r} has the activation {str(about['activation'])[:40]!r}, no softmax")
            tensors["output.weight"], has_output = _matrix(name, parts).t(), True
            tensors |= {"output.bias": parts[1]} if len(parts) > 1 else {}
        else:
            raise ValueError(f"it has another layer, {name[:60]!r} ({str(kind)[:40]})")
    return Weights(tensors, facts)


def _layers(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Class and settings of each layer, checked to be a chain."""
    inner = config.get("config") if isinstance(config, dict) else None
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    if not isinstance(layers, list) or not 1 <= len(layers) <= MOST_LAYERS:
        raise ValueError(
            "its configuration lists no layers; a model of a class of its own can be saved with save_weights"
        )
    if any("Attention" in str(layer.get("class_name")) for layer in layers if isinstance(layer, dict)):
        raise ValueError(
            TEXTGENRNN
            if "textgenrnn" in _text(config) or "rnn_concat" in _text(config)
            else "it has a layer of attention, which no stack of layers here computes"
        )
    before = ""
    for layer in layers:
        about = layer.get("config") if isinstance(layer, dict) else None
        if not isinstance(about, dict):
            raise ValueError("its configuration is damaged")
        sources = set(_sources(layer.get("inbound_nodes", [])))
        name = str(layer.get("name") or about.get("name"))
        if sources and sources != {before}:
            raise ValueError(f"layer {name[:60]!r} does not follow {before[:60]!r} alone")
        before = name
        yield str(layer.get("class_name")), {**about, "name": name}


def _text(value: Any) -> str:
    return json.dumps(value)


def _sources(nodes: Any) -> Iterator[str]:
    """The names of the layers that a layer reads, as version 3 and those before wrote them."""
    if isinstance(nodes, dict):
        history = nodes.get("keras_history")
        if isinstance(history, list) and history:
            yield str(history[0])
        else:
            for value in nodes.values():
                yield from _sources(value)
    elif isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and type(nodes[1]) is int and type(nodes[2]) is int:
            yield nodes[0]
        else:
            for value in nodes:
                yield from _sources(value)


def _inner(about: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    layer = about.get("layer")
    own = layer.get("config") if isinstance(layer, dict) else None
    if not isinstance(layer, dict) or not isinstance(own, dict):
        raise ValueError("its configuration is damaged")
    return str(layer.get("class_name")), own


def _settings(kind: str, name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse a layer that computes otherwise than torch's; what torch's has a choice of."""
    nonlinearity, gate = about.get("activation", "tanh"), about.get("recurrent_activation", "sigmoid")
    if nonlinearity not in (("tanh", "relu") if kind == "SimpleRNN" else ("tanh",)):
        raise ValueError(f"layer {name!r} has the activation {str(nonlinearity)[:40]!r}, where torch's has 'tanh'")
    if kind != "SimpleRNN" and gate != "sigmoid":
        raise ValueError(f"layer {name!r} has the recurrent_activation {str(gate)[:40]!r}, where torch's has 'sigmoid'")
    if about.get("go_backwards"):
        raise ValueError(f"layer {name!r} reads the text backwards, and generation cannot know what comes")
    if kind == "GRU" and not about.get("reset_after", False):
        raise ValueError(f"layer {name!r} has {NOT_TORCHS}")
    return {"nonlinearity": nonlinearity}


def _recurrent(stack: str, kind: str, name: str, parts: list[Tensor]) -> Tensors:
    """A layer by torch's names."""
    if len(parts) not in (2, 3) or parts[0].dim() != 2 or parts[1].dim() != 2:
        raise ValueError(f"layer {name!r} has no two matrices, which a {kind} has")
    kernel, recurrent, bias = parts[0].t(), parts[1].t(), parts[2] if len(parts) > 2 else None
    if len(recurrent) != GATES[kind] * recurrent.shape[1] or len(kernel) != len(recurrent):
        raise ValueError(
            f"layer {name!r} has matrices {tuple(parts[0].shape)} and {tuple(parts[1].shape)}, no {kind}'s"
        )
    if kind != "GRU":
        return cell(stack, kernel, recurrent, bias)
    if bias is not None and bias.dim() != 2:
        raise ValueError(f"layer {name!r} has {NOT_TORCHS}")
    order = (1, 0, 2)
    both = [gates(part, order) for part in bias] if bias is not None else [None, None]
    return cell(stack, gates(kernel, order), gates(recurrent, order), *both)


def _matrix(name: str, parts: list[Tensor]) -> Tensor:
    if not parts or parts[0].dim() != 2:
        raise ValueError(f"layer {name!r} has no matrix")
    return parts[0]


def _paths_by_layer(layers: list[tuple[str, dict[str, Any]]], arrays: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Where version 3 keeps each layer's arrays: by its class and how many such came before, not by its name."""
    counts: dict[str, int] = {}
    found = {}
    for kind, about in layers:
        snake = _snake(kind)
        count = counts[snake] = counts.get(snake, -1) + 1
        folder = f"layers/{snake}_{count}/" if count else f"layers/{snake}/"
        found[str(about["name"])] = sorted((path for path in arrays if path.startswith(folder)), key=by_number)
    return found


def _snake(name: str) -> str:
    """Keras' own rule, keras.src.utils.naming.to_snake_case."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def from_paths(arrays: Mapping[str, Tensor]) -> Tensors:
    """The layers of weights without a configuration, as save_weights writes them: by shapes, in the order of names.

    Args:
        arrays: by their paths: `gru/cell/vars/0`, `layer_with_weights-1/cell/kernel`, `lstm/lstm_cell/kernel:0`.

    Raises:
        ValueError: a layer is none that is known here.
    """
    layers: dict[str, list[str]] = {}
    for path in sorted(arrays, key=by_number):
        layers.setdefault(re.sub(r"(/cell|/\w+_cell)?(/vars)?/[^/]+$", "", path), []).append(path)
    if any("attention" in name for name in layers):
        raise ValueError(TEXTGENRNN)
    tensors: Tensors = {}
    for name, paths in layers.items():
        parts = _ordered(arrays, paths)
        stack = name.replace("/", ".")
        if not parts:
            continue
        if len(parts) > 1 and parts[0].dim() == parts[1].dim() == 2:
            ratio = parts[1].shape[1] // max(parts[1].shape[0], 1)
            kind = next((kind for kind, count in GATES.items() if count == ratio), "SimpleRNN")
            tensors |= _recurrent(stack, kind, name, parts)
        elif len(parts) > 1 or paths[0].endswith("kernel"):
            tensors[f"{stack}.weight"] = _matrix(name, parts).t()
            tensors |= {f"{stack}.bias": need({name: parts[1]}, name, 1)} if len(parts) > 1 else {}
        else:
            tensors[f"{stack}.embedding.weight"] = _matrix(name, parts)
    return tensors


def _ordered(arrays: Mapping[str, Tensor], paths: list[str]) -> list[Tensor]:
    """Kernel, recurrent kernel, bias: by their names where they have such, else by their numbers."""
    order = ["embeddings", "kernel", "recurrent_kernel", "bias"]
    leaves = [path.rpartition("/")[2].partition(":")[0] for path in paths]
    if all(leaf in order for leaf in leaves):
        paths = [path for _, path in sorted(zip(map(order.index, leaves), paths, strict=True))]
    elif not all(leaf.isdigit() for leaf in leaves):
        return []  # the state of an optimizer, a seed
    return [arrays[path] for path in paths if arrays[path].dim()]
