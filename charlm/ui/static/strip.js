// The page's clock: one question a tick for all that is to be kept up to date. Parts of the page that want to know more
// put {ask, take} into window.charlmParts: `ask()` gives a question or null, `take(answer)` gets what came of it.
// Others hear `charlm:job` when a job begins, changes its state or ends, and may send `charlm:wake` to have it asked at
// once. A hidden page asks nothing, unless it is to notify of a training's end.
const LONGEST = 20000;  // ms without an answer after which the connection counts as lost
const HIDDEN = 5;  // seconds until a hidden page asks again
let timer = 0, seen = null, state = null, busy = false, again = false;
const parts = () => Object.entries(window.charlmParts);
const span = (name, text) => Object.assign(document.createElement('span'), { className: name, textContent: text });
// What was last known of a job stays in view; whether it still runs cannot be known from here.
const lost = () => {
  window.charlmConnection.lose();
  if (element.querySelector('.lost-line')) return;
  const isJob = element.querySelector('.job[data-status]') !== null;
  if (!element.querySelector('.job')) {
    element.innerHTML = '<div class="job told lost-only"><div class="line"></div><div class="bar"></div></div>';
  }
  const line = span('lost-line', 'Connection lost, reconnecting…'), place = element.querySelector('.job .line');
  line.append(span('wide', isJob ? ' Training goes on if the server does.' : ' Then the buttons work again.'));
  place.insertBefore(line, place.querySelector('.buttons'));
};
const found = () => {
  element.querySelector('.lost-only')?.remove();
  element.querySelector('.lost-line')?.remove();
};
const show = (strip) => {
  found();
  if (strip.mark) {
    element.innerHTML = strip.html;
    seen = strip.mark;
  }
  element.querySelectorAll('[data-live]').forEach((place, index) => {
    if (place.textContent !== strip.values[index]) place.textContent = strip.values[index];
  });
  const bar = element.querySelector('.bar'), share = strip.values.at(-1);
  if (bar && share !== undefined && bar.getAttribute('aria-valuenow') !== share) {
    bar.setAttribute('aria-valuenow', share);
    bar.firstElementChild.style.transform = `scaleX(${share})`;
  }
  if (strip.mark && state !== strip.state) {
    const first = state === null;
    state = strip.state;
    window.dispatchEvent(new CustomEvent('charlm:job', { detail: { live: strip.live, run_ids: strip.run_ids, first } }));
  }
};
// The app's own route answers with a third of the work; gradio's way stays for a server that lacks it.
const address = (window.gradio_config?.root ?? '') + '/gradio_api/pulse';
let own = true;
const question = async (asked) => {
  if (own) {
    const headers = { 'Content-Type': 'application/json' };
    const signal = AbortSignal.timeout(LONGEST);
    const answer = await fetch(address, { method: 'POST', headers, body: JSON.stringify(asked), signal });
    if (answer.ok) return answer.json();
    if (![401, 404, 405].includes(answer.status)) throw new Error(answer.statusText);
    own = false;
  }
  return server.poll(asked);
};
const exchange = async (call) => {
  if (!element.isConnected) return;
  if (busy) { again = true; return; }
  clearTimeout(timer);
  busy = true;
  let wait = 3;
  try {
    const asked = { strip: seen };
    for (const [name, part] of parts()) {
      const wish = part.ask();
      if (wish) asked[name] = wish;
    }
    const told = await call(asked);
    await window.charlmConnection.find();
    show(told.strip);
    for (const [name, part] of parts()) if (told[name]) part.take(told[name]);
    wait = isHidden() ? Math.max(told.wait, HIDDEN) : told.wait;
  } catch { lost(); }
  busy = false;
  timer = setTimeout(poll, again ? 0 : 1000 * wait);
  again = false;
};
const isHidden = () => document.visibilityState !== 'visible';
function poll() {
  if (!isHidden() || window.charlmNotify.isOn()) exchange(question);
}
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button) return;
  button.disabled = true;
  const order = { act: button.dataset.act, run: button.dataset.run ?? '' };
  const send = () => busy ? setTimeout(send, 30) : exchange(() => server.control_job(order));
  send();
});
document.addEventListener('visibilitychange', poll);
window.addEventListener('charlm:wake', poll);
window.addEventListener('online', poll);
window.addEventListener('offline', poll);
poll();
