"""Loops compiled to machine code by numba, and the two squashing functions they share.

numba's functions let go of Python's lock, so that shards of a batch, the web server and visitors run beside each other.
Without numba, or with CHARLM_COMPILE=0, torch's own operations do the same work, slower.
"""

import importlib.util
import logging
import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

log = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])
# Multiply-adds may be fused; sums keep their order, so that results do not depend on how a loop was vectorised.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def is_wanted() -> bool:
    """Whether compiled loops are to be used: numba is installed and CHARLM_COMPILE is not 0."""
    return os.environ.get("CHARLM_COMPILE", "1") != "0" and importlib.util.find_spec("numba") is not None


def compiled(function: Function) -> Function:
    """Compile at the first call; kept on disk where a folder can be written, so that it happens once a machine."""
    if not is_wanted():
        return function
    import numba

    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # nowhere to keep it
        return numba.njit(**OPTIONS)(function)


def inlined(function: Function) -> Function:
    """For functions of a few numbers, copied into the loops that call them."""
    if not is_wanted():
        return function
    import numba

    return numba.njit(inline="always", **OPTIONS)(function)


# tanh(x) = x P(x^2) / Q(x^2): fitted on |x| < 8.6 by iteratively reweighted least squares for the least relative error
# (1.3e-8); in float32 the rounding of the terms leaves 3e-7. Vectorised, it takes a sixth of the time of torch's tanh.
LIMIT = np.float32(8.6)
P0, P1, P2, P3, P4 = map(np.float32, (0.999999987, 1.34069155e-01, 3.52644882e-03, 2.11231380e-05, 1.40834759e-08))
Q1, Q2, Q3, Q4 = map(np.float32, (4.67402370e-01, 2.59940809e-02, 3.33634663e-04, 8.07105749e-07))
ONE, HALF = np.float32(1), np.float32(0.5)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent: a rational function in float32, the C library's in float64."""
    return math.tanh(x)


@inlined
def _rational_tanh(x: Any) -> Any:
    x = min(max(x, -LIMIT), LIMIT)
    s = x * x
    above = (((P4 * s + P3) * s + P2) * s + P1) * s + P0
    below = (((Q4 * s + Q3) * s + Q2) * s + Q1) * s + ONE
    return min(max(x * above / below, -ONE), ONE)


if is_wanted():
    from numba import types
    from numba.extending import overload

    @overload(tanh, inline="always")
    def _typed_tanh(x):  # type: ignore[no-untyped-def]  # numba compares the annotations, too
        if x == types.float64:
            return lambda x: math.tanh(x)
        return lambda x: _rational_tanh(x)


@inlined
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return HALF + HALF * tanh(HALF * x)
