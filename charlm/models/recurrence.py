"""The recurrent layers, computed on a CPU: one matrix product and a few in-place operations a step.

Same formulas and parameter layout as torch.nn.LSTM, GRU and RNN; the gradient is written out by hand
(Werbos 1990, backpropagation through time), which saves autograd's bookkeeping of some twenty nodes a step.
All sequences are time-major: (T, B, ...). Views of single steps are taken all at once before a loop: one by one they
cost as much as the arithmetic.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input


def transposed(weight: Tensor, steps: int) -> Tensor:
    """`weight` (G, H) as (H, G); copied, which products like better, only where many steps pay for it."""
    return weight.t().contiguous() if steps > 1 else weight.t()


def gate_steps(gates: Tensor, hidden: int) -> list[tuple[Tensor, ...]]:
    """Gates (T, B, G * H) as a list for each gate of its steps, (B, H) each."""
    return [gate.unbind(0) for gate in gates.split(hidden, dim=2)]


class LSTMLayer(Function):
    """One LSTM layer over a sequence (Hochreiter and Schmidhuber 1997, with Gers' forget gate)."""

    @staticmethod
    def forward(ctx: Any, gates_in: Tensor, h0: Tensor, c0: Tensor, weight_hh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gates' input part with both biases, (T, B, 4H) in torch's order i f g o -> h (T, B, H), last h, last c."""
        steps, batch, hidden = gates_in.shape[0], h0.shape[0], h0.shape[1]
        weight_t = transposed(weight_hh, steps)  # (H, 4H)
        gates = torch.empty_like(gates_in)  # (T, B, 4H), after their sigmoid or tanh
        hs = gates_in.new_empty(steps + 1, batch, hidden)
        cs = gates_in.new_empty(steps + 1, batch, hidden)
        tanh_cs = gates_in.new_empty(steps, batch, hidden)
        hs[0], cs[0] = h0, c0
        inputs, gate, h, c, tanh_c = (part.unbind(0) for part in (gates_in, gates, hs, cs, tanh_cs))
        i, f, g, o = gate_steps(gates, hidden)
        i_and_f = gates[:, :, : 2 * hidden].unbind(0)
        for t in range(steps):
            torch.addmm(inputs[t], h[t], weight_t, out=gate[t])  # (B, 4H)
            i_and_f[t].sigmoid_()
            g[t].tanh_()
            o[t].sigmoid_()
            torch.mul(f[t], c[t], out=c[t + 1]).addcmul_(i[t], g[t])
            torch.tanh(c[t + 1], out=tanh_c[t])
            torch.mul(o[t], tanh_c[t], out=h[t + 1])
        ctx.save_for_backward(gates, hs, cs, tanh_cs, weight_hh)
        return hs[1:], hs[steps].clone(), cs[steps].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of gates_in, h0, c0 and weight_hh."""
        grad_hs, grad_h, grad_c = grads
        gates, hs, cs, tanh_cs, weight_hh = ctx.saved_tensors
        hidden = weight_hh.shape[1]
        dgates = torch.empty_like(gates)  # (T, B, 4H), before their sigmoid or tanh
        dh, dc = grad_h.clone(), grad_c.clone()  # (B, H)
        work = torch.empty_like(dh)
        grad, c, tanh_c, dgate = (part.unbind(0) for part in (grad_hs, cs, tanh_cs, dgates))
        (i, f, g, o), (di, df, dg, do) = gate_steps(gates, hidden), gate_steps(dgates, hidden)
        for t in range(gates.shape[0] - 1, -1, -1):
            dh.add_(grad[t])
            sigmoid_backward(torch.mul(dh, tanh_c[t], out=work), o[t], grad_input=do[t])
            dc.add_(tanh_backward(torch.mul(dh, o[t], out=work), tanh_c[t], grad_input=work))
            sigmoid_backward(torch.mul(dc, g[t], out=work), i[t], grad_input=di[t])
            sigmoid_backward(torch.mul(dc, c[t], out=work), f[t], grad_input=df[t])
            tanh_backward(torch.mul(dc, i[t], out=work), g[t], grad_input=dg[t])
            dc.mul_(f[t])
            torch.mm(dgate[t], weight_hh, out=dh)
        dweight = dgates.view(-1, 4 * hidden).t() @ hs[:-1].reshape(-1, hidden)
        return dgates, dh, dc, dweight


class GRULayer(Function):
    """One GRU layer over a sequence (Cho et al. 2014, in torch's form: reset gate after the product)."""

    @staticmethod
    def forward(ctx: Any, gates_in: Tensor, h0: Tensor, weight_hh: Tensor, bias_hh: Tensor) -> tuple[Tensor, Tensor]:
        """Input part of the gates, with its bias, (T, B, 3H) in torch's order r z n -> h (T, B, H), last h."""
        steps, batch, hidden = gates_in.shape[0], h0.shape[0], h0.shape[1]
        weight_t = transposed(weight_hh, steps)  # (H, 3H)
        gates = torch.empty_like(gates_in)  # (T, B, 3H), after their sigmoid or tanh
        hs = gates_in.new_empty(steps + 1, batch, hidden)
        recalls = gates_in.new_empty(steps, batch, hidden)  # what the reset gate lets through of the past
        from_past = gates_in.new_empty(batch, 3 * hidden)
        hs[0] = h0
        rz_past, n_past = from_past.split(2 * hidden, dim=1)
        rz_in, n_in = (part.unbind(0) for part in gates_in.split(2 * hidden, dim=2))
        rz = gates[:, :, : 2 * hidden].unbind(0)
        (r, z, n), h, recall = gate_steps(gates, hidden), hs.unbind(0), recalls.unbind(0)
        for t in range(steps):
            torch.addmm(bias_hh, h[t], weight_t, out=from_past)
            recall[t].copy_(n_past)
            torch.add(rz_in[t], rz_past, out=rz[t]).sigmoid_()
            torch.addcmul(n_in[t], r[t], recall[t], out=n[t]).tanh_()
            torch.sub(h[t], n[t], out=h[t + 1]).mul_(z[t]).add_(n[t])
        ctx.save_for_backward(gates, hs, recalls, weight_hh)
        return hs[1:], hs[steps].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of gates_in, h0, weight_hh and bias_hh."""
        grad_hs, grad_h = grads
        gates, hs, recalls, weight_hh = ctx.saved_tensors
        hidden = weight_hh.shape[1]
        dgates = torch.empty_like(gates)  # (T, B, 3H), of the input part
        dpast = torch.empty_like(gates)  # (T, B, 3H), of the past's part: differs in n only
        dh = grad_h.clone()  # (B, H)
        work = torch.empty_like(dh)
        grad, h, recall, past = (part.unbind(0) for part in (grad_hs, hs, recalls, dpast))
        (r, z, n), (dr, dz, dn) = gate_steps(gates, hidden), gate_steps(dgates, hidden)
        rz_past, n_past = (part.unbind(0) for part in dpast.split(2 * hidden, dim=2))
        drz = dgates[:, :, : 2 * hidden].unbind(0)
        for t in range(gates.shape[0] - 1, -1, -1):
            dh.add_(grad[t])
            sigmoid_backward(torch.sub(h[t], n[t], out=work).mul_(dh), z[t], grad_input=dz[t])
            tanh_backward(torch.mul(dh, z[t], out=work).neg_().add_(dh), n[t], grad_input=dn[t])
            sigmoid_backward(torch.mul(dn[t], recall[t], out=work), r[t], grad_input=dr[t])
            rz_past[t].copy_(drz[t])
            torch.mul(dn[t], r[t], out=n_past[t])
            dh.mul_(z[t]).addmm_(past[t], weight_hh)
        flat = dpast.view(-1, 3 * hidden)
        return dgates, dh, flat.t() @ hs[:-1].reshape(-1, hidden), flat.sum(0)


class RNNLayer(Function):
    """One Elman layer over a sequence (Elman 1990), with tanh or relu."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, h0: Tensor, weight_hh: Tensor, relu: bool) -> tuple[Tensor, Tensor]:
        """Input part of the sum, with both biases, (T, B, H) -> h (T, B, H), last h."""
        steps, batch, hidden = inputs.shape
        weight_t = transposed(weight_hh, steps)  # (H, H)
        hs = inputs.new_empty(steps + 1, batch, hidden)
        hs[0] = h0
        step, h = inputs.unbind(0), hs.unbind(0)
        bend = torch.relu_ if relu else torch.tanh_
        for t in range(steps):
            bend(torch.addmm(step[t], h[t], weight_t, out=h[t + 1]))
        ctx.save_for_backward(hs, weight_hh)
        ctx.relu = relu
        return hs[1:], hs[steps].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of inputs, h0 and weight_hh."""
        grad_hs, grad_h = grads
        hs, weight_hh = ctx.saved_tensors
        hidden = weight_hh.shape[1]
        dsums = torch.empty_like(grad_hs)  # (T, B, H), before tanh or relu
        dh = grad_h.clone()  # (B, H)
        grad, h, dsum = grad_hs.unbind(0), hs.unbind(0), dsums.unbind(0)
        for t in range(dsums.shape[0] - 1, -1, -1):
            dh.add_(grad[t])
            if ctx.relu:
                torch.mul(dh, h[t + 1] > 0, out=dsum[t])
            else:
                tanh_backward(dh, h[t + 1], grad_input=dsum[t])
            torch.mm(dsum[t], weight_hh, out=dh)
        dweight = dsums.view(-1, hidden).t() @ hs[:-1].reshape(-1, hidden)
        return dsums, dh, dweight, None
