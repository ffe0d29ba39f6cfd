// The finding above the plot: train.js hears what is new in it. And the learning rate of the models at work.
const put = (place, value) => { if (place && place.textContent !== value) place.textContent = value; };
const rate = () => element.querySelector('.rate')?.elements;
let typed = false;
// What a reader has typed, and for which model, stays as the head is drawn anew; so does the focus.
const redraw = (head) => {
  const before = rate(), held = document.activeElement?.closest('.rate') && document.activeElement.name;
  element.innerHTML = head;
  const now = rate();
  if (!before || !now) return;
  const same = [...now.run.options ?? []].find((one) => one.value === before.run.value);
  if (same) same.selected = true;
  if (typed) now.rate.value = before.rate.value;
  else if (same) now.rate.value = same.dataset.rate;
  if (held) now[held].focus();
};
window.addEventListener('charlm:head', ({ detail }) => {
  if (!element.isConnected) return;
  if (detail.head !== undefined) redraw(detail.head);
  if (detail.title !== undefined) put(element.querySelector('.finding'), detail.title);
  if (detail.lead !== undefined) put(element.querySelector('.lead'), detail.lead);
});
element.addEventListener('input', ({ target }) => {
  typed = target.name === 'rate';
  if (target.name === 'run') target.form.elements.rate.value = target.selectedOptions[0].dataset.rate;
});
element.addEventListener('submit', (event) => {
  event.preventDefault();
  typed = false;
  trigger('act', { act: 'rate', rate: rate().rate.value, run: rate().run.value });
});
