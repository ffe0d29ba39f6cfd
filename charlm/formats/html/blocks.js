// Transformer and minGRU: blocks that add to what comes in.

/** The error function, off by less than 2e-7 (Abramowitz and Stegun 7.1.26). */
function erf(x) {
  const size = Math.abs(x), t = 1 / (1 + 0.3275911 * size);
  const sum = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - sum * exp(-size * size));
}

const gelu = (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2));

/** Cosine and sine of an angle, by their series. */
function circle(angle) {
  const r = angle - 2 * Math.PI * Math.floor(angle / (2 * Math.PI) + 0.5);
  let cos = 1, sin = 1;
  for (let n = 28; n > 0; n -= 2) {
    cos = 1 - (cos * r * r) / (n * (n - 1));
    sin = 1 - (sin * r * r) / (n * (n + 1));
  }
  return [cos, sin * r];
}

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
