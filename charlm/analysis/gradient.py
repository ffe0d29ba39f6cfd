"""Gradient through time: how strongly the loss at one token depends on the states many steps before it.

A training that follows this gradient back can only learn to keep what still has some. "The gradient vanishes"
(Hochreiter 1991; Bengio, Simard and Frasconi 1994) is a statement about this curve: here it is drawn.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from charlm.analysis.backpropagation import Node, Norms, batch_size, gradient_norms
from charlm.analysis.measurement import Measured, Progress, Subject, listed
from charlm.analysis.settings import INITIAL, NOW, GradientSettings
from charlm.analysis.unrolled import has_state, require_finite
from charlm.config import ARCH_NAMES
from charlm.errors import Halted, MeasurementError
from charlm.models import LanguageModel
from charlm.tokenizers import IdArray
from charlm.training.train import clone_for_eval

Settings = GradientSettings

HALF = 0.301  # decades, log10 2
RAISED = str.maketrans("-.0123456789", "⁻·⁰¹²³⁴⁵⁶⁷⁸⁹")  # digits of an exponent
BATCH = 16  # positions of a first picture, and of snapshots


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


def record(
    model: LanguageModel,
    ids: IdArray,
    positions: int = 8,
    lags: int = 64,
    warmup: int = 32,
    halted: Callable[[], bool] = lambda: False,
) -> Curves:
    """The curve of a model that is being trained: rougher, within a fraction of a second, and the model stays as it is.

    Args:
        model: any model with weights, in whichever mode, on whichever device; measured on the CPU.
        ids: of a text, (N,), at least warmup + lags + positions tokens; held out, so that dropout is no matter.
        positions, lags, warmup: see `Settings`.
        halted: asked every few steps; whether to break off.

    Raises:
        MeasurementError: as `measure`.
        Halted: `halted` said so.
    """
    settings = Settings(positions=positions, lags=lags, warmup=warmup)
    _require_weights(model)
    windows = _cut(ids, settings)
    require_finite(model)

    def on_cpu() -> LanguageModel:
        return model if model.device.type == "cpu" else clone_for_eval(model).to("cpu")

    measurement = _Measurement(NOW, on_cpu, windows, settings)
    with torch.random.fork_rng(devices=[]):  # a model that is cloned draws weights first
        for _ in measurement.go_on():
            if halted():
                raise Halted
    return measurement.curves()


def recorded(step: int, curves: Curves) -> dict[str, Any]:
    """What `record` found as a row of a run's log of gradients, in two decimals; see charlm/runs/gradients.py."""
    row: dict[str, Any] = {"step": step, "half_life": curves["half_life"]}
    for one in curves["rows"]:
        name = one["state"] if one["state"] == "input" else f"{one['state']}{one['layer']}"
        norm = one["log10_norm"]
        row.setdefault(name, []).append(None if norm is None else round(norm, 2))
    return row


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
    known = sorted(found, key=lambda one: one.result["half_life"] is None)  # those that halved come first
    halves = [_halved(one, number == 0 or one.unit != known[0].unit) for number, one in enumerate(known)]
    halved = "has halved" if known[0].result["half_life"] is not None else "has halved nowhere:"
    places = {f"{one.result['far']} {one.unit} back" for one in found}
    left = [_left(one, len(places) > 1) for one in found]
    where = places.pop() if len(places) == 1 else "further back"
    verb = "is" if len(found) == 1 else "are"
    at = known[0].result["at"]
    whose = {NOW: "The", INITIAL: "Before training, the"}.get(at) or f"At step {int(at):,}, the"
    return f"{whose} gradient of the loss {halved} {listed(halves)}; {where}, {listed(left)} of it {verb} left."


def _halved(one: Measured[Result], with_unit: bool) -> str:
    """`2 characters back in the LSTM`, or `2 in the LSTM`."""
    lag, longest = one.result["half_life"], one.result["rows"][-1]["lag"]
    if lag is None:
        return f"not within {longest} {one.unit} in {one.name}"
    unit = one.unit.removesuffix("s") if lag == 1 else one.unit
    return f"{lag} {unit} back in {one.name}" if with_unit else f"{lag} in {one.name}"


def _left(one: Measured[Result], with_place: bool) -> str:
    """`10⁻³·³`, or `10⁻³·³ (LSTM, 64 back)`."""
    decades = one.result["decades"]
    share = "none" if decades is None else "10" + f"{decades:.1f}".translate(RAISED)
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
        batch = batch_size(model, self.settings.lags)
        until, first = max(0, self.left - most) if most else 0, self.left
        while self.left > until:
            start = len(self.windows) - self.left
            part = self.windows[start : start + min(batch, self.left - until)]
            working = gradient_norms(model, part, self.settings.lags)
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
