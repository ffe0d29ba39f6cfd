"""Training on a GPU; left out where there is none."""

import math

import pytest
import torch

from charlm.runs.store import RunStore
from tests.tiny_runs import TRAINED, resumed, trained

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU at hand")
EXACT = {"dropout": 0.0, "precision": "float32", "schedule": "constant"}


@pytest.mark.parametrize("arch", TRAINED)
def test_a_training_goes_on_where_it_was(arch: str, store: RunStore) -> None:
    [whole] = trained(store, arch, device="cuda", steps=12, **EXACT)
    [half] = trained(store, arch, device="cuda", steps=6, **EXACT)
    [again] = resumed(store, half, steps=6)
    assert again.status == "finished" and again.step == whole.step == 12, again.message
    assert again.metrics()[-1]["val_loss"] == pytest.approx(whole.metrics()[-1]["val_loss"], abs=1e-3)


@pytest.mark.parametrize("arch", TRAINED)
def test_it_learns_as_on_a_cpu(arch: str, store: RunStore) -> None:
    runs = [trained(store, arch, device=device, steps=40, **EXACT)[0] for device in ("cpu", "cuda")]
    losses = [run.best_val_loss or math.nan for run in runs]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)
