// The finding above the plot: train.js hears what is new in it.
const put = (place, value) => { if (place && place.textContent !== value) place.textContent = value; };
window.addEventListener('charlm:head', ({ detail }) => {
  if (!element.isConnected) return;
  if (detail.head !== undefined) {
    const held = document.activeElement?.closest('.rate') && document.activeElement.name;
    element.innerHTML = detail.head;
    if (held) element.querySelector(`.rate [name=${held}]`)?.focus();
  }
  if (detail.title !== undefined) put(element.querySelector('.finding'), detail.title);
  if (detail.lead !== undefined) put(element.querySelector('.lead'), detail.lead);
});
// The learning rate of the models at work, and of which of them it is.
element.addEventListener('change', ({ target }) => {
  if (target.name === 'run') target.form.elements.rate.value = target.selectedOptions[0].dataset.rate;
});
element.addEventListener('submit', (event) => {
  event.preventDefault();
  const { rate, run } = event.target.elements;
  trigger('act', { act: 'rate', rate: rate.value, run: run.value });
});
