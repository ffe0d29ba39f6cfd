"""What a training computes with on this machine: processor, threads, number format; and why."""

import os
from dataclasses import dataclass

import torch

from charlm.config import ModelConfig, TrainConfig
from charlm.errors import ConfigError
from charlm.models import model_class
from charlm.models.kernels.jit import is_wanted
from charlm.models.kernels.plan import all_threads

# Multiplications of a batch between two waits (B x G H x H in a recurrent layer) from which sharing it out pays: below,
# a thread waits for the other longer than it computes.
SHARED_PRODUCT = 700_000
# Rows a thread must have to itself: with fewer, reading the weights takes longer than the product.
SHARD_ROWS = 8
# Multiplications from which bfloat16 products pay for their conversions, given instructions for them.
HALF_PRODUCT = 8_000_000
# Instructions that multiply bfloat16 matrices faster than float32 ones.
MATRIX_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")


@dataclass(frozen=True)
class Device:
    """A choice.

    Attributes:
        kind: cpu, cuda or mps.
        threads: parts that a batch is cut into, each with a thread of its own.
        dtype: of the products, in training only.
        reasons: a sentence for each choice.
    """

    kind: str
    threads: int
    dtype: torch.dtype
    reasons: tuple[str, ...]


def is_zero_gpu() -> bool:
    """Whether this is a Hugging Face Space that lends a GPU for seconds (ZeroGPU), as its environment says."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def has_cuda() -> bool:
    """Whether this process can compute on a GPU of NVIDIA's (or AMD's, as torch calls both cuda).

    On ZeroGPU only the processes that the package `spaces` forks can, though torch says otherwise in the first one.
    """
    return (not is_zero_gpu() or torch.multiprocessing.parent_process() is not None) and torch.cuda.is_available()


def device_for(name: str) -> str:
    """The kind of device a training uses: `auto` takes a GPU if torch's cuda has one, else the CPU.

    An Apple GPU, which nobody has seen to be faster than a CPU at the sizes here, has to be asked for: `mps`.

    Raises:
        ConfigError: cuda or mps is asked for and not there.
    """
    if name == "cuda" and not has_cuda():
        raise ConfigError("device 'cuda' is not available here; use 'cpu' or 'auto'")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps', the GPU of an Apple computer, is not available here; use 'cpu' or 'auto'")
    return ("cuda" if has_cuda() else "cpu") if name == "auto" else name


def device_or_cpu(name: str) -> tuple[str, str]:
    """The kind of device for a run that exists, and a word on it if it is not the one its settings name.

    A run that was begun on a GPU goes on where there is none.
    """
    try:
        return device_for(name), ""
    except ConfigError:
        return "cpu", f"device {name!r} is not available here: it goes on on the CPU"


def check_device(config: TrainConfig) -> None:
    """Refuse a device that a training here cannot have, or that does not compute in its precision.

    Raises:
        ConfigError: see `device_for`; or bfloat16 is asked for on mps.
    """
    if config.device == "mps" and config.precision == "bfloat16":
        raise ConfigError("precision 'bfloat16' is not for device 'mps'; use 'float32' or 'auto'")
    if not (config.device == "cuda" and is_zero_gpu()):  # there a training gets it in slices, see jobs/zero_gpu.py
        device_for(config.device)


def choose(model: ModelConfig, batch_size: int, name: str = "auto", precision: str = "auto") -> Device:
    """The fastest way that is to be had.

    Args:
        model: its sizes decide what pays.
        batch_size: rows of a batch.
        name: auto, cpu, cuda or mps.
        precision: auto, float32 or bfloat16.

    Raises:
        ConfigError: see `device_for`.
    """
    kind = device_for(name)
    made = model_class(model.arch)
    product = batch_size * made.step_macs(model)
    if kind == "cuda":
        dtype = torch.float32 if precision == "float32" or not torch.cuda.is_bf16_supported() else torch.bfloat16
        return Device(kind, 1, dtype, (f"a GPU: {made.ON_GPU}, {_name(dtype)}",))
    if kind == "mps":
        return Device(kind, 1, torch.float32, ("an Apple GPU: torch's operations, float32 (untested)",))
    threads, why_threads = _threads(product, batch_size)
    dtype, why_dtype = _dtype(product, precision)
    return Device(kind, threads, dtype, (why_threads, why_dtype, _loops(made.COMPILED)))


def _loops(what: str) -> str:
    """What goes through a sequence, of which `what` may be compiled."""
    if not what:
        return "torch's operations, all tokens of a batch at once"
    return f"{what} compiled by numba" if is_wanted() else f"{what} by torch's operations: numba is missing or off"


def _threads(product: int, batch_size: int) -> tuple[int, str]:
    """How many threads share a batch."""
    most = all_threads()
    if most == 1:
        return 1, "1 thread: there is one core"
    if product < SHARED_PRODUCT:
        return 1, f"1 thread: {product:,} multiplications a step are too few to share"
    count = max(1, min(most, batch_size // SHARD_ROWS))
    return count, f"{count} threads, each with {-(-batch_size // count)} of {batch_size} rows"


def _dtype(product: int, precision: str) -> tuple[torch.dtype, str]:
    """The number format of the products."""
    fast = matrix_instructions()
    if precision != "auto":
        return getattr(torch, precision), f"{precision}, as asked for"
    if not fast:
        return torch.float32, f"float32: the processor has none of {', '.join(MATRIX_INSTRUCTIONS)}"
    if product < HALF_PRODUCT:
        return torch.float32, f"float32: {product:,} multiplications a step are too few to pay for bfloat16"
    return torch.bfloat16, f"bfloat16: the processor has {', '.join(fast)}"


def matrix_instructions() -> list[str]:
    """Those of MATRIX_INSTRUCTIONS that this processor has and ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY allow."""
    if "AVX2" in os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() or os.environ.get("ATEN_CPU_CAPABILITY"):
        return []
    capabilities = torch.cpu.get_capabilities()
    return [name for name in MATRIX_INSTRUCTIONS if capabilities.get(name)]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
