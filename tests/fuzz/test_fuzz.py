"""Damaged files of every kind are read in a process of their own: refused in a plain line, or accepted; nothing else.

`pytest tests/fuzz --fuzz 100000 -s` prints the figures of so many; `--fuzz-seed` takes others.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from charlm.errors import CheckpointError
from tests.fuzz.guard import memory, reset_peak
from tests.fuzz.loop import complaint
from tests.fuzz.mutations import STRUCTURED, mutated
from tests.patience import patience

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarm clock here")
SECONDS_A_CASE = 1.0  # of patience, not of what it may take

WATCHED = """
import os, sys
from pathlib import Path
from tests.fuzz.guard import Guard, Violation
home = Path(sys.argv[1])
guard = Guard(home)
with guard.learns():
    import json
with guard.watches(10):
    (home / "a").write_text("x")
    os.replace(home / "a", home / "b")
    os.remove("b", dir_fd=os.open(home, os.O_RDONLY))
    json.loads("[]")
for act in ACTS:
    try:
        with guard.watches(1):
            act()
    except BaseException as error:
        print(type(error).__name__)
    else:
        print("nothing")
"""
ACTS = """[
    lambda: exec("1"), lambda: eval("1"), lambda: os.system("true"), lambda: __import__("subprocess").run("true"),
    lambda: __import__("socket").create_connection(("127.0.0.1", 9)),
    lambda: __import__("pickle").loads(b"cos\\nmkdir\\n."),
    lambda: __import__("antigravity"), lambda: open(home.parent / "out", "w"), lambda: os.mkdir(home.parent / "out"),
    lambda: os.rename(home, home.parent / "out"), lambda: [None for _ in iter(int, 1)],
]"""


def run(*arguments: str, timeout: float = 120) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=patience(timeout), check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_guard_hears_what_it_must(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    told = run("-c", WATCHED.replace("ACTS", ACTS), str(home)).split()
    assert told == ["Violation"] * 10 + ["Hang"] and not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell the peak")
def test_the_scales_feel_memory() -> None:
    reset_peak()
    before = memory()[0]
    block = bytearray(80 << 20)
    del block
    assert memory()[1] - before > 70 << 20


def test_only_one_plain_line_is_a_good_refusal() -> None:
    assert complaint(CheckpointError("best.safetensors is cut off; take another")) == ""
    for error in (ValueError("x"), CheckpointError(""), CheckpointError("a\nb"), CheckpointError("x" * 600),
                  CheckpointError("Traceback (most"), CheckpointError("\ud800"), KeyError("x")):  # fmt: skip
        assert complaint(error)


@pytest.mark.parametrize("suffix", ["", ".json", ".jsonl"])
def test_a_case_can_be_repeated_and_does_damage(suffix: str) -> None:
    whole = b'{"step": 1, "text": "a"}'
    made = [mutated(f"a{suffix}", whole, (Random(number), [b"other"])) for number in range(50)]
    assert made == [mutated(f"a{suffix}", whole, (Random(number), [b"other"])) for number in range(50)]
    assert len({*made, whole}) > 40 and set(STRUCTURED) == {".json", ".jsonl", ".safetensors", ".zip", ".gz"}


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_no_damaged_file_does_harm(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    cases, seed = request.config.getoption("--fuzz"), request.config.getoption("--fuzz-seed")
    keep = request.config.getoption("--fuzz-keep") or tmp_path / "kept"
    asked = ("-m", "tests.fuzz.loop", "--cases", str(cases), "--seed", str(seed), "--keep", str(keep))
    *table, last = run(*asked, timeout=120 + SECONDS_A_CASE * cases).splitlines()
    print("", *table, sep="\n")
    tallies = json.loads(last)
    assert sum(tally["cases"] for tally in tallies) == cases
    assert [failure for tally in tallies for failure in tally["failures"]] == []
    if cases >= 1_000:  # much more of either would say that the damage is not what it should be
        assert min(sum(tally[what] for tally in tallies) for what in ("accepted", "refused")) > cases / 10
