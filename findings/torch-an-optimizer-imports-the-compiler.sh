#!/usr/bin/env bash
# torch 2.13.0: the first optimizer of a process imports torch.compile's front end (torch._dynamo, and with it sympy), also
# where nothing is compiled; so does the first normal_() on the meta device.
#
# Expected: a training without torch.compile runs without it. `import torch` and a forward and backward pass do.
# Seen: SGD as much as Adam, at its creation: its methods are wrapped so that torch.compile can leave them out, and the
# wrapper imports the compiler to be able to. More than 800 modules; measured once, 70 MB of memory and 0.7 s of a core,
# a third of what `import torch` takes. Estimating a model's size on the meta device costs the same, if a layer's weights
# are drawn by normal_ (nn.Embedding's are); by uniform_ (nn.Linear's, nn.LSTM's) it costs nothing.
# For us: our AdamW is torch's with the methods from under those wrappers, and a model on the meta device draws no numbers
# (charlm/training/optimizer.py, charlm/models/base.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$work/see.py" <<'END'
import sys

import torch


def compiler() -> bool:
    return "torch._dynamo" in sys.modules and "sympy" in sys.modules


seen = {"import": compiler()}
layer = torch.nn.LSTM(4, 8)
layer(torch.zeros(3, 1, 4))[0].sum().backward()
seen["forward and backward"] = compiler()
with torch.device("meta"):
    torch.nn.LSTM(4, 8)
    seen["an LSTM on meta"] = compiler()
    if sys.argv[1] == "meta":
        torch.nn.Embedding(4, 8)
        seen["an embedding on meta"] = compiler()
before = len(sys.modules)
if sys.argv[1] == "optimizer":
    torch.optim.SGD(layer.parameters(), lr=0.1)
    seen["an optimizer"] = compiler()
    print(len(sys.modules) - before, "modules more")
print(torch.__version__.partition("+")[0], seen)
sys.exit(list(seen.values()) != [False, False, False, True])
END
"$work/venv/bin/python" "$work/see.py" optimizer
"$work/venv/bin/python" "$work/see.py" meta
