"""Weights and training state on disk: what is written comes back, what is damaged is refused in a sentence."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from charlm.checkpoint import load_training, load_weights, save_training, save_weights
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
