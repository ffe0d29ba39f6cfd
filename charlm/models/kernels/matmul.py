"""A product of some rows with a matrix, compiled: each row's sums are the same bit for bit, whatever the other rows.

The weights lie in tiles of 16 columns, read from start to end; of many rows six share each read, their sums in
registers. All sums add up in the order of the inputs.
"""

from collections.abc import Callable, Sequence
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
TILED_USES = 4  # products with one matrix from which laying it out in tiles pays


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

    def vector_at(builder: Any, data: Any, offset: Any, kind: Any) -> Any:
        """A pointer to the vector of this type that begins at an element of an array's data."""
        return builder.bitcast(builder.gep(data, [offset]), kind.as_pointer())

    def multiply_adder(builder: Any, kind: Any) -> Any:
        """The function a * b + c of three vectors of float32."""
        signature = ir.FunctionType(kind, [kind] * 3)
        return cgutils.get_or_insert_function(builder.module, signature, f"llvm.fmuladd.v{kind.count}f32")

    def add_up(builder: Any, x: Any, rows: Sequence[Any], inputs: Any, weights: Callable[[Any], list[Any]],
               sums: Sequence[Sequence[Any]]) -> None:  # fmt: skip
        """Emit the loop over the inputs, in their order: sums[r][q] += x[rows[r], k] * weights(k)[q].

        It is put together from the compiler's own vectors, because a plain loop leaves it to chance whether the sums
        stay in registers, and in which order they add up.

        Args:
            builder: emits.
            x: data of (R, K) float32.
            rows: the numbers of some of its rows.
            inputs: K.
            weights: emits vectors of float32 for an input.
            sums: for each row, pointers to as many vectors.
        """
        with cgutils.for_range(builder, inputs) as loop:
            vectors = weights(loop.index)
            kind = vectors[0].type
            multiply_add, first = multiply_adder(builder, kind), ir.VectorType(ir.IntType(32), kind.count)
            for row, of_row in zip(rows, sums, strict=True):
                number = builder.load(builder.gep(x, [builder.add(builder.mul(row, inputs), loop.index)]))
                lane = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.IntType(32)(0))
                factor = builder.shuffle_vector(lane, lane, ir.Constant(first, [0] * kind.count))
                for vector, total in zip(vectors, of_row, strict=True):
                    builder.store(builder.call(multiply_add, [factor, vector, builder.load(total)]), total)

    VECTOR = ir.VectorType(ir.FloatType(), COLUMNS)

    def _adder(rows: int) -> Any:
        """A compiled function (x, w, y, i, j): add to y, from row i on, these rows' products with tile j."""

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, w, y = (context.make_array(signature.args[a])(context, builder, args[a]) for a in range(3))
            inputs, width = builder.extract_value(w.shape, 1), builder.extract_value(y.shape, 1)
            index, tile = inputs.type, args[4]
            row = [builder.add(args[3], ir.Constant(index, r)) for r in range(rows)]
            column = builder.mul(tile, ir.Constant(index, COLUMNS))
            place = [vector_at(builder, y.data, builder.add(builder.mul(r, width), column), VECTOR) for r in row]
            sums = [[cgutils.alloca_once_value(builder, builder.load(p, align=4))] for p in place]

            def weights(k: Any) -> list[Any]:
                line = builder.mul(builder.add(builder.mul(tile, inputs), k), ir.Constant(index, COLUMNS))
                return [builder.load(vector_at(builder, w.data, line, VECTOR), align=4)]

            add_up(builder, x.data, row, inputs, weights, sums)
            for p, [total] in zip(place, sums, strict=True):
                builder.store(builder.load(total), p, align=4)
            return context.get_dummy_value()

        @intrinsic
        def add(typing_context, x, w, y, i, j):  # type: ignore[no-untyped-def]
            return types.void(x, w, y, types.intp, types.intp), emit

        return add

    _add_many, _add_few, _add_one = _adder(ROWS), _adder(FEW_ROWS), _adder(1)

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
                _add_one(x, w, y, i, j)

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
