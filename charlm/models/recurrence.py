"""The recurrent layers, computed on a CPU: one matrix product and a few in-place operations a step.

Same formulas and parameter layout as torch.nn.LSTM, GRU and RNN; the gradient is written out by hand
(Werbos 1990, backpropagation through time), which saves autograd's bookkeeping of some twenty nodes a step.
All sequences are time-major: (T, B, ...).
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
        for t in range(steps):
            gate = torch.addmm(gates_in[t], hs[t], weight_t, out=gates[t])  # (B, 4H)
            gate[:, : 2 * hidden].sigmoid_()
            gate[:, 2 * hidden : 3 * hidden].tanh_()
            gate[:, 3 * hidden :].sigmoid_()
            i, f, g, o = gate.chunk(4, dim=1)  # (B, H) each
            torch.mul(f, cs[t], out=cs[t + 1]).addcmul_(i, g)
            torch.tanh(cs[t + 1], out=tanh_cs[t])
            torch.mul(o, tanh_cs[t], out=hs[t + 1])
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
        for t in range(gates.shape[0] - 1, -1, -1):
            i, f, g, o = gates[t].chunk(4, dim=1)
            di, df, dg, do = dgates[t].chunk(4, dim=1)
            dh.add_(grad_hs[t])
            sigmoid_backward(torch.mul(dh, tanh_cs[t], out=work), o, grad_input=do)
            dc.add_(tanh_backward(torch.mul(dh, o, out=work), tanh_cs[t], grad_input=work))
            sigmoid_backward(torch.mul(dc, g, out=work), i, grad_input=di)
            sigmoid_backward(torch.mul(dc, cs[t], out=work), f, grad_input=df)
            tanh_backward(torch.mul(dc, i, out=work), g, grad_input=dg)
            dc.mul_(f)
            torch.mm(dgates[t], weight_hh, out=dh)
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
        for t in range(steps):
            torch.addmm(bias_hh, hs[t], weight_t, out=from_past)
            recalls[t] = from_past[:, 2 * hidden :]
            rz = torch.add(gates_in[t, :, : 2 * hidden], from_past[:, : 2 * hidden], out=gates[t, :, : 2 * hidden])
            rz.sigmoid_()
            r, z, n = gates[t].chunk(3, dim=1)  # (B, H) each
            torch.addcmul(gates_in[t, :, 2 * hidden :], r, recalls[t], out=n).tanh_()
            torch.sub(hs[t], n, out=hs[t + 1]).mul_(z).add_(n)
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
        for t in range(gates.shape[0] - 1, -1, -1):
            r, z, n = gates[t].chunk(3, dim=1)
            dr, dz, dn = dgates[t].chunk(3, dim=1)
            dh.add_(grad_hs[t])
            sigmoid_backward(torch.sub(hs[t], n, out=work).mul_(dh), z, grad_input=dz)
            tanh_backward(torch.mul(dh, z, out=work).neg_().add_(dh), n, grad_input=dn)
            sigmoid_backward(torch.mul(dn, recalls[t], out=work), r, grad_input=dr)
            dpast[t, :, : 2 * hidden] = dgates[t, :, : 2 * hidden]
            torch.mul(dn, r, out=dpast[t, :, 2 * hidden :])
            dh.mul_(z).addmm_(dpast[t], weight_hh)
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
        for t in range(steps):
            h = torch.addmm(inputs[t], hs[t], weight_t, out=hs[t + 1])
            h.relu_() if relu else h.tanh_()
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
        for t in range(dsums.shape[0] - 1, -1, -1):
            dh.add_(grad_hs[t])
            if ctx.relu:
                torch.mul(dh, hs[t + 1] > 0, out=dsums[t])
            else:
                tanh_backward(dh, hs[t + 1], grad_input=dsums[t])
            torch.mm(dsums[t], weight_hh, out=dh)
        dweight = dsums.view(-1, hidden).t() @ hs[:-1].reshape(-1, hidden)
        return dsums, dh, dweight, None
