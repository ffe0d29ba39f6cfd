"""The recurrent layers on a CPU: gradients written by hand, two products and one fused pass a step.

Same formulas and parameter layout as torch.nn.LSTM, GRU and RNN. What makes it fast:
- Backpropagation through time (Werbos 1990) as one autograd node a layer instead of some twenty a step.
- The first layer's input is no product but a lookup: an id picks its column of the input weights.
- Everything of a step that is no product is one pass over its numbers, compiled where numba is at hand.
- Sequences go through the input's and the weights' products in pieces that stay in the cache.
- Large tensors are used again from batch to batch: fresh ones cost page faults.
All sequences are time-major: (T, B, ...).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from charlm.models.kernels import cells, cells_torch
from charlm.models.kernels.jit import is_wanted
from charlm.models.kernels.matmul import COLUMNS, multiply, tile

# Products with one matrix from which laying it out anew pays: in our tiles, and as oneDNN computes in bfloat16.
TILED_USES, PACKED_USES = 4, 16
# Rows of a product up to which the latter pays.
PACKED_ROWS = 256
# Rows of a batch up to which all steps are one compiled loop: a call costs as much as what it does.
FEW_ROWS = 4
# Rows (steps x batch) that the products over a whole sequence take at a time.
PIECE_ROWS = 512


class BufferPool:
    """Tensors of past steps, to be used again. Not for several threads at once."""

    def __init__(self) -> None:
        self._free: dict[tuple[tuple[int, ...], torch.dtype], list[Tensor]] = {}

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor with any content."""
        free = self._free.get((shape, dtype))
        return free.pop() if free else torch.empty(shape, dtype=dtype)

    def give(self, *tensors: Tensor) -> None:
        """Back for the next one who asks; whoever still reads it then reads something else."""
        for tensor in tensors:
            self._free.setdefault((tuple(tensor.shape), tensor.dtype), []).append(tensor)


@dataclass(frozen=True)
class CellSpec:
    """What distinguishes the architectures: numbers of H a row, states, and the names of their steps."""

    name: str
    gates: int  # whose sums the products give
    saved: int  # of these, and others, what backward needs
    states: int = 1

    def steps(self, compiled: bool) -> tuple[Callable[..., None], Callable[..., None]]:
        """The functions of one step, forward and back."""
        module: Any = cells if compiled else cells_torch
        return getattr(module, f"{self.name}_forward"), getattr(module, f"{self.name}_backward")

    @property
    def kind(self) -> int:
        """What the compiled loops over steps call it."""
        return cells.KINDS.index(self.name)


LSTM = CellSpec("lstm", gates=4, saved=4, states=2)  # Hochreiter and Schmidhuber 1997, with Gers' forget gate
GRU = CellSpec("gru", gates=3, saved=4)  # Cho et al. 2014, in torch's form: reset gate after the product
RNN = CellSpec("rnn", gates=1, saved=0)  # Elman 1990
RELU = CellSpec("relu", gates=1, saved=0)  # the same with relu


# Matrices as oneDNN computes with them, by where they stand and which way they are read.
PackedWeights = dict[tuple[int, ...], Tensor]


def weight_key(matrix: Tensor) -> tuple[int, ...]:
    """What PackedWeights knows a matrix by."""
    return matrix.data_ptr(), *matrix.stride()


def pack_weight(matrix: Tensor) -> Tensor:
    """A matrix (K, N) as oneDNN computes with it in bfloat16.

    It does that for each product else, which of few rows takes longer than the product.
    """
    return torch.ops.mkldnn._reorder_linear_weight(matrix.t().bfloat16().contiguous(), FEW_ROWS)


@dataclass(frozen=True)
class ComputePlan:
    """How to compute: the number format of products and kept sequences, and the tensors to use again."""

    dtype: torch.dtype
    buffers: BufferPool
    compiled: bool
    tiled: bool = False  # our own products of few rows, instead of the library's
    packed: bool = False  # oneDNN's products, a matrix laid out once for many of them
    packed_weights: PackedWeights = field(default_factory=dict)  # what is laid out already

    @classmethod
    def best(cls, dtype: torch.dtype, buffers: BufferPool, packed_weights: PackedWeights) -> "ComputePlan":
        """Compiled where that is to be had; tiled in float32 with AVX, where few rows are slow in the library."""
        compiled = is_wanted()
        avx = torch.backends.cpu.get_cpu_capability().startswith("AVX")
        packed = dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return cls(dtype, buffers, compiled, compiled and avx and dtype == torch.float32, packed, packed_weights)

    def uses_packed(self, uses: int, rows: int) -> bool:
        """Whether a matrix is laid out as oneDNN likes it, for so many products with so many rows."""
        return self.packed and uses >= PACKED_USES and rows <= PACKED_ROWS

    def in_one(self, rows: int) -> bool:
        """Whether all steps of a training's batch of so many rows are one compiled loop."""
        return self.compiled and rows <= FEW_ROWS and self.dtype == torch.float32

    def view(self, tensor: Tensor) -> Any:
        """The tensor as the steps want it: a numpy array, bfloat16 as its 16 bits; or itself."""
        if not self.compiled:
            return tensor
        return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


class PreparedMatrix:
    """A matrix (K, N) that so many rows are multiplied with, `uses` times: in tiles, or as the library likes it."""

    def __init__(self, matrix: Tensor, plan: ComputePlan, uses: int, rows: int) -> None:
        inputs, columns = matrix.shape
        self._tiles = self._packed = None
        if plan.uses_packed(uses, rows):
            packed = plan.packed_weights.get(weight_key(matrix))
            self._packed = pack_weight(matrix) if packed is None else packed
        elif plan.tiled and uses >= TILED_USES and columns % COLUMNS == 0:
            self._tiles = np.empty((columns // COLUMNS, inputs, COLUMNS), np.float32)
            tile(matrix.numpy(), self._tiles)
        else:  # copied, which products in float32 like better, only where many pay for it
            copied = uses > 1 and plan.dtype == torch.float32
            self._matrix = matrix.contiguous() if copied else matrix.to(plan.dtype)

    def operand(self, rows: Tensor) -> Any:
        """What `multiply` takes for rows, and for where the result goes."""
        return rows if self._tiles is None else rows.numpy()

    def multiply(self, rows: Any, out: Any) -> None:
        """out (R, N) = rows (R, K) times the matrix."""
        if self._packed is not None:
            out.copy_(torch.ops.mkldnn._linear_pointwise(rows, self._packed, None, "none", [], ""))
        elif self._tiles is None:
            torch.mm(rows, self._matrix, out=out)
        else:
            multiply(rows, self._tiles, out)


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
            how: number format and buffers.
            keep: for a backward pass; without, nothing but the states is kept.
            inputs: ids (T, B), looked up in weight_ih; or numbers (T, B, I).
            tensors: weight_ih (G*H, I), weight_hh (G*H, H), bias_ih (G*H,), bias_hh (G*H,), and the states before
                the first step: h, and for the LSTM c, (B, H) each.
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
        bias, bias_past = _biases(cell, bias_ih, bias_hh)
        past = torch.empty(batch, cell.gates * hidden, dtype=plan.dtype)
        advance = _forward(cell, plan, weight_hh.t(), keep, (bias, bias_past, past, gates, hs, extra))
        for first, source, rows in _sources(inputs, weight_ih, plan):
            advance(first, source, rows)
        ctx.cell, ctx.plan, ctx.saved = cell, plan, (gates, hs, extra) if keep else None
        ctx.save_for_backward(inputs, weight_ih, weight_hh)
        last = [hs[steps].to(full, copy=True), extra[steps].clone()]
        return hs[1:], *({LSTM: last, GRU: last[1:]}.get(cell, last[:1]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of everything that is learned, of the inputs if they are numbers, and of the states."""
        if ctx.saved is None:
            raise RuntimeError("a recurrent layer can be differentiated once, and only what was computed with `keep`")
        (gates, hs, extra), ctx.saved = ctx.saved, None
        inputs, weight_ih, weight_hh = ctx.saved_tensors
        cell, plan, full = ctx.cell, ctx.plan, weight_hh.dtype
        steps, batch, hidden = inputs.shape[0], inputs.shape[1], weight_hh.shape[1]
        grad, dh = grads[0].to(plan.dtype).contiguous(), grads[1].to(plan.dtype, copy=True)
        carry = grads[2].clone() if cell.states > 1 else torch.zeros(batch, hidden, dtype=full)
        down = _Down(inputs, weight_ih, weight_hh, plan)
        tensors = grad, dh, carry, gates, hs, extra, down.d, down.dpast, down.into
        retreat = _backward(cell, plan, weight_hh, down.rows, tensors)
        for first in range((steps - 1) // down.piece * down.piece, -1, -down.piece):
            last = min(first + down.piece, steps)
            retreat(first, last)
            down.add(first, last, hs)
        plan.buffers.give(gates, hs, extra)
        dstates = [dh.to(full) + carry] if cell is GRU else [dh.to(full), carry][: cell.states]
        return None, None, None, down.dinputs, down.dweight_ih, down.dweight_hh, down.dbias, down.dbias_past, *dstates


def _forward(
    cell: CellSpec, plan: ComputePlan, weight: Tensor, keep: bool, tensors: tuple[Tensor, ...]
) -> Callable[[int, Tensor, Tensor], None]:
    """A function (first step, source, rows) that takes the steps for whose input part the rows stand.

    Args:
        cell: which architecture.
        how: number format.
        weight: (H, G*H) recurrent.
        keep: what a backward pass needs.
        tensors: bias, bias_past, past, gates, hs, extra of the steps.
    """
    past, hs, view = tensors[2], tensors[4], plan.view
    fixed = tuple(map(view, tensors))
    if keep and plan.in_one(len(past)):
        matrix = view(weight.contiguous())
        return lambda first, source, rows: cells.forward_steps(
            cell.kind, first, keep, matrix, view(source), view(rows), *fixed
        )
    across = PreparedMatrix(weight, plan, len(hs) - 1, len(past))
    step, h, product = cell.steps(plan.compiled)[0], list(map(across.operand, hs.unbind(0))), across.operand(past)

    def one_by_one(first: int, source: Tensor, rows: Tensor) -> None:
        looked_up = view(source)
        for t, picked in enumerate(map(view, rows), first):
            across.multiply(h[t], product)
            step(t, t if keep else 0, looked_up, picked, *fixed)

    return one_by_one


def _backward(
    cell: CellSpec, plan: ComputePlan, weight: Tensor, rows: Tensor, tensors: tuple[Tensor, ...]
) -> Callable[[int, int], None]:
    """A function (first, last) that goes back over the steps from before `last` to `first`.

    Args:
        cell: which architecture.
        how: number format.
        weight: (G*H, H) recurrent.
        rows: (T, B) where the input parts' gradients are added up.
        tensors: grad, dh, carry, gates, hs, extra, d, dpast, into of the steps.
    """
    dh, dpast, view = tensors[1], tensors[7], plan.view
    fixed = tuple(map(view, tensors))
    if plan.in_one(len(dh)):
        matrix, picked = view(weight), view(rows)
        return lambda first, last: cells.backward_steps(cell.kind, first, last, matrix, picked, *fixed)
    across = PreparedMatrix(weight, plan, *rows.shape)
    step, each = cell.steps(plan.compiled)[1], list(map(view, rows))
    products, dstate = list(map(across.operand, dpast.unbind(0))), across.operand(dh)

    def one_by_one(first: int, last: int) -> None:
        for t in range(last - 1, first - 1, -1):
            step(t, t - first, *fixed, each[t])
            across.multiply(products[t - first], dstate)

    return one_by_one


class _Down:
    """What flows out of a layer's steps into its weights and inputs, piece by piece."""

    def __init__(self, inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, plan: ComputePlan) -> None:
        self.inputs, self.plan, self.weight_ih = inputs, plan, weight_ih
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
        """Take in the steps from `first` to before `last`, which stand at the beginning of `d`."""
        count = last - first
        d, dpast = (part[:count].view(-1, part.shape[2]) for part in (self.d, self.dpast))
        self.dweight_hh = self._plus(self.dweight_hh, dpast, hs[first:last])
        if self._dbias_past is not None:
            self._dbias_past += dpast.sum(0, dtype=self._dbias_past.dtype)
        if self.dinputs is not None and self._weight is not None:
            self._dweight = self._plus(self._dweight, d, self.inputs[first:last].to(self.plan.dtype))
            operand = self._weight.operand
            self._weight.multiply(operand(d), operand(self.dinputs[first:last].view(d.shape[0], -1)))

    def _plus(self, total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
        """total + left^T right; halves of a number are added up as whole ones."""
        right = right.reshape(left.shape[0], -1)
        if total is None:
            return (left.t() @ right).to(self.into.dtype)
        if total.dtype == left.dtype:
            return total.addmm_(left.t(), right)
        total += left.t() @ right
        return total

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


def _biases(cell: CellSpec, bias_ih: Tensor, bias_hh: Tensor) -> tuple[Tensor, Tensor]:
    """What is added to the input part, (G*H,), and what the GRU adds to the product that its reset gate multiplies."""
    hidden = len(bias_hh) // cell.gates
    bias, last = bias_ih + bias_hh, bias_hh[-hidden:].contiguous()
    if cell is GRU:
        bias[-hidden:] = bias_ih[-hidden:]
    return bias, last


def _sources(inputs: Tensor, weight_ih: Tensor, plan: ComputePlan) -> Any:
    """Pieces of the sequence: first step, where the input part of the gates stands, and each step's rows of it."""
    steps, batch = inputs.shape[:2]
    if not inputs.is_floating_point():
        _refuse_unknown(inputs, weight_ih.shape[1])
        if inputs.numel() < weight_ih.shape[1]:  # a few rows only: cheaper than turning the whole table
            rows = torch.arange(steps * batch).view(steps, batch)
            yield 0, weight_ih.t()[inputs.reshape(-1)].contiguous(), rows
        else:
            yield 0, weight_ih.t().contiguous(), inputs
        return
    piece = min(max(1, PIECE_ROWS // batch), steps)
    across = PreparedMatrix(weight_ih.t(), plan, steps, piece * batch)
    source = torch.empty(piece * batch, weight_ih.shape[0], dtype=plan.dtype)
    rows = torch.arange(piece * batch).view(piece, batch)
    for first in range(0, steps, piece):
        part = inputs[first : first + piece].to(plan.dtype)
        flat = part.reshape(-1, part.shape[2])
        across.multiply(across.operand(flat), across.operand(source[: len(flat)]))
        yield first, source, rows[: part.shape[0]]


def _refuse_unknown(ids: Tensor, vocab_size: int) -> None:
    """Compiled steps do not look where they read."""
    low, high = ids.aminmax()
    if low < 0 or high >= vocab_size:
        raise IndexError(f"an id of {int(low if low < 0 else high)} is outside this model's 0 to {vocab_size - 1}")


class Dropout(Function):
    """Inverted dropout (Srivastava et al. 2014) without a mask: a hash of seed and place decides, again in backward."""

    @staticmethod
    def forward(ctx: Any, plan: ComputePlan, x: Tensor, share: float, seed: int, locked: bool) -> Tensor:
        """`x` (..., H) with about `share` of its numbers zero and the others larger.

        Args:
            ctx: autograd's.
            how: number format.
            x: what is to be thinned out.
            share: 0 to below 1.
            seed: 32 bits.
            locked: the same numbers fall at every place of dimension 0 (Gal and Ghahramani 2016).
        """
        ctx.plan, ctx.others = plan, (share, seed, locked)
        return _dropped(plan, x, *ctx.others)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The same places, the same factor."""
        return None, _dropped(ctx.plan, grads[0], *ctx.others), None, None, None


def _dropped(plan: ComputePlan, x: Tensor, share: float, seed: int, locked: bool) -> Tensor:
    x = x.contiguous()
    out, flat = torch.empty_like(x), (-1, x.shape[-1])
    period = (x[0] if locked else x).view(flat).shape[0]
    views = plan.view(x.view(flat)), plan.view(out.view(flat))
    cells.dropout(*views, seed, int(share * 2**32), 1.0 / (1.0 - share), period)
    return out
