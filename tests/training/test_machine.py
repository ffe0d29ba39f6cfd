"""How fast this machine is: measured once, kept with its date, and measured again where the file says nothing of it."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.data.catalog import data_dir
from charlm.training import machine
from charlm.training.autosize import sizes
from charlm.training.machine import FILE, measure_again, speed


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    """Nothing is known but what stands in the file."""
    machine._measured.cache_clear()
    yield
    machine._measured.cache_clear()


def told() -> dict[str, Any]:
    """What stands in the file."""
    content: dict[str, Any] = json.loads((data_dir() / FILE).read_bytes())
    return content


def test_presets_stay_the_same_from_one_start_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    first = speed()
    steps = sizes("quick", 500_000, first.machine, ["lstm"])
    assert told()["when"] == first.when and told()["seconds"]["per_product"] == first.machine.per_product
    machine._measured.cache_clear()  # the program is started again
    monkeypatch.setattr(machine, "_time_step", lambda *_: pytest.fail("it is known"))
    assert speed() == first and sizes("quick", 500_000, speed().machine, ["lstm"]) == steps


@pytest.mark.parametrize(
    "change",
    [{"of": {"processor": "another"}}, {"seconds": {}}, {"seconds": {"per_product": 1e-11}}, {"when": "yesterday"},
     {"when": None}, {"seconds": {"per_product": 0, "per_step": 1e-6, "per_half_product": 0}},
     {"seconds": {"per_product": 1e-11, "per_step": "1", "per_half_product": 0}},
     {"seconds": {"per_product": 1e-11, "per_step": 60, "per_half_product": 0}}, {"seconds": [1, 2, 3]}],
)  # fmt: skip
def test_a_foreign_file_is_measured_anew(change: dict[str, Any]) -> None:
    first = speed()
    broken = json.dumps(told() | change)
    (data_dir() / FILE).write_text(broken)
    assert speed().machine == first.machine  # this process has measured it
    assert told()["of"] == machine._identity() and told()["seconds"]["per_step"] == first.machine.per_step


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"1" * 20_000, b"[" * 5_000])
def test_a_broken_file_is_measured_anew(content: bytes) -> None:
    data_dir().mkdir(parents=True)
    (data_dir() / FILE).write_bytes(content)
    assert speed().machine.per_product > 0 and told()["when"] == speed().when


def test_a_folder_that_cannot_be_written_costs_one_measurement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CHARLM_DATA", str(tmp_path / "file"))
    first = speed()
    monkeypatch.setattr(machine, "_time_step", lambda *_: pytest.fail("it is known"))
    assert speed() == first


def test_it_is_measured_again_on_demand() -> None:
    first = speed()
    (data_dir() / FILE).write_text(json.dumps(told() | {"when": "2026-05-03T12:00:00+00:00"}))
    assert speed().when == "2026-05-03T12:00:00+00:00" and speed().machine == first.machine
    assert measure_again().when >= first.when and told()["when"] == speed().when >= first.when


def test_what_was_measured_in_a_program_that_does_nothing_else_says_so() -> None:
    code = "from charlm.training.machine import speed; assert speed().quiet"  # this one may have threads of other tests
    subprocess.run([sys.executable, "-c", code], check=True)
    assert speed().quiet, "what stands in the file is known"


def test_what_was_measured_beside_other_work_says_so() -> None:
    stop, block = threading.Event(), b"x" * 10_000_000

    def work() -> None:
        while not stop.is_set():
            hashlib.sha256(block)  # without Python's lock

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert not measure_again().quiet and not speed().quiet
    finally:
        stop.set()
        for thread in threads:
            thread.join()
