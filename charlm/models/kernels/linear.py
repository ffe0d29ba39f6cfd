"""Linear layers whose products in float32 are our own, where they are faster than the library's.

With AVX-512 on an AMD EPYC (Zen 5) a core makes 110 billion operations a second in the library's products, 250 in ours.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from charlm.models.kernels.jit import is_wanted
from charlm.models.kernels.matmul import ABREAST, COLUMNS, add_transposed, in_tiles, multiply

# Multiplications of a product up to which one thread is as fast as several.
ALONE = 4_000_000
# Rows from which laying the weights out in tiles pays where they are not trained.
LEAST_ROWS = 16


class Linear(nn.Linear):
    """torch's layer with the same parameters; in training, and where no gradient is wanted, products may be our own."""

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        """(.., K) -> (.., N).

        Args:
            input: of the weights' number format, or another under autocast.
        """
        many = input.numel() >= LEAST_ROWS * self.in_features and not torch.is_grad_enabled()
        if not ((self.training or many) and _is_ours(input, self.weight)):
            return super().forward(input)
        product: Callable[..., Tensor] = Product.apply
        out = product(input, self.weight)
        return out if self.bias is None else out + self.bias


def _is_ours(x: Tensor, weight: Tensor) -> bool:
    """Whether the products are our own: with AVX-512, on one thread or so small that more would not help."""
    if not (ABREAST > 1 and is_wanted() and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32):
        return False
    if torch.is_autocast_enabled("cpu") or any(size % COLUMNS for size in weight.shape):
        return False
    return torch.get_num_threads() == 1 or x.numel() * len(weight) <= ALONE


class Product(Function):
    """x W^T and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """(.., N).

        Args:
            ctx: autograd's.
            x: (.., K).
            weight: (N, K), both multiples of 16.
        """
        ctx.save_for_backward(x, weight)
        return _multiplied(x, weight.t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of x and of the weights."""
        x, weight = ctx.saved_tensors
        dx = _multiplied(grads[0], weight) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return dx, None
        dweight = torch.zeros_like(weight)
        rows, drows = (part.reshape(-1, part.shape[-1]).contiguous() for part in (x, grads[0]))
        add_transposed(drows.numpy(), rows.numpy(), dweight.numpy())
        return dx, dweight


def _multiplied(x: Tensor, matrix: Tensor) -> Tensor:
    """x (.., K) times a matrix (K, N)."""
    inputs, columns = matrix.shape
    out = x.new_empty(*x.shape[:-1], columns)
    rows = x.detach().reshape(-1, inputs).contiguous()
    multiply(rows.numpy(), in_tiles(matrix.detach()), out.view(-1, columns).numpy())
    return out
