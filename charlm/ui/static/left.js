// What is left of a public Space's limits. Asked for every few seconds only: the server has to look through all runs.
let seen = null, asked = 0;
window.charlmParts.left = {
  ask: () => {
    if (Date.now() - asked < 5000) return null;
    asked = Date.now();
    return { seen };
  },
  take: (told) => {
    seen = told.mark;
    if (told.html === undefined) return;
    element.innerHTML = told.html;
    window.dispatchEvent(new Event('charlm:left'));
  },
};
window.addEventListener('charlm:job', () => { asked = 0; });
