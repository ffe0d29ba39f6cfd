"""How a server and a command end: saved, marked as interrupted, offered again at the next start."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charlm.cli import main
from charlm.runs.store import RunStore
from tests.patience import client, patience
from tests.server import ROOT, Server, serving
from tests.tiny_runs import TEXT, assert_same_training, wait_for

OPTIONS: dict[str, Any] = {
    "hidden_size": 8, "num_layers": 1, "seq_len": 10, "batch_size": 4, "steps": 1_000_000, "eval_every": 100,
}  # fmt: skip
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


def short(steps: int) -> dict[str, Any]:
    return OPTIONS | {"steps": steps}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_server_that_is_ended_saves_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """What trains and what waits is interrupted and offered, by one signal and, gone on with, by the other."""
    places = {"CHARLM_RUNS": str(tmp_path / "runs"), "CHARLM_DATA": str(tmp_path / "data")}
    store = RunStore(tmp_path / "runs", tmp_path / "none")
    with serving(tmp_path, **places) as server:
        lab = client(server.address)
        race = [one["run_id"] for one in lab.predict("sherlock", None, ["gru", "rnn"], OPTIONS, api_name="/race")]
        waiting = lab.predict("sherlock", None, "lstm", short(5), api_name="/train")["run_id"]
        wait_for(lambda: store.get(race[1]).step > 60)
        end(server, signal.SIGTERM)
    ended = [store.get(run_id) for run_id in (*race, waiting)]
    assert [run.status for run in ended] == ["interrupted"] * 3
    assert all((run.folder / "resume.safetensors").exists() and run.step > 60 for run in ended[:2])
    with serving(tmp_path, **places) as server:
        lab = client(server.address)
        assert lab.predict(waiting, {}, api_name="/resume")["status"] in ("queued", "running")
        wait_for(lambda: store.get(waiting).status == "finished")
        for run_id in reversed(race):  # one goes on alone, the other waits
            assert lab.predict(run_id, {}, api_name="/resume")["status"] in ("queued", "running")
        wait_for(lambda: store.get(race[1]).step > ended[1].step)
        end(server, signal.SIGINT)
    assert [store.get(run_id).status for run_id in race] == ["interrupted"] * 2
    assert store.get(race[0]).step == ended[0].step
    steps = [row["step"] for row in store.get(race[1]).metrics()]
    assert steps == sorted(set(steps)) and steps[-1] > ended[1].step


def end(server: Server, number: int) -> None:
    """Send a signal; the app's last word is no traceback, its exit code tells of the signal."""
    server.process.send_signal(number)
    assert server.process.wait(patience(90)) == EXIT_CODES[number], server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def command(*words: str, folder: Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "CHARLM_RUNS": str(folder / "runs"), "CHARLM_DATA": str(folder / "data")}
    return subprocess.Popen(
        [sys.executable, "-m", "charlm", *words], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def flags(options: dict[str, Any]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.slow
def test_a_command_that_is_ended_goes_on_to_the_same_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ended twice, by one signal and the other."""
    (tmp_path / "pets.txt").write_text(TEXT, encoding="utf-8")
    store = RunStore(tmp_path / "runs", tmp_path / "none")
    train = ["train", str(tmp_path / "pets.txt"), *flags(short(1500)), "--dropout", "0.2"]
    begun = command(*train, folder=tmp_path)
    [run] = wait_for(lambda: [run for run in store.list() if run.step >= 100])
    for number, words in ((signal.SIGTERM, ["resume", run.run_id]), (signal.SIGINT, ["resume", run.run_id, "--json"])):
        begun.send_signal(number)
        assert begun.communicate(timeout=patience(90))[1] is not None and begun.returncode == EXIT_CODES[number]
        ended = store.get(run.run_id)
        assert ended.status == "interrupted" and run.step <= ended.step < 1500
        begun = command(*words, folder=tmp_path)
        run = wait_for(lambda ended=ended: (now := store.get(ended.run_id)).step > ended.step and now)
    assert json.loads(begun.communicate(timeout=patience(270))[0].splitlines()[-1])["steps"] == 1500
    assert main([*train, "--json"]) == 0
    whole_id = json.loads(capsys.readouterr().out.splitlines()[-1])["run_id"]
    assert_same_training(store.get(run.run_id), store.get(whole_id))


@pytest.mark.slow
def test_two_servers_on_one_folder_do_not_trample_each_other(tmp_path: Path) -> None:
    """Of two that resume the same run one wins, the other says so; nobody deletes what the other trains."""
    from gradio_client.exceptions import AppError

    places = {"CHARLM_RUNS": str(tmp_path / "runs"), "CHARLM_DATA": str(tmp_path / "data")}
    store = RunStore(tmp_path / "runs", tmp_path / "none")
    with serving(tmp_path, **places) as one, serving(tmp_path, **places) as other:
        mine, theirs = (client(server.address) for server in (one, other))
        run_id = mine.predict("sherlock", None, "rnn", OPTIONS, api_name="/train")["run_id"]
        wait_for(lambda: store.get(run_id).step > 10)
        assert theirs.predict(run_id, -1, api_name="/status")["status"] == "running"
        for order in (("/resume", {}), ("/stop",), ("/pause",)):
            with pytest.raises(AppError, match="running"):
                theirs.predict(run_id, *order[1:], api_name=order[0])
        deleted = command("runs", "delete", run_id, "--yes", folder=tmp_path)
        assert b"stop it first" in deleted.communicate(timeout=patience(270))[1] and deleted.returncode == 2
        one.process.kill()
        one.process.wait(patience(90))
        wait_for(lambda: theirs.predict(run_id, -1, api_name="/status")["status"] == "interrupted")
        assert theirs.predict(run_id, {}, api_name="/resume")["status"] in ("queued", "running")
        step = store.get(run_id).step
        wait_for(lambda: store.get(run_id).step > step)
