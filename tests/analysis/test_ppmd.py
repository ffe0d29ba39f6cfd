"""What a text costs PPMd: sizes are those of the package's own compression, both ways, and bounded."""

import sys
import threading
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import psutil
import pyppmd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.analysis import ppmd
from charlm.analysis.baselines import LN2, Baselines, measure, with_ppmd
from charlm.analysis.ppmd import MEGABYTES, NO_PACKAGE, Ppmd, check_available, ppmd_costs
from charlm.config import CorpusConfig
from charlm.data import catalog
from charlm.errors import CorpusError, MeasurementError
from charlm.tokenizers import CharTokenizer

TRAIN = "To be, or not to be, that is the question. " * 30
HELD_OUT = "Whether 'tis nobler in the mind to suffer; naïve, 中文. " * 4
KNOWN = Baselines(uniform=3.0, gzip=2.5, xz=2.0, orders=(2.8, 2.2, 2.3), tokens_per_char=0.5, whole=True)


def packed(text: str) -> bytes:
    """What the package makes of a text in one call."""
    data: bytes = pyppmd.compress(text.encode(), max_order=8, mem_size=256 << 20, variant="H")
    return data


def added(train: str, text: str) -> int:
    return 8 * (len(packed(train + text)) - len(packed(train)))


def test_adapting_is_what_the_held_out_text_adds_to_the_training_text() -> None:
    costs = ppmd_costs(TRAIN, HELD_OUT, rows=1)
    assert costs.adapting == costs.frozen == added(TRAIN, HELD_OUT) / len(HELD_OUT)
    assert (costs.rows, costs.all_rows, costs.megabytes) == (1, 1, 256)


def test_frozen_is_each_row_after_the_training_text_alone() -> None:
    length = len(HELD_OUT) // 4
    rows = [HELD_OUT[start : start + length] for start in range(0, len(HELD_OUT), length)]
    costs = ppmd_costs(TRAIN, HELD_OUT, rows=4)
    assert costs.frozen == sum(added(TRAIN, row) for row in rows) / len(HELD_OUT)
    assert costs.frozen > costs.adapting  # the four rows are alike
    assert (costs.rows, costs.all_rows) == (4, 4)


def test_of_many_rows_some_are_read_spread_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ppmd, "ROW_BYTES", 5 * len(TRAIN) + 1)
    held_out = "".join(f"{place:03} is a line, {place * 7919 % 1000:03}.\n" for place in range(90))
    length = -(-len(held_out) // 9)
    rows = [held_out[start : start + length] for start in range(0, len(held_out), length)]
    costs = ppmd_costs(TRAIN, held_out, rows=9)
    chosen = [rows[place] for place in (0, 2, 4, 6, 8)]
    assert (costs.rows, costs.all_rows) == (5, 9)
    assert costs.frozen == sum(added(TRAIN, row) for row in chosen) / sum(map(len, chosen))
    monkeypatch.setattr(ppmd, "ROW_BYTES", 1)
    assert ppmd_costs(TRAIN, held_out, rows=9).rows == 3


@settings(deadline=None, max_examples=25)
@given(st.text(max_size=60), st.text(min_size=1, max_size=60), st.integers(1, 5))
def test_any_text_is_within_bounds_and_comes_back(train: str, held_out: str, rows: int) -> None:
    costs = ppmd_costs(train, held_out, rows)
    assert costs.adapting == added(train, held_out) / len(held_out)
    assert all(0 <= cost <= 48 for cost in (costs.adapting, costs.frozen)) and 1 <= costs.rows == costs.all_rows <= rows
    both = (train + held_out).encode()
    decoder = pyppmd.Ppmd7Decoder(8, 256 << 20)
    assert decoder.decode(packed(train + held_out), len(both)) == both


def test_a_text_of_one_kind_of_character_costs_next_to_nothing() -> None:
    costs = ppmd_costs("a" * 4000, "a" * 1000, rows=2)
    assert 0 <= costs.adapting < 0.02 and 0 <= costs.frozen < 0.03


def test_an_empty_training_text_is_compressing_the_rows() -> None:
    costs = ppmd_costs("", HELD_OUT, rows=1)
    assert costs.adapting == 8 * (len(packed(HELD_OUT)) - len(packed(""))) / len(HELD_OUT)


def test_sherlock_costs_what_is_said_of_it() -> None:
    text = catalog.load_corpus("sherlock", CorpusConfig()).text
    cut = len(text) * 9 // 10
    costs = ppmd_costs(text[:cut], text[cut:], rows=9)
    assert costs.adapting == pytest.approx(1.764, abs=0.001) and costs.frozen == pytest.approx(1.797, abs=0.001)


# --- where it cannot be measured -------------------------------------------------------------------------------------


def test_without_the_package_the_rest_is_measured_and_one_sentence_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    text = TRAIN + HELD_OUT
    tokenizer = CharTokenizer.fit(text)
    ids = tokenizer.encode(TRAIN), tokenizer.encode(HELD_OUT)
    whole = measure(ids, (TRAIN, HELD_OUT), tokenizer.vocab_size)
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    found = measure(ids, (TRAIN, HELD_OUT), tokenizer.vocab_size)
    assert found == replace(whole, ppmd=None, ppmd_missing=NO_PACKAGE) and whole.ppmd and not whole.ppmd_missing
    monkeypatch.undo()
    assert with_ppmd(found, (TRAIN, HELD_OUT)) == whole


@pytest.mark.parametrize(("free", "taken"), [(512, 256), (511, 128), (200, 64), (128, 64)])
def test_it_takes_half_of_the_free_memory_at_most(free: int, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ppmd, "free_memory", lambda: free << 20)
    assert check_available() == taken
    costs = ppmd_costs(TRAIN, HELD_OUT, rows=1)
    assert costs.megabytes == taken and costs.is_short_of_memory == (taken < MEGABYTES[0])
    assert costs.adapting == added(TRAIN, HELD_OUT) / len(HELD_OUT)  # a text this short needs little


def test_with_little_memory_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ppmd, "free_memory", lambda: 127 << 20)
    with pytest.raises(MeasurementError, match="128 MB of memory must be free for it, 127 MB are"):
        check_available()
    found = with_ppmd(KNOWN, (TRAIN, HELD_OUT))
    assert found.ppmd is None and "127 MB" in found.ppmd_missing and found.xz == KNOWN.xz


def test_memory_that_is_refused_is_said() -> None:
    resource = pytest.importorskip("resource", reason="limits a process on Unix only")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (100 << 20), before[1]))
    try:
        with pytest.raises(MeasurementError, match="its 256 MB of memory were refused"):
            ppmd_costs(TRAIN, HELD_OUT, rows=1)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert ppmd_costs(TRAIN, HELD_OUT, rows=1).megabytes == 256  # the next one has its turn


def test_memory_is_taken_once_and_freed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most = [0], [0]
    measured = ppmd._size

    def watched(*given: Any) -> int:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        size = measured(*given)
        at_work[0] -= 1
        return size

    monkeypatch.setattr(ppmd, "_size", watched)
    before = psutil.Process().memory_info().vms
    threads = [threading.Thread(target=ppmd_costs, args=(TRAIN * 20, HELD_OUT, 4)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert ppmd_costs(TRAIN, HELD_OUT, rows=4).megabytes == 256
    assert psutil.Process().memory_info().vms - before < 256 << 20


# --- as one of the baselines -----------------------------------------------------------------------------------------


def test_rows_are_as_many_as_in_a_validation_and_costs_are_nats_per_token() -> None:
    rng = np.random.default_rng(5)
    text = "".join(rng.choice(list("abc de"), size=20_000))
    known = replace(KNOWN, tokens_per_char=1.0)
    found = with_ppmd(known, (text[:2000], text[2000:])).ppmd  # 18,000 tokens
    direct = ppmd_costs(text[:2000], text[2000:], rows=3)
    assert found == direct.scaled(LN2) and found.all_rows == 3
    fewer = with_ppmd(KNOWN, (text[:2000], text[2000:])).ppmd  # 9,000 tokens
    assert fewer and fewer.all_rows == 1 and fewer.adapting == pytest.approx(direct.adapting * LN2 / 0.5)


def test_of_a_long_text_a_part_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.analysis.baselines.COMPRESSED_FITTED", 100)
    monkeypatch.setattr("charlm.analysis.baselines.COMPRESSED_SCORED", 50)
    whole, part = (TRAIN, HELD_OUT), (TRAIN[-100:], HELD_OUT[:50])
    assert with_ppmd(KNOWN, whole) == with_ppmd(KNOWN, part) and with_ppmd(KNOWN, part).ppmd


def test_nothing_held_out_is_refused() -> None:
    with pytest.raises(CorpusError, match="nothing is held out"):
        measure((np.array([0, 1], np.uint8), np.array([], np.uint8)), ("ab", ""), 2)


def test_costs_come_back_and_nothing_else_does() -> None:
    costs = Ppmd(adapting=1.5, frozen=1.75, rows=2, all_rows=3, megabytes=128)
    whole = asdict(costs)
    assert Ppmd.from_dict(whole) == costs
    odd: list[Any] = [None, [], {}, {**whole, "more": 1}, {name: whole[name] for name in list(whole)[1:]}]
    odd += [{**whole, "adapting": -1}, {**whole, "frozen": "1"}, {**whole, "frozen": float("nan")}]
    odd += [{**whole, "rows": 4}, {**whole, "rows": 0}, {**whole, "rows": True}, {**whole, "megabytes": 1.5}]
    for value in odd:
        with pytest.raises(ValueError, match="costs under PPMd"):
            Ppmd.from_dict(value)
