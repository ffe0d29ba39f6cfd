"""The job strip of every tab: what runs, how far, one number per racer, time left, Pause and Stop."""

import logging
from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr

from charlm.errors import CharLMError
from charlm.ui import numbers
from charlm.ui.common import Services, action, swatch

# Asks every second while something runs, every 3 s otherwise, never in a hidden page. Other parts of the page hear
# `charlm:job` when a job begins, changes its state or ends, and may send `charlm:wake` to have the strip ask at once.
STRIP_JS = """
let timer = 0, mark = null, busy = false;
const lost = () => {
  element.classList.add('lost');
  if (!element.querySelector('.job')) return;
  const line = element.querySelector('.lost-line');
  if (line) line.hidden = false;
};
const show = (state) => {
  element.classList.remove('lost');
  props.value = state.html;
  if (mark !== state.mark) {
    const first = mark === null;
    mark = state.mark;
    window.dispatchEvent(new CustomEvent('charlm:job', { detail: { ...state, first } }));
  }
};
const ask = async (call) => {
  if (busy || !element.isConnected) return;
  clearTimeout(timer);
  busy = true;
  let wait = 3000;
  try {
    const state = await call();
    show(state);
    wait = state.live ? 1000 : 3000;
  } catch { lost(); }
  busy = false;
  timer = setTimeout(poll, wait);
};
function poll() {
  if (document.visibilityState === 'visible') ask(() => server.poll_job({}));
  else timer = setTimeout(poll, 1000);
}
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button) return;
  button.disabled = true;
  const order = { act: button.dataset.act, run: button.dataset.run };
  const send = () => busy ? setTimeout(send, 30) : ask(() => server.control_job(order));
  send();
});
document.addEventListener('visibilitychange', () => { if (document.visibilityState === 'visible') poll(); });
window.addEventListener('charlm:wake', poll);
poll();
"""

# Beginnings of a running job's messages that matter more than the time left.
NEWS = ("stopping", "preparing", "working", "waiting")
VERBS = {"running": "Pause", "queued": "", "paused": "Resume"}


def strip_html(job: Mapping[str, Any] | None, complaint: str = "") -> str:
    """The strip for `Jobs.current()`; empty without a job, so that the page moves up."""
    if job is None:
        return f'<div class="job told"><div class="line">{escape(complaint)}</div></div>' if complaint else ""
    share = min(max(float(job.get("progress") or 0.0), 0.0), 1.0)
    return (
        f'<div class="job" data-status="{escape(str(job["status"]))}"><div class="line"><i class="pulse"></i>'
        f"{_what(job, share)}{_racers(job)}"
        '<span class="lost-line" hidden>Training goes on, reconnecting…</span>'
        f'<span class="left">{escape(complaint or _time_left(job))}</span>{_buttons(job)}</div>'
        f'<div class="bar" role="progressbar" aria-label="Training" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{100 * share:.0f}"><i style="width:{100 * share:.2f}%"></i></div></div>'
    )


def _what(job: Mapping[str, Any], share: float) -> str:
    """Kind, corpus and step; on a phone the kind and a percentage."""
    total = f" of {numbers.whole(job['total_steps'])}" if job.get("total_steps") else ""
    return (
        f'<span><b>{escape(str(job["title"]))}</b> <span class="wide">on {escape(str(job["corpus"]))}</span></span>'
        f'<span class="wide">step <b>{numbers.whole(job["step"])}</b>{total}</span>'
        f'<span class="narrow">{100 * share:.0f} %</span>'
    )


def _racers(job: Mapping[str, Any]) -> str:
    """A swatch and the best validation loss of each model in training."""
    racers = [racer for racer in job.get("racers", ()) if racer.get("val_loss") is not None]
    if not racers:
        return ""
    shown = "".join(
        f'<span title="{escape(str(racer["label"]))}">{swatch(racer["arch"])}{racer["val_loss"]:.2f}</span>'
        for racer in racers
    )
    return f'<span class="racers wide">{shown}</span><span class="wide far">best validation loss</span>'


def _time_left(job: Mapping[str, Any]) -> str:
    """Why it stands still, or how long it will take."""
    message = str(job.get("message") or "")
    if job["status"] != "running":
        return message or str(job["status"])
    if message.startswith(NEWS):
        return message
    queued = f" · {job['queued']} waiting" if job.get("queued") else ""
    seconds = job.get("eta_seconds")
    return (f"{numbers.duration(seconds)} left" if seconds is not None else "measuring") + queued


def _buttons(job: Mapping[str, Any]) -> str:
    run = str(job["run_ids"][0]) if job.get("run_ids") else ""
    verb = VERBS.get(str(job["status"]), "")
    toggle = action(verb.lower(), verb, run=run) if verb else ""
    return f'<span class="buttons">{toggle}{action("stop", "Stop", run=run)}</span>'


def strip_state(services: Services, complaint: str = "") -> dict[str, Any]:
    """What the page gets at every poll: HTML, whether something runs, and a mark that changes with the job's state."""
    job = services.jobs.current()
    mark = f"{job['status']} {' '.join(job['run_ids'])} {job.get('queued', 0)}" if job else ""
    return {
        "html": strip_html(job, complaint),
        "live": job is not None,
        "mark": mark,
        "run_ids": list(job["run_ids"]) if job else [],
    }


def build(services: Services) -> gr.HTML:
    """The strip; it stands before the tabs and polls through server functions, the cheapest way gradio has."""

    def poll_job(_: Any = None) -> dict[str, Any]:
        return strip_state(services)

    def control_job(order: Any = None) -> dict[str, Any]:
        order = order if isinstance(order, dict) else {}
        jobs = services.jobs
        verbs = {"pause": jobs.pause, "resume": jobs.resume, "stop": jobs.stop_job}
        try:
            if order.get("act") in verbs:
                verbs[order["act"]](str(order.get("run", "")))
        except CharLMError as error:
            logging.getLogger(__name__).info("the strip's %s was refused: %s", order.get("act"), error)
            return strip_state(services, str(error))
        return strip_state(services)

    return gr.HTML(
        "", elem_id="strip", js_on_load=STRIP_JS, server_functions=[poll_job, control_job], apply_default_css=False
    )
