"""The optimizer: torch's numbers and state, without torch's compiler."""

import os
import subprocess
import sys

import pytest
import torch

from charlm.training.optimizer import AdamW
from tests.patience import patience
from tests.server import ROOT

TRAINED = """if True:
    import sys
    import tempfile
    from pathlib import Path
    import numpy as np
    from charlm.architectures import ARCHS, is_counted
    from charlm.config import ModelConfig, SampleConfig, TrainConfig
    from charlm.data.batches import Dataset
    from charlm.generation import generate
    from charlm.models import build_model
    from charlm.runs.checkpoint import load_training, save_training
    from charlm.tokenizers import CharTokenizer
    from charlm.training.estimate import check_memory
    from charlm.training.train import TrainState, train
    tokenizer, dataset = CharTokenizer("abcd"), Dataset(np.arange(400) % 4, batch_size=4, seq_len=8)
    for arch in ARCHS:
        if is_counted(arch):
            continue
        config, settings = ModelConfig(arch=arch, vocab_size=4, hidden_size=8, context=8), TrainConfig(steps=2)
        check_memory(config, settings)
        model = build_model(config)
        state = TrainState.start(model, settings)
        for _ in train(model, dataset, settings, state):
            pass
        with tempfile.TemporaryDirectory() as folder:
            save_training(Path(folder), model, state)
            load_training(Path(folder), config, settings)
        list(generate(model, tokenizer, "a", SampleConfig(length=3)))
    print(*sorted({"torch._dynamo", "sympy"} & sys.modules.keys()))
"""


def test_training_and_writing_do_not_import_what_compiles_for_torch() -> None:
    told = subprocess.run(
        [sys.executable, "-c", TRAINED], cwd=ROOT, capture_output=True, text=True, timeout=patience(120),
        env={**os.environ, "CHARLM_COMPILE": "0"},
    )  # fmt: skip
    assert (told.returncode, told.stdout.split(), told.stderr) == (0, [], "")


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_its_numbers_and_its_state_are_torchs(decay: float) -> None:
    generator = torch.Generator().manual_seed(1)
    start, grads = torch.randn(37, generator=generator), torch.randn(6, 37, generator=generator)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    mine = AdamW([ours], lr=0.05, betas=(0.9, 0.99), weight_decay=decay, fused=True)
    usual = torch.optim.AdamW([theirs], lr=0.05, betas=(0.9, 0.99), weight_decay=decay, fused=True)
    for place, grad in enumerate(grads):
        if place == 3:  # each goes on with the other's state
            first, second = mine.state_dict(), usual.state_dict()
            assert first["param_groups"] == second["param_groups"]
            mine.load_state_dict(second), usual.load_state_dict(first)
        for parameter, optimizer in ((ours, mine), (theirs, usual)):
            parameter.grad = grad.clone()
            optimizer.step()
            assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
        assert torch.equal(ours, theirs)
    mine.zero_grad()
    assert ours.grad is None
