// The most likely next tokens at any place of a text that stands in the columns. All places come in one answer of the
// server, so stepping needs none. Texts and tokens are strangers': they get into the page as text, never as markup.
const KEYS = '1234567890', KEPT = 12, PAUSE = 120;
const make = (name, props = {}, ...inside) => {
  const made = Object.assign(document.createElement(name), props);
  made.append(...inside);
  return made;
};
const models = make('div', { className: 'choices', role: 'radiogroup', ariaLabel: 'Model' });
const samples = make('div', { className: 'choices', role: 'radiogroup', ariaLabel: 'Sample' });
const back = make('button', { type: 'button', className: 'step', ariaLabel: 'One back', textContent: '←' });
const forth = make('button', { type: 'button', className: 'step', ariaLabel: 'One on', textContent: '→' });
const where = make('span', { className: 'where' });
const text = make('div', { className: 'next-text', tabIndex: 0, role: 'group', ariaLabel: 'Text: ← and → step through it' });
const bars = make('ol', { className: 'next-bars' });
const facts = make('dl', { className: 'numbers', ariaLive: 'polite' });
const said = make('p', { className: 'hint' });
const head = make('div', { className: 'next-head' }, 'Token', make('span', {}, 'drawn with'), make('span', {}, "model's own"));
const help = make('p', { className: 'hint', textContent:
  'Click into the text, or step with ← → Home End. A click on a token, or its number, puts it there, and the model goes on from it.' });
const sides = make('div', { className: 'next-sides' }, make('div', {}, head, bars), facts);
const body = make('div', { className: 'next-body' }, text, sides, help);
element.replaceChildren(
  make('div', { className: 'next-bar' }, models, samples, make('span', { className: 'steps' }, back, forth), where), said, body,
);

let run = '', sample = 0, at = 0, view = null, seen = '', goal = null, timer = 0;
const views = new Map();  // the last few answers, by question
const isWriting = () => Boolean(document.querySelector('#compare-stop'));
const how = () => document.querySelector('#compare-how textarea, #compare-how input')?.value || '{}';
const last = () => view.pieces.length;
const percent = (parts) =>
  parts >= 1000 ? `${Math.round(parts / 100)} %` : parts >= 10 ? `${(parts / 100).toFixed(1)} %` : parts > 0 ? '< 0.1 %' : '0 %';

// What is shown --------------------------------------------------------------------------------------------------
const choice = (label, chosen, colour, choose) => {
  const button = make('button', { type: 'button', role: 'radio', ariaChecked: String(chosen) });
  if (colour) {
    button.append(make('i', { className: 'swatch' }));
    button.style.setProperty('--c', colour);
  }
  button.append(label);
  button.addEventListener('click', choose);
  return button;
};
const showChoices = (texts) => {
  const columns = [...document.querySelectorAll('#compare-columns .col')];
  models.replaceChildren(...columns.map((column) => {
    const id = column.dataset.run, colour = column.style.getPropertyValue('--c');
    if (id === run) element.style.setProperty('--c', colour);
    const name = column.querySelector('header > b').textContent;
    return choice(name, id === run, colour, () => { run = id; sample = 0; at = 0; refresh(); });
  }));
  const many = texts[run]?.length > 1 ? texts[run] : [];
  samples.replaceChildren(...many.map((_, place) =>
    choice(String(place + 1), place === sample, '', () => { sample = place; at = 0; refresh(); })));
};
const showText = (prompt) => {
  const parts = view.pieces.map((piece, place) => {
    const part = make('span', { className: piece.includes('\n') ? 'line' : '', textContent: piece });
    part.dataset.at = place;
    return part;
  });
  const end = make('span', { className: 'end', textContent: '\u200b' });
  end.dataset.at = parts.length;
  const before = view.start ? '… ' : prompt;
  text.replaceChildren(...(before ? [make('span', { className: 'prompt', textContent: before })] : []), ...parts, end);
};
const bar = (id, key, chance, raw, most, stands) => {
  const [shown, called] = view.names[id];
  const row = make('button', { type: 'button', title: called });
  row.dataset.token = id;
  if (id === stands) row.classList.add('stands');
  const lines = make('span', { className: 'lines' }, make('i', { className: 'drawn' }), make('i', { className: 'raw' }));
  lines.children[0].style.width = `${100 * chance / most}%`;
  lines.children[1].style.width = `${100 * raw / most}%`;
  row.append(make('span', { className: 'token' }, make('kbd', {}, key), make('span', {}, shown)), lines,
    make('b', {}, percent(chance)), make('span', { className: 'own' }, percent(raw)));
  row.setAttribute('aria-label', `${called}: ${percent(chance)}${id === stands ? ', stands here' : ''}`);
  return make('li', {}, row);
};
const fact = (name, value, tip) => {
  const term = make('span', {}, name);
  if (tip) {
    Object.assign(term, { className: 'term', tabIndex: 0 });
    term.dataset.tip = tip;
  }
  return make('div', {}, make('dt', {}, term), make('dd', {}, value));
};
const showPlace = () => {
  const [ids, chances, raws, entropy, stands] = view.places[at];
  const own = stands ? stands[0] : null, most = Math.max(1, ...chances, ...raws);
  const rows = ids.map((id, place) => bar(id, KEYS[place] ?? '', chances[place], raws[place], most, own));
  if (stands && !ids.includes(own)) rows.push(bar(own, `${stands[3]}.`, stands[1], stands[2], most, own));
  bars.replaceChildren(...rows);
  const unsure = fact('Entropy', `${entropy.toFixed(2)} bits`, 'How unsure the model is here: what each token would cost, on average.');
  facts.replaceChildren(...(stands ? [
    fact('Here stands', view.names[own][0]), fact('Rank', String(stands[3])), fact('Drawn with', percent(stands[1])),
    fact("Model's own", percent(stands[2]), 'Without temperature and all that comes after it.'),
    fact('It cost', `${stands[4].toFixed(2)} bits`, 'How surprised the model was: -log2 of its own probability.'), unsure,
  ] : [fact('Here', 'the text ends'), unsure]));
  where.textContent = at < last() ? `${view.unit} ${view.start + at + 1} of ${view.start + last()}` : `after ${view.start + at} ${view.unit}s`;
  back.disabled = at === 0;
  forth.disabled = at === last();
  text.querySelector('.at')?.classList.remove('at');
  const here = text.querySelector(`[data-at="${at}"]`);
  here.classList.add('at');
  const above = here.offsetTop - text.offsetTop, room = text.clientHeight;
  if (above < text.scrollTop || above + here.offsetHeight > text.scrollTop + room) text.scrollTop = above - room / 2;
};
const show = (answer, prompt) => {
  element.classList.remove('stale');
  said.textContent = answer?.error ?? '';
  view = answer?.error ? null : answer;
  body.hidden = !view;
  where.textContent = '';
  if (!view) return;
  at = Math.min(goal ?? at, last());
  goal = null;
  showText(prompt);
  showPlace();
};

// What is asked for ----------------------------------------------------------------------------------------------
const refresh = async () => {
  if (!element.isConnected || !element.offsetParent || isWriting() || !window.charlmTexts) return;
  const texts = window.charlmTexts();
  if (!(run in texts)) [run, sample, at] = [Object.keys(texts)[0] ?? '', 0, 0];
  if (!(sample in (texts[run] ?? []))) sample = 0;
  showChoices(texts);
  const question = { run, text: texts[run]?.[sample] ?? null, how: how() }, key = JSON.stringify([question, sample]);
  if (key === seen) return;
  seen = key;
  element.classList.add('stale');
  let answer = views.get(key);
  try { answer ??= await server.look(question); } catch { /* as one that failed */ }
  answer ??= { error: 'The server did not answer; try again in a moment.' };
  if (key !== seen) return;
  if (answer.error) seen = '';
  else views.set(key, answer);
  if (views.size > KEPT) views.delete(views.keys().next().value);
  show(answer, question.text?.[0] ?? '');
};
const later = () => { clearTimeout(timer); timer = setTimeout(refresh, PAUSE); };
const go = (place) => {
  if (!view) return;
  at = Math.max(0, Math.min(place, last()));
  showPlace();
};
const take = (token) => {
  if (!view || isWriting() || element.classList.contains('stale')) return;
  if (view.places[at][4]?.[0] === token) return go(at + 1);  // it stands there already
  goal = at + 1;
  element.classList.add('stale');
  trigger('take', { run, sample, place: view.start + at, token, texts: window.charlmTexts() });
};

// What is done ---------------------------------------------------------------------------------------------------
back.addEventListener('click', () => go(at - 1));
forth.addEventListener('click', () => go(at + 1));
text.addEventListener('click', (event) => {
  const part = event.target.closest('[data-at]');
  if (part) go(Number(part.dataset.at));
});
bars.addEventListener('click', (event) => {
  const row = event.target.closest('button');
  if (row) take(Number(row.dataset.token));
});
element.addEventListener('keydown', (event) => {
  const inText = event.target === text, row = event.target.closest('.next-bars button');
  if (!view || event.ctrlKey || event.metaKey || event.altKey || !(inText || row)) return;
  const rows = [...bars.querySelectorAll('button')], place = rows.indexOf(row), key = event.key;
  const focus = (next) => next < 0 ? text.focus() : rows[Math.min(next, rows.length - 1)].focus();
  const step = (next) => { go(next); if (row) focus(place); };
  const moves = { ArrowLeft: () => step(at - 1), ArrowRight: () => step(at + 1), Home: () => step(0), End: () => step(last()),
    ArrowDown: () => focus(place + 1), ArrowUp: () => focus(place - 1) };
  const number = key.length === 1 ? KEYS.indexOf(key) : -1;
  if (number >= 0 && rows[number]) take(Number(rows[number].dataset.token));
  else if (moves[key]) moves[key]();
  else return;
  event.preventDefault();
});
for (const place of ['#compare-columns', '#compare-bar', '#compare-sampling']) {
  const watched = document.querySelector(place);
  if (watched) new MutationObserver(later).observe(watched, { childList: true, subtree: true, characterData: true });
}
new ResizeObserver(later).observe(element);
body.hidden = true;
later();
