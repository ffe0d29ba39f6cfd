"""Effective memory agrees with what torch's own layers say of the same weights at other places."""

from pathlib import Path

import numpy as np
import pytest

from bench.memory_check import ALLOWED, compare, plain_losses, plain_model, subject_of
from charlm.analysis.memory import Settings, _Windows, measure, target_blocks
from charlm.architectures import RACE_ARCHS
from charlm.runs.store import RunStore
from tests.conftest import ROOT
from tests.tiny_runs import TEXT, trained


def shipped(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs", ROOT / "checkpoints" / "shipped")


@pytest.mark.parametrize("arch", RACE_ARCHS)
def test_a_shipped_models_losses_are_those_of_torchs_layers(arch: str, tmp_path: Path) -> None:
    run = shipped(tmp_path).get(f"sherlock-{arch}")
    subject = subject_of(run)
    targets = np.concatenate(target_blocks(200, len(subject.ids), 64))[::4]
    contexts = [1, 8, 34]
    ours = np.empty((3, len(targets)))
    for _ in _Windows(subject.model, subject.ids, "none").read(targets, contexts, ours):
        pass
    plain = plain_model(run)
    for context, losses in zip(contexts, ours, strict=True):
        others = plain_losses(plain, subject.ids.astype(np.int64), targets.tolist(), context)
        assert np.abs(losses - others).max() < 2e-3 and abs(losses - others).mean() < 2e-4


@pytest.mark.parametrize("arch", RACE_ARCHS)
def test_a_runs_memory_agrees_with_other_places_read_by_torchs_layers(arch: str, store: RunStore) -> None:
    [run] = trained(store, arch, text=TEXT * 10, steps=60)
    subject = subject_of(run)
    *_, last = measure(subject, Settings(targets=600, longest=89))
    assert last.result and last.result["limit"] > 34
    compared = compare(plain_model(run), subject, last.result, 300)
    assert len(compared) >= 8 and all(one.beyond < ALLOWED for one in compared)


@pytest.mark.slow
@pytest.mark.parametrize("arch", RACE_ARCHS)
def test_a_shipped_models_memory_agrees_within_a_hundredth_of_a_nat(arch: str, tmp_path: Path) -> None:
    run = shipped(tmp_path).get(f"sherlock-{arch}")
    subject = subject_of(run)
    *_, last = measure(subject, Settings(targets=1000, longest=89))
    assert last.result
    assert all(one.beyond < ALLOWED for one in compare(plain_model(run), subject, last.result, 600))
