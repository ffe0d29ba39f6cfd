// While the server cannot be reached, what needs it is disabled, so that nothing is typed or clicked in vain; texts and
// plots can be read. Once it is back the page is as it was; a server that was started again does not know this page, so
// it is loaded again, and address.js opens it where it was.
(() => {
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
  // What comes late brings controls of its own, and what was on its way may enable some again.
  const observer = new MutationObserver(disable), watched = { childList: true, subtree: true, attributeFilter: ["disabled"] };
  const lose = () => {
    if (disabled) return;
    disabled = [];
    document.body.classList.add("lost");
    disable();
    observer.observe(document.body, watched);
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
})();
