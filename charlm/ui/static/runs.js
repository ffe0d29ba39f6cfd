const tell = () => { if (element.isConnected && element.offsetParent) trigger('refresh', {}); };
window.addEventListener('charlm:job', tell);
setInterval(() => {
  if (document.visibilityState === 'visible' && document.querySelector('#strip .job[data-status]')) tell();
}, 3000);
// Which runs are selected. The page alone knows; the boxes are ticked again whenever the table has been drawn anew.
const picked = new Set();
const boxes = (place) => [...place.querySelectorAll('[data-pick]')];
const scope = (all) => (all.closest('thead') ? element : all.closest('tbody'));
const show = () => {
  const list = element.querySelector('#runs-list'), bar = document.querySelector('#runs-picked .picked');
  if (list) {
    const known = new Set(JSON.parse(list.dataset.runs));
    for (const run of picked) if (!known.has(run)) picked.delete(run);
  }
  for (const box of boxes(element)) box.checked = picked.has(box.dataset.pick);
  for (const all of element.querySelectorAll('[data-all]')) {
    const inside = boxes(scope(all)), ticked = inside.filter((box) => box.checked).length;
    all.checked = ticked > 0 && ticked === inside.length;
    all.indeterminate = ticked > 0 && ticked < inside.length;
  }
  if (!bar) return;
  const hidden = picked.size - boxes(element).filter((box) => box.checked).length;
  const said = picked.size ? `${picked.size} selected${hidden ? `, ${hidden} of them not shown` : ''}` : '';
  const words = bar.querySelector('span');
  if (words.textContent !== said) words.textContent = said;
  bar.classList.toggle('none', !picked.size);
  for (const button of bar.querySelectorAll('button')) button.dataset.runs = JSON.stringify([...picked]);
};
element.addEventListener('change', ({ target }) => {
  if (!target.matches('[data-pick], [data-all]')) return;
  const inside = target.matches('[data-all]') ? boxes(scope(target)) : [target];
  for (const box of inside) picked[target.checked ? 'add' : 'delete'](box.dataset.pick);
  show();
});
document.addEventListener('click', ({ target }) => {
  if (!element.isConnected || !target.closest?.('#runs-picked [data-act=clear]')) return;
  picked.clear();
  show();
});
new MutationObserver(show).observe(element, { childList: true, subtree: true, attributes: true, attributeFilter: ['data-pick', 'data-runs'] });
show();
