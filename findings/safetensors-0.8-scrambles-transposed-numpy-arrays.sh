#!/usr/bin/env bash
# safetensors 0.8.0 writes a NumPy array that is not in C order with its numbers in the wrong places, and says nothing.
# 0.7.0 wrote it right.
#
# Expected: save_file({"a": array.T}) and load_file give the array back; or, since the documentation asks for contiguous
# tensors, an error as safetensors.torch raises one.
# Seen: the shape is that of the transposed array, the numbers are in the order in which they lie in memory, which is
# that of the array before it was transposed. Layers are transposed wherever weights go from one framework to another
# (Keras and Flax keep a kernel as (in, out), PyTorch as (out, in)); a square matrix keeps even its shape.
# For us: our own files are written by our own code (charlm/runs/tensor_file.py); with the package, first
# numpy.ascontiguousarray.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/see.py" <<'END'
import sys
from importlib.metadata import version

import numpy as np
from safetensors.numpy import load, save

array = np.arange(6, dtype=np.float32).reshape(2, 3)
found = {}
for name, one in (("as it is", array), ("transposed", array.T), ("Fortran order", np.asfortranarray(array))):
    read = load(save({"a": one}))["a"]
    assert read.shape == one.shape
    found[name] = "right" if np.array_equal(read, one) else "scrambled"
found["copied"] = "right" if np.array_equal(load(save({"a": np.ascontiguousarray(array.T)}))["a"], array.T) else "wrong"
print(version("safetensors"), found)
sys.exit(found != {"as it is": "right", "transposed": sys.argv[1], "Fortran order": sys.argv[1], "copied": "right"})
END
see() { # see VERSION EXPECTED
    python3 -m venv "$work/$1"
    "$work/$1/bin/pip" install --quiet --disable-pip-version-check "safetensors==$1" numpy==2.4.6
    "$work/$1/bin/python" "$work/see.py" "$2"
}
see 0.7.0 right
see 0.8.0 scrambled
