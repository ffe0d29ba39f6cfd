// For those who use the page by keyboard or by ear: where the focus goes, what plots are called and hold, and one polite
// live region. Gradio's own live regions say raw keys, and several of them at once; so all others are silent.
(() => {
  const find = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const isShown = (one) => Boolean(one?.checkVisibility({ visibilityProperty: true }));

  // What is said ---------------------------------------------------------------------------------------------------
  const LEADER_EVERY = 15000, KEPT = 4;
  const region = Object.assign(document.createElement('div'), { id: 'said', className: 'unseen', role: 'status', ariaAtomic: 'false' });
  const say = (text) => {
    region.append(Object.assign(document.createElement('p'), { textContent: text }));
    while (region.childElementCount > KEPT) region.firstChild.remove();
  };
  // What may speak is looked for in what is new on the page alone; of what was found, only what is still there is read.
  const within = (added, selector) => added.flatMap((one) => [...(one.matches(selector) ? [one] : []), ...one.querySelectorAll(selector)]);
  let speakers = [], shown = [];
  const hush = (added) => {
    for (const one of within(added, '[role=status], [role=alert], output')) if (one !== region) one.setAttribute('aria-live', 'off');
    speakers = [...new Set([...speakers, ...within(added, '[role=alert], .told-line, [data-testid=toast-text]')])].filter((one) => one.isConnected);
    const texts = speakers.filter(isShown).map((one) => one.innerText.trim());
    texts.filter((text) => text && !shown.includes(text)).forEach(say);
    shown = texts;
  };
  // Trainings: those that begin while the page is open, what became of them, and who leads.
  const known = new Set();
  let working = [], gone = [], leader = '', led = 0;
  window.addEventListener('charlm:job', ({ detail }) => {
    const begun = detail.run_ids.filter((run) => !known.has(run));
    gone = [...new Set([...gone, ...working.filter((run) => !detail.run_ids.includes(run))])];
    working = detail.run_ids;
    begun.forEach((run) => known.add(run));
    if (begun.length) leader = '';
    if (begun.length && !detail.first) say(`Training started: ${find('#strip .job b')?.textContent ?? ''}`);
    if (gone.length) window.dispatchEvent(new Event('charlm:wake'));
  });
  window.charlmParts.ended = {
    ask: () => (gone.length ? { runs: gone } : null),
    take: ({ said, active }) => {  // some may still be writing their weights
      gone = active;
      if (!said) return;
      say(said);
      window.dispatchEvent(new CustomEvent('charlm:ended', { detail: said }));
    },
  };
  const follow = () => {
    const racers = all('#strip .racers [title]').map((one) => [parseFloat(one.textContent), one.title]).filter(([loss]) => loss >= 0);
    const first = Math.min(...racers.map(([loss]) => loss)), names = racers.filter(([loss]) => loss === first).map(([, name]) => name);
    if (racers.length < 2 || names.includes(leader)) return;
    if (leader && performance.now() - led < LEADER_EVERY) return;
    if (leader) {
      say(`${names[0]} leads now, with a validation loss of ${first.toFixed(2)}`);
      led = performance.now();
    }
    leader = names[0];
  };

  // Where the focus goes ---------------------------------------------------------------------------------------------
  // A pressed button may vanish, or be drawn anew with the list it stands in: the focus goes to what took its place, or
  // to what is next to it; if nothing is, to the fold that it stood in, or to the tab.
  const quoted = (text) => CSS.escape(text);
  const having = (data, ...names) => names.filter((one) => data[one]).map((one) => `[data-${one}="${quoted(data[one])}"]`).join('');
  const TAB = '#tabs [role=tab][aria-selected=true]';
  const AFTER = {
    'compare-generate': ['#compare-stop', '#compare-generate'], 'compare-more': ['#compare-stop', '#compare-more'],
    'compare-stop': ['#compare-stop', '#compare-generate'], 'corpus-use': ['#corpus-paste'], 'runs-save': ['#runs-rename'],
    'runs-delete': ['#runs-told [data-act]'],
  };
  const heirs = (one) => {
    if (AFTER[one.id]) return AFTER[one.id];
    if (one.dataset.pick) return [`#runs-list ${having(one.dataset, 'pick')}`];
    if (one.role === 'radio') return [`[role=radiogroup][aria-label="${one.closest('[role=radiogroup]').ariaLabel}"] [aria-checked=true]`];
    const { act } = one.dataset, home = one.closest('[id]:not([id^=html-])')?.id;
    if (!act || !home) return [];
    if (home === 'runs-picked') return ['#runs-by-race input'];
    const list = `#${quoted(home)}`, item = having(one.dataset, 'run', 'text', 'by');
    const line = one.closest('li, tr'), beside = line?.nextElementSibling ?? line?.previousElementSibling;
    const next = having(beside?.querySelector('[data-act]')?.dataset ?? {}, 'run', 'text');
    // A question takes the place of the button that asked for it, and that button the answer's. What is asked before
    // something is lost begins with Keep: a key held too long must not delete.
    return [
      `${list} [data-act=${quoted(act)}]${item}`, ...['keep', 'ask', ''].map((kind) => item && `${list} [data-act^="${kind}"]${item}`),
      ...['ask', ''].map((kind) => next && `${list} [data-act^="${kind}"]${next}`), `${list} .foot [data-act^=keep]`, `${list} .foot [data-act]`,
      home === 'strip' && `${list} [data-act]`, act === 'restore' && '#runs-list .name' + having(one.dataset, 'run'),
    ].filter(Boolean);
  };
  const foldOf = (one) => one.closest('.gr-accordion[id]')?.id;
  let wanted = [], last = [], stopgap = null;
  document.addEventListener('focusin', ({ target }) => {
    if (target === stopgap) return;
    wanted = heirs(target);
    last = target.matches('button') ? [...(foldOf(target) ? [`#${quoted(foldOf(target))} > button`] : []), TAB] : [];
    stopgap = null;
  });
  document.addEventListener('pointerdown', ({ target }) => { if (!target.closest('button')) wanted = last = []; });
  // What a button opens: its first field, or its heading, gets the focus as it appears.
  const OPENED = ['#corpus-pasted textarea', '#runs-name :is(input, textarea)', '#runs-fork-name :is(input, textarea)', '#runs-details h2'];
  let open = OPENED.map(() => true);
  const heirOf = (selectors) => selectors.map(find).find((one) => isShown(one) && !one.disabled);
  const place = (late) => {
    OPENED.forEach((selector, at) => {
      const one = find(selector), was = open[at];
      open[at] = isShown(one);
      if (was || !open[at]) return;
      if (one.matches('h2')) one.tabIndex = -1;
      one.focus();
    });
    if (document.activeElement !== document.body && document.activeElement !== stopgap) return;
    const heir = heirOf(wanted);
    if (heir) heir.focus();
    else if (late && document.activeElement === document.body) {
      stopgap = heirOf(last) ?? null;
      stopgap?.focus({ preventScroll: true });
    }
  };
  document.addEventListener('keydown', (event) => {
    const { target, key } = event, group = target.closest?.('[role=tablist], [role=radiogroup]');
    if (!group || !target.matches('[role=tab], button[role=radio]') || event.ctrlKey || event.metaKey || event.altKey) return;
    const ones = [...group.querySelectorAll('[role=tab], [role=radio]')].filter(isShown), at = ones.indexOf(target), many = ones.length;
    const next = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: many - 1 }[key];
    if (next === undefined) return;
    event.preventDefault();
    ones[(next + many) % many].focus();
    ones[(next + many) % many].click();
  });

  // Plots: a name, and their values in a table ----------------------------------------------------------------------
  const ROWS = 40;
  const made = (name, text = '', inside = []) => {
    const one = document.createElement(name);
    if (text) one.textContent = text;
    one.append(...inside);
    return one;
  };
  const read = (html) => (html ?? '').replace(/<[^>]*>/g, ' ').replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&amp;/g, '&').trim();
  const written = (value) => (typeof value === 'number' ? value.toLocaleString('en', Number.isInteger(value) ? {} : { minimumSignificantDigits: 4, maximumSignificantDigits: 4 }) : read(String(value ?? '')));
  const KINDS = { train: ', training', val: ', held out' };
  const rowsOf = (graph) => {
    const lines = graph.data.filter((one) => one.name && one.x?.length && one.y && one.hoverinfo !== 'skip' && one.meta?.kind !== 'rate' && !one.z);
    const across = lines.some((one) => one.orientation === 'h') ? 'y' : 'x', along = across === 'x' ? 'y' : 'x';
    // Training losses are many; they are told at the validations.
    const judged = lines.filter((one) => one.meta?.kind === 'val');
    const places = [...new Set((judged.length ? judged : lines).flatMap((one) => [...one[across]]))];
    if (places.every((one) => typeof one === 'number')) places.sort((one, other) => one - other);
    const every = Math.ceil(places.length / ROWS) || 1;
    const kept = places.filter((_, at) => at % every === 0 || at === places.length - 1);
    const heads = lines.map((one) => read(one.name) + (KINDS[one.meta?.kind] ?? ''));
    const found = lines.map((one) => new Map([...one[across]].map((where, at) => [where, one[along][at]])));
    const unit = read(graph.layout[`${across}axis`]?.title?.text) || 'At';
    const near = (line, where) => line[along][[...line[across]].findLastIndex((one) => one <= where)];
    const cell = (where) => (line, at) => written(found[at].get(where) ?? (line.meta?.kind === 'train' ? near(line, where) : ''));
    return [[unit, ...heads], ...kept.map((where) => [written(where), ...lines.map(cell(where))])];
  };
  const fill = (values, graph, name) => {
    const [head, ...rows] = rowsOf(graph);
    const table = made('table', '', [
      made('caption', name), made('thead', '', [made('tr', '', head.map((one) => Object.assign(made('th', one), { scope: 'col' })))]),
      made('tbody', '', rows.map((row) => made('tr', '', row.map((one) => made('td', one))))),
    ]);
    table.className = 'grid';
    const box = Object.assign(made('div', '', [table]), { className: 'wide-table', tabIndex: 0, role: 'region', ariaLabel: `${name}: values` });
    values.replaceChildren(values.firstChild, box);
  };
  const called = (id) => window.gradio_config?.components.find((one) => one.props.elem_id === id)?.props.label;
  const name = () => {
    for (const graph of all('.js-plotly-plot')) {
      const home = graph.closest('[id$=-plot]') ?? graph, title = called(home.id) ?? graph.ariaLabel ?? '';
      if (home !== graph && graph.ariaLabel !== title) Object.assign(graph, { role: 'img', ariaLabel: title });
      if (home.nextElementSibling?.matches('details.values') || !graph.data) continue;
      const values = made('details', '', [made('summary', 'Values')]);
      values.className = 'values';
      values.addEventListener('toggle', () => {
        const now = home.matches('.js-plotly-plot') ? home : home.querySelector('.js-plotly-plot');
        if (values.open && now?.data) fill(values, now, called(home.id) ?? now.ariaLabel);
      });
      home.after(values);
    }
    // An empty plot of gradio's has a name and no role; a toast's head is a button with a button in it.
    for (const one of all('.empty[aria-label]:not([role])')) one.role = 'img';
    for (const one of all('.toast-header[role=button]')) { one.removeAttribute('role'); one.removeAttribute('tabindex'); }
    const run = find('#runs-details [data-chosen]')?.dataset.chosen;
    for (const row of all('#runs-list tbody tr')) {
      const isChosen = Boolean(run) && row.querySelector('.name')?.dataset.run === run;
      row.classList.toggle('chosen', isChosen);
      row.ariaCurrent = isChosen ? 'true' : null;
    }
  };

  let due = 0;
  const later = () => { due ||= setTimeout(() => { due = 0; name(); follow(); place(true); }, 150); };
  const start = () => {
    document.body.append(region);
    hush([document.body]);
    new MutationObserver((changes) => {
      const added = changes.flatMap(({ addedNodes }) => [...addedNodes]).filter((one) => one.nodeType === Node.ELEMENT_NODE);
      if (added.length) hush(added);
      if (document.activeElement === document.body) place();
      later();
    }).observe(document.body, { childList: true, subtree: true, attributeFilter: ['class', 'hidden'] });
  };
  if (document.body) start();
  else document.addEventListener('DOMContentLoaded', start);
})();
