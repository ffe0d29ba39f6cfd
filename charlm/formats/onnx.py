"""One step of a network as a graph of ONNX operators: ids and state in, logits and next state out.

The graph is made operator by operator, as torch's own exporter traces whole sequences and knows no state.
"""

import json
import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charlm.config import ModelConfig
from charlm.errors import CheckpointError
from charlm.runs.run import Run

OPSET, IR_VERSION = 17, 8  # of 2022: what runs ONNX today, runs these
MASKED = -1e9  # the score of an empty place
Size = str | int | None


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
    save_graph(run, STEPS[run.arch], path)


def save_graph(run: Run, step: "type[Step]", path: Path) -> None:
    """Put the best weights into an .onnx by a kind of step; see `write_onnx`."""
    try:
        import onnx
    except ImportError:
        raise CheckpointError("the export to ONNX needs the package onnx: pip install onnx") from None
    weights = {name: tensor.float().numpy() for name, tensor in run.load_model().state_dict().items()}
    model = onnx.helper.make_model(
        step(run.model_config, weights).graph(run.run_id),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="charlm",
    )  # fmt: skip
    tokenizer = run.tokenizer()
    about = {"tokens": json.dumps(tokenizer.tokens), "label": run.label, "arch": run.arch, "level": run.level}
    if run.level != "char":
        about["tokenizer.json"] = tokenizer.to_file().decode()
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def write_onnx8(run: Run, path: Path) -> None:
    """The same graph with weights of 8 bits, a quarter of the size: onnxruntime's dynamic quantisation.

    Raises:
        CheckpointError: onnx or onnxruntime is not installed, or the run has no weights that can be read.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        raise CheckpointError(
            "the export to ONNX in 8 bits needs the package onnxruntime: pip install onnx onnxruntime"
        ) from None
    logger = logging.getLogger()
    level = logger.level
    with tempfile.TemporaryDirectory(prefix="charlm-") as folder:
        write_onnx(run, whole := Path(folder) / "whole.onnx")
        try:
            logger.setLevel(logging.ERROR)  # its advice to prepare the graph is of no use here: nothing gets smaller
            quantize_dynamic(whole, path, weight_type=QuantType.QInt8)
        finally:
            logger.setLevel(level)


class StatePart(NamedTuple):
    """One tensor of the state: zeros before the first step.

    Attributes:
        name: of the input; the output's has _out behind it.
        size: its shape, "B" where the batch is.
        is_count: whether it holds whole numbers (int64), else float32.
    """

    name: str
    size: tuple[Size, ...]
    is_count: bool = False


class Step(ABC):
    """One step of an architecture; operators and constants are collected as its layers are gone through.

    Args:
        config: of the model.
        weights: under torch's names.
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, Any]) -> None:
        from onnx import helper

        self.config, self.weights, self._onnx = config, weights, helper
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    @property
    @abstractmethod
    def state(self) -> Sequence[StatePart]:
        """What comes in beside the ids and goes out beside the logits."""

    @abstractmethod
    def embed(self) -> str:
        """The ids as the first layer's input, (B, ..)."""

    @abstractmethod
    def layer(self, x: str, layer: int, *states: str) -> tuple[str, ...]:
        """A layer's output for x, (B, H), and its part of the next state of each of `states`."""

    def features(self, x: str) -> str:
        """What the logits are computed from, (B, H), of the last layer's output."""
        return x

    def compute(self) -> None:
        """Add all operators, from the ids to the logits and the next state."""
        ends: dict[str, list[str]] = {part.name: [] for part in self.state if not part.is_count}
        x = self.embed()
        for layer in range(self.config.num_layers):
            x, *after = self.layer(x, layer, *ends)
            for end, parts in zip(after, ends.values(), strict=True):
                parts.append(end)
        self.linear(self.features(x), "fc.weight", "fc.bias", to="logits")
        for state, parts in ends.items():
            self.collect(state, parts)

    def graph(self, name: str) -> Any:
        """The whole step as an onnx GraphProto."""
        from onnx import TensorProto, numpy_helper

        self.compute()

        def value(name: str, size: Sequence[Size], is_count: bool) -> Any:
            return self._onnx.make_tensor_value_info(
                name, TensorProto.INT64 if is_count else TensorProto.FLOAT, list(size)
            )

        (token, logits), state = self.ends(), self.parts()
        inputs = [value(*token), *(value(*part) for part in state)]
        outputs = [value(*logits), *(value(f"{part.name}_out", part.size, part.is_count) for part in state)]
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        return self._onnx.make_graph(self.nodes, name, inputs, outputs, constants)

    def op(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add an operator with one output, which is named `to` or gets a new name; returns that name."""
        to = to or f"v{len(self.nodes)}"
        self.nodes.append(self._onnx.make_node(kind, list(inputs), [to], **attributes))
        return to

    def split(self, x: str, parts: int, axis: int = 1) -> list[str]:
        """Split a value into equal parts along an axis.

        Args:
            x: the value's name.
            parts: how many, at least 2.
            axis: of the value; 1 is that of the features.

        Returns:
            The names of the parts, in order.
        """
        names = [f"v{len(self.nodes)}_{part}" for part in range(parts)]
        self.nodes.append(self._onnx.make_node("Split", [x], names, axis=axis))
        return names

    def linear(self, x: str, weight: str, *bias: str, to: str = "") -> str:
        """A linear layer: x times the weights, as torch keeps them, plus the bias if there is one.

        Args:
            x: the input's name; (B, features in).
            weight: torch's name of the weights; (features out, features in).
            *bias: torch's name of the bias, or nothing; (features out,).
            to: the output's name; empty: a new one.

        Returns:
            The output's name; (B, features out).
        """
        return self.op("Gemm", x, self.weight(weight), *map(self.weight, bias), transB=1, to=to)

    def weight(self, name: str) -> str:
        """A weight by torch's name; tied ones are kept once."""
        name = "embed.weight" if name == "fc.weight" and self.config.tie_weights else name
        return self.constant(name, self.weights[name])

    def constant(self, name: str, array: Any) -> str:
        """An array under a name."""
        self.constants[name] = array
        return name

    def ints(self, *values: int) -> str:
        """Whole numbers as a constant: axes and shapes."""
        return self.constant("i" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def scalar(self, value: float) -> str:
        """A number as a constant."""
        return self.constant(f"f{value}", np.array(value, dtype=np.float32))

    def ends(self) -> tuple[StatePart, StatePart]:
        """What comes in and what goes out beside the state."""
        return StatePart("ids", ("B",), True), StatePart("logits", ("B", self.config.vocab_size))

    def parts(self) -> Sequence[StatePart]:
        """The tensors that the state comes and goes in."""
        return self.state

    def collect(self, state: str, layers: Sequence[str]) -> None:
        """Let the layers' parts of the next state, (B, ..) each, go out."""
        self.op("Concat", *(self.op("Unsqueeze", part, self.ints(0)) for part in layers), axis=0, to=f"{state}_out")

    def row_of(self, table: str) -> str:
        """The ids' rows of a table (V, N), (B, N)."""
        return self.op("Gather", table, "ids", axis=0)

    def layer_of(self, state: str, layer: int) -> str:
        """A layer's part of a state, (B, ..)."""
        return self.op("Gather", state, self.constant(f"layer_{layer}", np.array(layer, dtype=np.int64)), axis=0)


class RecurrentStep(Step):
    """The step of an LSTM, a GRU or a plain RNN."""

    @property
    def state(self) -> Sequence[StatePart]:
        names = ("h", "c") if self.config.arch == "lstm" else ("h",)
        return [StatePart(name, (self.config.num_layers, "B", self.config.hidden_size)) for name in names]

    def embed(self) -> str:
        """The first layer's input part, (B, G H): without an embedding each id looks its column of the weights up."""
        if self.config.embed_dim:
            vectors = self.row_of(self.weight("embed.weight"))
            return self.linear(vectors, "rnn.weight_ih_l0", "rnn.bias_ih_l0")
        table = self.weights["rnn.weight_ih_l0"].T + self.weights["rnn.bias_ih_l0"]  # (V, G H)
        return self.row_of(self.constant("rnn.input_of_id", table))

    def layer(self, x: str, layer: int, *states: str) -> tuple[str, ...]:
        x = self.linear(x, f"rnn.weight_ih_l{layer}", f"rnn.bias_ih_l{layer}") if layer else x
        h, *c = (self.layer_of(state, layer) for state in states)
        past = partial(self.linear, h, f"rnn.weight_hh_l{layer}", f"rnn.bias_hh_l{layer}")
        if self.config.arch == "gru":
            reset, update, new = self.split(x, 3)
            past_reset, past_update, past_new = self.split(past(), 3)
            reset = self.op("Sigmoid", self.op("Add", reset, past_reset))
            update = self.op("Sigmoid", self.op("Add", update, past_update))
            new = self.op("Tanh", self.op("Add", new, self.op("Mul", reset, past_new)))
            h = self.op("Add", new, self.op("Mul", update, self.op("Sub", h, new)))
            return h, h
        x = self.op("Add", x, past())
        if self.config.arch == "rnn":
            h = self.op("Relu" if self.config.nonlinearity == "relu" else "Tanh", x)
            return h, h
        entry, forget, new, out = self.split(x, 4)
        kept = self.op("Mul", self.op("Sigmoid", forget), *c)
        cell = self.op("Add", kept, self.op("Mul", self.op("Sigmoid", entry), self.op("Tanh", new)))
        h = self.op("Mul", self.op("Sigmoid", out), self.op("Tanh", cell))
        return h, h, cell


class BlockStep(Step):
    """What a minGRU and a Transformer share: an embedding, blocks that add to what comes in, and a norm."""

    def embed(self) -> str:
        x = self.row_of(self.weight("embed.weight"))
        return self.linear(x, "widen.weight") if "widen.weight" in self.weights else x

    def layer(self, x: str, layer: int, *states: str) -> tuple[str, ...]:
        at, before = f"blocks.{layer}", [self.layer_of(state, layer) for state in states]
        mixed, *after = self.mix(self.norm(x, f"{at}.norm"), at, *before)
        x = self.op("Add", x, mixed)
        return self.op("Add", x, self._mlp(x, f"{at}.wide")), *after

    def features(self, x: str) -> str:
        return self.norm(x, "norm")

    @abstractmethod
    def mix(self, x: str, at: str, *before: str) -> tuple[str, ...]:
        """What the block at `at` adds to x (B, H), and the next state of each of `before`."""

    def norm(self, x: str, name: str) -> str:
        """A LayerNorm over the last dimension."""
        return self.op("LayerNormalization", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"))

    def _mlp(self, x: str, at: str) -> str:
        """To a wider layer and back, through GELU: x / 2 (1 + erf(x / sqrt 2))."""
        wide = self.linear(self.norm(x, f"{at}.norm"), f"{at}.up.weight")
        grown = self.op("Add", self.op("Erf", self.op("Mul", wide, self.scalar(0.5**0.5))), self.scalar(1.0))
        active = self.op("Mul", self.op("Mul", wide, self.scalar(0.5)), grown)
        return self.linear(active, f"{at}.down.weight")

    def joined(self, past: str, new: str) -> str:
        """The W that were there and one more, (B, W + 1, ..)."""
        return self.op("Concat", past, self.op("Unsqueeze", new, self.ints(1)), axis=1)

    def without_first(self, x: str) -> str:
        """The newest W of W + 1, (B, W, ..)."""
        return self.op("Slice", x, self.ints(1), self.ints(np.iinfo(np.int64).max), self.ints(1))


class MinGRUStep(BlockStep):
    """A short convolution, and h + z (g(c) - h)."""

    @property
    def state(self) -> Sequence[StatePart]:
        layers, size = self.config.num_layers, self.config.hidden_size
        taps = len(self.weights["blocks.0.conv.weight"])
        return [StatePart("h", (layers, "B", size)), StatePart("seen", (layers, "B", taps - 1, size))]

    def mix(self, x: str, at: str, *before: str) -> tuple[str, ...]:
        (h, seen), axis = before, self.ints(1)
        padded = self.joined(seen, x)  # (B, taps, H)
        mixed = self.op("ReduceSum", self.op("Mul", padded, self.weight(f"{at}.conv.weight")), axis, keepdims=0)
        h = self.recur(mixed, at, h)
        return h, h, self.without_first(padded)

    def recur(self, mixed: str, at: str, h: str) -> str:
        """The next state of the recurrence, (B, H), from what the convolution gives and the state before."""
        gate, candidate = self.split(self.linear(mixed, f"{at}.gates.weight", f"{at}.gates.bias"), 2)
        is_high = self.op("GreaterOrEqual", candidate, self.scalar(0.0))
        high, low = self.op("Add", candidate, self.scalar(0.5)), self.op("Sigmoid", candidate)
        new = self.op("Sub", self.op("Where", is_high, high, low), h)
        return self.op("Add", h, self.op("Mul", self.op("Sigmoid", gate), new))


class TransformerStep(BlockStep):
    """Attention to the window's keys, turned by their places, and to the token's own."""

    @property
    def state(self) -> Sequence[StatePart]:
        config, heads = self.config, self.config.num_heads
        size = (config.num_layers, "B", config.window, heads, config.hidden_size // heads)
        return [StatePart("keys", size), StatePart("values", size), StatePart("filled", (1, "B"), True)]

    def embed(self) -> str:
        """The ids as vectors; before that, which places of the window are filled, now and after this step."""
        window = self.config.window
        places = self.constant("places", np.arange(window + 1, dtype=np.int64)[None, :, None])
        filled = self.op("Reshape", "filled", self.ints(-1, 1, 1))
        self.is_filled = self.op("GreaterOrEqual", self.op("Add", places, filled), self.ints(window))  # (B, W + 1, 1)
        self.op("Min", self.op("Add", "filled", self.ints(1)), self.ints(window), to="filled_out")
        return super().embed()

    def mix(self, x: str, at: str, *before: str) -> tuple[str, ...]:
        from charlm.models.transformer import SHARPNESS, speeds_of  # loads torch: not before it is needed

        heads, width = self.config.num_heads, self.config.hidden_size // self.config.num_heads
        parts = self.op("Reshape", self.linear(x, f"{at}.qkv.weight"), self.ints(-1, 3, heads, width))
        query, key, value = (self.op("Squeeze", part, self.ints(1)) for part in self.split(parts, 3))  # (B, N, D)
        keys, values = self.joined(before[0], self._unit(key)), self.joined(before[1], value)  # (B, W + 1, N, D)
        angles = np.arange(self.config.window + 1)[:, None, None] * np.array(speeds_of(self.config))
        query = self._rotated(self._unit(query), "query", angles[-1])
        looked = self.op("Mul", self._rotated(keys, "keys", angles), self.op("Unsqueeze", query, self.ints(1)))
        scores = self.op("ReduceSum", looked, self.ints(3), keepdims=0)  # (B, W + 1, N)
        scores = self.op("Mul", scores, self.scalar(SHARPNESS / width**0.5))
        shares = self.op("Softmax", self.op("Where", self.is_filled, scores, self.scalar(MASKED)), axis=1)
        seen = self.op("Mul", self.op("Unsqueeze", shares, self.ints(3)), values)
        seen = self.op("ReduceSum", seen, self.ints(1), keepdims=0)  # (B, N, D)
        seen = self.op("Reshape", seen, self.ints(-1, self.config.hidden_size))
        return self.linear(seen, f"{at}.out.weight"), self.without_first(keys), self.without_first(values)

    def _unit(self, x: str) -> str:
        """A query or key with mean 0 and variance 1."""
        width = self.config.hidden_size // self.config.num_heads
        return self.op("LayerNormalization", x, self.constant("ones", np.ones(width, dtype=np.float32)))

    def _rotated(self, x: str, what: str, angles: Any) -> str:
        """Pairs of units (j, j + D / 2) rotated by `angles`, (.., D / 2)."""
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        left, right = self.split(x, 2, axis=-1)
        swapped = self.op("Concat", right, left, axis=-1)
        kept = self.op("Mul", x, self.constant(f"{what}.cos", np.concatenate((cos, cos), axis=-1)))
        turned = self.op("Mul", swapped, self.constant(f"{what}.sin", np.concatenate((-sin, sin), axis=-1)))
        return self.op("Add", kept, turned)


STEPS: Mapping[str, type[Step]] = {
    **dict.fromkeys(("lstm", "gru", "rnn"), RecurrentStep), "transformer": TransformerStep, "mingru": MinGRUStep,
}  # fmt: skip
