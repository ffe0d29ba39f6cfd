// The time machine: a slider shows what each model wrote at a kept step, and colours the passage by what its tokens
// cost then. All of it is in the markup already. Texts are strangers': they are read from the page and never written
// into it as markup.
const LEVELS = 15, MOST = 800;  // of colour; hundredths of a bit of the darkest token
let parsed = new WeakMap();
let chosen = null;  // the step the user has gone to; null: the last one
const counted = (number) => number.toLocaleString('en-US');
const dataOf = (model) => {
  if (!parsed.has(model)) {
    const spans = [...model.querySelectorAll('.tokens > i')];
    spans.forEach((span, place) => { span.place = place; });
    const [steps, means, bits] = ['steps', 'means', 'bits'].map((name) => JSON.parse(model.dataset[name]));
    parsed.set(model, { steps, means, bits, spans, at: steps.length - 1, token: -1 });
  }
  return parsed.get(model);
};
const shown = (piece) => piece.replaceAll('\n', '⏎').replaceAll(' ', '␣') || '(part of a character)';
const describe = (model) => {
  const data = dataOf(model), span = data.spans[data.token];
  if (!span) return;
  const token = document.createElement('code'), line = document.createElement('p');
  token.textContent = shown(span.textContent);
  const cost = data.bits[data.at][data.token];
  line.append(token, cost === null ? ' has nothing before it' : ` cost ${(cost / 100).toFixed(2)} bits at step ${counted(data.steps[data.at])}`);
  model.querySelector('.here').replaceChildren(line);
};
const paint = (model) => {
  const data = dataOf(model), bits = data.bits[data.at];
  data.spans.forEach((span, place) => {
    const level = Math.min(LEVELS, Math.round(LEVELS * (bits[place] ?? 0) / MOST));
    const names = [level ? `s${level}` : '', span.textContent.includes('\n') ? 'n' : '', place === data.token ? 'at' : ''];
    span.className = names.filter(Boolean).join(' ');
  });
};
const go = (index) => {
  const panel = element.querySelector('.history'), slider = panel.querySelector('.scrub input');
  const step = JSON.parse(panel.dataset.steps)[index];
  slider.value = index;
  slider.setAttribute('aria-valuetext', `step ${counted(step)}`);
  panel.querySelector('.scrub output').textContent = counted(step);
  for (const model of panel.querySelectorAll('.then')) {
    const data = dataOf(model);
    data.at = Math.max(0, data.steps.findLastIndex((own) => own <= step));  // the last one kept until then
    const own = data.steps[data.at];
    for (const text of model.querySelectorAll('.written')) text.hidden = Number(text.dataset.at) !== own;
    model.querySelector('[data-step]').textContent = counted(own);
    const figure = model.closest('.col')?.querySelector('.figure b');
    if (figure) figure.textContent = data.means[data.at];
    paint(model);
    describe(model);
  }
  observer.takeRecords();
};
const point = (model, place) => {
  const data = dataOf(model);
  data.spans[data.token]?.classList.remove('at');
  data.token = place;
  data.spans[place].classList.add('at');
  describe(model);
  observer.takeRecords();
};
element.addEventListener('input', (event) => {
  if (!event.target.matches?.('.scrub input')) return;
  const index = Number(event.target.value);
  chosen = JSON.parse(element.querySelector('.history').dataset.steps)[index];
  go(index);
});
element.addEventListener('pointerover', (event) => {
  const span = event.target.closest?.('.tokens > i'), model = span?.closest('.then');
  if (!model) return;
  model.querySelector('.here').setAttribute('aria-live', 'off');
  dataOf(model);
  point(model, span.place);
});
element.addEventListener('keydown', (event) => {
  const model = event.target.classList?.contains('tokens') ? event.target.closest('.then') : null;
  if (!model || event.ctrlKey || event.metaKey || event.altKey) return;
  const { token, spans } = dataOf(model), last = spans.length - 1;
  const to = { ArrowLeft: Math.max(0, token - 1), ArrowRight: Math.min(last, token + 1), Home: 0, End: last }[event.key];
  if (to === undefined || last < 0) return;
  event.preventDefault();
  model.querySelector('.here').setAttribute('aria-live', 'polite');
  point(model, to);
  const text = event.target, above = spans[to].offsetTop - text.offsetTop;
  if (above < text.scrollTop || above + spans[to].offsetHeight > text.scrollTop + text.clientHeight) text.scrollTop = above - text.clientHeight / 2;
});
const isContent = ({ target }) => Boolean((target.closest ? target : target.parentElement)?.closest('.history'));
const isNew = (change) => isContent(change) || [...change.addedNodes].some((node) => node.matches?.('.history') || node.querySelector?.('.history'));
const observer = new MutationObserver((changes) => {  // new results, which gradio writes into the elements of the old
  if (!changes.some(isNew) || !element.querySelector('.history')) return;
  parsed = new WeakMap();
  const steps = JSON.parse(element.querySelector('.history').dataset.steps);
  go(chosen === null ? steps.length - 1 : Math.max(0, steps.findLastIndex((step) => step <= chosen)));  // the step stays
});
observer.observe(element, { childList: true, subtree: true, attributes: true, characterData: true });
