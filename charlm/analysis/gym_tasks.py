"""The tasks of the memory gym: random sequences whose end is determined by what came before it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

SYMBOLS = 8  # to be remembered
COPIED = 3  # symbols of a delayed copy
KINDS = 4  # of brackets
COUNTS = 4  # lengths that a^n b^n may have for one delay
Ids = np.ndarray[Any, np.dtype[np.int64]]
Rng = np.random.Generator


class Batch(TypedDict):
    """Sequences of one delay: ids (B, T), and which of them are answers, (B, T), that all before them determine."""

    ids: Ids
    answers: np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        title: of the task.
        about: what is asked, in a sentence.
        delay: what its delay counts, in the plural.
        tokens: as they are shown, in the order of their ids.
        chance: the accuracy of the best guess without memory.
        make: sequences of a delay, as many as asked for.
        whole: a sequence counts as right or wrong as a whole, not answer by answer.
    """

    title: str
    about: str
    delay: str
    tokens: str
    chance: float
    make: Callable[[Rng, int, int], Batch]
    whole: bool = False


def delayed_copy(rng: Rng, delay: int, count: int) -> Batch:
    """COPIED symbols, `delay` blanks, a cue, and the symbols again."""
    symbols = rng.integers(0, SYMBOLS, (count, COPIED))
    blanks, cue = np.full((count, delay), SYMBOLS), np.full((count, 1), SYMBOLS + 1)
    return _batch([symbols, blanks, cue, symbols], COPIED)


def first_symbol(rng: Rng, delay: int, count: int) -> Batch:
    """A symbol, `delay` others from the same alphabet, a cue, and the first symbol again."""
    symbols = rng.integers(0, SYMBOLS, (count, 1 + delay))
    return _batch([symbols, np.full((count, 1), SYMBOLS), symbols[:, :1]], 1)


def brackets(rng: Rng, delay: int, count: int) -> Batch:
    """`delay` opening brackets of KINDS kinds, a cue, and the brackets that close them all."""
    kinds = rng.integers(0, KINDS, (count, delay))
    return _batch([kinds, np.full((count, 1), 2 * KINDS), kinds[:, ::-1] + KINDS], delay)


def parity(rng: Rng, delay: int, count: int) -> Batch:
    """`delay` bits, a cue, and 1 if an odd number of them are 1, else 0."""
    bits = rng.integers(0, 2, (count, delay))
    return _batch([bits, np.full((count, 1), 2), bits.sum(axis=1, keepdims=True) % 2], 1)


def counting(rng: Rng, delay: int, count: int) -> Batch:
    """n times a, n times b, an end; n is one of COUNTS lengths from `delay` on. From the second b on all is determined.

    Shorter sequences are filled up with ends, which do not count.
    """
    lengths = delay + rng.integers(0, COUNTS, (count, 1))
    places = np.arange(2 * (delay + COUNTS - 1) + 1)
    ids = np.where(places < lengths, 0, np.where(places < 2 * lengths, 1, 2))
    return {"ids": ids, "answers": (places > lengths) & (places <= 2 * lengths)}


def _batch(parts: Sequence[Ids], answers: int) -> Batch:
    """A batch of these columns, of which the last `answers` are asked for."""
    ids = np.concatenate(parts, axis=1)
    return {"ids": ids, "answers": np.broadcast_to(np.arange(ids.shape[1]) >= ids.shape[1] - answers, ids.shape)}


TASKS = {
    "copy": Task(
        "Delayed copy", f"{COPIED} symbols are to be written again after a pause", "blanks", "abcdefgh_:",
        1 / SYMBOLS, delayed_copy,
    ),
    "first": Task(
        "First symbol", "the first of many symbols is asked for at the end", "symbols in between", "abcdefgh?",
        1 / SYMBOLS, first_symbol,
    ),
    "brackets": Task(
        "Brackets", f"brackets of {KINDS} kinds are to be closed in reverse order", "nested brackets", "([{<)]}>|",
        1 / KINDS, brackets,
    ),
    "parity": Task("Parity", "whether the number of ones is odd", "bits", "01=", 1 / 2, parity),
    "counting": Task(
        "Counting", "after n times a there must follow n times b and an end", "letters a", "ab.",
        1 / COUNTS, counting, whole=True,
    ),
}  # fmt: skip


def example(name: str, delay: int = 4, seed: int = 3) -> tuple[str, str]:
    """A sequence of a task as it is shown, and the end of it that is the answer.

    Args:
        name: of TASKS.
        delay: of the sequence.
        seed: draws it.
    """
    task = TASKS[name]
    batch = task.make(np.random.default_rng(seed), delay, 1)
    places = np.flatnonzero(batch["answers"][0])
    shown = "".join(task.tokens[token] for token in batch["ids"][0, : places[-1] + 1])
    return shown[: places[0]], shown[places[0] :]
