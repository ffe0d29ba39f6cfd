"""Single steps of the recurrent cells, forward and backward, compiled: all that is not a matrix product, in one pass.

Arrays of 16 bits hold bfloat16 and are computed with in float32. Every loop runs over
one row, which stays in the first-level cache, and touches few arrays: the compiler gives up vectorising where it cannot
cheaply rule out that they overlap.

    source (R, G*H), rows (B,)  where the input part of the gates stands; row b's is source[rows[b]]
    bias (G*H,), bias_past (H,) added to it; the second to what the GRU's reset gate multiplies
    past (B, G*H)               the recurrent product
    gates (S, B, K*H)           after their sigmoid or tanh, and the GRU's recall; step t's at `slot`
    hs (T + 1, B, H)            hidden states as the products take them, from the one before the first step on
    extra (T + 1, B, H)         cells (LSTM); hidden states in full, which small steps must not be rounded off of (GRU)
    grad (T, B, H)              of the hidden states, from outside
    dh, carry (B, H)            of the state, from the step after: through the product, and past it
    d, dpast (P, B, G*H)        gradients before sigmoid and tanh, of the input part and of the product; step t's at k
    into (R, G*H)               the same, added up by source row
"""

from typing import Any

import numpy as np

from charlm.models.kernels.jit import compiled, get, inlined, put, sigmoid, tanh

Array = np.ndarray[Any, Any]
ONE = np.float32(1)


@inlined
def sigmoid_row(out: Array, source: Array, bias: Array, past: Array) -> None:
    """Sigmoid of a sum of three."""
    for j in range(out.shape[0]):
        put(out, j, sigmoid(get(source, j) + bias[j] + get(past, j)))


@inlined
def tanh_row(out: Array, source: Array, bias: Array, past: Array) -> None:
    """Tanh of a sum of three."""
    for j in range(out.shape[0]):
        put(out, j, tanh(get(source, j) + bias[j] + get(past, j)))


@inlined
def add_row(total: Array, row: Array) -> None:
    """Add a row to a sum of rows."""
    for j in range(total.shape[0]):
        total[j] += get(row, j)


@compiled
def lstm_forward(
    t: int, slot: int, source: Array, rows: Array, bias: Array, bias_past: Array, past: Array, gates: Array,
    hs: Array, extra: Array,
) -> None:  # fmt: skip
    """i, f, o = sigmoid, g = tanh; c = f c + i g; h = o tanh(c)."""
    batch, hidden = extra.shape[1:]
    for b in range(batch):
        s, p, a = source[rows[b]], past[b], gates[slot, b]
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
    t: int, k: int, grad: Array, dh: Array, carry: Array, gates: Array, hs: Array, extra: Array,
    d: Array, dpast: Array, into: Array, rows: Array,
) -> None:  # fmt: skip
    """`carry` is the cell's gradient."""
    batch, hidden = extra.shape[1:]
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
        add_row(into[rows[b]], e)


@compiled
def gru_forward(
    t: int, slot: int, source: Array, rows: Array, bias: Array, bias_past: Array, past: Array, gates: Array,
    hs: Array, extra: Array,
) -> None:  # fmt: skip
    """r, z = sigmoid; n = tanh(input + r recall); h = n + z (h - n)."""
    batch, hidden = extra.shape[1:]
    for b in range(batch):
        s, p, a = source[rows[b]], past[b], gates[slot, b]
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
    t: int, k: int, grad: Array, dh: Array, carry: Array, gates: Array, hs: Array, extra: Array,
    d: Array, dpast: Array, into: Array, rows: Array,
) -> None:  # fmt: skip
    """`carry` is the gradient through the update gate."""
    batch, hidden = extra.shape[1:]
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
        add_row(into[rows[b]], e)


@compiled
def rnn_forward(
    t: int, slot: int, source: Array, rows: Array, bias: Array, bias_past: Array, past: Array, gates: Array,
    hs: Array, extra: Array,
) -> None:  # fmt: skip
    """h = tanh(sum)."""
    for b in range(past.shape[0]):
        tanh_row(hs[t + 1, b], source[rows[b]], bias, past[b])


@compiled
def rnn_backward(
    t: int, k: int, grad: Array, dh: Array, carry: Array, gates: Array, hs: Array, extra: Array,
    d: Array, dpast: Array, into: Array, rows: Array,
) -> None:  # fmt: skip
    """The derivative of tanh, from its value."""
    for b in range(dh.shape[0]):
        u, w, h, e = grad[t, b], dh[b], hs[t + 1, b], d[k, b]
        for j in range(dh.shape[1]):
            put(e, j, (get(u, j) + get(w, j)) * (ONE - get(h, j) * get(h, j)))
        add_row(into[rows[b]], e)


@compiled
def relu_forward(
    t: int, slot: int, source: Array, rows: Array, bias: Array, bias_past: Array, past: Array, gates: Array,
    hs: Array, extra: Array,
) -> None:  # fmt: skip
    """h = max(0, sum)."""
    for b in range(past.shape[0]):
        s, p, h = source[rows[b]], past[b], hs[t + 1, b]
        for j in range(past.shape[1]):
            total = get(s, j) + bias[j] + get(p, j)
            put(h, j, total * (total > 0))


@compiled
def relu_backward(
    t: int, k: int, grad: Array, dh: Array, carry: Array, gates: Array, hs: Array, extra: Array,
    d: Array, dpast: Array, into: Array, rows: Array,
) -> None:  # fmt: skip
    """The gradient passes where the state is positive."""
    for b in range(dh.shape[0]):
        u, w, h, e = grad[t, b], dh[b], hs[t + 1, b], d[k, b]
        for j in range(dh.shape[1]):
            put(e, j, (get(u, j) + get(w, j)) * (get(h, j) > 0))
        add_row(into[rows[b]], e)


@inlined
def multiply_few(x: Array, w: Array, y: Array) -> None:
    """y (B, N) = x (B, K) times w (K, N), for a few rows: four rows of w at a time."""
    inputs, columns = w.shape
    whole = inputs // 4 * 4
    for b in range(x.shape[0]):
        row = y[b]
        for j in range(columns):
            row[j] = 0
        for k in range(0, whole, 4):
            f, g, h, i = x[b, k], x[b, k + 1], x[b, k + 2], x[b, k + 3]
            u, v, p, q = w[k], w[k + 1], w[k + 2], w[k + 3]
            for j in range(columns):
                row[j] = row[j] + f * u[j] + g * v[j] + h * p[j] + i * q[j]
        for k in range(whole, inputs):
            u, f = w[k], x[b, k]
            for j in range(columns):
                row[j] += f * u[j]


@compiled
def forward_steps(
    kind: int, first: int, keep: bool, weight: Array, source: Array, rows: Array, bias: Array, bias_past: Array,
    past: Array, gates: Array, hs: Array, extra: Array,
) -> None:  # fmt: skip
    """The steps from `first` on, one for each of rows (S, B), with their products: with few rows, calls cost most."""
    for k in range(rows.shape[0]):
        t = first + k
        slot = t if keep else 0
        multiply_few(hs[t], weight, past)
        if kind == 0:
            lstm_forward(t, slot, source, rows[k], bias, bias_past, past, gates, hs, extra)
        elif kind == 1:
            gru_forward(t, slot, source, rows[k], bias, bias_past, past, gates, hs, extra)
        elif kind == 2:
            rnn_forward(t, slot, source, rows[k], bias, bias_past, past, gates, hs, extra)
        else:
            relu_forward(t, slot, source, rows[k], bias, bias_past, past, gates, hs, extra)


@compiled
def backward_steps(
    kind: int, first: int, last: int, weight: Array, rows: Array, grad: Array, dh: Array, carry: Array, gates: Array,
    hs: Array, extra: Array, d: Array, dpast: Array, into: Array,
) -> None:  # fmt: skip
    """The steps from before `last` back to `first`; rows (T, B)."""
    for t in range(last - 1, first - 1, -1):
        k = t - first
        if kind == 0:
            lstm_backward(t, k, grad, dh, carry, gates, hs, extra, d, dpast, into, rows[t])
        elif kind == 1:
            gru_backward(t, k, grad, dh, carry, gates, hs, extra, d, dpast, into, rows[t])
        elif kind == 2:
            rnn_backward(t, k, grad, dh, carry, gates, hs, extra, d, dpast, into, rows[t])
        else:
            relu_backward(t, k, grad, dh, carry, gates, hs, extra, d, dpast, into, rows[t])
        multiply_few(dpast[k], weight, dh)
