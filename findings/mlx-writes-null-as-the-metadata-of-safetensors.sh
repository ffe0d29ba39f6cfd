#!/usr/bin/env bash
# MLX 0.32.4 (CPU) writes "__metadata__": null into the header of a .safetensors file when no metadata is given.
#
# Expected: the key is left out, as the safetensors package leaves it out, or is an object of strings: the format's
# description knows no null there.
# Seen: mx.save_safetensors(path, arrays) writes null. The safetensors package (0.8.0) reads the file and says that it has
# no metadata; a reader of one's own that takes the key for an object, once it is there, refuses a valid file.
# For us: null counts as no metadata when a file of another program is imported.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "mlx[cpu]==0.32.4" numpy "safetensors==0.8.0"
cat >"$work/see.py" <<'END'
import json
import struct
import sys

import mlx.core as mx
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file


def header(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size))


theirs, others = sys.argv[1:]
mx.save_safetensors(theirs, {"a": mx.zeros((2,))})
save_file({"a": np.zeros(2, np.float32)}, others)
with safe_open(theirs, "np") as file:
    told = file.metadata()
found = {
    "MLX": header(theirs).get("__metadata__", "no such key"),
    "safetensors": header(others).get("__metadata__", "no such key"),
    "metadata()": told,
}
print(found)
sys.exit(found != {"MLX": None, "safetensors": "no such key", "metadata()": None})
END
"$work/venv/bin/python" "$work/see.py" "$work/mlx.safetensors" "$work/safetensors.safetensors"
