"""A state_dict of torch's recurrent layers, whatever the names of its modules, as one of our models."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from charlm.config import ModelConfig
from charlm.errors import CheckpointError
from charlm.formats.frameworks.state_dict import normalised
from charlm.models import LanguageModel, model_class
from charlm.models.recurrent import gate_count
from charlm.runs.tensor_file import is_finite

RECURRENT = re.compile(
    r"(?P<stack>.*?)(?P<part>(?:weight|bias)_(?:ih|hh|hr)_l(?P<layer>\d{1,3}))(?P<reverse>_reverse)?"
)
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
MOST_TENSORS = 200
FITS = (
    "what fits is one nn.LSTM, nn.GRU or nn.RNN, or a chain of such or of their cells, an nn.Embedding before it or "
    "none, and one nn.Linear after it"
)


# What people's files hold that has no recurrent layers of torch, by a part of a name, and why it cannot be taken.
OTHERS = {
    "attn": "it is a Transformer, in which attention, positions and norms are others than here",
    "to_hidden_and_gate": "it is a minGRU between layers that the one here has not",
    "xh_to_": "it has makemore's cells, which begin with a state that they have learned",
}
Tensors = Mapping[str, Tensor]
Layers = Mapping[str, Tensors]


class Heads(NamedTuple):
    """The names of the layers before and after the recurrent ones; `embed` is empty where ids are one-hot."""

    embed: str
    out: str


def model_of(tensors: dict[str, Tensor], facts: Mapping[str, Any], nonlinearity: str, file: str) -> LanguageModel:
    """The model with these weights, in evaluation mode; missing biases are zeros.

    Args:
        tensors: a state_dict; emptied, so that each tensor is freed once it is converted.
        facts: what is beside it, perhaps a plain RNN's nonlinearity and the dropout.
        nonlinearity: tanh or relu, where the file does not say.
        file: its name, for messages.

    Raises:
        CheckpointError: it has other layers, odd shapes, or values that are no finite numbers.
        ConfigError: a size is beyond what this program trains.
    """
    try:
        normalised(tensors)
        recurrent, rest = _parted(tensors)
        heads = _heads(rest, recurrent)
        config, widths = _config(recurrent, rest, heads, facts, nonlinearity), _widths(recurrent)
        recurrent, rest = {}, {}  # each tensor is then freed once it is converted
        return _assembled(config, tensors, heads, widths)
    except ValueError as error:
        raise CheckpointError(f"{file} does not fit: {error}; {FITS}") from None
    except ArithmeticError as error:
        raise CheckpointError(f"{file} cannot be used: {error}; take an earlier checkpoint") from None


def _parted(tensors: Tensors) -> tuple[Tensors, Layers]:
    """The recurrent tensors by torch's names, and all others by layer."""
    recurrent: dict[str, Tensor] = {}
    rest: dict[str, dict[str, Tensor]] = {}
    stacks: dict[str, str] = {}
    if len(tensors) > MOST_TENSORS:
        raise ValueError(f"it has {len(tensors):,} tensors")
    for name, tensor in tensors.items():
        if found := RECURRENT.fullmatch(name):
            if found["reverse"]:
                raise ValueError(f"{name!r} reads the text backwards, too, and generation cannot know what comes")
            if "_hr_" in found["part"]:
                raise ValueError(f"{name!r} projects the hidden state")
            stacks[found["stack"]] = name
            recurrent[found["part"]] = tensor
        else:
            layer, _, leaf = name.rpartition(".")
            rest.setdefault(layer, {})[leaf] = tensor
    if len(stacks) != 1:
        if not stacks and (why := next((why for part, why in OTHERS.items() for name in tensors if part in name), "")):
            raise ValueError(why)
        named = " and ".join(repr(name) for name in [*stacks.values()][:2]) or repr(next(iter(tensors), "nothing"))
        raise ValueError(f"it has {len(stacks) or 'no'} recurrent layers of torch ({named})")
    return recurrent, rest


def _heads(rest: Layers, recurrent: Tensors) -> Heads:
    """Which of the other layers is the embedding and which the output."""
    first, hidden = recurrent.get("weight_ih_l0"), recurrent.get("weight_hh_l0")
    if first is None or hidden is None or first.dim() != 2 or hidden.dim() != 2:
        raise ValueError("'weight_ih_l0' and 'weight_hh_l0' must both be there, in two dimensions")
    for layer, parts in rest.items():
        if odd := next((leaf for leaf in parts if leaf not in ("weight", "bias")), None):
            raise ValueError(f"it has another layer, {_dotted(layer, odd)!r}")
        if "weight" not in parts or parts["weight"].dim() != 2:
            raise ValueError(f"it has another layer, {_dotted(layer, next(iter(parts)))!r}")
    width, size = first.shape[1], _widths(recurrent)[-1]
    outs = [layer for layer in rest if rest[layer]["weight"].shape[1] == size]
    embeds = [layer for layer in rest if rest[layer]["weight"].shape[1] == width and "bias" not in rest[layer]]
    embeds.sort(key=lambda layer: re.search(r"emb|enc|wte|lookup", layer, re.IGNORECASE) is None)  # as shapes may agree
    pairs = [
        Heads(embed, out) for embed in embeds for out in outs
        if {embed, out} == set(rest) and rest[embed]["weight"].shape[0] == rest[out]["weight"].shape[0] and embed != out
    ]  # fmt: skip
    if len(rest) == 1 and outs and rest[outs[0]]["weight"].shape[0] == width:
        return Heads("", outs[0])
    if not pairs:
        shapes = ", ".join(f"{_dotted(layer, 'weight')} {tuple(rest[layer]['weight'].shape)}" for layer in [*rest][:3])
        raise ValueError(f"beside {width} inputs and {size} hidden units it has {shapes or 'no other layer'}")
    return pairs[0]


def _dotted(layer: str, leaf: str) -> str:
    return f"{layer}.{leaf}" if layer else leaf


def _widths(recurrent: Tensors) -> list[int]:
    """Units of each layer, as far as their shapes are those of layers; all of the first otherwise."""
    count = len({name.rpartition("_l")[2] for name in recurrent})
    hidden = [recurrent.get(f"weight_hh_l{layer}") for layer in range(count)]
    rows, first = recurrent["weight_hh_l0"].shape
    shapes = [tuple(part.shape) if part is not None else () for part in hidden]
    is_proper = all(len(shape) == 2 and shape[0] * first == shape[1] * rows for shape in shapes)
    return [shape[1] for shape in shapes] if is_proper else [first] * count


def _config(recurrent: Tensors, rest: Layers, heads: Heads, facts: Mapping[str, Any], nonlinearity: str) -> ModelConfig:
    """The settings, by the shapes; dropout and a plain RNN's nonlinearity leave no trace in these."""
    rows, hidden = recurrent["weight_hh_l0"].shape
    arch = next((arch for arch in ("lstm", "gru", "rnn") if gate_count(arch) * hidden == rows), "")
    if not arch:
        raise ValueError(f"'weight_hh_l0' is {rows} x {hidden}, no LSTM's, GRU's or RNN's shape")
    stated, dropout = facts.get("nonlinearity"), facts.get("dropout", facts.get("drop_prob"))
    out = rest[heads.out]["weight"]
    embed = rest[heads.embed]["weight"] if heads.embed else None
    widths = _widths(recurrent)
    is_even = widths[-1] == max(widths)
    tied = is_even and embed is not None and embed.shape == out.shape and torch.equal(embed, out)
    return ModelConfig(
        arch=arch,
        nonlinearity=stated if stated in ("tanh", "relu") else nonlinearity,
        vocab_size=len(out),
        embed_dim=embed.shape[1] if embed is not None else 0,
        hidden_size=max(widths),
        num_layers=len(widths),
        dropout=dropout if isinstance(dropout, float) and 0.0 <= dropout <= 0.95 else 0.0,
        tie_weights=tied,
        init="torch",
    )


def _assembled(config: ModelConfig, tensors: dict[str, Tensor], heads: Heads, widths: list[int]) -> LanguageModel:
    """The model of the config, each of its parameters moved out of `tensors`.

    Units that a narrower layer lacks are added with weights of zero: their state then stays zero, and changes nothing.
    """
    model = model_class(config.arch).on_meta_device(config)
    expected = model.state_dict()
    theirs = {_our_name(name, heads): name for name in tensors}
    if unknown := [name for ours, name in theirs.items() if ours not in expected]:
        raise ValueError(f"{unknown[0]!r} has no place in {config.num_layers} layers of a model")
    state: dict[str, Tensor] = {}
    for name, target in expected.items():
        if name in theirs:
            tensor = _converted(theirs[name], tensors.pop(theirs[name]), _own_shape(name, target.shape, config, widths))
            state[name] = tensor if tensor.shape == target.shape else _widened(tensor, target.shape, name, config.arch)
        elif "bias" in name:
            state[name] = torch.zeros(target.shape)
        else:
            raise ValueError(f"{name!r} is missing")
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False).eval()


def _our_name(name: str, heads: Heads) -> str:
    if found := RECURRENT.fullmatch(name):
        return f"rnn.{found['part']}"
    layer, _, leaf = name.rpartition(".")
    return f"fc.{leaf}" if layer == heads.out else f"embed.{leaf}"


def _own_shape(name: str, shape: torch.Size, config: ModelConfig, widths: list[int]) -> tuple[int, ...]:
    """The shape that a parameter has in a model whose layers have these widths."""
    if name == "fc.weight":
        return shape[0], widths[-1]
    if not name.startswith("rnn."):
        return tuple(shape)
    layer = int(name.rpartition("_l")[2])
    rows = gate_count(config.arch) * widths[layer]
    if "bias" in name:
        return (rows,)
    return rows, widths[layer] if "_hh_" in name else widths[layer - 1] if layer else shape[1]


def _widened(tensor: Tensor, shape: torch.Size, name: str, arch: str) -> Tensor:
    """A parameter of a narrower layer in the shape of the widest, gate by gate, zeros for the rest."""
    gates = gate_count(arch) if name.startswith("rnn.") else 1
    blocks = tensor.reshape(gates, -1, *tensor.shape[1:])
    wide = blocks.new_zeros(gates, shape[0] // gates, *shape[1:])
    wide[(slice(None), slice(blocks.shape[1]), *map(slice, tensor.shape[1:]))] = blocks
    return wide.reshape(shape)


def _converted(name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor in float32 and in memory of its own; a ValueError or ArithmeticError says why it cannot be used."""
    if tuple(tensor.shape) != shape or tensor.dtype not in FLOATS:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise ValueError(f"{name!r} is {tuple(tensor.shape)} {kind}, not {shape} of floating point")
    is_alone = tensor.is_contiguous() and tensor.nbytes == tensor.untyped_storage().nbytes()
    own = tensor
    if not is_alone or tensor.dtype != torch.float32:
        own = torch.empty(tensor.shape, dtype=torch.float32).copy_(tensor)
    if not is_finite(own):
        raise ArithmeticError(f"{name!r} holds values that are not finite numbers")
    return own
