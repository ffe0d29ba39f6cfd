"""Neurons: which unit of a model follows what in a text, and what its predictions lose without that unit."""

from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.analysis.labels import LABELS, label_tokens
from charlm.analysis.measurement import Measured, Progress, Subject, capital, listed
from charlm.analysis.settings import ANY, NeuronsSettings
from charlm.analysis.units import Clamps, Key, Reader, reader_of
from charlm.config import SampleConfig
from charlm.errors import MeasurementError
from charlm.generation.sampling import choose
from charlm.generation.streams import banned_ids
from charlm.models import State

Settings = NeuronsSettings

PIECES, MOST_ROWS = 32, 64  # pieces of the text that are read beside each other; and rows of a batch
WARM_UP = 500  # tokens that a model reads before a piece
MOST_TEXT = 400_000  # tokens of the text that the pieces are spread over
MOST_NUMBERS, MOST_LOGITS = 60_000_000, 8_000_000  # values kept of all units; logits at a time
LEAST_TOKENS = 400  # of all pieces together
LEAST_PLACES = 20  # of a label, and of all others, in each half
TOP = 10  # units kept of each label
BINS, REACH = 2048, 5.0  # of a unit's values while units are ranked; standard deviations that they reach to
CONSIDERED = 20  # units of each state, layer and label whose ranks are computed exactly
RANDOM_UNITS, SETTLING = 20, 16  # tokens after the start of a clamp until losses count
PASSAGE, PASSAGE_ROWS = 1500, 8  # tokens shown; pieces that they are read in
PROMPT, AFTER, WRITTEN = 64, 8, 300  # tokens of the prompt, of those after the label's place began, of each text
FOLLOWS = {"auroc": 0.7, "spearman": 0.3}  # the score from which on a unit is said to follow a label
SAMPLING = SampleConfig(temperature=0.8)

Array = np.ndarray[Any, Any]


class Unit(TypedDict):
    """A unit and how well it follows a label.

    Attributes:
        layer, unit: from 0 on.
        state: h or c, or a gate.
        sign: 1 if it rises where the label holds, or with the number; -1 if it falls.
        found: its score on the first half, where units were ranked and signs were found.
        score: on the second half: AUROC of a label that holds or not, Spearman's correlation with a number, both of the
            unit times its sign.
    """

    layer: int
    state: str
    unit: int
    sign: int
    found: float
    score: float


class LabelTable(TypedDict):
    """The units that follow a label best.

    Attributes:
        label: its name.
        measure: auroc or spearman.
        places: tokens of the second half where it holds; of a number: where it is above its median.
        units: the best first.
    """

    label: str
    measure: str
    places: int
    units: list[Unit]


class LeftOut(TypedDict):
    """A label that the text has too little of, and why."""

    label: str
    why: str


class Clamped(TypedDict):
    """What the loss of the next token gains, in nats, while a unit is held at its mean.

    Attributes:
        unit: from 0 on.
        there: after the label's places, on average.
        elsewhere: after all others.
    """

    unit: int
    there: float
    elsewhere: float


class Causal(TypedDict):
    """The test whether a unit matters where its label holds.

    Attributes:
        mean: of the unit on the first half, at which it was held.
        there, elsewhere: see Clamped.
        places, others: how many tokens these are means over.
        random: other units of the same state and layer, each held at its own mean.
        as_much: how many of these cost as much there, or more.
    """

    mean: float
    there: float
    elsewhere: float
    places: int
    others: int
    random: list[Clamped]
    as_much: int


class Texts(TypedDict):
    """What the model writes with the unit and without it, from the same prompt and random numbers.

    Attributes:
        prompt: from the second half, up to a place where the label holds.
        seed: of the random numbers.
        free: the text with the unit as it is.
        clamped: with the unit held at its mean.
    """

    prompt: str
    seed: int
    free: str
    clamped: str


class Neurons(TypedDict):
    """What was found of a model's units.

    Attributes:
        tokens: that were read, both halves together.
        label: what the unit follows.
        measure: auroc or spearman.
        chosen: the unit.
        pieces: what each token of a passage of the second half adds to the text, (P,).
        values: of the unit after each of them, (P,).
        holds: whether the label holds after each of them; of a number: whether it is above its median.
        mean: of the unit, on the first half.
        labels: the best units of every label.
        left_out: labels that are not among them.
        causal: None until it is measured.
        texts: likewise.
    """

    tokens: int
    label: str
    measure: str
    chosen: Unit
    pieces: list[str]
    values: list[float]
    holds: list[bool]
    mean: float
    labels: list[LabelTable]
    left_out: list[LeftOut]
    causal: Causal | None
    texts: Texts | None


class Target(NamedTuple):
    """A label on both halves of the text.

    Attributes:
        name: a key of LABELS.
        number: see Label.
        values: (N,).
        holds: (N,) of bool; of a number: above its median.
    """

    name: str
    number: bool
    values: Array
    holds: Array


def measure(subject: Subject, settings: Settings) -> Iterator[Progress[Neurons]]:
    """Find the unit that follows a label, hold it at its mean, and write with and without it.

    Pieces spread evenly over the text are read beside each other, each from the state that the model has after up to
    WARM_UP tokens before it. Those of the text's first half rank the units, those of the second test them.

    Args:
        subject: a neural model; of a Transformer the units are those of the residual stream behind each block.
        settings: the label and which units are looked at.

    Yields:
        The table of units first, then with the causal test, then with the texts.

    Raises:
        MeasurementError: the architecture has no units, no such unit, too short a text, too few places of the label, or
            values that are no finite numbers.
    """
    reader = reader_of(subject.model)
    keys = _wanted(reader, subject, settings)
    ids = subject.ids[:MOST_TEXT].astype(np.int64)
    pieces = list(map(subject.tokenizer.speller().take, ids.tolist()))
    places = _places(subject, settings, len(reader.keys), ids)
    text = _Text(subject, reader, torch.from_numpy(ids))
    targets, left_out = _targets(pieces, places)
    target = _target(settings, targets, left_out)

    values: dict[Key, Array] = {}
    for share in text.read(places, values):
        yield Progress(0.25 * share)
    ranking = _Ranking(targets, places, reader.keys)
    for share in ranking.run(values):
        yield Progress(0.25 + 0.1 * share)
    chosen = ranking.chosen(target, keys, values, settings.unit)
    key = chosen["layer"], chosen["state"]
    means = values[key][: len(places) // 2].mean((0, 1), dtype=np.float64).astype(np.float32)
    values.clear()
    start = _passage_start(pieces, int(places[len(places) // 2, 0]))
    length = min(PASSAGE, len(ids) - start) // PASSAGE_ROWS
    shown = start + np.arange(PASSAGE_ROWS * length)
    for share in text.read(shown.reshape(PASSAGE_ROWS, length), values, (key,)):
        yield Progress(0.35 + 0.05 * share)
    result = Neurons(
        tokens=places.size,
        label=target.name,
        measure=_measure_name(target),
        chosen=chosen,
        pieces=[pieces[place] for place in shown],
        values=np.round(values[key][:, :, chosen["unit"]].ravel().astype(float), 3).tolist(),
        holds=target.holds[shown].tolist(),
        mean=round(float(means[chosen["unit"]]), 4),
        labels=ranking.tables,
        left_out=left_out,
        causal=None,
        texts=None,
    )
    yield Progress(0.4, result)
    clamping = _Clamping(text, target, chosen, means)
    for share in clamping.run(places[len(places) // 2 :], settings.seed):
        yield Progress(0.4 + 0.5 * share)
    result = {**result, "causal": clamping.causal}
    yield Progress(0.9, result)
    writing = _Writing(text, target, chosen, float(means[chosen["unit"]]), int(places[len(places) // 2, 0]))
    for share in writing.run(settings.seed):
        yield Progress(0.9 + 0.1 * share)
    yield Progress(1.0, {**result, "texts": writing.texts})


def _wanted(reader: Reader, subject: Subject, settings: Settings) -> list[Key]:
    """The states and layers that the unit is chosen from."""
    config = subject.model.config
    states = list(dict.fromkeys(state for _, state in reader.keys))
    if settings.state not in (ANY, *states):
        raise MeasurementError(f"the model has no state or gate {settings.state}; it has {', '.join(states)}")
    if settings.layer >= config.num_layers:
        raise MeasurementError(f"layer {settings.layer} is not among the model's {config.num_layers}, counted from 0")
    if settings.unit >= config.hidden_size:
        raise MeasurementError(f"unit {settings.unit} is not among the layer's {config.hidden_size}, counted from 0")
    return [key for key in reader.keys if settings.state in (ANY, key[1]) and settings.layer in (-1, key[0])]


def _places(subject: Subject, settings: Settings, keys: int, ids: Array) -> Array:
    """The places of the text that are read: (PIECES, T), in order, evenly spread, after a first piece to warm up."""
    units = subject.model.config.hidden_size * keys
    warm_up = min(WARM_UP, len(ids) // 10)
    length = min(settings.tokens, len(ids) - 1 - warm_up, MOST_NUMBERS // units) // PIECES
    if length * PIECES < LEAST_TOKENS:
        if MOST_NUMBERS // units < LEAST_TOKENS:
            raise MeasurementError(f"the model has {units:,} units, too many to compare; choose a smaller one")
        least = LEAST_TOKENS + PIECES
        raise MeasurementError(
            f"units are compared over at least {LEAST_TOKENS} tokens after some to begin with, and this text has "
            f"{len(ids):,} that the model knows; give one of {least + least // 5:,} or more"
        )
    firsts = np.linspace(warm_up, len(ids) - 1 - length, PIECES).astype(np.int64)
    places: Array = firsts[:, None] + np.arange(length)
    return places


def _targets(pieces: Sequence[str], places: Array) -> tuple[list[Target], list[LeftOut]]:
    """The labels that both halves of the places have enough of, and the others."""
    kept, left_out, middle = [], [], len(places) // 2
    for name, values in label_tokens(pieces).items():
        number = LABELS[name].number
        holds = values > np.median(values[places]) if number else values.astype(bool)
        counts = [(int(holds[half].sum()), half.size) for half in (places[:middle], places[middle:])]
        with_it, without = min(count for count, _ in counts), min(size - count for count, size in counts)
        if min(with_it, without) >= LEAST_PLACES:
            kept.append(Target(name, number, values, holds))
        else:
            few = f"{with_it:,} places with it" if with_it < LEAST_PLACES else f"{without:,} places without it"
            left_out.append(LeftOut(label=name, why=f"{few} in one half of what was read, of at least {LEAST_PLACES}"))
    return kept, left_out


def _target(settings: Settings, targets: Sequence[Target], left_out: Sequence[LeftOut]) -> Target:
    """The label that the unit is to follow."""
    for one in left_out:
        if one["label"] == settings.label:
            raise MeasurementError(f"{one['label']}: {one['why']}; choose another label, or give more text")
    if not targets:
        raise MeasurementError("the text has too few places of any label; give more text, with words and lines")
    return next((one for one in targets if one.name == settings.label), targets[0])


def _passage_start(pieces: Sequence[str], place: int) -> int:
    """Where a passage begins that starts about at a place: after the next line end, unless that is far."""
    near = range(place, min(place + PASSAGE // 3, len(pieces) - PASSAGE))
    return next((at + 1 for at in near if "\n" in pieces[at] and "\n" not in pieces[at + 1]), place)


class _Text:
    """A text as a model reads it, from any of its places on.

    Args:
        subject: the model.
        reader: its units.
        ids: (N,).
    """

    def __init__(self, subject: Subject, reader: Reader, ids: Tensor) -> None:
        self.subject, self.reader, self.ids = subject, reader, ids

    @torch.no_grad()
    def state(self, places: Array) -> Generator[float, None, State]:
        """The state after the tokens before each row of places (B, T)."""
        firsts, model = places[:, 0], self.subject.model
        warm_up = min(WARM_UP, int(firsts.min()))
        state = model.initial_state(len(firsts))
        rows = self.ids[torch.from_numpy(firsts[:, None] + np.arange(-warm_up, 0))]
        for block in rows.split(64, dim=1):
            _, state = model(block, state)
            yield 0.0
        if not all(bool(torch.isfinite(part).all()) for part in state if part.is_floating_point()):
            raise MeasurementError(
                "the model's states are no finite numbers: its training diverged; look into an earlier run, or train "
                "it again with a smaller learning_rate"
            )
        return state

    def read(self, places: Array, values: dict[Key, Array], keys: Sequence[Key] = ()) -> Iterator[float]:
        """Put the values (B, T, H) of units after the tokens at places (B, T) into `values`.

        Args:
            places: (B, T).
            values: by layer and state.
            keys: which are kept; empty: all.
        """
        keys = keys or self.reader.keys
        begun = self.reader.begin((yield from self.state(places)))
        rows, steps = places.shape
        for start in range(0, steps, self.reader.block):
            part = slice(start, start + self.reader.block)
            read = self.reader.read(self.ids[torch.from_numpy(places[:, part])], begun)
            begun = read.state
            for key in keys:
                if key not in values:
                    values[key] = np.empty((rows, steps, read.values[key].shape[2]), np.float32)
                values[key][:, part] = read.values[key].numpy()
            yield min(1.0, part.stop / steps)


class _Ranking:
    """The scores of all units for all labels, on both halves of the places.

    Args:
        targets: the labels.
        places: (B, T).
        keys: the states and layers.
    """

    def __init__(self, targets: Sequence[Target], places: Array, keys: Sequence[Key]) -> None:
        self._targets, self._places, self._keys = targets, places, keys
        self._middle = len(places) // 2
        self._strengths: dict[Key, Array] = {}
        self.tables: list[LabelTable] = []

    def run(self, values: dict[Key, Array]) -> Iterator[float]:
        """Rank the units, telling how much is done."""
        candidates: list[list[Unit]] = [[] for _ in self._targets]
        found = [target.values[self._places[: self._middle]].ravel() for target in self._targets]
        for done, key in enumerate(self._keys, 1):
            first = values[key][: self._middle]
            centred = binned_ranks(first.reshape(-1, first.shape[2]).T)
            self._strengths[key] = np.stack(
                [np.abs(_score(target, centred, label)) for target, label in zip(self._targets, found, strict=True)]
            )
            yield 0.8 * done / len(self._keys)
            for place, target in enumerate(self._targets):
                best = np.argsort(-self._strengths[key][place], kind="stable")[:CONSIDERED]
                candidates[place] += self._exact(target, key, best, values)
            yield 0.8 * done / len(self._keys)
        for target, units in zip(self._targets, candidates, strict=True):
            units.sort(key=lambda unit: -unit["found"])
            holds = int(target.holds[self._places[self._middle :]].sum())
            self.tables.append(
                LabelTable(label=target.name, measure=_measure_name(target), places=holds, units=units[:TOP])
            )
        yield 1.0

    def chosen(self, target: Target, keys: Sequence[Key], values: dict[Key, Array], unit: int) -> Unit:
        """The unit of some states and layers that follows a label best.

        Args:
            target: the label.
            keys: the states and layers.
            values: as for `run`.
            unit: its number; -1: any.
        """
        place = [one.name for one in self._targets].index(target.name)
        candidates: list[Unit] = []
        for key in keys:
            best = [unit] if unit >= 0 else np.argsort(-self._strengths[key][place], kind="stable")[:CONSIDERED]
            candidates += self._exact(target, key, np.asarray(best), values)
        return max(candidates, key=lambda one: one["found"])

    def _exact(self, target: Target, key: Key, units: Array, values: dict[Key, Array]) -> list[Unit]:
        """Some units with their exact scores."""
        scores = []
        for half in (slice(0, self._middle), slice(self._middle, None)):
            rows = values[key][half][:, :, units]
            ranks = average_ranks(np.ascontiguousarray(rows.reshape(-1, len(units)).T))
            label = target.values[self._places[half]].ravel()
            scores.append(_score(target, ranks - (ranks.shape[1] + 1) / 2, label))
        signs = np.where(scores[0] < 0, -1, 1)
        middle = 0.0 if target.number else 0.5
        first, second = (np.round(middle + signs * score, 4).tolist() for score in scores)
        return [
            Unit(layer=key[0], state=key[1], unit=int(unit), sign=int(sign), found=one, score=other)
            for unit, sign, one, other in zip(units, signs, first, second, strict=True)
        ]


def _score(target: Target, centred: Array, label: Array) -> Array:
    """Spearman's correlation with a number; of another label the AUROC less 0.5: 0 where there is no connection."""
    return spearman(centred, label) if target.number else auroc(centred, label) - 0.5


def _measure_name(target: Target) -> str:
    return "spearman" if target.number else "auroc"


def binned_ranks(values: Array) -> Array:
    """About the ranks of each row's values (H, N), less their mean: values in one of BINS bins count as equal.

    This takes a tenth of the time of sorting them. What is REACH standard deviations from the mean is in the last bins.
    """
    mean, deviation = values.mean(1, keepdims=True), values.std(1, keepdims=True)
    scale = BINS / (2 * REACH * np.where(deviation > 0, deviation, 1.0))
    bins = np.clip((values - mean) * scale + BINS / 2, 0, BINS - 1).astype(np.int64)
    bins += np.arange(len(values))[:, None] * BINS
    counts = np.bincount(bins.ravel(), minlength=len(values) * BINS).reshape(len(values), BINS)
    ends = counts.cumsum(1)
    middles = ends - (counts - 1) / 2 - (values.shape[1] + 1) / 2
    result: Array = middles.ravel()[bins]
    return result


def average_ranks(values: Array) -> Array:
    """The ranks of each row's values (H, N), from 1 on; equal values share their mean rank."""
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    places = np.arange(values.shape[1])
    new = np.ones_like(ordered, bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    last = np.ones_like(new)
    last[:, :-1] = new[:, 1:]
    first = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    end = np.minimum.accumulate(np.where(last, places, len(places))[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + end) / 2 + 1, axis=1)
    return ranks


def auroc(centred: Array, label: Array) -> Array:
    """The chance that a unit is higher at a place with the label than at one without (Mann and Whitney 1947).

    Args:
        centred: ranks of each unit's values less their mean, (H, N).
        label: (N,), whether it holds.
    """
    label = label.astype(float)
    positives = label.sum()
    result: Array = 0.5 + centred @ label / (positives * (len(label) - positives))
    return result


def spearman(centred: Array, label: Array) -> Array:
    """Spearman's rank correlation of each unit with a number; 0 of a unit that never changes.

    Args:
        centred: as for `auroc`.
        label: (N,).
    """
    ranks = average_ranks(label.astype(float)[None])[0] - (len(label) + 1) / 2
    length = np.sqrt((centred**2).sum(1) * (ranks**2).sum())
    result: Array = centred @ ranks / np.where(length > 0, length, 1.0)
    return result


class _Clamping:
    """The causal test: each piece is read once for each unit, beside each other; in the first rows no unit is held.

    Args:
        text: of the model.
        target: the label.
        chosen: the unit.
        means: of all units of its state and layer, (H,).
    """

    causal: Causal | None = None

    def __init__(self, text: _Text, target: Target, chosen: Unit, means: Array) -> None:
        self._text, self._target, self._chosen, self._means = text, target, chosen, means

    def run(self, places: Array, seed: int) -> Iterator[float]:
        """Measure on places (B, T), telling how much is done."""
        state = yield from self._text.state(places)
        others = np.delete(np.arange(len(self._means)), self._chosen["unit"])
        random = np.random.default_rng(seed).permutation(others)[:RANDOM_UNITS]
        units = np.concatenate([[self._chosen["unit"]], random])
        losses = np.empty((1 + len(units), *places.shape))
        each = max(1, MOST_ROWS // len(places))
        for first in range(0, len(losses), each):
            group = units[max(0, first - 1) : first - 1 + each]
            free = int(first == 0)  # of the first group, the first rows
            for share in self._losses(places, state, group, free, losses[first : first + each]):
                yield (first + each * share) / (len(losses) + each)
        settling = min(SETTLING, places.shape[1] // 4)
        self.causal = self._totals(units, losses[:, :, settling:], self._target.holds[places[:, settling:]])

    def _losses(self, places: Array, state: State, units: Array, free: int, losses: Array) -> Iterator[float]:
        """The losses (U, B, T) after places (B, T), those without any unit held first, if `free` is 1."""
        reader, ids, variants = self._text.reader, self._text.ids, len(losses)
        (rows, steps), held = places.shape, torch.from_numpy(np.repeat(units, len(places)))
        held_rows = torch.arange(free * rows, variants * rows)
        means = torch.from_numpy(self._means)[held]
        clamps = Clamps(self._chosen["layer"], self._chosen["state"], held_rows, held, means)
        begun = reader.begin(tuple(_repeated(part, variants) for part in state))
        logits = variants * rows * self._text.subject.tokenizer.vocab_size
        block = max(1, min(reader.block, MOST_LOGITS // logits))
        for start in range(0, steps, block):
            part = torch.from_numpy(places[:, start : start + block])
            read = reader.read(ids[part].repeat(variants, 1), begun, clamps, keep=False)
            begun = read.state
            wanted = ids[part + 1].repeat(variants, 1)
            costs = F.cross_entropy(read.logits.transpose(1, 2).float(), wanted, reduction="none")
            losses[:, :, start : start + block] = costs.view(variants, rows, -1).numpy()
            yield min(1.0, (start + block) / steps)

    def _totals(self, units: Array, losses: Array, holds: Array) -> Causal:
        """The means of what each unit costs where the label holds and elsewhere."""
        more = losses[1:] - losses[:1]
        there, elsewhere = (more[:, where].mean(1) if where.any() else np.zeros(len(more)) for where in (holds, ~holds))
        each = [
            Clamped(unit=int(unit), there=round(float(one), 4), elsewhere=round(float(other), 4))
            for unit, one, other in zip(units, there, elsewhere, strict=True)
        ]
        return Causal(
            mean=round(float(self._means[units[0]]), 4),
            there=each[0]["there"],
            elsewhere=each[0]["elsewhere"],
            places=int(holds.sum()),
            others=int((~holds).sum()),
            random=each[1:],
            as_much=int((there[1:] >= there[0]).sum()),
        )


def _repeated(part: Tensor, times: int) -> Tensor:
    """A tensor of a state, whose dimension 1 is the batch, for so many batches."""
    return part.repeat(1, times, *([1] * (part.dim() - 2)))


class _Writing:
    """A text with the unit and one without it, as two rows of a batch.

    Args:
        text: of the model.
        target: the label; the prompt ends shortly after it began to hold somewhere.
        chosen: the unit.
        mean: at which it is held.
        start: the place from which on the prompt is looked for.
    """

    texts: Texts | None = None

    def __init__(self, text: _Text, target: Target, chosen: Unit, mean: float, start: int) -> None:
        self._text = text
        start = min(start + PROMPT, len(text.ids) - 1)
        begins = np.flatnonzero(target.holds[start:-AFTER] & ~target.holds[start - 1 : -AFTER - 1])
        at = start + (int(begins[0]) if len(begins) else 0)
        self._prompt = text.ids[max(0, at - PROMPT) : at + AFTER]
        unit = torch.tensor([chosen["unit"]])
        self._clamps = Clamps(chosen["layer"], chosen["state"], torch.tensor([1]), unit, torch.tensor([mean]))

    def run(self, seed: int) -> Iterator[float]:
        """Write, telling how much is done."""
        tokenizer, model = self._text.subject.tokenizer, self._text.subject.model
        banned = banned_ids(tokenizer, SAMPLING)
        randoms = [np.random.default_rng(seed) for _ in range(2)]
        written: tuple[list[int], list[int]] = ([], [])
        state = self._text.reader.begin(model.initial_state(2))
        column = self._prompt.repeat(2, 1)
        for step in range(WRITTEN):
            read = self._text.reader.read(column, state, self._clamps, keep=False)
            state = read.state
            for row, one in enumerate(written):
                one.append(choose(read.logits[row, -1].double().numpy(), SAMPLING, randoms[row], (), banned))
            column = torch.tensor([[one[-1]] for one in written])
            if step % 8 == 0:
                yield step / WRITTEN
        prompt = tokenizer.decode(self._prompt.tolist())
        free, clamped = ("".join(map(tokenizer.speller(prompt).take, one)) for one in written)
        self.texts = Texts(prompt=prompt, seed=seed, free=free, clamped=clamped)


def unit_name(unit: Unit) -> str:
    """What a unit is called: `c 12 of layer 1`."""
    return f"{unit['state']} {unit['unit']} of layer {unit['layer']}"


def score_name(measure: str, unit: Unit) -> str:
    """The score on the second half with its name: `AUROC 0.94`."""
    score = f"{unit['score']:.2f}".replace("-", "−")
    falls = "" if unit["sign"] > 0 else ", falling"
    return f"{'AUROC' if measure == 'auroc' else 'Spearman'} {score}{falls}"


def finding(found: Sequence[Measured[Neurons]]) -> str:
    """The unit of each model, how well it follows its label, and what holding it costs; or that none follows it."""
    told, before = [], ""
    for one in found:
        result, unit = one.result, one.result["chosen"]
        score, name = score_name(result["measure"], unit), unit_name(unit)
        label = f"“{result['label']}”"
        follows = unit["score"] >= FOLLOWS[result["measure"]]
        verb = "does" if before == label else f"follows {label}"
        causal = result["causal"]
        if not follows:
            told.append(f"in {one.name} no unit {verb} (the best, {name}, has {score})")
        elif causal:
            costs = f"{_nats(causal['there'])} nats there and {_nats(causal['elsewhere'])} elsewhere"
            told.append(f"in {one.name} {name} {verb} ({score}; held at its mean, it costs {costs})")
        else:
            told.append(f"in {one.name} {name} {verb} ({score})")
        before = label
    return f"{capital(listed(told))}."


def _nats(value: float) -> str:
    """A change of a loss, with its sign."""
    return f"{value:+.3f}".replace("-", "−")


def rows(result: Neurons) -> list[dict[str, Any]]:
    """One row a label and unit: `label`, `measure`, `rank`, `layer`, `state`, `unit`, `found`, `score`."""
    return [
        {"label": table["label"], "measure": table["measure"], "rank": rank, **unit}
        for table in result["labels"]
        for rank, unit in enumerate(table["units"], 1)
    ]
