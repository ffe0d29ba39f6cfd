"""The status bar of every tab: what runs, how far, one number per model, time left, Pause and Stop.

It also holds the page's clock: one question a tick, for all that is to be kept up to date.
"""

import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import gradio as gr
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from charlm.errors import CharLMError
from charlm.public.limits import Limits
from charlm.public.services import Services
from charlm.runs.run import ACTIVE
from charlm.ui import formatting
from charlm.ui.formatting import count, listed
from charlm.ui.html import asset, render
from charlm.ui.train import live as train_live
from charlm.ui.train.live import Watches
from charlm.ui.train.view import mark

# Beginnings of a running job's messages that matter more than the time left.
NEWS = ("stopping", "preparing", "working", "waiting")
VERBS = {"running": "Pause", "paused": "Resume"}
COMPLAINT_SECONDS = 4.0  # a refusal can be read before the next tick takes its place
PATH = "/gradio_api/pulse"  # gradio's prefix: whatever stands before the server lets it through
# Seconds until a page asks again: while something is at work, and otherwise.
LIVE_SECONDS, IDLE_SECONDS = 1.0, 3.0
# While something is at work, all pages together ask no more often a second, as long as none waits longer than this.
ASKS, SLOWEST_SECONDS = 3.0, 5.0
COUNTED_SECONDS = 10.0  # what is taken into account when the pages are counted
MOST_RUNS = 16  # of a job that is asked about
LONGEST = 1 << 16  # bytes of a question


def left_state(services: Services, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a visitor may still use, for a page that has the line with the mark `seen`: nothing new, or the line."""
    assert services.limits is not None
    html = left_html(services.limits, services.jobs.left())
    now = mark(html)
    return {"mark": now} if now == asked.get("seen") else {"mark": now, "html": html}


def left_html(limits: Limits, left: Mapping[str, Any]) -> str:
    """The line: minutes, runs and generations."""
    runs, texts = count(limits.runs, "run"), count(limits.texts_a_minute, "generation")
    return render("left", limits=limits, left=left, runs=runs, texts=texts)


def build_left(services: Services) -> None:
    """The line, where there are limits; call inside the page, after the tabs."""
    if services.limits is not None:
        gr.HTML("", elem_id="left", js_on_load=asset("left.js"), apply_default_css=False)


def status_bar_html(job: Mapping[str, Any] | None, complaint: str = "", interrupted: Sequence[Any] = ()) -> str:
    """The status bar.

    Args:
        job: `Jobs.current()`.
        complaint: why a button's order was refused.
        interrupted: without a job, runs that are offered for resuming; without them it is empty, and the page moves up.
    """
    if job is not None:
        return _job_html(job, live_values(job, complaint))
    if not complaint and not interrupted:
        return ""
    reached = max(interrupted, key=lambda run: run.step, default=None)
    place = {"step": formatting.whole(reached and reached.step), "total": _total(reached and reached.total_steps)}
    groups = {run.group for run in interrupted}
    is_race = len(groups) == 1 and any(groups)
    return render("no_job", complaint=complaint, runs=interrupted, is_race=is_race, **place)


def live_values(job: Mapping[str, Any], complaint: str = "") -> list[str]:
    """What changes all the time, in the order in which it stands in the status bar; the bar's share is the last."""
    share = min(max(float(job.get("progress") or 0.0), 0.0), 1.0)
    if job.get("resting"):
        return [complaint or str(job["message"]) + _others(job), f"{share:.4f}"]
    losses = [f"{trainer['best_val_loss']:.2f}" for trainer in _measured(job)]
    step, percent = formatting.whole(job["step"]), f"{100 * share:.0f} %"
    return [step, percent, *losses, complaint or _time_left(job), f"{share:.4f}"]


def _job_html(job: Mapping[str, Any], values: Sequence[str]) -> str:
    """The status bar with these values in it; a page puts newer ones into the same places."""
    is_pausable = job.get("pausable", True) and not job.get("resting")
    verb = VERBS.get(str(job["status"]), "") if is_pausable else ""
    run, total = str(job["run_ids"][0]) if job.get("run_ids") else "", _total(job.get("total_steps"))
    return render("status_bar", job=job, values=values, measured=_measured(job), total=total, verb=verb, run=run)


def _total(steps: int | None) -> str:
    return formatting.whole(steps) if steps else ""


def _measured(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The best training of each architecture, of those that have been validated."""
    best: dict[str, Mapping[str, Any]] = {}
    for trainer in job.get("runs", ()):
        loss, arch = trainer.get("best_val_loss"), trainer["arch"]
        if loss is not None and (arch not in best or loss < best[arch]["best_val_loss"]):
            best[arch] = trainer
    return list(best.values())


def _time_left(job: Mapping[str, Any]) -> str:
    """Why it stands still, or how long it will take."""
    message, seconds = str(job.get("message") or ""), job.get("eta_seconds")
    if job["status"] != "running":
        return (message or str(job["status"])) + _others(job)
    if message.startswith(NEWS):
        return message + _others(job)
    return (f"{formatting.duration(seconds)} left" if seconds is not None else "measuring") + _others(job)


def _others(job: Mapping[str, Any]) -> str:
    """The jobs that the status bar has no room for."""
    beside = f" · {job['beside']} more at work" if job.get("beside") else ""
    return beside + (f" · {job['queued']} waiting" if job.get("queued") else "")


def status_bar_state(services: Services, seen: Any = None, complaint: str = "") -> dict[str, Any]:
    """What a page needs that has the status bar with the mark `seen`: its values, or the whole of it.

    Args:
        services: they know the current job.
        seen: the mark of the status bar that the page shows; None: it shows none.
        complaint: why a button's order was refused; empty if it was not.

    Returns:
        `values`, as `live_values`. With another mark also `mark`, `html`, and for those who listen to the job: `live`,
        `state`, which changes with the job's state, and `run_ids`.
    """
    job = services.jobs.current()
    interrupted = () if job else services.jobs.interrupted()
    values = live_values(job, complaint) if job else []
    state = [job["status"], *job["run_ids"], job.get("queued", 0), job.get("beside", 0)] if job else []
    html = status_bar_html(job, complaint, interrupted)
    now = mark([_job_html(job, [""] * len(values)) if job else html, state])
    if now == seen:
        return {"values": values}
    ids = list(job["run_ids"]) if job else []
    whole = {"html": html, "live": job is not None, "state": mark(state), "run_ids": ids}
    return {"values": values, "mark": now, **whole}


def ended_state(services: Services, run_ids: Sequence[Any]) -> dict[str, Any]:
    """What became of a job's runs, for those who cannot see it.

    Args:
        services: they know the runs.
        run_ids: of the job; those of no run here are left out.

    Returns:
        `said`, sentences about those that have ended, empty if none has; and `active`, the ids of the others.
    """
    by_end: dict[str, list[Any]] = {}
    active = []
    for run_id in run_ids:
        with contextlib.suppress(CharLMError):
            run = services.store.get(run_id)
            if run.status in ACTIVE:
                active.append(run.run_id)
            else:
                by_end.setdefault(run.status, []).append(run)
    said = [_ended(status, runs) for status, runs in by_end.items()]
    judged = [run for runs in by_end.values() for run in runs if run.best_val_loss is not None]
    if len(judged) > 1:
        best = min(judged, key=lambda run: run.best_val_loss)
        said.append(f"{best.label} has the lowest validation loss, {best.best_val_loss:.2f}.")
    return {"said": " ".join(said), "active": active}


def _ended(status: str, runs: Sequence[Any]) -> str:
    """`Stopped and saved at step 188: gru, lstm.`"""
    labels = listed([run.label for run in runs])
    if status == "failed":
        return " ".join(f"Failed: {run.label}. {run.message}" for run in runs)
    if status == "finished":
        return f"Finished: {labels}."
    return f"Stopped and saved at step {formatting.whole(max(run.step for run in runs))}: {labels}."


def _obey(jobs: Any, act: Any, run_id: str) -> None:
    """What the buttons do; any other word does nothing."""
    if act in ("pause", "resume", "stop"):
        {"pause": jobs.pause, "resume": jobs.resume, "stop": jobs.stop_job}[act](run_id)
    elif act == "resume-interrupted":
        jobs.resume_interrupted()
    elif act == "dismiss":
        jobs.dismiss_interrupted()


def build(services: Services, answer: Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]) -> gr.HTML:
    """The status bar; it stands before the tabs and asks `answer` once a tick for the whole page."""

    async def poll(asked: Any = None) -> dict[str, Any]:
        return await answer(asked if isinstance(asked, dict) else {})

    def control_job(order: Any = None) -> dict[str, Any]:
        order = order if isinstance(order, dict) else {}
        complaint = ""
        try:
            _obey(services.jobs, order.get("act"), str(order.get("run", "")))
        except CharLMError as error:
            logging.getLogger(__name__).info("the status bar's %s was refused: %s", order.get("act"), error)
            complaint = str(error)
        state = status_bar_state(services, None, complaint)
        return {"strip": state, "wait": COMPLAINT_SECONDS if complaint else 1.0}

    functions, script = [poll, control_job], asset("strip.js")
    return gr.HTML("", elem_id="strip", js_on_load=script, server_functions=functions, apply_default_css=False)


class PollEndpoint:
    """Answers the pages' questions.

    Args:
        services: for the status bar.
        watches: for the Train tab.
    """

    def __init__(self, services: Services, watches: Watches) -> None:
        self.services, self.watches = services, watches
        self._asked: deque[tuple[float, float]] = deque()  # when, and how long that page was asked to wait

    async def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What is new in the status bar and, if asked for, on the Train tab, in the line of limits and of ended jobs.

        Returns:
            `strip`, `train`, `left` and `ended`, and `wait`: the seconds until the page may ask again.
        """
        answer: dict[str, Any] = {"strip": status_bar_state(self.services, asked.get("strip"))}
        live = bool(self.services.jobs.queue())
        if isinstance(train := asked.get("train"), dict):
            view = await self.watches.own().view(train_live.wanted_ids(train))
            answer["train"] = train_live.answer(view, train)
            live = live or bool(view.active)
        if isinstance(left := asked.get("left"), dict) and self.services.limits is not None:
            answer["left"] = left_state(self.services, left)
        if isinstance(ended := asked.get("ended"), dict) and isinstance(ended.get("runs"), list):
            answer["ended"] = ended_state(self.services, ended["runs"][:MOST_RUNS])
        return {**answer, "wait": self._wait(time.monotonic()) if live else IDLE_SECONDS}

    def _wait(self, now: float) -> float:
        """Seconds until this page may ask again; the more pages there are, the longer."""
        while self._asked and self._asked[0][0] < now - COUNTED_SECONDS:
            self._asked.popleft()
        pages = sum(wait for _, wait in self._asked) / COUNTED_SECONDS
        wait = round(min(max(pages / ASKS, LIVE_SECONDS), SLOWEST_SECONDS), 1)
        self._asked.append((now, wait))
        return wait


class PollRoute:
    """The route's ASGI application; the app it is part of has the status bar, and that the function to ask."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = scope["app"]
        if app.auth is not None or app.auth_dependency is not None:
            response = Response(status_code=401)  # gradio's own way knows who may ask
        else:
            response = await self._answer(app.get_blocks(), receive)
        await response(scope, receive, send)

    async def _answer(self, blocks: Any, receive: Receive) -> Response:
        asked = await _question(receive)
        if asked is None:
            return Response(status_code=400)
        bar = next(block for block in blocks.blocks.values() if block.elem_id == "strip")
        text = json.dumps(await bar.poll(asked), ensure_ascii=False, separators=(",", ":"))
        return Response(text.encode("utf-8", "replace"), media_type="application/json")


async def _question(receive: Receive) -> Any:
    """The JSON in a request's body; None for what is none, or too long."""
    body, more = b"", True
    while more and len(body) <= LONGEST:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        return json.loads(body) if not more else None
    except (ValueError, RecursionError):
        return None


def route() -> Route:
    """For `demo.launch(app_kwargs={"routes": [..]})`; a page that does not find it asks gradio's way."""
    return Route(PATH, PollRoute(), methods=["POST"])
