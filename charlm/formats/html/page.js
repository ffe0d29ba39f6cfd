// The page: fields and buttons around a writer, and what programs may call.

const SLICE = 12; // milliseconds of work between two frames
const BARS = 12;
const BARS_EVERY = 100; // milliseconds while it writes; faster cannot be read
const find = (id) => document.getElementById(id);
const [form, prompt, text, status, bars] = ["form", "prompt", "text", "status", "bars"].map(find);
const about = JSON.parse(find("run").textContent);
const [weights, kernels] = ["weights", "kernels"].map((id) => decoded(find(id).textContent));
const model = new Model(about, weights, kernels);
const writer = new Writer(model);
let draw = null; // the numbers of the text being written
let spell = null; // turns its ids into text
let begunAt = 0, count = 0, barsAt = 0, note = "", unknown = [];

/** A field's value, put back into its range; an emptied one gets its default. */
function setting(name) {
  const field = find(name), value = field.value.trim() === "" ? NaN : Number(field.value);
  const whole = Number.isFinite(value) ? value : Number(field.defaultValue);
  const inside = Math.min(Math.max(whole, Number(field.min)), Number(field.max));
  return Number(field.step) === 1 ? Math.round(inside) : inside;
}

const settings = () => Object.fromEntries(
  ["length", "temperature", "top_k", "seed"].map((name) => [name, setting(name)]));

/** The fold's title is the settings. */
function titleSettings() {
  const { length, temperature, top_k: topK, seed } = settings();
  const parts = [`${length.toLocaleString("en")} ${about.units}`, `temperature ${temperature}`];
  if (topK) parts.push(`top-k ${topK}`);
  find("settings-title").textContent = [...parts, `seed ${seed}`].join(" · ");
}

const sign = (id) => (about.signs[id] || [model.tokens[id]])[0];
const called = (id) => (about.signs[id] || [])[1] || model.tokens[id];

/** The text is the prompt again, as the model reads it. */
function begin() {
  const { ids, text: begun, unknown: odd } = model.encode(prompt.value);
  unknown = odd;
  spell = model.tokenizer.speller(begun);
  writer.moveTo(ids);
  draw = numbersFrom(setting("seed"));
  find("begun").textContent = begun;
  find("written").textContent = note = "";
  wake();
}

function write() {
  writer.write(setting("length"), settings(), draw);
  [count, begunAt, note] = [0, performance.now(), "Writing…"];
  wake();
}

/** Work until all is read and written, a slice a frame, so that the page can always be used. */
let awake = false;
function wake() {
  show();
  if (awake) return;
  awake = true;
  requestAnimationFrame(turn);
}

function turn() {
  const end = performance.now() + SLICE, wrote = writer.work(() => performance.now() > end);
  count += wrote.length;
  find("written").append(wrote.map(spell).join(""));
  if (wrote.length && writer.left === 0) finish();
  awake = writer.busy;
  if (awake) requestAnimationFrame(turn);
  show();
}

function show() {
  const writing = writer.left > 0;
  find("generate").hidden = writing;
  find("stop").hidden = !writing;
  find("more").hidden = writing || !writer.logits;
  text.classList.toggle("writing", writing);
  text.setAttribute("aria-busy", String(writing));
  const said = writer.lost ? "The model's numbers grew beyond all bounds here; it cannot go on." : note;
  status.textContent = [said, skipped()].filter(Boolean).join(" ");
  if (!writer.busy || performance.now() - barsAt > BARS_EVERY) drawBars();
  for (const button of bars.querySelectorAll("button")) button.disabled = writing;
}

/** Nothing more is to be written: say how much was, and how fast. */
function finish() {
  writer.left = 0;
  const seconds = (performance.now() - begunAt) / 1000;
  const speed = seconds > 0.1 ? `, ${Math.round(count / seconds).toLocaleString("en")} a second` : "";
  note = `${count.toLocaleString("en")} ${about.units}${speed}.`;
}

function skipped() {
  if (!unknown.length) return "";
  const shown = unknown.slice(0, 8).join(" ") + (unknown.length > 8 ? " …" : "");
  return (about.level === "word" ? "Read as unknown words: " : "Skipped what the model does not know: ") + shown;
}

/** The likeliest next tokens; the rows are made once, so that one that has the focus keeps it. */
function drawBars() {
  barsAt = performance.now();
  const shares = writer.logits && !writer.lost ? probabilities(writer.logits, settings()) : [];
  const likeliest = shares.length ? ranked(shares, BARS) : [];
  while (bars.children.length < Math.min(BARS, model.tokens.length)) bars.append(newBar());
  const most = shares[likeliest[0]];
  Array.from(bars.children).forEach((item, place) => fillBar(item, likeliest[place], shares, most));
}

function newBar() {
  const item = document.createElement("li"), button = document.createElement("button");
  button.type = "button";
  button.append(...["kbd", "i", "b"].map((name) => document.createElement(name)));
  item.append(button);
  return item;
}

function fillBar(item, id, shares, most) {
  const button = item.firstChild, [name, bar, percent] = button.children;
  item.hidden = id === undefined || shares[id] === 0;
  if (item.hidden) return;
  button.dataset.id = id;
  name.textContent = sign(id);
  percent.textContent = shares[id] < 0.0005 ? "< 0.1 %" : `${(100 * shares[id]).toFixed(1)} %`;
  bar.style.setProperty("--w", `${(100 * shares[id]) / most}%`);
  button.setAttribute("aria-label", `${called(id)}, ${percent.textContent}`);
  button.title = called(id);
}

form.addEventListener("submit", (event) => { event.preventDefault(); begin(); write(); });
find("stop").addEventListener("click", () => { finish(); show(); });
find("more").addEventListener("click", write);
prompt.addEventListener("input", begin);
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});
find("settings").addEventListener("change", (event) => {
  event.target.value = setting(event.target.id);
  titleSettings();
  show();
});
bars.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || button.disabled || writer.busy) return;
  const id = Number(button.dataset.id);
  writer.take(id);
  find("written").append(spell(id));
  wake();
});

titleSettings();
begin();

// For programs and tests: what the model thinks, and a text at once.
window.charlm = {
  /** Whether WebAssembly computes; where it does not, the same numbers take longer. */
  fast: model.fast,
  /** The ids that the model reads of `text`. */
  ids: (text) => model.encode(text).ids,
  /** A list of logits, one for each token, after every token of `text` that the model reads. */
  logits(text) {
    let state = model.start();
    return model.encode(text).ids.map((id) => {
      if (id === model.border) state = model.start();
      return Array.from(model.step(state, id));
    });
  },
  /** The text after `text`: settings are length, temperature, top_k and seed, the page's own where left out. */
  write(text, wanted = {}) {
    const own = new Writer(model), all = { ...settings(), ...wanted }, { ids, text: begun } = model.encode(text);
    own.moveTo(ids);
    own.work(() => own.pending.length === 0);
    own.write(all.length, all, numbersFrom(all.seed));
    return own.work(() => false).map(model.tokenizer.speller(begun)).join("");
  },
};
