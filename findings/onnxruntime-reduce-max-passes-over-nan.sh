#!/usr/bin/env bash
# onnxruntime 1.32.0 (CPU): ReduceMax and ArgMax see a NaN only where it is the first of a row. onnx's reference
# evaluator (1.23.2) gives NaN, and its place, wherever it stands.
#
# Expected: the largest of numbers among which one is NaN is NaN, as in NumPy, PyTorch and the reference; or it is
# passed over wherever it stands. Max (of two tensors) and Relu, of the same runtime, give NaN.
# Seen: the largest of (1, NaN, 3) is 3 at place 2, that of (NaN, 1, 3) is NaN at place 0. A model whose logits have
# become NaN writes on greedily, and a check of its activations by their maximum finds nothing. ReduceSum is NaN for
# both.
# For us: exported models end in logits, and no maximum is taken in them.
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
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

nodes = [
    helper.make_node("ReduceMax", ["x", "axis"], ["largest"], keepdims=0),
    helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
    helper.make_node("ArgMax", ["x"], ["place"], axis=1, keepdims=0),
]
outputs = [
    helper.make_tensor_value_info(name, kind, ["rows"])
    for name, kind in (("largest", TensorProto.FLOAT), ("sum", TensorProto.FLOAT), ("place", TensorProto.INT64))
]
takes = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "columns"])]
axis = numpy_helper.from_array(np.array([1]), "axis")
made = helper.make_model(
    helper.make_graph(nodes, "one", takes, outputs, [axis]), opset_imports=[helper.make_opsetid("", 21)], ir_version=10
)
onnx.checker.check_model(made)
nan = np.nan
x = np.array([[1, 2, 3], [nan, 1, 3], [1, nan, 3], [1, 3, nan]], np.float32)
runtime = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
found = {
    "onnxruntime": [one.tolist() for one in runtime.run(None, {"x": x})],
    "reference": [np.asarray(one).tolist() for one in ReferenceEvaluator(made).run(None, {"x": x})],
}
for name, seen in found.items():
    print(name, seen)
expected = {
    "onnxruntime": [[3, nan, 3, 3], [6, nan, nan, nan], [2, 0, 2, 1]],
    "reference": [[3, nan, nan, nan], [6, nan, nan, nan], [2, 0, 1, 2]],
}
sys.exit(any(not np.array_equal(found[name], one, equal_nan=True) for name, one in expected.items()))
END
"$work/venv/bin/python" "$work/see.py"
