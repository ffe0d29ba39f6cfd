"""How to compute: threads, the number format of products, memory to use again, and dropout."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from charlm.models.kernels.jit import compiled, get, is_wanted, put

Array = np.ndarray[Any, Any]
# Products with one matrix, and rows of each, for which packing it as oneDNN computes in bfloat16 pays.
PACKED_USES, PACKED_ROWS = 16, 256
# Rows of a batch up to which all steps are one compiled loop: a call costs as much as what it does.
LOOP_ROWS = 4


@cache
def all_threads() -> int:
    """The number of threads that torch uses by default; asked once, before anything is set."""
    return torch.get_num_threads()


# glibc's numbers of mallopt, and what it comes to by itself once a block of 32 MB was freed: what is larger is mapped
# by itself, and so much may lie free at the end of a heap.
THRESHOLDS = {"MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20), "MALLOC_TRIM_THRESHOLD_": (-1, 64 << 20)}


@cache
def keep_memory() -> None:
    """Let glibc keep what a step frees for the next one; handed back, its pages fault in anew, thousands a step.

    Thresholds that the environment sets stay; without glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None  # musl has none
    for name, option in THRESHOLDS.items():
        if mallopt is not None and name not in os.environ:
            mallopt(*option)


@contextmanager
def one_core() -> Iterator[None]:
    """Keeps torch's operations in this thread to one core: threads wait passively, and take long to wake."""
    all_threads()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def team(count: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` that distributes its calls over `count` threads of one core each."""
    if count == 1:
        yield map
        return
    with ThreadPoolExecutor(count, "rows", torch.set_num_threads, (1,)) as pool:
        yield pool.map


class BufferPool:
    """Tensors of past steps, to be used again: fresh ones cost page faults. Not for several threads at once."""

    def __init__(self) -> None:
        self._free: dict[tuple[tuple[int, ...], torch.dtype], list[Tensor]] = {}

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor with arbitrary content."""
        free = self._free.get((shape, dtype))
        return free.pop() if free else torch.empty(shape, dtype=dtype)

    def give(self, *tensors: Tensor) -> None:
        """Return tensors to the pool; their next user overwrites them."""
        for tensor in tensors:
            self._free.setdefault((tuple(tensor.shape), tensor.dtype), []).append(tensor)


# Matrices in oneDNN's own layout, by `weight_key`.
PackedWeights = dict[tuple[int, ...], Tensor]


def weight_key(matrix: Tensor) -> tuple[int, ...]:
    """The key of a matrix in PackedWeights: its address and strides."""
    return matrix.data_ptr(), *matrix.stride()


def pack_weight(matrix: Tensor) -> Tensor:
    """A matrix (K, N) in the layout in which oneDNN computes in bfloat16.

    oneDNN otherwise packs it for every product, which for few rows takes longer than the product.
    """
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix.t().bfloat16().contiguous(), LOOP_ROWS)
    return packed


@dataclass(frozen=True)
class ComputePlan:
    """How to compute on a CPU.

    Attributes:
        dtype: number format of products and of the sequences that are kept.
        buffers: tensors to use again.
        compiled: whether loops are compiled by numba.
        tiled: whether products of few rows are our own (matmul.py), instead of the library's.
        packed: whether oneDNN multiplies, with matrices packed once for many products.
        packed_weights: those that are packed already.
    """

    dtype: torch.dtype
    buffers: BufferPool
    compiled: bool
    tiled: bool = False
    packed: bool = False
    packed_weights: PackedWeights = field(default_factory=dict)

    @classmethod
    def best(cls, dtype: torch.dtype, buffers: BufferPool, packed_weights: PackedWeights) -> "ComputePlan":
        """The fastest way on this machine.

        Loops are compiled where possible; products are tiled in float32 with AVX, where the library is slow with few
        rows, and packed in bfloat16 where oneDNN supports it.

        Args:
            dtype: number format of products and of the sequences that are kept.
            buffers: tensors to use again.
            packed_weights: matrices that are packed already.
        """
        compiled = is_wanted()
        avx = torch.backends.cpu.get_cpu_capability().startswith("AVX")
        packed = dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return cls(dtype, buffers, compiled, compiled and avx and dtype == torch.float32, packed, packed_weights)

    def uses_packed(self, uses: int, rows: int) -> bool:
        """Whether a matrix is packed for `uses` products with `rows` rows each."""
        return self.packed and uses >= PACKED_USES and rows <= PACKED_ROWS

    def is_one_loop(self, rows: int) -> bool:
        """Whether all steps of a training batch of `rows` rows are one compiled loop."""
        return self.compiled and rows <= LOOP_ROWS and self.dtype == torch.float32


def as_array(tensor: Tensor) -> Array:
    """A tensor as compiled loops read it: a numpy array of the same memory, bfloat16 as its 16 bits."""
    array: Array = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def sum_type(device: torch.device) -> torch.dtype:
    """The number format in which losses are added up: float64, which Apple's GPUs do not have."""
    return torch.float32 if device.type == "mps" else torch.float64


def seed_gpu(device: torch.device, generator: torch.Generator) -> None:
    """Let the masks that are drawn next on a GPU follow from a model's own generator; on a CPU they do anyway.

    cuDNN's dropout between the layers of a recurrent model draws from a state of its own, which this does not reach.
    """
    if device.type in ("cuda", "mps"):
        seed = int(torch.randint(2**62, (), generator=generator))
        (torch.cuda if device.type == "cuda" else torch.mps).manual_seed(seed)


def new_seed(generator: torch.Generator) -> int:
    """The seed of a mask, see `mask_rows`."""
    return int(torch.randint(2**32, (), generator=generator))


def dropout(x: Tensor, share: float, generator: torch.Generator, locked: bool = False) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014).

    Args:
        x: (..., H).
        share: of its numbers to set to zero, from 0 to below 1.
        generator: of the mask on a CPU; on a GPU it comes from torch's global one, see `seed_gpu`.
        locked: one mask for all places of dimension 0, the steps of a sequence (Gal and Ghahramani 2016).
    """
    if not x.is_cpu:
        return x * F.dropout(torch.ones_like(x[:1]), share) if locked else F.dropout(x, share)
    if is_wanted():
        seed = new_seed(generator)
        hashed: Callable[..., Tensor] = Dropout.apply
        return hashed(x, share, seed, locked)
    mask = torch.empty_like(x[:1] if locked else x).bernoulli_(1.0 - share, generator=generator)
    return x * mask.div_(1.0 - share)


class Dropout(Function):
    """Dropout without a stored mask: a hash of seed and place decides, again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float, seed: int, locked: bool) -> Tensor:
        """See `dropout`.

        Args:
            ctx: autograd's.
            x: (..., H).
            share: of its numbers to set to zero, from 0 to below 1.
            seed: of the hash, 32 bits.
            locked: one mask for all places of dimension 0.
        """
        ctx.others = share, seed, locked
        return _apply_mask(x, *ctx.others)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The same places and the same factor."""
        return _apply_mask(grads[0], *ctx.others), None, None, None


def _apply_mask(x: Tensor, share: float, seed: int, locked: bool) -> Tensor:
    x = x.contiguous()
    out, flat = torch.empty_like(x), (-1, x.shape[-1])
    period = (x[0] if locked else x).view(flat).shape[0]
    arrays = as_array(x.view(flat)), as_array(out.view(flat))
    mask_rows(*arrays, share, seed, period)
    return out


def mask_rows(values: Array, out: Array, share: float, seed: int, period: int) -> None:
    """Dropout of rows.

    Args:
        values: (N, H).
        out: (N, H), written.
        share: of the numbers to set to zero, from 0 to below 1.
        seed: of the hash, 32 bits.
        period: rows that are so far from each other have the same mask.
    """
    _hashed_dropout(values, out, seed, int(share * 2**32), 1.0 / (1.0 - share), period)


@compiled
def _hashed_dropout(values: Array, out: Array, seed: int, threshold: int, scale: float, period: int) -> None:
    """Dropout of (N, H) by a 32-bit integer mix in the manner of MurmurHash3's last step; rows `period` apart agree."""
    width, salt, least = values.shape[1], np.uint32(seed), np.uint32(threshold)
    for row in range(values.shape[0]):
        x, y, first = values[row], out[row], np.uint32(row % period * width)
        for j in range(width):
            mixed = np.uint32(np.uint32(np.uint32(j) + first) * np.uint32(0x9E3779B1)) ^ salt
            mixed = np.uint32((mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x85EBCA6B))
            mixed = np.uint32((mixed ^ (mixed >> np.uint32(13))) * np.uint32(0xC2B2AE35))
            mixed = mixed ^ (mixed >> np.uint32(16))
            put(y, j, get(x, j) * np.float32(scale) * np.float32(mixed >= least))
