"""Linear layers whose products are our own in training: results and gradients are torch's."""

import pytest
import torch
from torch import nn

from charlm.models.kernels import linear
from charlm.models.kernels.jit import is_wanted
from charlm.models.kernels.linear import Linear, Product
from charlm.models.kernels.matmul import ABREAST

ours_only = pytest.mark.skipif(ABREAST == 1 or not is_wanted(), reason="products are the library's here")


def results(layer: nn.Linear, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Outputs, and the gradients of a loss in which each of them has a weight of its own."""
    out = layer(x)
    mix = torch.sin(torch.arange(out.numel(), dtype=out.dtype)).view_as(out)
    return out, *torch.autograd.grad((out * mix).sum(), [x, *layer.parameters()])


@ours_only
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 64)])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (48, 112), (128, 64)])
def test_results_and_gradients_are_torchs(
    inputs: int, outputs: int, shape: tuple[int, int], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    mine, other = Linear(inputs, outputs, bias=bias), nn.Linear(inputs, outputs, bias=bias)
    other.load_state_dict(mine.state_dict())
    x = torch.randn(*shape, inputs).transpose(0, 1).requires_grad_()
    expected = results(other, x)
    calls = []
    monkeypatch.setattr(linear, "multiply", lambda *given, made=linear.multiply: (calls.append(1), made(*given)))
    for one, two in zip(results(mine, x), expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    assert len(calls) == 2  # of the outputs, and of the inputs' gradients


@ours_only
@pytest.mark.parametrize(("rows", "ours"), [(linear.LEAST_ROWS, 1), (linear.LEAST_ROWS - 1, 0)])
def test_many_rows_are_multiplied_by_ours_where_no_gradient_is_wanted(
    rows: int, ours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    layer, x, calls = Linear(48, 32).eval(), torch.randn(1, rows, 48), []
    expected = layer(x)
    monkeypatch.setattr(linear, "multiply", lambda *given, made=linear.multiply: (calls.append(1), made(*given)))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
    assert len(calls) == ours


def test_what_our_products_cannot_do_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Product, "apply", lambda *_: pytest.fail("our own product"))
    x = torch.randn(3, 32)
    assert Linear(32, 17)(x).shape == (3, 17)
    assert Linear(32, 16).eval()(x).shape == (3, 16)
    assert Linear(32, 16).double()(x.double()).dtype == torch.double
    with torch.autocast("cpu", torch.bfloat16):
        assert Linear(32, 16)(x).dtype == torch.bfloat16
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(linear, "ALONE", 3 * 32 * 16 - 1)
    assert Linear(32, 16)(x).shape == (3, 16)
