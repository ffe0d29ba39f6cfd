"""A product of some rows with a matrix, compiled: each row's sums are the same bit for bit, whatever the other rows.

The weights lie in tiles of 16 columns, read from start to end; of many rows six share each read, their sums in
registers. All sums add up in the order of the inputs, however many rows or columns are computed at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charlm.models.kernels.jit import compiled, inlined, is_wanted
from charlm.models.kernels.plan import ComputePlan, pack_weight, weight_key

Array = np.ndarray[Any, Any]
COLUMNS = 16  # of a tile: two registers of AVX2, one of AVX-512, four of NEON
# Rows that share a reading: their 12 or 8 vectors of sums fit AVX2's 16 registers, with the weights and a factor.
ROWS, FEW_ROWS = 6, 4
TILES = 4  # read at once for a single row: fewer than 8 sums would wait for each other
WIDE = torch.backends.cpu.get_cpu_capability() == "AVX512"  # which has 32 registers
# Tiles read at once for several rows: the 32 registers take their sums, and with fewer they would wait for each other.
ABREAST = 4 if WIDE else 1
TILED_USES = 4  # products with one matrix from which laying it out in tiles pays


def multiply(x: Array, w: Array, y: Array) -> None:
    """The product of any number of rows with a matrix in tiles: y = x w.

    Args:
        x: (R, K) float32.
        w: (N, K, 16) float32, see `in_tiles`.
        y: (R, 16 N) float32, overwritten.
    """
    raise NotImplementedError("compiled only")


def add_transposed(x: Array, w: Array, y: Array) -> None:
    """Add a product of which the first factor is transposed, as in the gradient of a matrix: y += x^T w.

    Args:
        x: (K, R) float32.
        w: (K, 16 N) float32, not in tiles.
        y: (R, 16 N) float32.
    """
    raise NotImplementedError("compiled only")


def add_fours(x: Array, w: Array, y: Array) -> None:
    """Add a product of rows whose number four divides, in a compiled loop of its own: y += x w.

    Args:
        x: (4 R, K) float32, in C's or Fortran's order.
        w: (N, K, 16) float32, in tiles, or (K, 16 N).
        y: (4 R, 16 N) float32.
    """
    raise NotImplementedError("compiled only")


def multiply_past(x: Array, weight: Array, tiles: Array, y: Array) -> None:
    """The recurrent product between two steps, y = x w, in a compiled loop over steps.

    Args:
        x: (B, K); anything but float32 is left to the caller of the loop.
        weight: (K, N).
        tiles: (N / 16, K, 16), the same; only one of the two is read, the other is empty. Where both are, the caller
            multiplies.
        y: (B, N), overwritten.
    """
    raise NotImplementedError("compiled only")


def tile(weight: Array, tiles: Array) -> None:
    """Lay weights (K, 16 N) out as tiles (N, K, 16)."""
    raise NotImplementedError("compiled only")


def tiles_of(matrix: Array) -> Array:
    """A matrix (K, 16 N) in float32 as tiles (N, K, 16)."""
    inputs, columns = matrix.shape
    tiles = np.empty((columns // COLUMNS, inputs, COLUMNS), np.float32)
    tile(matrix, tiles)
    return tiles


def in_tiles(matrix: Tensor) -> Array:
    """The same of a tensor."""
    return tiles_of(matrix.numpy())


if is_wanted():
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic, overload

    def vector_at(builder: Any, data: Any, offset: Any, kind: Any) -> Any:
        """A pointer to the vector of this type that begins at an element of an array's data."""
        return builder.bitcast(builder.gep(data, [offset]), kind.as_pointer())

    def multiply_adder(builder: Any, kind: Any) -> Any:
        """The function a * b + c of three vectors of float32."""
        signature = ir.FunctionType(kind, [kind] * 3)
        return cgutils.get_or_insert_function(builder.module, signature, f"llvm.fmuladd.v{kind.count}f32")

    def add_up(builder: Any, x: Any, rows: Sequence[Any], inputs: Any, weights: Callable[[Any], list[Any]],
               sums: Sequence[Sequence[Any]], transposed: Any = None) -> None:  # fmt: skip
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
            transposed: R, where the data lie as (K, R).
        """
        with cgutils.for_range(builder, inputs) as loop:
            vectors = weights(loop.index)
            kind = vectors[0].type
            multiply_add, first = multiply_adder(builder, kind), ir.VectorType(ir.IntType(32), kind.count)
            for row, of_row in zip(rows, sums, strict=True):
                place = (row, inputs, loop.index) if transposed is None else (loop.index, transposed, row)
                number = builder.load(builder.gep(x, [builder.add(builder.mul(*place[:2]), place[2])]))
                lane = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.IntType(32)(0))
                factor = builder.shuffle_vector(lane, lane, ir.Constant(first, [0] * kind.count))
                for vector, total in zip(vectors, of_row, strict=True):
                    builder.store(builder.call(multiply_add, [factor, vector, builder.load(total)]), total)

    VECTOR = ir.VectorType(ir.FloatType(), COLUMNS)

    def _adder(rows: int, tiles: int) -> Any:
        """A compiled function (x, w, y, i, j): add to y, from row i on, these rows' products with the tiles from j on.

        An x in Fortran's order is one transposed; a w of two dimensions is (K, N), its columns not laid out in tiles.
        """

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, w, y = (context.make_array(signature.args[a])(context, builder, args[a]) for a in range(3))
            inputs, width = builder.extract_value(x.shape, 1), builder.extract_value(y.shape, 1)
            index, plain = inputs.type, signature.args[1].ndim == 2
            transposed = builder.extract_value(x.shape, 0) if signature.args[0].layout == "F" else None
            row = [builder.add(args[3], ir.Constant(index, r)) for r in range(rows)]
            tile = [builder.add(args[4], ir.Constant(index, q)) for q in range(tiles)]
            column = [builder.mul(number, ir.Constant(index, COLUMNS)) for number in tile]

            def vector(data: Any, outer: Any, size: Any, inner: Any) -> Any:
                return vector_at(builder, data, builder.add(builder.mul(outer, size), inner), VECTOR)

            place = [[vector(y.data, r, width, c) for c in column] for r in row]
            sums = [[cgutils.alloca_once_value(builder, builder.load(p, align=4)) for p in of_row] for of_row in place]

            def weights(k: Any) -> list[Any]:
                if plain:
                    lines = [vector(w.data, k, width, c) for c in column]
                else:
                    steps = builder.mul(k, ir.Constant(index, COLUMNS))
                    lines = [vector(w.data, c, inputs, steps) for c in column]
                return [builder.load(line, align=4) for line in lines]

            add_up(builder, x.data, row, inputs, weights, sums, transposed)
            for of_row, totals in zip(place, sums, strict=True):
                for p, total in zip(of_row, totals, strict=True):
                    builder.store(builder.load(total), p, align=4)
            return context.get_dummy_value()

        @intrinsic
        def add(typing_context, x, w, y, i, j):  # type: ignore[no-untyped-def]
            return types.void(x, w, y, types.intp, types.intp), emit

        return add

    _add_many, _add_few, _add_one = _adder(ROWS, ABREAST), _adder(FEW_ROWS, ABREAST), _adder(1, TILES)
    _many_rest, _few_rest, _one_rest = _adder(ROWS, 1), _adder(FEW_ROWS, 1), _adder(1, 1)

    @inlined
    def _add_all(x: Array, w: Array, y: Array, tiles: int) -> None:
        """y += x w for so many tiles of columns; nothing beyond the rows of x is read or written."""
        rows = x.shape[0]
        alone = rows % 2 if rows >= FEW_ROWS else rows  # every even number from 4 on is made of fours and sixes
        paired = rows - alone
        fours = 0
        while paired - fours * FEW_ROWS > 0 and (paired - fours * FEW_ROWS) % ROWS:
            fours += 1
        many, wide = paired - fours * FEW_ROWS, tiles // ABREAST * ABREAST
        for j in range(0, wide, ABREAST):
            for i in range(0, many, ROWS):
                _add_many(x, w, y, i, j)
            for i in range(many, paired, FEW_ROWS):
                _add_few(x, w, y, i, j)
        for j in range(wide, tiles):
            for i in range(0, many, ROWS):
                _many_rest(x, w, y, i, j)
            for i in range(many, paired, FEW_ROWS):
                _few_rest(x, w, y, i, j)
        wide = tiles // TILES * TILES
        for i in range(paired, rows):
            for j in range(0, wide, TILES):
                _add_one(x, w, y, i, j)
            for j in range(wide, tiles):
                _one_rest(x, w, y, i, j)

    @compiled
    def multiply(x: Array, w: Array, y: Array) -> None:
        """See the stub above."""
        y[:] = 0
        _add_all(x, w, y, w.shape[0])

    @compiled
    def add_transposed(x: Array, w: Array, y: Array) -> None:
        """See the stub above."""
        _add_all(x.T, w, y, w.shape[1] // COLUMNS)

    @inlined
    def add_fours(x: Array, w: Array, y: Array) -> None:
        """See the stub above; of `_add_all`'s six kinds of blocks it has two, and less to compile."""
        tiles = y.shape[1] // COLUMNS
        wide = tiles // ABREAST * ABREAST
        for i in range(0, x.shape[0], FEW_ROWS):
            for j in range(0, wide, ABREAST):
                _add_few(x, w, y, i, j)
            for j in range(wide, tiles):
                _few_rest(x, w, y, i, j)

    @intrinsic
    def _turn(typing_context, weight, tiles, j, k):  # type: ignore[no-untyped-def]
        """Write 16 rows of tile j, from row k on, of weights in Fortran's order: a block is turned in registers."""

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            w, t = (context.make_array(signature.args[a])(context, builder, args[a]) for a in range(2))
            inputs, sixteen = builder.extract_value(t.shape, 1), ir.Constant(args[2].type, COLUMNS)
            first = builder.mul(args[2], sixteen)
            vectors = []
            for c in range(COLUMNS):
                column = builder.mul(builder.add(first, ir.Constant(first.type, c)), inputs)
                vectors.append(builder.load(vector_at(builder, w.data, builder.add(column, args[3]), VECTOR), align=4))
            for distance in (8, 4, 2, 1):  # blocks of this size change places across the diagonal
                low = [lane + (COLUMNS - distance if lane & distance else 0) for lane in range(COLUMNS)]
                high = [lane + (COLUMNS if lane & distance else distance) for lane in range(COLUMNS)]
                masks = [ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), lanes) for lanes in (low, high)]
                for r in range(COLUMNS):
                    if not r & distance:
                        pair = vectors[r], vectors[r + distance]
                        vectors[r], vectors[r + distance] = (builder.shuffle_vector(*pair, mask) for mask in masks)
            start = builder.add(builder.mul(args[2], inputs), args[3])
            for r, line in enumerate(vectors):
                place = builder.mul(builder.add(start, ir.Constant(start.type, r)), sixteen)
                builder.store(line, vector_at(builder, t.data, place, VECTOR), align=4)
            return context.get_dummy_value()

        return types.void(weight, tiles, types.intp, types.intp), emit

    def _lay_out(weight: Array, tiles: Array) -> None:
        """`tile`, as suits the order in which the weights lie."""
        raise NotImplementedError("compiled only")

    @overload(_lay_out)
    def _typed_lay_out(weight, tiles):  # type: ignore[no-untyped-def]
        def from_columns(weight, tiles):  # type: ignore[no-untyped-def]
            whole = tiles.shape[1] // COLUMNS * COLUMNS
            for j in range(tiles.shape[0]):
                for k in range(0, whole, COLUMNS):
                    _turn(weight, tiles, j, k)  # type: ignore[call-arg]
                for k in range(whole, tiles.shape[1]):
                    for c in range(COLUMNS):
                        tiles[j, k, c] = weight[k, j * COLUMNS + c]

        def from_rows(weight, tiles):  # type: ignore[no-untyped-def]
            for j in range(tiles.shape[0]):
                for k in range(tiles.shape[1]):
                    for c in range(COLUMNS):
                        tiles[j, k, c] = weight[k, j * COLUMNS + c]

        return from_columns if weight.layout == "F" else from_rows

    @compiled
    def tile(weight: Array, tiles: Array) -> None:
        """Lay weights (K, 16 N) out as tiles (N, K, 16)."""
        _lay_out(weight, tiles)

    @inlined
    def multiply_few(x: Array, w: Array, y: Array) -> None:
        """The product of a few rows with a matrix, y = x w: four rows of w at a time.

        Args:
            x: (B, K).
            w: (K, N).
            y: (B, N), overwritten.
        """
        inputs, columns = w.shape
        whole = inputs // 4 * 4
        for b in range(x.shape[0]):
            row = y[b]
            for j in range(columns):
                row[j] = 0
            for k in range(0, whole, 4):
                f, g, h, i = x[b, k], x[b, k + 1], x[b, k + 2], x[b, k + 3]
                u, v, p, q = w[k], w[k + 1], w[k + 2], w[k + 3]
                for j in range(columns):
                    row[j] = row[j] + f * u[j] + g * v[j] + h * p[j] + i * q[j]
            for k in range(whole, inputs):
                u, f = w[k], x[b, k]
                for j in range(columns):
                    row[j] += f * u[j]

    @overload(multiply_past)
    def _typed_multiply_past(x, weight, tiles, y):  # type: ignore[no-untyped-def]
        if x.dtype != types.float32:
            return lambda x, weight, tiles, y: None

        def either(x, weight, tiles, y):  # type: ignore[no-untyped-def]
            if tiles.shape[0]:
                multiply(x, tiles, y)
            elif weight.shape[0]:
                multiply_few(x, weight, y)

        return either


class PreparedMatrix:
    """A matrix in the layout that suits its products: tiles, oneDNN's packing, or as the library likes it.

    Args:
        matrix: (K, N).
        plan: number format and kind of products.
        uses: number of products it is prepared for.
        rows: of each.

    Attributes:
        in_loop: whether a compiled loop computes all products.
        arrays: the matrix and its tiles for such a loop, see `multiply_past`.
    """

    def __init__(self, matrix: Tensor, plan: ComputePlan, uses: int, rows: int) -> None:
        columns = matrix.shape[1]
        weight, tiles = np.empty((0, 0), np.float32), np.empty((0, 0, COLUMNS), np.float32)
        self._tiles = self._packed = None
        if plan.uses_packed(uses, rows):
            packed = plan.packed_weights.get(weight_key(matrix))
            self._packed = pack_weight(matrix) if packed is None else packed
        elif plan.tiled and uses >= TILED_USES and columns % COLUMNS == 0:
            self._tiles = tiles = in_tiles(matrix)
        else:  # copied, which products in float32 like better, only where many pay for it
            copied = uses > 1 and plan.dtype == torch.float32
            self._matrix = matrix.contiguous() if copied else matrix.to(plan.dtype)
            if plan.is_one_loop(rows):
                weight = self._matrix.contiguous().numpy()
        self.arrays, self.in_loop = (weight, tiles), bool(weight.size or tiles.size)

    def multiply(self, rows: Tensor, out: Tensor) -> None:
        """out (R, N) = rows (R, K) times the matrix."""
        if self._packed is not None:
            out.copy_(torch.ops.mkldnn._linear_pointwise(rows, self._packed, None, "none", [], ""))
        elif self._tiles is None:
            torch.mm(rows, self._matrix, out=out)
        else:
            multiply(rows.numpy(), self._tiles, out.numpy())


def add_gradient(total: Tensor | None, plan: ComputePlan, left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """total + left^T right, the gradient of a matrix; products in bfloat16 are added up in float32.

    Args:
        total: (M, N), of other rows, may be overwritten; None: nothing yet.
        plan: number format and kind of products.
        left: (R, M), gradients of the results.
        right: (R, N), what was multiplied.
        dtype: number format of the sum.
    """
    if plan.tiled and ABREAST > 1 and right.shape[1] % COLUMNS == 0:
        total = left.new_zeros(left.shape[1], right.shape[1]) if total is None else total
        add_transposed(left.numpy(), right.numpy(), total.numpy())
        return total
    if total is None:
        return (left.t() @ right).to(dtype)
    if total.dtype == left.dtype:
        return total.addmm_(left.t(), right)
    total += left.t() @ right
    return total
