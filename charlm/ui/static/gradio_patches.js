// Gradio's loading timers, which count tenths of seconds, ask for 60 frames a second, and one of them never ends (6.31):
// an open page would keep a CPU awake for nothing. They get ten.
(() => {
  const frame = window.requestAnimationFrame.bind(window);
  const isTimer = (code) => code.length < 150 && code.includes("performance.now()-") && code.includes("/1e3");
  window.requestAnimationFrame = (call) => isTimer(String(call)) ? setTimeout(() => frame(call), 100) : frame(call);
})();
