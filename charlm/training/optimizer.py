"""AdamW and clipping as torch has them, without what takes longer than the update of a small model."""

import math
from collections.abc import Callable, Sequence
from inspect import unwrap
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

_BASE: Any = torch.optim.Optimizer
_STEP: Callable[..., Any] = unwrap(torch.optim.AdamW.step)
TINY = 1e-6  # that torch's clipping adds to a norm


class _Gathered(NamedTuple):
    """What the fused update takes of a group of parameters; the counts are those of `steps` side by side."""

    parameters: list[Tensor]
    exp_avgs: list[Tensor]
    exp_avg_sqs: list[Tensor]
    steps: list[Tensor]
    counts: Tensor


class AdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019): torch's own numbers, and its state.

    torch wraps an optimizer's methods so that `torch.compile` can leave them out, and imports that compiler for it: 70
    MB and most of a second, in each process that trains. Nothing here compiles an optimizer, so that the methods are
    taken from under their wrappers. A torch without wrappers has nothing to take off.

    On a CPU what torch gathers anew for each step, six times as long as the update of a small model, is gathered once;
    torch's options `amsgrad` and `maximize` do not count there.
    """

    add_param_group: Callable[..., Any] = unwrap(_BASE.add_param_group)
    state_dict: Callable[..., Any] = unwrap(_BASE.state_dict)
    zero_grad: Callable[..., Any] = unwrap(_BASE.zero_grad)
    _LOAD: Callable[..., Any] = unwrap(_BASE.load_state_dict)
    _gathered: list[_Gathered] | None = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` once said."""
        self._gathered = None
        self._LOAD(state_dict)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the weights that have a gradient; a closure is not taken."""
        gradients = [[parameter.grad for parameter in group["params"]] for group in self.param_groups]
        is_usual = all(gradient is not None and gradient.is_cpu for part in gradients for gradient in part)
        if self._gathered is None or not is_usual:
            _STEP(self)
            self._gathered = [self._gather(group["params"]) for group in self.param_groups] if is_usual else None
            return
        for group, gathered, part in zip(self.param_groups, self._gathered, gradients, strict=True):
            gathered.counts.add_(1)
            torch._fused_adamw_(
                gathered.parameters,
                part,
                gathered.exp_avgs,
                gathered.exp_avg_sqs,
                [],
                gathered.steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    step.hooked = True  # type: ignore[attr-defined]  # else torch wraps it for its profiler, which takes as long

    def _gather(self, parameters: Sequence[Tensor]) -> _Gathered:
        """What a first step has left of these parameters' state; their counts become parts of one tensor."""
        states = [self.state[parameter] for parameter in parameters]
        counts = torch.stack([state["step"] for state in states])
        for state, count in zip(states, counts.unbind(), strict=True):
            state["step"] = count
        exp_avgs, exp_avg_sqs, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        return _Gathered(list(parameters), exp_avgs, exp_avg_sqs, steps, counts)


def clip_gradients(parameters: Sequence[Tensor], longest: float) -> Tensor:
    """Shorten the gradients of all parameters together, as `torch.nn.utils.clip_grad_norm_`.

    Args:
        parameters: those with a gradient, all on one device.
        longest: norm that they may have; 0: any.

    Returns:
        Their norm before, a scalar; on a GPU nothing waits for it.
    """
    if not parameters[0].is_cpu:
        of_gpu: Tensor = clip_grad_norm_(parameters, longest or math.inf)
        return of_gpu
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    length: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if longest and length.item() > longest - TINY:
        torch._foreach_mul_(gradients, (longest / (length + TINY)).clamp(max=1.0))
    return length
