"""Loops compiled to machine code by numba, and the nonlinearities they share.

Compiled functions release Python's lock, so that parts of a batch, the web server and visitors run in parallel.
Without numba, or with CHARLM_COMPILE=0, torch's and numpy's operations do the same work, slower.
"""

import hashlib
import logging
import math
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

log = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])
# Multiply-adds may be fused; sums keep their order, so that results do not depend on how a loop was vectorised.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


@cache
def is_wanted() -> bool:
    """Whether loops are compiled: numba is installed and works, and CHARLM_COMPILE is not 0."""
    if os.environ.get("CHARLM_COMPILE", "1") == "0":
        return False
    try:
        import numba  # noqa: F401
    except (ImportError, OSError, AttributeError) as error:  # it refuses versions of numpy that it does not know
        log.warning("numba is not to be had (%s): recurrent layers run by torch's operations, slower", error)
        return False
    return True


def compiled(function: Function) -> Function:
    """Compile at the first call; cached on disk where a folder is writable, so that it happens once a machine."""
    if not is_wanted():
        return function
    import numba

    _choose_folder()
    made: Function
    try:
        made = numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no folder is writable
        made = numba.njit(**OPTIONS)(function)
    return made


def code_folder() -> Path | None:
    """Where machine code is kept between starts; None where nothing is compiled or no folder is writable."""
    if not is_wanted():
        return None
    import numba

    _choose_folder()
    folder = Path(str(numba.config.CACHE_DIR))  # type: ignore[attr-defined]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


@cache
def _choose_folder() -> None:
    """Cache machine code in a folder named after the source of all compiled loops, and delete those of older source.

    numba itself checks only the file of the function called: it would keep loops of an older version of another file,
    which may expect other shapes and write out of bounds.
    """
    import numba

    config: Any = numba.config
    own = Path(__file__).parent
    files = sorted([*own.glob("*.py"), *(own.parents[1] / "generation").rglob("*.py")])
    sources = [source for source in map(Path.read_bytes, files) if b"compiled" in source]
    name = f"compiled-{hashlib.sha256(b''.join(sources)).hexdigest()[:16]}"
    if config.CACHE_DIR:
        config.CACHE_DIR = str(Path(config.CACHE_DIR) / name)
        return
    folder = own / "__pycache__" if os.access(own, os.W_OK) else Path.home() / ".cache" / "charlm"
    for old in folder.glob("compiled-*"):
        if old.name != name:
            shutil.rmtree(old, ignore_errors=True)
    config.CACHE_DIR = str(folder / name)


def inlined(function: Function) -> Function:
    """Compile for calls from compiled loops only, not from Python, which saves a quarter of the compiling time."""
    if not is_wanted():
        return function
    import numba

    options: dict[str, Any] = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    made: Function = numba.njit(**options)(function)
    return made


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


def get(array: Any, j: int) -> Any:
    """Element j; bfloat16, stored in 16 bits, becomes float32."""
    return array[j]


def put(array: Any, j: int, value: Any) -> None:
    """Set element j; rounded to nearest even where the array holds bfloat16.

    Args:
        array: (N,), floating-point numbers, or bfloat16 stored in 16 bits.
        j: from 0 to N - 1.
        value: a float.
    """
    array[j] = value


if is_wanted():
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic, overload

    @overload(tanh)
    def _typed_tanh(x):  # type: ignore[no-untyped-def]  # numba compares the annotations, too
        if x == types.float64:
            return lambda x: math.tanh(x)
        return lambda x: _rational_tanh(x)

    @intrinsic
    def _as_float(typing_context, bits):  # type: ignore[no-untyped-def]
        """The float32 with these 32 bits."""
        return types.float32(types.uint32), lambda c, builder, s, args: builder.bitcast(args[0], ir.FloatType())

    @intrinsic
    def _as_bits(typing_context, number):  # type: ignore[no-untyped-def]
        """The 32 bits of a float32."""
        return types.uint32(types.float32), lambda c, builder, s, args: builder.bitcast(args[0], ir.IntType(32))

    @overload(get)
    def _typed_get(array, j):  # type: ignore[no-untyped-def]
        if array.dtype == types.uint16:
            return lambda array, j: _as_float(np.uint32(array[j]) << np.uint32(16))  # type: ignore[call-arg]
        return lambda array, j: array[j]

    @overload(put)
    def _typed_put(array, j, value):  # type: ignore[no-untyped-def]
        if array.dtype != types.uint16:

            def keep(array, j, value):  # type: ignore[no-untyped-def]
                array[j] = value

            return keep

        def round_to_even(array, j, value):  # type: ignore[no-untyped-def]
            bits = _as_bits(np.float32(value))  # type: ignore[call-arg,var-annotated]
            array[j] = np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

        return round_to_even


@inlined
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return HALF + HALF * tanh(HALF * x)


# exp(x) = 2^n exp(r), |r| <= ln 2 / 2: ln 2 in two parts, exp(r) by Cephes' polynomial (S. Moshier, expf).
LOWEST, LOG2_E, LN2_HIGH, LN2_LOW = map(np.float32, (-87.0, 1.44269504, 0.693359375, -2.12194440e-4))
E2, E3, E4, E5 = map(np.float32, (5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3))
E6, E7 = map(np.float32, (1.3981999507e-3, 1.9875691500e-4))


@inlined
def exp(x: Any) -> Any:
    """exp of a float32 up to 0, within 2e-7; results below the smallest float32 become it."""
    x = max(x, LOWEST)
    n = np.floor(x * LOG2_E + HALF)
    r = x - n * LN2_HIGH - n * LN2_LOW
    beyond = ((((E7 * r + E6) * r + E5) * r + E4) * r + E3) * r + E2
    power = _as_float(np.uint32(np.int32(n) + np.int32(127)) << np.uint32(23))  # type: ignore[call-arg,var-annotated]
    return (beyond * r * r + r + ONE) * power
