"""The split, and batches that carry on where the last ended."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.dataset import Dataset, split_sizes, validation_rows
from charlm.errors import CorpusError


def numbered(tokens: int) -> np.ndarray:
    """Ids that tell their own place."""
    return np.arange(tokens, dtype=np.int32)


@given(st.integers(3, 5000), st.floats(0, 0.6), st.floats(0, 0.35))
def test_split_covers_the_text_once(tokens: int, val: float, test: float) -> None:
    sizes = split_sizes(tokens, val, test)
    assert sum(sizes) == tokens and min(sizes) >= 0


def test_the_known_splits() -> None:
    assert split_sizes(561_676, 0.1) == (505_508, 56_168, 0)
    assert split_sizes(508_476, 0.1) == (457_628, 50_848, 0)  # the Grimm notebook's


def test_held_out_parts_are_the_tail_in_order() -> None:
    data = Dataset(numbered(1000), 2, 10, val_fraction=0.1, test_fraction=0.2)
    assert [part[0] for part in (data.train_ids, data.val_ids, data.test_ids)] == [0, 700, 800]
    assert data.test_ids[-1] == 999 and not data.notes


@given(st.integers(40, 3000), st.integers(1, 8), st.integers(1, 40), st.integers(0, 3))
def test_rows_are_contiguous_and_targets_one_later(tokens: int, batch: int, seq: int, epoch: int) -> None:
    data = Dataset(numbered(tokens), batch, seq, val_fraction=0.1)
    last = None
    count = 0
    for inputs, targets in data.batches(epoch):
        assert inputs.shape == targets.shape == (data.batch_size, data.seq_len)
        assert np.array_equal(targets, inputs + 1)
        if last is not None:
            assert np.array_equal(inputs[:, 0], last[:, -1] + 1)
        last, count = inputs, count + 1
    assert count == data.steps_per_epoch >= 1


@given(st.integers(3, 2000), st.integers(1, 50), st.integers(1, 300))
def test_two_epochs_leave_no_character_out(tokens: int, batch: int, seq: int) -> None:
    data = Dataset(numbered(tokens), batch, seq)
    learned = {int(target) for epoch in (0, 1) for _, targets in data.batches(epoch) for target in targets.ravel()}
    assert {1, len(data.train_ids) - 1} <= learned
    left_out = len(data.train_ids) - 1 - data.steps_per_epoch * data.batch_size * data.seq_len
    if left_out <= data.steps_per_epoch * data.batch_size * data.seq_len:
        assert len(learned) == len(data.train_ids) - 1


def test_batches_start_in_the_middle_of_an_epoch() -> None:
    data = Dataset(numbered(1000), 2, 10)
    whole = list(data.batches(1))
    rest = list(data.batches(1, start=3))
    assert len(rest) == len(whole) - 3
    assert np.array_equal(rest[0][0], whole[3][0])


def test_a_batch_too_large_is_made_smaller_and_said() -> None:
    data = Dataset(numbered(76), 32, 64)
    assert (data.batch_size, data.seq_len, data.steps_per_epoch) == (1, 64, 1)
    assert len(data.train_ids) == 76  # too short to hold any out
    assert "76 characters" in data.notes[0] and "1 x 64" in data.notes[1]
    assert not Dataset(numbered(76), 1, 20).notes[1:]


def test_nothing_held_out_is_said() -> None:
    data = Dataset(numbered(1000), 2, 10, val_fraction=0.0)
    assert len(data.val_ids) == 1000 and "nothing held out" in data.notes[0]


@pytest.mark.parametrize("tokens", [0, 1, 2])
def test_too_short(tokens: int) -> None:
    with pytest.raises(CorpusError, match=f"has {tokens}"):
        Dataset(numbered(tokens), 1, 1)


@given(st.integers(2, 500_000))
def test_validation_rows_score_every_token_once(tokens: int) -> None:
    inputs, targets = validation_rows(numbered(tokens))
    assert 1 <= len(inputs) <= 64
    assert len(inputs) == min(64, max(1, round((tokens - 1) / 6000)))
    scored = targets[targets >= 0]
    assert np.array_equal(np.sort(scored), np.arange(1, tokens))
    assert np.array_equal(inputs[targets >= 0], scored - 1)
