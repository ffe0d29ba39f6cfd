// Transformer and minGRU: blocks that add to what comes in.

/** x -> x (1 + erf(x / sqrt 2)) / 2, the error function off by less than 2e-7 (Abramowitz and Stegun 7.1.26). */
function gelu(x, memory) {
  const powers = memory.powers;
  for (let at = 0; at < x.length; at++) powers[at] = -0.5 * x[at] * x[at];
  memory.exp(x.length);
  for (let at = 0; at < x.length; at++) {
    const t = 1 / (1 + 0.3275911 * Math.SQRT1_2 * Math.abs(x[at]));
    const sum = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    x[at] *= 0.5 + Math.sign(x[at]) * (0.5 - 0.5 * sum * powers[at]);
  }
  return x;
}

/** Mean 0 and variance 1, then scaled and shifted if there are numbers for that. */
function normal(x, scale, shift) {
  const n = x.length, out = new Float32Array(n);
  let mean = 0, spread = 0;
  for (let at = 0; at < n; at++) mean += x[at] / n;
  for (let at = 0; at < n; at++) spread += ((x[at] - mean) * (x[at] - mean)) / n;
  const size = Math.sqrt(spread + 1e-5);
  for (let at = 0; at < n; at++) out[at] = ((x[at] - mean) / size) * (scale ? scale[at] : 1) + (shift ? shift[at] : 0);
  return out;
}

function add(x, more) {
  for (let at = 0; at < x.length; at++) x[at] += more[at];
}

/** What the two share; a subclass has what a block remembers (`fresh`) and its first half (`mix`). */
class Blocks {
  constructor(about, weights, memory) {
    Object.assign(this, { about, weights, memory });
    this.size = about.hidden_size;
    this.nothing = new Float32Array(4 * this.size); // a bias where there is none
    this.names = Array.from({ length: about.num_layers }, (_, layer) => `blocks.${layer}`);
  }

  start() { return this.names.map(() => this.fresh()); }

  linear(name, x) {
    const matrix = this.weights[`${name}.weight`], out = new Float32Array(matrix.rows);
    matrix.times(x, this.weights[`${name}.bias`] || this.nothing, out);
    return out;
  }

  norm(name, x) { return normal(x, this.weights[`${name}.weight`], this.weights[`${name}.bias`]); }

  step(state, id) {
    let x = this.weights["embed.weight"].row(id);
    if (this.weights["widen.weight"]) x = this.linear("widen", x);
    this.names.forEach((name, layer) => {
      add(x, this.mix(layer, this.norm(`${name}.norm`, x), state[layer]));
      const wide = this.linear(`${name}.wide.up`, this.norm(`${name}.wide.norm`, x));
      add(x, this.linear(`${name}.wide.down`, gelu(wide, this.memory)));
    });
    return this.norm("norm", x);
  }
}

/** A short convolution, and h + z (g(c) - h). */
class MinGRU extends Blocks {
  constructor(...given) {
    super(...given);
    this.taps = this.names.map((name) => {
      const taps = this.weights[`${name}.conv.weight`];
      return Array.from({ length: taps.rows }, (_, tap) => taps.row(tap));
    });
  }

  fresh() {
    const nothing = () => new Float32Array(this.size);
    return { h: nothing(), seen: this.taps[0].slice(1).map(nothing) };
  }

  mix(layer, x, state) {
    const taps = this.taps[layer], padded = [...state.seen, x], n = this.size, { powers } = this.memory;
    const mixed = new Float32Array(n);
    for (let tap = 0; tap < taps.length; tap++) {
      for (let unit = 0; unit < n; unit++) mixed[unit] += taps[tap][unit] * padded[tap][unit];
    }
    const sums = this.linear(`${this.names[layer]}.gates`, mixed);
    for (let at = 0; at < 2 * n; at++) powers[at] = -sums[at];
    this.memory.exp(2 * n);
    for (let unit = 0; unit < n; unit++) {
      const c = sums[n + unit], bent = c >= 0 ? c + 0.5 : 1 / (1 + powers[n + unit]);
      state.h[unit] += (bent - state.h[unit]) / (1 + powers[unit]);
    }
    state.seen = padded.slice(1);
    return state.h;
  }
}

/** Attention to the last `context` characters, by queries and keys that are turned by where they stand. */
class Transformer extends Blocks {
  constructor(...given) {
    super(...given);
    const { num_heads: heads, context, speeds, sharpness } = this.about;
    Object.assign(this, { heads, context, width: this.size / heads });
    this.factor = sharpness / Math.sqrt(this.width);
    this.turns = Array.from({ length: 2 * context }, (_, place) => speeds.map((speed) => circle(place * speed)));
  }

  /** Keys and values, a place after the other; places are counted anew before they leave `turns`. */
  fresh() {
    const nothing = () => new Float32Array(2 * this.context * this.size);
    return { keys: nothing(), values: nothing(), next: 0 };
  }

  mix(layer, x, state) {
    if (state.next === 2 * this.context) this.recount(state);
    const n = this.size, qkv = this.linear(`${this.names[layer]}.qkv`, x), out = new Float32Array(n);
    const place = state.next++, first = Math.max(0, state.next - this.context);
    state.values.set(qkv.subarray(2 * n), place * n);
    for (let from = 0; from < n; from += this.width) {
      const [query, key] = [0, n].map((part) => normal(qkv.subarray(part + from, part + from + this.width)));
      this.turn(query, this.turns[place], 1);
      this.turn(key, this.turns[place], 1);
      state.keys.set(key, place * n + from);
      this.look(query, from, first, state, out);
    }
    return this.linear(`${this.names[layer]}.out`, out);
  }

  /** The later half of the places become the first; their keys are turned back. */
  recount(state) {
    const n = this.size, half = this.context * n;
    for (const list of [state.keys, state.values]) list.copyWithin(0, half);
    for (let from = 0; from < half; from += this.width) {
      this.turn(state.keys.subarray(from, from + this.width), this.turns[this.context], -1);
    }
    state.next = this.context;
  }

  /** Turn the pairs of a head's units by its angles, or back. */
  turn(head, turns, way) {
    for (let pair = 0, pairs = this.width / 2; pair < pairs; pair++) {
      const [cos, sin] = turns[pair], left = head[pair], right = head[pair + pairs];
      head[pair] = left * cos - way * right * sin;
      head[pair + pairs] = way * left * sin + right * cos;
    }
  }

  /** Add what a head sees to its part of `out`. */
  look(query, from, first, { keys, values, next }, out) {
    const n = this.size, { width, memory: { powers } } = this;
    let most = -Infinity, total = 0;
    for (let place = first; place < next; place++) {
      let sum = 0;
      for (let unit = 0, at = place * n + from; unit < width; unit++, at++) sum += query[unit] * keys[at];
      powers[place - first] = this.factor * sum;
      most = Math.max(most, powers[place - first]);
    }
    for (let at = 0; at < next - first; at++) powers[at] -= most;
    const shares = this.memory.exp(next - first);
    for (let at = 0; at < next - first; at++) total += shares[at];
    for (let place = first; place < next; place++) {
      const share = shares[place - first] / total;
      for (let unit = 0, at = place * n + from; unit < width; unit++, at++) out[from + unit] += share * values[at];
    }
  }
}
