"""A product of some rows with a matrix, compiled: each row's sums are the same bit for bit, whatever the other rows.

The weights lie in tiles of 16 columns, read from start to end. A few rows take little longer than reading them; of many
rows six share each read, their sums in registers. All sums add up in the order of the inputs.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from charlm.models.kernels.jit import compiled, is_wanted
from charlm.models.kernels.plan import ComputePlan, pack_weight, weight_key

Array = np.ndarray[Any, Any]
COLUMNS = 16  # of a tile: two registers of AVX2, one of AVX-512, four of NEON
# Rows that share a reading: their 12 or 8 vectors of sums fit AVX2's 16 registers, with the weights and a factor.
ROWS, FEW_ROWS = 6, 4
TILES = 4  # read at once for a single row: fewer than 8 sums would wait for each other
TILED_USES = 4  # products with one matrix from which laying it out in tiles pays


def padded_rows(rows: int) -> int:
    """The number of rows that arrays must have; results in the surplus ones are meaningless."""
    whole, rest = rows // ROWS * ROWS, rows % ROWS
    if rows == 1 or not rest:
        return rows
    return whole + (FEW_ROWS if rest <= FEW_ROWS else ROWS)


def padded_columns(columns: int) -> int:
    """The number of columns of all tiles."""
    return -(-columns // COLUMNS) * COLUMNS


def pack(weight: Array) -> Array:
    """Weights in torch's layout, (N, K), as tiles (N / 16, K, 16) in float32, filled up with zeros."""
    columns, inputs = weight.shape
    whole, rest = columns // COLUMNS, columns % COLUMNS
    tiles = np.zeros((padded_columns(columns) // COLUMNS, inputs, COLUMNS), np.float32)
    tiles[:whole] = weight[: whole * COLUMNS].reshape(-1, COLUMNS, inputs).transpose(0, 2, 1)
    if rest:
        tiles[whole, :, :rest] = weight[-rest:].T
    return tiles


def add_products(x: Array, rows: int, w: Array, y: Array) -> None:
    """Add the products of some rows with a matrix in tiles: y += x w.

    Args:
        x: (R, K) float32, where R is `padded_rows(rows)`.
        rows: how many rows count; the results of the others are meaningless.
        w: (N, K, 16) float32, see `pack`.
        y: (R, 16 N) float32.
    """
    raise NotImplementedError("compiled only")


def multiply(x: Array, w: Array, y: Array) -> None:
    """The product of any number of rows with a matrix in tiles: y = x w.

    Args:
        x: (R, K) float32.
        w: (N, K, 16) float32, see `pack`.
        y: (R, 16 N) float32, overwritten.
    """
    raise NotImplementedError("compiled only")


def tile(weight: Array, tiles: Array) -> None:
    """Lay weights (K, 16 N) out as tiles (N, K, 16)."""
    raise NotImplementedError("compiled only")


if is_wanted():
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    VECTOR = ir.VectorType(ir.FloatType(), COLUMNS)
    FIRST = ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), [0] * COLUMNS)

    def _adder(rows: int, tiles: int) -> Any:
        """A compiled function (x, w, y, i, j): add to y, from row i on, these rows' products with the tiles from j on.

        It is put together from the compiler's own vectors, because a plain loop leaves it to chance whether the sums
        stay in registers, and in which order they add up.
        """

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, w, y = (context.make_array(signature.args[a])(context, builder, args[a]) for a in range(3))
            inputs, width = builder.extract_value(w.shape, 1), builder.extract_value(y.shape, 1)
            index = inputs.type
            row = [builder.add(args[3], ir.Constant(index, r)) for r in range(rows)]
            tile = [builder.add(args[4], ir.Constant(index, q)) for q in range(tiles)]
            columns = [builder.mul(number, ir.Constant(index, COLUMNS)) for number in tile]

            def vector(data: Any, offset: Any) -> Any:
                return builder.bitcast(builder.gep(data, [offset]), VECTOR.as_pointer())

            place = [[vector(y.data, builder.add(builder.mul(r, width), c)) for c in columns] for r in row]
            sums = [[cgutils.alloca_once_value(builder, builder.load(p, align=4)) for p in of_row] for of_row in place]
            kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
            multiply_add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{COLUMNS}f32")
            with cgutils.for_range(builder, inputs) as loop:
                weights = []
                for q in range(tiles):
                    line = builder.add(builder.mul(tile[q], inputs), loop.index)
                    start = vector(w.data, builder.mul(line, ir.Constant(index, COLUMNS)))
                    weights.append(builder.load(start, align=4))
                for r in range(rows):
                    number = builder.load(builder.gep(x.data, [builder.add(builder.mul(row[r], inputs), loop.index)]))
                    lane = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), number, ir.IntType(32)(0))
                    factor = builder.shuffle_vector(lane, lane, FIRST)
                    for q in range(tiles):
                        total = builder.call(multiply_add, [factor, weights[q], builder.load(sums[r][q])])
                        builder.store(total, sums[r][q])
            for r in range(rows):
                for q in range(tiles):
                    builder.store(builder.load(sums[r][q]), place[r][q], align=4)
            return context.get_dummy_value()

        @intrinsic
        def add(typing_context, x, w, y, i, j):  # type: ignore[no-untyped-def]
            return types.void(x, w, y, types.intp, types.intp), emit

        return add

    _add_many, _add_few = _adder(ROWS, 1), _adder(FEW_ROWS, 1)
    _add_one, _add_rest = _adder(1, TILES), _adder(1, 1)

    @compiled
    def add_products(x: Array, rows: int, w: Array, y: Array) -> None:
        """See the stub above."""
        tiles, room = w.shape[0], x.shape[0]
        if rows == 1:
            wide = tiles // TILES * TILES
            for j in range(0, wide, TILES):
                _add_one(x, w, y, 0, j)
            for j in range(wide, tiles):
                _add_rest(x, w, y, 0, j)
            return
        many = room // ROWS * ROWS
        for j in range(tiles):
            for i in range(0, many, ROWS):
                _add_many(x, w, y, i, j)
            if many < room:
                _add_few(x, w, y, many, j)

    @compiled
    def multiply(x: Array, w: Array, y: Array) -> None:
        """See the stub above; nothing beyond the R rows is read or written."""
        rows, tiles = x.shape[0], w.shape[0]
        alone = rows % 2 if rows >= FEW_ROWS else rows  # every even number from 4 on is made of fours and sixes
        fours = 0
        while rows - alone - fours * FEW_ROWS > 0 and (rows - alone - fours * FEW_ROWS) % ROWS:
            fours += 1
        many = rows - alone - fours * FEW_ROWS
        y[:] = 0
        for j in range(tiles):
            for i in range(0, many, ROWS):
                _add_many(x, w, y, i, j)
            for i in range(many, rows - alone, FEW_ROWS):
                _add_few(x, w, y, i, j)
            for i in range(rows - alone, rows):
                _add_rest(x, w, y, i, j)

    @compiled
    def tile(weight: Array, tiles: Array) -> None:
        """Lay weights (K, 16 N) out as tiles (N, K, 16)."""
        for j in range(tiles.shape[0]):
            for k in range(tiles.shape[1]):
                for c in range(COLUMNS):
                    tiles[j, k, c] = weight[k, j * COLUMNS + c]


class PreparedMatrix:
    """A matrix in the layout that suits its products: tiles, oneDNN's packing, or as the library likes it.

    Args:
        matrix: (K, N).
        plan: number format and kind of products.
        uses: number of products it is prepared for.
        rows: of each.
    """

    def __init__(self, matrix: Tensor, plan: ComputePlan, uses: int, rows: int) -> None:
        inputs, columns = matrix.shape
        self._tiles = self._packed = None
        if plan.uses_packed(uses, rows):
            packed = plan.packed_weights.get(weight_key(matrix))
            self._packed = pack_weight(matrix) if packed is None else packed
        elif plan.tiled and uses >= TILED_USES and columns % COLUMNS == 0:
            self._tiles = np.empty((columns // COLUMNS, inputs, COLUMNS), np.float32)
            tile(matrix.numpy(), self._tiles)
        else:  # copied, which products in float32 like better, only where many pay for it
            copied = uses > 1 and plan.dtype == torch.float32
            self._matrix = matrix.contiguous() if copied else matrix.to(plan.dtype)

    def operand(self, rows: Tensor) -> Any:
        """Rows, or the place of the result, as `multiply` takes them."""
        return rows if self._tiles is None else rows.numpy()

    def multiply(self, rows: Any, out: Any) -> None:
        """out (R, N) = rows (R, K) times the matrix."""
        if self._packed is not None:
            out.copy_(torch.ops.mkldnn._linear_pointwise(rows, self._packed, None, "none", [], ""))
        elif self._tiles is None:
            torch.mm(rows, self._matrix, out=out)
        else:
            multiply(rows, self._tiles, out)
