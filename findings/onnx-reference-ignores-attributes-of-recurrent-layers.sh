#!/usr/bin/env bash
# onnx 1.23.2: the reference evaluator passes over sequence_lens, clip, activations and input_forget of LSTM and GRU,
# and computes something else than the operator's definition, without a word.
#
# Expected: onnx.reference, which is there to say what a model means, follows these inputs and attributes as the
# operators' description has them, or refuses a model that has them. A runtime that differs from it counts as wrong.
# Seen: with each of them its output is exactly what it is without. onnxruntime 1.32.0 follows all of them; for
# sequence_lens that is checked below against a run of the short sequence by itself.
# The RNN operator follows activations, but knows only Tanh and Affine: a ReLU, as of
# torch.nn.RNN(nonlinearity="relu"), is "Unknown activation function".
# For us: exported files are compared with onnxruntime, and use none of them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cat >"$work/see.py" <<'END'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

STEPS, BATCH, SIZE, UNITS = 4, 2, 3, 5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
draw = np.random.default_rng(0).standard_normal
lengths = np.array([STEPS, 2], np.int32)
fed = {
    kind: {
        "X": draw((STEPS, BATCH, SIZE)), "W": draw((1, gates * UNITS, SIZE)), "R": draw((1, gates * UNITS, UNITS)),
        "B": draw((1, 2 * gates * UNITS)),
    }
    for kind, gates in GATES.items()
}


def model(kind, feed, attributes):
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(one.dtype), one.shape)
        for name, one in feed.items()
    ]
    outputs = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["steps", 1, "batch", UNITS])]
    node = helper.make_node(kind, list(feed), ["Y"], hidden_size=UNITS, **attributes)
    graph = helper.make_graph([node], "one", inputs, outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(made)
    return made


def both(kind, more=None, **attributes):
    feed = {name: one.astype(np.float32) for name, one in fed[kind].items()} | (more or {})
    made = model(kind, feed, attributes)
    runtime = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    try:
        reference = ReferenceEvaluator(made).run(None, feed)[0]
    except RuntimeError as error:
        reference = str(error)
    return reference, runtime.run(None, feed)[0]


def same(one, other):
    return bool(np.allclose(one, other, atol=1e-5))


found, cases = {}, {"sequence_lens": ({"lengths": lengths}, {}), "clip": (None, {"clip": 0.5})}
for kind in ("LSTM", "GRU"):
    plain, runtime_plain = both(kind)
    assert same(plain, runtime_plain)
    activations = ["HardSigmoid", "Relu", "Relu"][: 3 if kind == "LSTM" else 2]
    every = cases | {"activations": (None, {"activations": activations})}
    if kind == "LSTM":
        every["input_forget"] = (None, {"input_forget": 1})
    for name, (more, attributes) in every.items():
        reference, runtime = both(kind, more, **attributes)
        found[kind, name] = same(reference, plain), same(runtime, plain)
    # What onnxruntime gives for the short sequence: that of a run without its padding, then zeros.
    runtime = both(kind, {"lengths": lengths})[1]
    assert same(runtime[:2, 0, 1], plain[:2, 0, 1]) and not runtime[2:, 0, 1].any() and plain[2:, 0, 1].any()
print("the same as without (reference, onnxruntime):", found)
relu = both("RNN", activations=["Relu"])[0]
print("RNN with Relu:", relu)
sys.exit(set(found.values()) != {(True, False)} or len(found) != 7 or relu != "Unknown activation function 'Relu'.")
END
"$work/venv/bin/python" "$work/see.py"
