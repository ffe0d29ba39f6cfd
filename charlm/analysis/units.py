"""The units of a trained model as it reads: their values, and what it predicts while some of them are clamped."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from charlm.analysis.unrolled import Clamp, Named, Unrolled
from charlm.config import ARCH_NAMES
from charlm.errors import MeasurementError
from charlm.models import LanguageModel, State
from charlm.models.mingru import MinGRUModel
from charlm.models.recurrent import RecurrentModel
from charlm.models.transformer import TransformerModel

Key = tuple[int, str]  # the layer, from 0 on, and the state's or gate's name


class Read(NamedTuple):
    """What a model computes of some tokens.

    Attributes:
        logits: (B, T, V).
        values: of the units after each token, (B, T, H), by layer and state.
        state: after the last token.
    """

    logits: Tensor
    values: dict[Key, Tensor]
    state: Any


@dataclass(frozen=True)
class Clamps:
    """Units of one state that are held at fixed values, each in a row of the batch.

    Attributes:
        layer, state: whose units.
        rows, units: (P,), which unit in which row.
        values: (P,), what it is held at.
    """

    layer: int
    state: str
    rows: Tensor
    units: Tensor
    values: Tensor

    def hold(self, x: Tensor) -> Tensor:
        """Values (B, H) or (B, T, H) with the units held."""
        held = x.clone()
        if x.dim() == 2:
            held[self.rows, self.units] = self.values
        else:
            held[self.rows, :, self.units] = self.values[:, None]
        return held


class Reader(Protocol):
    """Reads tokens with all units open.

    Attributes:
        keys: the states and gates that it has values of.
        block: tokens to read at a time: few, so that one can stop, and enough to amortise a call.
    """

    block: int

    @property
    def keys(self) -> Sequence[Key]: ...

    def begin(self, state: State) -> Any:
        """What `read` takes, of what the model's forward pass returns."""

    def read(self, ids: Tensor, state: Any, clamps: Clamps | None = None, keep: bool = True) -> Read:
        """Read ids (B, T) after a state.

        Args:
            ids: (B, T).
            state: before them.
            clamps: units that are held; None: none.
            keep: whether the values of the units are wanted.
        """


class HeldSteps(Unrolled):
    """The steps of a recurrent model in which units of a gate can be held, too.

    Attributes:
        clamps: what is held; None: nothing.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model, torch.float32)
        self.clamps: Clamps | None = None
        self._free, self._layer = self._layer, self._held

    def _held(self, layer: int, x: Tensor, before: Named, clamp: Clamp) -> tuple[Tensor, Named, Named]:
        """A layer's step; where a gate is held, once more with the state that follows from it."""
        clamps = self.clamps
        if clamps is None or layer != clamps.layer:
            return self._free(layer, x, before, clamp)
        if clamps.state in self.names:
            return self._free(layer, x, before, lambda _, name, v: clamps.hold(v) if name == clamps.state else v)
        *_, gates = self._free(layer, x, before, clamp)
        held = gates | {clamps.state: clamps.hold(gates[clamps.state])}
        if clamps.state == "r":  # on which the GRU's candidate depends
            from_x, from_h = (sums.chunk(3, dim=1)[2] for sums in self._sums(layer, x, before["h"]))
            held["n"] = (from_x + held["r"] * from_h).tanh()
        after = _after(before, held)
        top, after, _ = self._free(layer, x, before, lambda _, name, value: after[name])
        return top, after, held


def _after(before: Named, gates: Named) -> Named:
    """The states that follow from those before and from the gates."""
    if "f" in gates:
        c = gates["f"] * before["c"] + gates["i"] * gates["g"]
        return {"c": c, "h": gates["o"] * c.tanh()}
    if "n" in gates:
        return {"h": gates["n"] + gates["z"] * (before["h"] - gates["n"])}
    return {"h": before["h"] + gates["z"] * (gates["h~"] - before["h"])}


class StepReader:
    """The states and gates of a recurrent model, step by step; see Reader."""

    block = 8

    def __init__(self, model: LanguageModel) -> None:
        self._steps = HeldSteps(model)
        _, states, gates = self._steps.step(torch.zeros(1, dtype=torch.int64), self._steps.initial(1))
        self.keys = tuple((layer, name) for layer in range(len(states)) for name in (*self._steps.names, *gates[layer]))

    def begin(self, state: State) -> Any:
        return self._steps.states(state)

    @torch.no_grad()
    def read(self, ids: Tensor, state: Any, clamps: Clamps | None = None, keep: bool = True) -> Read:
        tops, values = [], []
        self._steps.clamps = clamps
        for column in ids.t():
            top, state, gates = self._steps.step(column, state)
            tops.append(top)
            if keep:
                values.append([(states | opened) for states, opened in zip(state, gates, strict=True)])
        keys = self.keys if keep else ()
        kept = {(layer, name): torch.stack([step[layer][name] for step in values], 1) for layer, name in keys}
        return Read(self._steps.logits(torch.stack(tops, 1)), kept, state)


class ResidualReader:
    """The residual stream of a Transformer behind each of its blocks, as state h; see Reader."""

    block = 64

    def __init__(self, model: TransformerModel) -> None:
        self._model = model
        self.keys = tuple((layer, "h") for layer in range(model.config.num_layers))

    def begin(self, state: State) -> Any:
        return state

    @torch.no_grad()
    def read(self, ids: Tensor, state: Any, clamps: Clamps | None = None, keep: bool = True) -> Read:
        values: dict[Key, Tensor] = {}
        with _watched(self._model.blocks, values, clamps):
            logits, state = self._model(ids, state)
        return Read(logits, values if keep else {}, state)


@contextmanager
def _watched(blocks: Any, values: dict[Key, Tensor], clamps: Clamps | None) -> Iterator[None]:
    """Keep what stands in the residual stream behind each block, and hold units of it meanwhile.

    A block's last part adds its result to its input: what it is held at is what the sum becomes.
    """
    parts: dict[int, list[Tensor]] = {layer: [] for layer in range(len(blocks))}

    def hook(layer: int) -> Any:
        def after(part: nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> Tensor | None:
            total = inputs[0] + result
            is_held = clamps is not None and layer == clamps.layer
            parts[layer].append(clamps.hold(total) if clamps and is_held else total)
            return parts[layer][-1] - inputs[0] if is_held else None

        return blocks[layer].wide.register_forward_hook(after)

    hooks = [hook(layer) for layer in range(len(blocks))]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()
    values |= {(layer, "h"): torch.cat(pieces, dim=1) for layer, pieces in parts.items()}


def reader_of(model: LanguageModel) -> Reader:
    """What reads with this model.

    Raises:
        MeasurementError: the architecture has no units.
    """
    model.eval()
    if isinstance(model, RecurrentModel | MinGRUModel):
        return StepReader(model)
    if isinstance(model, TransformerModel):
        return ResidualReader(model)
    name = ARCH_NAMES.get(model.config.arch, model.config.arch)
    raise MeasurementError(f"this model's architecture, {name}, has no units to look into; choose a neural network")
