// A slider over the validations of which there are samples (html.sample_slider): the visitor's move sends
// `charlm:sample` with the step as its detail, null at the newest; there it follows what comes.
(() => {
  const parts = (slider) => ({
    steps: JSON.parse(slider.dataset.steps), range: slider.querySelector("input"), said: slider.querySelector("output"),
    newest: slider.querySelector("button"),
  });
  const show = (slider) => {
    const { steps, range, said, newest } = parts(slider), place = Number(range.value);
    const isLast = place >= steps.length - 1, step = (steps[place] ?? 0).toLocaleString("en-US");
    const words = isLast ? `step ${step}, the newest` : `step ${step}`;
    if (said.textContent !== words) said.textContent = words;
    range.setAttribute("aria-valuetext", words);
    newest.hidden = isLast;
    return isLast ? null : steps[place];
  };
  const moved = (slider) => {
    slider.dispatchEvent(new CustomEvent("charlm:sample", { bubbles: true, detail: show(slider) }));
  };
  const move = (slider, place) => {
    parts(slider).range.value = place;
    moved(slider);
  };
  window.charlmSamples = {
    last: (slider) => parts(slider).steps.at(-1) ?? 0,
    add: (slider, more) => {
      const { steps, range } = parts(slider), follows = Number(range.value) >= steps.length - 1;
      steps.push(...more.filter((step) => !steps.length || step > steps.at(-1)));
      slider.dataset.steps = JSON.stringify(steps);
      slider.hidden = steps.length < 2;
      range.max = Math.max(steps.length - 1, 0);
      if (follows) range.value = range.max;
      show(slider);
    },
    // To a step, or the last one before it.
    go: (slider, step) => move(slider, Math.max(parts(slider).steps.findLastIndex((one) => one <= step), 0)),
  };
  document.addEventListener("input", (event) => {
    const slider = event.target.closest?.(".sample-slider");
    if (slider) moved(slider);
  });
  document.addEventListener("click", (event) => {
    const slider = event.target.closest?.(".sample-slider button")?.closest(".sample-slider");
    if (!slider) return;
    move(slider, parts(slider).range.max);
    parts(slider).range.focus();  // the button is gone now
  });
})();
