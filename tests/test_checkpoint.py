"""Weights and training state on disk: what is written comes back, what is damaged is refused in a sentence."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import charlm.files
from charlm.checkpoint import (
    has_training,
    is_valid,
    load_training,
    load_weights,
    save_training,
    save_weights,
    weights_about,
)
from charlm.config import ARCHS, ModelConfig, TrainConfig
from charlm.dataset import Dataset
from charlm.errors import CheckpointError
from charlm.models import build_model
from charlm.tokenizer import CharTokenizer
from charlm.train import TrainState, train

TEXT = "a fox met a hen and the hen met a fox. " * 20
TOKENIZER = CharTokenizer.fit(TEXT)
CONFIG = ModelConfig(vocab_size=TOKENIZER.vocab_size, hidden_size=8, dropout=0.3)
TRAIN = TrainConfig(seq_len=8, batch_size=3, steps=24, eval_every=6, warmup_steps=4)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("extra", [{}, {"embed_dim": 8, "tie_weights": True}])
def test_weights_come_back(arch: str, extra: dict[str, object], tmp_path: Path) -> None:
    config = replace(CONFIG, arch=arch, **extra)
    model = build_model(config, 1)
    save_weights(tmp_path / "best.safetensors", model, step=3)
    loaded = load_weights(tmp_path / "best.safetensors", config)
    ids = torch.randint(config.vocab_size, (2, 9))
    assert not loaded.training
    assert torch.equal(loaded(ids)[0], model.eval()(ids)[0])
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]  # nothing left over


def test_plain_torch_loads_them(tmp_path: Path) -> None:
    save_weights(tmp_path / "best.safetensors", build_model(CONFIG, 1))
    tensors = load_file(tmp_path / "best.safetensors")
    lstm, fc = nn.LSTM(CONFIG.vocab_size, 8, 2), nn.Linear(8, CONFIG.vocab_size)
    lstm.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("rnn.")})
    fc.load_state_dict({name[3:]: value for name, value in tensors.items() if name.startswith("fc.")})


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau"])
def test_a_restored_training_goes_on_exactly(arch: str, schedule: str, tmp_path: Path) -> None:
    model_config, config = replace(CONFIG, arch=arch), replace(TRAIN, schedule=schedule)
    data = Dataset(TOKENIZER.encode(TEXT), config.batch_size, config.seq_len)

    def fresh() -> tuple[nn.Module, TrainState]:
        model = build_model(model_config, config.seed)
        return model, TrainState.start(model, config)

    whole, state = fresh()
    rows = [(row.train_loss, row.val_loss) for row in train(whole, data, config, state)]
    half, state = fresh()
    steps = train(half, data, config, state)
    first = [next(steps) for _ in range(11)]
    save_training(tmp_path, half, state)
    again, restored = load_training(tmp_path, model_config, config)
    rest = list(train(again, data, config, restored))
    assert [(row.train_loss, row.val_loss) for row in [*first, *rest]] == rows
    assert all(torch.equal(again.state_dict()[name], value) for name, value in whole.state_dict().items())


def damaged(tmp_path: Path, change: str) -> Path:
    path = tmp_path / "best.safetensors"
    save_weights(path, build_model(CONFIG, 1))
    tensors = load_file(path)
    if change == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif change == "noise":
        path.write_bytes(bytes(range(256)) * 8)
    elif change == "missing":
        path.unlink()
    else:
        tensors |= {
            "shape": {"fc.bias": torch.zeros(3)},
            "dtype": {"fc.bias": tensors["fc.bias"].double()},
            "name": {"other": torch.zeros(1)},
            "nan": {"fc.bias": tensors["fc.bias"] * float("nan")},
        }[change]
        save_file(tensors, path)
    return path


@pytest.mark.parametrize("change", ["truncated", "noise", "missing", "shape", "dtype", "name", "nan"])
def test_damage_is_refused_in_one_sentence(change: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"best\.safetensors") as caught:
        load_weights(damaged(tmp_path, change), CONFIG)
    assert "\n" not in str(caught.value)


def test_weights_alone_are_no_training_state(tmp_path: Path) -> None:
    save_weights(tmp_path / "resume.safetensors", build_model(CONFIG, 1))
    with pytest.raises(CheckpointError, match="not this run's training state"):
        load_training(tmp_path, CONFIG, TRAIN)


# --- checksums and the state before the last --------------------------------------------------------------------------


def saved_twice(folder: Path) -> list[dict[str, torch.Tensor]]:
    """Two states saved one after the other; their weights."""
    model = build_model(CONFIG, 1)
    state, weights = TrainState.start(model, TRAIN), []
    data = Dataset(TOKENIZER.encode(TEXT), TRAIN.batch_size, TRAIN.seq_len)
    steps = train(model, data, TRAIN, state)
    for _ in range(2):
        next(steps)
        save_training(folder, model, state)
        weights.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    return weights


def loaded(folder: Path) -> tuple[int, dict[str, torch.Tensor]]:
    model, state = load_training(folder, CONFIG, TRAIN)
    return state.step, model.state_dict()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(share=st.floats(0, 1, exclude_max=True) | st.floats(0, 0.1), bit=st.integers(0, 7))
def test_any_changed_byte_is_noticed_and_the_state_before_is_used(share: float, bit: int, tmp_path: Path) -> None:
    before, after = saved_twice(tmp_path)
    path = tmp_path / "resume.safetensors"
    content = bytearray(path.read_bytes())
    assert loaded(tmp_path)[0] == 2
    content[int(share * len(content))] ^= 1 << bit
    path.write_bytes(content)
    assert not is_valid(path) and is_valid(tmp_path / "resume.previous.safetensors")
    step, weights = loaded(tmp_path)
    assert step == 1 and all(torch.equal(weights[name], before[name]) for name in before)
    assert not all(torch.equal(after[name], before[name]) for name in before)


def test_without_the_last_the_state_before_is_used_and_both_damaged_are_one_sentence(tmp_path: Path) -> None:
    saved_twice(tmp_path)
    (tmp_path / "resume.safetensors").unlink()
    assert has_training(tmp_path) and loaded(tmp_path)[0] == 1
    (tmp_path / "resume.previous.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"resume\.previous\.safetensors in .* cannot be read: it is cut off"):
        loaded(tmp_path)


def test_a_saved_state_is_proven_before_the_one_before_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that says yes and keeps something else is found out at once."""
    saved_twice(tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = charlm.files._write

    def lying(path: Path, pieces: Iterable[bytes]) -> bytes:
        digest = write(path, pieces)
        with path.open("r+b") as file:
            file.write(b"?")
        return digest

    monkeypatch.setattr(charlm.files, "_write", lying)
    model = build_model(CONFIG, 2)
    with pytest.raises(OSError, match="reads back differently"):
        save_training(tmp_path, model, TrainState.start(model, TRAIN))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_files_without_a_checksum_are_those_of_other_programs(tmp_path: Path) -> None:
    save_file(build_model(CONFIG, 1).state_dict(), tmp_path / "best.safetensors")
    assert is_valid(tmp_path / "best.safetensors") and load_weights(tmp_path / "best.safetensors", CONFIG)
    assert weights_about(tmp_path / "best.safetensors") == {} == weights_about(tmp_path / "none")


def test_a_state_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """It lacks what was added since, and its checksum."""
    saved_twice(tmp_path)
    path = tmp_path / "resume.safetensors"
    with safe_open(path, framework="pt") as file:
        numbers = json.loads(file.metadata()["charlm"])
    for name in ("unjudged", "loss_sum", "loss_count"):
        del numbers[name]
    save_file(load_file(path), path, {"charlm": json.dumps(numbers)})
    assert loaded(tmp_path)[0] == 2
