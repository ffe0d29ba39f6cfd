"""Products with 16-bit weights: numpy's within rounding, and the same for a row whatever its company."""

import numpy as np
import pytest

from charlm.models.kernels import matmul16
from charlm.models.kernels.jit import is_wanted

pytestmark = pytest.mark.skipif(not is_wanted(), reason="compiled only")


def computed(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x (B, K) by weight (N, K) -> (B, N)."""
    room = np.zeros((matmul16.padded_rows(len(x)), x.shape[1]), np.float32)
    room[: len(x)] = x
    y = np.zeros((len(room), matmul16.padded_columns(len(weight))), np.float32)
    matmul16.add_products(room, len(x), matmul16.pack(weight), y)
    assert not y[: len(x), len(weight) :].any()
    return y[: len(x), : len(weight)]


def unpacked(tiles: np.ndarray, columns: int) -> np.ndarray:
    """The weights (N, K) that packed ones stand for, in float64."""
    words, scales = tiles[:, :-2].astype(np.int64), tiles[:, -2:].view(np.float32).astype(np.float64)
    lower = (words & 0xFFFF) - ((words & 0x8000) << 1)
    halves = np.stack([(lower << 16) * scales[:, :1], words * scales[:, 1:]], axis=1)  # (tiles, 2, K, 16)
    return halves.transpose(0, 1, 3, 2).reshape(-1, words.shape[1])[:columns]


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 6, 7, 11, 12, 13])
@pytest.mark.parametrize(("inputs", "columns"), [(1, 1), (5, 16), (8, 77), (64, 64), (37, 130), (9, 300)])
def test_it_is_the_product_with_the_weights_as_packed(rows: int, inputs: int, columns: int) -> None:
    rng = np.random.default_rng(rows * inputs * columns)
    x, weight = rng.standard_normal((rows, inputs), np.float32), rng.standard_normal((columns, inputs), np.float32)
    expected = x.astype(np.float64) @ unpacked(matmul16.pack(weight), columns).T
    assert computed(x, weight) == pytest.approx(expected, abs=2e-6 * inputs)


def test_a_row_is_the_same_alone_and_in_company() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((20, 100), np.float32), rng.standard_normal((150, 100), np.float32)
    alone = np.concatenate([computed(row[None], weight) for row in x])
    for start, end in ((0, 2), (0, 3), (5, 11), (1, 20), (0, 20)):
        assert np.array_equal(computed(x[start:end], weight), alone[start:end])


@pytest.mark.parametrize("columns", [1, 16, 17, 50, 64])
def test_packed_weights_are_within_half_a_unit_of_their_column(columns: int) -> None:
    rng = np.random.default_rng(columns)
    weight = rng.standard_normal((columns, 30)).astype(np.float32) * 10.0 ** rng.integers(-20, 20, (columns, 1))
    weight = weight.astype(np.float32)
    weight[0, :2] = np.abs(weight[0]).max() * np.array([1, -1])  # both ends of the range
    unit = np.abs(weight).max(axis=1, keepdims=True).astype(np.float64) / 32767
    off = np.abs(unpacked(matmul16.pack(weight), columns) - weight) / unit
    assert off.max() <= 0.505  # half of one, and float32's rounding


def test_a_column_of_zeros_stays_zero_and_one_that_is_not_finite_spoils_itself_alone() -> None:
    weight = np.ones((40, 3), np.float32)
    weight[3], weight[18, 1], weight[19, 2] = 0, np.inf, np.nan
    y = computed(np.ones((1, 3), np.float32), weight)[0]
    assert y[3] == 0 and not np.isfinite(y[18:20]).any()
    rest = np.delete(y, [3, 18, 19])
    assert rest == pytest.approx(3, abs=1e-3)
