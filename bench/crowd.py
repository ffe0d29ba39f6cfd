"""A crowd of strangers who have texts written on a public Space during a training.

Seconds until the first text or a refusal, the training's speed beside its speed alone, and whether each client got its
own text: the one that the same wish brings alone.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from bench.measure import ROOT, Row
from bench.start import first_byte, free_port, server
from bench.writers import Client, Told, Wish

CLIENTS, TIMES = 50, 10
PROMISED = 2.0  # seconds until everyone is served, or asked to wait
ALONE = 12.0  # seconds that the training is watched alone
TRAINING = {"hidden_size": 256, "num_layers": 2, "batch_size": 64, "seq_len": 64, "steps": 2000, "eval_every": 100_000}
SMALL = {**TRAINING, "hidden_size": 16, "num_layers": 1, "batch_size": 16}


def measure(quick: bool = False) -> list[Row]:
    """Rows of waits, speeds and mistakes."""
    clients, times, alone = (6, 2, 1.0) if quick else (CLIENTS, TIMES, ALONE)
    options = SMALL if quick else TRAINING
    with public_app() as address:
        training = Training(address, options)
        before = training.speed(alone)
        with training.watched() as speeds:
            told = load(address, clients, times)
        training.stop()
        wrong = [one for one in told if not one.own or not (one.refusal or is_what_comes_alone(address, one, times))]
    return rows(told, before, speeds[0], wrong, clients)


def rows(told: Sequence[Told], before: float, during: float, wrong: Sequence[Told], clients: int) -> list[Row]:
    """What was found, for people."""
    served, refused = [one for one in told if not one.refusal], [one for one in told if one.refusal]
    late = [one for one in told if one.first > PROMISED]
    unclear = [one for one in refused if "wait" not in one.refusal and "try again" not in one.refusal]
    crowd = f"{clients} clients, {len(told)} texts"
    firsts = [one.first for one in told]
    return [
        Row(f"until the first text or a refusal, {crowd}", "s", firsts, goal=f"all within {PROMISED:g} s"),
        Row("the longest of these waits", "s", [max(firsts)], goal=f"<= {PROMISED:g}"),
        Row("until the whole text", "s", [one.whole for one in served] or [0.0]),
        Row("waits longer than that", "texts", [len(late)], goal="0"),
        Row("refused, and told to wait", "texts", [len(refused) - len(unclear)]),
        Row("refused without a way out", "texts", [len(unclear)], goal="0"),
        Row("another's text, or not the one that comes alone", "texts", [len(wrong)], goal="0"),
        Row("training meanwhile (usual: alone)", "chars/s", [during], [before], ">= 0.4x"),
    ]


@contextlib.contextmanager
def public_app() -> Iterator[str]:
    """app.py as a public Space, in a process of its own; its address."""
    port, began = free_port(), time.perf_counter()
    with server([sys.executable, "app.py"], port, CHARLM_PUBLIC="1", CHARLM_AT_ONCE="1") as process:
        first_byte(process, port, began)
        yield f"http://127.0.0.1:{port}"


class Training:
    """A stranger's training, and its speed."""

    def __init__(self, address: str, options: dict[str, Any]) -> None:
        self._client = Client(address)
        self._tokens = options["batch_size"] * options["seq_len"]
        self._run_id = self._predict("train", ["sherlock", None, "lstm", options])["run_id"]
        while self._step() < 3:
            time.sleep(0.2)

    def _predict(self, name: str, inputs: list[Any]) -> Any:
        event, data = list(self._client.call(name, inputs))[-1]
        if event != "complete":
            raise SystemExit(f"/{name} said: {data}")
        return data[0]

    def _step(self) -> int:
        return int(self._predict("status", [self._run_id, 1_000_000])["step"])

    def speed(self, seconds: float) -> float:
        """Characters a second, over so many seconds."""
        with self.watched() as speeds:
            time.sleep(seconds)
        return speeds[0]

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[float]]:
        """Characters a second, by the clock on the wall; known once the block has ended."""
        speeds: list[float] = []
        step, began = self._step(), time.perf_counter()
        yield speeds
        state = self._predict("status", [self._run_id, 1_000_000])
        if state["status"] != "running":
            print(f"  the training was {state['status']} before the crowd had left", file=sys.stderr)
        speeds.append((state["step"] - step) * self._tokens / (time.perf_counter() - began))

    def stop(self) -> None:
        """End it, unless it has ended."""
        list(self._client.call("stop", [self._run_id]))


def load(address: str, clients: int, times: int) -> list[Told]:
    """The crowd, in a process of its own."""
    words = [sys.executable, "-m", "bench.writers", address, str(clients), str(times)]
    said = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout
    return [Told(**one) for one in json.loads(said)]


def is_what_comes_alone(address: str, told: Told, times: int) -> bool:
    """Whether the same wish brings the same text alone; one of each client's is tried."""
    if told.number != told.client % times:
        return True
    return Client(address).ask(Wish(told.client, told.number)).text == told.text
