// While the server cannot be reached, what needs it is disabled, so that nothing is typed or clicked in vain; texts and
// plots can be read. Once it is back the page is as it was; a server that was started again does not know this page, so
// it is loaded again. A page that is loaded again, by gradio as well, opens on the tab that it had.
(() => {
  const KEY = "charlm-tab";
  const PLACES = ["#strip", "#tabs"], CONTROLS = ["button", "input", "select", "textarea"];
  const NEEDS = PLACES.flatMap((place) => CONTROLS.map((name) => `${place} ${name}:not(:disabled)`)).join();
  let disabled = null, focused = null;  // null: the server answers
  const disable = () => {
    for (const control of document.querySelectorAll(NEEDS)) {
      if (control === document.activeElement) focused = control;
      control.disabled = true;
      disabled.push(control);
    }
  };
  const observer = new MutationObserver(disable);  // what comes late brings controls of its own
  const lose = () => {
    if (disabled) return;
    disabled = [];
    document.body.classList.add("lost");
    disable();
    observer.observe(document.body, { childList: true, subtree: true });
  };
  const restore = () => {
    observer.disconnect();
    document.body.classList.remove("lost");
    for (const control of disabled) control.disabled = false;
    if (focused?.isConnected && document.activeElement === document.body) focused.focus();
    disabled = focused = null;
  };
  const find = async () => {
    if (!disabled) return;
    const answer = await fetch((window.gradio_config?.root ?? "") + "/gradio_api/app_id");
    if (answer.ok && (await answer.json()).app_id !== window.gradio_config.app_id) {
      location.reload();
      await new Promise(() => {});  // until it does
    }
    restore();
  };
  window.charlmConnection = { lose, find };

  const tabs = () => [...document.querySelectorAll("#tabs [role=tab]")];
  const keep = () => {
    const chosen = tabs().find((tab) => tab.ariaSelected === "true");
    try { if (chosen) sessionStorage.setItem(KEY, chosen.textContent.trim()); } catch { /* then it opens on the first */ }
  };
  const choose = (name) => {
    const tab = tabs().find((one) => one.textContent.trim() === name);
    if (tab) tab.click();
    else setTimeout(choose, 50, name);
  };
  let name = null;
  try { name = sessionStorage.getItem(KEY); } catch { /* it was not kept */ }
  if (name && performance.getEntriesByType("navigation")[0]?.type === "reload") choose(name);
  window.addEventListener("pagehide", keep);
})();
