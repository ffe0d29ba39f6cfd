// Light or dark: the visitor's choice outlives the page; ?__theme= wins until the button is pressed.
// And where parts of the page leave their questions for strip.js, which asks the server once a tick for all of them.
window.charlmParts = {};
// Saves a plot as it stands.
window.charlmPicture = (place, format) => {
  const drawn = document.querySelector(`#${place} .js-plotly-plot`), scale = format === "png" ? 2 : 1;
  if (!drawn || !window.Plotly) return;
  const filename = `charlm-${place.replace("-plot", "").replace("understand-", "")}`;
  Plotly.downloadImage(drawn, { format, filename, scale, width: drawn.offsetWidth, height: drawn.offsetHeight });
};
document.addEventListener("click", (event) => {
  const { plot, kind } = event.target.closest?.("button[data-act=picture]")?.dataset ?? {};
  if (plot) window.charlmPicture(plot, kind);
});
// What the clicked button says of itself; null if there is none, or none that is to act: a double click is meant once.
// Meanwhile it is not disabled, which would take the focus away.
window.charlmPressed = (event) => {
  const button = event.target.closest("button[data-act]");
  if (!button || button.disabled || button.dataset.pressed) return null;
  const data = { ...button.dataset };
  button.dataset.pressed = "yes";
  setTimeout(() => { delete button.dataset.pressed; }, 700);
  return data;
};
// Copies a text, and says so in the button for a moment. Without the clipboard's own interface, which a page has over
// https and on its own machine only, as one copies what is selected.
window.charlmCopy = async (text, button) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.body.appendChild(Object.assign(document.createElement("textarea"), { value: text }));
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  if (button) window.charlmSay(button, "Copied");
};
// What a button says for a moment instead of its label.
window.charlmSay = (button, words) => {
  button.dataset.label ??= button.textContent;
  button.textContent = words;
  clearTimeout(button.dataset.timer);
  button.dataset.timer = setTimeout(() => { button.textContent = button.dataset.label; }, 1500);
};
(() => {
  const KEY = "charlm-theme";
  let chosen = new URL(location.href).searchParams.get("__theme");
  if (chosen !== "light" && chosen !== "dark") {
    try { chosen = localStorage.getItem(KEY); } catch { chosen = null; }
  }
  const apply = () => {
    if (chosen && document.body) document.body.classList.toggle("dark", chosen === "dark");
  };
  window.charlmTheme = () => {
    chosen = document.body.classList.contains("dark") ? "light" : "dark";
    try { localStorage.setItem(KEY, chosen); } catch { /* private window: the choice lasts as long as the page */ }
    apply();
  };
  const start = () => {
    apply();
    // Gradio sets the class again when it mounts and when the system's mode changes.
    new MutationObserver(apply).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  };
  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);
})();
