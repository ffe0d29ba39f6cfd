// The address says where one is: the tab, what Compare shows and with which settings, what Understand looks into. It is
// as it was until something is chosen. Another tab is a step of the browser's history, to which Back returns; all else
// replaces what the address says. What a link asks for the server reads (charlm/ui/compare/link.py). The form of Train
// would be too long for an address: this browser tab remembers it over a reload.
(() => {
  const FIRST = "compare", FORM = "charlm-train", COPY = "compare-copy-link";
  const MOST = 4000;  // characters of a query; gradio sends it along with every call, and servers refuse long ones
  const PAUSE = 200;  // ms; browsers refuse to change the address at every letter
  const here = new URLSearchParams(location.search);
  const written = (query) => (String(query) ? `?${String(query).replaceAll("%2C", ",")}` : "");
  const put = (query, name, value) => (value === null || value === undefined ? query.delete(name) : query.set(name, value));
  let timer = 0, said = String(here);
  const write = (how) => {
    clearTimeout(timer);
    if (String(here) === said) return;
    said = String(here);
    const fitting = new URLSearchParams(here);
    if (written(fitting).length > MOST) fitting.delete("prompt");
    history[how](history.state, "", location.pathname + written(fitting) + location.hash);
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(write, PAUSE, "replaceState");
  };

  // The tab. The page begins on the first one and says so, maybe before the one that was asked for can be chosen; and
  // gradio says several times that a tab was chosen, some of them late (6.31).
  let current = here.get("tab") ?? FIRST, isOpening = here.has("tab");
  const tabs = () => [...document.querySelectorAll("#tabs [role=tab]")];
  const shown = () => tabs().find((tab) => tab.ariaSelected === "true");
  const show = (name) => {
    if (!shown()) return setTimeout(show, 50, name);
    const wanted = tabs().find((tab) => tab.dataset.tabId === name);
    if (wanted && wanted !== shown()) return wanted.click();
    current = shown().dataset.tabId;
    isOpening = false;
  };
  const tab = (name) => {
    if (name !== shown()?.dataset.tabId) return;
    const isOld = isOpening || name === current;
    if (name === current) isOpening = false;
    if (isOld) return;
    current = name;
    put(here, "tab", name === FIRST ? null : name);
    write("pushState");
  };
  window.addEventListener("popstate", () => {
    const name = new URLSearchParams(location.search).get("tab");
    current = name ?? FIRST;
    put(here, "tab", name);
    said = null;
    write("replaceState");  // the form is as it is now, not as it was then
    show(current);
  });
  if (isOpening) show(current);

  // Compare: `usual` are the settings' defaults by name, in the order of their values.
  const describe = (query, usual, [runs, prompt, ...values]) => {
    put(query, "runs", runs?.length ? runs.join() : null);
    put(query, "prompt", prompt ?? "");
    Object.entries(usual).forEach(([name, other], place) => {
      const value = values[place];
      put(query, name, name !== "seed" && String(value) === String(other) ? null : value);
    });
    return query;
  };
  const compare = (usual, values) => {
    describe(here, usual, values);
    soon();
  };
  const prompt = (usual, values) => {  // one that the page filled in is not chosen
    if (values[1] !== values.at(-1) || here.has("prompt")) compare(usual, values);
  };
  const copy = (usual, values) => {
    const query = written(describe(new URLSearchParams(), usual, values)), button = document.getElementById(COPY);
    if (query.length <= MOST) return window.charlmCopy(location.origin + location.pathname + query, button);
    window.charlmSay(button, "The prompt is too long for a link");
  };
  const understand = (runs, compared) => {  // it looks into those that are compared unless others are chosen
    const others = here.get("runs") ?? String(compared);  // a link says so before Compare shows it
    put(here, "understand", runs?.length && String(runs) !== others ? runs.join() : null);
    soon();
  };

  // Train: nothing is remembered before what was is back in the form.
  const isBack = ["reload", "back_forward"].includes(performance.getEntriesByType("navigation")[0]?.type);
  const remembered = () => { try { return sessionStorage.getItem(FORM) ?? ""; } catch { return ""; } };
  const remember = (text) => { try { sessionStorage.setItem(FORM, text); } catch { /* then it begins anew */ } };
  if (!isBack) remember("");
  let isRestored = false;
  const form = () => { try { return JSON.parse(remembered()) ?? {}; } catch { return {}; } };
  const train = (names, values) => {
    if (!isRestored) return;
    const now = Object.fromEntries(names.map((name, place) => [name, values[place]])), before = form();
    remember(JSON.stringify({ ...now, corpus: now.chosen === before.chosen ? before.corpus : undefined }));
  };
  const picked = (chosen, corpus) => remember(JSON.stringify({ ...form(), chosen, corpus }));
  const restored = () => { isRestored = true; };

  // Runs: how its table stands.
  const RUNS = "charlm-runs";
  let isRunsRestored = false;
  const keepRuns = (values) => { if (isRunsRestored) try { sessionStorage.setItem(RUNS, JSON.stringify(values)); } catch { /* as above */ } };
  const keptRuns = () => {
    isRunsRestored = true;
    try {
      const [order, byRace] = JSON.parse(sessionStorage.getItem(RUNS));
      return [String(order), byRace === true];
    } catch { return null; }
  };

  window.charlmAddress = { tab, compare, prompt, copy, understand, remembered, train, picked, restored, keepRuns, keptRuns };
})();
