"""Rows of a log: appended whole, read while written, cut for a resume."""

import json
import math
import threading
from pathlib import Path

import pytest

from charlm.runs import history
from charlm.runs.history import MetricsLog
from charlm.training.metrics import Metrics
from tests.tiny_runs import wait_for


def row(step: int) -> Metrics:
    return Metrics(step, 0.5, 1.23456789, None, 1e-3, 0.25, 1234.5678901, 1.0)


def test_rows_have_seven_digits_and_no_nan() -> None:
    written = row(1).to_dict()
    assert written["train_loss"] == 1.234568 and written["chars_per_second"] == 1234.568
    wild = Metrics(1, 0.0, math.nan, math.inf, 0.1, -math.inf, 0.0, 0.0).to_dict()
    assert wild["train_loss"] is wild["val_loss"] is wild["grad_norm"] is None
    json.dumps(wild, allow_nan=False)


def test_rows_beyond_a_step(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.rows() == []
    for step in (1, 5, 9):
        log.append(row(step).to_dict())
    assert [one["step"] for one in log.rows()] == [1, 5, 9]
    assert [one["step"] for one in log.rows(since=5)] == [9]
    assert log.rows(since=9) == []


def test_damaged_lines_are_left_out_and_a_cut_mends_them(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1})
    with log.path.open("ab") as file:
        file.write(b'\xff\xfe\n[1]\n{"step": "2"}\n{}\n' + b"[" * 100_000 + b'\n{"step": 3}\n{"step": 4, "tr')
    assert [one["step"] for one in log.rows()] == [1, 3]
    log.cut(after=2)
    log.append({"step": 3, "text": "a\u2028b\x85c\nd"})  # line ends for str.splitlines, not for JSON Lines
    assert log.rows() == [{"step": 1}, {"step": 3, "text": "a\u2028b\x85c\nd"}]


def test_a_reader_never_meets_half_a_row(tmp_path: Path) -> None:
    log, seen = MetricsLog(tmp_path / "metrics.jsonl"), []
    full = {"step": 1, "text": "x" * 5000}

    def write() -> None:
        for _ in range(200):
            log.append(full)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()

    def look() -> bool:
        seen.extend(log.rows())
        return not any(writer.is_alive() for writer in writers)

    wait_for(look)
    assert all(row == full for row in seen) and len(log.rows()) == 600


@pytest.mark.parametrize("block", [1, 7, 1 << 16])
def test_reading_from_the_end_gives_the_same_rows(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "BLOCK", block)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.last() is None
    for step in range(30):
        log.append({"step": step, "text": "ö\n" * step})
    assert [one["step"] for one in log.rows()] == list(range(30))
    assert [one["step"] for one in log.rows(since=27)] == [28, 29]
    with log.path.open("a") as file:
        file.write('{"step": 30, "tex')
    last = log.last()
    assert last is not None and last["step"] == 29


@pytest.mark.parametrize(
    "line",
    ['{"step": 1, "val_loss": "x"}', '{"step": 1, "seconds": []}', '{"step": 1, "train_loss": 1e999}',
     '{"step": 1, "train_loss": NaN}', '{"step": 99999999999999999999}', '{"step": true}', '{"step": -1}',
     '{"step": 1.0}', '{"step": 1, "text": 5}', '{"step": 1, "prompt": null}', '{"step": 1, "step": 2}',
     '{"step": 1, "text": "\\ud800"}',
     '{"step": 1, "more": [[[1]]]}', '{"step": 1, "grad_norm": true}', '{"step": 1, "chars_per_second": 1e41}'],
)  # fmt: skip
def test_rows_of_wrong_kinds_are_dropped_when_read(line: str, tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append(row(0).to_dict())
    with log.path.open("a") as file:
        file.write(line)
    assert [one["step"] for one in log.rows()] == [0]
    log.append({"step": 2, "train_loss": math.nan})
    assert log.rows(since=0) == [{"step": 2, "train_loss": None}]
