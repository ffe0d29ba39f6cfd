"""Steps of the recurrent cells, forward and backward, compiled: all that is not a matrix product, in one pass.

Several steps are one call, which holds up no other thread, where their recurrent products are ours (matmul.py);
otherwise the caller multiplies between one step and the next. Every loop runs over one row, which stays in the
first-level cache, and touches few arrays: the compiler gives up vectorising where it cannot cheaply rule out that they
overlap.

All cells have the arguments of `lstm_forward` and `lstm_backward`, whether they use them or not. H is the hidden size,
G the number of gates (LSTM 4, GRU 3, RNN 1), T the steps of a sequence, P those of a piece of it. Arrays have the
number format of the weights; source, past, hs, grad, dh, d and dpast may instead hold bfloat16 in 16 bits, which is
computed with in float32.
"""

from typing import Any

import numpy as np

from charlm.models.kernels.jit import ONE, compiled, get, inlined, put, sigmoid, tanh
from charlm.models.kernels.matmul import multiply_past

Array = np.ndarray[Any, Any]


@inlined
def sigmoid_row(out: Array, source: Array, bias: Array, past: Array) -> None:
    """Sigmoid of a sum of three.

    Args:
        out: (N,), overwritten.
        source: (N,), the input part.
        bias: (N,).
        past: (N,), the recurrent part.
    """
    for j in range(out.shape[0]):
        put(out, j, sigmoid(get(source, j) + bias[j] + get(past, j)))


@inlined
def tanh_row(out: Array, source: Array, bias: Array, past: Array) -> None:
    """Tanh of a sum of three.

    Args:
        out, source, bias, past: as for `sigmoid_row`.
    """
    for j in range(out.shape[0]):
        put(out, j, tanh(get(source, j) + bias[j] + get(past, j)))


@inlined
def add_row(total: Array, row: Array) -> None:
    """Add a row to a sum of rows."""
    for j in range(total.shape[0]):
        total[j] += get(row, j)


@compiled
def lstm_forward(
    first: int, keep: bool, weight: Array, tiles: Array, source: Array, rows: Array, bias: Array, bias_past: Array,
    past: Array, gates: Array, hs: Array, extra: Array,
) -> None:  # fmt: skip
    """Steps of the LSTM: i, f, o = sigmoid, g = tanh; c = f c + i g; h = o tanh(c).

    Args:
        first: the first step, from 0 on.
        keep: whether `gates` has room for all steps, as the backward pass needs; otherwise for one.
        weight: (H, G*H), recurrent; see `multiply_past`.
        tiles: (G*H / 16, H, 16), the same.
        source: (R, G*H), input parts of the gates, in torch's order i, f, g, o.
        rows: (N, B), which of them is each row's, for each of the steps.
        bias: (G*H,), added to the input part.
        bias_past: (H,), of the GRU only.
        past: (B, G*H), the recurrent product of one step: given, or written.
        gates: (S, B, 4 H); the values of i, f, g and o are written.
        hs: (T + 1, B, H), hidden states as the products take them; the one after step t is written at t + 1.
        extra: (T + 1, B, H), cells; likewise.

    Source:
        Hochreiter and Schmidhuber (1997); forget gate: Gers et al. (2000).
    """
    batch, hidden = extra.shape[1:]
    for k, t in enumerate(range(first, first + len(rows))):
        multiply_past(hs[t], weight, tiles, past)
        slot = t if keep else 0
        for b in range(batch):
            s, p, a = source[rows[k, b]], past[b], gates[slot, b]
            i, f, g, o = a[:hidden], a[hidden : 2 * hidden], a[2 * hidden : 3 * hidden], a[3 * hidden :]
            sigmoid_row(a[: 2 * hidden], s[: 2 * hidden], bias[: 2 * hidden], p[: 2 * hidden])
            tanh_row(g, s[2 * hidden : 3 * hidden], bias[2 * hidden : 3 * hidden], p[2 * hidden : 3 * hidden])
            sigmoid_row(o, s[3 * hidden :], bias[3 * hidden :], p[3 * hidden :])
            before, c, h = extra[t, b], extra[t + 1, b], hs[t + 1, b]
            for j in range(hidden):
                c[j] = f[j] * before[j] + i[j] * g[j]
            for j in range(hidden):
                put(h, j, o[j] * tanh(c[j]))


@compiled
def lstm_backward(
    first: int, last: int, start: int, weight: Array, tiles: Array, rows: Array, grad: Array, dh: Array, carry: Array,
    gates: Array, hs: Array, extra: Array, d: Array, dpast: Array, into: Array,
) -> None:  # fmt: skip
    """The gradient of `lstm_forward`.

    Args:
        first, last: the steps from `last` - 1 back to `first`.
        start: the step that is first in `d` and `dpast`.
        weight: (G*H, H), recurrent; see `multiply_past`.
        tiles: (H / 16, G*H, 16), the same.
        rows: (T, B), the rows of `into` that each row's gradients are added to.
        grad: (T, B, H), gradient of the hidden states from outside.
        dh: (B, H), gradient of the hidden state after the last step that comes through the next step's product; becomes
            that of the state before `first`, where the products are computed here.
        carry: (B, H), gradient of the cell; becomes that of the cell before `first`.
        gates: (T, B, 4 H), as the forward pass wrote them.
        hs: (T + 1, B, H), likewise.
        extra: (T + 1, B, H), likewise.
        d: (P, B, G*H), gradient of the gates' sums, before sigmoid and tanh; written.
        dpast: (P, B, G*H), that of the recurrent product; the same array as `d`, except in the GRU.
        into: (R, G*H), the sums of `d` over all steps, for each id of the vocabulary or in one row.
    """
    batch, hidden = extra.shape[1:]
    for t in range(last - 1, first - 1, -1):
        k = t - start
        for b in range(batch):
            a, e = gates[t, b], d[k, b]
            i, f, g, o = a[:hidden], a[hidden : 2 * hidden], a[2 * hidden : 3 * hidden], a[3 * hidden :]
            di, df, dg, do = e[:hidden], e[hidden : 2 * hidden], e[2 * hidden : 3 * hidden], e[3 * hidden :]
            u, w, before, c, dc = grad[t, b], dh[b], extra[t, b], extra[t + 1, b], carry[b]
            for j in range(hidden):
                tanh_c = tanh(c[j])
                dhj = get(u, j) + get(w, j)
                put(do, j, dhj * tanh_c * o[j] * (ONE - o[j]))
                dc[j] += dhj * o[j] * (ONE - tanh_c * tanh_c)
            for j in range(hidden):
                put(di, j, dc[j] * g[j] * i[j] * (ONE - i[j]))
            for j in range(hidden):
                put(dg, j, dc[j] * i[j] * (ONE - g[j] * g[j]))
            for j in range(hidden):
                put(df, j, dc[j] * before[j] * f[j] * (ONE - f[j]))
            for j in range(hidden):
                dc[j] *= f[j]
            add_row(into[rows[t, b]], e)
        multiply_past(dpast[k], weight, tiles, dh)


@compiled
def gru_forward(
    first: int, keep: bool, weight: Array, tiles: Array, source: Array, rows: Array, bias: Array, bias_past: Array,
    past: Array, gates: Array, hs: Array, extra: Array,
) -> None:  # fmt: skip
    """Steps of the GRU: r, z = sigmoid; n = tanh(input + r recall); h = n + z (h - n).

    Args:
        first, keep, weight, tiles, rows, bias, hs: as for `lstm_forward`.
        source: (R, 3 H), input parts in torch's order r, z, n.
        bias_past: (H,), added to the part of the product that the reset gate multiplies.
        past: (B, 3 H), the recurrent product of one step.
        gates: (S, B, 4 H); r, z, n and recall are written.
        extra: (T + 1, B, H), hidden states in full, so that small changes are not rounded off.

    Source:
        Cho et al. (2014), in torch's form with the reset gate after the product.
    """
    batch, hidden = extra.shape[1:]
    for k, t in enumerate(range(first, first + len(rows))):
        multiply_past(hs[t], weight, tiles, past)
        slot = t if keep else 0
        for b in range(batch):
            s, p, a = source[rows[k, b]], past[b], gates[slot, b]
            sigmoid_row(a[: 2 * hidden], s[: 2 * hidden], bias[: 2 * hidden], p[: 2 * hidden])
            r, z, n, recall = a[:hidden], a[hidden : 2 * hidden], a[2 * hidden : 3 * hidden], a[3 * hidden :]
            s, p, bias_n = s[2 * hidden :], p[2 * hidden :], bias[2 * hidden :]
            for j in range(hidden):
                recall[j] = get(p, j) + bias_past[j]
            for j in range(hidden):
                n[j] = tanh(get(s, j) + bias_n[j] + r[j] * recall[j])
            before, full, h = extra[t, b], extra[t + 1, b], hs[t + 1, b]
            for j in range(hidden):
                full[j] = n[j] + z[j] * (before[j] - n[j])
            for j in range(hidden):
                put(h, j, full[j])


@compiled
def gru_backward(
    first: int, last: int, start: int, weight: Array, tiles: Array, rows: Array, grad: Array, dh: Array, carry: Array,
    gates: Array, hs: Array, extra: Array, d: Array, dpast: Array, into: Array,
) -> None:  # fmt: skip
    """The gradient of `gru_forward`.

    Args:
        first, last, start, weight, tiles, rows, grad, dh, gates, hs, extra, d, into: as for `lstm_backward`,
            with G = 3.
        carry: (B, H), gradient of the state through the update gate; becomes that of the state before `first`.
        dpast: (P, B, 3 H), gradient of the recurrent product, an array of its own; written.
    """
    batch, hidden = extra.shape[1:]
    for t in range(last - 1, first - 1, -1):
        k = t - start
        for b in range(batch):
            a, e, q = gates[t, b], d[k, b], dpast[k, b]
            r, z, n, recall = a[:hidden], a[hidden : 2 * hidden], a[2 * hidden : 3 * hidden], a[3 * hidden :]
            dr, dz, dn = e[:hidden], e[hidden : 2 * hidden], e[2 * hidden :]
            u, w, v, before = grad[t, b], dh[b], carry[b], extra[t, b]
            for j in range(hidden):
                v[j] += get(u, j) + get(w, j)
            for j in range(hidden):
                put(dz, j, v[j] * (before[j] - n[j]) * z[j] * (ONE - z[j]))
            for j in range(hidden):
                put(dn, j, v[j] * (ONE - z[j]) * (ONE - n[j] * n[j]))
            for j in range(hidden):
                put(dr, j, get(dn, j) * recall[j] * r[j] * (ONE - r[j]))
            for j in range(hidden):
                v[j] *= z[j]
            past_n = q[2 * hidden :]
            for j in range(2 * hidden):
                q[j] = e[j]
            for j in range(hidden):
                put(past_n, j, get(dn, j) * r[j])
            add_row(into[rows[t, b]], e)
        multiply_past(dpast[k], weight, tiles, dh)


@compiled
def rnn_forward(
    first: int, keep: bool, weight: Array, tiles: Array, source: Array, rows: Array, bias: Array, bias_past: Array,
    past: Array, gates: Array, hs: Array, extra: Array,
) -> None:  # fmt: skip
    """Steps of the plain RNN: h = tanh(sum).

    Args:
        first, weight, tiles, source, rows, bias, past, hs: as for `lstm_forward`, with G = 1.
        keep, bias_past, gates, extra: not used.

    Source:
        Elman (1990).
    """
    for k, t in enumerate(range(first, first + len(rows))):
        multiply_past(hs[t], weight, tiles, past)
        for b in range(past.shape[0]):
            tanh_row(hs[t + 1, b], source[rows[k, b]], bias, past[b])


@compiled
def rnn_backward(
    first: int, last: int, start: int, weight: Array, tiles: Array, rows: Array, grad: Array, dh: Array, carry: Array,
    gates: Array, hs: Array, extra: Array, d: Array, dpast: Array, into: Array,
) -> None:  # fmt: skip
    """The gradient of `rnn_forward`; the derivative of tanh is computed from its value.

    Args:
        first, last, start, weight, tiles, rows, grad, dh, hs, d, into: as for `lstm_backward`, with G = 1.
        carry, gates, extra, dpast: not used.
    """
    for t in range(last - 1, first - 1, -1):
        k = t - start
        for b in range(dh.shape[0]):
            u, w, h, e = grad[t, b], dh[b], hs[t + 1, b], d[k, b]
            for j in range(dh.shape[1]):
                put(e, j, (get(u, j) + get(w, j)) * (ONE - get(h, j) * get(h, j)))
            add_row(into[rows[t, b]], e)
        multiply_past(dpast[k], weight, tiles, dh)


@compiled
def relu_forward(
    first: int, keep: bool, weight: Array, tiles: Array, source: Array, rows: Array, bias: Array, bias_past: Array,
    past: Array, gates: Array, hs: Array, extra: Array,
) -> None:  # fmt: skip
    """Steps of the plain RNN with relu: h = max(0, sum).

    Args:
        first, keep, weight, tiles, source, rows, bias, bias_past, past, gates, hs, extra: as for `rnn_forward`.
    """
    for k, t in enumerate(range(first, first + len(rows))):
        multiply_past(hs[t], weight, tiles, past)
        for b in range(past.shape[0]):
            s, p, h = source[rows[k, b]], past[b], hs[t + 1, b]
            for j in range(past.shape[1]):
                total = get(s, j) + bias[j] + get(p, j)
                put(h, j, total * (total > 0))


@compiled
def relu_backward(
    first: int, last: int, start: int, weight: Array, tiles: Array, rows: Array, grad: Array, dh: Array, carry: Array,
    gates: Array, hs: Array, extra: Array, d: Array, dpast: Array, into: Array,
) -> None:  # fmt: skip
    """The gradient of `relu_forward`, which passes where the state is positive.

    Args:
        first, last, start, weight, tiles, rows, grad, dh, carry, gates, hs, extra, d, dpast, into: as for
            `rnn_backward`.
    """
    for t in range(last - 1, first - 1, -1):
        k = t - start
        for b in range(dh.shape[0]):
            u, w, h, e = grad[t, b], dh[b], hs[t + 1, b], d[k, b]
            for j in range(dh.shape[1]):
                put(e, j, (get(u, j) + get(w, j)) * (get(h, j) > 0))
            add_row(into[rows[t, b]], e)
        multiply_past(dpast[k], weight, tiles, dh)
