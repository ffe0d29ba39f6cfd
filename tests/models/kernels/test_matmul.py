"""The compiled product: the same as numpy's, and the same for a row whatever its company."""

import numpy as np
import pytest

from charlm.models.kernels import matmul
from charlm.models.kernels.jit import is_wanted

pytestmark = pytest.mark.skipif(not is_wanted(), reason="compiled only")


def computed(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x (B, K) by weight (N, K) -> (B, N)."""
    room = np.zeros((matmul.padded_rows(len(x)), x.shape[1]), np.float32)
    room[: len(x)] = x
    y = np.zeros((len(room), matmul.padded_columns(len(weight))), np.float32)
    matmul.add_products(room, len(x), matmul.pack(weight), y)
    assert not y[: len(x), len(weight) :].any()
    return y[: len(x), : len(weight)]


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 6, 7, 11, 12, 13])
@pytest.mark.parametrize(("inputs", "columns"), [(1, 1), (5, 16), (8, 77), (64, 64), (37, 130)])
def test_it_is_a_product(rows: int, inputs: int, columns: int) -> None:
    rng = np.random.default_rng(rows * inputs * columns)
    x, weight = rng.standard_normal((rows, inputs), np.float32), rng.standard_normal((columns, inputs), np.float32)
    assert computed(x, weight) == pytest.approx(x @ weight.T, abs=1e-5 * inputs)


def test_a_row_is_the_same_alone_and_in_company() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((20, 100), np.float32), rng.standard_normal((150, 100), np.float32)
    alone = np.concatenate([computed(row[None], weight) for row in x])
    for start, end in ((0, 2), (0, 3), (5, 11), (1, 20), (0, 20)):
        assert np.array_equal(computed(x[start:end], weight), alone[start:end])


def test_packing_keeps_every_weight() -> None:
    weight = np.arange(20 * 3, dtype=np.float32).reshape(20, 3)
    tiles = matmul.pack(weight)
    assert tiles.shape == (2, 3, 16) and not tiles[1, :, 4:].any()
    assert np.array_equal(tiles.transpose(0, 2, 1).reshape(32, 3)[:20], weight)
