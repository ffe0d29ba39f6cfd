"""The products of training: the same as numpy's, and the same for a row whatever its company."""

import numpy as np
import pytest

from charlm.models.kernels import matmul
from charlm.models.kernels.jit import is_wanted

pytestmark = pytest.mark.skipif(not is_wanted(), reason="compiled only")


def computed(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x (B, K) by weight (K, 16 N)."""
    tiles = np.empty((weight.shape[1] // matmul.COLUMNS, len(weight), matmul.COLUMNS), np.float32)
    matmul.tile(weight, tiles)
    y = np.full((len(x), weight.shape[1]), np.nan, np.float32)
    matmul.multiply(x, tiles, y)
    return y


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 6, 7, 8, 13, 16])
@pytest.mark.parametrize(("inputs", "columns"), [(1, 16), (37, 64), (64, 144)])
def test_it_is_a_product(rows: int, inputs: int, columns: int) -> None:
    rng = np.random.default_rng(rows * inputs * columns)
    x, weight = rng.standard_normal((rows, inputs), np.float32), rng.standard_normal((inputs, columns), np.float32)
    assert computed(x, weight) == pytest.approx(x @ weight, abs=1e-5 * inputs)


@pytest.mark.parametrize(("inputs", "columns"), [(1, 16), (15, 32), (16, 16), (37, 64), (64, 144)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_tiles_hold_the_weights_in_whatever_order_they_lie(inputs: int, columns: int, order: str) -> None:
    weight = np.asarray(np.arange(inputs * columns, dtype=np.float32).reshape(inputs, columns), order=order)
    tiles = np.full((columns // matmul.COLUMNS, inputs, matmul.COLUMNS), np.nan, np.float32)
    matmul.tile(weight, tiles)
    assert np.array_equal(tiles.transpose(1, 0, 2).reshape(inputs, columns), weight)


def test_a_row_is_the_same_alone_and_in_company() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((20, 100), np.float32), rng.standard_normal((100, 144), np.float32)
    alone = np.concatenate([computed(row[None], weight) for row in x])
    for start, end in ((0, 2), (0, 3), (5, 11), (1, 20), (0, 20)):
        assert np.array_equal(computed(x[start:end], weight), alone[start:end])


@pytest.mark.parametrize("rows", [1, 4, 6, 7, 22, 64])
@pytest.mark.parametrize("columns", [16, 64, 80])
def test_a_gradients_product_is_added(rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows * columns)
    x, w = rng.standard_normal((9, rows), np.float32), rng.standard_normal((9, columns), np.float32)
    y = rng.standard_normal((rows, columns), np.float32)
    expected = y + x.T @ w
    matmul.add_transposed(x, w, y)
    assert y == pytest.approx(expected, abs=1e-4)
