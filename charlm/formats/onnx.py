"""One step of a Transformer and of a minGRU as ONNX operators."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charlm.config import ModelConfig
from charlm.errors import CheckpointError
from charlm.runs.run import Run

Size = str | int | None


class StatePart(NamedTuple):
    """One tensor of the state: zeros before the first step.

    Attributes:
        name: of the input; the output's has _out behind it.
        size: its shape, "B" where the batch is.
        whole: whether it holds whole numbers (int64), else float32.
    """

    name: str
    size: tuple[Size, ...]
    whole: bool = False


class Step(ABC):
    """One step: ids and state in, logits and state out.

    Args:
        config: of the model.
        weights: under torch's names.
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, Any]) -> None:
        self.config, self.weights = config, weights
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    @property
    @abstractmethod
    def state(self) -> Sequence[StatePart]:
        """What comes in beside the ids and goes out beside the logits."""

    @abstractmethod
    def compute(self) -> None:
        """Add all operators, from the ids to the logits and the next state."""

    def graph(self, name: str) -> Any:
        """The whole step as an onnx GraphProto."""
        from onnx import TensorProto, helper, numpy_helper

        self.compute()

        def told(name: str, size: Sequence[Size], whole: bool) -> Any:
            return helper.make_tensor_value_info(name, TensorProto.INT64 if whole else TensorProto.FLOAT, list(size))

        inputs = [told("ids", ["B"], True), *(told(*part) for part in self.state)]
        outputs = [told("logits", ["B", self.config.vocab_size], False)]
        outputs += [told(f"{part.name}_out", part.size, part.whole) for part in self.state]
        kept = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        return helper.make_graph(self.nodes, name, inputs, outputs, kept)

    def op(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add an operator with one output; its name."""
        from onnx import helper

        to = to or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [to], **attributes))
        return to

    def split(self, x: str, parts: int, axis: int = 1) -> list[str]:
        """Equal parts along an axis."""
        from onnx import helper

        names = [f"v{len(self.nodes)}_{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [x], names, axis=axis))
        return names

    def linear(self, x: str, weight: str, *bias: str, to: str = "") -> str:
        """x times the weights, as torch keeps them, plus the bias if there is one."""
        return self.op("Gemm", x, self.weight(weight), *map(self.weight, bias), transB=1, to=to)

    def weight(self, name: str) -> str:
        """A weight by torch's name; tied ones are kept once."""
        tied = name == "fc.weight" and self.config.tie_weights
        name = "embed.weight" if tied else name
        return self.constant(name, self.weights[name])

    def constant(self, name: str, array: Any) -> str:
        """An array under a name."""
        self.constants[name] = array
        return name

    def numbers(self, *values: int) -> str:
        """Whole numbers as a constant: axes and shapes."""
        return self.constant("i" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def layer_of(self, state: str, layer: int) -> str:
        """A layer's part of a state, (B, ..)."""
        return self.op("Gather", state, self.constant(f"layer_{layer}", np.array(layer, dtype=np.int64)), axis=0)

    def stack(self, parts: Sequence[str], to: str) -> None:
        """The layers' parts as one state."""
        self.op("Concat", *(self.op("Unsqueeze", part, self.numbers(0)) for part in parts), axis=0, to=to)


HIDDEN = -1e9  # the score of an empty place


class BlockStep(Step):
    """What the two share: an embedding, blocks that add to what comes in, a norm, and the logits."""

    def compute(self) -> None:
        ends: dict[str, list[str]] = {part.name: [] for part in self.state if not part.whole}
        x = self.op("Gather", self.weight("embed.weight"), "ids", axis=0)
        x = self.linear(x, "widen.weight") if "widen.weight" in self.weights else x
        for layer in range(self.config.num_layers):
            before = [self.layer_of(state, layer) for state in ends]
            seen, *after = self.mix(self.norm(x, f"blocks.{layer}.norm"), f"blocks.{layer}", *before)
            x = self.op("Add", x, seen)
            x = self.op("Add", x, self._wide(x, f"blocks.{layer}.wide"))
            for end, parts in zip(after, ends.values(), strict=True):
                parts.append(end)
        self.linear(self.norm(x, "norm"), "fc.weight", "fc.bias", to="logits")
        for state, parts in ends.items():
            self.stack(parts, f"{state}_out")

    @abstractmethod
    def mix(self, x: str, at: str, *before: str) -> tuple[str, ...]:
        """What the block at `at` adds to x (B, H), and the next state of each of `before`."""

    def norm(self, x: str, name: str) -> str:
        """A LayerNorm over the last dimension."""
        return self.op("LayerNormalization", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"))

    def _wide(self, x: str, at: str) -> str:
        """To a wider layer and back, through GELU: x / 2 (1 + erf(x / sqrt 2))."""
        wide = self.linear(self.norm(x, f"{at}.norm"), f"{at}.up.weight")
        grown = self.op("Add", self.op("Erf", self.op("Mul", wide, self.number(0.5**0.5))), self.number(1.0))
        bent = self.op("Mul", self.op("Mul", wide, self.number(0.5)), grown)
        return self.linear(bent, f"{at}.down.weight")

    def number(self, value: float) -> str:
        """A number as a constant."""
        return self.constant(f"f{value}", np.array(value, dtype=np.float32))

    def joined(self, past: str, new: str) -> str:
        """What was there and one more, (B, W + 1, ..)."""
        return self.op("Concat", past, self.op("Unsqueeze", new, self.numbers(1)), axis=1)

    def without_first(self, x: str) -> str:
        """The newest W of W + 1, (B, W, ..)."""
        return self.op("Slice", x, self.numbers(1), self.numbers(np.iinfo(np.int64).max), self.numbers(1))


class MinGRUStep(BlockStep):
    """A short convolution, and h + z (g(c) - h)."""

    @property
    def state(self) -> Sequence[StatePart]:
        layers, size = self.config.num_layers, self.config.hidden_size
        taps = len(self.weights["blocks.0.conv.weight"])
        return [StatePart("h", (layers, "B", size)), StatePart("seen", (layers, "B", taps - 1, size))]

    def mix(self, x: str, at: str, *before: str) -> tuple[str, ...]:
        (h, seen), axis = before, self.numbers(1)
        padded = self.joined(seen, x)  # (B, taps, H)
        mixed = self.op("ReduceSum", self.op("Mul", padded, self.weight(f"{at}.conv.weight")), axis, keepdims=0)
        gate, candidate = self.split(self.linear(mixed, f"{at}.gates.weight", f"{at}.gates.bias"), 2)
        is_high = self.op("GreaterOrEqual", candidate, self.number(0.0))
        high, low = self.op("Add", candidate, self.number(0.5)), self.op("Sigmoid", candidate)
        new = self.op("Sub", self.op("Where", is_high, high, low), h)
        h = self.op("Add", h, self.op("Mul", self.op("Sigmoid", gate), new))
        return h, h, self.without_first(padded)


class TransformerStep(BlockStep):
    """Attention to the window's keys, turned by their places, and to the token's own."""

    @property
    def state(self) -> Sequence[StatePart]:
        config, heads = self.config, self.config.num_heads
        size = (config.num_layers, "B", config.window, heads, config.hidden_size // heads)
        return [StatePart("keys", size), StatePart("values", size), StatePart("filled", (1, "B"), True)]

    def compute(self) -> None:
        window = self.config.window
        places = self.constant("places", np.arange(window + 1, dtype=np.int64)[None, :, None])
        filled = self.op("Reshape", "filled", self.numbers(-1, 1, 1))
        self.there = self.op("GreaterOrEqual", self.op("Add", places, filled), self.numbers(window))  # (B, W + 1, 1)
        self.op("Min", self.op("Add", "filled", self.numbers(1)), self.numbers(window), to="filled_out")
        super().compute()

    def mix(self, x: str, at: str, *before: str) -> tuple[str, ...]:
        from charlm.models.transformer import SHARPNESS  # loads torch: not before it is needed

        width = self.config.hidden_size // self.config.num_heads
        parts = self.op(
            "Reshape", self.linear(x, f"{at}.qkv.weight"), self.numbers(-1, 3, self.config.num_heads, width)
        )
        query, key, value = (self.op("Squeeze", part, self.numbers(1)) for part in self.split(parts, 3))  # (B, N, D)
        keys, values = self.joined(before[0], self._unit(key)), self.joined(before[1], value)  # (B, W + 1, N, D)
        cos, sin = self._angles()
        query = self._turned(self._unit(query), "query", cos[-1], sin[-1])
        looked = self.op("Mul", self._turned(keys, "keys", cos, sin), self.op("Unsqueeze", query, self.numbers(1)))
        scores = self.op("ReduceSum", looked, self.numbers(3), keepdims=0)  # (B, W + 1, N)
        scores = self.op("Mul", scores, self.number(SHARPNESS / width**0.5))
        shares = self.op("Softmax", self.op("Where", self.there, scores, self.number(HIDDEN)), axis=1)
        seen = self.op("Mul", self.op("Unsqueeze", shares, self.numbers(3)), values)
        seen = self.op("ReduceSum", seen, self.numbers(1), keepdims=0)  # (B, N, D)
        seen = self.op("Reshape", seen, self.numbers(-1, self.config.hidden_size))
        return self.linear(seen, f"{at}.out.weight"), self.without_first(keys), self.without_first(values)

    def _unit(self, x: str) -> str:
        """A query or key with mean 0 and variance 1."""
        width = self.config.hidden_size // self.config.num_heads
        return self.op("LayerNormalization", x, self.constant("ones", np.ones(width, dtype=np.float32)))

    def _angles(self) -> tuple[Any, Any]:
        """Cosines and sines for every place of the window, (W + 1, 1, D)."""
        from charlm.models.transformer import speeds_of

        angles = np.arange(self.config.window + 1)[:, None, None] * np.array(speeds_of(self.config))
        cos, sin = np.cos(angles), np.sin(angles)
        both = np.concatenate((cos, cos), axis=2), np.concatenate((-sin, sin), axis=2)
        return both[0].astype(np.float32), both[1].astype(np.float32)

    def _turned(self, x: str, what: str, cos: Any, sin: Any) -> str:
        """Pairs of units (j, j + D / 2) turned."""
        left, right = self.split(x, 2, axis=-1)
        swapped = self.op("Concat", right, left, axis=-1)
        kept = self.op("Mul", x, self.constant(f"{what}.cos", cos))
        return self.op("Add", kept, self.op("Mul", swapped, self.constant(f"{what}.sin", sin)))


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
