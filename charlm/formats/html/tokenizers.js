// Text to ids and back, as charlm/tokenizers does it: by characters, words or subwords. Expressions that earlier browsers
// cannot read are made where they are needed, not where they would keep the whole page from running.

const SPACE = String.raw`\t-\r\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`; // Unicode's white space
const SPACES = new RegExp(`^[${SPACE}\x1c-\x1f]+$`, "u"); // what Python's isspace takes for it
const isSpace = (text) => SPACES.test(text);
const isAlnum = (text) => /^[\p{L}\p{N}]+$/u.test(text);
const isAlpha = (text) => /^\p{L}+$/u.test(text);
const firstOf = (text) => Array.from(text)[0] || "";
const lastOf = (text) => Array.from(text).pop() || "";
const withoutHalves = (text) => text.replace(/\p{Cs}/gu, "\ufffd");

// --- prompts as people type them, spelled as a model knows it: charlm/tokenizers/prompts.py ---

const OPENING_QUOTES = { '"': "“„«", "'": "‘‚‹" };
const CLOSING_QUOTES = { '"': "”“»", "'": "’›´`" };
const STRAIGHT = new Map(
  [...[..."\"“”„‟«»″"].map((sign) => [sign, '"']), ...[..."'‘’‚‛‹›′ʼ´`"].map((sign) => [sign, "'"])]);
const DASHES = ["-", "–", "—", "‐", "‑", "−", "‒", "―", "--"];
const LINE_BREAKS = ["\r\n", "\r", "\x85", "\u2028", "\u2029"];
const DIGRAPHS = { ǆ: "ǅ", Ǆ: "ǅ", ǉ: "ǈ", Ǉ: "ǈ", ǌ: "ǋ", Ǌ: "ǋ", ǳ: "ǲ", Ǳ: "ǲ" }; // their forms at a word's beginning

/** Other spellings of a letter, sign or word, the nearest first; `before` is the character before it. */
function spellings(typed, before) {
  const found = [];
  if (typed === "...") found.push("…");
  else if (typed === "…") found.push("...");
  else if (LINE_BREAKS.includes(typed)) found.push("\n", " ");
  else if (isSpace(typed)) found.push(" ");
  else if (STRAIGHT.has(typed)) {
    const opens = !before || isSpace(before) || "([{—–-".includes(before) || STRAIGHT.has(before);
    const sign = STRAIGHT.get(typed);
    found.push(sign, ...(opens ? OPENING_QUOTES : CLOSING_QUOTES)[sign]);
  } else if (DASHES.includes(typed)) found.push(...DASHES);
  for (const one of [typed, typed.toLowerCase(), typed.toUpperCase()]) {
    found.push(one.normalize("NFC"), one.normalize("NFD"));
  }
  return found;
}

/** A prompt whose unknown characters are replaced by others that mean the same, where the model knows those. */
function respelled(prompt, isKnown) {
  let written = "";
  for (const [typed] of prompt.matchAll(/\.\.\.|\r\n|[^][\u0300-\u036f]*/gu)) {
    written += isKnown(typed) ? typed : spellings(typed, lastOf(written)).find(isKnown) ?? typed;
  }
  return written;
}

/** The same for a model of words: another spelling is taken if fewer words are unknown with it. */
function respelledWords(prompt, unknown) {
  if (!unknown(prompt).length) return prompt;
  const signs = respelled(prompt, (typed) => isAlnum(typed) || " \n'’".includes(typed) || !unknown(typed).length);
  if (unknown(signs).length < unknown(prompt).length) prompt = signs;
  const doubtful = Array.from(prompt).filter((sign) => STRAIGHT.has(sign) || DASHES.includes(sign) || sign === "…");
  for (const typed of [...doubtful, ...unknown(prompt)]) {
    const left = unknown(prompt).length, plain = typed.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
    const whole = isAlnum(typed) ? String.raw`(?<![\p{L}\p{N}_])${plain}(?![\p{L}\p{N}_])` : plain;
    const others = [...spellings(typed, " "), ...spellings(typed, "x"), capitalized(typed)];
    const better = left ? others.map((spelled) => prompt.replace(new RegExp(whole, "gu"), () => spelled))
      .find((other) => unknown(other).length < left) : undefined;
    if (better !== undefined) prompt = better;
  }
  return prompt;
}

function capitalized(word) {
  const first = firstOf(word), upper = DIGRAPHS[first] || first.toUpperCase();
  return firstOf(upper) + (upper + word.slice(first.length)).slice(firstOf(upper).length).toLowerCase();
}

// --- the three ---

/** One id for each character; what it does not know is left out. */
class Characters {
  constructor(about) {
    this.tokens = about.tokens;
    this.ids = new Map(about.tokens.map((token, id) => [token, id]));
  }

  /** Of a prompt: its ids, the text that they stand for, and what has no id, each once. */
  read(prompt) {
    const all = Array.from(respelled(prompt, (text) => Array.from(text).every((one) => this.ids.has(one))));
    const known = all.filter((one) => this.ids.has(one));
    return {
      ids: known.map((one) => this.ids.get(one)), text: known.join(""),
      unknown: [...new Set(all.filter((one) => !this.ids.has(one)))],
    };
  }

  /** Turns ids into text, one by one, after a text that is there already. */
  speller() { return (id) => this.tokens[id]; }
}

const UNKNOWN = "<unk>", LINE_END = "<eos>", LINE_ENDS = ["\n", LINE_END];
const JOINTS = new Map([["@-@", "-"], ["@,@", ","], ["@.@", "."]]); // WikiText's
const CLOSING = new Set(",.;:!?%)]}”’»…、。，！？；：）」』"), OPENING = new Set("([{“‘«¿¡$£€#（「『");
const QUOTES = new Set("\"'_"), TIGHT = new Set("—/‑");
const isClitic = (word) => /^['’](?:s|t|re|ve|ll|d|m)$/.test(word.toLowerCase());
const isTight = (word) => TIGHT.has(word) || (Array.from(word).length > 1 && /^[-—]+$/.test(word));

/** One id for each word or sign. */
class Words {
  constructor(about) {
    Object.assign(this, { tokens: about.tokens, rule: about.rule });
    this.ids = new Map(about.tokens.map((token, id) => [token, id]));
    const letter = String.raw`[\p{L}\p{M}\p{N}]`;
    const clitic = `['’](?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[lL][lL]|[dD]|[mM])(?!${letter})`;
    const inner = String.raw`(?:(?!${clitic})['’]|[-.]|(?<=\p{N})[,:](?=\p{N}))`;
    const word = `${letter}+(?:${inner}${letter}+)*`;
    this.split = new RegExp(String.raw`<unk>|@[-,.]@|${clitic}|${word}|\n|([-.*=~!?])\1{0,31}|[^${SPACE}]`, "gu");
    this.between = new RegExp(`[${SPACE}]+`, "u");
  }

  parts(text) { return Array.from(text.matchAll(this.split), ([part]) => part); }

  /** The words of a text, whether they have an id or not. */
  words(given) {
    const text = withoutHalves(given);
    if (this.rule === "spaces") return text.replaceAll("\n", ` ${LINE_END} `).split(this.between).filter(Boolean);
    return this.parts(this.rule === "lower" ? Array.from(text, (one) => one.toLowerCase()).join("") : text);
  }

  /** The words of a prompt; between spaces people type no spaces before signs. */
  typed(prompt) {
    const words = this.words(prompt);
    if (this.rule !== "spaces") return words;
    return words.flatMap((word) => this.ids.has(word) || word === LINE_END ? [word] : this.parts(word));
  }

  unknown(text) { return [...new Set(this.typed(text).filter((word) => !this.ids.has(word)))]; }

  /** See Characters; what has no id is read as the unknown word. */
  read(prompt) {
    const text = respelledWords(prompt, (one) => this.unknown(one));
    return { ids: this.typed(text).map((word) => this.ids.get(word) ?? 0), text, unknown: this.unknown(text) };
  }

  speller(before) {
    const asTheyStood = this.rule === "spaces" && ![...JOINTS.keys()].some((joint) => this.ids.has(joint));
    const joiner = asTheyStood ? new Spacer() : new Joiner(this.rule === "lower");
    for (const word of this.words(before)) joiner.take(word);
    joiner.tight = joiner.tight || isSpace(lastOf(before));
    return (id) => joiner.take(this.tokens[id]);
  }
}

/** Joins words to text as they stood between blanks: one space between two, none beside a line end. */
class Spacer {
  tight = true; // no space comes next

  take(word) {
    const space = this.tight || LINE_ENDS.includes(word) ? "" : " ";
    this.tight = LINE_ENDS.includes(word);
    return this.tight ? "\n" : space + word;
  }
}

/** Joins words to text as people write it; `capitals`: all are in lower case and get capitals where a sentence begins. */
class Joiner {
  constructor(capitals) { Object.assign(this, { capitals, last: "", tight: true, begins: true, open: new Set() }); }

  take(word) {
    const space = this.tight || this.joinsLeft(word) ? "" : " ", written = this.written(word);
    this.tight = this.joinsRight(word);
    this.update(word);
    this.last = word;
    return space + written;
  }

  /** Whether a quote whose two forms are the same closes here; after an s it may be a possessive. */
  closes(word) { return this.open.has(word) || (word === "'" && this.last.endsWith("s") && !this.tight); }

  joinsLeft(word) {
    if (LINE_ENDS.includes(word) || JOINTS.has(word) || (QUOTES.has(word) && this.closes(word))) return true;
    if (isClitic(word)) return isAlnum(lastOf(this.last)) || this.last === UNKNOWN;
    return (CLOSING.has(firstOf(word)) && !Array.from(word).some(isAlnum)) || isTight(word);
  }

  joinsRight(word) {
    if (QUOTES.has(word)) return !this.closes(word);
    return LINE_ENDS.includes(word) || JOINTS.has(word) || OPENING.has(word) || isTight(word);
  }

  written(word) {
    if (LINE_ENDS.includes(word)) return "\n";
    if (JOINTS.has(word)) return JOINTS.get(word);
    const first = firstOf(word);
    if (!this.capitals || !(word === "i" || (this.begins && isAlpha(first)))) return word;
    return first.toUpperCase() + word.slice(first.length);
  }

  update(word) {
    if (LINE_ENDS.includes(word)) {
      if (LINE_ENDS.includes(this.last)) { // a new paragraph
        this.begins = true;
        this.open.clear();
      }
    } else if (QUOTES.has(word)) {
      if (this.closes(word)) {
        this.open.delete(word);
        this.begins = this.begins && this.last === "."; // "Come!" said he
      } else this.open.add(word);
    } else if ([".", "!", "?"].includes(word)) this.begins = true;
    else if (!CLOSING.has(word) && !OPENING.has(word)) this.begins = false;
  }
}

/** Byte-pair encoding: one id for each byte, and one for each merge of two tokens, in order. */
class Subwords {
  constructor(about) {
    this.byteIds = new Map(about.bytes.map((byte, id) => [byte, id]));
    this.bytes = about.bytes.map((byte) => [byte]);
    this.merges = new Map(); // the id of two ids
    for (const [one, two] of about.merges) {
      this.merges.set(this.pair(one, two), this.bytes.length);
      this.bytes.push([...this.bytes[one], ...this.bytes[two]]);
    }
    const letter = String.raw`\p{L}\p{M}`, sign = String.raw`[^${SPACE}${letter}\p{N}]`, space = `[${SPACE}]{1,32}`;
    this.pieces = new RegExp(String.raw`'(?:[sdmt]|ll|ve|re)(?![${letter}])| ?[${letter}]{1,32}| ?\p{N}{1,32}`
      + `| ?${sign}{1,32}|${space}(?![^${SPACE}])|${space}`, "gu");
  }

  pair(one, two) { return one * 65536 + two; }

  encode(text) {
    return Array.from(withoutHalves(text).matchAll(this.pieces), ([piece]) => this.merged(piece)).flat();
  }

  /** A piece's ids: its bytes, of which the earliest merge is made first, and again, as long as there is one. */
  merged(piece) {
    const ids = Array.from(new TextEncoder().encode(piece), (byte) => this.byteIds.get(byte));
    for (;;) {
      let best = Infinity, place = 0;
      for (let at = 0; at + 1 < ids.length; at++) {
        const merge = this.merges.get(this.pair(ids[at], ids[at + 1])) ?? Infinity;
        if (merge < best) [best, place] = [merge, at];
      }
      if (best === Infinity) return ids;
      ids.splice(place, 2, best);
    }
  }

  endsWithSpace(prompt) {
    const [before, last] = Array.from(prompt).slice(-2);
    return last === " " && !isSpace(before);
  }

  /** See Characters; a space at the end is left out, because the next token begins with one. */
  read(text) {
    return { ids: this.encode(this.endsWithSpace(text) ? text.slice(0, -1) : text), text, unknown: [] };
  }

  /** Bytes wait until their character is complete. */
  speller(before) {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    let spaced = this.endsWithSpace(before);
    return (id) => {
      const piece = decoder.decode(Uint8Array.from(this.bytes[id]), { stream: true });
      const cut = spaced && piece.startsWith(" ");
      spaced = spaced && !piece;
      return cut ? piece.slice(1) : piece;
    };
  }
}

const TOKENIZERS = { char: Characters, word: Words, bpe: Subwords };
