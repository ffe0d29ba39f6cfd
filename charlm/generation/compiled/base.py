"""Many tokens of many texts in one call, without Python in between: what all compiled models share.

A text's state and tokens are the same bit for bit whether it is written alone or beside others.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from charlm.generation.sampling import NO_TOKEN, SamplingParams, sample_token
from charlm.models.kernels.jit import compiled, inlined
from charlm.models.kernels.matmul16 import padded_rows

Array = np.ndarray[Any, Any]
State = tuple[Array, ...]


@inlined
def copy(to: Array, row: Array) -> None:
    """Copy a row; a loop, which compiles in a tenth of the time of to[:] = row."""
    for j in range(row.shape[0]):
        to[j] = row[j]


@inlined
def fill(y: Array, rows: int, start: Array) -> None:
    """Start each row's sums with the same numbers.

    Args:
        y: (R, N) float32.
        rows: how many of its rows are overwritten.
        start: (N,) float32.
    """
    for b in range(rows):
        copy(y[b], start)


def step(w: Any, ids: Array, state: State, work: Any) -> None:
    """Read one token of each row; each kind of weights has its own, compiled where `decode` calls it.

    Args:
        w: the model.
        ids: (B,) int64.
        state: becomes the next one.
        work: the model's work arrays; its `logits`, (R, V filled up), are overwritten by the result.
    """
    raise NotImplementedError("compiled only")


def clear(w: Any, state: State, row: int) -> None:
    """Give one row the state before the first token; each kind of weights has its own, as of `step`."""
    raise NotImplementedError("compiled only")


@compiled
def read(w: Any, ids: Array, state: State, work: Any) -> None:
    """`step`, for calls from Python."""
    step(w, ids, state, work)


@compiled
def decode(
    w: Any, params: SamplingParams, ids: Array, given: Array, draws: Array, recent: Array, state: State, work: Any,
    written: Array,
) -> None:  # fmt: skip
    """T times, read a token of each row and choose the next one: the given one, or else a sampled one.

    Args:
        w: the model.
        params: how each row samples.
        ids: (B,) int64, read first; becomes the tokens chosen last, which are not read.
        given: (B, T) int64, NO_TOKEN where a token is to be sampled.
        draws: (B, T) float64 in [0, 1), for the choices.
        recent: (B, N) int64, the ids read before, the oldest first; overwritten by those that are read.
        state: becomes the one after all that was read.
        work: see `step`.
        written: (B, T) int64, overwritten by the tokens; where the logits are not finite, by NO_TOKEN, and the row
            continues with token 0.
    """
    size = w.table.shape[0]
    for t in range(written.shape[1]):
        step(w, ids, state, work)
        for b in range(ids.shape[0]):
            recent[b, t % recent.shape[1]] = ids[b]
            token = given[b, t]
            if token == NO_TOKEN:
                token = sample_token(params, b, work.logits[b, :size].astype(np.float64), recent[b], draws[b, t])
            written[b, t] = token
            ids[b] = max(token, 0)
            if token == params.border[b] and token >= 0:  # the next item begins from nothing
                clear(w, state, b)


def is_type_of(numba_type: Any, kind: type) -> bool:
    """Whether the compiler's type is that of a NamedTuple of this kind; by it `step` and `clear` are chosen."""
    return getattr(numba_type, "instance_class", None) is kind


class CompiledModel(ABC):
    """A copy of a model's weights as they are now, made ready for compiled steps; later changes do not reach it.

    A state is a tuple of arrays whose dimension 2 is the row of the batch.

    Attributes:
        weights: a NamedTuple of arrays; `table` has a row for each token.
    """

    weights: Any

    @abstractmethod
    def initial_state(self, rows: int) -> State:
        """The state before the first token."""

    @abstractmethod
    def work_arrays(self, rows: int) -> Any:
        """A NamedTuple of what `step` needs beside the state; `logits` are among them."""

    def padded(self, state: State) -> State:
        """A copy of a state, with as many rows as `step` wants."""
        return tuple(part.copy() for part in state)

    def logits(self, ids: Array, state: State) -> tuple[Array, State]:
        """Ids (B,) and the state before them -> logits (B, V) and the state after them."""
        rows, work, state = len(ids), self.work_arrays(len(ids)), self.padded(state)
        read(self.weights, ids.astype(np.int64), state, work)
        return work.logits[:rows, : len(self.weights.table)], tuple(part[:, :, :rows] for part in state)

    def decode(
        self, params: SamplingParams, ids: Array, given: Array, draws: Array, state: State, recent: Array
    ) -> tuple[Array, State]:
        """Read ids (B,), then T times read the next token, given or sampled.

        Args:
            params: how each row samples.
            ids: (B,) int64, read first.
            given: (B, T) int64, the tokens that come next; NO_TOKEN where one is to be sampled.
            draws: (B, T) float64 in [0, 1), for the choices.
            state: before `ids`.
            recent: (B, N) int64, read before `ids`, the oldest first, NO_TOKEN in front where there are fewer.

        Returns:
            The tokens after `ids`, (B, T), the last ones not read yet; NO_TOKEN from where logits were not finite.
            The state before the last ones.
        """
        rows, state, written = len(ids), self.padded(state), np.empty(given.shape, np.int64)
        work = self.work_arrays(rows)
        decode(self.weights, params, ids.copy(), given, draws, recent.copy(), state, work, written)
        return written, tuple(part[:, :, :rows] for part in state)


def zeros(rows: int, *widths: int) -> tuple[Array, ...]:
    """Work arrays (R, width) in float32 for a batch of so many rows, R = `padded_rows(rows)`."""
    return tuple(np.zeros((padded_rows(rows), width), np.float32) for width in widths)
