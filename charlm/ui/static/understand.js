// A panel's line: its buttons, and asking again while something is being measured.
const ASK_EVERY = 700;  // ms
const name = () => element.closest('[id$=-status]').id.replace('-status', '');  // `element` itself has an id of gradio's
element.addEventListener('click', (event) => {
  const { act } = window.charlmPressed(event) ?? {};
  if (!act) return;
  if (act === 'svg' || act === 'png') window.charlmPicture(`${name()}-plot`, act);
  else if (act === 'csv') trigger('csv', {});
  else trigger('act', { act });
});
setInterval(() => {
  if (element.isConnected && element.offsetParent && element.querySelector('[data-waiting]')) trigger('refresh', {});
}, ASK_EVERY);
