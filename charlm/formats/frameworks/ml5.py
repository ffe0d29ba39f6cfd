"""Models of ml5.js' charRNN: a manifest.json beside one file of raw float32 for each tensor, and a vocab.json."""

import math
from pathlib import Path
from typing import Any

import torch

from charlm import files
from charlm.errors import CheckpointError
from charlm.formats.frameworks.char_rnn import from_char_rnn, is_char_rnn
from charlm.formats.frameworks.weights import Tensors, Weights

MOST_VARIABLES, MOST_DIMENSIONS = 200, 2


def is_ml5(value: Any) -> bool:
    """Whether a JSON value is such a manifest: {name: {filename, shape}}."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(one, dict) and {"filename", "shape"} <= one.keys() for one in value.values())
    )


def read_ml5(path: Path, manifest: dict[str, Any]) -> Weights:
    """The tensors that a manifest names, read from the files beside it.

    Raises:
        CheckpointError: a file is missing, has another length, or lies elsewhere.
    """
    tensors: Tensors = {}
    try:
        if len(manifest) > MOST_VARIABLES or not is_char_rnn(manifest):
            raise ValueError("it does not name 'embedding', 'rnnlm/softmax_w' and cells, as ml5.js' charRNN does")
        for name, about in manifest.items():
            tensors[name] = _tensor(path.parent, about["filename"], about["shape"])
        return Weights(from_char_rnn(tensors))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path.name} cannot be imported: {files.one_line(str(reason), 200)}") from None


def _tensor(folder: Path, name: Any, shape: Any) -> torch.Tensor:
    if not isinstance(name, str) or not name or name != Path(name).name or "\\" in name or name in (".", ".."):
        raise ValueError(f"{str(name)[:60]!r} is no name of a file beside it")
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS or not all(map(files.is_count, shape)):
        raise ValueError(f"{name[:60]!r} has an odd shape")
    if not (folder / name).is_file():
        raise ValueError(f"it names {name[:60]!r}, which is not beside it; take the whole folder, or a zip of it")
    size = 4 * math.prod(shape)
    with files.open_plain(folder / name) as file:
        data = bytearray(file.read(size + 1)) if size <= 1 << 30 else bytearray()
    if len(data) != size:
        raise ValueError(f"{name[:60]!r} is not {size:,} bytes long, as its shape {shape} needs")
    return torch.frombuffer(data, dtype=torch.float32).reshape(shape) if size else torch.zeros(shape)
