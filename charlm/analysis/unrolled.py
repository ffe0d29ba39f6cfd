"""Recurrent models as plain torch operations, one step at a time: open to autograd, and to a hand on single units.

The models compute whole sequences by compiled loops, which tell neither gates nor gradients of states between. Here
every step's states and gates are tensors of their own, in any number format.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.config import ARCH_NAMES
from charlm.errors import MeasurementError
from charlm.models import LanguageModel, State
from charlm.models.kernels.scan import log_g
from charlm.models.mingru import TAPS, MinGRUModel
from charlm.models.recurrent import RecurrentModel

# Of one layer, by name, (B, H) each: states `h`, `c` (LSTM) and `past` (minGRU's convolution, (B, TAPS - 1, H)); gates.
Named = dict[str, Tensor]
# The layer, the state's name `h` or `c`, and its values (B, H) -> what to go on with.
Clamp = Callable[[int, str, Tensor], Tensor]
Layer = Callable[[int, Tensor, Named, Clamp], tuple[Tensor, Named, Named]]


class Unrolled:
    """The steps of a trained recurrent model, in evaluation mode; its weights are constants.

    Args:
        model: LSTM, GRU, RNN or minGRU.
        dtype: of weights and states.

    Raises:
        MeasurementError: the architecture has no recurrent state.

    Attributes:
        names: the states of a layer that a unit has one number of: `h`, and the LSTM's `c`.
    """

    def __init__(self, model: LanguageModel, dtype: torch.dtype = torch.float64) -> None:
        if not isinstance(model, RecurrentModel | MinGRUModel):
            name = ARCH_NAMES[model.config.arch]
            raise MeasurementError(f"the model is of the architecture {name}, which has no recurrent state")
        self.config, self.dtype = model.config, dtype
        self.names = ("h", "c") if model.config.arch == "lstm" else ("h",)
        weights = {name: tensor.detach().to(dtype) for name, tensor in model.state_dict().items()}
        self._weights, self._table = weights, weights.get("embed.weight")
        self._layer: Layer = {"lstm": self._lstm, "gru": self._gru, "rnn": self._rnn, "mingru": self._mingru}[
            model.config.arch
        ]

    def initial(self, batch: int) -> list[Named]:
        """The states before the first token, of each layer, all zero."""
        size, of_fc = self.config.hidden_size, self._weights["fc.weight"]
        layer = {name: of_fc.new_zeros(batch, size) for name in self.names}
        if self.config.arch == "mingru":
            layer["past"] = of_fc.new_zeros(batch, TAPS - 1, size)
        return [dict(layer) for _ in range(self.config.num_layers)]

    def states(self, state: State) -> list[Named]:
        """The states of each layer, from what the model's `forward` returns; they can be written to."""
        names = (*self.names, "past") if self.config.arch == "mingru" else self.names
        return [
            {name: part[layer].detach().to(self.dtype, copy=True) for name, part in zip(names, state, strict=True)}
            for layer in range(self.config.num_layers)
        ]

    def embed(self, ids: Tensor) -> Tensor:
        """The vectors (B, E) of ids (B,): of the embedding, or one-hot where the model has none."""
        vectors = F.one_hot(ids, self.config.vocab_size) if self._table is None else self._table[ids]
        return vectors.to(self.dtype)

    def step(
        self, x: Tensor, states: Sequence[Named], clamp: Clamp | None = None
    ) -> tuple[Tensor, list[Named], list[Named]]:
        """Read one token.

        Args:
            x: vectors (B, E) as of `embed`, or ids (B,), which are faster in a large vocabulary.
            states: of each layer, before the token.
            clamp: replaces new values of `h` and `c` before anything uses them.

        Returns:
            The input of `logits`, (B, H); the states after the token; and the values of the gates, by layer and name:
            LSTM i, f, g, o; GRU r, z, n; minGRU z and its candidate `h~`; none of an RNN.
        """
        clamp = clamp or (lambda layer, name, value: value)
        ends, gates = [], []
        x = self._first(x)
        for layer, before in enumerate(states):
            x, after, opened = self._layer(layer, x, before, clamp)
            ends.append(after)
            gates.append(opened)
        if self.config.arch == "mingru":
            x = self._norm("norm", x)
        return x, ends, gates

    def logits(self, top: Tensor) -> Tensor:
        """The logits (.., V) of the last layer's output (.., H)."""
        return F.linear(top, self._weights["fc.weight"], self._weights["fc.bias"])

    def recurrent_matrices(self, layer: int) -> dict[str, Tensor]:
        """The matrices (H, H) from a layer's old `h` to each gate, by the gate's name; `h` for an RNN, minGRU none."""
        names = {"lstm": "ifgo", "gru": "rzn", "rnn": "h", "mingru": ""}[self.config.arch]
        if not names:
            return {}
        return dict(zip(names, self._weights[f"rnn.weight_hh_l{layer}"].split(self.config.hidden_size), strict=True))

    def _first(self, x: Tensor) -> Tensor:
        """What the first layer reads; ids stay ids where its weights can be looked up."""
        if not x.is_floating_point() and self._table is not None:
            x = self._table[x]
        widen = self._weights.get("widen.weight")
        return x if widen is None else F.linear(x, widen)

    def _sums(self, layer: int, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """The products of input and of old state, with their biases, (B, G H) each."""
        weight_ih, weight_hh, bias_ih, bias_hh = (
            self._weights[f"rnn.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        from_x = F.linear(x, weight_ih, bias_ih) if x.is_floating_point() else weight_ih.t()[x] + bias_ih
        return from_x, F.linear(h, weight_hh, bias_hh)

    def _lstm(self, layer: int, x: Tensor, before: Named, clamp: Clamp) -> tuple[Tensor, Named, Named]:
        from_x, from_h = self._sums(layer, x, before["h"])
        i, f, g, o = (from_x + from_h).chunk(4, dim=1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = clamp(layer, "c", f * before["c"] + i * g)
        h = clamp(layer, "h", o * c.tanh())
        return h, {"h": h, "c": c}, {"i": i, "f": f, "g": g, "o": o}

    def _gru(self, layer: int, x: Tensor, before: Named, clamp: Clamp) -> tuple[Tensor, Named, Named]:
        from_x, from_h = (sums.chunk(3, dim=1) for sums in self._sums(layer, x, before["h"]))
        r, z = (from_x[0] + from_h[0]).sigmoid(), (from_x[1] + from_h[1]).sigmoid()
        n = (from_x[2] + r * from_h[2]).tanh()
        h = clamp(layer, "h", n + z * (before["h"] - n))
        return h, {"h": h}, {"r": r, "z": z, "n": n}

    def _rnn(self, layer: int, x: Tensor, before: Named, clamp: Clamp) -> tuple[Tensor, Named, Named]:
        from_x, from_h = self._sums(layer, x, before["h"])
        total = from_x + from_h
        h = clamp(layer, "h", total.relu() if self.config.nonlinearity == "relu" else total.tanh())
        return h, {"h": h}, {}

    def _mingru(self, layer: int, x: Tensor, before: Named, clamp: Clamp) -> tuple[Tensor, Named, Named]:
        block = f"blocks.{layer}"
        seen = torch.cat((before["past"], self._norm(f"{block}.norm", x)[:, None]), dim=1)  # (B, TAPS, H)
        mixed = (seen * self._weights[f"{block}.conv.weight"]).sum(1)
        gate, candidate = self._linear(f"{block}.gates", mixed).chunk(2, dim=1)
        z, candidate = gate.sigmoid(), log_g(candidate).exp()
        h = clamp(layer, "h", before["h"] + z * (candidate - before["h"]))
        x = x + h
        wide = self._linear(f"{block}.wide.up", self._norm(f"{block}.wide.norm", x))
        x = x + self._linear(f"{block}.wide.down", F.gelu(wide))
        return x, {"h": h, "past": seen[:, 1:]}, {"z": z, "h~": candidate}

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights.get(f"{name}.bias"))

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])
