"""The samples of a run: all of them up to a bound, by step."""

import json
from pathlib import Path
from typing import Any

import pytest

from charlm.runs import samples
from charlm.runs.samples import SampleLog
from tests.tiny_runs import assert_same_training, store_in, trained


def sample(step: int) -> dict[str, Any]:
    return {"step": step, "prompt": "The ", "text": f"text {step}"}


def test_a_sample_is_that_of_its_step_or_of_the_last_before(tmp_path: Path) -> None:
    log = SampleLog(tmp_path / samples.FILE)
    assert log.steps() == [] and log.at(10) is None
    for step in (10, 20, 30):
        log.append(sample(step))
    assert log.steps() == [10, 20, 30] and log.steps() is log.steps()
    assert [log.at(step) for step in (9, 10, 19, 20, 99)] == [None, sample(10), sample(10), sample(20), sample(30)]
    log.cut(after=20)
    assert log.steps() == [10, 20] and log.at(99) == sample(20)
    log.append(sample(25))
    assert log.steps() == [10, 20, 25]


def test_of_very_many_every_other_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOST", 6)
    log = SampleLog(tmp_path / samples.FILE)
    for step in range(1, 8):
        log.append(sample(step))
    assert log.steps() == [1, 3, 5, 7]
    for step in range(8, 11):
        log.append(sample(step))
    assert log.steps() == [1, 5, 8, 10]
    again = SampleLog(log.path)  # as after a resume
    for step in (11, 12, 13):
        again.append(sample(step))
    assert again.steps() == [1, 8, 11, 13] and len(log.path.read_text().splitlines()) == 4


def test_a_full_disk_costs_no_sample_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOST", 4)
    log = SampleLog(tmp_path / samples.FILE)
    for step in range(1, 5):
        log.append(sample(step))

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("charlm.runs.history.append", refuse)
        with pytest.raises(OSError, match="No space"):
            log.append(sample(5))
    assert log.steps() == [1, 3]
    log.append(sample(5))
    assert log.steps() == [1, 3, 5]


def test_what_is_no_row_has_no_step(tmp_path: Path) -> None:
    path = tmp_path / samples.FILE
    path.write_text(f'{json.dumps(sample(1))}\n{{"step": "x"}}\n{json.dumps(sample(3))}\n{{"step": 4, "te')
    log = SampleLog(path)
    assert log.steps() == [1, 3] and log.at(4) == sample(3)


def test_the_bound_changes_nothing_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [usual] = trained(store_in(tmp_path / "usual"), eval_every=1)
    monkeypatch.setattr(samples, "MOST", 4)
    [few] = trained(store_in(tmp_path / "few"), eval_every=1)
    assert usual.sample_steps() == list(range(1, 13)) and len(few.sample_steps()) <= 4
    assert few.sample_steps()[-1] == 12 and few.sample() == usual.sample() and few.sample(1) == usual.sample(1)
    assert_same_training(usual, few)
