// The offline page's model as one usually writes it, and as it was: plain loops over typed arrays, 8-bit weights widened
// to floats once. bench/offline_page.py puts it, after numbers.js and writer.js, in place of the page's own scripts.

const sigmoid = (x) => 1 / (1 + exp(-x));
const tanh = (x) => 1 - 2 / (exp(2 * x) + 1);

// How a number of each kind is read; the class Packed in charlm/formats/html says what they are.
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
// Transformer and minGRU: blocks that add to what comes in.

/** The error function, off by less than 2e-7 (Abramowitz and Stegun 7.1.26). */
function erf(x) {
  const size = Math.abs(x), t = 1 / (1 + 0.3275911 * size);
  const sum = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - sum * exp(-size * size));
}

const gelu = (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2));

/** Mean 0 and variance 1, then scaled and shifted if there are numbers for that. */
function normal(x, scale, shift) {
  const mean = x.reduce((sum, one) => sum + one, 0) / x.length;
  const spread = x.reduce((sum, one) => sum + (one - mean) * (one - mean), 0) / x.length;
  const size = Math.sqrt(spread + 1e-5);
  return Float64Array.from(x, (one, at) => ((one - mean) / size) * (scale ? scale[at] : 1) + (shift ? shift[at] : 0));
}

function add(x, more) {
  for (let at = 0; at < x.length; at++) x[at] += more[at];
}

/** What the two share; a subclass has what a block remembers (`fresh`) and its first half (`mix`). */
class Blocks {
  constructor(about, weights) {
    this.weights = weights;
    this.about = about;
    this.size = about.hidden_size;
    this.nothing = new Float64Array(4 * this.size); // a bias where there is none
    this.names = Array.from({ length: about.num_layers }, (_, layer) => `blocks.${layer}`);
  }

  start() { return this.names.map(() => this.fresh()); }

  linear(name, x) {
    const out = new Float64Array(this.weights[`${name}.weight`].length / x.length);
    product(out, this.weights[`${name}.weight`], x, this.weights[`${name}.bias`] || this.nothing);
    return out;
  }

  norm(name, x) { return normal(x, this.weights[`${name}.weight`], this.weights[`${name}.bias`]); }

  step(state, id) {
    const table = this.weights["embed.weight"], width = table.length / this.about.tokens.length;
    let x = Float64Array.from(table.subarray(id * width, (id + 1) * width));
    if (this.weights["widen.weight"]) x = this.linear("widen", x);
    this.names.forEach((name, layer) => {
      add(x, this.mix(name, this.norm(`${name}.norm`, x), state[layer]));
      const wide = this.linear(`${name}.wide.up`, this.norm(`${name}.wide.norm`, x));
      add(x, this.linear(`${name}.wide.down`, wide.map(gelu)));
    });
    return this.norm("norm", x);
  }
}

/** A short convolution, and h + z (g(c) - h). */
class MinGRU extends Blocks {
  fresh() {
    const nothing = () => new Float64Array(this.size), taps = this.weights["blocks.0.conv.weight"].length / this.size;
    return { h: nothing(), seen: Array.from({ length: taps - 1 }, nothing) };
  }

  mix(name, x, state) {
    const taps = this.weights[`${name}.conv.weight`], padded = [...state.seen, x], n = this.size;
    const mixed = x.map((_, unit) => padded.reduce((sum, past, tap) => sum + taps[tap * n + unit] * past[unit], 0));
    const sums = this.linear(`${name}.gates`, mixed);
    for (let unit = 0; unit < n; unit++) {
      const c = sums[n + unit], bent = c >= 0 ? c + 0.5 : sigmoid(c);
      state.h[unit] += sigmoid(sums[unit]) * (bent - state.h[unit]);
    }
    state.seen = padded.slice(1);
    return state.h;
  }
}

/** Attention to the last `context` characters; keys are turned by how far back they are. */
class Transformer extends Blocks {
  constructor(about, weights) {
    super(about, weights);
    this.heads = about.num_heads;
    this.width = this.size / this.heads;
    this.turns = Array.from({ length: about.context }, (_, back) => about.speeds.map((speed) => circle(-back * speed)));
  }

  fresh() { return { keys: [], values: [] }; }

  mix(name, x, state) {
    const qkv = this.linear(`${name}.qkv`, x), n = this.size, out = new Float64Array(n);
    const head = (part, at) => qkv.subarray(part * n + at * this.width, part * n + (at + 1) * this.width);
    const each = Array.from({ length: this.heads }, (_, at) => at);
    const queries = each.map((at) => normal(head(0, at)));
    state.keys.push(each.map((at) => normal(head(1, at))));
    state.values.push(qkv.slice(2 * n));
    if (state.keys.length > this.about.context) for (const list of [state.keys, state.values]) list.shift();
    for (const at of each) this.look(queries[at], at, state, out);
    return this.linear(`${name}.out`, out);
  }

  /** Add what a head sees to its part of `out`. */
  look(query, at, { keys, values }, out) {
    const last = keys.length - 1, scores = keys.map((key, place) => this.score(query, key[at], last - place));
    const most = scores.reduce((one, other) => Math.max(one, other)), shares = scores.map((score) => exp(score - most));
    const total = shares.reduce((sum, share) => sum + share, 0);
    values.forEach((value, place) => {
      const share = shares[place] / total;
      for (let unit = at * this.width; unit < (at + 1) * this.width; unit++) out[unit] += share * value[unit];
    });
  }

  /** The product of a query with a key that is turned back. */
  score(query, key, back) {
    const pairs = this.width / 2, turns = this.turns[back];
    let sum = 0;
    for (let pair = 0; pair < pairs; pair++) {
      const [cos, sin] = turns[pair], left = key[pair], right = key[pair + pairs];
      sum += query[pair] * (left * cos - right * sin) + query[pair + pairs] * (left * sin + right * cos);
    }
    return (this.about.sharpness * sum) / Math.sqrt(this.width);
  }
}
const find = (id) => document.getElementById(id);
const model = new Model(JSON.parse(find("run").textContent), decoded(find("weights").textContent));
window.charlm = {
  write(text, wanted) {
    const own = new Writer(model);
    own.moveTo(model.encode(text).ids);
    own.work(() => own.pending.length === 0);
    own.write(wanted.length, wanted, numbersFrom(wanted.seed));
    return own.work(() => false).map((id) => model.tokens[id]).join("");
  },
};
