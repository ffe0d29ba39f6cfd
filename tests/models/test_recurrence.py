"""Our recurrent layers against torch's own, in double precision: outputs, states and gradients."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from charlm.models.recurrence import GRULayer, LSTMLayer, RNNLayer

T, B, D, H = 5, 3, 4, 6  # steps, rows, inputs, units


def weights(cell: nn.RNNBase) -> tuple[torch.Tensor, ...]:
    """weight_ih, weight_hh, bias_ih, bias_hh of a one-layer cell."""
    return tuple(getattr(cell, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def ours(cell: nn.RNNBase, x: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The cell's outputs and last states through our layer."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights(cell)
    inputs = x @ weight_ih.t() + bias_ih
    if isinstance(cell, nn.LSTM):
        return LSTMLayer.apply(inputs + bias_hh, *state, weight_hh)
    if isinstance(cell, nn.GRU):
        return GRULayer.apply(inputs, *state, weight_hh, bias_hh)
    return RNNLayer.apply(inputs + bias_hh, *state, weight_hh, cell.nonlinearity == "relu")


def theirs(cell: nn.RNNBase, x: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The same through torch's module."""
    stacked = tuple(part[None] for part in state)
    out, end = cell(x, stacked if isinstance(cell, nn.LSTM) else stacked[0])
    ends = end if isinstance(end, tuple) else (end,)
    return out, *(part[0] for part in ends)


CELLS = {
    "lstm": lambda: nn.LSTM(D, H),
    "gru": lambda: nn.GRU(D, H),
    "tanh": lambda: nn.RNN(D, H, nonlinearity="tanh"),
    "relu": lambda: nn.RNN(D, H, nonlinearity="relu"),
}


@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("name", CELLS)
def test_outputs_and_gradients_are_torchs(name: str, steps: int) -> None:
    torch.manual_seed(1)
    cell = CELLS[name]().double()
    x = torch.randn(steps, B, D, dtype=torch.double, requires_grad=True)
    state = tuple(torch.randn(B, H, dtype=torch.double, requires_grad=True) for _ in range(2 if name == "lstm" else 1))
    leaves = [x, *state, *weights(cell)]
    results = []
    for run in (ours, theirs):
        outputs = run(cell, x, state)
        mix = [torch.sin(torch.arange(part.numel(), dtype=torch.double)).view_as(part) for part in outputs]
        loss = sum((part * factor).sum() for part, factor in zip(outputs, mix, strict=True))
        results.append((outputs, torch.autograd.grad(loss, leaves)))
    for mine, other in zip(results[0][0] + results[0][1], results[1][0] + results[1][1], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_gradients_by_finite_differences() -> None:
    torch.manual_seed(2)

    def leaf(*shape: int) -> torch.Tensor:
        return (0.5 * torch.randn(*shape, dtype=torch.double)).requires_grad_()

    assert gradcheck(LSTMLayer.apply, (leaf(3, 2, 12), leaf(2, 3), leaf(2, 3), leaf(12, 3)))
    assert gradcheck(GRULayer.apply, (leaf(3, 2, 9), leaf(2, 3), leaf(9, 3), leaf(9)))
    assert gradcheck(lambda *args: RNNLayer.apply(*args, False), (leaf(3, 2, 3), leaf(2, 3), leaf(3, 3)))
