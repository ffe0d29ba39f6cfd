"""A state_dict of torch's recurrent layers, whatever the names of its modules, as one of our models."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from charlm.config import ModelConfig
from charlm.errors import CheckpointError
from charlm.files import open_plain
from charlm.models import LanguageModel, build_model
from charlm.models.recurrent import gate_count
from charlm.runs.tensor_file import is_finite
from charlm.tokenizers import CharTokenizer

# Names of lists and tables of characters, in lower case and without separators; tables that name each id come first.
NAMES = (
    "int2char", "idx2char", "id2char", "ix2char", "inttochar", "idxtochar", "idtochar", "ixtochar", "indextochar",
    "index2char", "itos", "itoc", "i2c", "char2int", "char2idx", "char2id", "char2ix", "chartoint", "chartoidx",
    "chartoid", "chartoix", "chartoindex", "char2index", "stoi", "ctoi", "c2i", "tokens", "vocab", "vocabulary",
    "alphabet", "chars", "characters", "charset", "allcharacters", "allchars", "tokenizer",
)  # fmt: skip
MOST_BYTES = 4 << 20
WAY_OUT = (
    "put them into a .json beside it, a list in the order of the ids or an object {character: id}, "
    "or name such a file with --characters"
)
RECURRENT = re.compile(
    r"(?P<stack>.*?)(?P<part>(?:weight|bias)_(?:ih|hh|hr)_l(?P<layer>\d{1,3}))(?P<reverse>_reverse)?"
)
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
MOST_TENSORS = 200
FITS = "what fits is one nn.LSTM, nn.GRU or nn.RNN, an nn.Embedding before it or none, and one nn.Linear after it"


def tokenizer_of(facts: Mapping[str, Any], path: Path, given: Path | None, vocab_size: int) -> CharTokenizer:
    """The tokenizer of a foreign model.

    Args:
        facts: what is in the checkpoint beside its tensors.
        path: of the checkpoint; a list may be beside it.
        given: the file that holds the list, if the user named one.
        vocab_size: how many characters the model knows.

    Raises:
        CheckpointError: there is no list, or none of so many distinct characters.
    """
    found: list[tuple[str, list[str]]] = []
    for where, value in _candidates(facts, path, given):
        tokens = listed(value)
        if tokens and len(tokens) == vocab_size:
            return _checked(tokens, where)
        found.append((where, tokens))
    if not found:
        raise CheckpointError(f"{path.name} does not say which characters its {vocab_size} ids are; {WAY_OUT}")
    where, tokens = found[0]
    what = f"has {len(tokens)} entries" if tokens else "is no list of characters with the ids 0, 1, 2 and so on"
    raise CheckpointError(f"{where} {what}; the model in {path.name} knows {vocab_size} characters; {WAY_OUT}")


def _checked(tokens: list[str], where: str) -> CharTokenizer:
    """The tokenizer, once every token is a character that can be written."""
    for token in tokens:
        if len(token) != 1 or "\ud800" <= token <= "\udfff":
            raise CheckpointError(
                f"{where} holds {token[:20]!r}; only models whose ids are single characters can be imported"
            )
    if len(set(tokens)) < len(tokens):
        twice = next(token for token in tokens if tokens.count(token) > 1)
        raise CheckpointError(f"{where} holds {twice!r} twice; every id needs a character of its own")
    return CharTokenizer(tokens)


def _candidates(facts: Mapping[str, Any], path: Path, given: Path | None) -> Iterator[tuple[str, Any]]:
    """What may be the list, and where it was found, the most likely first."""
    if given is not None:
        yield from _in_file(given)
        return
    yield from _named(facts, path.name)
    beside = (path.with_name(f"{path.name}.json"), path.with_suffix(".json"), path.with_suffix(".txt"))
    for other in dict.fromkeys((*beside, path.with_name("tokenizer.json"))):
        if other != path and other.is_file():
            yield from _in_file(other)


def _in_file(path: Path) -> Iterator[tuple[str, Any]]:
    """What a file holds: a list, a named list in an object, or a text, also without the line end that editors add."""
    value = _read(path)
    yield from _named(value, path.name) if isinstance(value, dict) else ()
    yield path.name, value
    if isinstance(value, str) and value.endswith("\n"):
        yield path.name, value[:-1]


def _named(facts: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    keys = {"".join(filter(str.isalnum, key.lower())): key for key in facts if isinstance(key, str)}
    for key in (keys[name] for name in NAMES if name in keys):
        if isinstance(facts[key], Mapping):
            yield from _named(facts[key], where)
        if isinstance(facts[key], str | list | tuple | Mapping):
            yield f"{key!r} in {where}", facts[key]


def _read(path: Path) -> Any:
    """A JSON value, or a text whose characters are the list."""
    try:
        with open_plain(path) as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise CheckpointError(f"{path.name} is too large for a list of characters")
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path.name} is not in UTF-8: {error}") from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, list | dict | str) else text


def listed(value: Any) -> list[str]:
    """Tokens in the order of their ids, from a list, a text, {token: id} or {id: token}; empty if it is none."""
    if isinstance(value, Mapping):
        pairs = [(token, number) for token, number in value.items() if isinstance(number, int | str)]
        by_number = _in_order({number: token for token, number in pairs}) if len(pairs) == len(value) else []
        return by_number or _in_order({_id(key): token for key, token in value.items()})
    return list(value) if isinstance(value, Sequence) and all(isinstance(token, str) for token in value) else []


def _id(key: Any) -> Any:
    """The id in a key: JSON writes them as texts."""
    return int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 9 else key


def _in_order(table: Mapping[Any, Any]) -> list[str]:
    """The tokens of {id: token}, if its ids are 0, 1, 2 and so on."""
    tokens = [token for place in range(len(table)) if isinstance(token := table.get(place), str)]
    return tokens if len(tokens) == len(table) else []


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
        recurrent, rest = _parted(tensors)
        heads = _heads(rest, recurrent)
        config = _config(recurrent, rest, heads, facts, nonlinearity)
        recurrent, rest = {}, {}  # each tensor is then freed once it is converted
        return _assembled(config, tensors, heads)
    except ValueError as error:
        raise CheckpointError(f"{file} does not fit: {error}; {FITS}") from None


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
    width, size = first.shape[1], hidden.shape[1]
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


def _config(recurrent: Tensors, rest: Layers, heads: Heads, facts: Mapping[str, Any], nonlinearity: str) -> ModelConfig:
    """The settings, by the shapes; dropout and a plain RNN's nonlinearity leave no trace in these."""
    rows, hidden = recurrent["weight_hh_l0"].shape
    arch = next((arch for arch in ("lstm", "gru", "rnn") if gate_count(arch) * hidden == rows), "")
    if not arch:
        raise ValueError(f"'weight_hh_l0' is {rows} x {hidden}, no LSTM's, GRU's or RNN's shape")
    stated, dropout = facts.get("nonlinearity"), facts.get("dropout", facts.get("drop_prob"))
    out = rest[heads.out]["weight"]
    embed = rest[heads.embed]["weight"] if heads.embed else None
    tied = embed is not None and embed.shape == out.shape and torch.equal(embed, out)
    return ModelConfig(
        arch=arch,
        nonlinearity=stated if stated in ("tanh", "relu") else nonlinearity,
        vocab_size=len(out),
        embed_dim=embed.shape[1] if embed is not None else 0,
        hidden_size=hidden,
        num_layers=len({name.rpartition("_l")[2] for name in recurrent}),
        dropout=dropout if isinstance(dropout, float) and 0.0 <= dropout <= 0.95 else 0.0,
        tie_weights=tied,
        init="torch",
    )


def _assembled(config: ModelConfig, tensors: dict[str, Tensor], heads: Heads) -> LanguageModel:
    """The model of the config, each of its parameters moved out of `tensors`."""
    with torch.device("meta"):
        model = build_model(config)
    expected = model.state_dict()
    theirs = {_our_name(name, heads): name for name in tensors}
    if unknown := [name for ours, name in theirs.items() if ours not in expected]:
        raise ValueError(f"{unknown[0]!r} has no place in {config.num_layers} layers of a model")
    state: dict[str, Tensor] = {}
    for name, target in expected.items():
        if name in theirs:
            state[name] = _converted(theirs[name], tensors.pop(theirs[name]), target)
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


def _converted(name: str, tensor: Tensor, target: Tensor) -> Tensor:
    """The tensor in float32 and in memory of its own; a ValueError says why it cannot be used."""
    if tensor.shape != target.shape or tensor.dtype not in FLOATS:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise ValueError(f"{name!r} is {tuple(tensor.shape)} {kind}, not {tuple(target.shape)} of floating point")
    is_alone = tensor.is_contiguous() and tensor.nbytes == tensor.untyped_storage().nbytes()
    own = tensor
    if not is_alone or tensor.dtype != torch.float32:
        own = torch.empty(tensor.shape, dtype=torch.float32).copy_(tensor)
    if not is_finite(own):
        raise ValueError(f"{name!r} holds values that are not finite numbers")
    return own
