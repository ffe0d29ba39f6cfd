"""Kneser-Ney n-grams: against the formulas written out with dictionaries, and by hand."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm.models.kneser_ney import EMPTY, UNSEEN, USUAL_DISCOUNTS, KneserNey, discounts

Gram = tuple[int, ...]
TEXTS = st.lists(st.integers(0, 3), max_size=60)
ORDERS = st.integers(1, 6)


def slow_counts(ids: Sequence[int], k: int, highest: bool) -> Counter[Gram]:
    """How often each k-gram occurs; below the highest level, after how many different tokens (or the beginning)."""
    found: Counter[Gram] = Counter()
    before: dict[Gram, set[int]] = {}
    for i in range(len(ids) - k + 1):
        gram = tuple(ids[i : i + k])
        found[gram] += 1
        before.setdefault(gram, set()).add(ids[i - 1] if i else -1)
    return found if highest else Counter({gram: len(tokens) for gram, tokens in before.items()})


def slow_discount(counts: Counter[Gram], count: int) -> float:
    """D1 = 1 - 2 Y n2 / n1, D2 = 2 - 3 Y n3 / n2, D3+ = 3 - 4 Y n4 / n3, Y = n1 / (n1 + 2 n2)."""
    n = Counter(counts.values())
    count = min(count, 3)
    if not (n[1] and n[count] and n[count + 1]):
        return USUAL_DISCOUNTS[count - 1]
    found = count - (count + 1) * n[1] / (n[1] + 2 * n[2]) * n[count + 1] / n[count]
    return found if found > 0 else USUAL_DISCOUNTS[count - 1]


def slow_probability(levels: Sequence[Counter[Gram]], history: Gram, token: int, vocab_size: int) -> float:
    """p_k(token | history), k = len(levels), one token at a time."""
    if not levels:
        return 1 / vocab_size
    counts, k = levels[-1], len(levels)
    lower = slow_probability(levels[:-1], history, token, vocab_size)
    context = history[len(history) - (k - 1) :]
    after = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context} if len(context) == k - 1 else {}
    if not after:
        return lower
    share = after[token] - slow_discount(counts, after[token]) if token in after else 0.0
    rest = sum(slow_discount(counts, count) for count in after.values())
    return (share + rest * lower) / sum(after.values())


@settings(deadline=None)
@given(TEXTS, st.lists(st.integers(0, 3), min_size=1, max_size=8), ORDERS)
@example([0, 1, 0, 1, 1, 2] * 5, [0, 1, 1], 4)
@example([], [1], 3)
def test_probabilities_are_those_of_the_formulas(ids: list[int], read: list[int], order: int) -> None:
    model = KneserNey(np.array(ids, np.uint8), 5, order)
    levels = [slow_counts(ids, k, highest=k == order) for k in range(1, order + 1)]
    expected = [[slow_probability(levels, tuple(read[:t]), token, 5) for token in range(5)] for t in range(len(read))]
    ends = model.read(np.array([read]), model.initial(1))[:, 0, :-1]  # (order, T)
    assert np.allclose(model.distributions(ends), expected, rtol=1e-5)
    for token in range(5):
        found = model.probabilities(ends, np.full(len(read), token))
        assert np.allclose(found, np.array(expected)[:, token], rtol=1e-5)


@settings(deadline=None)
@given(TEXTS, TEXTS, ORDERS)
def test_distributions_sum_to_one_and_leave_nothing_out(ids: list[int], read: list[int], order: int) -> None:
    model = KneserNey(np.array(ids, np.int32), 7, order)
    ends = model.read(np.array([read], np.int64), model.initial(1))[:, 0]
    p = model.distributions(ends)
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert (p > 0).all()


@settings(deadline=None)
@given(TEXTS, st.lists(st.integers(0, 3), min_size=2, max_size=12), ORDERS, st.data())
def test_reading_goes_on_where_it_ended(ids: list[int], read: list[int], order: int, data: st.DataObject) -> None:
    model = KneserNey(np.array(ids, np.uint8), 4, order)
    rows = np.array([read, read[::-1]])
    whole = model.read(rows, model.initial(2))
    at = data.draw(st.integers(0, len(read)))
    first = model.read(rows[:, :at], model.initial(2))
    rest = model.read(rows[:, at:], first[:, :, -1])
    assert np.array_equal(np.concatenate([first, rest[:, :, 1:]], axis=2), whole)


def test_a_text_read_by_the_model_that_counted_it_is_known() -> None:
    ids = np.array([2, 0, 1, 0, 1, 2, 2])
    model = KneserNey(ids, 3, 3)
    ends = model.read(ids[None], model.initial(1))[:, 0]
    assert (ends[0] == EMPTY).all()
    assert (ends[1][1:] != UNSEEN).all()
    assert (ends[2][2:] != UNSEEN).all()
    assert model.num_grams == 3 + 5 + 5


def test_discounts_by_hand() -> None:
    counts = np.array([1] * 8 + [2] * 4 + [3] * 2 + [4] + [9])
    y = 8 / (8 + 2 * 4)
    assert discounts(counts) == pytest.approx([0, 1 - 2 * y * 4 / 8, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2])


@pytest.mark.parametrize("counts", [[], [1, 1], [2, 2, 2], [5], [1, 2, 3]])
def test_discounts_that_cannot_be_estimated_are_the_usual_ones(counts: list[int]) -> None:
    found = discounts(np.array(counts, np.int64))
    assert found[3] == USUAL_DISCOUNTS[2]
    assert all(0 < off <= count for count, off in zip((1, 2, 3), found[1:], strict=True))
