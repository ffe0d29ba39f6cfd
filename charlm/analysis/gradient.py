"""Gradient through time: how strongly the loss at one token depends on the states many steps before it.

A training that follows this gradient back can only learn to keep what still has some. "The gradient vanishes"
(Hochreiter 1991; Bengio, Simard and Frasconi 1994) is a statement about this curve: here it is drawn.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.analysis.measurement import Measured, Progress, Subject
from charlm.analysis.settings import INITIAL, NOW, GradientSettings
from charlm.analysis.unrolled import Named, Unrolled, has_state, require_finite
from charlm.config import ARCH_NAMES, ARCHITECTURES
from charlm.errors import MeasurementError
from charlm.models import LanguageModel
from charlm.tokenizers import IdArray
from charlm.training.train import clone_for_eval

Settings = GradientSettings

HALF = 0.301  # decades, log10 2
BATCH = 16  # positions differentiated at a time; a first picture has so many
WHOLE_BATCH = 2  # of a model that is differentiated in one piece, with no chance to stop in between
SEGMENT = 16  # steps of a backward pass between two chances to stop
# Numbers of 8 bytes that a graph may keep, about 1.2 GB; wide layers have smaller batches.
MOST_NUMBERS, TENSORS = 150_000_000, 12


class Row(TypedDict):
    """A point of a curve; `log10_norm` is None where a gradient is exactly zero, `stderr` also at a single position."""

    state: str
    layer: int
    lag: int
    log10_norm: float | None
    stderr: float | None


class HalfLife(TypedDict):
    """The first lag at which the gradient of one state has halved; None: at none that was measured."""

    state: str
    layer: int
    half_life: int | None


class Curves(TypedDict):
    """The gradients of one set of weights.

    Attributes:
        at: now, initial, or the step of a snapshot.
        positions: how many places of the text the means are over.
        half_life: of the last layer's h; of the input, where that is all there is.
        half_lives: of every state and layer.
        far: a lag, as long as a training sequence or the last one that was measured.
        decades: log10 of the gradient there, less that at lag 0, of what `half_life` is of; None: there is none left.
        rows: in the order of state, layer, lag.
    """

    at: str
    positions: int
    half_life: int | None
    half_lives: list[HalfLife]
    far: int
    decades: float | None
    rows: list[Row]


class Result(Curves):
    """The gradients of a model, and beside them those of its initial weights and of kept snapshots, where known."""

    initial: Curves | None
    snapshots: list[Curves]


class Node(NamedTuple):
    """What a loss is differentiated by: h or c of a layer, or the input (layer 0)."""

    state: str
    layer: int


Norms = dict[Node, Tensor]  # log10 of the gradient's norms, (lags, positions), -inf for none
Working = Generator[float, None, Norms]  # yields which share is done


def measure(subject: Subject, settings: Settings) -> Iterator[Progress[Result]]:
    """The gradients, first of few positions, then of all, then those of the initial weights and of snapshots.

    Args:
        subject: any model with weights.
        settings: see there.

    Raises:
        MeasurementError: the model has no gradient, weights that are not finite, or not the weights asked for; or the
            text is too short.

    Source:
        Hochreiter 1991; Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio 2013.
    """
    windows = _windows(subject, settings)
    far = subject.seq_len
    main = _Measurement(settings.at, _weights(subject, settings.at), windows, settings, far)
    require_finite(main.open())
    beside = [
        _Measurement(at, _weights(subject, at), windows if at == INITIAL else windows[:BATCH], settings, far)
        for at in [*([INITIAL] if subject.initial else []), *map(str, subject.snapshots)]
        if at != settings.at
    ]
    initial = [one for one in beside if one.at == INITIAL]
    snapshots = [one for one in beside if one.at != INITIAL]
    jobs = [(main, BATCH), *((one, BATCH) for one in initial), (main, None), *((one, None) for one in beside)]
    total, done = sum(len(one.windows) for one in (main, *beside)), 0.0
    for measurement, most in jobs:
        before = len(measurement.windows) - measurement.left
        try:
            for count in measurement.go_on(most):
                yield Progress(min(0.999, (done + count) / total))
        except MeasurementError:
            if measurement is main:
                raise
            measurement.give_up()  # weights of a step at which the training had diverged
        done += len(measurement.windows) - measurement.left - before
        result = _result(main, initial, snapshots)
        yield Progress(min(0.999, done / total), result)
    yield Progress(1.0, result)


def record(model: LanguageModel, ids: IdArray, positions: int = 4, lags: int = 64, warmup: int = 32) -> Curves:
    """The curve of a model that is being trained: rougher, within a fraction of a second, and the model stays as it is.

    Args:
        model: any model with weights, in whichever mode.
        ids: of a text, (N,), at least warmup + lags + positions tokens; held out, so that dropout is no matter.
        positions, lags, warmup: see `Settings`.

    Raises:
        MeasurementError: as `measure`.
    """
    settings = Settings(positions=positions, lags=lags, warmup=warmup)
    _require_weights(model)
    require_finite(model)
    measurement = _Measurement(NOW, lambda: model, _cut(ids, settings), settings)
    for _ in measurement.go_on():
        pass
    return measurement.curves()


def half_life(rows: Sequence[Row]) -> int | None:
    """The first lag whose gradient is half that of lag 0 or less, of the rows of one state; None: no lag has."""
    start = rows[0]["log10_norm"]
    for row in rows:
        if start is not None and row["log10_norm"] is not None and row["log10_norm"] <= start - HALF:
            return row["lag"]
    return None


def finding(found: Sequence[Measured[Result]]) -> str:
    """How far back the gradient halves in each model, and what is left of it far back, in one sentence."""
    if not found:
        return ""
    halves = [_halved(one, number == 0 or one.unit != found[0].unit) for number, one in enumerate(found)]
    places = {f"{one.result['far']} {one.unit} back" for one in found}
    left = [_left(one, len(places) > 1) for one in found]
    where = places.pop() if len(places) == 1 else "further back"
    verb = "is" if len(found) == 1 else "are"
    return f"The gradient of the loss has halved {_listed(halves)}; {where}, {_listed(left)} of it {verb} left."


def _halved(one: Measured[Result], with_unit: bool) -> str:
    """`2 characters back in the LSTM`, or `2 in the LSTM`."""
    lag, longest = one.result["half_life"], one.result["rows"][-1]["lag"]
    if lag is None:
        return f"not within {longest} {one.unit} in the {one.label}"
    unit = one.unit.removesuffix("s") if lag == 1 else one.unit
    return f"{lag} {unit} back in the {one.label}" if with_unit else f"{lag} in the {one.label}"


def _left(one: Measured[Result], with_place: bool) -> str:
    """`10^-3.3`, or `10^-3.3 (LSTM, 64 back)`."""
    decades = one.result["decades"]
    share = "none" if decades is None else f"10^{decades:.1f}"
    return f"{share} ({one.label}, {one.result['far']} back)" if with_place else share


def rows(result: Result) -> list[dict[str, Any]]:
    """All points of all curves, with the weights they are of."""
    initial = result["initial"]
    curves: list[Curves] = [result, *([initial] if initial else []), *result["snapshots"]]
    return [{"at": curve["at"], **row} for curve in curves for row in curve["rows"]]


def main_node(nodes: Sequence[Node]) -> Node:
    """The one that `half_life` is of: the last layer's h, else the input."""
    return max(nodes, key=lambda node: (node.state == "h", node.layer))


class _Measurement:
    """The gradients of one set of weights, as far as they are measured.

    Args:
        at: what to call the weights.
        open: makes the model.
        windows: (positions, warmup + lags + 1) ids.
        settings: see `Settings`.
        far: the lag of `Curves.far`; 0: the last one.

    Attributes:
        left: positions that are still to be measured.
    """

    def __init__(
        self, at: str, open: Callable[[], LanguageModel], windows: Tensor, settings: Settings, far: int = 0
    ) -> None:
        self.at, self.open, self.windows, self.settings, self.far = at, open, windows, settings, far
        self.left = len(windows)
        self._norms: list[Norms] = []

    def go_on(self, most: int | None = None) -> Iterator[float]:
        """Measure `most` more positions; None: all that are left. Yields how many are done, with fractions."""
        model = self.open()
        batch = _batch(model, self.settings)
        until, first = max(0, self.left - most) if most else 0, self.left
        while self.left > until:
            start = len(self.windows) - self.left
            part = self.windows[start : start + min(batch, self.left - until)]
            working = (_states if has_state(model) else _inputs)(model, part, self.settings)
            while True:
                try:
                    share = next(working)
                except StopIteration as end:
                    self._norms.append(end.value)
                    break
                yield first - self.left + share * len(part)
            self.left -= len(part)

    def curves(self) -> Curves:
        """What is measured so far."""
        by_node = {
            node: _points(node, torch.cat([norms[node] for norms in self._norms], dim=1)) for node in self._norms[0]
        }
        main = by_node[main_node(list(by_node))]
        far = min(self.far or len(main), len(main) - 1)
        ends = main[0]["log10_norm"], main[far]["log10_norm"]
        return {
            "at": self.at,
            "positions": len(self.windows) - self.left,
            "half_life": half_life(main),
            "half_lives": [
                {"state": node.state, "layer": node.layer, "half_life": half_life(found)}
                for node, found in by_node.items()
            ],
            "far": far,
            "decades": None if ends[0] is None or ends[1] is None else round(ends[1] - ends[0], 5),
            "rows": [row for found in by_node.values() for row in found],
        }

    def give_up(self) -> None:
        """These weights have no gradient that could be shown."""
        self.left, self._norms = 0, []

    @property
    def is_started(self) -> bool:
        """Whether there is anything to show."""
        return bool(self._norms)


def _result(main: _Measurement, initial: Sequence[_Measurement], snapshots: Sequence[_Measurement]) -> Result:
    first = next((one.curves() for one in initial if one.is_started), None)
    return {**main.curves(), "initial": first, "snapshots": [one.curves() for one in snapshots if one.is_started]}


def _points(node: Node, norms: Tensor) -> list[Row]:
    """The rows of one state.

    Args:
        node: which.
        norms: (lags, positions).
    """
    count = norms.shape[1]
    means = norms.mean(1).tolist()
    errors = (norms.std(1) / math.sqrt(count)).tolist() if count > 1 else [math.nan] * len(means)

    def finite(value: float) -> float | None:
        return round(value, 5) if math.isfinite(value) else None

    return [
        {**node._asdict(), "lag": lag, "log10_norm": finite(mean), "stderr": finite(error)}  # type: ignore[typeddict-item]
        for lag, (mean, error) in enumerate(zip(means, errors, strict=True))
    ]


def _states(model: LanguageModel, windows: Tensor, settings: Settings) -> Working:
    """The gradients by states and inputs of a recurrent model.

    The graph is differentiated from its end in segments. Where two meet, the gradients of a position are divided by
    their largest number, which is kept apart: nothing underflows, however many steps they go back.
    """
    unrolled, lags = Unrolled(model), settings.lags
    read, target = windows[:, :-1].t(), windows[:, -1]  # (T, B)
    states = unrolled.initial(len(target))
    with torch.no_grad():
        for number, ids in enumerate(read[: settings.warmup - 1]):
            states = unrolled.step(ids, states)[1]
            if number % SEGMENT == 0:
                yield 0.1 * number / settings.warmup
    # The step before the first one that counts belongs to the graph: there the layers above read the first states.
    segments, top = [], torch.empty(0)
    for start in range(settings.warmup - 1, len(read), SEGMENT):
        segment = _Segment(unrolled, states, read[start : start + SEGMENT])
        segments.append(segment)
        states, top = segment.nodes[-1], segment.top
        yield 0.1 + 0.3 * (start + 1 - settings.warmup) / lags
    loss = _loss(unrolled.logits(top), target)
    found: dict[Node, list[Tensor]] = {Node(name, layer): [] for name in unrolled.names for layer in range(len(states))}
    found[Node("input", 0)] = []
    outputs, grads, decades = [loss], [torch.ones_like(loss)], torch.zeros(len(target), dtype=torch.float64)
    for number in reversed(range(len(segments))):
        is_last = outputs[0] is loss
        carried = segments[number].differentiate(outputs, grads, is_last, decades, found)
        largest = torch.stack([grad.flatten(1).abs().amax(1) for grad in carried]).amax(0)
        largest = torch.where(largest > 0, largest, 1.0)
        decades = decades + largest.log10()
        grads = [grad / largest.view(-1, *[1] * (grad.dim() - 1)) for grad in carried]
        outputs = [] if number == 0 else list(_flat(segments[number - 1].nodes[-1]))
        segments.pop()
        yield 1.0 - 0.6 * number / max(1, lags // SEGMENT)
    return {node: torch.stack(values[:lags]) for node, values in found.items()}


class _Segment:
    """Some steps of an unrolled model, cut off from those before.

    Args:
        unrolled: the model.
        states: before the first step.
        ids: (steps, B).

    Attributes:
        nodes: the states after each step.
        top: after the last step, the input of the logits.
    """

    def __init__(self, unrolled: Unrolled, states: Sequence[Named], ids: Tensor) -> None:
        self._names, self._steps = unrolled.names, len(ids)
        self._leaves = [{name: part.detach().requires_grad_() for name, part in layer.items()} for layer in states]
        self._inputs = [unrolled.embed(row).requires_grad_() for row in ids]
        self.nodes: list[list[Named]] = []
        after: Sequence[Named] = self._leaves
        for x in self._inputs:
            self.top, after, _ = unrolled.step(x, after)
            self.nodes.append(list(after))

    def differentiate(
        self,
        outputs: list[Tensor],
        grads: list[Tensor],
        is_last: bool,
        decades: Tensor,
        found: dict[Node, list[Tensor]],
    ) -> list[Tensor]:
        """The gradients by the states before the first step.

        Args:
            outputs, grads: the states after the last step, and their gradients; of the last segment, the loss.
            is_last: whether the last step is the loss's own, so that the states after it are no node.
            decades: (B,), to be added to the logarithms.
            found: the norms at all nodes are added to its lists, those of the last steps first.
        """
        nodes = self.nodes[: -1 if is_last else None]
        wanted = [*_flat(self._leaves), *self._inputs]
        for states in nodes:
            wanted += _flat(states)
        grads = list(torch.autograd.grad(outputs, wanted, grads))
        carried = grads[: sum(map(len, self._leaves))]
        inputs = grads[len(carried) : len(carried) + self._steps]
        found[Node("input", 0)] += [_log_norm(grad, decades) for grad in reversed(inputs)]
        at_nodes = iter(grads[len(carried) + self._steps :])
        by_node: dict[Node, list[Tensor]] = {}
        for states in nodes:
            for layer, named in enumerate(states):
                for name in named:
                    grad = next(at_nodes)
                    if name in self._names:
                        by_node.setdefault(Node(name, layer), []).append(_log_norm(grad, decades))
        for node, values in by_node.items():
            found[node] += reversed(values)
        return carried


def _flat(states: Sequence[Named]) -> list[Tensor]:
    """The tensors of all layers."""
    return [part for layer in states for part in layer.values()]


def _inputs(model: LanguageModel, windows: Tensor, settings: Settings) -> Working:
    """The gradients by the embedding's output, of a model of any kind."""
    double = clone_for_eval(model).double()
    embed: Any = double.embed
    lags, taken = _lags(model, settings), []

    def leaf(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        taken.append(output.detach().requires_grad_())
        return taken[-1]

    before, read, target = windows[:, : -1 - lags], windows[:, -1 - lags : -1], windows[:, -1]
    with torch.no_grad():
        _, state = double(before)
    yield 0.2
    handle = embed.register_forward_hook(leaf)
    try:
        logits, _ = double(read, state)
    finally:
        handle.remove()
    yield 0.5
    grads = torch.autograd.grad(_loss(logits[:, -1], target), taken[0])[0]  # (B, lags, E)
    zero = torch.zeros(len(target), dtype=torch.float64)
    return {Node("input", 0): torch.stack([_log_norm(grad, zero) for grad in grads.flip(1).unbind(1)])}


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum over positions, each of which is a function of its own row alone."""
    loss = F.cross_entropy(logits, targets, reduction="sum")
    if not bool(torch.isfinite(loss)):
        raise MeasurementError("the model's logits on this text are not finite numbers: its states grow without limit")
    return loss


def _log_norm(grad: Tensor, decades: Tensor) -> Tensor:
    """log10 of the norm of each row of (B, ..), plus `decades` (B,); scaled, so that no square underflows."""
    largest = grad.abs().amax(1, keepdim=True)
    scaled = grad / torch.where(largest > 0, largest, 1.0)
    norms: Tensor = torch.linalg.vector_norm(scaled, dim=1)
    return largest[:, 0].log10() + norms.clamp(min=1.0).log10() + decades


def _lags(model: LanguageModel, settings: Settings) -> int:
    """How many lags can be measured: of a Transformer, those that its layers' contexts together reach."""
    config = model.config
    reach = config.num_layers * config.window + 1 if ARCHITECTURES[config.arch].attends else settings.lags
    return min(settings.lags, reach)


def _batch(model: LanguageModel, settings: Settings) -> int:
    """How many positions are differentiated at a time, as memory and the chance to stop allow."""
    config = model.config
    most = BATCH if has_state(model) else WHOLE_BATCH
    numbers = config.num_layers * config.hidden_size * TENSORS + (config.embed_dim or config.vocab_size)
    return max(1, min(most, MOST_NUMBERS // (numbers * settings.lags)))


def _weights(subject: Subject, at: str) -> Callable[[], LanguageModel]:
    """What opens the weights of a step.

    Raises:
        MeasurementError: they are not known.
    """
    if at == NOW:
        return lambda: subject.model
    if at == INITIAL and subject.initial:
        return subject.initial
    if at != INITIAL and subject.at and int(at) in subject.snapshots:
        step, opened = int(at), subject.at
        return lambda: opened(step)
    kept = ", ".join([NOW, *([INITIAL] if subject.initial else []), *map(str, subject.snapshots)])
    raise MeasurementError(f"this model's weights at {at} are not kept; those that are: {kept}")


def _windows(subject: Subject, settings: Settings) -> Tensor:
    """See `_cut`.

    Raises:
        MeasurementError: the text is too short, or the model has no gradient.
    """
    _require_weights(subject.model)
    return _cut(subject.ids, settings)


def _require_weights(model: LanguageModel) -> None:
    arch = model.config.arch
    if model.config.is_counted:
        raise MeasurementError(
            f"an {ARCH_NAMES[arch]} has no gradient: it counts tokens, and no loss is differentiated when it is made"
        )
    if not has_state(model) and not isinstance(getattr(model, "embed", None), nn.Embedding):
        raise MeasurementError(f"the architecture {ARCH_NAMES[arch]} has no embedding to differentiate by")


def _cut(ids: IdArray, settings: Settings) -> Tensor:
    """The ids around each position, (positions, warmup + lags + 1), the last one of which is the loss's target.

    The positions are evenly spaced; they come in an order in which the first few are spread over the text.
    """
    length = settings.warmup + settings.lags + 1
    places = len(ids) - length + 1
    if places < settings.positions:
        needed = length - 1 + settings.positions
        raise MeasurementError(
            f"the text has {len(ids):,} tokens and the gradient needs {needed:,}: {settings.warmup} to warm up, "
            f"{settings.lags} lags and {settings.positions} positions; take a longer text or fewer lags"
        )
    starts = np.linspace(0, places - 1, settings.positions).astype(np.int64)
    stride = math.ceil(len(starts) / BATCH)
    order = np.concatenate([starts[first::stride] for first in range(stride)])
    return torch.from_numpy(np.stack([ids[start : start + length] for start in order]).astype(np.int64))


def _listed(parts: Sequence[str]) -> str:
    """Parts of a sentence: a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
