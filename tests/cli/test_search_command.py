"""The command `search`: real tiny searches, cut off by a signal and resumed; what it prints and refuses."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.cli import main
from charlm.experiments.search import Search
from charlm.experiments.trials import SEARCHED
from tests.cli.test_cli import answer, refusal
from tests.conftest import ROOT
from tests.patience import patience
from tests.tiny_runs import TEXT, wait_for

SMALL = ("--hidden-size", "8", "--num-layers", "1", "--seq-len", "10", "--batch-size", "4")
SHORT = ("--minutes", "0.05")


@pytest.fixture
def pets(tmp_path: Path) -> str:
    path = tmp_path / "pets.txt"
    path.write_text(TEXT * 20, encoding="utf-8")
    return str(path)


def test_it_prints_trials_what_mattered_and_what_to_type_next(pets: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", pets, "--archs", "gru,rnn", *SMALL, *SHORT]) == 0
    out, err = capsys.readouterr()
    lines, told = out.splitlines(), err.splitlines()
    assert "GRU" in lines and "RNN" in lines and any(line.split()[:3] == ["trial", "val", "loss"] for line in lines)
    assert re.search(
        r"^Each tuned for 0\.05 minutes: (GRU|RNN) \d\.\d{3}, (GRU|RNN) \d\.\d{3} nats per token\.$", out, re.M
    )
    assert re.search(
        r"^GRU: --arch gru --learning-rate \S+ --hidden-size \d+ --dropout \S+ --batch-size \d+ --sch", out, re.M
    )
    assert re.match(r"search (\S+): 0\.3 s a trial, 0\.05 min an architecture$", told[0])
    assert told[1].startswith("GRU base: validation loss ") and "--hidden-size 8" in told[1]
    assert any(line.startswith("RNN base: ") for line in told) and any(
        line.startswith("GRU trial 1: ") for line in told
    )
    search_id = told[0].split()[1].rstrip(":")
    assert lines[-1] == f"python -m charlm search --resume {search_id} --confirm"


def test_json_is_the_result_and_the_winner_can_be_typed_again(pets: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = answer(capsys, "search", pets, "--archs", "gru", *SMALL, *SHORT, "--seed", "3")
    assert told["done"] and told["minutes"] == 0.05 and [one["arch"] for one in told["archs"]] == ["gru"]
    [gru] = told["archs"]
    assert gru["trials"][0]["is_base"] and gru["base"]["hidden_size"] == 8 and set(gru["best"]) == set(SEARCHED)
    assert gru["trials"][0]["settings"] == gru["base"]
    options = [word for name, value in gru["best"].items() for word in (f"--{name.replace('_', '-')}", str(value))]
    rest = ["--arch", "gru", "--num-layers", "1", "--seq-len", "10", "--steps", "2"]
    assert answer(capsys, "train", pets, *rest, *options)["steps"] == 2
    again = answer(capsys, "search", "--resume", told["search"])  # nothing is left to do
    assert again == told
    assert answer(capsys, "runs", "list") and not any(
        "search" in run["run_id"] for run in answer(capsys, "runs", "list")
    )


@pytest.mark.slow
def test_winners_are_confirmed_with_three_fresh_seeds(pets: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = answer(capsys, "search", pets, "--archs", "gru,rnn", *SMALL, *SHORT, "--confirm")
    assert told["seeds"] == [8, 9, 10] and told["measured_on"] == "test" and told["sentences"]
    archs = [group["arch"] for group in told["groups"]]
    assert set(archs) == {"gru", "rnn"} and len(told["runs"]) == 3 * len(archs) and len(archs) >= 2
    assert {run["status"] for run in told["runs"]} == {"finished"}
    assert all(run["label"].startswith(("tuned-", "base-")) for run in told["runs"])


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(
    "number, code",
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143),
     pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow)],
)  # fmt: skip
def test_whatever_ends_it_it_goes_on_with_the_minutes_that_are_left(
    pets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    words = ["search", pets, "--archs", "rnn", *SMALL, "--minutes", "0.2"]
    log = tmp_path / "err.txt"
    with log.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "charlm", *words],
            cwd=ROOT,
            stderr=err,
            stdout=subprocess.DEVNULL,
            env={**os.environ},
        )
        try:
            wait_for(lambda: "trial 1: " in log.read_text())
        finally:
            process.send_signal(number)
            process.wait(patience(60))
    assert process.returncode == code
    [found] = Search.all(tmp_path / "runs")
    before = found.trials("rnn")
    assert not found.is_done and len(before) >= 2
    if number != signal.SIGKILL:
        assert (
            log.read_text().splitlines()[-1] == f"saved; go on with: python -m charlm search --resume {found.search_id}"
        )
    told = answer(capsys, "search", "--resume", found.search_id)
    [rnn] = told["archs"]
    assert told["done"] and 12 - 1.2 < rnn["seconds"] < 12 + 3 * 1.2
    ended = [trial for trial in before if trial.state != "running"]
    assert [trial["settings"] for trial in rnn["trials"][: len(ended)]] == [dict(trial.settings) for trial in ended]
    assert "running" not in {trial["state"] for trial in rnn["trials"]}


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "name the text to search on, or with --resume"),
        (["PETS", "--minutes", "0"], "minutes 0.0 is outside 0.05 to 10,000"),
        (["PETS", "--minutes", "ten"], "minutes must be a number, not 'ten'"),
        (["PETS", "--archs", ","], "different architectures, not none"),
        (["PETS", "--archs", "gru,gru"], "different architectures, not gru, gru"),
        (["PETS", "--archs", "lstm,ngram"], "there is nothing to search for; leave ngram out"),
        (["PETS", "--archs", "gpt"], "arch 'gpt' is not one of"),
        (["PETS", "--hidden-size", "0"], "hidden_size 0 is outside"),
        (["PETS", "--preset", "best"], "preset 'best' is not one of"),
        (["missing.txt"], "missing.txt"),
        (["--resume", "nix"], "there is no search 'nix'; none yet"),
        (["--resume", "nix", "--minutes", "4", "--hidden-size", "8"], "leave out --hidden-size, --minutes"),
        (["--resume", "../runs"], "there is no search"),
        (["PETS", "--steps", "3"], "No such option"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    pets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    typed = [pets if word == "PETS" else word for word in words]
    assert said in refusal(capsys, "search", *typed)
    assert not (tmp_path / "runs" / "searches").exists()


def test_the_help_and_other_commands_do_not_load_optuna() -> None:
    code = (
        "import sys\nfrom charlm.cli import main\nmain(['search', '--help'])\nmain(['corpora'])\n"
        "import charlm.ui.app\nprint([name for name in ('optuna', 'sqlalchemy') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=patience(120), check=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"
