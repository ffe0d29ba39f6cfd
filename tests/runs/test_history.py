"""The course of a training: read on, thinned, and read anew when its log is another one."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.runs import history as course_module
from charlm.runs.history import MOST, HistoryReader, LossHistory, MetricsLog


def logged(log: MetricsLog, steps: range, every: int = 10) -> None:
    """Rows as a training writes them, one validation in `every`."""
    losses = {step: 2.0 + 1 / step if step % every == 0 else None for step in steps}
    lines = [
        json.dumps({"step": step, "train_loss": 1.0 + 1 / step, "val_loss": loss, "seconds": step / 10})
        for step, loss in losses.items()
    ]
    with log.path.open("a") as file:
        file.write("\n".join(lines) + "\n")


def steps_of(history: LossHistory) -> list[int]:
    return [row["step"] for row in history.rows]


@pytest.fixture
def log(tmp_path: Path) -> MetricsLog:
    return MetricsLog(tmp_path / "metrics.jsonl")


def test_a_course_is_read_on(log: MetricsLog, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = HistoryReader(log.path)
    assert reader.read() == LossHistory() and reader.read().last == {}
    logged(log, range(1, 21))
    first = reader.read()
    assert steps_of(first) == list(range(1, 21)) and first.last["step"] == 20
    assert reader.read() is first
    parsed: list[bytes] = []
    original = course_module.parsed_row
    monkeypatch.setattr(course_module, "parsed_row", lambda line: parsed.append(line) or original(line))
    logged(log, range(21, 24))
    second = reader.read()
    assert len(parsed) == 3 and steps_of(second) == list(range(1, 24))
    assert [row["step"] for row in second.since(21)] == [22, 23] and not second.since(23)
    assert [row["step"] for row in second.lows] == [10, 20]
    assert [row["step"] for row in second.standing] == [10, 20, 23]


def test_a_torn_last_line_waits_for_its_end(log: MetricsLog) -> None:
    reader = HistoryReader(log.path)
    line = json.dumps({"step": 2, "train_loss": 2.5, "val_loss": None, "seconds": 1.0})
    logged(log, range(1, 2))
    for piece, known in ((line[:20], [1]), (line[20:-1], [1]), (line[-1:], [1, 2]), ("\n", [1, 2])):
        with log.path.open("a") as file:
            file.write(piece)
        assert steps_of(reader.read()) == known
    logged(log, range(3, 5))
    assert steps_of(reader.read()) == [1, 2, 3, 4] == steps_of(HistoryReader(log.path).read())


def test_a_log_that_was_cut_replaced_or_deleted_is_read_anew(log: MetricsLog) -> None:
    reader = HistoryReader(log.path)
    logged(log, range(1, 41))
    assert reader.read().last["step"] == 40
    log.cut(after=20)  # as a resume does
    assert reader.read().last["step"] == 20 and [row["step"] for row in reader.read().lows] == [10, 20]
    logged(log, range(21, 31))
    assert steps_of(reader.read()) == list(range(1, 31))
    inode = log.path.stat().st_ino
    with log.path.open("r+") as file:  # the same file, longer, with another beginning
        file.truncate()
        file.write("".join(json.dumps({"step": step, "note": "x" * 200}) + "\n" for step in range(100, 160)))
    assert log.path.stat().st_ino == inode
    assert steps_of(reader.read()) == list(range(100, 160)) and not reader.read().lows
    log.path.unlink()
    assert reader.read() == LossHistory()


def test_a_long_log_is_thinned_and_keeps_what_decides(log: MetricsLog, monkeypatch: pytest.MonkeyPatch) -> None:
    logged(log, range(1, 20_001), every=500)
    parsed: list[bytes] = []
    original = course_module.parsed_row
    monkeypatch.setattr(course_module, "parsed_row", lambda line: parsed.append(line) or original(line))
    history = HistoryReader(log.path).read()
    assert len(parsed) <= 2 * MOST + 41  # what is not drawn is not parsed
    assert MOST <= len(history.rows) <= 2 * MOST + 41 and steps_of(history) == sorted(set(steps_of(history)))
    assert [row["step"] for row in history.rows if row["val_loss"]] == list(range(500, 20_001, 500))
    assert history.last["step"] == 20_000 and [row["step"] for row in history.lows] == list(range(500, 20_001, 500))
    gaps = [b - a for a, b in zip(steps_of(history)[:-1], steps_of(history)[1:], strict=True)]
    assert max(gaps) <= 20_000 // MOST


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 9)), max_size=60),
    st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")]),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.integers(1, 3),
    st.integers(150, 400),
)
def test_whatever_is_thinned_what_decides_is_there(
    tmp_path_factory: pytest.TempPathFactory,
    losses: list[float | None],
    between: tuple[str, str],
    end: str,
    most: int,
    chunk: int,
) -> None:
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    rows = [{"step": step, "train_loss": 1 / step, "val_loss": loss} for step, loss in enumerate(losses, start=1)]
    path.write_text("".join(json.dumps(row, separators=between) + end for row in rows), encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course_module, "CHUNK", chunk)
        history = HistoryReader(path, most).read()
    known = [(step, loss) for step, loss in enumerate(losses, start=1) if loss is not None]
    lows = [one for place, one in enumerate(known) if all(one[1] < loss for _, loss in known[:place])]
    assert [(row["step"], row["val_loss"]) for row in history.lows] == lows
    assert history.last.get("step", 0) == len(losses) and history.validated in (0, *(step for step, _ in known))
    assert len(history.rows) <= 2 * (2 * most + 1) + 1 and steps_of(history) == sorted(set(steps_of(history)))
    if known:
        assert history.span[2] == max(loss for _, loss in known)


def test_as_many_validations_are_thinned_too(log: MetricsLog) -> None:
    logged(log, range(1, 5001), every=1)
    history = HistoryReader(log.path, most=100).read()
    assert len(history.rows) <= 202 and history.last["step"] == 5000 and len(history.lows) == 5000


def test_read_at_once_or_as_it_grows_it_is_the_same_course(log: MetricsLog) -> None:
    reader = HistoryReader(log.path, most=20)
    for start in range(1, 300, 7):
        logged(log, range(start, start + 7))
        reader.read()
    assert reader.read() == HistoryReader(log.path, most=20).read()


def test_rows_of_others_are_cleaned(log: MetricsLog) -> None:
    log.path.write_text(
        '{"step": 1}\n{"step": 2, "train_loss": NaN, "val_loss": "low", "seconds": null}\n[1]\n'
        '{"step": 2, "train_loss": 1}\n{"step": 1, "train_loss": 1}\n{"step": 3, "train_loss": true, "seconds": 4}\n'
        '{"step": 4, "seconds": 4}\n{"step": 5, "val_loss": 1e999}'
    )
    history = HistoryReader(log.path).read()
    assert [(row["step"], row["train_loss"], row["val_loss"], row["seconds"]) for row in history.rows] == [
        (1, None, None, 0.0), (2, 1, None, 0.0), (4, None, None, 4)
    ]  # fmt: skip


@given(st.binary(max_size=200), st.integers(1, 5))
def test_any_bytes_are_read(tmp_path_factory: pytest.TempPathFactory, data: bytes, pieces: int) -> None:
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    reader = HistoryReader(path)
    good = b'{"step": 7, "train_loss": 1.5}\n'
    content = data + b"\n" + good
    for piece in range(pieces):
        with path.open("ab") as file:
            file.write(content[piece * len(content) // pieces : (piece + 1) * len(content) // pieces])
            file.flush()
            os.utime(path, ns=(piece, piece))
        history = reader.read()
    assert history.last["step"] >= 7
