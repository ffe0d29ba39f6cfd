"""Training on a GPU; left out where there is none."""

import math

import pytest
import torch

from charlm.runs.store import RunStore
from charlm.training.train import update
from tests.tiny_runs import TRAINED, resumed, trained

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU at hand")
EXACT = {"dropout": 0.0, "precision": "float32", "schedule": "constant"}


@pytest.mark.parametrize(
    "arch, dropout", [*((arch, 0.0) for arch in TRAINED), ("transformer", 0.3), ("mingru", 0.3)]
)  # cuDNN's dropout has a state of its own, which no run keeps
def test_a_training_goes_on_where_it_was(arch: str, dropout: float, store: RunStore) -> None:
    exact = {**EXACT, "dropout": dropout}
    [whole] = trained(store, arch, device="cuda", steps=12, **exact)
    [half] = trained(store, arch, device="cuda", steps=6, **exact)
    [again] = resumed(store, half, steps=6)
    assert again.status == "finished" and again.step == whole.step == 12, again.message
    assert again.metrics()[-1]["val_loss"] == pytest.approx(whole.metrics()[-1]["val_loss"], abs=1e-3)


def test_a_step_that_is_no_number_changes_nothing() -> None:
    weight = torch.nn.Parameter(torch.ones(3, device="cuda"))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    for norm in (1.0, math.nan, 1.0):
        weight.grad, before = torch.ones_like(weight), weight.detach().clone()
        update(optimizer, *torch.tensor([0.5, norm], device="cuda"), on_gpu=True)
        assert torch.equal(weight, before) == math.isnan(norm)


@pytest.mark.parametrize("arch", TRAINED)
def test_it_learns_as_on_a_cpu(arch: str, store: RunStore) -> None:
    runs = [trained(store, arch, device=device, steps=40, **EXACT)[0] for device in ("cpu", "cuda")]
    losses = [run.best_val_loss or math.nan for run in runs]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)
