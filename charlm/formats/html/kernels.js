// What takes the time, products and e to the x, in a memory of its own: by the module kernels.wasm, which is made of
// kernels.wat, or, where a browser has no such thing, by loops that give the same numbers to the last bit.

const ROWS = 32; // of a panel; kernels.wat says how a matrix lies
const PAGE = 65536; // bytes of memory that come together
const upTo = (count, unit) => Math.ceil(count / unit) * unit;

/** The functions of kernels.wat over `buffer`, a memory of at least so many bytes; `fast` if they are the module's. */
function kernelsOf(code, size) {
  try {
    const memory = new WebAssembly.Memory({ initial: upTo(size, PAGE) / PAGE });
    const module = new WebAssembly.Module(code.buffer); // refused without SIMD, and by the policy of who serves this page
    const { exports } = new WebAssembly.Instance(module, { page: { memory } });
    return { buffer: memory.buffer, fast: true, ...exports };
  } catch {
    const buffer = new ArrayBuffer(upTo(size, PAGE));
    return { buffer, fast: false, ...loopsOver(buffer) };
  }
}

/** The same without a module: Math.fround where it has 32-bit floats. */
function loopsOver(buffer) {
  const { fround } = Math;
  const [f32, i32, i16, i8] = [Float32Array, Int32Array, Int16Array, Int8Array].map((Type) => new Type(buffer));
  const [LOG2E, HIGH, LOW, ...SERIES] = [
    1.442695, 0.693359375, -2.1219444e-4,
    1.9875691e-4, 1.3981999e-3, 8.333452e-3, 4.1665796e-2, 1.6666666e-1, 0.5, 1, 1,
  ].map(fround);

  function e(given) {
    const x = Math.max(Math.min(given, 80), -80), k = Math.floor(fround(fround(x * LOG2E) + 0.5));
    const r = fround(fround(x - fround(k * HIGH)) - fround(k * LOW));
    let sum = SERIES[0];
    for (let at = 1; at < SERIES.length; at++) sum = fround(fround(sum * r) + SERIES[at]);
    return sum * power(k);
  }

  return {
    exp(at, end) { for (let place = at / 4; place < end / 4; place++) f32[place] = e(f32[place]); },

    floats(matrix, x, out, columns, panels) { // eight rows at a time, so that each x is read once for eight products
      for (let group = 0; group < panels * 4; group++) {
        let at = matrix / 4 + (group >> 2) * columns * ROWS + (group & 3) * 8;
        let s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
        for (let place = x / 4; place < x / 4 + columns; place++, at += ROWS) {
          const value = f32[place];
          s0 = fround(s0 + fround(f32[at] * value)); s1 = fround(s1 + fround(f32[at + 1] * value));
          s2 = fround(s2 + fround(f32[at + 2] * value)); s3 = fround(s3 + fround(f32[at + 3] * value));
          s4 = fround(s4 + fround(f32[at + 4] * value)); s5 = fround(s5 + fround(f32[at + 5] * value));
          s6 = fround(s6 + fround(f32[at + 6] * value)); s7 = fround(s7 + fround(f32[at + 7] * value));
        }
        f32.set([s0, s1, s2, s3, s4, s5, s6, s7], out / 4 + group * 8);
      }
    },

    bytes(matrix, x, out, columns, panels) {
      for (let group = 0; group < panels * 4; group++) {
        let at = matrix + (group >> 2) * columns * ROWS + (group & 3) * 16;
        let s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
        for (let place = x / 2; place < x / 2 + columns; place += 2, at += 2 * ROWS) {
          const one = i16[place], two = i16[place + 1];
          s0 = (s0 + i8[at] * one + i8[at + 1] * two) | 0; s1 = (s1 + i8[at + 2] * one + i8[at + 3] * two) | 0;
          s2 = (s2 + i8[at + 4] * one + i8[at + 5] * two) | 0; s3 = (s3 + i8[at + 6] * one + i8[at + 7] * two) | 0;
          s4 = (s4 + i8[at + 8] * one + i8[at + 9] * two) | 0; s5 = (s5 + i8[at + 10] * one + i8[at + 11] * two) | 0;
          s6 = (s6 + i8[at + 12] * one + i8[at + 13] * two) | 0; s7 = (s7 + i8[at + 14] * one + i8[at + 15] * two) | 0;
        }
        i32.set([s0, s1, s2, s3, s4, s5, s6, s7], out / 4 + group * 8);
      }
    },
  };
}

/** The memory: all matrices, and the numbers that are being worked on. */
class Memory {
  /**
   * `code`: of the module; `shapes`: rows and columns of the matrices, and the bytes that a number of theirs has;
   * `most`: the longest list that `exp` is taken of, if it is longer than those that products make.
   */
  constructor(code, shapes, most) {
    const [rows, columns] = [0, 1].map((which) => Math.max(...shapes.map((shape) => upTo(shape[which], ROWS))));
    const powers = Math.max(2 * rows, upTo(most, ROWS));
    const sizes = shapes.map((shape) => upTo(shape[0], ROWS) * upTo(shape[1], 2) * shape[2]);
    this.kernels = kernelsOf(code, sizes.reduce((sum, size) => sum + size, 4 * (rows + columns + powers)));
    this.at = 0;
    this.x = this.take(Float32Array, columns); // what a matrix is multiplied with
    this.short = new Int16Array(this.kernels.buffer, this.x.byteOffset, columns); // the same in 16 bits
    this.sums = this.take(Float32Array, rows); // what comes of it
    this.wholes = new Int32Array(this.kernels.buffer, this.sums.byteOffset, rows);
    this.powers = this.take(Float32Array, powers); // what `exp` is to be taken of
  }

  /** So many numbers, all 0. */
  take(Type, count) {
    const taken = new Type(this.kernels.buffer, this.at, count);
    this.at += upTo(taken.byteLength, 4 * ROWS);
    return taken;
  }

  /** e to the x of the first so many of `powers`, in their place; beyond 80 as of 80. */
  exp(count) {
    this.kernels.exp(this.powers.byteOffset, this.powers.byteOffset + 4 * upTo(count, 4));
    return this.powers;
  }
}

/** A matrix of floats. */
class Matrix {
  constructor(memory, rows, columns, values) {
    Object.assign(this, { memory, rows, columns, panels: upTo(rows, ROWS) / ROWS });
    this.lay(Float32Array, columns, 1, values);
  }

  /** Put the numbers into their places: `together` columns of a row side by side. */
  lay(Type, columns, together, values) {
    Object.assign(this, { width: columns, together });
    this.values = this.memory.take(Type, this.panels * ROWS * columns);
    for (let row = 0, at = 0; row < this.rows; row++) {
      const start = this.place(row, 0);
      for (let column = 0; column < this.columns; column++, at++) {
        const within = column & (together - 1); // 1 or 2 are together
        this.values[start + (column - within) * ROWS + within] = values[at];
      }
    }
  }

  place(row, column) {
    const { together, width } = this, within = column % together;
    return (row - (row % ROWS)) * width + (column - within) * ROWS + (row % ROWS) * together + within;
  }

  /** A number. */
  at(row, column) { return this.values[this.place(row, column)]; }

  /** A row as floats. */
  row(row) {
    const found = new Float32Array(this.columns);
    for (let column = 0; column < this.columns; column++) found[column] = this.at(row, column);
    return found;
  }

  /** out = a column + bias. */
  column(column, bias, out) {
    for (let row = 0; row < this.rows; row++) out[row] = this.at(row, column) + bias[row];
  }

  /** out = matrix · x + bias. */
  times(x, bias, out) {
    const { memory, values, columns, panels } = this;
    memory.x.set(x);
    memory.kernels.floats(values.byteOffset, memory.x.byteOffset, memory.sums.byteOffset, columns, panels);
    for (let row = 0; row < this.rows; row++) out[row] = bias[row] + memory.sums[row];
  }
}

/** A matrix of 8-bit whole numbers with a scale for each row; what it is multiplied with is rounded to 16 bits. */
class ByteMatrix extends Matrix {
  constructor(memory, rows, columns, scales, values) {
    super(memory, rows, columns, values);
    this.scales = scales;
    this.most = Math.min(32767, Math.floor((2 ** 31 - 1) / (127 * this.width))); // no sum leaves 32 bits
  }

  lay(_, columns, __, values) { super.lay(Int8Array, upTo(columns, 2), 2, values); }

  at(row, column) { return super.at(row, column) * this.scales[row]; }

  times(x, bias, out) {
    const { memory, values, width, panels, scales } = this, step = this.shorten(x);
    memory.kernels.bytes(values.byteOffset, memory.short.byteOffset, memory.sums.byteOffset, width, panels);
    for (let row = 0; row < this.rows; row++) out[row] = bias[row] + memory.wholes[row] * (scales[row] * step);
  }

  /** x as multiples of a step, which is returned; the largest has all the bits. */
  shorten(x) {
    const { short } = this.memory;
    let largest = 0;
    for (let at = 0; at < x.length; at++) largest = Math.max(largest, Math.abs(x[at]));
    const inverse = largest > 0 && largest < Infinity ? this.most / largest : 0;
    for (let at = 0; at < x.length; at++) short[at] = Math.floor(x[at] * inverse + 0.5);
    return largest / this.most; // what is no number, or has no bounds, makes the result so
  }
}
