const tell = () => { if (element.isConnected && element.offsetParent) trigger('refresh', {}); };
window.addEventListener('charlm:job', tell);
setInterval(() => {
  if (document.visibilityState === 'visible' && document.querySelector('#strip .job[data-status]')) tell();
}, 3000);
