"""The job strip of every tab: what runs, how far, one number per trainer, time left, Pause and Stop."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from charlm.errors import CharLMError
from charlm.public.limits import Limits
from charlm.ui import formatting
from charlm.ui.formatting import count
from charlm.ui.html import Services, action, asset, swatch
from charlm.ui.train.view import mark

# Asked for every few seconds only: the server has to look through all runs for it.
LEFT_JS = """
let seen = null, asked = 0;
window.charlmParts.left = {
  ask: () => {
    if (Date.now() - asked < 5000) return null;
    asked = Date.now();
    return { seen };
  },
  take: (told) => {
    seen = told.mark;
    if (told.html !== undefined) element.innerHTML = told.html;
  },
};
window.addEventListener('charlm:job', () => { asked = 0; });
"""
OTHERWISE = "Larger models and longer texts: on your own machine, or in a Space of your own."


def left_html(limits: Limits, left: Mapping[str, Any]) -> str:
    """The line: minutes, runs and generations."""
    minutes = f"<b>{left['minutes']:g}</b> of {limits.day_minutes:g} minutes of training today"
    if left["set_aside"]:
        minutes += f", {left['set_aside']:g} set aside for what trains now"
    runs = f"<b>{left['runs']}</b> of {count(limits.runs, 'run')} to keep"
    texts = f"<b>{left['texts']}</b> of {count(limits.texts_a_minute, 'generation')} this minute"
    return (
        '<p class="left-line">A public Space, shared with others. '
        f"Left for you: {minutes} · {runs} · {texts}. {escape(OTHERWISE)}</p>"
    )


def left_state(services: Services, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a page needs that shows the line with the mark `seen`: nothing new, or the line."""
    assert services.limits is not None
    html = left_html(services.limits, services.jobs.left())
    now = mark(html)
    return {"mark": now} if now == asked.get("seen") else {"mark": now, "html": html}


def build_left(services: Services) -> None:
    """The line, where there are limits; call inside the page, after the tabs."""
    if services.limits is not None:
        gr.HTML("", elem_id="left", js_on_load=LEFT_JS, apply_default_css=False)


STRIP_JS = asset("strip.js")
# Beginnings of a running job's messages that matter more than the time left.
NEWS = ("stopping", "preparing", "working", "waiting")
VERBS = {"running": "Pause", "queued": "", "paused": "Resume"}
COMPLAINT_SECONDS = 4.0  # a refusal can be read before the next tick takes its place


def status_bar_html(job: Mapping[str, Any] | None, complaint: str = "", interrupted: Sequence[Any] = ()) -> str:
    """The strip for `Jobs.current()`; without a job it offers what was interrupted, or is empty: the page moves up."""
    if job is not None:
        return _strip(job, live_values(job, complaint))
    told = f"<span>{escape(complaint)}</span>" if complaint else _offer(interrupted) if interrupted else ""
    return f'<div class="job told"><div class="line">{told}</div><div class="bar"></div></div>' if told else ""


def _offer(runs: Sequence[Any]) -> str:
    """What was at work when the server ended, to go on with or to leave."""
    first, reached = runs[0], max(runs, key=lambda run: run.step)
    total = f" of {formatting.whole(reached.total_steps)}" if reached.total_steps else ""
    place = f'<span class="wide"> at step {formatting.whole(reached.step)}{total}</span>'
    if len(runs) == 1:
        said = f"<b>{escape(first.label)}</b> was interrupted{place}"
    elif first.group and {run.group for run in runs} == {first.group}:
        corpus = escape(str(first.corpus.get("name", "a text")))
        said = f'<b>Race</b><span class="wide"> on {corpus}</span> was interrupted{place}'
    else:
        said = f"<b>{len(runs)} runs</b> were interrupted"
    acts = action("resume-interrupted", "Resume") + action("dismiss", "Not now")
    return f'<span class="said">{said}</span><span class="buttons">{acts}</span>'


def live_values(job: Mapping[str, Any], complaint: str = "") -> list[str]:
    """What changes all the time, in the order in which it stands in the strip; the bar's share is the last."""
    share = min(max(float(job.get("progress") or 0.0), 0.0), 1.0)
    if job.get("resting"):
        return [complaint or str(job["message"]) + _others(job), f"{share:.4f}"]
    losses = [f"{trainer['val_loss']:.2f}" for trainer in _measured(job)]
    step, percent = formatting.whole(job["step"]), f"{100 * share:.0f} %"
    return [step, percent, *losses, complaint or _time_left(job), f"{share:.4f}"]


def _strip(job: Mapping[str, Any], values: Sequence[str]) -> str:
    """The strip with these values in it; a page puts newer ones into the same places."""
    *told, left = map(_live, values[:-1])
    share, resting = escape(values[-1]), job.get("resting")
    what = f"<b>{escape(str(job['title']))}</b>" if resting else _what(job, *told[:2]) + _trainers(job, told[2:])
    return (
        f'<div class="job{" resting" if resting else ""}" data-status="{escape(str(job["status"]))}">'
        f'<div class="line"><i class="pulse"></i>{what}'
        '<span class="lost-line" hidden>Training goes on, reconnecting…</span>'
        f'<span class="left">{left}</span>{_buttons(job)}</div>'
        '<div class="bar" role="progressbar" aria-label="Training" aria-valuemin="0" aria-valuemax="1" '
        f'aria-valuenow="{share}"><i style="transform:scaleX({share})"></i></div></div>'
    )


def _live(value: str) -> str:
    return f"<span data-live>{escape(value)}</span>"


def _what(job: Mapping[str, Any], step: str, percent: str) -> str:
    """Kind, corpus and step; on a phone the kind and a percentage."""
    total = f" of {formatting.whole(job['total_steps'])}" if job.get("total_steps") else ""
    return (
        f'<span><b>{escape(str(job["title"]))}</b> <span class="wide">on {escape(str(job["corpus"]))}</span></span>'
        f'<span class="wide">step <b>{step}</b>{total}</span><span class="narrow">{percent}</span>'
    )


def _measured(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [trainer for trainer in job.get("racers", ()) if trainer.get("val_loss") is not None]


def _trainers(job: Mapping[str, Any], losses: Sequence[str]) -> str:
    """A swatch and the best validation loss of each model in training."""
    if not losses:
        return ""
    shown = "".join(
        f'<span title="{escape(str(trainer["label"]))}">{swatch(trainer["arch"])}{loss}</span>'
        for trainer, loss in zip(_measured(job), losses, strict=True)
    )
    return f'<span class="racers wide">{shown}</span><span class="wide far">best validation loss</span>'


def _time_left(job: Mapping[str, Any]) -> str:
    """Why it stands still, or how long it will take."""
    message = str(job.get("message") or "")
    if job["status"] != "running":
        return (message or str(job["status"])) + _others(job)
    if message.startswith(NEWS):
        return message + _others(job)
    seconds = job.get("eta_seconds")
    return (f"{formatting.duration(seconds)} left" if seconds is not None else "measuring") + _others(job)


def _others(job: Mapping[str, Any]) -> str:
    """The jobs that the strip has no room for."""
    beside = f" · {job['beside']} more at work" if job.get("beside") else ""
    return beside + (f" · {job['queued']} waiting" if job.get("queued") else "")


def _buttons(job: Mapping[str, Any]) -> str:
    run = str(job["run_ids"][0]) if job.get("run_ids") else ""
    pausable = job.get("pausable", True) and not job.get("resting")
    verb = "" if not pausable else VERBS.get(str(job["status"]), "")
    toggle = action(verb.lower(), verb, run=run) if verb else ""
    return f'<span class="buttons">{toggle}{action("stop", "Stop", run=run)}</span>'


def status_bar_state(services: Services, seen: Any = None, complaint: str = "") -> dict[str, Any]:
    """What a page needs that has the strip with the mark `seen`: its values, or the whole of it.

    Returns:
        `values`, as `live_values`. With another mark also `mark`, `html`, and for those who listen to the job: `live`,
        `state`, which changes with the job's state, and `run_ids`.
    """
    job = services.jobs.current()
    interrupted = () if job else services.jobs.interrupted()
    values = live_values(job, complaint) if job else []
    state = [job["status"], *job["run_ids"], job.get("queued", 0), job.get("beside", 0)] if job else []
    blank = _strip(job, [""] * len(values)) if job else status_bar_html(None, complaint, interrupted)
    now = mark([blank, state])
    if now == seen:
        return {"values": values}
    ids = list(job["run_ids"]) if job else []
    whole = {
        "html": status_bar_html(job, complaint, interrupted),
        "live": job is not None,
        "state": mark(state),
        "run_ids": ids,
    }
    return {"values": values, "mark": now, **whole}


def _obey(jobs: Any, act: Any, run_id: str) -> None:
    """What the strip's buttons do; any other word does nothing."""
    if act in ("pause", "resume", "stop"):
        {"pause": jobs.pause, "resume": jobs.resume, "stop": jobs.stop_job}[act](run_id)
    elif act == "resume-interrupted":
        jobs.resume_interrupted()
    elif act == "dismiss":
        jobs.dismiss_interrupted()


def build(services: Services, pulse: Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]) -> gr.HTML:
    """The strip; it stands before the tabs and asks `pulse` once a tick for the whole page."""

    async def poll(asked: Any = None) -> dict[str, Any]:
        return await pulse(asked if isinstance(asked, dict) else {})

    def control_job(order: Any = None) -> dict[str, Any]:
        order = order if isinstance(order, dict) else {}
        complaint = ""
        try:
            _obey(services.jobs, order.get("act"), str(order.get("run", "")))
        except CharLMError as error:
            logging.getLogger(__name__).info("the strip's %s was refused: %s", order.get("act"), error)
            complaint = str(error)
        return {"strip": status_bar_state(services, None, complaint), "wait": COMPLAINT_SECONDS if complaint else 1.0}

    return gr.HTML(
        "", elem_id="strip", js_on_load=STRIP_JS, server_functions=[poll, control_job], apply_default_css=False
    )
