"""Where machine code is kept: never beside code of another version; and life without it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.models.kernels.jit import is_wanted
from tests.patience import patience

ROOT = Path(__file__).resolve().parents[3]
# Trains a step and writes a text; numba cannot be imported, or is switched off.
PROGRAM = """
import sys
if {broken}:
    sys.modules["numba"] = None
import numpy as np
from charlm import ModelConfig, SampleConfig, TrainConfig, generate
from charlm.training.train import train
from charlm.data.batches import Dataset
from charlm.models import build_model
from charlm.models.kernels.jit import is_wanted
from charlm.tokenizers import CharTokenizer
assert not is_wanted()
text = "the cat sat on the mat. " * 20
tokenizer = CharTokenizer.fit(text)
model = build_model(ModelConfig(arch="{arch}", vocab_size=tokenizer.vocab_size, hidden_size=16, dropout=0.2))
config = TrainConfig(steps=3, batch_size=4, seq_len=8)
*_, last = train(model, Dataset(tokenizer.encode(text), 4, 8), config)
assert 0 < last.val_loss < 10
assert len("".join(generate(model, tokenizer, "the", SampleConfig(length=7)))) == 7
"""


def folder_of(house: Path, **env: str) -> Path:
    """Where a fresh process with the library in `house` keeps it."""
    code = "import charlm.models.kernels.matmul, numba; print(numba.config.CACHE_DIR)"
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=house, env={**os.environ, **env}, check=True, timeout=patience(120)
    )
    return Path(run.stdout.strip())


@pytest.mark.slow
@pytest.mark.skipif(not is_wanted(), reason="compiled only")
def test_changed_source_has_a_folder_of_its_own(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "charlm", tmp_path / "charlm", ignore=shutil.ignore_patterns("__pycache__"))
    before = folder_of(tmp_path, NUMBA_CACHE_DIR="")
    assert before.parent == tmp_path / "charlm" / "models" / "kernels" / "__pycache__"
    before.mkdir(parents=True, exist_ok=True)
    with (tmp_path / "charlm" / "generation" / "sampling.py").open("a") as source:
        source.write("# newer\n")
    after = folder_of(tmp_path, NUMBA_CACHE_DIR="")
    assert after.parent == before.parent and after != before and not before.exists()
    own = folder_of(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "own"))
    assert own == tmp_path / "own" / after.name


@pytest.mark.parametrize(
    "arch, broken", [("lstm", True), *(pytest.param(one, False, marks=pytest.mark.slow) for one in ("gru", "rnn"))]
)
def test_training_and_writing_do_without(arch: str, broken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not broken:
        monkeypatch.setenv("CHARLM_COMPILE", "0")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(arch=arch, broken=broken)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(120),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ("numba is not to be had" in done.stderr) == broken
