"""Ids of a text: in memory, or in a mapped file that is gone with them."""

import errno
import tempfile
from pathlib import Path

import numpy as np
import pytest

from charlm.config import ModelConfig, TrainConfig
from charlm.data.batches import Dataset
from charlm.data.dataset import ids_of
from charlm.errors import CorpusError
from charlm.models import build_model
from charlm.tokenizers import CharTokenizer, fit_tokenizer
from charlm.training.train import train

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
