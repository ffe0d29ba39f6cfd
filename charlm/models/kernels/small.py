"""Loss and gradients of a small model's batch on a CPU, without autograd and most of torch's operations.

A step of a small model is hardly computing: its tensors are many and short, and an operation of torch takes one to five
microseconds until it begins, an autograd node of ours forty to a hundred. A compiled loop takes a quarter of one, and
so does numpy. A `Tape` keeps what has to be gone back over, and its operations are compiled loops, most of them those
that compute the layers anyway; the numbers are those of the layers but for rounding. What is not the plain case is left
to them.

Numbers are float32. N is the tokens of a batch, B x T; V the vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charlm.models.kernels.attention import attend, attend_backward
from charlm.models.kernels.bptt import GRU, CellSpec, biases, check_range
from charlm.models.kernels.cross_entropy import LANES, are_many, losses
from charlm.models.kernels.jit import is_wanted
from charlm.models.kernels.matmul import COLUMNS, add_transposed, multiply, tiles_of
from charlm.models.kernels.plan import mask_rows, new_seed
from charlm.models.kernels.rows import convolve, convolve_backward, gelu, norm, norm_backward
from charlm.models.kernels.scan import scan_backward, scan_forward

Array = np.ndarray[Any, Any]
# Numbers of a batch in the widest place of a model, or of a part of the batch, up to which it is computed so: of more
# the layers take a piece at a time, which stays in the cache; with narrower registers the library multiplies faster.
MOST_NUMBERS = {"AVX512": 1 << 20, "AVX2": 1 << 18}.get(torch.backends.cpu.get_cpu_capability(), 1 << 15)
# A bias of which exp is nothing beside any other.
NEVER = np.float32(-1e30)
NO_WEIGHT = np.empty((0, 0), np.float32)  # for the recurrent loops, which read the tiles


def is_small(numbers: int, ids: Tensor, vocab_size: int, sizes: Sequence[int], formats: Sequence[Any]) -> bool:
    """Whether a batch can be computed so, and is small enough.

    Args:
        numbers: of it in the widest place.
        ids: (B, T).
        vocab_size: V.
        sizes: of the layers, which tiles have to cover.
        formats: of weights and products.
    """
    can = is_wanted() and ids.is_cpu and all(one == torch.float32 for one in formats)
    return can and numbers <= MOST_NUMBERS and not are_many(vocab_size) and not any(size % COLUMNS for size in sizes)


Known = tuple[list[int], list[Array]]


def arrays_of(parameters: Sequence[Tensor], known: Known = ([], [])) -> Known:
    """Where parameters lie, and they as arrays: those that are known where they lie as before."""
    places = [one.data_ptr() for one in parameters]
    return known if places == known[0] else (places, [one.detach().numpy() for one in parameters])


class Var:
    """An array and, on the way back, the gradient of the loss by it; None where nothing has come yet."""

    __slots__ = ("grad", "value")

    def __init__(self, value: Array) -> None:
        self.value = value
        self.grad: Array | None = None

    def take(self, grad: Array) -> None:
        """Add a part of the gradient, an array that nobody changes any more."""
        self.grad = grad if self.grad is None else self.grad + grad


class Tape:
    """Operations on small arrays, gone back over once.

    Args:
        parameters: the weights, which somebody else keeps.
        arrays: the same, see `arrays_of`.
        generator: of the dropouts.

    Attributes:
        weights: in their order.
    """

    def __init__(self, parameters: Sequence[Tensor], arrays: Sequence[Array], generator: torch.Generator) -> None:
        self.generator = generator
        self.weights = [Var(one) for one in arrays]
        self._places = {id(one): place for place, one in enumerate(parameters)}
        self._backs: list[Callable[[], None]] = []

    def weight(self, parameter: Tensor) -> Var:
        """The Var of a weight; one that two layers share is one."""
        return self.weights[self._places[id(parameter)]]

    def gradients(self) -> list[Tensor]:
        """The gradients of the weights, in their order; the tape is used up."""
        for back in reversed(self._backs):
            back()
        grads = (np.zeros_like(one.value) if one.grad is None else one.grad for one in self.weights)
        return [torch.from_numpy(grad) for grad in grads]

    def dropout(self, x: Var, share: float, period: int = 0) -> Var:
        """Dropout as `plan.dropout` draws it.

        Args:
            x: rows (N, H).
            share: of its numbers to set to zero.
            period: rows that are so far from each other have the same mask; 0: none have.
        """
        if not share:
            return x
        mask = share, new_seed(self.generator), period or len(x.value)
        out = Var(np.empty_like(x.value))
        mask_rows(x.value, out.value, *mask)

        def back() -> None:
            dx = np.empty_like(x.value)
            mask_rows(_gradient(out), dx, *mask)
            x.take(dx)

        self._backs.append(back)
        return out

    def add(self, x: Var, y: Var) -> Var:
        """Their sum."""
        out = Var(x.value + y.value)

        def back() -> None:
            for part in (x, y):
                part.take(_gradient(out))

        self._backs.append(back)
        return out

    def look_up(self, ids: Array, weight: Var) -> Var:
        """Rows of a weight (V, H) by ids (N,)."""
        out = Var(weight.value[ids])

        def back() -> None:
            grad = torch.from_numpy(_gradient(out)), torch.from_numpy(ids)
            weight.take(torch.ops.aten.embedding_dense_backward(*grad, len(weight.value), -1, False).numpy())

        self._backs.append(back)
        return out

    def product(self, x: Var, weight: Var, bias: Var | None = None) -> Var:
        """x (N, K) times the transpose of a weight (M, K), and a bias (M,)."""
        out = Var(np.empty((len(x.value), len(weight.value)), np.float32))
        multiply(x.value, tiles_of(weight.value.T), out.value)
        if bias is not None:
            out.value += bias.value

        def back() -> None:
            grad, dweight, dx = _gradient(out), np.zeros_like(weight.value), np.empty_like(x.value)
            add_transposed(grad, x.value, dweight)
            weight.take(dweight)
            if bias is not None:
                bias.take(grad.sum(0))
            multiply(grad, tiles_of(weight.value), dx)
            x.take(dx)

        self._backs.append(back)
        return out

    def norm(self, x: Var, layer: torch.nn.LayerNorm) -> Var:
        """A LayerNorm of rows (N, H)."""
        weight, bias = self.weight(layer.weight), self.weight(layer.bias)
        out, straight, factor = Var(np.empty_like(x.value)), np.empty_like(x.value), np.empty(len(x.value), np.float32)
        norm(x.value, weight.value, bias.value, layer.eps, out.value, straight, factor)

        def back() -> None:
            dx, dweight, dbias = np.empty_like(x.value), np.zeros_like(weight.value), np.zeros_like(bias.value)
            norm_backward(_gradient(out), straight, factor, weight.value, dx, dweight, dbias)
            for var, part in ((x, dx), (weight, dweight), (bias, dbias)):
                var.take(part)

        self._backs.append(back)
        return out

    def gelu(self, x: Var) -> Var:
        """GELU of rows (N, M)."""
        out, slope = Var(np.empty_like(x.value)), np.empty_like(x.value)
        gelu(x.value, out.value, slope)
        self._backs.append(lambda: x.take(_gradient(out) * slope))
        return out

    def recurrent(
        self, cell: CellSpec, ids: Array, x: Var | None, weights: Sequence[Var], state: Sequence[Array]
    ) -> tuple[Var, list[Array]]:
        """A recurrent layer over a sequence.

        Args:
            cell: which.
            ids: (T, B) int64, which the first layer looks up.
            x: (N, I), time-major, what another one takes; None for the first.
            weights: weight_ih, weight_hh, bias_ih, bias_hh in torch's shapes.
            state: before it, h and for the LSTM c, (B, H) each.

        Returns:
            Hidden states (N, H), time-major, and the state after it.
        """
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        (steps, batch), (width, hidden), ids_known = ids.shape, weight_hh.value.shape, weight_ih.value.shape[1]
        gates = np.empty((steps, batch, cell.saved * hidden), np.float32)
        hs, extra = (np.empty((steps + 1, batch, hidden), np.float32) for _ in range(2))
        hs[0], extra[0] = state[0], state[-1]
        rows = np.arange(ids.size).reshape(ids.shape)
        if x is not None:
            source = np.empty((ids.size, width), np.float32)
            multiply(x.value, tiles_of(weight_ih.value.T), source)
        elif ids.size < ids_known:
            source = weight_ih.value.T.take(ids.ravel(), 0)
        else:
            source, rows = np.ascontiguousarray(weight_ih.value.T), ids
        past = np.empty((batch, width), np.float32)
        fixed = *biases(cell, bias_ih.value, bias_hh.value), past, gates, hs, extra
        cell.forward(0, True, NO_WEIGHT, tiles_of(weight_hh.value.T), source, rows, *fixed)
        out = Var(hs[1:].reshape(ids.size, hidden))

        def back() -> None:
            dh, carry = np.zeros((2, batch, hidden), np.float32)
            d = np.empty((steps, batch, width), np.float32)
            dpast = np.empty_like(d) if cell is GRU else d
            into = np.zeros((ids_known if x is None else 1, width), np.float32)
            rows = ids if x is None else np.zeros_like(ids)
            fixed = _gradient(out).reshape(steps, batch, hidden), dh, carry, gates, hs, extra, d, dpast, into
            cell.backward(0, steps, 0, NO_WEIGHT, tiles_of(weight_hh.value), rows, *fixed)
            flat, flat_past = d.reshape(-1, width), dpast.reshape(-1, width)
            dweight = np.zeros_like(weight_hh.value)
            add_transposed(flat_past, hs[:-1].reshape(-1, hidden), dweight)
            weight_hh.take(dweight)
            dbias = into.sum(0)
            bias_ih.take(dbias)
            bias_hh.take(flat_past.sum(0) if cell is GRU else dbias.copy())
            if x is None:
                weight_ih.take(np.ascontiguousarray(into.T))
                return
            dweight, dx = np.zeros_like(weight_ih.value), np.empty_like(x.value)
            add_transposed(flat, x.value, dweight)
            weight_ih.take(dweight)
            multiply(flat, tiles_of(weight_ih.value), dx)
            x.take(dx)

        self._backs.append(back)
        ends = [extra[-1] if cell is GRU else hs[-1], extra[-1]]  # the GRU's in full
        return out, ends[: cell.states]

    def attention(
        self, qkv: Var, shape: tuple[int, ...], past: Sequence[Array], others: tuple[Array, Array, Array], scale: float
    ) -> tuple[Var, list[Array]]:
        """A Transformer's attention, see `attention.attend`.

        Args:
            qkv: (N, 3 H).
            shape: B, T, 3, the heads and their size.
            past: keys and values of the window, (B, W, N, D) each.
            others: `filled`, `cos` and `sin`, as of `attention.Attention`.
            scale: likewise.

        Returns:
            (N, H), and keys and values of the next window.
        """
        rows, steps, _, heads, width = shape
        seen, shares = np.empty((rows, steps, heads, width), np.float32), np.empty((rows, heads, steps), np.float32)
        ends = [np.empty_like(part) for part in past]
        read: list[Any] = [qkv.value.reshape(shape), *past, *others, np.float32(scale)]
        attend(*[*read, seen, shares, *ends])
        out = Var(seen.reshape(rows * steps, -1))

        def back() -> None:
            dqkv = np.empty(shape, np.float32)
            attend_backward(*[*read, seen, shares, _gradient(out).reshape(seen.shape), dqkv])
            qkv.take(dqkv.reshape(qkv.value.shape))

        self._backs.append(back)
        return out, ends

    def convolution(self, x: Var, weight: Var, past: Array) -> tuple[Var, Array]:
        """The weighted sum of each unit's last values.

        Args:
            x: (N, H), row after row of the batch.
            weight: (K, H), the newest value's last.
            past: (B, K - 1, H), the values before x.

        Returns:
            (N, H), and the values for the next call.
        """
        given = x.value.reshape(len(past), -1, past.shape[2])
        result = np.empty_like(given)
        convolve(given, past, weight.value, result)
        out = Var(result.reshape(x.value.shape))

        def back() -> None:
            dx, dweight = np.zeros_like(given), np.zeros_like(weight.value)
            convolve_backward(_gradient(out).reshape(given.shape), given, past, weight.value, dx, dweight)
            weight.take(dweight)
            x.take(dx.reshape(x.value.shape))

        self._backs.append(back)
        return out, np.concatenate((past, given), axis=1)[:, given.shape[1] :]

    def scan(self, sums: Var, before: Array) -> tuple[Var, Array]:
        """The minGRU's recurrence, see `scan.scan_forward`.

        Args:
            sums: (N, 2 H), row after row of the batch.
            before: (B, H).

        Returns:
            States (N, H), and the last of each row, (B, H).
        """
        given = sums.value.reshape(len(before), -1, sums.value.shape[1])
        states = np.empty((*given.shape[:2], before.shape[1]), np.float32)
        scan_forward(given, before, states)
        out = Var(states.reshape(-1, before.shape[1]))

        def back() -> None:
            dsums, carry = np.empty_like(given), np.zeros_like(before)
            scan_backward(given, before, states, _gradient(out).reshape(states.shape), dsums, carry)
            sums.take(dsums.reshape(sums.value.shape))

        self._backs.append(back)
        return out, states[:, -1]

    def loss(self, x: Var, weight: Var, bias: Var, targets: Array, tokens: int) -> float:
        """The output layer and the sum of the losses through `tokens`, from where the tape goes back.

        Args:
            x: (N, H).
            weight: (V, H).
            bias: (V,).
            targets: (N,) int64; those of -1 do not count.
            tokens: that the loss is the mean of; the batch may be a part of theirs.
        """
        size, hidden = weight.value.shape
        wide = np.zeros((-(-size // COLUMNS) * COLUMNS, hidden), np.float32)
        wide[:size] = weight.value
        wide_bias = np.full(-(-size // LANES) * LANES, NEVER)
        wide_bias[:size] = bias.value
        logits = np.empty((len(x.value), len(wide_bias)), np.float32)
        multiply(x.value, tiles_of(wide.T), logits)
        total = losses(logits, wide_bias, targets, np.empty_like(wide_bias), True)
        dlogits, dx, dweight = (
            np.zeros((len(logits), len(wide)), np.float32),
            np.empty_like(x.value),
            np.zeros_like(wide),
        )
        np.multiply(logits[:, :size], np.float32(1 / tokens), out=dlogits[:, :size])
        multiply(dlogits, tiles_of(wide), dx)
        add_transposed(dlogits, x.value, dweight)
        for var, part in ((x, dx), (weight, dweight[:size]), (bias, dlogits.sum(0)[:size])):
            var.take(part)
        return float(total / tokens)


def checked(ids: Tensor, lowest: int, size: int) -> Array:
    """Ids from `lowest` to below `size` as an array; compiled loops would read memory that is not theirs for others.

    Raises:
        IndexError: one is outside.
    """
    array: Array = ids.contiguous().numpy()
    check_range(int(array.min()), int(array.max()), lowest, size)
    return array


def _gradient(var: Var) -> Array:
    """The gradient that has come for the result of an operation."""
    assert var.grad is not None
    return var.grad
