// Keeps the plot, the finding and the table up to date. What the plot shows stands in its own layout.meta, so this
// script remembers nothing that a redraw or a reload could contradict.
let timer = 0, busy = false, marks = {};
const plot = () => document.querySelector('#train-plot .js-plotly-plot');
const wanted = () => {
  const field = document.querySelector('#train-wanted textarea, #train-wanted input');
  try { return JSON.parse(field.value || '[]'); } catch { return []; }
};
const extend = (graph, state) => {
  const meta = graph.layout.meta;
  const indices = [], xs = [], ys = [], rings = [];
  graph.data.forEach((trace, index) => {
    const points = trace.meta && state.points[trace.meta.run];
    if (!points) return;
    if (trace.meta.kind === 'best') rings.push([index, points.best]);
    else if (points[trace.meta.kind].x.length) {
      indices.push(index); xs.push(points[trace.meta.kind].x); ys.push(points[trace.meta.kind].y);
    }
  });
  const kept = (graph.layout.annotations || []).filter((note) => note.name === 'axis' || note.name === 'uniform');
  if (indices.length) Plotly.extendTraces(graph, { x: xs, y: ys }, indices);
  rings.forEach(([index, ring]) => Plotly.restyle(graph, { x: [ring.x], y: [ring.y] }, [index]));
  Plotly.relayout(graph, { annotations: [...kept, ...state.labels] });
  for (const run in state.points) if (state.points[run].since !== null) meta.since[run] = state.points[run].since;
};
const show = (state) => {
  if (state.body !== null && state.body !== undefined) props.value = state.body;
  if (state.head !== null && state.head !== undefined)
    window.dispatchEvent(new CustomEvent('charlm:head', { detail: state.head }));
  marks = state.marks;
  const graph = plot();
  if (state.redraw) return trigger('redraw', {});
  if (!state.points) return;
  if (graph && window.Plotly && Plotly.extendTraces) extend(graph, state);
  else trigger('redraw', {});
};
const tick = async () => {
  clearTimeout(timer);
  if (!element.isConnected) return;
  let wait = 1000;
  if (!busy && document.visibilityState === 'visible' && element.offsetParent) {
    busy = true;
    const meta = plot()?.layout?.meta || {};
    try {
      show(await server.poll_training({ runs: meta.runs || [], since: meta.since || {}, active: meta.active || [], by: meta.by, log: meta.log, wanted: wanted(), seen: marks }));
    } catch { wait = 3000; }
    busy = false;
  }
  timer = setTimeout(tick, wait);
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (button) trigger('act', { ...button.dataset });
});
window.addEventListener('charlm:job', tick);
window.addEventListener('charlm:redrawn', tick);
document.addEventListener('visibilitychange', tick);
tick();
