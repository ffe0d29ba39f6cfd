"""The minimal recurrence: compiled and in parallel the same as a plain loop, forward and back."""

import pytest
import torch
from torch import Tensor

from charlm.models.kernels import scan as scans
from charlm.models.kernels.jit import is_wanted
from charlm.models.kernels.scan import parallel_scan, scan

B, T, H = 3, 70, 5


def looped(sums: Tensor, before: Tensor) -> Tensor:
    """h = (1 - z) h + z g(c), as it is written in the paper."""
    states = []
    for k, c in (step.chunk(2, dim=1) for step in sums.unbind(1)):
        z, bent = k.sigmoid(), torch.where(c >= 0, c + 0.5, c.sigmoid())
        before = (1 - z) * before + z * bent
        states.append(before)
    return torch.stack(states, dim=1)


def leaves(dtype: torch.dtype = torch.double, steps: int = T, spread: float = 2.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = (B, steps, 2 * H), (B, H)
    return [torch.randn(shape, generator=generator, dtype=dtype).mul_(spread).requires_grad_() for shape in shapes]


def with_gradients(states: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    mix = torch.sin(torch.arange(states.numel(), dtype=states.dtype)).view_as(states)
    return [states, *torch.autograd.grad((states * mix).sum(), inputs)]


@pytest.fixture(params=["compiled", "parallel"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "compiled" and not is_wanted():
        pytest.skip("nothing is compiled here")
    monkeypatch.setattr(scans, "is_wanted", lambda: request.param == "compiled")
    return str(request.param)


@pytest.mark.parametrize("steps", [1, 2, T])
def test_states_and_gradients_are_the_plain_loops(way: str, steps: int) -> None:
    inputs = leaves(steps=steps)
    pairs = zip(with_gradients(scan(*inputs), inputs), with_gradients(looped(*inputs), inputs), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_in_single_precision_it_comes_close(way: str, spread: float) -> None:
    """Gates that are as good as open or shut, too."""
    inputs = leaves(torch.float32, spread=spread)
    exact = looped(*(leaf.double() for leaf in inputs))
    close = 1e-4 if way == "parallel" and spread > 1 else 1e-5  # of what sums of large logarithms lose
    assert (scan(*inputs) - exact).abs().max() < close * (1 + exact.abs().max())


def test_a_state_goes_on(way: str) -> None:
    sums, before = leaves()
    first = scan(sums[:, :9], before)
    torch.testing.assert_close(torch.cat([first, scan(sums[:, 9:], first[:, -1])], dim=1), scan(sums, before))


def test_the_parallel_scan_takes_any_state_zero_and_below_too() -> None:
    sums, before = leaves(steps=8)
    for start in (torch.zeros_like(before), -before.abs()):
        torch.testing.assert_close(parallel_scan(sums, start), looped(sums, start))


def test_what_is_laid_out_otherwise_is_read_alike(way: str) -> None:
    sums, before = leaves(steps=6)
    turned = sums.transpose(0, 1).contiguous().transpose(0, 1)
    torch.testing.assert_close(scan(turned, before.t().contiguous().t()), scan(sums, before))
