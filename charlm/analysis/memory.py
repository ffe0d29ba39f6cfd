"""Effective memory: how many of the tokens before a place a model makes use of when it predicts the next one.

A model is given only the last k tokens before a target, from the zero state, and its loss on that target is compared
with its loss given more of them. Language models were first probed so, with the far context cut off, shuffled or
replaced, by Khandelwal, He, Qi and Jurafsky (2018), "Sharp Nearby, Fuzzy Far Away: How Neural Language Models Use
Context".
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import torch

from charlm.analysis.difference import quantile
from charlm.analysis.measurement import Measured, Progress, Subject, capital
from charlm.analysis.settings import MemorySettings
from charlm.errors import MeasurementError
from charlm.models import LanguageModel, State
from charlm.tokenizers import IdArray
from charlm.training.evaluate import standard_error

Settings = MemorySettings

Integers = npt.NDArray[np.int64]
Losses = npt.NDArray[np.float64]

# Of the first picture: targets, and the longest context.
FIRST_TARGETS, FIRST_CONTEXT = 256, 89
# Targets of the look at the longest context allowed.
FAR_TARGETS = 64
# Nats per token: memory begins where the excess stays below LITTLE; longer contexts are tried until two steps in a row
# gain less than NOTHING, with 95 % confidence.
LITTLE, NOTHING = 0.01, 0.002
# The text is cut into blocks of so many tokens or more; at most so many, so that targets are neighbours and share
# windows.
BLOCK, MOST_BLOCKS = 1000, 64
# Tokens that stand before the context where that is not nothing.
BEYOND = 64
LEAST_TOKENS = 400
# Windows read at a time, and steps of a call.
ROWS, STEPS = 32, 64
# Share of the work that is done with the first picture, with all targets at the contexts of that, and with that look.
FIRST_SHARE, SECOND_SHARE, FAR_SHARE = 0.1, 0.5, 0.55
SEED = 0  # of the places


class Row(TypedDict):
    """The loss with one context.

    Attributes:
        context: k, in tokens.
        loss: in nats per token.
        excess: over the loss with the longest context, paired by target.
        stderr: of the excess, over blocks of the text; None where the text has one block only.
    """

    context: int
    loss: float
    excess: float
    stderr: float | None


class Memory(TypedDict):
    """What was found.

    Attributes:
        memory: the smallest context from which on the excess stays below LITTLE, before the last result only as fine
            as `rows`; None if the loss still falls by more with the last step.
        rows: contexts ascending; 1, 2, 3, 5, 8, .. and those between which the memory was looked for.
        last_context: the longest one, which the excess is over.
        settled: whether the last two steps gained nothing and no more is known to be gained further back; otherwise a
            longer context might lower the loss further.
        limit: how long contexts could become, by the setting and the text.
        targets: how many tokens the means are over.
        tokens: of the text.
        beyond: what stood before the context.
    """

    memory: int | None
    rows: list[Row]
    last_context: int
    settled: bool
    limit: int
    targets: int
    tokens: int
    beyond: str


def measure(subject: Subject, settings: Settings) -> Iterator[Progress[Memory]]:
    """Measure the loss on the same targets given only the last k tokens, for growing k.

    Args:
        subject: its model and ids count.
        settings: how many targets, how long a context, and what is before it.

    Returns:
        Progress several times a second; results after the first picture, then after each longer context.

    Raises:
        MeasurementError: the text is too short, or the model's losses are not finite.
    """
    work = _Measurement(subject, settings)
    yield from work.first()
    yield from work.refine()
    yield from work.look_far()
    while not work.settled() and work.remaining:
        yield from work.grow()
    yield from work.search()
    yield Progress(1.0, work.result())


def finding(found: Sequence[Measured[Memory]]) -> str:
    """The memories in one sentence: "The LSTM uses 27 characters of context, the RNN 13." """
    clauses: list[str] = []
    for index, one in enumerate(found):
        is_same = index > 0 and one.unit == found[0].unit
        about = _tokens(one.result, "" if is_same else one.unit)
        clauses.append(f"{one.name} uses {about} of context" if index == 0 else f"{one.name} {about}")
    return f"{capital(', '.join(clauses) or 'Nothing was measured')}."


def _tokens(result: Memory, unit: str) -> str:
    """A memory in words."""
    if result["memory"] is None:
        last = result["rows"][-2]["context"]
        return f"more than {last:,} {unit}".strip()
    one = unit.removesuffix("s") if result["memory"] == 1 else unit
    is_exact = result["memory"] == 1 or result["memory"] - 1 in {row["context"] for row in result["rows"]}
    return f"{'' if is_exact else 'at most '}{result['memory']:,} {one}".strip()


def rows(result: Memory) -> list[dict[str, Any]]:
    """The table behind the picture: a row a context."""
    return [dict(row) for row in result["rows"]]


def contexts_up_to(longest: int) -> list[int]:
    """1, 2, 3, 5, 8, 13 and so on: each is the sum of the two before it."""
    grid = [1, 2]
    while (following := grid[-1] + grid[-2]) <= longest:
        grid.append(following)
    return grid


class _Measurement:
    """One measurement under way.

    Attributes:
        grid: contexts of the picture that were read, ascending.
        remaining: those that are longer.
        limit: how long contexts may become.
        known: losses (N,) of the present targets by context.
        far: losses of some of them with the longest context allowed; None before that look.
        share: of the work that is done.
    """

    def __init__(self, subject: Subject, settings: Settings) -> None:
        self.tokens, self.beyond = len(subject.ids), settings.beyond
        if self.tokens < LEAST_TOKENS:
            raise MeasurementError(
                f"effective memory needs a text of at least {LEAST_TOKENS} tokens that the model knows, and this one "
                f"has {self.tokens}: paste a longer one"
            )
        self.limit = min(settings.longest, (self.tokens - BEYOND) // 2)
        self.grid, self.remaining = list[int](), contexts_up_to(self.limit)
        self._all = target_blocks(self.limit + BEYOND, self.tokens, settings.targets)
        self._blocks = _heads(self._all, FIRST_TARGETS)
        self._windows = _Windows(subject.model, subject.ids, settings.beyond)
        self.known: dict[int, Losses] = {}
        self.far: Losses | None = None
        self.share = 0.0

    def first(self) -> Iterator[Progress[Memory]]:
        """The first picture, from few targets."""
        self.grid = [context for context in self.remaining if context <= FIRST_CONTEXT]
        self.remaining = self.remaining[len(self.grid) :]
        yield from self._learn(self.grid, FIRST_SHARE)
        yield Progress(self.share, self.result())

    def refine(self) -> Iterator[Progress[Memory]]:
        """The same contexts with all targets; all between them, too, where neighbouring targets share windows."""
        if len(np.concatenate(self._all)) == len(self._targets):
            return
        self._blocks, self.known = self._all, {}
        every, cost = range(1, self.grid[-1] + 1), self._windows.cost
        is_cheap = cost(self._targets, every) < 2 * cost(self._targets, self.grid)
        yield from self._learn(every if is_cheap else self.grid, SECOND_SHARE)
        yield Progress(self.share, self.result())

    def look_far(self) -> Iterator[Progress[Memory]]:
        """The longest context allowed, for few targets: a model may use nothing for a while, and then more."""
        if not self.remaining:
            return
        targets = np.concatenate(_heads(self._blocks, FAR_TARGETS))
        losses = np.empty((1, len(targets)))
        yield from self._read(targets, [self.limit], losses, FAR_SHARE)
        self.far = losses[0]

    def grow(self) -> Iterator[Progress[Memory]]:
        """The next longer context."""
        context = self.remaining.pop(0)
        yield from self._learn([context], (1.0 + self.share) / 2)
        self.grid.append(context)
        yield Progress(self.share, self.result())

    def search(self) -> Iterator[Progress[Memory]]:
        """The contexts that the bisection asks for."""
        while (bracket := self._bracket()) and bracket[1] - bracket[0] > 1:
            low, high, _ = bracket
            middle, every, cost = [(low + high) // 2], range(low + 1, high), self._windows.cost
            halving = math.log2(high - low) * cost(self._targets, middle)
            yield from self._learn(every if cost(self._targets, every) < halving else middle, (1.0 + self.share) / 2)

    def settled(self) -> bool:
        """Whether, with 95 % confidence, the last two contexts gained nothing, and the longest allowed gains little."""
        pairs = list(zip(self.grid[-3:-1], self.grid[-2:], strict=True))
        return len(pairs) == 2 and all(self._gains_nothing(*pair) for pair in pairs) and not self._gains_far_back()

    def result(self) -> Memory:
        """What is known so far."""
        bracket, table = self._bracket(), list[Row]()
        for context in sorted({*self.grid, *(bracket[2] if bracket else ())}):
            loss = round(float(self.known[context].mean()), 6)
            excess, error = self._excess(context, self.grid[-1])
            stderr = round(error, 6) if math.isfinite(error) else None
            table.append(Row(context=context, loss=loss, excess=round(excess, 6) + 0.0, stderr=stderr))  # no -0.0
        return Memory(
            memory=bracket[1] if bracket else None,
            rows=table,
            last_context=self.grid[-1],
            settled=self.settled(),
            limit=self.limit,
            targets=len(self._targets),
            tokens=self.tokens,
            beyond=self.beyond,
        )

    @property
    def _targets(self) -> Integers:
        return np.concatenate(self._blocks)

    def _learn(self, contexts: Sequence[int], until: float) -> Iterator[Progress[Memory]]:
        """Read the losses of the targets with these contexts, at the end of which the share is `until`."""
        losses = np.empty((len(contexts), len(self._targets)))
        yield from self._read(self._targets, contexts, losses, until)
        self.known |= dict(zip(contexts, losses, strict=True))

    def _read(
        self, targets: Integers, contexts: Sequence[int], losses: Losses, until: float
    ) -> Iterator[Progress[Memory]]:
        begin = self.share
        for part in self._windows.read(targets, contexts, losses):
            self.share = begin + (until - begin) * part
            yield Progress(self.share)

    def _excess(self, context: int, longer: int) -> tuple[float, float]:
        """How much more the loss is with one context than with a longer one, and the standard error of that."""
        difference = self.known[context] - self.known[longer]
        return float(difference.mean()), _error(difference, self._blocks)

    def _gains_nothing(self, context: int, longer: int) -> bool:
        gain, error = self._excess(context, longer)
        return abs(gain) + quantile(len(self._blocks) - 1) * error <= NOTHING

    def _gains_far_back(self) -> bool:
        """Whether the longest context allowed is better than the last one by more than LITTLE."""
        if self.far is None or not self.remaining:
            return False
        heads = _heads(self._blocks, FAR_TARGETS)
        gains = self.known[self.grid[-1]][np.isin(self._targets, np.concatenate(heads))] - self.far
        return float(gains.mean()) - quantile(len(heads) - 1) * _error(gains, heads) > LITTLE

    def _bracket(self) -> tuple[int, int, list[int]] | None:
        """Bisect between two contexts of the grid, as far as those between are known.

        Returns:
            The last context whose excess is not little, or 0; the next one, whose excess is; and the contexts that were
            asked for between. None: only the longest context itself has little.
        """

        def is_little(context: int) -> bool:
            return self._excess(context, self.grid[-1])[0] < LITTLE

        low = next((context for context in reversed(self.grid) if not is_little(context)), 0)
        high = next(context for context in self.grid if context > low)
        if low and high == self.grid[-1]:
            return None
        asked = []
        while high - low > 1 and (middle := (low + high) // 2) in self.known:
            asked.append(middle)
            low, high = (low, middle) if is_little(middle) else (middle, high)
        return low, high, asked


class _Windows:
    """Losses of targets given only the last k tokens, with windows that neighbouring targets share.

    A window that begins at token s and is read to its end gives the loss of target s + k with context k, for each k:
    all of them began in the zero state at s.
    """

    def __init__(self, model: LanguageModel, ids: IdArray, beyond: str) -> None:
        self.model, self.beyond, self.tokens = model, beyond, len(ids)
        self.ids = np.pad(np.asarray(ids, np.int64), (0, STEPS))
        self._random = np.random.default_rng(SEED)

    def cost(self, targets: Integers, contexts: Sequence[int]) -> int:
        """How many tokens are read for these losses."""
        return int(_plan(targets, contexts)[1].sum())

    def read(self, targets: Integers, contexts: Sequence[int], into: Losses) -> Iterator[float]:
        """Read the losses, windows of one length together.

        Args:
            targets: places in the text, (N,), ascending.
            contexts: K of them.
            into: takes the losses, (K, N).

        Returns:
            Now and then the share that is done.

        Raises:
            MeasurementError: a loss is not finite.
        """
        starts, lengths = _plan(targets, contexts)
        column = np.full(len(self.ids) + 1, -1)
        column[targets] = np.arange(len(targets))
        row = np.full(max(contexts) + STEPS + 1, -1)
        row[contexts] = np.arange(len(contexts))
        done, total = 0, int(lengths.sum())
        for first in range(0, len(starts), ROWS):
            begins, ends = starts[first : first + ROWS], lengths[first : first + ROWS]
            state = self._before(begins)
            for at in range(0, int(ends[0]), STEPS):
                alive = int((ends > at).sum())
                steps = np.arange(at, min(at + STEPS, int(ends[0])))
                places = np.minimum(begins[:alive, None] + steps, len(self.ids) - 2)
                columns, of_step = column[places + 1], row[steps + 1]
                wanted = (columns >= 0) & (of_step >= 0) & (steps < ends[:alive, None])
                losses, state = self._losses(places, wanted, state)
                into[np.broadcast_to(of_step, wanted.shape)[wanted], columns[wanted]] = losses
                done += int(np.minimum(ends[:alive] - at, STEPS).sum())
                yield done / total
        if not np.isfinite(into).all():
            raise MeasurementError(
                "the model's losses on this text are no finite numbers: its training has diverged; measure another run"
            )

    @torch.no_grad()
    def _losses(
        self, places: Integers, wanted: npt.NDArray[np.bool_], state: State | None
    ) -> tuple[Losses, State | None]:
        """The losses of the tokens after the wanted places, and the state of the windows that are read on.

        Args:
            places: (R, T) in the text.
            wanted: (R, T).
            state: of R or more windows; the first R count.
        """
        if state is not None and state[0].shape[1] > len(places):
            state = tuple(part[:, : len(places)].contiguous() for part in state)
        targets = np.where(wanted, self.ids[places + 1], -1)
        losses, state = self.model.token_losses(torch.from_numpy(self.ids[places]), torch.from_numpy(targets), state)
        return losses.double().numpy(), state

    @torch.no_grad()
    def _before(self, begins: Integers) -> State | None:
        """The state in which windows begin: the zero state, or that after tokens which are not the text's."""
        if self.beyond == "none":
            return None
        if self.beyond == "shuffled":
            ids = self._random.permuted(self.ids[begins[:, None] + np.arange(-BEYOND, 0)], axis=1)
        else:  # half the text away
            away = (begins + self.tokens // 2) % (self.tokens - BEYOND)
            ids = self.ids[away[:, None] + np.arange(BEYOND)]
        read = torch.from_numpy(ids)
        return self.model.token_losses(read, torch.full_like(read, -1))[1]


def target_blocks(first: int, tokens: int, count: int) -> list[Integers]:
    """Places of the targets, evenly from all of the text: in each block of it some neighbours, at a random place.

    Args:
        first: the first place that may be one.
        tokens: of the text.
        count: of targets; all places where there are fewer.

    Returns:
        Ascending, by block; blocks have BLOCK tokens or more, but for a text that has fewer.
    """
    number = min(max((tokens - first) // BLOCK, 1), MOST_BLOCKS)
    edges = np.linspace(first, tokens, number + 1).astype(np.int64)
    sizes = np.diff(np.linspace(0, min(count, tokens - first), number + 1).astype(np.int64))
    sizes = np.minimum(sizes, np.diff(edges))
    shifts = np.random.default_rng(SEED).random(number) * (np.diff(edges) - sizes + 1)
    begins = edges[:-1] + shifts.astype(np.int64)
    return [np.arange(begin, begin + size) for begin, size in zip(begins, sizes, strict=True) if size]


def _heads(blocks: Sequence[Integers], count: int) -> list[Integers]:
    """About `count` targets, the same number from each block."""
    each = math.ceil(count / len(blocks))
    return [block[:each] for block in blocks]


def _error(values: Losses, blocks: Sequence[Integers]) -> float:
    """The standard error of the mean of one value a target, over blocks; NaN for fewer than two."""
    sizes = [len(block) for block in blocks]
    sums = np.add.reduceat(values, np.cumsum([0, *sizes[:-1]]))
    return standard_error(list(zip(sums.tolist(), sizes, strict=True)))


def _plan(targets: Integers, contexts: Sequence[int]) -> tuple[Integers, Integers]:
    """Where windows begin and how many tokens are read from there, the longest first."""
    pairs = targets - np.asarray(contexts)[:, None]
    starts, inverse = np.unique(pairs, return_inverse=True)
    lengths = np.zeros(len(starts), np.int64)
    np.maximum.at(lengths, inverse.reshape(pairs.shape), np.asarray(contexts)[:, None])
    order = np.lexsort((starts, -lengths))
    return starts[order], lengths[order]
