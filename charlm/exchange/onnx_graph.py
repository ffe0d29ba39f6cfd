"""An ONNX graph of one step in the making: operators, the weights they read, and the state that comes and goes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from charlm.config import ModelConfig

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
