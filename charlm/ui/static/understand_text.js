// Coloured texts: what stands behind the token under the pointer, or the one that the arrow keys have reached, in all
// texts with the same tokens at once; and the difference of two models. All of it is in the markup already. Texts and
// tokens are strangers': they get into the page as text, never as markup.
const LEVELS = 15, MOST = 4;
let parsed = new WeakMap(), base = '';  // base: the name of the model that others are compared with; none: no difference
const make = (name, props = {}, ...inside) => {
  const made = Object.assign(document.createElement(name), props);
  made.append(...inside);
  return made;
};
const percent = (parts) => parts >= 100 ? `${Math.round(parts / 10)} %` : parts > 0 ? `${(parts / 10).toFixed(1)} %` : '< 0.1 %';
const texts = () => [...element.querySelectorAll('.tokens')];
const dataOf = (text) => {
  if (!parsed.has(text)) {
    const data = { spans: [...text.children], at: -1, own: [...text.children].map((span) => span.className) };
    for (const [name, value] of Object.entries(text.dataset)) data[name] = name === 'kind' || name === 'group' ? value : JSON.parse(value);
    data.spans.forEach((span, place) => { span.place = place; });
    parsed.set(text, data);
  }
  return parsed.get(text);
};
const titleOf = (text) => text.closest('.col')?.querySelector('header b')?.textContent ?? '';

// What stands at a place ------------------------------------------------------------------------------------------
const shown = (piece) => piece.replaceAll('\n', '⏎').replaceAll(' ', '␣') || '(part of a character)';
const bitsAt = (data, place) => data.bits[place] === null ? 'has nothing before it' : `cost ${(data.bits[place] / 100).toFixed(2)} bits`;
const expected = (data, place) => make('ol', {}, ...data.likeliest[place].map((name, rank) => {
  const chance = data.chances[place][rank], bar = make('i');
  bar.style.width = `${chance / 10}%`;
  return make('li', {}, make('code', {}, data.names[name]), make('span', { className: 'line' }, bar), make('b', {}, percent(chance)));
}));
const describe = (data, place) => {
  const token = make('code', {}, shown(data.spans[place].textContent));
  if (data.kind === 'bits') return [make('p', {}, token, ` ${bitsAt(data, place)}`), expected(data, place)];
  return [make('p', {}, token, ` ${data.values[place].toFixed(3)}${data.holds[place] ? ', the label holds' : ''}`)];
};
const show = (from, place) => {
  const { group } = dataOf(from);
  for (const text of texts()) {
    const data = dataOf(text), here = text.nextElementSibling;
    if (data.group !== group || !data.spans[place]) continue;
    data.spans[data.at]?.classList.remove('at');
    data.at = place;
    const span = data.spans[place];
    span.classList.add('at');
    here.setAttribute('aria-live', text === from ? 'polite' : 'off');
    here.replaceChildren(...describe(data, place));
    const above = span.offsetTop - text.offsetTop, room = text.clientHeight;
    if (above < text.scrollTop || above + span.offsetHeight > text.scrollTop + room) text.scrollTop = above - room / 2;
  }
  observer.takeRecords();
};

// The difference of two models ------------------------------------------------------------------------------------
const differ = () => {
  const all = texts(), from = base && all.find((text) => titleOf(text) === base);
  for (const text of all) {
    const data = dataOf(text), other = from && from !== text && dataOf(from).group === data.group ? dataOf(from) : null;
    if (other) text.style.setProperty('--other', from.style.getPropertyValue('--rgb'));
    data.spans.forEach((span, place) => {
      let name = data.own[place];
      if (other) {
        const more = ((data.bits[place] ?? 0) - (other.bits[place] ?? 0)) / 100;
        const level = Math.min(LEVELS, Math.round(LEVELS * Math.abs(more) / MOST));
        name = `${level ? (more > 0 ? 's' : 'o') + level : ''}${/\bn\b/.test(name) ? ' n' : ''}`.trim();
      }
      span.className = place === data.at ? `${name} at` : name;
    });
  }
  for (const legend of element.querySelectorAll('[data-legend]')) {
    legend.hidden = (legend.dataset.legend === 'difference') !== Boolean(from);
    const name = legend.querySelector('[data-base-name]');
    if (from && name) name.textContent = titleOf(from);
  }
  observer.takeRecords();
};

// What is done ----------------------------------------------------------------------------------------------------
element.addEventListener('pointerover', (event) => {
  const span = event.target.closest?.('.tokens > i');
  if (!span) return;
  dataOf(span.parentElement);
  show(span.parentElement, span.place);
});
element.addEventListener('click', (event) => {
  const span = event.target.closest?.('.tokens > i');
  if (span) { dataOf(span.parentElement); show(span.parentElement, span.place); }
});
element.addEventListener('keydown', (event) => {
  const text = event.target;
  if (!text.classList?.contains('tokens') || event.ctrlKey || event.metaKey || event.altKey) return;
  const { at, spans } = dataOf(text), last = spans.length - 1;
  const to = { ArrowLeft: Math.max(0, at - 1), ArrowRight: Math.min(last, at + 1), Home: 0, End: last }[event.key];
  if (to === undefined || last < 0) return;
  event.preventDefault();
  show(text, to);
});
element.addEventListener('change', (event) => {
  if (!event.target.matches?.('[data-base]')) return;
  const from = event.target.value && texts()[Number(event.target.value)];
  base = from ? titleOf(from) : '';
  differ();
});
const isContent = ({ target }) => Boolean((target.closest ? target : target.parentElement)?.closest('.coloured'));
const isNew = (change) => isContent(change) || [...change.addedNodes].some((node) => node.matches?.('.coloured') || node.querySelector?.('.coloured'));
const observer = new MutationObserver((changes) => {  // new results, which gradio writes into the elements of the old
  if (!changes.some(isNew)) return;
  parsed = new WeakMap();
  const select = element.querySelector('[data-base]'), place = texts().findIndex((text) => titleOf(text) === base);
  if (!select || place < 0) base = '';  // the choice stays if it still can
  if (select) select.value = base ? place : '';
  if (base) differ();
});
observer.observe(element, { childList: true, subtree: true, attributes: true, characterData: true });
