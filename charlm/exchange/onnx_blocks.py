"""One step of a Transformer and of a minGRU as ONNX operators."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from charlm.exchange.onnx_graph import StatePart, Step

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
