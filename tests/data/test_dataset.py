"""The split, and batches that carry on where the last ended."""

import errno
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import ModelConfig, TrainConfig
from charlm.data.dataset import Cut, Dataset, ids_of, place_of, split_sizes, validation_rows
from charlm.errors import CorpusError
from charlm.models import build_model
from charlm.tokenizers import CharTokenizer, fit_tokenizer
from charlm.training.train import train


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


# --- ids in a mapped file -------------------------------------------------------------------------------------------

LONG = "Ein Märchen von dem Wolf und den 7 Geißlein.\n" * 60


@pytest.mark.parametrize("text", [LONG, LONG + "日本語", "".join(map(chr, range(300))) * 3])
def test_mapped_ids_are_the_same(text: str, tmp_path: Path) -> None:
    tokenizer = CharTokenizer.fit(text)
    ids = ids_of(text, tokenizer, tmp_path / "data", mapped_from=1)
    assert ids.dtype == tokenizer.encode(text).dtype and np.array_equal(ids, tokenizer.encode(text))
    assert ids.base is not None and list((tmp_path / "data").iterdir()) == []  # no name: nothing can be left over


@pytest.mark.parametrize("config", [ModelConfig(level="word"), ModelConfig(level="bpe", vocab_size=300)])
def test_mapped_ids_of_a_parts_words_are_the_same(config: ModelConfig, tmp_path: Path) -> None:
    tokenizer = fit_tokenizer(LONG, config, len(LONG))
    ids = ids_of(LONG, tokenizer, tmp_path, mapped_from=1, start=100, end=900)
    assert ids.base is not None and np.array_equal(ids, tokenizer.encode(LONG[100:900])) and not [*tmp_path.iterdir()]
    assert np.array_equal(ids, ids_of(LONG, tokenizer, tmp_path, start=100, end=900))
    if config.level == "word":
        assert len(ids_of("     ", tokenizer, tmp_path, mapped_from=1)) == 0


def test_parts_are_cut_as_they_come() -> None:
    parts = numbered(100), numbered(10), numbered(7)
    data = Dataset(parts, 2, 10, characters=(500, 50, 35))
    assert (data.train, data.val, data.test, data.chars_per_token) == (100, 10, 7, 5.0)
    assert all(mine is given for mine, given in zip((data.train_ids, data.val_ids, data.test_ids), parts, strict=True))
    assert "tokens" in Dataset(parts, 50, 10, characters=(500, 50, 35)).notes[0]


def test_few_ids_need_no_file(tmp_path: Path) -> None:
    tokenizer = CharTokenizer.fit(LONG)
    assert np.array_equal(ids_of(LONG, tokenizer, tmp_path / "no" / "data"), tokenizer.encode(LONG))
    assert ids_of("", tokenizer, tmp_path / "no" / "data", mapped_from=0).tolist() == []
    assert not (tmp_path / "no").exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("more", ["", "".join(map(chr, range(0x400, 0x530)))])
def test_mapped_ids_train_to_the_same_numbers(more: str, tmp_path: Path) -> None:
    text, config = LONG + more, TrainConfig(steps=6, eval_every=3, batch_size=4, seq_len=16)
    tokenizer = CharTokenizer.fit(text)
    rows = []
    for ids in (tokenizer.encode(text).astype(np.int32), ids_of(text, tokenizer, tmp_path, mapped_from=1)):
        model = build_model(ModelConfig(vocab_size=tokenizer.vocab_size, hidden_size=8), 1)
        metrics = train(model, Dataset(ids, config.batch_size, config.seq_len), config)
        rows.append([(row.train_loss, row.val_loss, row.grad_norm) for row in metrics])
    assert rows[0] == rows[1] and rows[0][2][1] is not None


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match=r"needs 0 MB in .*file while .*; make room there, or let CHARLM_DATA"):
        ids_of(LONG, CharTokenizer.fit(LONG), tmp_path / "file", mapped_from=1)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """A file on a full disk."""

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(CorpusError, match="No space left on device; make room there"):
        ids_of(LONG, CharTokenizer.fit(LONG), tmp_path, mapped_from=1)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_character_is_said_before_anything_is_left(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not know 'ß'"):
        ids_of(LONG, CharTokenizer.fit(LONG.replace("ß", "")), tmp_path, mapped_from=1)
    assert list(tmp_path.iterdir()) == []


def test_a_validation_that_takes_minutes_is_said_with_the_way_out() -> None:
    assert not Cut(10_000_000, 16, 64, val_fraction=0.1).notes
    [note] = Cut(100_000_000, 16, 64, val_fraction=0.1).notes
    assert "10,000,000 held-out characters; a val_fraction of 0.02 would do" in note


def test_tokens_are_counted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.data.dataset.COUNTED", 7)
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
