"""LayerNorm, GELU and a short convolution of rows, compiled: a small model's blocks in training, see small.py.

Sums of a row are added up in as many sums as a tile has columns, so that a row has to be made of whole tiles.
"""

from typing import Any

import numpy as np

from charlm.models.kernels.attention import total
from charlm.models.kernels.jit import HALF, ONE, compiled, exp
from charlm.models.kernels.matmul import COLUMNS

Array = np.ndarray[Any, Any]
FLOAT = np.float32
# erf(x) = 1 - t (A1 + t (A2 + ..)) exp(-x^2) with t = 1 / (1 + P x), for x from 0 on, within 1.5e-7 (Abramowitz and
# Stegun 1964, 7.1.26).
P, A1, A2 = FLOAT(0.3275911), FLOAT(0.254829592), FLOAT(-0.284496736)
A3, A4, A5 = FLOAT(1.421413741), FLOAT(-1.453152027), FLOAT(1.061405429)
ROOT_HALF, DENSITY = FLOAT(np.sqrt(0.5)), FLOAT(1 / np.sqrt(2 * np.pi))


@compiled
def norm(x: Array, weight: Array, bias: Array, epsilon: float, out: Array, straight: Array, factor: Array) -> None:
    """Rows brought to mean 0 and variance 1, times the weight, plus the bias (Ba et al. 2016).

    Args:
        x: (N, H).
        weight, bias: (H,).
        epsilon: added to the variance.
        out: (N, H), written.
        straight: (N, H), written: before weight and bias.
        factor: (N,), written: what each row was multiplied with.
    """
    size, lanes = x.shape[1], np.empty(COLUMNS, FLOAT)
    share = ONE / FLOAT(size)
    for n in range(x.shape[0]):
        row, s, y = x[n], straight[n], out[n]
        mean = total(row, lanes) * share
        for j in range(size):
            s[j] = row[j] - mean
            y[j] = s[j] * s[j]
        f = ONE / np.sqrt(total(y, lanes) * share + FLOAT(epsilon))
        factor[n] = f
        for j in range(size):
            s[j] *= f
            y[j] = s[j] * weight[j] + bias[j]


@compiled
def norm_backward(
    grad: Array, straight: Array, factor: Array, weight: Array, dx: Array, dweight: Array, dbias: Array
) -> None:
    """The gradient of `norm`.

    Args:
        grad: (N, H), of its result.
        straight, factor: as it wrote them.
        weight: (H,).
        dx: (N, H), written.
        dweight, dbias: (H,), zeros; written.
    """
    size, lanes, room = grad.shape[1], np.empty(COLUMNS, FLOAT), np.empty(grad.shape[1], FLOAT)
    share = ONE / FLOAT(size)
    for n in range(grad.shape[0]):
        g, s, d, f = grad[n], straight[n], dx[n], factor[n]
        for j in range(size):
            room[j] = g[j] * weight[j]
            d[j] = room[j] * s[j]
            dweight[j] += g[j] * s[j]
            dbias[j] += g[j]
        mean, along = total(room, lanes) * share, total(d, lanes) * share
        for j in range(size):
            d[j] = (room[j] - mean - s[j] * along) * f


@compiled
def gelu(x: Array, out: Array, slope: Array) -> None:
    """x times the probability that a normal number is below it (Hendrycks and Gimpel 2016), within 2e-7 of |x|.

    Args:
        x: (N, M).
        out: (N, M), written.
        slope: (N, M), written: the derivative.
    """
    for n in range(x.shape[0]):
        row, y, d = x[n], out[n], slope[n]
        for j in range(x.shape[1]):
            v = row[j]
            t, fall = ONE / (ONE + P * ROOT_HALF * abs(v)), exp(-HALF * v * v)
            above = HALF * t * (A1 + t * (A2 + t * (A3 + t * (A4 + t * A5)))) * fall
            below = ONE - above if v >= 0 else above
            y[j] = v * below
            d[j] = below + v * DENSITY * fall


@compiled
def convolve(x: Array, past: Array, weight: Array, out: Array) -> None:
    """The weighted sum of each unit's last values.

    Args:
        x: (B, T, H).
        past: (B, K - 1, H), the values before x.
        weight: (K, H), the newest value's last.
        out: (B, T, H), written.
    """
    before = past.shape[1]
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            y = out[b, t]
            y[:] = 0
            for k in range(weight.shape[0]):
                s = t + k - before
                row, w = x[b, s] if s >= 0 else past[b, s + before], weight[k]
                for j in range(row.shape[0]):
                    y[j] += row[j] * w[j]


@compiled
def convolve_backward(grad: Array, x: Array, past: Array, weight: Array, dx: Array, dweight: Array) -> None:
    """The gradient of `convolve`.

    Args:
        grad: (B, T, H), of its result.
        x, past, weight: as it took them.
        dx: (B, T, H), zeros; written.
        dweight: (K, H), zeros; written.
    """
    before = past.shape[1]
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            g = grad[b, t]
            for k in range(weight.shape[0]):
                s = t + k - before
                row, w, dw = x[b, s] if s >= 0 else past[b, s + before], weight[k], dweight[k]
                for j in range(row.shape[0]):
                    dw[j] += g[j] * row[j]
                if s >= 0:
                    d = dx[b, s]
                    for j in range(row.shape[0]):
                        d[j] += g[j] * w[j]
