"""A product of some rows with a matrix of 16-bit weights, compiled; a row's sums are the same alone and beside others.

To write a text, all weights are read for each token: half the bytes are almost half the time. The weights lie in tiles
of 32 columns, read from start to end, and become float32 in registers. A few rows take little longer than reading them;
of many rows six share each read. All sums add up in float32, in the order of the inputs.
"""

from typing import Any

import numpy as np

from charlm.models.kernels.jit import compiled, is_wanted
from charlm.models.kernels.matmul import FEW_ROWS, ROWS, WIDE, Array

WORDS = 16  # of a line of a tile, each with the weights of two columns
COLUMNS = 2 * WORDS
HALF_WORD = np.float32(65536)
LARGEST = np.float32(32767)  # of the 16-bit numbers
# With the 32 registers of AVX-512 half of a tile need not wait for the other.
TILES = 4 if WIDE else 2  # read at once for a single row: fewer than 8 sums would wait for each other
LANES = WORDS if WIDE else WORDS // 2  # words of many rows at once: 12 vectors of sums, the weights and a factor


def padded_rows(rows: int) -> int:
    """The number of rows that arrays must have; results in the surplus ones are meaningless."""
    whole, rest = rows // ROWS * ROWS, rows % ROWS
    if rows == 1 or not rest:
        return rows
    return whole + (FEW_ROWS if rest <= FEW_ROWS else ROWS)


def padded_columns(columns: int) -> int:
    """The number of columns of all tiles."""
    return -(-columns // COLUMNS) * COLUMNS


def inputs_of(tiles: Array) -> int:
    """The number of inputs K of a packed matrix, or of several in one array."""
    return int(tiles.shape[-2]) - 2


def pack(weight: Array) -> Array:
    """Weights in torch's layout as tiles of 16-bit numbers, each times the scale of its column.

    Word c of a line has the weights of columns c and 16 + c of the tile: the former is its lower half, the latter the
    whole word, so that nothing has to be taken out; its upper half is chosen with the lower one as its fraction. Both
    are within half a unit, max |w| / 65534 of their column.

    Args:
        weight: (N, K) float32.

    Returns:
        (N / 32 filled up, K + 2, 16) int32. The last two lines are scales in float32, of what a word is when its lower
        half is shifted up, and of what it is as a whole. A column with a number that is not finite has such a scale.
    """
    tiles = np.zeros((padded_columns(len(weight)) // COLUMNS, weight.shape[1] + 2, WORDS), np.int32)
    put_words(np.ascontiguousarray(weight, np.float32), tiles, tiles[:, -2:].view(np.float32))
    return tiles


@compiled
def put_words(weight: Array, tiles: Array, scales: Array) -> None:
    """See `pack`.

    Args:
        weight: (N, K) float32.
        tiles: (N / 32 filled up, K + 2, 16) int32, zeros; all lines but the last two are overwritten.
        scales: (N / 32 filled up, 2, 16) float32, overwritten.
    """
    for column in range(weight.shape[0]):
        tile, upper, c = column // COLUMNS, column % COLUMNS // WORDS, column % WORDS
        row, most, finite = weight[column], np.float32(0), True
        for k in range(row.shape[0]):
            most = max(most, abs(row[k]))
            finite = finite and np.isfinite(row[k])
        if not finite:
            scales[tile, upper, c] = np.nan
        if not finite or most == 0:
            continue
        scales[tile, upper, c] = most / LARGEST / HALF_WORD
        for k in range(row.shape[0]):
            wanted, low = row[k] / most * LARGEST, tiles[tile, k, c]
            if upper:
                tiles[tile, k, c] = (np.int32(np.rint(wanted - np.float32(low) / HALF_WORD)) << 16) + low
            else:
                tiles[tile, k, c] = np.int32(np.rint(wanted)) & 0xFFFF


def add_products(x: Array, rows: int, w: Array, y: Array) -> None:
    """Add the products of some rows with a matrix in tiles: y += x w.

    Args:
        x: (R, K) float32, where R is `padded_rows(rows)`.
        rows: how many rows count; the results of the others are meaningless.
        w: (N, K + 2, 16) int32, see `pack`.
        y: (R, 32 N) float32.
    """
    raise NotImplementedError("compiled only")


if is_wanted():
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    from charlm.models.kernels.matmul import add_up, multiply_adder, vector_at

    def _adder(rows: int, tiles: int, lanes: int) -> Any:
        """A compiled function (x, w, y, i, j, c).

        It adds to y, from row i on, these rows' products with the tiles from j on: the columns of the words from c on,
        `lanes` of them.
        """
        numbers, words = ir.VectorType(ir.FloatType(), lanes), ir.VectorType(ir.IntType(32), lanes)
        zeros, shift = ir.Constant(numbers, [0.0] * lanes), ir.Constant(words, [16] * lanes)

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, w, y = (context.make_array(signature.args[a])(context, builder, args[a]) for a in range(3))
            inputs, width = builder.extract_value(x.shape, 1), builder.extract_value(y.shape, 1)
            lines, index = builder.extract_value(w.shape, 1), inputs.type
            row = [builder.add(args[3], ir.Constant(index, r)) for r in range(rows)]
            tile = [builder.add(args[4], ir.Constant(index, q)) for q in range(tiles)]

            def line(number: Any, k: Any, kind: Any) -> Any:
                place = builder.mul(builder.add(builder.mul(number, lines), k), ir.Constant(index, WORDS))
                return builder.load(vector_at(builder, w.data, builder.add(place, args[5]), kind), align=4)

            def weights(k: Any) -> list[Any]:
                both = [line(number, k, words) for number in tile]
                return [builder.sitofp(half, numbers) for word in both for half in (builder.shl(word, shift), word)]

            sums = [[cgutils.alloca_once(builder, numbers) for _ in range(2 * tiles)] for _ in row]
            for of_row in sums:
                for total in of_row:
                    builder.store(zeros, total)
            add_up(builder, x.data, row, inputs, weights, sums)
            multiply_add = multiply_adder(builder, numbers)
            for q, number in enumerate(tile):
                for half in range(2):
                    scale = line(number, builder.add(inputs, ir.Constant(index, half)), numbers)
                    column = builder.add(builder.mul(number, ir.Constant(index, COLUMNS)), args[5])
                    column = builder.add(column, ir.Constant(index, half * WORDS))
                    for r, of_row in zip(row, sums, strict=True):
                        place = vector_at(builder, y.data, builder.add(builder.mul(r, width), column), numbers)
                        total, before = builder.load(of_row[2 * q + half]), builder.load(place, align=4)
                        builder.store(builder.call(multiply_add, [scale, total, before]), place, align=4)
            return context.get_dummy_value()

        @intrinsic
        def add(typing_context, x, w, y, i, j, c):  # type: ignore[no-untyped-def]
            return types.void(x, w, y, types.intp, types.intp, types.intp), emit

        return add

    _add_many, _add_few = _adder(ROWS, 1, LANES), _adder(FEW_ROWS, 1, LANES)
    _add_tiles, _add_two, _add_one = _adder(1, TILES, WORDS), _adder(1, 2, WORDS), _adder(1, 1, WORDS)

    @compiled
    def add_products(x: Array, rows: int, w: Array, y: Array) -> None:
        """See the stub above."""
        tiles, room = w.shape[0], x.shape[0]
        if rows == 1:
            j = 0
            while j + TILES <= tiles:
                _add_tiles(x, w, y, 0, j, 0)
                j += TILES
            if j + 2 <= tiles:
                _add_two(x, w, y, 0, j, 0)
                j += 2
            if j < tiles:
                _add_one(x, w, y, 0, j, 0)
            return
        many = room // ROWS * ROWS
        for j in range(tiles):
            for c in range(0, WORDS, LANES):
                for i in range(0, many, ROWS):
                    _add_many(x, w, y, i, j, c)
                if many < room:
                    _add_few(x, w, y, many, j, c)
