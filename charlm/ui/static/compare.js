// Tells the picker when a job begins or ends, and others what stands in the columns.
const tell = (event) => { if (!event.detail.first && element.isConnected) trigger('refresh', {}); };
window.addEventListener('charlm:job', tell);
// {run id: [[prompt, text], ..]}, as the columns show it; null in place of a text that could not be written.
window.charlmTexts = () => {
  const told = {};
  for (const column of document.querySelectorAll('#compare-columns .col')) {
    const text = column.querySelector('.text'), samples = text.querySelectorAll('.one');
    told[column.dataset.run] = [...(samples.length ? samples : [text])].map((one) => {
      if (one.querySelector('.notice')) return null;
      const prompt = one.querySelector(':scope > .prompt')?.textContent ?? '';
      return [prompt, one.textContent.slice(prompt.length)];
    });
  }
  return told;
};
// A column's own button copies its prompt and text; of several samples all, a line between them.
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act=copy]');
  const texts = window.charlmTexts()[button?.closest('.col').dataset.run] ?? [];
  if (button) window.charlmCopy(texts.filter(Boolean).map((one) => one.join('')).join('\n\n'), button);
});
