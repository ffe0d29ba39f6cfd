"""The benches run: tiny sizes, no times asserted."""

import json
import math

import pytest

from bench import gpu, results
from bench.measure import Row
from charlm.cli import main
from charlm.cli.bench import benches
from charlm.training.machine import speed

# These start servers and browsers, or need a GPU; browser tests see to the pages, test_crowd.py to the crowd.
HEAVY = ("start", "pages", "clicks", "crowd", "growth", "gpu")
BRIEF = ("corpora",)  # the others take long
NAMES = [
    pytest.param(name, marks=() if name in BRIEF else pytest.mark.slow)
    for name in benches()
    if name not in ("device", "machine", *HEAVY)
]


def bench(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    code = main(["bench", *words, "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out.splitlines()[-1], parse_constant=pytest.fail)


@pytest.mark.parametrize("name", NAMES)
def test_a_bench_measures_both_sides(capsys: pytest.CaptureFixture[str], name: str) -> None:
    told = bench(capsys, name, "--quick")
    assert told["rows"] and told["machine"]["cores"] >= 1
    for row in told["rows"]:
        assert row["what"] and row["unit"] and math.isfinite(row["ours"])


def test_without_a_gpu_its_bench_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["bench", "gpu"]) == 0
    assert "there is no GPU that torch's cuda can use here" in capsys.readouterr().err


@pytest.mark.slow
def test_the_gpu_bench_runs_on_a_cpu() -> None:
    rows = gpu.measure(quick=True, device="cpu")
    assert len(rows) == 2 * len(gpu.ARCHS) and all(row.ratio and row.ratio > 0 for row in rows)


def test_device_says_what_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    choices = bench(capsys, "device")["choices"]
    assert {choice["arch"] for choice in choices} >= {"lstm", "gru", "rnn"}
    assert all(choice["reasons"] and choice["threads"] >= 1 for choice in choices)


def test_machine_measures_again_what_presets_are_sized_for(capsys: pytest.CaptureFixture[str]) -> None:
    before = speed()
    told = bench(capsys, "machine")
    assert told["per_product"] == speed().machine.per_product > 0 and told["chars_per_second"] > 0
    assert told["measured"] == speed().when >= before.when


def test_an_unknown_bench_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "nonsense"]) == 2
    assert "device, " in capsys.readouterr().err


def test_results_keep_the_other_sections(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(results, "PATH", tmp_path / "RESULTS.md")
    row = Row("training, lstm", "chars/s", [6000.0, 7000.0, 6500.0], [4000.0, 4300.0], ">= 1.5x")
    for name in ("training", "corpora", "training"):
        results.write(name, results.section(name, [row], {"cpu": "a processor"}, "2026-11-22"))
    text = results.PATH.read_text()
    assert text.count("## training") == text.count("## corpora") == 1
    assert text.index("## corpora") < text.index("## training")
    assert "| training, lstm | 4,150 | 6,500 | chars/s | 1.57x | >= 1.5x | 3 |" in text


def test_less_is_better_turns_the_ratio_round() -> None:
    assert Row("start", "s", [2.0], [6.0], less_is_better=True).ratio == 3.0
    assert Row("alone", "s", [2.0]).ratio is None
