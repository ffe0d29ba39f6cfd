"""AdamW as torch has it, without the part of torch that it imports to be compiled itself."""

from collections.abc import Callable
from inspect import unwrap
from typing import Any

import torch

_BASE: Any = torch.optim.Optimizer
_STEP: Callable[..., Any] = unwrap(torch.optim.AdamW.step)


class AdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019): torch's own numbers, and its state.

    torch wraps an optimizer's methods so that `torch.compile` can leave them out, and imports that compiler for it: 70
    MB and most of a second, in each process that trains. Nothing here compiles an optimizer, so that the methods are
    taken from under their wrappers. A torch without wrappers has nothing to take off.
    """

    add_param_group: Callable[..., Any] = unwrap(_BASE.add_param_group)
    load_state_dict: Callable[..., Any] = unwrap(_BASE.load_state_dict)
    state_dict: Callable[..., Any] = unwrap(_BASE.state_dict)
    zero_grad: Callable[..., Any] = unwrap(_BASE.zero_grad)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the weights by their gradients; a closure is not taken."""
        _STEP(self)
