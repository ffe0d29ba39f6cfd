"""One training in two real processes: the numbers of one, a process that is killed, and what others then resume."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import allclose

from charlm.cli import distributed, main
from charlm.errors import ConfigError
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.training.distributed import check_gpus
from tests.patience import patience, wait_for
from tests.tiny_runs import TEXT, resumed, state_numbers, stopped, trained

ROOT = Path(__file__).resolve().parents[2]
# Slow enough that other orders of sums do not grow apart.
LONG: dict[str, Any] = {"steps": 3000, "eval_every": 1000, "dropout": 0.0, "learning_rate": 1e-4}
SMALL = ("--hidden-size", "8", "--seq-len", "10", "--batch-size", "4", "--steps", "12", "--eval-every", "4")


def settings(rank: int, port: int, size: int = 2) -> dict[str, str]:
    """What torchrun tells a process, over the local interface."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {**os.environ, "GLOO_SOCKET_IFNAME": "lo", **{name: str(value) for name, value in told.items()}}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Pair:
    """A command in two processes; those that are left are killed at the end."""

    def __init__(self, *words: str) -> None:
        port, command = free_port(), [sys.executable, "-m", "charlm", *words]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
        self.ranks = [subprocess.Popen(command, env=settings(rank, port), **pipes) for rank in range(2)]

    def ends(self) -> list[tuple[int, str, str]]:
        """Exit code, output and remarks of each, once both have ended."""
        said = [rank.communicate(timeout=patience(120)) for rank in self.ranks]
        return [(rank.returncode, *both) for rank, both in zip(self.ranks, said, strict=True)]

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *_: object) -> None:
        for rank in self.ranks:
            rank.kill()
            rank.communicate()


@pytest.fixture
def book(tmp_path: Path) -> str:
    path = tmp_path / "pets.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


@pytest.fixture
def runs(tmp_path: Path) -> RunStore:
    """Where the command line puts its runs."""
    return RunStore(tmp_path / "runs", tmp_path / "shipped")


def assert_nearly_same(one: Run, other: Run) -> None:
    """Equal up to the order of sums: the losses to five digits, and what is resumed from as far as Adam lets it be."""
    for mine, theirs in zip(scheduled(one), scheduled(other), strict=True):
        assert mine == pytest.approx(theirs, rel=2e-5)
    kept, expected = (load_file(run.folder / "resume.safetensors") for run in (one, other))
    assert kept.keys() == expected.keys()
    for name in kept.keys() - {"generator"}:
        assert allclose(kept[name].double(), expected[name].double(), rtol=1e-2, atol=1e-3), name
    places, others = ({name: state_numbers(run)[name] for name in ("step", "epoch", "batch")} for run in (one, other))
    assert places == others


def scheduled(run: Run) -> list[tuple[int, float, float]]:
    """Step, training and validation loss of the validations that are due."""
    every = run.train_config.eval_every
    return [(row["step"], row["train_loss"], row["val_loss"]) for row in run.metrics() if row["step"] % every == 0]


@pytest.mark.parametrize("arch", ["lstm", pytest.param("transformer", marks=pytest.mark.slow)])
def test_two_processes_come_to_the_losses_of_one(arch: str, book: str, runs: RunStore) -> None:
    words = ("train", book, *SMALL, "--arch", arch, "--dropout", "0", "--json")
    with Pair(*words) as pair:
        (code, out, err), (other_code, *other) = pair.ends()
    assert (code, other_code, other) == (0, 0, ["", ""]), err
    assert main([*words]) == 0
    [alone, shared] = runs.list()
    assert json.loads(out)["run_id"] == shared.run_id and shared.status == "finished"
    assert_nearly_same(shared, alone)
    assert shared.samples()[0]["prompt"] == alone.samples()[0]["prompt"]


def beyond(runs: RunStore, run: Run, step: int) -> bool:
    return any(row["step"] > step for row in runs.get(run.run_id).metrics())


@pytest.mark.slow
def test_what_ends_a_process_ends_all_and_the_run_is_resumed_by_any_number(runs: RunStore) -> None:
    [whole] = trained(runs, **LONG)
    run = stopped(runs, 20, **LONG)  # by one process
    with Pair("resume", run.run_id) as pair:
        wait_for(lambda: beyond(runs, run, run.step + 60), seconds=120)
        pair.ranks[0].send_signal(signal.SIGTERM)
        pair.ranks[1].send_signal(signal.SIGTERM)  # torchrun passes it on to all
        (code, _, _), (other_code, *other) = pair.ends()
    assert (code, other_code, other) == (143, 0, ["", ""])
    saved = runs.get(run.run_id)
    assert saved.status == "interrupted" and run.step + 60 < saved.step < 3000
    with Pair("resume", run.run_id) as pair:
        wait_for(lambda: beyond(runs, saved, saved.step + 60), seconds=120)
        os.kill(pair.ranks[1].pid, signal.SIGKILL)
        (code, out, err), (other_code, *_) = pair.ends()
    assert (code, other_code) == (1, -signal.SIGKILL) and out.startswith(run.label)
    last = err.splitlines()[-1]
    assert "another process of this training has ended" in last and "resume the run" in last, err
    assert "Traceback" not in err
    assert runs.get(run.run_id).status == "failed"
    [end] = resumed(runs, run)  # by one process again
    assert_nearly_same(end, whole)


@pytest.mark.slow
def test_the_others_say_that_the_first_is_gone(runs: RunStore) -> None:
    run = stopped(runs, 20, **LONG)
    with Pair("resume", run.run_id) as pair:
        wait_for(lambda: beyond(runs, run, run.step + 60), seconds=120)
        pair.ranks[0].kill()
        _, (code, out, err) = pair.ends()
    assert (code, out) == (1, "") and len(err.splitlines()) == 1
    assert err.startswith("charlm: process 1: another process of this training has ended or cannot be reached (")
    assert ".cc:" not in err and len(err) < 300
    assert runs.get(run.run_id).status == "interrupted"


@pytest.mark.slow
def test_torchrun_starts_them(book: str, runs: RunStore) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    told = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    track = ["--track", "tensorboard"] if find_spec("tensorboard") else []
    started = subprocess.run(
        [*launcher, "--local-addr", "127.0.0.1", "-m", "charlm", "train", book, *SMALL, *track, "--json"],
        capture_output=True, text=True, cwd=ROOT, env=told, timeout=patience(240),
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    [run] = runs.list()
    assert json.loads(started.stdout)["steps"] == 12 and run.status == "finished"
    assert len(list(run.folder.glob("*tfevents*"))) == bool(track)  # the first process alone writes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("train", "BOOK", *SMALL, "--batch-size", "5"),
            "batch_size 5 cannot be shared out equally between 2 processes",
        ),
        (("train", "BOOK", *SMALL, "--arch", "ngram"), "an n-gram is counted by one process"),
        (("train", "BOOK", "--hidden-size", "-3"), "hidden_size -3 is outside"),
    ],
)
def test_what_two_cannot_train_is_said_once(words: tuple[str, ...], said: str, book: str, runs: RunStore) -> None:
    with Pair(*(book if word == "BOOK" else word for word in words)) as pair:
        (code, out, err), other = pair.ends()
    assert (code, out, other) == (2, "", (0, "", ""))
    assert said in err and len(err.splitlines()) == 1
    assert not runs.list()


@pytest.fixture
def one_of_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """This process as torchrun would start it; nobody connects."""
    for name, value in settings(0, free_port()).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize("command", ["race", "experiment", "generate", "app"])
def test_other_commands_are_not_shared(
    command: str, one_of_two: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "x"]) == 2
    assert "torchrun shares out the training of one model" in capsys.readouterr().err
    one_of_two.setenv("RANK", "1")
    assert main([command, "x"]) == 2 and capsys.readouterr() == ("", "")


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    check_gpus("cpu")
    with pytest.raises(ConfigError, match=r"4 processes on a machine with 2 GPUs.*--nproc-per-node 2"):
        check_gpus("cuda")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    check_gpus("cuda")
    with pytest.raises(ConfigError, match="cannot train on device 'mps'"):
        check_gpus("mps")


def test_help_is_printed_once(one_of_two: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0 and "--batch-size" in capsys.readouterr().out
    one_of_two.setenv("RANK", "1")
    assert main(["train", "--help"]) == 0 and capsys.readouterr() == ("", "")


def test_one_process_is_no_team(one_of_two: pytest.MonkeyPatch) -> None:
    assert distributed.is_one_of_several() and distributed.processes() is None
    one_of_two.setenv("WORLD_SIZE", "1")
    assert not distributed.is_one_of_several()
