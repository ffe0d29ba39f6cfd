// Keeps the plot, the finding, the table and the samples up to date. What the plot shows stands in its own layout.meta,
// so this script remembers nothing of it that a redraw or a reload could contradict, but where a reader has zoomed to.
const MOST = { train: 4000, val: 1000 };  // points of a curve from which the plot is drawn anew, thinned
const AWAY = 10000;  // ms without an answer after which it is drawn anew, too
const PATIENCE = 5000;  // ms that a drawing which has been asked for may take
const SHARE = 0.04;  // of the page's time may go into drawing; but new points come at least every SLOWEST ms
const SLOWEST = 2000;
let text = '', marks = [], moved = {}, heard = 0, drawn = 0, took = 0, asked = { key: '', at: -PATIENCE }, zoom = null;
let chosen = null;  // the step whose samples a reader looks at; null: the newest
const plot = () => document.querySelector('#train-plot .js-plotly-plot');
const wanted = () => {
  const field = document.querySelector('#train-wanted textarea, #train-wanted input');
  try { return JSON.parse(field.value || '[]'); } catch { return []; }
};
const slider = () => element.querySelector('.sample-slider');
const shown = () => [...element.querySelectorAll('.cols > .col')].map((one) => one.dataset.run).join();
const put = (place, value) => { if (place && place.textContent !== value) place.textContent = value; };
const tell = (detail) => window.dispatchEvent(new CustomEvent('charlm:head', { detail }));

// [x, y, ..] with each x as what it is more than the one before -> [[x, ..], [y, ..]].
const unpacked = (flat) => {
  const x = [], y = [];
  let last = 0;
  for (let at = 0; at < flat.length; at += 2) {
    x.push(last += flat[at]);
    y.push(flat[at + 1]);
  }
  return [x, y];
};
// What the axes of a plot show that do not follow its curves any more; null if both do.
const zoomed = (graph) => {
  const away = ['xaxis', 'yaxis'].filter((axis) => graph?.layout?.[axis].autorange === false);
  return away.length ? { graph, ranges: Object.fromEntries(away.map((axis) => [`${axis}.range`, [...graph.layout[axis].range]])) } : null;
};
// Points and names in one go: every call of Plotly draws the whole plot.
const extend = (graph, state) => {
  if (zoom && zoom.graph !== graph) {
    Plotly.relayout(graph, zoom.ranges);
    zoom = null;
  }
  const { meta, annotations } = graph.layout;
  const xs = [], ys = [], indices = [];
  const draw = (index, x, y) => { indices.push(index); xs.push(x); ys.push(y); };
  graph.data.forEach((trace, index) => {
    const place = meta.runs.indexOf(trace.meta.run), kind = trace.meta.kind;
    if (place < 0 || kind === 'rate') return;
    const [train, val, best] = state.points[place];
    const [x, y] = unpacked(kind === 'train' ? train : kind === 'val' ? val : best);
    if (kind === 'best' && val.length) draw(index, x, y);
    else if (x.length) draw(index, [...trace.x, ...x], [...trace.y, ...y]);
  });
  const names = annotations.map((note) => {
    const end = state.ends[meta.runs.indexOf(note.name)];
    return end ? { ...note, y: end[0], yshift: end[1], visible: true } : note;
  });
  meta.since = state.points.map((points) => points[3]);
  if (!indices.length) return;
  drawn = performance.now();
  Plotly.update(graph, { x: xs, y: ys }, { annotations: names }, indices);
  took = performance.now() - drawn;
};
// Another training's table has come: its curves are on their way, and those that stand here are no longer its own.
const empty = (graph) => {
  const { meta, annotations } = graph.layout, now = [...element.querySelectorAll('.cols > .col')].map((one) => one.dataset.run);
  if (!meta.runs || meta.runs.join() === now.join()) return;
  const gone = graph.data.flatMap((trace, index) => meta.runs.includes(trace.meta.run) ? [index] : []);
  const names = annotations.map((note) => meta.runs.includes(note.name) ? { ...note, visible: false } : note);
  const none = gone.map(() => []);
  if (gone.length) Plotly.update(graph, { x: none, y: none }, { annotations: names }, gone);
};
// Curves beside the losses have moved: their sentence, and the plot that stands already. `moved` waits for Plotly.
const MOVING = { seeds: '#train-seed-curves', gradient: '#train-gradient' };
const move = () => {
  for (const name in MOVING) {
    const place = element.querySelector(MOVING[name]), part = moved[name];
    if (!place || !part || !window.Plotly?.react) continue;
    if (!place.firstChild) place.innerHTML = '<div></div><div role="img"></div>';
    const [said, curves] = place.children;
    said.innerHTML = part.html;
    curves.setAttribute('aria-label', part.alt);
    Plotly.react(curves, part.figure.data, part.figure.layout, { displaylogo: false, responsive: true });
    delete moved[name];
  }
};
const fill = (state) => {
  const table = element.querySelector('#train-table');
  if (!table) return;
  const heads = table.querySelectorAll('th');
  put(heads[0], state.limits[0]);
  if (state.limits[1]) put(heads[heads.length - 1], state.limits[1]);
  const lines = [...table.tBodies[0].rows];
  if (state.body !== undefined) lines.forEach((line, at) => { line.run = state.rows[at][0]; });
  state.rows.forEach(([run, ...cells], at) => {
    const line = lines.find((one) => one.run === run);
    cells.forEach((value, cell) => put(line.cells[cell + 1].querySelector('b') || line.cells[cell + 1], value));
    if (table.tBodies[0].rows[at] !== line) table.tBodies[0].insertBefore(line, table.tBodies[0].rows[at]);
  });
  if (state.stops && slider()) window.charlmSamples.add(slider(), state.stops);
  for (const place in state.samples || {}) element.querySelectorAll('.cols > .col')[place].outerHTML = state.samples[place];
};
const take = (state) => {
  heard = Date.now();
  if (state.body !== undefined) {
    text = state.text;
    moved = {};
    element.querySelectorAll('#train-seed-curves [role=img], #train-gradient [role=img]').forEach((curves) => Plotly.purge(curves));
    const before = shown();
    element.innerHTML = state.body;
    // The same models once more, with their newest samples: those of the step that was chosen are asked for again.
    if (chosen !== null && before && shown() === before && slider()) window.charlmSamples.go(slider(), chosen);
    else chosen = null;
  }
  tell(state);
  const advised = element.querySelector('#train-advice');
  if (state.advice !== undefined && advised) advised.innerHTML = state.advice;
  if (state.seen) marks = state.seen;
  if (state.rows) fill(state);
  for (const name in MOVING) if (state[name]) moved[name] = state[name];
  move();
  const graph = plot();
  if (state.body !== undefined && graph?.layout && window.Plotly) empty(graph);
  if (state.points && graph && window.Plotly && Plotly.update) extend(graph, state);
  else if ((state.redraw || state.points) && (asked.key !== text || performance.now() - asked.at > PATIENCE)) {
    asked = { key: text, at: performance.now() };
    zoom = zoomed(graph) || zoom;  // one that waits to be put back outlives a second drawing
    trigger('redraw', {});
  }
};
const ask = () => {
  if (!element.isConnected || !element.offsetParent) return null;
  const graph = plot(), meta = graph?.layout?.meta || {};
  const stale = Date.now() - heard > AWAY || graph?.data?.some((trace) => trace.x.length > MOST[trace.meta.kind]);
  const question = { key: stale ? '' : meta.key, seen: marks };
  // A tick comes every second or so: half of one early is in time.
  if (performance.now() - drawn > Math.min(took / SHARE, SLOWEST) - 500) question.since = meta.since;
  if (question.key !== text) question.text = text;
  if (meta.by === 'seconds') question.by = meta.by;
  if (meta.log) question.log = true;
  const ids = wanted();
  if (ids.length) question.wanted = ids;
  if (slider()) question.stop = window.charlmSamples.last(slider());
  if (chosen !== null) question.at = chosen;
  return question;
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (button) trigger('act', { ...button.dataset });
});
element.addEventListener('charlm:sample', (event) => {
  chosen = event.detail;
  wake();
});
window.charlmParts.train = { ask, take };
const wake = () => window.dispatchEvent(new Event('charlm:wake'));
window.addEventListener('charlm:redrawn', wake);
wake();
