"""What a training computes with: the choice follows sizes, cores, instructions and wishes."""

import multiprocessing
from typing import Any

import pytest
import torch

from charlm.config import ModelConfig, TrainConfig
from charlm.errors import ConfigError
from charlm.training import device
from charlm.training.device import check_device, choose, device_for, matrix_instructions

LARGE = ModelConfig(vocab_size=77, hidden_size=512)
SMALL = ModelConfig(vocab_size=77, hidden_size=32)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make believe: so many cores, these instructions."""

    def pretend(cores: int, *instructions: str) -> None:
        monkeypatch.setattr(device, "all_threads", lambda: cores)
        monkeypatch.setattr(device, "matrix_instructions", lambda: list(instructions))

    return pretend


@pytest.mark.parametrize("cores, model, batch, threads", [
    (1, LARGE, 128, 1), (2, LARGE, 128, 2), (8, LARGE, 128, 8), (8, LARGE, 16, 2), (8, LARGE, 4, 1), (2, SMALL, 16, 1),
])  # fmt: skip
def test_threads_need_work_and_rows(machine: Any, cores: int, model: ModelConfig, batch: int, threads: int) -> None:
    machine(cores)
    assert choose(model, batch).threads == threads


def test_bfloat16_needs_instructions_and_large_products(machine: Any) -> None:
    machine(2)
    assert choose(LARGE, 128).dtype == torch.float32
    machine(2, "amx_bf16")
    assert choose(LARGE, 128).dtype == torch.bfloat16
    assert choose(SMALL, 16).dtype == torch.float32
    assert choose(LARGE, 128, precision="float32").dtype == torch.float32
    assert choose(SMALL, 16, precision="bfloat16").dtype == torch.bfloat16


def test_every_choice_has_its_reason(machine: Any) -> None:
    machine(2, "avx512_bf16")
    threads, precision, _ = choose(LARGE, 128).reasons
    assert threads == "2 threads, each with 64 of 128 rows"
    assert precision == "bfloat16: the processor has avx512_bf16"


def test_instructions_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True, "avx512_bf16": False})
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    assert matrix_instructions() == ["amx_bf16"]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    assert matrix_instructions() == []


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device_for("auto") == device_for("cpu") == "cpu"
    with pytest.raises(ConfigError, match="use 'cpu' or 'auto'"):
        device_for("cuda")


def test_apples_gpu_is_there_or_refused_and_never_chosen_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"'mps', the GPU of an Apple computer, is not available here; use 'cpu'"):
        device_for("mps")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device_for("auto") == "cpu" and device_for("mps") == "mps"
    chosen = choose(LARGE, 128, "mps")
    assert (chosen.kind, chosen.threads, chosen.dtype) == ("mps", 1, torch.float32)
    with pytest.raises(ConfigError, match="'bfloat16' is not for device 'mps'; use 'float32' or 'auto'"):
        check_device(TrainConfig(device="mps", precision="bfloat16"))
    check_device(TrainConfig(device="mps"))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_on_zero_gpu_the_first_process_has_no_gpu_whatever_torch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert device_for("auto") == "cuda"
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert device_for("auto") == "cpu" and choose(LARGE, 128).kind == "cpu"
    with pytest.raises(ConfigError, match="use 'cpu' or 'auto'"):
        device_for("cuda")
    check_device(TrainConfig(device="cuda"))  # a training gets it in slices
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(device_for, ["cuda"]) == "cuda"
