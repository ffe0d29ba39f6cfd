"""The optimizer: torch's numbers and state, without torch's compiler."""

import os
import subprocess
import sys

import pytest
import torch

from charlm.training.optimizer import AdamW, clip_gradients
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


def test_a_weight_without_a_gradient_waits() -> None:
    both: list[list[torch.Tensor]] = []
    for kind in (AdamW, torch.optim.AdamW):
        generator = torch.Generator().manual_seed(1)
        parameters = [torch.nn.Parameter(torch.randn(5, generator=generator)) for _ in range(3)]
        optimizer = kind(parameters, lr=0.05, fused=True)
        for step in range(8):
            for place, parameter in enumerate(parameters):
                waits = place == 1 and step in (0, 3, 4)
                parameter.grad = None if waits else torch.randn(5, generator=generator)
            optimizer.step()
        assert [optimizer.state[parameter]["step"].item() for parameter in parameters] == [8, 5, 8]
        both.append([parameter.detach() for parameter in parameters])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*both, strict=True))


@pytest.mark.parametrize("longest", [0.0, 1e-3, 2.0, 1e9])
def test_clipping_is_torchs(longest: float) -> None:
    grads = [torch.randn(size, generator=torch.Generator().manual_seed(size)) for size in (7, 300)]
    ours, theirs = ([torch.nn.Parameter(torch.zeros_like(grad)) for grad in grads] for _ in range(2))
    for parameters in (ours, theirs):
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad.clone()
    length = clip_gradients(ours, longest)
    assert torch.equal(length, torch.nn.utils.clip_grad_norm_(theirs, longest or float("inf")))
    assert all(torch.equal(one.grad, other.grad) for one, other in zip(ours, theirs, strict=True))


def test_what_is_no_number_is_not_clipped_away() -> None:
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([1.0, float("nan"), 2.0])
    assert clip_gradients([parameter], 1.0).isnan() and parameter.grad.isnan().any()
