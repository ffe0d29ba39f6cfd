"""A run as an ONNX graph of one step: ids and state in, logits and state out, from small standard operators."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charlm.errors import CheckpointError
from charlm.exchange.onnx_blocks import MinGRUStep, TransformerStep
from charlm.exchange.onnx_graph import StatePart, Step
from charlm.run import Run

OPSET, IR_VERSION = 17, 8  # of 2022: what runs ONNX today, runs these


def write_onnx(run: Run, path: Path) -> None:
    """Put the best weights into an .onnx that takes one step for a batch of any size.

    Inputs are `ids` (B,) of int64 and the state, zeros at first; outputs are `logits` (B, V) and the new state, each
    part under its name with _out behind it. The state is `h`, (L, B, H), for an LSTM `c` likewise; for a minGRU `seen`,
    (L, B, 3, H); for a Transformer `keys` and `values`, (L, B, W, N, D), and `filled`, (1, B) of int64. The metadata
    hold the tokens as a JSON list, `tokens`, and of words and subwords the whole `tokenizer.json`, which the package
    tokenizers reads.

    Raises:
        CheckpointError: onnx is not installed, or the run has no weights that can be read.
    """
    try:
        import onnx
    except ImportError:
        raise CheckpointError("the export to ONNX needs the package onnx: pip install onnx") from None
    weights = {name: tensor.float().numpy() for name, tensor in run.load_model().state_dict().items()}
    model = onnx.helper.make_model(
        STEPS[run.arch](run.model_config, weights).graph(run.run_id),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="charlm",
    )  # fmt: skip
    tokenizer = run.tokenizer()
    about = {"tokens": json.dumps(tokenizer.tokens), "label": run.label, "arch": run.arch, "level": run.level}
    if run.level != "char":
        about["tokenizer.json"] = tokenizer.to_file().decode()
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


class RecurrentStep(Step):
    """The step of an LSTM, a GRU or a plain RNN."""

    @property
    def state(self) -> Sequence[StatePart]:
        names = ("h", "c") if self.config.arch == "lstm" else ("h",)
        return [StatePart(name, (self.config.num_layers, "B", self.config.hidden_size)) for name in names]

    def compute(self) -> None:
        step: Any = {"lstm": self._lstm, "gru": self._gru, "rnn": self._rnn}[self.config.arch]
        ends: dict[str, list[str]] = {part.name: [] for part in self.state}
        x = self._first()  # (B, G H)
        for layer in range(self.config.num_layers):
            if layer:
                x = self.linear(x, f"rnn.weight_ih_l{layer}", f"rnn.bias_ih_l{layer}")
            after = step(x, layer, *(self.layer_of(state, layer) for state in ends))
            x = after[0]
            for end, parts in zip(after, ends.values(), strict=True):
                parts.append(end)
        self.linear(x, "fc.weight", "fc.bias", to="logits")
        for state, parts in ends.items():
            self.stack(parts, f"{state}_out")

    def _first(self) -> str:
        """The first layer's input part: without an embedding each id looks its column of the weights up."""
        if self.config.embed_dim:
            vectors = self.op("Gather", self.weight("embed.weight"), "ids", axis=0)
            return self.linear(vectors, "rnn.weight_ih_l0", "rnn.bias_ih_l0")
        table = self.weights["rnn.weight_ih_l0"].T + self.weights["rnn.bias_ih_l0"]  # (V, G H)
        return self.op("Gather", self.constant("rnn.input_of_id", table), "ids", axis=0)

    def _lstm(self, x: str, layer: int, h: str, c: str) -> tuple[str, ...]:
        entry, forget, new, out = self.split(self.op("Add", x, self._past(h, layer)), 4)
        kept = self.op("Mul", self.op("Sigmoid", forget), c)
        c = self.op("Add", kept, self.op("Mul", self.op("Sigmoid", entry), self.op("Tanh", new)))
        return self.op("Mul", self.op("Sigmoid", out), self.op("Tanh", c)), c

    def _gru(self, x: str, layer: int, h: str) -> tuple[str, ...]:
        reset, update, new = self.split(x, 3)
        past_reset, past_update, past_new = self.split(self._past(h, layer), 3)
        reset, update = (
            self.op("Sigmoid", self.op("Add", *pair)) for pair in ((reset, past_reset), (update, past_update))
        )
        new = self.op("Tanh", self.op("Add", new, self.op("Mul", reset, past_new)))
        return (self.op("Add", new, self.op("Mul", update, self.op("Sub", h, new))),)

    def _rnn(self, x: str, layer: int, h: str) -> tuple[str, ...]:
        bend = "Relu" if self.config.nonlinearity == "relu" else "Tanh"
        return (self.op(bend, self.op("Add", x, self._past(h, layer))),)

    def _past(self, h: str, layer: int) -> str:
        return self.linear(h, f"rnn.weight_hh_l{layer}", f"rnn.bias_hh_l{layer}")


STEPS: Mapping[str, type[Step]] = {
    "lstm": RecurrentStep, "gru": RecurrentStep, "rnn": RecurrentStep, "transformer": TransformerStep,
    "mingru": MinGRUStep,
}  # fmt: skip
