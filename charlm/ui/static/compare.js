// Tells the picker when a job begins or ends, and others what stands in the columns.
const tell = (event) => { if (!event.detail.first && element.isConnected) trigger('refresh', {}); };
window.addEventListener('charlm:job', tell);
// {run id: [[prompt, text], ..]}, as the columns show it; null in place of a text that could not be written.
window.charlmTexts = () => {
  const told = {};
  for (const column of document.querySelectorAll('#compare-columns .col')) {
    const text = column.querySelector('.text'), samples = text.querySelectorAll('.one');
    told[column.dataset.run] = [...(samples.length ? samples : [text])].map((one) => {
      if (one.querySelector('.notice')) return null;
      const prompt = one.querySelector(':scope > .prompt')?.textContent ?? '';
      return [prompt, one.textContent.slice(prompt.length)];
    });
  }
  return told;
};
// A column's own button copies its prompt and text; of several samples all, a line between them.
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act=copy]');
  const texts = window.charlmTexts()[button?.closest('.col').dataset.run] ?? [];
  if (button) window.charlmCopy(texts.filter(Boolean).map((one) => one.join('')).join('\n\n'), button);
});
// While texts are written nothing else moves: the columns have the room from the start that the texts will come to need,
// as the texts that stood there needed it for as many characters.
const MOST_IDLE = 110, FEW = 40, TOKEN = 5, LETTER = 8, LINE = 26;  // pixels given back, characters, pixels of a letter
const heightOf = (one) => one?.getBoundingClientRect().height ?? 0;
const bodies = () => [...element.querySelectorAll('.col .body')].map((body) => {
  const text = body.querySelector('.text'), note = body.querySelector('.note');
  return { chars: text.textContent.length, text: heightOf(text), all: heightOf(text) + (note ? heightOf(note) + 10 : 0), width: text.clientWidth };
});
const wanted = () => {
  let how = {};
  try { how = JSON.parse(document.querySelector('#compare-how :is(textarea, input)')?.value || '{}'); } catch { /* the usual */ }
  const tokens = /token/.test(document.querySelector('#compare-sampling button')?.textContent ?? '');
  return { chars: (how.length ?? 0) * (tokens ? TOKEN : 1), samples: how.samples ?? 1 };
};
let stood = [], isReserved = false;  // what stood there when nothing was written
const reserve = (goesOn) => {
  const { chars, samples } = wanted();
  const room = Math.max(0, ...stood.map((one) => {
    const perChar = one.chars >= FEW ? one.text / one.chars : (LETTER * LINE) / (one.width || 1);
    const more = perChar * chars * samples + LINE * (samples > 1 ? 2 * samples : 1);
    return goesOn ? one.all + more : more;
  }));
  element.style.setProperty('--room', `${Math.ceil(room)}px`);
  isReserved = true;
};
const keep = () => {
  if (document.querySelector('#compare-stop, #compare-columns .caret')) {  // whichever comes first
    if (!isReserved) reserve(false);
    return;
  }
  if (!document.querySelector('#compare-generate')) return;  // Stop is about to come
  stood = bodies();
  const used = Math.max(0, ...stood.map((one) => one.all));
  if (!isReserved || parseFloat(element.style.getPropertyValue('--room')) - used > MOST_IDLE) element.style.removeProperty('--room');
  isReserved = false;
};
const observe = (one) => one && new MutationObserver(keep).observe(one, { childList: true, subtree: true });
observe(element);
requestAnimationFrame(() => {  // the rest is drawn a moment later
  observe(document.querySelector('#compare-bar'));
  keep();
  // With the press, not with the first text: what moves then is what was asked for.
  document.addEventListener('click', ({ target }) => {
    const pressed = target.closest('#compare-generate, #compare-more');
    if (pressed) reserve(pressed.id === 'compare-more');
  });
});
