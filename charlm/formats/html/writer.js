// Writing: the choice of the next token, and a text that is read and written a slice of time at a time.

/** Whole numbers from 0 to 2^32 - 1, the same ones for the same seed: mulberry32 (Tommy Ettinger, 2017). */
function numbersFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

/** So many ids, the likeliest first; of equals, the earlier first. */
function ranked(values, count) {
  if (count * 20 > values.length) { // most of them: sort all
    return Array.from(values.keys()).sort((one, other) => values[other] - values[one] || one - other).slice(0, count);
  }
  const found = [];
  for (let id = 0; id < values.length; id++) {
    if (found.length === count && !(values[id] > values[found[count - 1]])) continue;
    let place = Math.min(found.length, count - 1);
    for (; place > 0 && values[id] > values[found[place - 1]]; place--) found[place] = found[place - 1];
    found[place] = id;
  }
  return found;
}

/** Logits -> the probabilities a token is drawn with; temperature first, then top-k. Null beyond all numbers. */
function probabilities(logits, { temperature, top_k: topK }) {
  if (!logits.every(Number.isFinite)) return null;
  const highest = logits.reduce((one, other) => Math.max(one, other));
  if (temperature === 0) return logits.map((_, id) => Number(id === logits.indexOf(highest))); // greedy
  const shares = logits.map((logit) => exp((logit - highest) / temperature));
  if (topK > 0 && topK < shares.length) {
    const kept = new Set(ranked(logits, topK));
    for (let id = 0; id < shares.length; id++) if (!kept.has(id)) shares[id] = 0;
  }
  const total = shares.reduce((sum, share) => sum + share, 0);
  return shares.map((share) => share / total);
}

/** The id at which the running sum of the probabilities passes a 32-bit number's share of their total. */
function drawn(shares, number) {
  const goal = (number / 4294967296) * shares.reduce((sum, share) => sum + share, 0);
  let below = 0;
  for (let id = 0; id < shares.length; id++) {
    below += shares[id];
    if (below > goal) return id;
  }
  return ranked(shares, 1)[0]; // the sums' last rounding left nothing above the goal
}

/** A text as it is read and written. */
class Writer {
  constructor(model) {
    this.model = model;
    this.clear();
  }

  clear() {
    this.state = this.model.start();
    this.read = []; // ids the state has seen
    this.pending = []; // ids it has yet to see
    this.left = 0; // tokens to write
    this.logits = null;
  }

  /** Be at the end of another text; what it begins with and was read already is not read again. */
  moveTo(ids) {
    const known = this.read.length <= ids.length && this.read.every((id, place) => id === ids[place]);
    if (!known) this.clear();
    this.left = 0;
    this.pending = ids.slice(this.read.length);
  }

  /** Take a token, or write so many more. */
  take(id) { this.pending.push(id); }
  write(count, settings, draw) { Object.assign(this, { left: count, settings, draw }); }

  get busy() { return this.pending.length > 0 || (this.left > 0 && this.logits !== null); }
  get lost() { return this.logits !== null && !this.logits.every(Number.isFinite); }

  /** Work until `enough` says so or all is done; returns the ids written. */
  work(enough) {
    const written = [];
    while (this.busy && !enough()) {
      if (this.pending.length) this.readOne(this.pending.shift());
      else if (this.lost) this.left = 0;
      else written.push(this.writeOne());
    }
    return written;
  }

  readOne(id) {
    if (id === this.model.border) this.state = this.model.start(); // each item of a list begins from nothing
    this.logits = this.model.step(this.state, id);
    this.read.push(id);
  }

  writeOne() {
    const id = drawn(probabilities(this.logits, this.settings), this.draw());
    this.left -= 1;
    this.pending.push(id);
    return id;
  }
}
