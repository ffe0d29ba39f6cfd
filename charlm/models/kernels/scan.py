"""The minimal gated recurrence over a whole sequence: h = (1 - z) h + z g(c), with z = sigmoid(k).

Gates and candidates do not depend on the state (Feng et al. 2024, "Were RNNs All We Needed?"), so that only this line
is computed step by step. On a CPU it is one compiled pass; elsewhere the paper's parallel scan in log space.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from charlm.models.kernels.jit import HALF, ONE, compiled, inlined, is_wanted, sigmoid

Array = np.ndarray[Any, Any]
# Steps of one parallel scan: sums of logarithms over more of them would lose digits.
PIECE = 64


def scan(sums: Tensor, before: Tensor) -> Tensor:
    """The states after every step.

    Args:
        sums: (B, T, 2 H), of the gates (k) and of the candidates (c), before their nonlinearities.
        before: (B, H), the state before the first step.

    Returns:
        (B, T, H).
    """
    sums = sums.to(before.dtype)  # a product may have been made in fewer bits
    if is_wanted() and sums.device.type == "cpu":
        compiled_scan: Callable[..., Tensor] = Scan.apply
        return compiled_scan(sums, before)
    states = []
    for piece in sums.split(PIECE, dim=1):
        states.append(parallel_scan(piece, before))
        before = states[-1][:, -1]
    return torch.cat(states, dim=1)


def parallel_scan(sums: Tensor, before: Tensor) -> Tensor:
    """As `scan`, all steps at once: cumulative sums of logarithms; the decayed `before` is added outside of them."""
    gates, candidates = sums.chunk(2, dim=2)
    kept = -F.softplus(gates).cumsum(1)  # log of the product of all 1 - z so far
    taken = -F.softplus(-gates) + log_g(candidates)  # log of z g(c)
    return kept.exp() * before[:, None] + (kept + (taken - kept).logcumsumexp(1)).exp()


def log_g(x: Tensor) -> Tensor:
    """log g(x), where g(x) is x + 0.5 from 0 on and sigmoid(x) below, which is positive everywhere."""
    return torch.where(x >= 0, (F.relu(x) + 0.5).log(), -F.softplus(-x))


class Scan(Function):
    """The recurrence as one compiled pass forward and one backward."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, before: Tensor) -> Tensor:
        """See `scan`, whose arguments these are.

        Args:
            ctx: autograd's.
            sums: (B, T, 2 H).
            before: (B, H).
        """
        sums, before = sums.contiguous(), before.contiguous()
        states = sums.new_empty(*sums.shape[:2], before.shape[1])
        scan_forward(sums.detach().numpy(), before.detach().numpy(), states.numpy())
        ctx.save_for_backward(sums, before, states)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the sums and of the state before."""
        sums, before, states = (tensor.detach().numpy() for tensor in ctx.saved_tensors)
        dsums, carry = np.empty_like(sums), np.zeros_like(before)
        scan_backward(sums, before, states, grads[0].contiguous().numpy(), dsums, carry)
        return torch.from_numpy(dsums), torch.from_numpy(carry)


@inlined
def next_state(k: Any, c: Any, past: Any) -> Any:
    """One unit's state after a step.

    Args:
        k: the gate's sum.
        c: the candidate's.
        past: the state before.
    """
    low = sigmoid(c)  # of both kinds, so that a loop over units needs no branch
    g = c + HALF if c >= 0 else low
    return past + sigmoid(k) * (g - past)


@compiled
def scan_forward(sums: Array, before: Array, states: Array) -> None:
    """The recurrence step by step.

    Args:
        sums: (B, T, 2 H), of the gates and of the candidates, before their nonlinearities.
        before: (B, H), the state before the first step.
        states: (B, T, H), overwritten by the states after every step.
    """
    hidden = before.shape[1]
    for b in range(sums.shape[0]):
        past = before[b]
        for t in range(sums.shape[1]):
            k, c, h = sums[b, t, :hidden], sums[b, t, hidden:], states[b, t]
            for j in range(hidden):
                h[j] = next_state(k[j], c[j], past[j])
            past = h


@compiled
def scan_backward(sums: Array, before: Array, states: Array, grad: Array, dsums: Array, carry: Array) -> None:
    """The gradient of `scan_forward`.

    Args:
        sums: (B, T, 2 H), as in the forward pass.
        before: (B, H), likewise.
        states: (B, T, H), its result.
        grad: (B, T, H), gradient of the states.
        dsums: (B, T, 2 H), overwritten by the gradient of `sums`.
        carry: (B, H), zeros; becomes the gradient of `before`.
    """
    hidden = before.shape[1]
    for b in range(sums.shape[0]):
        flow = carry[b]
        for t in range(sums.shape[1] - 1, -1, -1):
            past = states[b, t - 1] if t else before[b]
            k, c, u = sums[b, t, :hidden], sums[b, t, hidden:], grad[b, t]
            dk, dc = dsums[b, t, :hidden], dsums[b, t, hidden:]
            for j in range(hidden):
                flow[j] += u[j]
            for j in range(hidden):
                z, low = sigmoid(k[j]), sigmoid(c[j])
                g = c[j] + HALF if c[j] >= 0 else low
                slope = ONE if c[j] >= 0 else low * (ONE - low)
                dk[j] = flow[j] * (g - past[j]) * z * (ONE - z)
                dc[j] = flow[j] * z * slope
                flow[j] *= ONE - z
