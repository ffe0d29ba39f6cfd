"""A run as an ONNX graph of one step: ids and state in, logits and state out, from small standard operators."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.config import ModelConfig
from charlm.errors import CheckpointError
from charlm.run import Run

OPSET, IR_VERSION = 17, 8  # of 2022: what runs ONNX today, runs these
STATES = {"lstm": ("h", "c"), "gru": ("h",), "rnn": ("h",)}


def write_onnx(run: Run, path: Path) -> None:
    """Put the best weights into an .onnx that takes one step for a batch of any size.

    Inputs are `ids` (B,) of int64 and the state `h`, for an LSTM also `c`, (L, B, H) each, zeros at first; outputs are
    `logits` (B, V) and the new state, `h_out` and `c_out`. The metadata hold the tokens as a JSON list, `tokens`, and
    of words and subwords the whole `tokenizer.json`, which the package tokenizers reads.

    Raises:
        CheckpointError: onnx is not installed, or the run has no weights that can be read.
    """
    try:
        import onnx
    except ImportError:
        raise CheckpointError("the export to ONNX needs the package onnx: pip install onnx") from None
    weights = {name: tensor.float().numpy() for name, tensor in run.load_model().state_dict().items()}
    model = onnx.helper.make_model(
        Step(run.model_config, weights).graph(run.run_id),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="charlm",
    )  # fmt: skip
    tokenizer = run.tokenizer()
    about = {"tokens": json.dumps(tokenizer.tokens), "label": run.label, "arch": run.arch, "level": run.level}
    if run.level != "char":
        about["tokenizer.json"] = tokenizer.to_file().decode()
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


class Step:
    """The graph in the making: operators and the weights they read.

    Args:
        config: of the model.
        weights: under torch's names.
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, Any]) -> None:
        self.config, self.weights = config, weights
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def graph(self, name: str) -> Any:
        """The whole step as an onnx GraphProto."""
        from onnx import TensorProto, helper, numpy_helper

        size: list[str | int | None] = [self.config.num_layers, "B", self.config.hidden_size]
        states = STATES[self.config.arch]
        self._compute(states)
        inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["B"])]
        inputs += [helper.make_tensor_value_info(state, TensorProto.FLOAT, size) for state in states]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", self.config.vocab_size])]
        outputs += [helper.make_tensor_value_info(f"{state}_out", TensorProto.FLOAT, size) for state in states]
        kept = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        return helper.make_graph(self.nodes, name, inputs, outputs, kept)

    def _compute(self, states: tuple[str, ...]) -> None:
        """From the ids to the logits, layer by layer."""
        import numpy as np

        step: Any = {"lstm": self._lstm, "gru": self._gru, "rnn": self._rnn}[self.config.arch]
        ends: dict[str, list[str]] = {state: [] for state in states}
        x = self._first()  # (B, G H)
        for layer in range(self.config.num_layers):
            if layer:
                x = self._linear(x, f"rnn.weight_ih_l{layer}", f"rnn.bias_ih_l{layer}")
            place = self._constant(f"layer_{layer}", np.array(layer, dtype=np.int64))
            before = [self._op("Gather", state, place, axis=0) for state in states]  # (B, H)
            after = step(x, layer, *before)
            x = after[0]
            for state, end in zip(states, after, strict=True):
                ends[state].append(self._op("Unsqueeze", end, self._constant("front", np.array([0], dtype=np.int64))))
        self._linear(x, "fc.weight", "fc.bias", to="logits")
        for state, parts in ends.items():
            self._op("Concat", *parts, axis=0, to=f"{state}_out")

    def _first(self) -> str:
        """The first layer's input part: without an embedding each id looks its column of the weights up."""
        if self.config.embed_dim:
            vectors = self._op("Gather", self._weight("embed.weight"), "ids", axis=0)
            return self._linear(vectors, "rnn.weight_ih_l0", "rnn.bias_ih_l0")
        table = self.weights["rnn.weight_ih_l0"].T + self.weights["rnn.bias_ih_l0"]  # (V, G H)
        return self._op("Gather", self._constant("rnn.input_of_id", table), "ids", axis=0)

    def _lstm(self, x: str, layer: int, h: str, c: str) -> tuple[str, ...]:
        entry, forget, new, out = self._split(self._op("Add", x, self._past(h, layer)), 4)
        kept = self._op("Mul", self._op("Sigmoid", forget), c)
        c = self._op("Add", kept, self._op("Mul", self._op("Sigmoid", entry), self._op("Tanh", new)))
        return self._op("Mul", self._op("Sigmoid", out), self._op("Tanh", c)), c

    def _gru(self, x: str, layer: int, h: str) -> tuple[str, ...]:
        reset, update, new = self._split(x, 3)
        past_reset, past_update, past_new = self._split(self._past(h, layer), 3)
        reset, update = (
            self._op("Sigmoid", self._op("Add", *pair)) for pair in ((reset, past_reset), (update, past_update))
        )
        new = self._op("Tanh", self._op("Add", new, self._op("Mul", reset, past_new)))
        return (self._op("Add", new, self._op("Mul", update, self._op("Sub", h, new))),)

    def _rnn(self, x: str, layer: int, h: str) -> tuple[str, ...]:
        bend = "Relu" if self.config.nonlinearity == "relu" else "Tanh"
        return (self._op(bend, self._op("Add", x, self._past(h, layer))),)

    def _past(self, h: str, layer: int) -> str:
        return self._linear(h, f"rnn.weight_hh_l{layer}", f"rnn.bias_hh_l{layer}")

    def _split(self, x: str, parts: int) -> list[str]:
        from onnx import helper

        names = [f"v{len(self.nodes)}_{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [x], names, axis=1))
        return names

    def _linear(self, x: str, weight: str, bias: str, to: str = "") -> str:
        """x times the weights, as torch keeps them, plus the bias."""
        return self._op("Gemm", x, self._weight(weight), self._weight(bias), transB=1, to=to)

    def _weight(self, name: str) -> str:
        tied = name == "fc.weight" and self.config.tie_weights
        name = "embed.weight" if tied else name
        return self._constant(name, self.weights[name])

    def _constant(self, name: str, array: Any) -> str:
        self.constants[name] = array
        return name

    def _op(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add an operator with one output; its name."""
        from onnx import helper

        to = to or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [to], **attributes))
        return to
