"""The recurrent layers on a CPU: gradients written by hand, two products and one fused, compiled pass a step.

Same formulas and parameter layout as torch.nn.LSTM, GRU and RNN, which are what computes without numba and on a GPU.
What makes it fast:
- Backpropagation through time (Werbos 1990) as one autograd node a layer instead of some twenty a step.
- The first layer's input is no product but a lookup: an id picks its column of the input weights.
- Everything of a step that is no product is one compiled pass over its numbers.
- Sequences go through the input's and the weights' products in pieces that stay in the cache.
- Large tensors are used again from batch to batch: fresh ones cost page faults.
All sequences are time-major: (T, B, ...).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from charlm.models.kernels import cells
from charlm.models.kernels.matmul import PreparedMatrix, add_gradient
from charlm.models.kernels.plan import ComputePlan, as_array

# Rows (steps x batch) that the products over a whole sequence take at a time.
PIECE_ROWS = 512


@dataclass(frozen=True)
class CellSpec:
    """What distinguishes the architectures.

    Attributes:
        forward: steps.
        backward: their gradient.
        gates: times H, the sums of a row that the products give.
        saved: times H, the numbers of a row that the backward pass needs.
        states: hidden state, and the LSTM's cell.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    gates: int
    saved: int
    states: int = 1


# Hochreiter and Schmidhuber 1997, with Gers' forget gate
LSTM = CellSpec(cells.lstm_forward, cells.lstm_backward, gates=4, saved=4, states=2)
# Cho et al. 2014, in torch's form: reset gate after the product
GRU = CellSpec(cells.gru_forward, cells.gru_backward, gates=3, saved=4)
# Elman 1990; and the same with relu
RNN = CellSpec(cells.rnn_forward, cells.rnn_backward, gates=1, saved=0)
RELU = CellSpec(cells.relu_forward, cells.relu_backward, gates=1, saved=0)


class RecurrentLayer(Function):
    """One recurrent layer over a sequence."""

    @staticmethod
    def forward(
        ctx: Any, cell: CellSpec, plan: ComputePlan, keep: bool, inputs: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Hidden states (T, B, H), and each state after the last step (B, H).

        Args:
            ctx: autograd's.
            cell: which architecture.
            plan: number format and buffers.
            keep: whether a backward pass follows; otherwise nothing but the states is kept.
            inputs: ids (T, B), looked up in weight_ih; or numbers (T, B, I).
            tensors: weight_ih (G*H, I), weight_hh (G*H, H), bias_ih (G*H,), bias_hh (G*H,), and the states before
                the first step: h, and for the LSTM c, (B, H) each.

        Raises:
            IndexError: an id is outside the vocabulary.
        """
        weight_ih, weight_hh, bias_ih, bias_hh, *states = tensors
        steps, batch, hidden = inputs.shape[0], inputs.shape[1], weight_hh.shape[1]
        make = plan.buffers.take if keep else lambda shape, dtype: torch.empty(shape, dtype=dtype)
        full = weight_hh.dtype
        gates = make((steps if keep else 1, batch, cell.saved * hidden), full)
        hs = make((steps + 1, batch, hidden), plan.dtype)
        extra = make((steps + 1, batch, hidden), full)
        hs[0] = states[0]
        extra[0] = states[-1]
        bias, bias_past = biases(cell, bias_ih, bias_hh)
        past = torch.empty(batch, cell.gates * hidden, dtype=plan.dtype)
        advance = _forward_steps(cell, plan, weight_hh.t(), keep, (bias, bias_past, past, gates, hs, extra))
        for first, source, rows in _input_parts(inputs, weight_ih, plan):
            advance(first, source, rows)
        ctx.cell, ctx.plan, ctx.saved = cell, plan, (gates, hs, extra) if keep else None
        ctx.save_for_backward(inputs, weight_ih, weight_hh)
        last = [hs[steps].to(full, copy=True), extra[steps].clone()]
        return hs[1:], *({LSTM: last, GRU: last[1:]}.get(cell, last[:1]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of weights and biases, of the inputs if they are numbers, and of the states."""
        if ctx.saved is None:
            raise RuntimeError("a recurrent layer can be differentiated once, and only what was computed with `keep`")
        (gates, hs, extra), ctx.saved = ctx.saved, None
        inputs, weight_ih, weight_hh = ctx.saved_tensors
        cell, plan, full = ctx.cell, ctx.plan, weight_hh.dtype
        steps, batch, hidden = inputs.shape[0], inputs.shape[1], weight_hh.shape[1]
        grad, dh = grads[0].to(plan.dtype).contiguous(), grads[1].to(plan.dtype, copy=True)
        carry = grads[2].clone() if cell.states > 1 else torch.zeros(batch, hidden, dtype=full)
        sums = _GradientSums(inputs, weight_ih, weight_hh, plan)
        tensors = grad, dh, carry, gates, hs, extra, sums.d, sums.dpast, sums.into
        retreat = _backward_steps(cell, plan, weight_hh, sums.rows, tensors)
        for first in range((steps - 1) // sums.piece * sums.piece, -1, -sums.piece):
            last = min(first + sums.piece, steps)
            retreat(first, last)
            sums.add(first, last, hs)
        plan.buffers.give(gates, hs, extra)
        dstates = [dh.to(full) + carry] if cell is GRU else [dh.to(full), carry][: cell.states]
        return None, None, None, sums.dinputs, sums.dweight_ih, sums.dweight_hh, sums.dbias, sums.dbias_past, *dstates


def _forward_steps(
    cell: CellSpec, plan: ComputePlan, weight: Tensor, keep: bool, tensors: tuple[Tensor, ...]
) -> Callable[[int, Tensor, Tensor], None]:
    """A function (first step, source, rows) that takes the steps whose input parts `rows` point at.

    Args:
        cell: which architecture.
        plan: number format.
        weight: (H, G*H) recurrent.
        keep: whether a backward pass follows.
        tensors: bias, bias_past, past, gates, hs, extra of the steps.
    """
    past, hs = tensors[2], tensors[4]
    fixed = tuple(map(as_array, tensors))
    matrix = PreparedMatrix(weight, plan, len(hs) - 1, len(past))
    h = hs.unbind(0)

    def advance(first: int, source: Tensor, rows: Tensor) -> None:
        looked_up, picked = as_array(source), as_array(rows)
        if matrix.in_loop:
            cell.forward(first, keep, *matrix.arrays, looked_up, picked, *fixed)
            return
        for k in range(len(picked)):
            matrix.multiply(h[first + k], past)
            cell.forward(first + k, keep, *matrix.arrays, looked_up, picked[k : k + 1], *fixed)

    return advance


def _backward_steps(
    cell: CellSpec, plan: ComputePlan, weight: Tensor, rows: Tensor, tensors: tuple[Tensor, ...]
) -> Callable[[int, int], None]:
    """A function (first, last) that goes back over the steps from before `last` to `first`.

    Args:
        cell: which architecture.
        plan: number format.
        weight: (G*H, H) recurrent.
        rows: (T, B) where the input parts' gradients are added up.
        tensors: grad, dh, carry, gates, hs, extra, d, dpast, into of the steps.
    """
    dh, dpast = tensors[1], tensors[7]
    fixed, each = tuple(map(as_array, tensors)), as_array(rows)
    matrix = PreparedMatrix(weight, plan, *rows.shape)
    products = dpast.unbind(0)

    def retreat(first: int, last: int) -> None:
        if matrix.in_loop:
            cell.backward(first, last, first, *matrix.arrays, each, *fixed)
            return
        for t in range(last - 1, first - 1, -1):
            cell.backward(t, t + 1, first, *matrix.arrays, each, *fixed)
            matrix.multiply(products[t - first], dh)

    return retreat


class _GradientSums:
    """Gradients of a layer's weights, biases and inputs, added up piece by piece."""

    def __init__(self, inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, plan: ComputePlan) -> None:
        self.inputs, self.plan = inputs, plan
        steps, batch = inputs.shape[:2]
        width, full = weight_hh.shape[0], weight_hh.dtype
        ids = not inputs.is_floating_point()
        self.piece = min(max(1, PIECE_ROWS // batch), steps)
        self.d = torch.empty(self.piece, batch, width, dtype=plan.dtype)
        gru = width == 3 * weight_hh.shape[1]
        self.dpast = torch.empty_like(self.d) if gru else self.d
        self.into = torch.zeros(weight_ih.shape[1] if ids else 1, width, dtype=full)
        self.rows = inputs if ids else torch.zeros(steps, batch, dtype=torch.int64)
        self._dbias_past = torch.zeros(width, dtype=full) if gru else None
        self.dweight_hh: Tensor | None = None
        self._dweight: Tensor | None = None
        self.dinputs = None if ids else torch.empty_like(inputs, dtype=plan.dtype)
        self._weight = None if ids else PreparedMatrix(weight_ih, plan, steps, self.piece * batch)

    def add(self, first: int, last: int, hs: Tensor) -> None:
        """Add the steps from `first` to before `last`, which stand at the beginning of `d`."""
        count = last - first
        d, dpast = (part[:count].view(-1, part.shape[2]) for part in (self.d, self.dpast))
        self.dweight_hh = self._plus(self.dweight_hh, dpast, hs[first:last])
        if self._dbias_past is not None:
            self._dbias_past += dpast.sum(0, dtype=self._dbias_past.dtype)
        if self.dinputs is not None and self._weight is not None:
            self._dweight = self._plus(self._dweight, d, self.inputs[first:last].to(self.plan.dtype))
            self._weight.multiply(d, self.dinputs[first:last].view(d.shape[0], -1))

    def _plus(self, total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
        """total + left^T right."""
        return add_gradient(total, self.plan, left, right.reshape(left.shape[0], -1), self.into.dtype)

    @property
    def dbias(self) -> Tensor:
        """Gradient of the input's bias, (G*H,)."""
        return self.into.sum(0)

    @property
    def dbias_past(self) -> Tensor:
        """Gradient of the recurrent bias, (G*H,)."""
        return self.dbias if self._dbias_past is None else self._dbias_past

    @property
    def dweight_ih(self) -> Tensor:
        """Gradient of the input weights, (G*H, I)."""
        return self.into.t().contiguous() if self._dweight is None else self._dweight  # as Adam's fused step wants it


def biases(cell: CellSpec, bias_ih: Any, bias_hh: Any) -> tuple[Any, Any]:
    """What is added to the input part, (G*H,), and what the GRU adds to the product that its reset gate multiplies.

    Args:
        cell: which.
        bias_ih, bias_hh: (G*H,), both tensors or both arrays, as the results are.
    """
    hidden = len(bias_hh) // cell.gates
    bias, last = bias_ih + bias_hh, bias_hh[-hidden:]
    if cell is GRU:
        bias[-hidden:] = bias_ih[-hidden:]
    return bias, last


def _input_parts(inputs: Tensor, weight_ih: Tensor, plan: ComputePlan) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Pieces of the sequence: first step, a table of input parts of the gates, and the row of each step's in it."""
    steps, batch = inputs.shape[:2]
    if not inputs.is_floating_point():
        _check_ids(inputs, weight_ih.shape[1])
        if inputs.numel() < weight_ih.shape[1]:  # a few rows only: cheaper than transposing the whole table
            rows = torch.arange(steps * batch).view(steps, batch)
            yield 0, weight_ih.t()[inputs.reshape(-1)].contiguous(), rows
        else:
            yield 0, weight_ih.t().contiguous(), inputs
        return
    piece = min(max(1, PIECE_ROWS // batch), steps)
    matrix = PreparedMatrix(weight_ih.t(), plan, steps, piece * batch)
    source = torch.empty(piece * batch, weight_ih.shape[0], dtype=plan.dtype)
    rows = torch.arange(piece * batch).view(piece, batch)
    for first in range(0, steps, piece):
        part = inputs[first : first + piece].to(plan.dtype)
        flat = part.reshape(-1, part.shape[2])
        matrix.multiply(flat, source[: len(flat)])
        yield first, source, rows[: part.shape[0]]


def _check_ids(ids: Tensor, vocab_size: int) -> None:
    low, high = ids.aminmax()
    check_range(int(low), int(high), 0, vocab_size)


def check_range(low: int, high: int, lowest: int, vocab_size: int) -> None:
    """Refuse ids outside the vocabulary: compiled steps would read memory that is not theirs.

    Args:
        low, high: the ids' least and greatest.
        lowest: that may be; -1 for targets, of which that one does not count.
        vocab_size: ids are below it.

    Raises:
        IndexError: one is outside.
    """
    if low < lowest or high >= vocab_size:
        raise IndexError(f"an id of {low if low < lowest else high} is outside this model's 0 to {vocab_size - 1}")
