// A model of the next token, a character, word or subword: LSTM, GRU and RNN here, Transformer and minGRU in blocks.js.

/** All tensors by name: a vector as Float32Array, else a matrix. Row after row, each follows the last in `view`. */
function tensorsOf({ tensors: list, context = 0 }, view, code) {
  const matrices = list.filter(({ shape }) => shape.length > 1);
  const memory = new Memory(code, matrices.map(({ shape, kind }) => [...shape, kind === "i1" ? 1 : 4]), context);
  const weights = {};
  let at = 0; // the class Packed in charlm/formats/html says what stands there for each kind
  const floats = (count) => {
    const values = new Float32Array(count);
    for (let place = 0; place < count; place++, at += 4) values[place] = view.getFloat32(at, true);
    return values;
  };
  const halves = (count) => {
    const values = new Float32Array(count);
    for (let place = 0; place < count; place++, at += 2) values[place] = half(view.getUint16(at, true));
    return values;
  };
  const bytes = (count) => new Int8Array(view.buffer, (at += count) - count, count);
  for (const { name, shape: [rows, columns], kind } of list) {
    if (!columns) weights[name] = floats(rows);
    else if (kind === "f2") weights[name] = new Matrix(memory, rows, columns, halves(rows * columns));
    else weights[name] = new ByteMatrix(memory, rows, columns, floats(rows), bytes(rows * columns));
  }
  return { memory, weights };
}

// What a cell makes of the sums from its input (a) and from its own state (b), gates in torch's order: the new state h.
// sigmoid(x) is 1 / (1 + e^-x), and tanh(x) is 1 - 2 / (1 + e^2x).
const CELLS = {
  lstm: { gates: 4, step(a, b, h, c, memory) { // input, forget, cell, output
    const n = h.length, powers = memory.powers;
    for (let at = 0; at < 2 * n; at++) powers[at] = -(a[at] + b[at]);
    for (let at = 2 * n; at < 3 * n; at++) powers[at] = 2 * (a[at] + b[at]);
    for (let at = 3 * n; at < 4 * n; at++) powers[at] = -(a[at] + b[at]);
    memory.exp(4 * n);
    for (let at = 0; at < n; at++) {
      c[at] = c[at] / (1 + powers[n + at]) + (1 - 2 / (1 + powers[2 * n + at])) / (1 + powers[at]);
      h[at] = 1 / (1 + powers[3 * n + at]);
      powers[at] = 2 * c[at];
    }
    memory.exp(n);
    for (let at = 0; at < n; at++) h[at] *= 1 - 2 / (1 + powers[at]);
  } },
  gru: { gates: 3, step(a, b, h, _, memory) { // reset, update, new
    const n = h.length, powers = memory.powers;
    for (let at = 0; at < 2 * n; at++) powers[at] = -(a[at] + b[at]);
    memory.exp(2 * n);
    for (let at = 0; at < n; at++) powers[at] = 2 * (a[2 * n + at] + b[2 * n + at] / (1 + powers[at]));
    for (let at = 0; at < n; at++) a[at] = 1 / (1 + powers[n + at]);
    memory.exp(n);
    for (let at = 0; at < n; at++) h[at] = (1 - a[at]) * (1 - 2 / (1 + powers[at])) + a[at] * h[at];
  } },
  tanh: { gates: 1, step(a, b, h, _, memory) {
    const n = h.length, powers = memory.powers;
    for (let at = 0; at < n; at++) powers[at] = 2 * (a[at] + b[at]);
    memory.exp(n);
    for (let at = 0; at < n; at++) h[at] = 1 - 2 / (1 + powers[at]);
  } },
  relu: { gates: 1, step(a, b, h) { for (let at = 0; at < h.length; at++) h[at] = Math.max(0, a[at] + b[at]); } },
};

/** LSTM, GRU and RNN. */
class Recurrent {
  constructor(about, weights, memory) {
    Object.assign(this, { weights, memory });
    this.cell = CELLS[about.arch === "rnn" ? about.nonlinearity : about.arch];
    this.size = about.hidden_size;
    this.layers = Array.from({ length: about.num_layers }, (_, layer) => this.layer(layer));
    this.embedding = weights["embed.weight"];
    this.sums = [new Float32Array(this.cell.gates * this.size), new Float32Array(this.cell.gates * this.size)];
  }

  /** The four parameters of a layer. */
  layer(place) {
    const [input, state, inputBias, stateBias] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(
      (name) => this.weights[`rnn.${name}_l${place}`]);
    return { input, state, inputBias, stateBias };
  }

  /** h and c of each layer. */
  start() {
    return this.layers.map(() => ({ h: new Float32Array(this.size), c: new Float32Array(this.size) }));
  }

  /** Read one token: changes `state`, returns what the logits are made of. */
  step(state, id) {
    const [fromInput, fromState] = this.sums;
    let x = this.embedding && this.embedding.row(id);
    this.layers.forEach((layer, place) => {
      const { h, c } = state[place];
      if (x) layer.input.times(x, layer.inputBias, fromInput);
      else layer.input.column(id, layer.inputBias, fromInput); // without an embedding, its input is all 0 but for a 1
      layer.state.times(h, layer.stateBias, fromState);
      this.cell.step(fromInput, fromState, h, c, this.memory);
      x = h;
    });
    return x;
  }
}

/** The model; `about` is what stands in the page's JSON, `view` the bytes of its weights, `code` the module's. */
class Model {
  constructor(about, view, code) {
    this.tokens = about.tokens;
    this.first = about.first; // stands before an empty text, unseen
    this.border = about.border; // stands between the items of a list; undefined: there are none
    this.begins = about.begins; // whether `first` stands before every text
    this.silent = about.silent; // ids that stand for no text, or for unknown words: the page never writes them
    this.tokenizer = new TOKENIZERS[about.level](about);
    const { weights, memory } = tensorsOf(about, view, code);
    this.fast = memory.kernels.fast; // whether the module computes
    this.net = new ({ transformer: Transformer, mingru: MinGRU }[about.arch] || Recurrent)(about, weights, memory);
    this.output = weights["fc.weight"] || weights["embed.weight"]; // tied
    this.bias = weights["fc.bias"];
  }

  /** The state before the first token, all zero. */
  start() { return this.net.start(); }

  /** Ids of a prompt, at least one; the text that they stand for; and what the model does not know, each once. */
  encode(prompt) {
    const { ids, text, unknown } = this.tokenizer.read(prompt);
    return { ids: ids.length && !this.begins ? ids : [this.first, ...ids], text, unknown };
  }

  /** Read one token: changes `state`, returns a logit for each token. */
  step(state, id) {
    const logits = new Float64Array(this.tokens.length);
    this.output.times(this.net.step(state, id), this.bias, logits);
    for (const one of this.silent) logits[one] = -1e30; // finite, as what is not says that the state is lost
    return logits;
  }
}
