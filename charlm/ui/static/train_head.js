// The finding above the plot: train.js hears what is new in it.
const put = (place, value) => { if (place && place.textContent !== value) place.textContent = value; };
window.addEventListener('charlm:head', ({ detail }) => {
  if (!element.isConnected) return;
  if (detail.head !== undefined) element.innerHTML = detail.head;
  if (detail.title !== undefined) put(element.querySelector('.finding'), detail.title);
  if (detail.lead !== undefined) put(element.querySelector('.lead'), detail.lead);
});
