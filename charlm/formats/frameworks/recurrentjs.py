"""Models that recurrentjs' demo saves as JSON: an LSTM, or an RNN with relu; id 0 begins and ends a text."""

import math
from pathlib import Path
from typing import Any

import torch

from charlm.errors import CheckpointError
from charlm.files import is_count, one_line
from charlm.formats.frameworks.weights import Tensors, Weights, cell
from charlm.formats.vocabularies import Vocabulary

MOST_LAYERS = 8
KINDS = ("lstm", "rnn")


def is_recurrentjs(value: Any) -> bool:
    """Whether a JSON value is such a model."""
    return isinstance(value, dict) and {"hidden_sizes", "model"} <= value.keys() and isinstance(value["model"], dict)


def read_recurrentjs(path: Path, saved: dict[str, Any]) -> Weights:
    """The matrices of a saved model, and its letters.

    Raises:
        CheckpointError: one is missing or has another shape, or letters and ids do not fit.
    """
    try:
        kind, sizes, model = saved.get("generator", "lstm"), saved["hidden_sizes"], saved["model"]
        if kind not in KINDS or not isinstance(sizes, list) or not 1 <= len(sizes) <= MOST_LAYERS:
            raise ValueError(f"its generator is {str(kind)[:20]!r} with hidden_sizes {str(sizes)[:40]}")
        tensors: Tensors = {"embedding.weight": _matrix(model, "Wil")}
        for layer in range(len(sizes)):
            tensors |= (_lstm if kind == "lstm" else _rnn)(model, layer)
        tensors |= {"output.weight": _matrix(model, "Whd"), "output.bias": _matrix(model, "bd").flatten()}
        vocabulary = Vocabulary(_letters(saved, len(tensors["output.weight"])), begin=0, end=0)
        return Weights(tensors, {"nonlinearity": "relu"}, vocabulary)
    except ValueError as error:
        raise CheckpointError(f"{path.name} cannot be imported: {one_line(str(error), 200)}") from None


def _lstm(model: dict[str, Any], layer: int) -> Tensors:
    w_ih, w_hh, bias = (
        torch.cat([_matrix(model, name.format(gate, layer)) for gate in "ifco"])
        for name in ("W{}x{}", "W{}h{}", "b{}{}")
    )
    return cell(f"cell{layer}", w_ih, w_hh, bias.flatten())


def _rnn(model: dict[str, Any], layer: int) -> Tensors:
    bias = _matrix(model, f"bhh{layer}").flatten()
    return cell(f"cell{layer}", _matrix(model, f"Wxh{layer}"), _matrix(model, f"Whh{layer}"), bias)


def _matrix(model: dict[str, Any], name: str) -> torch.Tensor:
    """A matrix {n rows, d columns, w}, whose numbers are a list, or as JSON writes typed arrays an object by place."""
    held = model.get(name)
    if not isinstance(held, dict) or not all(is_count(held.get(size)) for size in "nd"):
        raise ValueError(f"the matrix {name!r} is missing")
    rows, columns, numbers = held["n"], held["d"], held.get("w")
    if isinstance(numbers, dict):
        numbers = [numbers.get(str(place)) for place in range(len(numbers))]
    if not isinstance(numbers, list) or len(numbers) != rows * columns or not math.prod((rows, columns)):
        raise ValueError(f"the matrix {name!r} has not {rows} x {columns} numbers")
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise ValueError(f"the matrix {name!r} holds what is no number")
    return torch.tensor(numbers, dtype=torch.float64).reshape(rows, columns).float()


def _letters(saved: dict[str, Any], vocab_size: int) -> list[str]:
    table = saved.get("letterToIndex")
    ids = {number: letter for letter, number in table.items() if is_count(number)} if isinstance(table, dict) else {}
    letters = [ids.get(place, "") for place in range(1, vocab_size)]
    if len(ids) != len(letters) or not all(len(letter) == 1 for letter in letters) or len(set(letters)) < len(letters):
        raise ValueError(f"its 'letterToIndex' does not name {vocab_size - 1} letters with the ids from 1 on")
    return ["<START/END>", *letters]
