"""The example of a new architecture in docs/, put into a copy of the library as it says: one file and one line."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.patience import patience

PROGRAM = """
import sys
from pathlib import Path

import pytest
import torch

from charlm.architectures import ARCHS
from charlm.config import ModelConfig, SampleConfig, TrainConfig
from charlm.training.device import choose
from charlm.errors import CheckpointError
from charlm.training.estimate import Machine, memory_bytes, training_seconds
from charlm.formats.exports import find_format
from charlm.runs.resume import fork
from charlm.analysis.plots import arch_colour
from charlm.generation import generate
from charlm.serving import Serving
from charlm.ui.corpus.view import layer_rows
from tests.tiny_runs import assert_same_training, resumed, store_in, trained

assert "fading" in ARCHS and arch_colour("fading") == "#E69F00"
folder = Path(sys.argv[1])
store = store_in(folder)
config = ModelConfig(arch="fading", vocab_size=20, hidden_size=16)
train = TrainConfig(batch_size=8, seq_len=32, steps=10)
assert memory_bytes(config, train) > 0 and choose(config, 8).reasons
assert training_seconds(Machine(1e-9, 1e-5), config, train, 10_000) > 0

[whole] = trained(store, "fading", schedule="constant", steps=20)
[half] = trained(store, "fading", schedule="constant", steps=10)
[again] = resumed(store, half, steps=10)
assert_same_training(again, whole)
losses = [row["val_loss"] for row in whole.metrics() if row["val_loss"] is not None]
assert losses[-1] < losses[0]
assert [run.status for run in trained(store, "fading", "rnn")] == ["finished"] * 2

model, tokenizer = whole.load_model(), whole.tokenizer()
assert len("".join(generate(model, tokenizer, "The", SampleConfig(length=30)))) == 30
ids = torch.randint(model.config.vocab_size, (3, 12))
logits, end = model(ids)
first, state = model(ids[:, :5])
second, state = model(ids[:, 5:], state)
torch.testing.assert_close(torch.cat((first, second), dim=1), logits)
torch.testing.assert_close(state, end)

*_, drafts = Serving(store).compare([whole, again], "The", SampleConfig(length=9))
assert all(draft.done and not draft.error for draft in drafts.values())
child, _ = fork(store, whole, {"steps": 5})
assert child.arch == "fading"
assert sum(count for *_, count in layer_rows(model, 4, 10)) == model.num_parameters
find_format("zip").write(whole, folder / "run.zip")
with pytest.raises(CheckpointError, match="has the architecture fading, .* export it as zip"):
    find_format("torch").write(whole, folder / "run.torch.zip")
print("all of it works")
"""


def test_the_example_is_a_whole_architecture(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "adding-an-architecture.md").read_text(encoding="utf-8")
    source, line = re.findall(r"```python\n(.*?)```", page, re.S)[:2]
    shutil.copytree(repository / "charlm", tmp_path / "charlm", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "charlm" / "models" / "fading.py").write_text(source, encoding="utf-8")
    registry = tmp_path / "charlm" / "architectures.py"
    table = "ARCHITECTURES = {\n"
    registry.write_text(registry.read_text(encoding="utf-8").replace(table, table + line, 1), encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, repository))), "CHARLM_COMPILE": "0"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=env, check=False, timeout=patience(120)
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().endswith("all of it works")


def test_the_names_of_the_first_recipes_still_work() -> None:
    """Architectures written before base.py and init_weights had their names keep working."""
    from charlm.models import base
    from charlm.models.language_model import NeuralModel, State

    assert (NeuralModel, State) == (base.NeuralModel, base.State)
    assert callable(NeuralModel.draw_weights)
