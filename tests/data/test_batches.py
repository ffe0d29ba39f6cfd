"""The split, and batches that carry on where the last ended."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.data.batches import Cut, Dataset, place_of, split_sizes, validation_rows
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


@given(st.integers(40, 3000), st.integers(1, 8), st.integers(1, 40), st.integers(0, 3), st.integers(0, 2**31 - 1))
def test_a_seed_begins_elsewhere_and_wraps_around(tokens: int, batch: int, seq: int, epoch: int, seed: int) -> None:
    data = Dataset(numbered(tokens), batch, seq)
    found = list(data.batches(epoch, seed=seed))
    assert all(np.array_equal(targets, inputs + 1) for inputs, targets in found)
    read = np.concatenate([inputs for inputs, _ in found], axis=1).ravel()  # (B, T) row after row
    pairs = len(data.train_ids) - 1
    assert len(set(read)) == len(read) == data.steps_per_epoch * data.batch_size * data.seq_len
    assert set(np.diff(read)) <= {1, 1 - pairs}  # the end of the text is followed by its beginning
    usual = np.concatenate([inputs for inputs, _ in data.batches(epoch)], axis=1)
    assert (read[0] - usual[0, 0]) % pairs == place_of(seed, pairs)
    rest = list(data.batches(epoch, 1, seed))
    assert np.array_equal([inputs for inputs, _ in rest], [inputs for inputs, _ in found[1:]])


def test_seeds_begin_at_different_places() -> None:
    places = [place_of(seed, 1000) for seed in range(200)]
    assert places[:3] == [place_of(seed, 1000) for seed in range(3)] and len(set(places)) > 150
    assert 400 < float(np.mean(places)) < 600 and min(places) < 50 and max(places) > 950


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


def test_a_cut_knows_what_its_dataset_has() -> None:
    for arguments in ((1000, 2, 10, 0.1, 0.2), (76, 32, 64), (1000, 2, 10, 0.0)):
        cut, data = Cut(*arguments), Dataset(numbered(int(arguments[0])), *arguments[1:])
        assert (cut.train, cut.val or cut.train, cut.test) == tuple(
            map(len, (data.train_ids, data.val_ids, data.test_ids))
        )
        assert (cut.steps_per_epoch, cut.notes) == (data.steps_per_epoch, data.notes)


@settings(deadline=None)
@given(st.integers(2, 500_000))
def test_validation_rows_score_every_token_once(tokens: int) -> None:
    inputs, targets = next(validation_rows(numbered(tokens), 10**6))
    assert 1 <= len(inputs) <= 64
    assert len(inputs) == min(64, max(1, round((tokens - 1) / 6000)))
    scored = targets[targets >= 0]
    assert np.array_equal(np.sort(scored), np.arange(1, tokens))
    assert np.array_equal(inputs[targets >= 0], scored - 1)


@settings(deadline=None)
@given(st.integers(2, 30_000), st.integers(1, 9_000))
def test_validation_rows_come_in_pieces(tokens: int, width: int) -> None:
    ids = (numbered(tokens) % 251).astype(np.uint8)
    whole = next(validation_rows(ids, 10**6))
    pieces = list(validation_rows(ids, width))
    assert all(inputs.shape == targets.shape and inputs.shape[1] <= width for inputs, targets in pieces)
    for place in (0, 1):
        assert np.array_equal(np.concatenate([piece[place] for piece in pieces], axis=1), whole[place])


def test_parts_are_cut_as_they_come() -> None:
    parts = numbered(100), numbered(10), numbered(7)
    data = Dataset(parts, 2, 10, characters=(500, 50, 35))
    assert (data.train, data.val, data.test, data.chars_per_token) == (100, 10, 7, 5.0)
    assert all(mine is given for mine, given in zip((data.train_ids, data.val_ids, data.test_ids), parts, strict=True))
    assert "tokens" in Dataset(parts, 50, 10, characters=(500, 50, 35)).notes[0]


def test_a_validation_that_takes_minutes_is_said_with_the_way_out() -> None:
    assert not Cut(10_000_000, 16, 64, val_fraction=0.1).notes
    [note] = Cut(100_000_000, 16, 64, val_fraction=0.1).notes
    assert "10,000,000 held-out characters; a val_fraction of 0.02 would do" in note


def test_tokens_are_counted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.data.batches.COUNTED", 7)
    ids = np.random.default_rng(0).integers(0, 5, 1000).astype(np.uint8)
    data = Dataset(ids, 2, 5)
    assert data.counts(6).tolist() == [int((ids[:900] == token).sum()) for token in range(6)]


def test_the_same_ids_are_cut_into_other_batches() -> None:
    data, fresh = Dataset(numbered(1000), 2, 10), Dataset(numbered(1000), 7, 20)
    other = data.with_batches(7, 20)
    assert other.train_ids is data.train_ids and (data.batch_size, data.seq_len) == (2, 10)
    assert other.steps_per_epoch == fresh.steps_per_epoch
    for mine, theirs in zip(other.batches(1), fresh.batches(1), strict=True):
        assert all(np.array_equal(one, two) for one, two in zip(mine, theirs, strict=True))
    assert data.with_batches(5000, 10).batch_size == 89 and not data.notes  # as many rows as 899 targets have
