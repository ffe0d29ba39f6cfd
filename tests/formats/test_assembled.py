"""The page's WebAssembly module: the bytes are those of its source, it has no imports but memory, and it computes."""

import ctypes
from typing import Any

import numpy as np
import pytest

from charlm.formats.html.assemble import CODE, assembled

wasmtime = pytest.importorskip("wasmtime", reason="pip install -r requirements-dev.txt brings the assembler")


@pytest.fixture(scope="module")
def exports() -> Any:
    """The module's functions, and 256 kB of memory as bytes."""
    store = wasmtime.Store()
    memory = wasmtime.Memory(store, wasmtime.MemoryType(wasmtime.Limits(4, None)))
    module = wasmtime.Module(store.engine, CODE.read_bytes())
    assert [(one.module, one.name) for one in module.imports] == [("page", "memory")]
    found = wasmtime.Instance(store, module, [memory]).exports(store)
    pointer = ctypes.cast(memory.data_ptr(store), ctypes.c_void_p).value
    data = np.frombuffer((ctypes.c_uint8 * memory.data_len(store)).from_address(pointer), np.uint8)
    call = {name: lambda *given, one=found[name]: one(store, *given) for name in ("exp", "floats", "bytes")}
    return call, data


def test_the_bytes_are_those_of_the_source() -> None:
    assert CODE.read_bytes() == assembled()


def panels(matrix: np.ndarray, together: int) -> np.ndarray:
    """As kernels.wat says: of each column, or two, 32 rows side by side."""
    rows, columns = matrix.shape
    return matrix.reshape(rows // 32, 32, columns // together, together).transpose(0, 2, 1, 3).ravel()


def test_products_of_bytes_are_exact(exports: Any) -> None:
    call, data = exports
    random = np.random.default_rng(1)
    matrix, x = random.integers(-127, 128, (96, 130), np.int8), random.integers(-32767, 32768, 130, np.int16)
    x[:2], matrix[0, :2] = 32767, 127
    data[: matrix.size] = panels(matrix, 2).view(np.uint8)
    data[32768 : 32768 + 260] = x.view(np.uint8)
    call["bytes"](0, 32768, 65536, 130, 3)
    assert np.array_equal(data[65536 : 65536 + 384].view(np.int32), matrix.astype(np.int64) @ x.astype(np.int64))


def test_products_of_floats_are_summed_from_left_to_right(exports: Any) -> None:
    call, data = exports
    random = np.random.default_rng(2)
    matrix, x = random.standard_normal((64, 33), np.float32), random.standard_normal(33, np.float32)
    data[: matrix.nbytes] = panels(matrix, 1).view(np.uint8)
    data[65536 : 65536 + x.nbytes] = x.view(np.uint8)
    call["floats"](0, 65536, 131072, 33, 2)
    expected = np.zeros(64, np.float32)
    for column in range(33):
        expected += matrix[:, column] * x[column]
    assert np.array_equal(data[131072 : 131072 + 256].view(np.float32), expected)


def test_e_to_the_x_is_that_of_a_float(exports: Any) -> None:
    call, data = exports
    x = np.linspace(-80, 80, 20_000, dtype=np.float32)
    data[: x.nbytes] = x.view(np.uint8)
    call["exp"](0, x.nbytes)
    assert np.abs(data[: x.nbytes].view(np.float32) / np.exp(x.astype(np.float64)) - 1).max() < 2e-7
    for given, limit in ((-np.inf, np.exp(-80.0)), (np.inf, np.exp(80.0)), (np.nan, np.nan)):
        data[:16] = np.full(4, given, np.float32).view(np.uint8)
        call["exp"](0, 16)
        np.testing.assert_allclose(data[:16].view(np.float32), limit, rtol=1e-6)
