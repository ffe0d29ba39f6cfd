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
