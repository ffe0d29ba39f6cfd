"""A process that has imported everything and forks a worker for every order, so that a kill costs no start of Python.

Orders come as JSON lines on stdin, answers go as JSON lines to stdout; see `Zygote` for the other side.
"""

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charlm.jobs import runner
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.runs import checkpoint
from charlm.runs.resume import reopen
from charlm.runs.store import RunStore
from tests.faults.disk import Disk
from tests.patience import patience
from tests.tiny_runs import entered, small_corpus, store_in, trained

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS: dict[str, Any] = {"steps": 60, "eval_every": 5, "dropout": 0.3}
# Changes of a folder as Python's audit hooks name them; `open` counts if it is for writing.
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree", "shutil.move")


class Zygote:
    """The tests' end of it."""

    def __init__(self, folder: Path) -> None:
        self._said = folder / "zygote.txt"
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.zygote"],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

    def order(self, folder: Path, do: str, **details: Any) -> dict[str, Any]:
        """Let a worker do something in `folder`, and perhaps be killed.

        Args:
            folder: runs and shipped lie below; texts where CHARLM_DATA says.
            do: a function of this module.
            details: `operation`: kill it within this write; `change`: at this change of a folder; `seconds`: after so
                long; `archs` or `run_ids`: of what it works on; `steps`: of a new training.

        Returns:
            killed; told: what it said, [[word, ...], ...]; changes, operations, seconds.
        """
        assert self._process.stdin and self._process.stdout
        places = {"folder": str(folder), "data": os.environ["CHARLM_DATA"]}
        self._process.stdin.write(json.dumps({**places, "do": do, **details}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        assert answer and not answer["failed"], self._said.read_text()
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Serve orders, one at a time."""
    _warm_up()
    assert len(os.listdir("/proc/self/task")) == 1, "forking needs a process of one thread"
    for line in sys.stdin:
        print(json.dumps(_obey(json.loads(line))), flush=True)


def _warm_up() -> None:
    """What is compiled or imported late is there before the first worker."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHARLM_DATA"] = folder
        trained(store_in(Path(folder)), "lstm", "gru", "rnn", **{**SETTINGS, "steps": 2, "eval_every": 1})


def _obey(order: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _work(order, writing)
    os.close(writing)
    said, deadline = b"", began + (order["seconds"] if "seconds" in order else patience(120))
    with open(reading, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not (piece := pipe.read(1 << 16)):
                break
            said += piece
        else:
            os.kill(child, signal.SIGKILL)
            said += pipe.read()
        _, status = os.waitpid(child, 0)
        told = [line.split() for line in said.decode().splitlines()]
    code = os.waitstatus_to_exitcode(status)
    return {
        "killed": code == -signal.SIGKILL,
        "failed": code not in (0, -signal.SIGKILL),
        "told": [words for words in told if words[0] != "count"],
        "counts": next(([int(word) for word in words[1:]] for words in told if words[0] == "count"), None),
        "seconds": time.monotonic() - began,
    }


def _work(order: dict[str, Any], pipe: int) -> None:
    """The forked worker; never returns."""
    code = 1
    try:
        os.dup2(2, 1)  # nothing it prints is taken for an answer
        folder = Path(order["folder"])
        os.environ["CHARLM_DATA"] = order["data"]

        def tell(*words: Any) -> None:
            os.write(pipe, (" ".join(map(str, words)) + "\n").encode())

        with _deadly(order) as counts:
            globals()[order["do"]](store_in(folder), order, tell)
        tell("count", *counts())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


@contextlib.contextmanager
def _deadly(order: dict[str, Any]) -> Iterator[Any]:
    """Kill this process in the ordered write, or at the ordered change of a folder."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    changes = 0

    def look(event: str, args: tuple[Any, ...]) -> None:
        nonlocal changes
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in CHANGES:
            changes += 1
            if changes == order.get("change"):
                die()

    sys.addaudithook(look)
    with Disk(lambda number: number == order.get("operation"), die).installed() as disk:
        disk.patient = False
        yield lambda: (disk.count, changes)


# --- what workers do --------------------------------------------------------------------------------------------------


def train(store: RunStore, order: dict[str, Any], tell: Any) -> None:
    """Enter a training or a race, or go on with one, to its end; tell every state as soon as it is saved."""

    def save(folder: Path, model: Any, state: Any) -> None:
        checkpoint.save_training(folder, model, state)
        tell("saved", folder.name, state.step)

    runner.SAVE_SECONDS, runner.SAVE_SHARE = 0.0, float("inf")  # after every step
    runner.__dict__["save_training"] = save
    resume = bool(order.get("run_ids"))
    if resume:
        runs = [store.get(run_id) for run_id in order["run_ids"]]
        corpus, *_ = [reopen(run, {}) for run in runs]
    else:
        runs = entered(store, *order["archs"], **{**SETTINGS, "steps": order.get("steps", SETTINGS["steps"])})
        corpus = small_corpus()
    run_trainers(prepare(runs, corpus, resume), Control())


def cramped(store: RunStore, order: dict[str, Any], tell: Any) -> None:
    """A training that meets a limit on the size of files, tells how it rests, and goes on when the limit is lifted."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    runner.SAVE_SECONDS, runner.SAVE_SHARE, runner.RETRY_SECONDS = 0.0, float("inf"), 0.0
    trainers = prepare(entered(store, **order["options"]), small_corpus())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def lift() -> None:
        if trainers[0].trouble:
            tell("rests", trainers[0].trouble)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], hard))
    run_trainers(trainers, Control(), lift)


def delete(store: RunStore, order: dict[str, Any], tell: Any) -> None:
    """Into the trash."""
    store.delete(store.get(order["run_ids"][0]))


def restore(store: RunStore, order: dict[str, Any], tell: Any) -> None:
    """Out of the trash."""
    store.restore(order["run_ids"][0])


def trim(store: RunStore, order: dict[str, Any], tell: Any) -> None:
    """Keep the best weights only."""
    store.trim(store.get(order["run_ids"][0]))


def empty(store: RunStore, order: dict[str, Any], tell: Any) -> None:
    """The trash."""
    store.empty_trash()


if __name__ == "__main__":
    main()
