// A panel's line: its buttons, and asking again while something is being measured.
const ASK_EVERY = 700;  // ms
const name = () => element.closest('[id$=-status]').id.replace('-status', '');  // `element` itself has an id of gradio's
const graph = () => document.querySelector(`#${name()}-plot .js-plotly-plot`);
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button || button.disabled) return;
  const { act } = button.dataset;
  button.disabled = true;
  setTimeout(() => { button.disabled = false; }, 700);
  if (act === 'svg' || act === 'png') {
    const drawn = graph(), scale = act === 'png' ? 2 : 1;
    const filename = name().replace('understand', 'charlm');
    if (drawn && window.Plotly) Plotly.downloadImage(drawn, { format: act, filename, scale, width: drawn.offsetWidth, height: drawn.offsetHeight });
    return;
  }
  if (act === 'csv') trigger('csv', {});
  else trigger('act', { act });
});
setInterval(() => {
  if (element.isConnected && element.offsetParent && element.querySelector('[data-waiting]')) trigger('refresh', {});
}, ASK_EVERY);
