#!/usr/bin/env bash
# numba 0.68.1: compiled code has other types than the same lines in NumPy (2.4.6), in both directions: a float32 array
# times 2.0 is float64, and a float32 array plus an int64 array is float32.
#
# Expected: operations on arrays have the types that NumPy gives them; a float32 array times a Python number has been
# float32 in every version of NumPy, and with int64 it is float64.
# Seen: the constant counts as a float64 of its own, so that all that follows is computed in doubles, at twice the
# memory; a sum with large ints loses their low digits. numpy.float32(2) keeps float32. The types of small ints differ
# as well: uint8 + 1 is int64, and two uint8 numbers out of an array add up to 260 instead of overflowing.
# For us: constants of loops in float32 are numpy.float32 (charlm/generation/compiled, charlm/models/kernels).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numba==0.68.1 numpy==2.4.6
cat >"$work/see.py" <<'END'
import sys
import warnings

import numba
import numpy as np

warnings.simplefilter("ignore")  # NumPy's, of the overflow
floats, ints, small = np.ones(2, np.float32), np.array([0, 2**24 + 2]), np.array([250, 10], np.uint8)
CASES = {
    "float32 * 2.0": (lambda x: x * 2.0, floats),
    "float32 * float32(2)": (lambda x: x * np.float32(2), floats),
    "maximum(float32, 0.0)": (lambda x: np.maximum(x, 0.0), floats),
    "float32 + int64": (lambda x: np.ones(2, np.float32) + x, ints),
    "uint8 + 1": (lambda x: x + 1, small),
}
found = {name: (str(run(x).dtype), str(numba.njit(run)(x).dtype)) for name, (run, x) in CASES.items()}
print("NumPy, numba:", found)


def add(x):
    return x[0] + x[1]


sums = int(add(small)), int(numba.njit(add)(small))
lost = [int(run(ints)[1]) for run in (CASES["float32 + int64"][0], numba.njit(CASES["float32 + int64"][0]))]
print("250 + 10 of uint8:", sums, " 1 + 16777218:", lost)
expected = {
    "float32 * 2.0": ("float32", "float64"), "float32 * float32(2)": ("float32", "float32"),
    "maximum(float32, 0.0)": ("float32", "float64"), "float32 + int64": ("float64", "float32"),
    "uint8 + 1": ("uint8", "int64"),
}
sys.exit(found != expected or sums != (4, 260) or lost != [2**24 + 3, 2**24 + 4])
END
"$work/venv/bin/python" "$work/see.py"
