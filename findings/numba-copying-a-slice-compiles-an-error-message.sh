#!/usr/bin/env bash
# numba 0.68.1: `a[:] = b` of two arrays in a compiled function compiles some forty functions, where the same loop is one:
# those that put together the error message for shapes that do not fit, from strings, numbers and joins.
#
# Expected: a copy, a check of two lengths and a fixed message.
# Seen: counted by numba's own events, the loop is one function; the slice brings 37 others along, and where we measured
# it compiling took 1.9 s of a core against 0.06 (machine code that is kept on disk is compiled but once). A number instead of an array on the right costs nothing of that.
# For us: compiled loops copy rows by a loop (charlm/generation/compiled/base.py); the first step of a Transformer on a new
# machine took 3 s of a core less.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check numba==0.68.1 numpy==2.4.6
cat >"$work/see.py" <<'END'
import sys
import time

import numba
import numpy as np
from numba.core import event


def loop(a, b):
    for j in range(a.shape[0]):
        a[j] = b[j]


def slice_of_an_array(a, b):
    a[:] = b


def slice_of_a_number(a, b):
    a[:] = b[0]


class Counter(event.Listener):
    def __init__(self):
        self.names = []

    def on_start(self, told):
        self.names.append(told.data["dispatcher"].py_func.__qualname__)

    def on_end(self, told):
        pass


def compiled(function):
    counter, given = Counter(), np.ones(8, np.float32)
    began = time.process_time()
    with event.install_listener("numba:compile", counter):
        numba.njit(function)(given, given.copy())
    seconds = time.process_time() - began
    texts = sum("unicode" in name or "str" in name for name in counter.names)
    print(f"{function.__name__}: {len(counter.names)} functions, {texts} of them of texts, {seconds:.2f} s of a core")
    return len(counter.names), texts


numba.njit(loop)(np.ones(2), np.ones(2))  # what is compiled at the very first time is not counted
few, none = compiled(loop)
number, none_either = compiled(slice_of_a_number)
many, texts = compiled(slice_of_an_array)
print("numba", numba.__version__)
sys.exit(not (few == 1 and none == none_either == 0 and number < 5 and many > 20 and texts > 4))
END
"$work/venv/bin/python" "$work/see.py"
