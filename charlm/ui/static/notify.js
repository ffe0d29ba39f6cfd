// A notification of the browser's when a training ends, for who has asked for it with the button and does not look at
// the page. The choice is kept in this browser; strip.js asks on for a hidden page that waits for an end.
(() => {
  const KEY = "charlm-notify", DENIED = "The browser does not allow this page to notify: allow it in the site's settings.";
  const NONE = "This browser notifies only of pages over https or on its own machine.";
  const api = () => window.Notification;
  let on = false;
  try { on = localStorage.getItem(KEY) === "on"; } catch { /* private window: the choice lasts as long as the page */ }
  const isOn = () => on && api()?.permission === "granted";
  const show = (said = "") => {
    const home = document.querySelector("#train-notify"), button = home?.querySelector("button");
    if (!button) return;
    button.setAttribute("aria-pressed", String(isOn()));
    home.querySelector("p").textContent = said || (isOn() ? "You are notified when a training ends while you look elsewhere." : "");
  };
  const choose = async () => {
    if (!api()) return show(NONE);
    on = !isOn();
    if (on && api().permission !== "granted") on = (await api().requestPermission()) === "granted";
    try { localStorage.setItem(KEY, on ? "on" : "off"); } catch { /* as above */ }
    show(!on && api().permission === "denied" ? DENIED : "");
  };
  document.addEventListener("click", (event) => { if (event.target.closest?.("#train-notify button")) choose(); });
  window.addEventListener("charlm:ended", ({ detail }) => {
    if (!isOn() || document.visibilityState === "visible") return;
    const told = new (api())("CharLM Lab", { body: detail, tag: "charlm-ended" });
    told.onclick = () => { window.focus(); told.close(); };
  });
  window.charlmNotify = { isOn, show };
})();
