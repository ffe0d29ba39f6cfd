"""Lists of items: their order, their split, their batches; each item begins and ends with the border."""

import random
from collections import Counter

import numpy as np
import pytest

from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.data.corpus import corpus_from_text, read_corpus
from charlm.data.dataset import corpus_cut, dataset_of, tokenizer_for
from charlm.data.item_batches import ItemDataset, evaluated_items, lengths_of
from charlm.data.items import BORDER, looks_like_a_list
from charlm.errors import ConfigError, CorpusError

RNG = random.Random(5)
NAMES = ["".join(RNG.choices("abcdefgh", k=RNG.randint(1, 9))) for _ in range(300)] + ["anna"] * 20
LINES = CorpusConfig(items="line", val_fraction=0.2, test_fraction=0.1)


def dataset(names: list[str], batch_size: int = 16, seq_len: int = 4) -> ItemDataset:
    config = CorpusConfig(items="line", val_fraction=0.0)
    corpus = corpus_from_text("\n".join(names), "names", config)
    made = dataset_of(
        tokenizer_for(corpus, ModelConfig(), config),
        corpus,
        TrainConfig(batch_size=batch_size, seq_len=seq_len),
        config,
    )
    assert isinstance(made, ItemDataset)
    return made


def test_items_come_in_an_order_of_their_own_equal_ones_beside_each_other_and_on_one_side() -> None:
    corpus = corpus_from_text("\n".join(sorted(NAMES)) + "\n\n", "names.txt", LINES)
    assert corpus == corpus_from_text("\n".join(NAMES), "names.txt", LINES)
    items = corpus.text.removesuffix("\n").split("\n")
    assert Counter(items) == Counter(NAMES) and items != sorted(NAMES)
    first = items.index("anna")
    assert items[first : first + 20] == ["anna"] * 20
    assert corpus.held_out is not None
    train = len(corpus.text) - sum(corpus.held_out)
    parts = (
        corpus.text[:train],
        corpus.text[train : train + corpus.held_out[0]],
        corpus.text[train + corpus.held_out[0] :],
    )
    sets = [set(part.split("\n")[:-1]) for part in parts]
    assert all(part.endswith("\n") for part in parts) and not sets[0] & sets[1] and not (sets[0] | sets[1]) & sets[2]
    assert 0.1 < corpus.held_out[0] / len(corpus.text) < 0.3 and 0.03 < corpus.held_out[1] / len(corpus.text) < 0.17
    assert any("'anna' is there 20 times" in note for note in corpus.repairs)


def test_items_between_blank_lines_and_rows_of_a_table() -> None:
    tunes = [f"X:{number}\nK:C\nA B {number}" for number in range(12)]
    blank = corpus_from_text("\n \n\n".join(tunes), "tunes.abc", CorpusConfig(items="blank"))
    assert Counter(blank.text.split(BORDER)) == Counter([*tunes, ""])
    table = "text,kind\n" + "".join(f'"one\n\n{number}",x\n' for number in range(12))
    rows = read_corpus(table.encode(), "rows.csv", CorpusConfig(items="record"))
    assert Counter(rows.text.split(BORDER)) == Counter([*(f"one\n\n{number}" for number in range(12)), ""])


def test_a_list_that_is_none_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"few\.txt has 2 different items, one a line; a list needs 10"):
        corpus_from_text("a\nb\na", "few.txt", LINES)
    with pytest.raises(CorpusError, match=r"book\.txt is no table of several rows, which alone has records"):
        read_corpus(b"a\nb\n", "book.txt", CorpusConfig(items="record"))
    corpus = corpus_from_text("\n".join(NAMES), "names", LINES)
    with pytest.raises(ConfigError, match="learned by characters, and level is 'word'"):
        tokenizer_for(corpus, ModelConfig(level="word"), LINES)


def test_a_list_is_recognised_and_prose_is_not() -> None:
    assert looks_like_a_list("\n".join(NAMES)) == looks_like_a_list("\n\n".join(NAMES) + "\n") == len(NAMES)
    prose = "The fox went on, and the hen sang.\nThen it was dark;\nso they slept until the morning came.\n" * 100
    assert looks_like_a_list(prose) == 0 and looks_like_a_list("a\nb\n") == 0
    corpus = corpus_from_text("\n".join(NAMES), "names", CorpusConfig())
    assert any("looks like a list of 320 items, one a line: take items line" in note for note in corpus.repairs)


@pytest.mark.parametrize("seed", [None, 3])
def test_an_epoch_reads_each_item_once_from_its_beginning_to_its_end(seed: int | None) -> None:
    data = dataset(NAMES)
    tokens = tokenizer_of(data)
    orders = []
    for epoch in range(2):
        read: list[str] = []
        rows: list[str] = []
        count = 0
        for number, (inputs, targets) in enumerate(data.batches(epoch, 0, seed)):
            assert inputs.shape == targets.shape and inputs.shape[0] == 16 and inputs.shape[1] <= 4
            if data.begins(epoch, number, seed):
                read += rows
                rows = [""] * 16
                assert set(inputs[targets[:, 0] >= 0, 0].tolist()) == {data.border}
            for row in range(16):
                known = targets[row] >= 0
                assert (np.diff(known.astype(int)) <= 0).all()  # padding is at the end
                last = rows[row][-1:] or "\n"
                assert (
                    "".join(tokens[one] for one in inputs[row][known])
                    == (last + "".join(tokens[one] for one in targets[row][known]))[:-1]
                    if known.any()
                    else True
                )
                rows[row] += "".join(tokens[one] for one in targets[row][known])
            count += 1
        read += rows
        assert count == data.steps_per_epoch
        assert Counter(one for one in read if one) == Counter(f"{name}\n" for name in NAMES)
        orders.append(read)
    assert orders[0] != orders[1]


def tokenizer_of(data: ItemDataset) -> list[str]:
    """The tokens of `dataset`'s tokenizer: all characters of the names in their order."""
    return sorted({"\n", *"".join(NAMES)})


@pytest.mark.parametrize("start", [1, 7, 20])
def test_an_epoch_goes_on_where_it_was_left(start: int) -> None:
    data = dataset(NAMES)
    whole, rest = list(data.batches(4)), list(data.batches(4, start))
    assert len(rest) == len(whole) - start
    for (inputs, targets), (again, and_again) in zip(whole[start:], rest, strict=True):
        assert (inputs == again).all() and (targets == and_again).all()


def test_little_of_a_batch_is_padding() -> None:
    data = dataset(NAMES * 20, batch_size=32, seq_len=64)
    padded = sum(int((targets < 0).sum()) for _, targets in data.batches(0))
    assert padded < 0.1 * data.train


def test_batches_are_reduced_to_the_items_and_cut_anew() -> None:
    data = dataset(NAMES[:12], batch_size=100, seq_len=64)
    assert data.batch_size == 12 and data.seq_len <= 10 and data.steps_per_epoch == 1
    assert any("a batch of 100 items, the training part has 12" in note for note in data.notes)
    again = data.with_batches(5, 3)
    assert (again.batch_size, again.seq_len) == (5, 3) and len(list(again.batches(0))) == again.steps_per_epoch > 3


def test_the_cut_of_a_list_is_that_of_its_dataset() -> None:
    corpus = corpus_from_text("\n".join(NAMES), "names", LINES)
    tokenizer = tokenizer_for(corpus, ModelConfig(), LINES)
    cut, sizes = corpus_cut(corpus, tokenizer, TrainConfig(), LINES)
    data = dataset_of(tokenizer, corpus, TrainConfig(), LINES)
    assert cut.steps_per_epoch == data.steps_per_epoch and sum(sizes) == len(corpus.text)
    assert sizes[1:] == corpus.held_out


def test_evaluation_reads_all_items_in_order() -> None:
    data = dataset(NAMES)
    ids, read = data.train_ids, []
    rows: list[list[int]] = []
    for begins, inputs, targets in evaluated_items(ids, data.border or 0, 3):
        if begins:
            read += rows
            rows = [[] for _ in range(len(inputs))]
        for row, (ins, outs) in enumerate(zip(inputs.tolist(), targets.tolist(), strict=True)):
            rows[row] += [one for one in outs if one >= 0]
            assert len(ins) <= 3
    read += rows
    assert [one for row in read for one in row] == ids.tolist()
    assert int(lengths_of(ids, data.border or 0).sum()) == len(ids)


@pytest.mark.parametrize(
    ("name", "file", "condition", "texts"),
    [
        ("a.csv", "who,text,n\n" + "Ann,hi there,1\nBob,and so on,2\n" * 6, "WHO", ["Ann: hi there", "Bob: and so on"]),
        ("a.csv", "who,text,n\n" + "Ann,hi there,1\nBob,and so on,2\n" * 6, "n", ["1: hi there", "2: and so on"]),
        (
            "a.jsonl",
            '{"text": "hi there", "by": null}\n{"text": "so on", "by": "Bo"}\n',
            "by",
            ["hi there", "Bo: so on"],
        ),
        (
            "a.json",
            '{"data": {"posts": [{"body": "hi there", "by": {"name": "Ann"}},'
            ' {"body": "so on", "by": {"name": "Bo"}}]}}',
            "by.name",
            ["Ann: hi there", "Bo: so on"],
        ),
    ],
)
def test_a_condition_stands_before_each_text(name: str, file: str, condition: str, texts: list[str]) -> None:
    corpus = read_corpus(file.encode(), name, CorpusConfig(condition=condition))
    assert corpus.text.split("\n\n")[:2] == texts
    assert any("stands before each text" in note for note in corpus.repairs)


def test_a_condition_that_is_not_there_is_said() -> None:
    with pytest.raises(CorpusError, match=r"a\.csv has no column 'mood' beside text; it has: who"):
        read_corpus(b"who,text\nAnn,hi there\n", "a.csv", CorpusConfig(condition="mood"))
