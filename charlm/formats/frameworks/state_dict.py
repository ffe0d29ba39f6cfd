"""State_dicts of torch in the shapes that people's modules give them, as one stack of layers with torch's names."""

import re
from collections.abc import Callable, Iterable
from itertools import pairwise, permutations

import torch
from torch import Tensor

# What a cell, or one layer of a stack, calls its tensors.
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
RECURRENT = re.compile(r"(?P<stack>.*?)(?P<part>(?:weight|bias)_(?:ih|hh))(?:_l(?P<layer>\d{1,3}))?(?P<raw>_raw)?")
# torch's weight_norm, as parametrization and as it was before: length and direction of the rows.
NORMED = (
    re.compile(r"(?P<layer>.*?)parametrizations\.(?P<leaf>\w+)\.original(?P<part>[01])"),
    re.compile(r"(?P<layer>.*?)(?P<leaf>weight(?:_[ih]h_l\d{1,3})?)_(?P<part>[gv])"),
)
# Layers that only a loss has, and its weights of the classes.
LOSS = re.compile(r"(?:.*\.)?(?:\w*(?:crit|loss|nll|xent|cross_?entropy)\w*|ce)\.(?:weight|pos_weight)", re.IGNORECASE)
CLASS_WEIGHTS = re.compile(r"(?:.*\.)?(?:class|loss|pos)_weights?", re.IGNORECASE)
# What Karpathy's min-char-rnn calls its arrays, and who follows it; biases are columns there.
BY_HAND = {
    "Wxh": "weight_ih_l0", "Whh": "weight_hh_l0", "bh": "bias_ih_l0", "Why": "output.weight", "by": "output.bias",
}  # fmt: skip
LOOKUP = re.compile(r"emb|enc|wte|lookup", re.IGNORECASE)  # an embedding's usual names
BACKWARDS = re.compile(r"back|bwd|reverse", re.IGNORECASE)
MOST_STACKS = 5

Tensors = dict[str, Tensor]


def normalised(tensors: Tensors) -> None:
    """Give the tensors, in place, the names that one nn.LSTM, nn.GRU or nn.RNN would give them.

    Weights of a loss go, weight_norm is computed, of AWD-LSTM's raw weights and their dropped copies the raw ones stay,
    cells and several modules become the layers of the first, tied weights that are stored once are there twice.

    Args:
        tensors: a state_dict of any module; what is already named so is left alone.

    Raises:
        ValueError: modules that do not form a chain.
    """
    _name_by_hand(tensors)
    for name in [name for name, tensor in tensors.items() if tensor.dim() < 2 and _is_of_a_loss(name)]:
        del tensors[name]
    _undo_weight_norm(tensors)
    _undo_weight_drop(tensors)
    _chain(tensors)
    _drop_twins(tensors)
    _untie(tensors)


def _name_by_hand(tensors: Tensors) -> None:
    """A plain RNN of single matrices, each from the right of the one that it multiplies, or all from its left."""
    matrices = {"Wxh", "Whh", "Why"}
    if not matrices <= tensors.keys() <= BY_HAND.keys() or any(tensors[name].dim() != 2 for name in matrices):
        return
    is_from_left = tensors["Wxh"].shape[-1:] == tensors["Whh"].shape[-1:] != tensors["Why"].shape[-1:]
    for name, ours in BY_HAND.items():
        if name in tensors:
            tensor = tensors.pop(name)
            tensors[ours] = tensor.flatten() if name.startswith("b") else tensor.T if is_from_left else tensor


def _is_of_a_loss(name: str) -> bool:
    return bool(LOSS.fullmatch(name) or CLASS_WEIGHTS.fullmatch(name))


def _undo_weight_norm(tensors: Tensors) -> None:
    """w = g * v / |v|, |v| over all dimensions in which g has one entry (Salimans and Kingma 2016)."""
    for pattern, length, direction in ((*NORMED[:1], "0", "1"), (*NORMED[1:], "g", "v")):
        for name in list(tensors):
            found = pattern.fullmatch(name)
            if not found or found["part"] != length:
                continue
            other = name.removesuffix(length) + direction
            if other not in tensors:
                continue
            g, v = tensors.pop(name).float(), tensors.pop(other).float()
            over = [axis for axis in range(v.dim()) if g.dim() <= axis or g.shape[axis] == 1]
            if g.dim() not in (0, v.dim()) or any(
                g.shape[axis] != v.shape[axis] for axis in range(v.dim()) if axis not in over
            ):
                raise ValueError(f"{name!r} is {tuple(g.shape)}, no lengths for {tuple(v.shape)}")
            tensors[f"{found['layer']}{found['leaf']}"] = v * (g / v.norm(dim=over, keepdim=True))


def _undo_weight_drop(tensors: Tensors) -> None:
    """Of `lstm.weight_hh_l0_raw` and `lstm.module.weight_hh_l0` the raw one is the weight (Merity et al. 2017)."""
    for name in list(tensors):
        found = RECURRENT.fullmatch(name)
        if not found or not (found["raw"] or found["stack"].endswith("module.")):
            continue
        stack = found["stack"]
        plain = f"{stack if stack == 'module.' else stack.removesuffix('module.')}{found['part']}"
        plain += f"_l{found['layer']}" if found["layer"] else ""
        tensor = tensors.pop(name)
        if found["raw"] or not {plain, f"{plain}_raw"} & tensors.keys():
            tensors[plain] = tensor


def _chain(tensors: Tensors) -> None:
    """Several modules, each a stack or a cell, as the layers of the first."""
    stacks: dict[str, dict[int, dict[str, str]]] = {}  # by stack and layer the names by part
    is_cell = False
    for name in tensors:
        if (found := RECURRENT.fullmatch(name)) and not found["raw"]:
            is_cell = is_cell or found["layer"] is None
            layers = stacks.setdefault(found["stack"], {})
            layers.setdefault(int(found["layer"] or 0), {})[found["part"]] = name
    if not stacks or (len(stacks) == 1 and not is_cell):
        return
    ordered = _order(stacks, tensors)
    first, place = ordered[0], 0
    moved: Tensors = {}
    for stack in ordered:
        for layer in sorted(stacks[stack]):
            for part, name in stacks[stack][layer].items():
                moved[f"{first}{part}_l{place}"] = tensors.pop(name)
            place += 1
    tensors |= moved


def _order(stacks: dict[str, dict[int, dict[str, str]]], tensors: Tensors) -> list[str]:
    """The stacks as they follow each other: by number where only that tells them apart, else as they are named."""
    names = list(stacks)
    if len({re.sub(r"\d+", "", name) for name in names}) == 1:
        names.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    if odd := next((name for name in names if BACKWARDS.search(name)), ""):
        raise ValueError(f"{odd.rstrip('.')!r} reads the text backwards, too, and generation cannot know what comes")
    shown = " and ".join(repr(next(iter(stacks[name][min(stacks[name])].values()))) for name in names[:2])

    def ends(stack: str) -> tuple[int, int, int]:
        layers = stacks[stack]
        try:
            entry = tensors[layers[min(layers)]["weight_ih"]]
            rows, out = tensors[layers[max(layers)]["weight_hh"]].shape
            return entry.shape[1], out, rows // max(out, 1)
        except (KeyError, ValueError, IndexError):
            raise ValueError(f"{stack.rstrip('.')!r} has no 'weight_ih' and 'weight_hh' in two dimensions") from None

    sizes = {name: ends(name) for name in names}
    orders: Iterable[tuple[str, ...]] = permutations(names) if len(names) <= MOST_STACKS else [tuple(names)]
    fitting = [order for order in orders if _follow(order, sizes, _width(tensors))]
    if len({gates for _, _, gates in sizes.values()}) > 1 or not fitting:
        raise ValueError(f"it has {len(names)} recurrent layers of torch ({shown}) that do not follow each other")
    return list(names if tuple(names) in fitting else fitting[0])


def _follow(order: tuple[str, ...], sizes: dict[str, tuple[int, int, int]], is_input: Callable[[int], bool]) -> bool:
    return is_input(sizes[order[0]][0]) and all(sizes[a][1] == sizes[b][0] for a, b in pairwise(order))


def _width(tensors: Tensors) -> Callable[[int], bool]:
    """Whether a first layer may read so many numbers: as an embedding has, or as there are outputs."""
    layers = [tensor for name, tensor in tensors.items() if tensor.dim() == 2 and not RECURRENT.fullmatch(name)]
    widths = {size for tensor in layers for size in tensor.shape}
    return lambda width: width in widths


def _drop_twins(tensors: Tensors) -> None:
    """A lookup that is there under two names, as AWD-LSTM's with dropout has it, is one."""
    lookups = [
        name for name in tensors if LOOKUP.search(name) and tensors[name].dim() == 2 and not RECURRENT.fullmatch(name)
    ]
    for name in lookups[1:]:
        if torch.equal(tensors[name], tensors[lookups[0]]):
            del tensors[name]


def _untie(tensors: Tensors) -> None:
    """Where the only other matrix is as wide as first input and last state, it is both lookup and output."""
    weights = [name for name in tensors if name.endswith("weight") and not RECURRENT.fullmatch(name)]
    layers = {
        int(found["layer"] or 0): name
        for name in tensors
        if (found := RECURRENT.fullmatch(name)) and found["part"] == "weight_hh"
    }
    first = next((tensor for name, tensor in tensors.items() if name.endswith("weight_ih_l0")), None)
    if len(weights) != 1 or not layers or first is None or first.dim() != 2:
        return
    [name] = weights
    matrix, last = tensors[name], tensors[layers[max(layers)]]
    if matrix.dim() != 2 or last.dim() != 2 or not matrix.shape[1] == first.shape[1] == last.shape[1]:
        return
    if matrix.shape[0] == first.shape[1] and not LOOKUP.search(name):
        return  # one-hot ids, and the output
    bias = next(
        (other for other in tensors if other.endswith("bias") and tuple(tensors[other].shape) == matrix.shape[:1]), ""
    )
    if bias:
        tensors["output.bias"] = tensors.pop(bias)
    tensors["embedding.weight"], tensors["output.weight"] = tensors.pop(name), matrix
