"""The compiled LayerNorm, GELU and convolution, against torch's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from charlm.models.kernels.jit import is_wanted
from charlm.models.kernels.rows import convolve, convolve_backward, gelu, norm, norm_backward

pytestmark = pytest.mark.skipif(not is_wanted(), reason="compiled only")


@pytest.mark.parametrize(("rows", "size"), [(1, 16), (7, 48), (33, 128)])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_norm_is_torchs(rows: int, size: int, offset: float) -> None:
    torch.manual_seed(size)
    x, grad = torch.randn(rows, size) + offset, torch.randn(rows, size)
    weight, bias = torch.randn(size), torch.randn(size)
    given = [part.clone().requires_grad_() for part in (x, weight, bias)]
    result = F.layer_norm(given[0], (size,), given[1], given[2])
    theirs = [result.detach(), *torch.autograd.grad(result, given, grad)]
    out, straight, dx = (np.empty((rows, size), np.float32) for _ in range(3))
    factor, (dweight, dbias) = np.empty(rows, np.float32), np.zeros((2, size), np.float32)
    norm(x.numpy(), weight.numpy(), bias.numpy(), 1e-5, out, straight, factor)
    norm_backward(grad.numpy(), straight, factor, weight.numpy(), dx, dweight, dbias)
    for ours, part in zip((out, dx, dweight, dbias), theirs, strict=True):
        np.testing.assert_allclose(ours, part.numpy(), rtol=1e-4, atol=1e-4 if offset else 1e-5)


def test_a_row_of_equal_numbers_becomes_the_bias() -> None:
    x, out, straight, factor = np.full((1, 16), 3.5, np.float32), *np.empty((2, 1, 16), np.float32), np.empty(1, "f4")
    norm(x, np.ones(16, np.float32), np.full(16, 0.25, np.float32), 1e-5, out, straight, factor)
    np.testing.assert_array_equal(out, 0.25)


def test_gelu_and_its_slope_are_torchs() -> None:
    x = torch.cat((torch.linspace(-12, 12, 4801), torch.tensor([0.0, -0.0, 1e-30, -1e-30, 60.0, -60.0])))[None]
    given = x.double().requires_grad_()
    result = F.gelu(given)
    [slope] = torch.autograd.grad(result.sum(), given)
    out, ours = np.empty((2, *x.shape), np.float32)
    gelu(x.numpy(), out, ours)
    np.testing.assert_allclose(out, result.detach().numpy(), rtol=3e-7, atol=5e-7)
    np.testing.assert_allclose(ours, slope.numpy(), rtol=3e-7, atol=5e-7)


@pytest.mark.parametrize(("rows", "steps"), [(1, 1), (2, 3), (3, 9)])
def test_convolution_is_torchs(rows: int, steps: int) -> None:
    taps, size = 4, 16
    torch.manual_seed(steps)
    x, past, grad = torch.randn(rows, steps, size), torch.randn(rows, taps - 1, size), torch.randn(rows, steps, size)
    given = [x.clone().requires_grad_(), torch.randn(taps, size).requires_grad_()]
    whole = torch.cat((past, given[0]), dim=1).transpose(1, 2)
    result = F.conv1d(whole, given[1].t()[:, None], groups=size).transpose(1, 2)
    theirs = [result.detach(), *torch.autograd.grad(result, given, grad)]
    weight, out, dx = given[1].detach().numpy(), np.empty(x.shape, np.float32), np.zeros(x.shape, np.float32)
    dweight = np.zeros_like(weight)
    convolve(x.numpy(), past.numpy(), weight, out)
    convolve_backward(grad.numpy(), x.numpy(), past.numpy(), weight, dx, dweight)
    for ours, part in zip((out, dx, dweight), theirs, strict=True):
        np.testing.assert_allclose(ours, part.numpy(), rtol=1e-4, atol=1e-5)
