"""What a training will take: checked against models and refused in time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charlm.architectures import ARCHS
from charlm.config import ModelConfig, TrainConfig
from charlm.errors import ConfigError
from charlm.models import build_model, model_class
from charlm.training.estimate import (
    Machine,
    check_memory,
    count_parameters,
    free_memory,
    memory_bytes,
    size_for,
    training_seconds,
)
from tests.tiny_runs import TRAINED

MODEL = ModelConfig(vocab_size=30, hidden_size=16, num_layers=3)
TRAIN = TrainConfig(steps=100, batch_size=32, seq_len=64)
HUGE = replace(MODEL, hidden_size=4096, num_layers=8)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("shape", [{}, {"embed_dim": 8}, {"embed_dim": 16, "tie_weights": True}])
def test_parameters_are_those_of_the_built_model(arch: str, shape: dict[str, Any]) -> None:
    config = replace(MODEL, arch=arch, **shape)
    assert count_parameters(config) == build_model(config).num_parameters


def test_memory_grows_with_batch_and_model() -> None:
    base = memory_bytes(MODEL, TRAIN)
    assert base > 16 * count_parameters(MODEL)
    assert memory_bytes(MODEL, replace(TRAIN, batch_size=64)) > base
    assert memory_bytes(replace(MODEL, hidden_size=64), TRAIN) > base


def test_what_cannot_fit_is_refused_with_the_estimate_and_the_way_out() -> None:
    train = replace(TRAIN, batch_size=4096, seq_len=4096)
    needed = memory_bytes(HUGE, train) / 1e9
    with pytest.raises(ConfigError, match=rf"about {needed:.1f} GB .* hidden_size 4096, batch_size 4096"):
        check_memory(HUGE, train)
    check_memory(MODEL, TRAIN, trainers=3)


def test_a_containers_limit_counts_and_its_page_cache_does_not(tmp_path: Path) -> None:
    host = free_memory(tmp_path)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 100000\nactive_file 300000\ninactive_file 400000\n")
    assert free_memory(tmp_path) == 800_000
    (tmp_path / "memory.max").write_text("max\n")
    assert abs(free_memory(tmp_path) - host) < 0.5 * host


def test_time_follows_the_smallest_budget() -> None:
    machine = Machine(per_product=1e-9, per_step=1e-6)

    def seconds(**budget: Any) -> float:
        return training_seconds(machine, MODEL, replace(TRAIN, **{"steps": 0, **budget}), train_chars=20_480)

    step = machine.step_seconds(MODEL, TRAIN)
    assert seconds(steps=100) == pytest.approx(110 * step)
    assert seconds(epochs=2) == pytest.approx(22 * step)
    assert seconds(steps=100, epochs=2) == pytest.approx(22 * step)
    assert seconds(minutes=1) == 60.0
    assert seconds(steps=100, minutes=1) == seconds(steps=100) < 60.0


def test_bfloat16_has_a_speed_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.training.device.matrix_instructions", lambda: ["avx512_bf16"])
    wide, machine = replace(MODEL, hidden_size=512), Machine(1e-9, 0.0, per_half_product=5e-10)
    whole = machine.step_seconds(wide, replace(TRAIN, precision="float32"))
    assert machine.step_seconds(wide, TRAIN) == pytest.approx(whole / 2)
    assert Machine(1e-9, 0.0).step_seconds(wide, TRAIN) == pytest.approx(whole)


@pytest.mark.parametrize("arch", [arch for arch in ARCHS if arch != "ngram"])
def test_of_many_tokens_no_logits_are_kept(arch: str) -> None:
    sizes = {"arch": arch, "hidden_size": 16, "num_heads": 4, "embed_dim": 16}
    assert model_class(arch).activations(ModelConfig(vocab_size=50_000, **sizes)) < 50_000


def test_many_tokens_take_neither_their_logits_memory_nor_with_drawn_ones_their_time() -> None:
    many, train = replace(MODEL, vocab_size=30_000, embed_dim=16), replace(TRAIN, batch_size=128, seq_len=512)
    logits = 4 * train.batch_size * train.seq_len * many.vocab_size
    assert memory_bytes(many, train) < 0.1 * logits
    machine = Machine(per_product=1e-9, per_step=1e-6)
    drawn = machine.step_seconds(many, replace(train, softmax_samples=1_000))
    assert drawn < 0.2 * machine.step_seconds(many, train)
    few = replace(train, softmax_samples=10)
    assert machine.step_seconds(MODEL, few) == machine.step_seconds(MODEL, train)


@pytest.mark.parametrize("arch", TRAINED)
def test_a_size_for_so_many_parameters(arch: str) -> None:
    config = ModelConfig(arch=arch, vocab_size=77)
    size = size_for(config, 500_000)
    counts = [count_parameters(replace(config, hidden_size=size + step)) for step in (-16, 0, 16)]
    assert counts[1] == min(counts, key=lambda count: abs(count - 500_000)) and counts[1] == pytest.approx(
        500_000, rel=0.1
    )
    assert size_for(config, 1) == 16 and size_for(config, 10**12) == 4096
