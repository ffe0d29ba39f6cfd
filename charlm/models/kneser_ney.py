"""Interpolated modified Kneser-Ney n-grams over ids, counted in sorted arrays: no torch, and no loop over tokens.

Chen and Goodman (1999), "An empirical study of smoothing techniques for language modeling". With h the last k - 1
tokens, h' the last k - 2, and c the counts of level k,

    p_k(w | h) = max(c(hw) - D(c(hw)), 0) / c(h) + (D1 N1(h) + D2 N2(h) + D3 N3+(h)) / c(h) p_{k-1}(w | h'),

where N1, N2 and N3+ are how many tokens follow h once, twice and more often, c(h) is the sum of c(hw), and p_0 is
1 / V. The highest level counts how often a k-gram occurs, those below how many different tokens stand before it (the
beginning of the text is one of them). After an h that was never followed by anything, p_k is p_{k-1}.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
MAX_ORDER = 12
UNSEEN = 0  # the number of every k-gram that does not occur; those that do are numbered from 1
EMPTY = 1  # the number of the 0-gram
# The discounts of counts 1, 2 and more, where too few of them occur to estimate one.
USUAL_DISCOUNTS = (0.5, 1.0, 1.5)
LAST = np.iinfo(np.int64).max  # stands behind all keys, so that a search ends before the array does


class Grams(NamedTuple):
    """The different k-grams of a text, in the order of their keys; S of them, numbered from 1.

    Attributes:
        keys: (S,) int64, number of the first k - 1 tokens times V plus the last one.
        occurrences: (S,), how often each occurs.
        continuations: (S,), how many different tokens stand before it; None at the highest level that was asked for.
        contexts: how many different (k - 1)-grams there are.
    """

    keys: Array
    occurrences: Array
    continuations: Array | None
    contexts: int


class Level(NamedTuple):
    """What one level adds to p_k(w | h) = shares[hw] + rests[h] p_{k-1}(w | h').

    Attributes:
        keys: (S + 1,) int64 as in Grams, and LAST.
        shares: (S + 1,) float32 by the number of hw; 0 for UNSEEN.
        rests: (contexts + 1,) float32 by the number of h; 1 for UNSEEN.
        starts: (contexts + 2,) where the keys that begin with h begin, by the number of h.
    """

    keys: Array
    shares: Array
    rests: Array
    starts: Array

    def find(self, contexts: Array, tokens: Array, vocab_size: int) -> Array:
        """The numbers of the k-grams that tokens make of (k - 1)-grams.

        Args:
            contexts: int64 (..), numbers of the (k - 1)-grams; UNSEEN ones have no k-gram.
            tokens: int64 (..), the ids after them.
            vocab_size: V.

        Returns:
            (..), UNSEEN where the k-gram does not occur.
        """
        keys = contexts * vocab_size + tokens
        places = np.searchsorted(self.keys, keys)
        return np.where(self.keys[places] == keys, places + 1, UNSEEN)


def grams(ids: Array, vocab_size: int, order: int) -> Iterator[Grams]:
    """The k-grams of a text for k from 1 to `order`.

    Args:
        ids: (N,), each below `vocab_size`.
        vocab_size: V.
        order: at least 1.
    """
    numbers, before, contexts = np.full(len(ids) + 1, EMPTY, np.int32), None, 1  # numbers: of the gram at each place
    places = np.arange(len(ids) + 1, dtype=np.int32)  # in the order of their numbers
    for k in range(1, order + 1):
        places = places[places <= len(ids) - k]
        keys = numbers[places] * np.int64(vocab_size) + ids[places + (k - 1)]
        rank = np.argsort(keys, kind="stable")  # quick where much is in order already, as places are
        places, keys = places[rank], keys[rank]
        longer, starts = _numbered(places, keys)
        if before is not None:
            yield before._replace(continuations=_continuations(numbers, places[starts], len(before.keys)))
        before = Grams(keys[starts], np.diff(starts, append=len(keys)), None, contexts)
        contexts, numbers = len(starts), longer
    if before is not None:
        yield before


def _numbered(places: Array, keys: Array) -> tuple[Array, Array]:
    """The number of the key at each place, from 1 in their order; and where in the order each begins.

    Args:
        places: 0 to N - 1 in the order of their keys.
        keys: in their order.
    """
    first = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    numbers = np.empty(len(keys), np.int32)
    numbers[places] = np.cumsum(first, dtype=np.int32)
    return numbers, np.flatnonzero(first)


def _continuations(numbers: Array, places: Array, size: int) -> Array:
    """The number of different tokens before each (k - 1)-gram.

    Args:
        numbers: of the (k - 1)-gram at each place.
        places: of each different k-gram.
        size: how many different (k - 1)-grams there are.
    """
    counts = np.bincount(numbers[places + 1], minlength=size + 1)
    counts[numbers[:1]] += 1  # before the first one stands the beginning
    return counts[1:]


def discounts(counts: Array) -> Array:
    """The discounts of the counts 0, 1, 2 and more, (4,): Chen and Goodman's estimates from counts of counts."""
    found = [int(np.count_nonzero(counts == count)) for count in range(1, 5)]
    off = [0.0, *USUAL_DISCOUNTS]
    ones, twos = found[:2]
    for count in range(1, 4):
        few, more = found[count - 1 : count + 1]
        estimate = count - (count + 1) * ones / (ones + 2 * twos) * more / few if few and more and ones else 0.0
        if estimate > 0.0:
            off[count] = estimate
    return np.array(off)


def level_of(found: Grams, counts: Array, vocab_size: int) -> Level:
    """A level of the model.

    Args:
        found: its k-grams.
        counts: `found.occurrences` at the highest level, else `found.continuations`.
        vocab_size: V.
    """
    contexts, off = found.keys // vocab_size, discounts(counts)[np.minimum(counts, 3)]
    totals = np.bincount(contexts, weights=counts, minlength=found.contexts + 1)
    rests = np.bincount(contexts, weights=off, minlength=found.contexts + 1)
    rests = np.where(totals > 0, rests / np.maximum(totals, 1), 1.0)
    shares = np.zeros(len(counts) + 1, np.float32)
    shares[1:] = (counts - off) / totals[contexts]
    followers = np.bincount(contexts, minlength=found.contexts + 1)
    starts = np.zeros(found.contexts + 2, np.int32)
    np.cumsum(followers, out=starts[1:])
    return Level(np.append(found.keys, LAST), shares, rests.astype(np.float32), starts)


class KneserNey:
    """A model counted on a text.

    Its context is `ends`, int64 (order, ..): the numbers of the last 0 to order - 1 tokens as k-grams; UNSEEN where
    that many tokens do not occur in a row, or were not read.

    Args:
        ids: (N,), the text; each below `vocab_size`.
        vocab_size: V.
        order: tokens of the longest k-gram, 1 to MAX_ORDER.
    """

    def __init__(self, ids: Array, vocab_size: int, order: int) -> None:
        self.vocab_size, self.order = vocab_size, order
        self.levels: Sequence[Level] = [
            level_of(found, found.occurrences if found.continuations is None else found.continuations, vocab_size)
            for found in grams(ids, vocab_size, order)
        ]

    @property
    def num_grams(self) -> int:
        """The number of different k-grams of all lengths."""
        return sum(len(level.keys) - 1 for level in self.levels)

    def initial(self, rows: int) -> Array:
        """The ends before the first token, (order, rows)."""
        ends = np.full((self.order, rows), UNSEEN, np.int64)
        ends[0] = EMPTY
        return ends

    def read(self, ids: Array, ends: Array) -> Array:
        """The ends at every place of some rows.

        Args:
            ids: int64 (B, T).
            ends: before them, (order, B).

        Returns:
            (order, B, T + 1), those before the first token, and after each.
        """
        after = np.full((self.order, len(ids), ids.shape[1] + 1), UNSEEN, np.int64)
        after[:, :, 0], after[0] = ends, EMPTY
        for k in range(1, self.order):
            after[k, :, 1:] = self.levels[k - 1].find(after[k - 1, :, :-1], ids, self.vocab_size)
        return after

    def probabilities(self, ends: Array, tokens: Array) -> Array:
        """The probabilities of tokens (..) after ends (order, ..): float64 (..), above 0."""
        p = np.full(tokens.shape, 1.0 / self.vocab_size)
        for level, contexts in zip(self.levels, ends, strict=True):
            p *= level.rests[contexts]
            p += level.shares[level.find(contexts, tokens, self.vocab_size)]
        return p

    def distributions(self, ends: Array) -> Array:
        """The distribution over all tokens after ends (order, R): float64 (R, V), above 0, of sum 1."""
        rows = ends.shape[1]
        p = np.full((rows, self.vocab_size), 1.0 / self.vocab_size)
        for level, contexts in zip(self.levels, ends, strict=True):
            p *= level.rests[contexts, None]
            first, counts = level.starts[contexts], level.starts[contexts + 1] - level.starts[contexts]
            behind = np.cumsum(counts)
            places = np.arange(behind[-1] if rows else 0) + np.repeat(first - behind + counts, counts)
            row_of = np.repeat(np.arange(rows), counts)
            p[row_of, level.keys[places] - contexts[row_of] * self.vocab_size] += level.shares[places + 1]
        return p
