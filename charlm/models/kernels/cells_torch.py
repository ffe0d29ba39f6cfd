"""Single steps of the recurrent cells by torch: what steps_compiled.py does, where nothing can be compiled.

Same functions and arguments, as tensors.
"""

import torch
from torch import Tensor


# fmt: off
def lstm_forward(
    t: int, slot: int, source: Tensor, rows: Tensor, bias: Tensor, bias_past: Tensor, past: Tensor, gates: Tensor,
    hs: Tensor, extra: Tensor,
) -> None:
    """i, f, o = sigmoid, g = tanh; c = f c + i g; h = o tanh(c)."""
    i, f, g, o = _sums(gates[slot], source, rows, bias, past).chunk(4, dim=1)
    i.sigmoid_(), f.sigmoid_(), g.tanh_(), o.sigmoid_()
    torch.addcmul(f * extra[t], i, g, out=extra[t + 1])
    torch.mul(o, extra[t + 1].tanh(), out=hs[t + 1])


def lstm_backward(
    t: int, k: int, grad: Tensor, dh: Tensor, carry: Tensor, gates: Tensor, hs: Tensor, extra: Tensor,
    d: Tensor, dpast: Tensor, into: Tensor, rows: Tensor,
) -> None:
    """`carry` is the cell's gradient."""
    (i, f, g, o), (di, df, dg, do) = gates[t].chunk(4, dim=1), d[k].chunk(4, dim=1)
    dh, tanh_c = grad[t] + dh, extra[t + 1].tanh()
    torch.mul(dh * tanh_c, o * (1 - o), out=do)
    carry.addcmul_(dh * o, 1 - tanh_c * tanh_c)
    torch.mul(carry * g, i * (1 - i), out=di)
    torch.mul(carry * i, 1 - g * g, out=dg)
    torch.mul(carry * extra[t], f * (1 - f), out=df)
    carry.mul_(f)
    into.index_add_(0, rows, d[k].to(into.dtype))


def gru_forward(
    t: int, slot: int, source: Tensor, rows: Tensor, bias: Tensor, bias_past: Tensor, past: Tensor, gates: Tensor,
    hs: Tensor, extra: Tensor,
) -> None:
    """r, z = sigmoid; n = tanh(input + r recall); h = n + z (h - n)."""
    hidden = bias_past.shape[0]
    inputs, a = source[rows] + bias, gates[slot]
    torch.add(inputs[:, : 2 * hidden], past[:, : 2 * hidden], out=a[:, : 2 * hidden]).sigmoid_()
    r, z, n, recall = a.chunk(4, dim=1)
    torch.add(past[:, 2 * hidden :], bias_past, out=recall)
    torch.addcmul(inputs[:, 2 * hidden :], r, recall, out=n).tanh_()
    torch.lerp(n, extra[t], z, out=extra[t + 1])
    hs[t + 1].copy_(extra[t + 1])


def gru_backward(
    t: int, k: int, grad: Tensor, dh: Tensor, carry: Tensor, gates: Tensor, hs: Tensor, extra: Tensor,
    d: Tensor, dpast: Tensor, into: Tensor, rows: Tensor,
) -> None:
    """`carry` is what the update gate lets through."""
    (r, z, n, recall), (dr, dz, dn) = gates[t].chunk(4, dim=1), d[k].chunk(3, dim=1)
    carry.add_(grad[t]).add_(dh)
    torch.mul(carry * (extra[t] - n), z * (1 - z), out=dz)
    torch.mul(carry * (1 - z), 1 - n * n, out=dn)
    torch.mul(dn * recall, r * (1 - r), out=dr)
    carry.mul_(z)
    torch.mul(d[k], 1, out=dpast[k])
    dpast[k].chunk(3, dim=1)[2].mul_(r)
    into.index_add_(0, rows, d[k].to(into.dtype))


def rnn_forward(
    t: int, slot: int, source: Tensor, rows: Tensor, bias: Tensor, bias_past: Tensor, past: Tensor, gates: Tensor,
    hs: Tensor, extra: Tensor,
) -> None:
    """h = tanh(sum)."""
    _sums(hs[t + 1], source, rows, bias, past).tanh_()


def rnn_backward(
    t: int, k: int, grad: Tensor, dh: Tensor, carry: Tensor, gates: Tensor, hs: Tensor, extra: Tensor,
    d: Tensor, dpast: Tensor, into: Tensor, rows: Tensor,
) -> None:
    """The derivative of tanh, from its value."""
    torch.mul(grad[t] + dh, 1 - hs[t + 1] * hs[t + 1], out=d[k])
    into.index_add_(0, rows, d[k].to(into.dtype))


def relu_forward(
    t: int, slot: int, source: Tensor, rows: Tensor, bias: Tensor, bias_past: Tensor, past: Tensor, gates: Tensor,
    hs: Tensor, extra: Tensor,
) -> None:
    """h = max(0, sum)."""
    _sums(hs[t + 1], source, rows, bias, past).relu_()


def relu_backward(
    t: int, k: int, grad: Tensor, dh: Tensor, carry: Tensor, gates: Tensor, hs: Tensor, extra: Tensor,
    d: Tensor, dpast: Tensor, into: Tensor, rows: Tensor,
) -> None:
    """The gradient passes where the state is positive."""
    torch.mul(grad[t] + dh, hs[t + 1] > 0, out=d[k])
    into.index_add_(0, rows, d[k].to(into.dtype))
# fmt: on


def _sums(out: Tensor, source: Tensor, rows: Tensor, bias: Tensor, past: Tensor) -> Tensor:
    """Input part, bias and product added up in `out`."""
    return torch.add(source[rows] + bias, past, out=out)
