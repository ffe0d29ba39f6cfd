"""Weights and training state on disk: what is written comes back, what is damaged is refused in a sentence."""

import json
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import charlm.files
from charlm.architectures import ARCHS
from charlm.config import ModelConfig, TrainConfig
from charlm.data.batches import Dataset
from charlm.errors import CheckpointError
from charlm.models import build_model
from charlm.runs.checkpoint import (
    check_place,
    has_training,
    is_valid,
    load_training,
    load_weights,
    most_training_bytes,
    most_weights_bytes,
    save_training,
    save_weights,
    weights_about,
)
from charlm.tokenizers import CharTokenizer
from charlm.training.train import TrainState, train
from tests.fuzz.guard import memory, reset_peak
from tests.sealing import sealed
from tests.tiny_runs import TRAINED

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
    written, read = model.state_dict(), loaded.state_dict()
    assert written.keys() == read.keys() and all(torch.equal(tensor, read[name]) for name, tensor in written.items())
    # Without AVX a product's last bit depends on where its numbers lie in memory.
    torch.testing.assert_close(loaded(ids)[0], model.eval()(ids)[0], rtol=1e-5, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]  # nothing left over


@pytest.mark.parametrize("arch", ARCHS)
def test_weights_of_16_bits_come_back_rounded_and_cost_half(arch: str, tmp_path: Path) -> None:
    config = replace(CONFIG, arch=arch, hidden_size=64)
    model = build_model(config, 1)
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_weights(whole, model)
    save_weights(half, model, half=True, step=3)
    weights = load_weights(half, config).state_dict()
    assert weights_about(half)["step"] == 3
    for name, tensor in model.state_dict().items():
        assert weights[name].dtype == tensor.dtype
        torch.testing.assert_close(weights[name], tensor, rtol=2**-10, atol=1e-7)
    if not config.is_counted:
        assert half.stat().st_size < 0.6 * whole.stat().st_size


def test_other_types_than_16_bits_are_refused(tmp_path: Path) -> None:
    weights = {name: tensor.double() for name, tensor in build_model(CONFIG).state_dict().items()}
    save_file(weights, tmp_path / "best.safetensors")
    with pytest.raises(CheckpointError, match=r"F64 .*this model needs F32"):
        load_weights(tmp_path / "best.safetensors", CONFIG)


def test_plain_torch_loads_them(tmp_path: Path) -> None:
    save_weights(tmp_path / "best.safetensors", build_model(CONFIG, 1))
    tensors = load_file(tmp_path / "best.safetensors")
    lstm, fc = nn.LSTM(CONFIG.vocab_size, 8, 2), nn.Linear(8, CONFIG.vocab_size)
    lstm.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("rnn.")})
    fc.load_state_dict({name[3:]: value for name, value in tensors.items() if name.startswith("fc.")})


@pytest.mark.parametrize("arch", TRAINED)
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "plateau"])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_restored_training_goes_on_exactly(arch: str, schedule: str, average: float, tmp_path: Path) -> None:
    model_config, config = replace(CONFIG, arch=arch), replace(TRAIN, schedule=schedule, weight_average=average)
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


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40
)
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


# --- what a file must hold --------------------------------------------------------------------------------------------


def rebuilt(data: bytes, change: Callable[[dict[str, Any]], None], size: int | None = None) -> bytes:
    """A safetensors file whose header was changed, with a checksum that fits all the same."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"]["sha256"] = "0" * 64
    change(header)
    text = json.dumps(header, separators=(",", ":")).encode()
    return sealed((len(text) if size is None else size).to_bytes(8, "little") + text + data[end:])


def entry(name: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].update(fields)


HEADERS: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (entry("fc.bias", shape=[2, 8]), "damaged"),
    (entry("fc.bias", dtype="F64"), "damaged"),
    (entry("fc.bias", dtype="PICKLE"), "damaged"),
    (entry("fc.bias", dtype="I32"), "this model needs F32"),
    (entry("fc.bias", shape=[1, TOKENIZER.vocab_size]), "this model needs F32"),
    (entry("fc.bias", shape=[-1, -TOKENIZER.vocab_size]), "damaged"),
    (entry("fc.bias", shape=[2**62, 2**62, 0]), "damaged"),
    (entry("fc.bias", shape=[True] * TOKENIZER.vocab_size), "damaged"),
    (entry("fc.bias", data_offsets=[4, 4 + 4 * TOKENIZER.vocab_size]), "does not begin where"),
    (entry("fc.bias", data_offsets=[10**14, 10**14 + 4 * TOKENIZER.vocab_size]), "does not begin where"),
    (entry("fc.bias", more=1), "damaged"),
    (lambda header: header.pop("fc.bias"), "does not begin where|bytes of data"),
    (lambda header: header.update(fc=header.pop("fc.bias")), "'fc' is too much"),
    (lambda header: header.update(__metadata__=[1]), "damaged"),
    (lambda header: header["__metadata__"].update(charlm="[" * 100_000), "nested deeper"),
    (lambda header: header["__metadata__"].update(charlm='{"val_loss": NaN}'), "not a number"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), HEADERS)
def test_a_header_that_does_not_fit_is_refused_before_the_data(
    change: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "best.safetensors"
    save_weights(path, build_model(CONFIG, 1))
    data = path.read_bytes()
    path.write_bytes(rebuilt(data, lambda header: None))
    assert load_weights(path, CONFIG)
    path.write_bytes(rebuilt(data, change))
    with pytest.raises(CheckpointError, match=said) as caught:
        load_weights(path, CONFIG)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_sizes_are_compared_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_weights(path, build_model(CONFIG, 1))
    data = path.read_bytes()
    for odd, said in ((10**10, "10,000,000,000 bytes long"), (1 << 63, "cut off"), (0, "cut off")):
        path.write_bytes(odd.to_bytes(8, "little") + data[8:])
        with path.open("r+b") as file:
            file.truncate(2 * 10**10)  # a hole, which takes no room
        with pytest.raises(CheckpointError, match=said):
            load_weights(path, CONFIG)
    path.write_bytes(data)
    with path.open("r+b") as file:
        file.truncate(10**11)
    with pytest.raises(CheckpointError, match="bytes of data where its tensors take"):
        load_weights(path, CONFIG)


def most_memory(read: Callable[[], Any]) -> int:
    """The bytes that this process has in use at most, of those that it asks for while a file is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_absurd_model_with_a_tiny_file_is_refused_at_once(tmp_path: Path) -> None:
    save_weights(tmp_path / "best.safetensors", build_model(CONFIG, 1))
    saved_twice(tmp_path)
    absurd = ModelConfig(vocab_size=1_000_000, hidden_size=4096, num_layers=8)
    assert most_weights_bytes(absurd) > 80e9
    for read in (
        lambda: load_weights(tmp_path / "best.safetensors", absurd),
        lambda: load_training(tmp_path, absurd, TRAIN),
    ):
        with pytest.raises(CheckpointError, match=r"for this model|this model needs"):
            read()  # what torch loads at its first meta model does not count
        assert min(most_memory(read) for _ in range(5)) < 4 << 20  # other threads can only add to it


NUMBERS: list[dict[str, Any]] = [
    {"step": -1}, {"step": 1.5}, {"step": True}, {"step": 10**16}, {"epoch": "1"}, {"batch": None}, {"stale": [1]},
    {"best_val_loss": "low"}, {"rate_scale": None}, {"seconds": {}}, {"loss_sum": 1e41}, {"unjudged": [1, 2]},
    {"unjudged": [1, 2, "x"]}, {"unjudged": 5}, {"loss_count": -3},
]  # fmt: skip


@pytest.mark.parametrize("change", NUMBERS)
def test_odd_numbers_are_no_training_state(change: dict[str, Any], tmp_path: Path) -> None:
    saved_twice(tmp_path)
    path = tmp_path / "resume.safetensors"

    def spoil(header: dict[str, Any]) -> None:
        about = header["__metadata__"]
        about["charlm"] = json.dumps({**json.loads(about["charlm"]), **change})

    path.write_bytes(rebuilt(path.read_bytes(), spoil))
    (tmp_path / "resume.previous.safetensors").unlink()
    with pytest.raises(CheckpointError, match="not this run's training state"):
        load_training(tmp_path, CONFIG, TRAIN)


@pytest.mark.parametrize("name", ["model.fc.bias", "optimizer.0.exp_avg", "optimizer.2.exp_avg_sq", "hidden.1"])
def test_a_training_state_is_of_finite_numbers_only(name: str, tmp_path: Path) -> None:
    saved_twice(tmp_path)
    (tmp_path / "resume.previous.safetensors").unlink()
    path = tmp_path / "resume.safetensors"
    with safe_open(path, framework="pt") as file:
        told = file.metadata()["charlm"]
    tensors = load_file(path)
    tensors[name].flatten()[-1] = float("inf")
    save_file(tensors, path, {"charlm": told})
    with pytest.raises(CheckpointError, match=f"{name} holds values that are not finite"):
        load_training(tmp_path, CONFIG, TRAIN)
    del tensors[name]
    save_file(tensors, path, {"charlm": told})
    with pytest.raises(CheckpointError, match="is missing for this model"):
        load_training(tmp_path, CONFIG, TRAIN)


def test_a_state_of_another_text_is_refused(tmp_path: Path) -> None:
    saved_twice(tmp_path)
    _, state = load_training(tmp_path, CONFIG, TRAIN)
    check_place(state, TRAIN.batch_size, state.batch + 1)
    for rows, steps in ((TRAIN.batch_size, state.batch), (TRAIN.batch_size + 1, 100)):
        with pytest.raises(CheckpointError, match="belongs to another text"):
            check_place(state, rows, steps)
    with pytest.raises(CheckpointError, match="this model needs"):  # more rows than the settings allow
        load_training(tmp_path, CONFIG, replace(TRAIN, batch_size=2))


def test_what_is_saved_is_no_longer_than_it_may_be(tmp_path: Path) -> None:
    saved_twice(tmp_path)
    save_weights(tmp_path / "best.safetensors", build_model(CONFIG, 1))
    assert (tmp_path / "best.safetensors").stat().st_size <= most_weights_bytes(CONFIG)
    assert (tmp_path / "resume.safetensors").stat().st_size <= most_training_bytes(CONFIG, TRAIN)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell the peak")
def test_reading_takes_at_most_twice_the_file(tmp_path: Path) -> None:
    config = ModelConfig(vocab_size=90, hidden_size=1024, num_layers=3)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in build_model(config).state_dict().items()}
    path = tmp_path / "best.safetensors"
    save_file({name: torch.ones(shape) for name, shape in shapes.items()}, path)
    reset_peak()
    before = memory()[0]
    model = load_weights(path, config)
    assert model.num_parameters * 4 > 80e6
    assert memory()[1] - before < 2 * path.stat().st_size + (64 << 20)
