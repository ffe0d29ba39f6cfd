"""The dynamics of a recurrent model along a text: how long its units keep, and whether its states forget their start.

Time scales and saturation come from the gates' own values; spectral radii from the weights alone; the Lyapunov exponent
from both: it is what the trained model does with a small change of its state while it reads.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from charlm.analysis.measurement import Measured, Progress, Subject, listed
from charlm.analysis.settings import LEAST_READ, DynamicsSettings
from charlm.analysis.unrolled import Named, Unrolled, has_state, require_finite
from charlm.config import ARCH_NAMES, ModelConfig
from charlm.errors import MeasurementError
from charlm.tokenizers import IdArray

Settings = DynamicsSettings

BINS = 10
LOW, HIGH = 0.1, 0.9  # a gate is closed below, and open above (Karpathy, Johnson and Fei-Fei 2015)
LONGEST = 1e6  # tokens, of a time scale; a gate of exactly 1 would have an infinite one
LANES = 16  # places of the text that are read at a time
CHANGE = 1e-7  # of a state, relative to its size: what two trajectories differ by at the start of every step
BLOCK = 64  # tokens between two results
INDEPENDENT = 256  # tokens of a place whose mean growth is one sample of the interval: that of neighbours is alike
SMALLEST = 1e-8  # of a gate: 0 has no logarithm
MOST_UNITS = 2048  # of a matrix whose eigenvalues are computed
NORMAL_95 = 1.96  # standard errors on each side
# The gate that says how much of a unit's past is kept, and the gates that lie between 0 and 1; of an RNN, its state.
KEEPING = {"lstm": "f", "gru": "z", "mingru": "z"}
GATES = {"lstm": "ifo", "gru": "rz", "mingru": "z", "rnn": "h"}


class Unit(TypedDict):
    """A unit of a layer.

    Attributes:
        layer, unit: from 0.
        time_scale: tokens, -1 / mean(ln r); None: it has no gate.
        low, high: shares of the tokens at which its gate is below 0.1, and above 0.9.
        histogram: shares of the tokens in BINS equal bins of the gate's values.
    """

    layer: int
    unit: int
    time_scale: float | None
    low: float
    high: float
    histogram: list[float]


class Gate(TypedDict):
    """All units of a gate of a layer; `low`, `high` and `histogram` as of a Unit, their means."""

    layer: int
    gate: str
    low: float
    high: float
    histogram: list[float]


class Matrix(TypedDict):
    """The recurrent matrix of a gate.

    Attributes:
        layer, gate: which; `h` of an RNN.
        radius: the largest absolute eigenvalue; None: too large a matrix.
        norm: the largest singular value.
    """

    layer: int
    gate: str
    radius: float | None
    norm: float


class LayerScale(TypedDict):
    """Quantiles of a layer's time scales, in tokens; None: no gates."""

    layer: int
    median: float | None
    slowest_tenth: float | None
    longest: float | None


class Result(TypedDict):
    """What is found of a model.

    Attributes:
        tokens: over which all but the matrices was measured.
        lyapunov: the largest conditional exponent, nats per token; None: a small change is gone at once.
        interval: of 95 %, over blocks; None with it.
        layers: time scales.
        gates: by layer.
        matrices: by layer; none of a minGRU, whose gates do not read its state.
        units: all of them, by layer.
    """

    tokens: int
    lyapunov: float | None
    interval: list[float] | None
    layers: list[LayerScale]
    gates: list[Gate]
    matrices: list[Matrix]
    units: list[Unit]


def measure(subject: Subject, settings: Settings) -> Iterator[Progress[Result]]:
    """The dynamics, first over a short piece of the text, then with the matrices, then over all of it.

    Args:
        subject: a recurrent model.
        settings: see there.

    Raises:
        MeasurementError: the model has no recurrent state, or weights that are not finite; or the text is too short.

    Source:
        Time scales: Tallec and Ollivier 2018. Saturation: Karpathy, Johnson and Fei-Fei 2015. Exponent: Benettin et
        al. 1980; along an input, Pecora and Carroll 1991.
    """
    _require_state(subject)
    require_finite(subject.model)
    unrolled = Unrolled(subject.model)
    lanes = _lanes(subject.ids, settings)
    reading = _Reading(unrolled, lanes[0].shape[0], settings.seed)
    matrices: list[Matrix] = []
    steps, done = len(lanes), 0
    pending = [(layer, *pair) for layer in range(unrolled.config.num_layers)
               for pair in unrolled.recurrent_matrices(layer).items()]  # fmt: skip
    total = steps + BLOCK * len(pending)  # a matrix takes about as long as a block
    for number, ids in enumerate(lanes):
        reading.step(ids, counts=number >= settings.warmup)
        done += 1
        if number < settings.warmup or (number + 1 - settings.warmup) % BLOCK:
            if number % 8 == 0:
                yield Progress(min(0.999, done / total))
            continue
        yield Progress(min(0.999, done / total), reading.result(matrices))
        while pending:
            layer, gate, matrix = pending.pop(0)
            matrices.append(_matrix(layer, gate, matrix))
            done += BLOCK
            yield Progress(min(0.999, done / total))
    yield Progress(1.0, reading.result(matrices))


def finding(found: Sequence[Measured[Result]]) -> str:
    """The exponents and the median time scales, in one sentence."""
    if not found:
        return ""
    exponents = [f"{_exponent(one.result)} in {one.name}" for one in found]
    scaled = [(one, one.result["layers"][-1]["median"]) for one in found]
    scales = [f"{median:.1f} {one.unit} in {one.name}" for one, median in scaled if median is not None]
    units = {one.unit.removesuffix("s") for one in found}
    per = units.pop() if len(units) == 1 else "token"
    first = f"The largest Lyapunov exponent per {per} is {listed(exponents)}"
    if not scales:
        return f"{first}."
    return f"{first}; half of the last layer's units have a time scale of at least {listed(scales)}."


def rows(result: Result) -> list[dict[str, Any]]:
    """The model, its gates with their matrices, and its units, one a row; what does not apply is None."""
    columns = ("of", "layer", "gate", "unit", "time_scale", "low", "high", "radius", "norm", "lyapunov")
    matrices = {(matrix["layer"], matrix["gate"]): matrix for matrix in result["matrices"]}
    gates = {(gate["layer"], gate["gate"]): gate for gate in result["gates"]}
    table: list[dict[str, Any]] = [{"of": "model", "lyapunov": result["lyapunov"]}]
    for layer, gate in sorted(gates.keys() | matrices.keys()):
        parts: list[Any] = [gates.get((layer, gate), {}), matrices.get((layer, gate), {})]
        table.append({"of": "gate", "layer": layer, "gate": gate, **parts[0], **parts[1]})
    table += [{"of": "unit", **unit} for unit in result["units"]]
    return [{name: row.get(name) for name in columns} for row in table]


class _Reading:
    """A text being read at several places at once, from a state and from one that differs by a small change of it.

    Args:
        unrolled: the model.
        lanes: places.
        seed: of the first change.
    """

    def __init__(self, unrolled: Unrolled, lanes: int, seed: int) -> None:
        self._unrolled, self._lanes = unrolled, lanes
        generator = torch.Generator().manual_seed(seed)
        self._states = unrolled.initial(2 * lanes)  # with the change, below those without
        for layer in self._states:
            for part in layer.values():
                part[lanes:].normal_(generator=generator)
        self._size = torch.ones(lanes, dtype=torch.float64)
        self._growth: list[Tensor] = []  # (lanes,) of each step that counts
        self._gates: dict[tuple[int, str], _Values] = {}
        self._scale()

    @torch.no_grad()
    def step(self, ids: Tensor, counts: bool) -> None:
        """Read a token at each place.

        Args:
            ids: (lanes,).
            counts: whether the warm-up is over.
        """
        _, self._states, gates = self._unrolled.step(ids.repeat(2), self._states)
        growth = self._scale()
        if counts:
            self._growth.append(growth)
            config = self._unrolled.config
            for layer, (opened, states) in enumerate(zip(gates, self._states, strict=True)):
                for gate in GATES[config.arch]:
                    values = (_unit_range(config, states) if gate == "h" else opened[gate])[: self._lanes]
                    self._gates.setdefault((layer, gate), _Values(values.shape[1])).add(values)

    def _scale(self) -> Tensor:
        """Bring the change back to its size before the step (Benettin et al.); the log of its growth, (lanes,)."""
        parts = [part for layer in self._states for part in layer.values()]
        plain = [part[: self._lanes] for part in parts]
        changes = [part[self._lanes :] - part[: self._lanes] for part in parts]
        length, size = _length(changes), _length(plain)
        if not bool(torch.isfinite(length + size).all()):
            raise MeasurementError("the model's states on this text are not finite numbers: they grow without limit")
        growth = (length / self._size).log()
        self._size = CHANGE * (1 + size)
        factor = self._size / torch.where(length > 0, length, 1.0)
        for part, state, change in zip(parts, plain, changes, strict=True):
            part[self._lanes :] = state + change * factor.view(-1, *[1] * (part.dim() - 1))
        return growth

    def result(self, matrices: Sequence[Matrix]) -> Result:
        """What is found so far; at least one block of tokens has been read."""
        arch, count = self._unrolled.config.arch, self._unrolled.config.num_layers
        keeping = KEEPING.get(arch, "h")
        units: list[Unit] = []
        layers: list[LayerScale] = []
        for layer in range(count):
            values = self._gates[layer, keeping]
            scales = values.time_scales(kept_is_rest=arch == "mingru") if arch in KEEPING else None
            layers.append(_layer_scale(layer, scales))
            units += values.units(layer, scales)
        exponent, interval = self._exponent()
        return {
            "tokens": len(self._growth) * len(self._growth[0]),
            "lyapunov": exponent,
            "interval": interval,
            "layers": layers,
            "gates": [values.gate(layer, gate) for (layer, gate), values in sorted(self._gates.items())],
            "matrices": list(matrices),
            "units": units,
        }

    def _exponent(self) -> tuple[float | None, list[float] | None]:
        """The mean growth a token, and its interval over blocks."""
        growth = torch.stack(self._growth)  # (T, lanes)
        length = min(INDEPENDENT, len(growth))
        blocks = growth[: len(growth) // length * length].unflatten(0, (-1, length)).mean(1).flatten()
        if not bool(torch.isfinite(blocks).all()):
            return None, None
        mean = float(growth.mean())
        error = NORMAL_95 * float(blocks.std()) / math.sqrt(len(blocks)) if len(blocks) > 1 else math.inf
        interval = [round(mean - error, 5), round(mean + error, 5)] if math.isfinite(error) else None
        return round(mean, 5), interval


class _Values:
    """Sums over the values of a layer's gate, by unit."""

    def __init__(self, units: int) -> None:
        self._count = 0
        self._low, self._high, self._log, self._log_rest = (torch.zeros(units, dtype=torch.float64) for _ in range(4))
        self._bins = torch.zeros(units, BINS, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Values (lanes, H), 0 to 1."""
        self._count += len(values)
        self._low += (values < LOW).sum(0)
        self._high += (values > HIGH).sum(0)
        self._log += values.clamp(min=SMALLEST).log().sum(0)
        self._log_rest += (1 - values).clamp(min=SMALLEST).log().sum(0)
        places = (values * BINS).long().clamp(0, BINS - 1).t()
        self._bins.scatter_add_(1, places, torch.ones_like(places, dtype=torch.float64))

    def time_scales(self, kept_is_rest: bool) -> np.ndarray[Any, Any]:
        """-1 / mean(ln r) of each unit, (H,), where r is the gate, or 1 - the gate."""
        means = (self._log_rest if kept_is_rest else self._log) / self._count
        scales: np.ndarray[Any, Any] = (-1 / means.clamp(max=-1 / LONGEST)).numpy()
        return scales

    def units(self, layer: int, scales: np.ndarray[Any, Any] | None) -> list[Unit]:
        """Every unit of the layer."""
        low, high, bins = (self._share(sums) for sums in (self._low, self._high, self._bins))
        return [
            {"layer": layer, "unit": unit, "time_scale": None if scales is None else _rounded(float(scales[unit])),
             "low": low[unit], "high": high[unit], "histogram": bins[unit]}
            for unit in range(len(low))
        ]  # fmt: skip

    def gate(self, layer: int, gate: str) -> Gate:
        """All units together."""
        low, high, bins = (self._share(sums.mean(0)) for sums in (self._low, self._high, self._bins))
        return {"layer": layer, "gate": gate, "low": low, "high": high, "histogram": bins}

    def _share(self, sums: Tensor) -> Any:
        return (sums / self._count).numpy().round(4).tolist()


def _length(parts: Sequence[Tensor]) -> Tensor:
    """The norm over all tensors (lanes, ..) of a place, (lanes,)."""
    length: Tensor = torch.linalg.vector_norm(torch.cat([part.flatten(1) for part in parts], dim=1), dim=1)
    return length


def _layer_scale(layer: int, scales: np.ndarray[Any, Any] | None) -> LayerScale:
    if scales is None:
        return {"layer": layer, "median": None, "slowest_tenth": None, "longest": None}
    median, tenth, longest = (_rounded(float(scale)) for scale in np.quantile(scales, (0.5, 0.9, 1.0)))
    return {"layer": layer, "median": median, "slowest_tenth": tenth, "longest": longest}


def _unit_range(config: ModelConfig, states: Named) -> Tensor:
    """An RNN's h as numbers from 0 to 1: tanh from -1 to 1, relu from 0 to 1, where what is above counts as 1."""
    h = states["h"]
    return h.clamp(max=1.0) if config.nonlinearity == "relu" else (h + 1) / 2


def _matrix(layer: int, gate: str, matrix: Tensor) -> Matrix:
    radius = float(torch.linalg.eigvals(matrix).abs().max()) if len(matrix) <= MOST_UNITS else None
    norm = float(torch.linalg.matrix_norm(matrix, 2))
    return {"layer": layer, "gate": gate, "radius": None if radius is None else round(radius, 4),
            "norm": round(norm, 4)}  # fmt: skip


def _require_state(subject: Subject) -> None:
    arch = subject.model.config.arch
    if has_state(subject.model):
        return
    name = ARCH_NAMES[arch]
    if subject.model.config.is_counted:
        reason = "it looks its last tokens up in a table of counts"
    else:
        reason = "it reads its last tokens anew at each step"
    raise MeasurementError(f"the {name} has no dynamics: it carries no recurrent state from token to token, {reason}")


def _lanes(ids: IdArray, settings: Settings) -> Sequence[Tensor]:
    """The ids to read at each step, (lanes,) each, of places of the text that do not overlap.

    There are up to LANES of them, fewer where the text would otherwise not have enough tokens.
    """
    lengths = {}
    for lanes in range(LANES, 0, -1):
        most = math.ceil(settings.tokens / lanes / BLOCK) * BLOCK
        lengths[lanes] = min(most, (len(ids) // lanes - settings.warmup) // BLOCK * BLOCK)
        if lengths[lanes] * lanes >= settings.tokens:
            break
    lanes = max(lengths, key=lambda count: lengths[count] * count)
    if lengths[lanes] * lanes < LEAST_READ:
        needed = math.ceil(LEAST_READ / BLOCK) * BLOCK + settings.warmup
        raise MeasurementError(
            f"the text has {len(ids):,} tokens and the dynamics need {needed:,}, {settings.warmup} of them to warm up; "
            "take a longer text"
        )
    steps = settings.warmup + lengths[lanes]
    starts = np.linspace(0, len(ids) - steps, lanes).astype(np.int64)
    return list(torch.from_numpy(np.stack([ids[start : start + steps] for start in starts]).astype(np.int64)).t())


def _rounded(scale: float) -> float:
    """In five digits."""
    return float(f"{scale:.5g}")


def _exponent(result: Result) -> str:
    exponent = result["lyapunov"]
    return "minus infinity" if exponent is None else f"{exponent:.3f}"
