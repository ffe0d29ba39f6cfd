"""bench.rates: each cell is trained once, with a factor of the rate that a long training takes by itself."""

import json
from pathlib import Path

import pytest

from bench.rates import main
from charlm.config import ModelConfig, suited_rate


@pytest.mark.slow
def test_cells_are_trained_once_and_shown_beside_factor_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = tmp_path / "cells.jsonl"
    words = ["--hidden-size", "8", "--factors", "1,2", "--seeds", "2", "--cells", str(cells), "--work", str(tmp_path)]
    main(["sherlock", "gru", "2", *words])
    kept = [json.loads(line) for line in cells.read_text().splitlines()]
    rate = suited_rate(ModelConfig(arch="gru", hidden_size=8))
    assert [(one["factor"], one["seed"]) for one in kept] == [(1, 1), (2, 1), (1, 2), (2, 2)]
    assert [one["rate"] for one in kept[:2]] == [rate, pytest.approx(2 * rate, rel=0.03)]
    main(["sherlock", "gru", "2", *words])
    assert [json.loads(line) for line in cells.read_text().splitlines()] == kept
    means = [sum(one["loss"] for one in kept if one["factor"] == factor) / 2 for factor in (1, 2)]
    table = capsys.readouterr().out.splitlines()[-2:]
    assert f"{means[0]:.4f}" in table[0] and f"{means[1] - means[0]:+.4f}" in table[1]
