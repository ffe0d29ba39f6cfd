"use strict";
// A model of the next character: weights decoded once, its steps as plain loops over typed arrays.
// Numbers are only added, subtracted, multiplied and divided, which every machine does alike to the last bit;
// Math.exp and Math.tanh may differ, and with them, in the end, the text.

// Powers of two from 2^-1074 to 2^1023, exact.
const LOWEST = -1074;
const POWERS = new Float64Array(1024 - LOWEST);
POWERS[-LOWEST] = 1;
for (let at = 1 - LOWEST; at < POWERS.length; at++) POWERS[at] = POWERS[at - 1] * 2;
for (let at = -LOWEST - 1; at >= 0; at--) POWERS[at] = POWERS[at + 1] / 2;

const power = (exponent) => POWERS[exponent - LOWEST];
const INVERSES = Float64Array.from({ length: 14 }, (_, n) => 1 / n);

/** e to the x: x = k ln 2 + r with r small, whose series is short. */
function exp(x) {
  if (!(x > -700)) return x <= -700 ? 0 : NaN;
  if (x > 700) return Infinity;
  const k = Math.floor(x * Math.LOG2E + 0.5), r = x - k * Math.LN2;
  let sum = 1;
  for (let n = 13; n > 0; n--) sum = 1 + sum * r * INVERSES[n];
  return sum * power(k);
}

const sigmoid = (x) => 1 / (1 + exp(-x));
const tanh = (x) => 1 - 2 / (exp(2 * x) + 1);

/** A 16-bit float, given as its bits. */
function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const size = exponent ? (1024 + fraction) * power(exponent - 25) : fraction * power(-24);
  return bits & 0x8000 ? -size : size;
}

/** Base64 as a view of its bytes. */
function decoded(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return new DataView(bytes.buffer);
}

// How a number of each kind is read; charlm/exchange/packing.py says what they are.
const KINDS = {
  f4: { size: 4, read: (view, at) => view.getFloat32(at, true) },
  f2: { size: 2, read: (view, at) => half(view.getUint16(at, true)) },
  i1: { size: 1, read: (view, at) => view.getInt8(at) },
};

/** All tensors by name, row after row; each follows the last in `view`. */
function tensorsOf(list, view) {
  const found = {};
  let at = 0;
  for (const { name, shape, kind } of list) {
    const { size, read } = KINDS[kind], columns = shape[1] || 1, scales = at;
    const values = new Float32Array(shape[0] * columns);
    if (kind === "i1") at += 4 * shape[0];
    for (let place = 0; place < values.length; place++, at += size) values[place] = read(view, at);
    if (kind === "i1") scaleRows(values, columns, (row) => view.getFloat32(scales + 4 * row, true));
    found[name] = values;
  }
  return found;
}

function scaleRows(values, columns, scale) {
  for (let place = 0; place < values.length; place++) values[place] *= scale(Math.floor(place / columns));
}

/** out = matrix · x + bias; eight rows at a time, so that each x is read once for eight products. */
function product(out, matrix, x, bias) {
  const rows = out.length, n = x.length;
  let row = 0;
  for (; row + 7 < rows; row += 8) {
    let s0 = bias[row], s1 = bias[row + 1], s2 = bias[row + 2], s3 = bias[row + 3];
    let s4 = bias[row + 4], s5 = bias[row + 5], s6 = bias[row + 6], s7 = bias[row + 7];
    for (let column = 0, at = row * n; column < n; column++, at++) {
      const value = x[column];
      s0 += matrix[at] * value; s1 += matrix[at + n] * value;
      s2 += matrix[at + 2 * n] * value; s3 += matrix[at + 3 * n] * value;
      s4 += matrix[at + 4 * n] * value; s5 += matrix[at + 5 * n] * value;
      s6 += matrix[at + 6 * n] * value; s7 += matrix[at + 7 * n] * value;
    }
    out[row] = s0; out[row + 1] = s1; out[row + 2] = s2; out[row + 3] = s3;
    out[row + 4] = s4; out[row + 5] = s5; out[row + 6] = s6; out[row + 7] = s7;
  }
  for (; row < rows; row++) {
    out[row] = bias[row];
    for (let column = 0, at = row * n; column < n; column++) out[row] += matrix[at++] * x[column];
  }
}

// What a cell makes of the sums from its input (a) and from its own state (b), gates in torch's order: the new state h.
const CELLS = {
  lstm: { gates: 4, step(a, b, h, c) { // input, forget, cell, output
    for (let i = 0, n = h.length; i < n; i++) {
      const input = sigmoid(a[i] + b[i]), forget = sigmoid(a[n + i] + b[n + i]);
      c[i] = forget * c[i] + input * tanh(a[2 * n + i] + b[2 * n + i]);
      h[i] = sigmoid(a[3 * n + i] + b[3 * n + i]) * tanh(c[i]);
    }
  } },
  gru: { gates: 3, step(a, b, h) { // reset, update, new
    for (let i = 0, n = h.length; i < n; i++) {
      const reset = sigmoid(a[i] + b[i]), update = sigmoid(a[n + i] + b[n + i]);
      h[i] = (1 - update) * tanh(a[2 * n + i] + reset * b[2 * n + i]) + update * h[i];
    }
  } },
  tanh: { gates: 1, step(a, b, h) { for (let i = 0; i < h.length; i++) h[i] = tanh(a[i] + b[i]); } },
  relu: { gates: 1, step(a, b, h) { for (let i = 0; i < h.length; i++) h[i] = Math.max(0, a[i] + b[i]); } },
};

/** LSTM, GRU and RNN. */
class Recurrent {
  constructor(about, weights) {
    this.weights = weights;
    this.cell = CELLS[about.arch === "rnn" ? about.nonlinearity : about.arch];
    this.size = about.hidden_size;
    this.count = about.tokens.length;
    this.layers = Array.from({ length: about.num_layers }, (_, layer) => this.layer(layer));
    this.embedding = weights["embed.weight"];
    this.vector = this.embedding && new Float64Array(this.embedding.length / this.count);
    this.sums = [new Float64Array(this.cell.gates * this.size), new Float64Array(this.cell.gates * this.size)];
  }

  /** The four parameters of a layer. */
  layer(place) {
    const [input, state, inputBias, stateBias] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(
      (name) => this.weights[`rnn.${name}_l${place}`]);
    return { input, state, inputBias, stateBias };
  }

  /** h and c of each layer. */
  start() {
    return this.layers.map(() => ({ h: new Float64Array(this.size), c: new Float64Array(this.size) }));
  }

  /** Read one character: changes `state`, returns what the logits are made of. */
  step(state, id) {
    const [fromInput, fromState] = this.sums;
    let x = this.vector;
    if (x) x.set(this.embedding.subarray(id * x.length, (id + 1) * x.length));
    this.layers.forEach((layer, place) => {
      if (x) product(fromInput, layer.input, x, layer.inputBias);
      else this.lookUp(fromInput, layer, id);
      const { h, c } = state[place];
      product(fromState, layer.state, h, layer.stateBias);
      this.cell.step(fromInput, fromState, h, c);
      x = h;
    });
    return x;
  }

  /** Without an embedding a character's input is its column of the first layer's weights. */
  lookUp(out, layer, id) {
    for (let row = 0; row < out.length; row++) out[row] = layer.input[row * this.count + id] + layer.inputBias[row];
  }
}

/** The model; `about` is what stands in the page's JSON, `view` the bytes of its weights. */
class Model {
  constructor(about, view) {
    this.tokens = about.tokens;
    this.first = about.first; // stands before an empty text, unseen
    this.border = about.border; // stands between the items of a list, and before each; undefined: there are none
    this.begins = about.begins; // whether it stands before every text
    this.silent = about.silent; // ids that stand for no character: the page never writes them
    this.ids = new Map(about.tokens.map((token, id) => [token, id]));
    this.weights = tensorsOf(about.tensors, view);
    this.net = new ({ transformer: Transformer, mingru: MinGRU }[about.arch] || Recurrent)(about, this.weights);
    this.output = this.weights["fc.weight"] || this.weights["embed.weight"]; // tied
  }

  /** The state before the first character, all zero. */
  start() { return this.net.start(); }

  /** Ids of a text's characters, at least one, and the characters it does not know, each once. */
  encode(text) {
    const ids = [], unknown = new Set();
    for (const character of text) {
      if (this.ids.has(character)) ids.push(this.ids.get(character));
      else unknown.add(character);
    }
    const begun = this.border === undefined ? ids : [this.border, ...ids];
    return { ids: begun.length && !this.begins ? begun : [this.first, ...begun], unknown: [...unknown] };
  }

  /** Read one character: changes `state`, returns a logit for each token. */
  step(state, id) {
    const logits = new Float64Array(this.tokens.length);
    product(logits, this.output, this.net.step(state, id), this.weights["fc.bias"]);
    for (const one of this.silent) logits[one] = -1e30; // finite, as what is not says that the state is lost
    return logits;
  }
}
