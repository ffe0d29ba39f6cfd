// Gradio's loading timers, which count tenths of seconds, ask for 60 frames a second, and some of them never end (6.31):
// an open page would keep a CPU awake for nothing, the more the more events its parts listen to. They get ten where a
// count can be seen, otherwise one in two seconds.
(() => {
  const frame = window.requestAnimationFrame.bind(window);
  const isTimer = (code) => code.length < 150 && code.includes("performance.now()-") && code.includes("/1e3");
  const isSeen = () => document.querySelector("[data-testid=status-tracker]:not(.hide)") !== null;
  window.requestAnimationFrame = (call) =>
    isTimer(String(call)) ? setTimeout(() => frame(call), isSeen() ? 100 : 2000) : frame(call);
})();
// Backspace in the empty field of a dropdown with several choices takes the last one away without the event `input`
// (6.31; so does its x for all, which the page hides). `change` would hear it, and also calls itself forth when several
// functions listen to it. So the key presses the last choice's own x, which `input` hears.
window.addEventListener("keydown", (event) => {
  if (event.key !== "Backspace" || event.target.value !== "" || !event.target.matches("input[role=combobox]")) return;
  const last = [...(event.target.closest(".wrap-inner")?.querySelectorAll(".token [role=button]") ?? [])].at(-1);
  if (!last) return;
  event.stopPropagation();
  last.click();
}, true);
// While it opens, a page goes through all its listeners once for each component, and through all its components once for
// each listener, twice (6.31), and all of that through Svelte's proxies: a third of its time. What is not a plain
// object gets no proxy, and a listener never changes; those that follow another one listen to no component.
{
  const listener = {};
  for (const one of window.gradio_config?.dependencies ?? []) {
    Object.setPrototypeOf(one, listener);
    one.targets = one.targets.filter(([id]) => id !== null);
  }
}
