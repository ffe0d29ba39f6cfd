"""What a reader makes of a file, and what several of them need to bring weights into torch's order."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from charlm.formats.vocabularies import Vocabulary

Tensors = dict[str, Tensor]
MASKED = "mask_zero"  # a fact: layers pass over the token with id 0


@dataclass
class Weights:
    """A model as a file has it.

    Attributes:
        tensors: under torch's names, as a state_dict of a module may have them; see charlm.formats.frameworks.
        facts: what stands beside them, in which the characters are looked for, too.
        vocabulary: the characters by id, where the format names them.
    """

    tensors: Tensors
    facts: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: Vocabulary | None = None


def cell(stack: str, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None = None) -> Tensors:
    """A layer by torch's names.

    Args:
        stack: what its names begin with.
        w_ih: (G * H, in), the gates in torch's order.
        w_hh: (G * H, H).
        b_ih, b_hh: (G * H,); None: zeros.
    """
    parts = {"weight_ih": w_ih, "weight_hh": w_hh, "bias_ih": b_ih, "bias_hh": b_hh}
    return {f"{stack}.{name}": part for name, part in parts.items() if part is not None}


def gates(matrix: Tensor, order: Sequence[int]) -> Tensor:
    """The same rows with their blocks, as many as `order` has, in another order; (G * H, ..).

    Raises:
        ValueError: the rows are no such blocks.
    """
    if not matrix.dim() or matrix.shape[0] % len(order):
        raise ValueError(f"a matrix {tuple(matrix.shape)} has no {len(order)} gates")
    blocks = matrix.chunk(len(order))
    return torch.cat([blocks[place] for place in order])


def last_block(bias: Tensor, count: int) -> Tensor:
    """A bias (H,) of the last of `count` gates as that of all, (count * H,)."""
    return torch.cat([bias.new_zeros((count - 1) * len(bias)), bias])


def need(tensors: Mapping[str, Tensor], name: str, dimensions: int) -> Tensor:
    """A tensor by its name.

    Raises:
        ValueError: it is not there, or has another number of dimensions.
    """
    if name not in tensors or tensors[name].dim() != dimensions:
        raise ValueError(f"{name!r} is missing, or has not {dimensions} dimensions")
    return tensors[name]


def by_number(name: str) -> list[Any]:
    """A key that sorts names as people number them: lstm_2 before lstm_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
