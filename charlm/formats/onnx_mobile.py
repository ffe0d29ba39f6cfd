"""The step of a network as an ONNX graph that the converters for phones take: pnnx to ncnn, onnx2tf to TFLite.

They lack a lookup in a table that is data, take states of three dimensions for pictures, and know no LayerNorm. So the
token comes in as a vector, the state in one tensor a layer, the batch is one text, and only basic operators are used.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from charlm.formats.onnx import MinGRUStep, RecurrentStep, StatePart, Step, save_graph
from charlm.runs.run import Run

EPSILON = 1e-5  # as torch's LayerNorm


def write_onnx_mobile(run: Run, path: Path) -> None:
    """Put the best weights into an .onnx that takes one step of one text.

    Inputs are `token`, (1, V) of float32, 1 at the token's id and 0 elsewhere, and the state, zeros at first, (1, H)
    each: `h_0` to `h_<L-1>` of the layers; of an LSTM also `c_0` and so on, of a minGRU `seen_0` and so on, (1, 3 H),
    what the convolution has seen last. Outputs are `logits`, (1, V), and the new state, each part under its name with
    _out behind it. The metadata are those of `write_onnx`.

    Raises:
        CheckpointError: onnx is not installed, or the run has no weights that can be read.
    """
    save_graph(run, MOBILE_STEPS[run.arch], path)


class MobileStep(Step):
    """How a token and the state come in and go out; a mixin before an architecture's step."""

    def ends(self) -> tuple[StatePart, StatePart]:
        size = 1, self.config.vocab_size
        return StatePart("token", size), StatePart("logits", size)

    def parts(self) -> Sequence[StatePart]:
        layers = range(self.config.num_layers)
        return [StatePart(f"{part.name}_{layer}", (1, part.size[-1])) for part in self.state for layer in layers]

    def row_of(self, table: str) -> str:
        transposed = self.constant(f"{table}.of_units", np.ascontiguousarray(self.constants.pop(table).T))
        return self.op("Gemm", "token", transposed, transB=1)

    def split(self, x: str, parts: int, axis: int = 1) -> list[str]:
        """See `Step.split`; the parts' size, which is that of a state, is said, as pnnx does not derive it."""
        names = super().split(x, parts, axis)
        self.nodes[-1].input.append(self.ints(*[self.config.hidden_size] * parts))
        return names

    def layer_of(self, state: str, layer: int) -> str:
        return f"{state}_{layer}"

    def collect(self, state: str, layers: Sequence[str]) -> None:
        for layer, part in enumerate(layers):
            self.op("Identity", part, to=f"{state}_{layer}_out")


class MobileRecurrentStep(MobileStep, RecurrentStep):
    """An LSTM, a GRU or a plain RNN."""


class MobileMinGRUStep(MobileStep, MinGRUStep):
    """A minGRU, whose convolution's last inputs stand beside each other."""

    @property
    def state(self) -> Sequence[StatePart]:
        layers, size = self.config.num_layers, self.config.hidden_size
        taps = len(self.weights["blocks.0.conv.weight"])
        return [StatePart("h", (layers, "B", size)), StatePart("seen", (layers, "B", (taps - 1) * size))]

    def mix(self, x: str, at: str, *before: str) -> tuple[str, ...]:
        taps = self.weights[f"{at}.conv.weight"]
        h, seen = before[0], self.split(before[1], len(taps) - 1)
        weighted = [
            self.op("Mul", part, self.constant(f"{at}.tap{place}", taps[place][None]))
            for place, part in enumerate([*seen, x])
        ]
        mixed = weighted[0]
        for part in weighted[1:]:
            mixed = self.op("Add", mixed, part)
        h = self.recur(mixed, at, h)
        return h, h, self.op("Concat", *seen[1:], x, axis=1)

    def recur(self, mixed: str, at: str, h: str) -> str:
        """As `MinGRUStep.recur`; g(c) without a choice: max(c, 0) + sigmoid(min(c, 0))."""
        gate, candidate = self.split(self.linear(mixed, f"{at}.gates.weight", f"{at}.gates.bias"), 2)
        high = self.op("Relu", candidate)
        new = self.op("Add", high, self.op("Sigmoid", self.op("Sub", candidate, high)))
        return self.op("Add", h, self.op("Mul", self.op("Sigmoid", gate), self.op("Sub", new, h)))

    def norm(self, x: str, name: str) -> str:
        """A LayerNorm by products: the mean is one with a matrix of 1 / H."""
        size = self.config.hidden_size
        mean = self.constant("mean", np.full((size, size), 1.0 / size, np.float32))
        centred = self.op("Sub", x, self.op("Gemm", x, mean))
        variance = self.op("Gemm", self.op("Mul", centred, centred), mean)
        scaled = self.op("Div", centred, self.op("Sqrt", self.op("Add", variance, self.scalar(EPSILON))))
        weight, bias = (
            self.constant(f"{name}.{part}", self.weights[f"{name}.{part}"][None]) for part in ("weight", "bias")
        )
        return self.op("Add", self.op("Mul", scaled, weight), bias)


MOBILE_STEPS: dict[str, type[Step]] = {
    **dict.fromkeys(("lstm", "gru", "rnn"), MobileRecurrentStep), "mingru": MobileMinGRUStep,
}  # fmt: skip
