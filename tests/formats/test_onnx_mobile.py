"""The graph for phones: torch's own logits in onnxruntime and, where they are installed, ncnn, OpenVINO and TFLite."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlm.errors import CheckpointError
from charlm.formats.exports import find_format
from charlm.runs.store import RunStore
from tests.formats.test_exports import made_run, our_logits, some_ids

onnx = pytest.importorskip("onnx")
KINDS: list[dict[str, Any]] = [
    {"arch": "lstm"}, {"arch": "lstm", "embed_dim": 6, "tie_weights": False}, {"arch": "gru"}, {"arch": "rnn"},
    {"arch": "rnn", "nonlinearity": "relu"}, {"arch": "mingru"}, {"arch": "mingru", "embed_dim": 6},
]  # fmt: skip
Inputs = dict[str, np.ndarray]


def written(settings: dict[str, Any], store: RunStore, folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """The file of a small run, 40 ids, and the logits that torch has for them."""
    run, path = made_run(store, **settings), folder / "step.onnx"
    find_format("onnx-mobile").write(run, path)
    ids = some_ids(run, 1, 40)
    told = {one.key: one.value for one in onnx.load(path).metadata_props}
    assert json.loads(told["tokens"]) == run.tokenizer().tokens
    return path, ids[0].numpy(), our_logits(run, ids)[0].numpy()


def tokens_and_state(path: Path) -> tuple[np.ndarray, Inputs]:
    """A vector for each token, (V, 1, V), and the first state, as the graph wants them."""
    inputs = onnx.load(path).graph.input
    sizes = {one.name: [each.dim_value for each in one.type.tensor_type.shape.dim] for one in inputs}
    token, *parts = sizes
    assert token == "token" and all(len(size) == 2 and size[0] == 1 for size in sizes.values())
    vectors = np.eye(sizes[token][1], dtype=np.float32)[:, None]
    return vectors, {name: np.zeros(sizes[name], np.float32) for name in parts}


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_it_takes_the_same_steps(settings: dict[str, Any], store: RunStore, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    path, ids, expected = written(settings, store, tmp_path)
    onnx.checker.check_model(str(path), full_check=True)
    used = {node.op_type for node in onnx.load(path).graph.node}
    assert not used & {"Gather", "LayerNormalization", "Unsqueeze", "Squeeze", "Reshape", "Where", "ReduceSum"}
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    vectors, state = tokens_and_state(path)
    for token, wanted in zip(ids, expected, strict=True):
        logits, *after = session.run(None, {"token": vectors[token], **state})
        state = dict(zip(state, after, strict=True))
        assert logits[0] == pytest.approx(wanted, abs=1e-5)


def test_a_transformer_is_refused_with_the_way_out(store: RunStore, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="architecture transformer, which this format does not support"):
        written({"arch": "transformer"}, store, tmp_path)
    assert not list(tmp_path.glob("step*"))


@pytest.mark.slow
@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_ncnn_takes_the_same_steps(settings: dict[str, Any], store: RunStore, tmp_path: Path) -> None:
    ncnn, pnnx = pytest.importorskip("ncnn"), pytest.importorskip("pnnx")
    path, ids, expected = written(settings, store, tmp_path)
    converter = Path(pnnx.__file__).with_name("pnnx")
    subprocess.run([converter, path.name, "fp16=0"], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    with ncnn.Net() as net:
        for numbers in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(net.opt, f"use_{numbers}", False)  # else it computes in 16 bits
        assert net.load_param(str(tmp_path / "step.ncnn.param")) == 0
        assert net.load_model(str(tmp_path / "step.ncnn.bin")) == 0
        vectors, state = tokens_and_state(path)
        for token, wanted in zip(ids, expected, strict=True):
            with net.create_extractor() as extractor:
                for place, value in enumerate([vectors[token], *state.values()]):
                    extractor.input(f"in{place}", ncnn.Mat(value, batch_index=233).clone())  # 233: no dimension is
                parts = [extractor.extract(f"out{place}")[1] for place in range(1 + len(state))]
                logits, *after = (np.array(part.numpy(batch_index=233)).reshape(1, -1) for part in parts)
            state = dict(zip(state, after, strict=True))
            assert logits[0] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_openvino_takes_the_same_steps(settings: dict[str, Any], store: RunStore, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    path, ids, expected = written(settings, store, tmp_path)
    step = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    vectors, state = tokens_and_state(path)
    for token, wanted in zip(ids, expected, strict=True):
        found = step({"token": vectors[token], **state})
        state = {name: found[f"{name}_out"] for name in state}
        assert found["logits"][0] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn", "mingru", "transformer"])
def test_openvino_takes_the_whole_graph_too(arch: str, store: RunStore, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    run, path = made_run(store, arch=arch), tmp_path / "step.onnx"
    find_format("onnx").write(run, path)
    ids = some_ids(run, 2, 20)
    expected = our_logits(run, ids).numpy()
    step = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    state: Inputs = {}
    for one in onnx.load(path).graph.input[1:]:
        kind = np.int64 if one.type.tensor_type.elem_type == onnx.TensorProto.INT64 else np.float32
        state[one.name] = np.zeros([each.dim_value or 2 for each in one.type.tensor_type.shape.dim], kind)
    for place in range(ids.shape[1]):
        found = step({"ids": ids[:, place].numpy(), **state})
        state = {name: found[f"{name}_out"] for name in state}
        assert found["logits"] == pytest.approx(expected[:, place], abs=1e-4)


# Run where onnx2tf is installed, which wants older versions of numpy and onnx than we do: in a folder of its own.
TFLITE = """
import subprocess, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

subprocess.run([sys.executable, "-m", "onnx2tf", "-i", "step.onnx", "-o", "tf", "-n"], check=True, capture_output=True)
step = Interpreter("tf/step_float32.tflite").get_signature_runner()
state = {name: np.zeros(one["shape"], np.float32) for name, one in step.get_input_details().items()}
vectors, logits = np.eye(state.pop("token").shape[1], dtype=np.float32), []
for token in np.load("ids.npy"):
    found = step(token=vectors[token][None], **state)
    state = {name: found[name + "_out"] for name in state}
    logits.append(found["logits"][0])
np.save("logits.npy", logits)
"""


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn", "mingru"])
def test_tflite_takes_the_same_steps(arch: str, store: RunStore, tmp_path: Path) -> None:
    packages = os.environ.get("CHARLM_TFLITE")
    if not packages:
        pytest.skip("CHARLM_TFLITE names no folder: pip install --target FOLDER onnx2tf tensorflow-cpu onnxruntime")
    path, ids, expected = written({"arch": arch}, store, tmp_path)
    np.save(tmp_path / "ids.npy", ids)
    told = {**os.environ, "PYTHONPATH": packages, "PATH": f"{packages}/bin{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([sys.executable, "-c", TFLITE], cwd=path.parent, env=told, check=True, timeout=1200)
    assert np.load(tmp_path / "logits.npy") == pytest.approx(expected, abs=1e-4)
