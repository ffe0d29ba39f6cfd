// The chosen run's samples: the slider is in the markup (samples.js); the server has the texts, and escapes them.
const PAUSE = 60;  // ms
let wanted = 0;
element.addEventListener('charlm:sample', async ({ detail }) => {
  const own = ++wanted, { run } = element.querySelector('.shown-sample').dataset;
  await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
  if (own !== wanted) return;
  let html = '';
  try { html = await server.sample_at({ run, step: detail }); } catch { /* the connection is lost; the page says so */ }
  const place = element.querySelector('.shown-sample');
  if (html && own === wanted && place?.dataset.run === run) place.innerHTML = html;
});
