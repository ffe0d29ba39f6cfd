"""What pages are told of the runs they show, looked up once for all of them."""

import asyncio
import json
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from charlm.analysis.advice import Advice, advise, training_of
from charlm.architectures import ARCH_NAMES
from charlm.errors import CharLMError
from charlm.runs.history import LossHistory
from charlm.runs.run import Run
from charlm.ui.html import Services
from charlm.ui.status_bar import left_state, status_bar_state
from charlm.ui.train import live as train_live
from charlm.ui.train.view import View, Written, written

FRESH_SECONDS = 0.9  # how old an answer to a page may be
# Reading a folder of many runs takes long: it is done after this many seconds, and takes this share of the time.
LIST_SECONDS = 2.0
LIST_SHARE = 0.02
KEPT = 64  # open runs
VISITORS = 64
ASKED = 16  # different wishes that are looked after at once


class Watches:
    """A Watch for each visitor, so that what one is told never reaches another; those used last are kept."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._watches: OrderedDict[Any, Watch] = OrderedDict()

    def own(self) -> "Watch":
        """The Watch of whoever asks."""
        visitor = self.services.who()
        watch = self._watches.setdefault(visitor.key if visitor else None, Watch(self.services))
        self._watches.move_to_end(visitor.key if visitor else None)
        while len(self._watches) > VISITORS:
            self._watches.popitem(last=False)
        return watch


class Watch:
    """Keeps open the runs that pages show, and answers all pages that ask at about the same time with one View.

    Args:
        services: where the runs and the job are.
        fresh: seconds until runs are looked at again.
    """

    def __init__(self, services: Services, fresh: float = FRESH_SECONDS) -> None:
        self.services, self.fresh = services, fresh
        self._open: dict[str, Run] = {}
        self._advice: dict[str, tuple[Any, list[Advice]]] = {}  # by run id: when it was thought over, and what was said
        self._written: dict[str, tuple[Any, Written]] = {}  # by run id: the sample and what the page shows of it
        self._listed: tuple[Any, float, list[Run]] = (None, 0.0, [])
        self._views: dict[Any, tuple[float, asyncio.Task[View] | None]] = {}

    async def view(self, wanted: Sequence[str] = ()) -> View:
        """`look`, in a thread, at most once in `fresh` seconds for all who want the same."""
        wish = (tuple(wanted), self._queue())
        until, task = self._views.get(wish, (0.0, None))
        if task is None or (task.done() and (time.monotonic() > until or task.cancelled() or task.exception())):
            task = asyncio.create_task(asyncio.to_thread(self.look, wanted))
            self._views.pop(wish, None)
            self._views[wish] = time.monotonic() + self.fresh, task
            while len(self._views) > ASKED:
                del self._views[next(iter(self._views))]
        return await asyncio.shield(task)  # a page that leaves does not take the others' answer along

    def look(self, wanted: Sequence[str] = ()) -> View:
        """The runs to show, and what there is to say of them now."""
        return self.look_at(self.shown(wanted))

    def look_at(self, runs: Sequence[Run]) -> View:
        """What there is to say of these runs now."""
        states = {run.run_id: self.services.jobs.state(run) for run in runs}  # first: what follows is not older
        histories = {run.run_id: run.history() for run in runs}
        samples = {run.run_id: self._sample(run) for run in runs}
        advice = {run.run_id: self._advise(run, states[run.run_id], histories[run.run_id]) for run in runs}
        return View(runs, states, histories, samples, self.services.serving.baselines.of(runs), advice)

    def _advise(self, run: Run, state: Mapping[str, Any], history: LossHistory) -> list[Advice]:
        """What may be said of a run, thought over anew when a validation has passed, or its state is another."""
        validated = next((row["step"] for row in reversed(history.rows) if row["val_loss"] is not None), 0)
        known = self._advice.get(run.run_id)
        if known is None or known[0] != (validated, state["status"]):
            told = (
                []
                if state["status"] == "failed"
                else advise(training_of(run, history.rows, state["status"], run.total_steps))
            )
            known = self._advice[run.run_id] = (validated, state["status"]), told
            while len(self._advice) > KEPT:
                self._advice.pop(next(iter(self._advice)), None)
        return known[1]

    def advised(self, run_id: str, kind: Any) -> tuple[Run | None, Advice | None]:
        """A run, and what was last said of it of this kind; None for what is gone."""
        run, told = self._get(run_id), self._advice.get(run_id, (None, []))[1]
        return run, next((advice for advice in told if advice.kind == kind), None)

    def shown(self, wanted: Sequence[str] = ()) -> list[Run]:
        """The wanted runs with their race, else those at work, else the last, else the shipped."""
        job = self.services.jobs.current()
        ids = list(wanted) or (job["run_ids"] if job else [])
        if ids:
            runs = self.found(ids)
            return self._race(runs[0]) if wanted and runs else runs
        runs = self._all()
        return self._race(runs[0]) if runs else []

    def found(self, ids: Sequence[str]) -> list[Run]:
        """The runs of these ids that still exist, kept open."""
        return [run for run_id in ids if (run := self._get(run_id)) is not None]

    def _get(self, run_id: str) -> Run | None:
        try:
            run = self._open.get(run_id) or self.services.store.get(run_id)
            run.refresh()
        except CharLMError:  # deleted meanwhile
            self._open.pop(run_id, None)
            return None
        self._open[run_id] = run
        while len(self._open) > KEPT:
            self._open.pop(next(iter(self._open)), None)
        return run

    def _race(self, run: Run) -> list[Run]:
        """A run and those it raced with, in the order of the architectures."""
        if not run.group:
            return self.found([run.run_id])
        group = [other for other in self._all() if other.group == run.group and other.shipped == run.shipped]
        group.sort(key=lambda one: list(ARCH_NAMES).index(one.arch))
        return self.found([one.run_id for one in group])

    def _all(self) -> list[Run]:
        """All runs; the list may be some seconds old as long as no job began or ended."""
        queue, until, runs = self._listed
        now = time.monotonic()
        if now > until or queue != self._queue() or self.fresh == 0:
            queue, runs = self._queue(), self.services.store.list()
            took = time.monotonic() - now
            self._listed = queue, now + max(LIST_SECONDS, took / LIST_SHARE), runs
        return runs

    def _queue(self) -> Any:
        return tuple(map(tuple, self.services.jobs.queue()))

    def _sample(self, run: Run) -> Written:
        sample = run.sample()
        known = self._written.get(run.run_id)
        if known is None or known[0] is not sample:
            lexicon = self.services.serving.lexicon(run) if sample else frozenset()
            known = self._written[run.run_id] = sample, written(sample, lexicon)
            while len(self._written) > KEPT:
                self._written.pop(next(iter(self._written)), None)
        return known[1]


PATH = "/gradio_api/pulse"  # gradio's prefix: whatever stands before the server lets it through
# Seconds until a page asks again: while something is at work, and otherwise.
LIVE_SECONDS, IDLE_SECONDS = 1.0, 3.0
# While something is at work, all pages together ask no more often a second, as long as none waits longer than this.
ASKS, SLOWEST_SECONDS = 3.0, 5.0
COUNTED_SECONDS = 10.0  # what is taken into account when the pages are counted
LONGEST = 1 << 16  # bytes of a question


class PollEndpoint:
    """Answers the pages' questions.

    Args:
        services: for the strip.
        watches: for the Train tab.
    """

    def __init__(self, services: Services, watches: Watches) -> None:
        self.services, self.watches = services, watches
        self._asked: deque[tuple[float, float]] = deque()  # when, and how long that page was told to wait

    async def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What is new in the strip and, if asked for, on the Train tab and of what is left; and the seconds to wait."""
        told: dict[str, Any] = {"strip": status_bar_state(self.services, asked.get("strip"))}
        live = bool(self.services.jobs.queue())
        if isinstance(train := asked.get("train"), dict):
            view = await self.watches.own().view(train_live.wishes(train))
            told["train"] = train_live.answer(view, train)
            live = live or bool(view.active)
        if isinstance(left := asked.get("left"), dict) and self.services.limits is not None:
            told["left"] = left_state(self.services, left)
        return {**told, "wait": self._wait(time.monotonic()) if live else IDLE_SECONDS}

    def _wait(self, now: float) -> float:
        """Seconds until this page may ask again; the more pages there are, the longer."""
        while self._asked and self._asked[0][0] < now - COUNTED_SECONDS:
            self._asked.popleft()
        pages = sum(wait for _, wait in self._asked) / COUNTED_SECONDS
        wait = round(min(max(pages / ASKS, LIVE_SECONDS), SLOWEST_SECONDS), 1)
        self._asked.append((now, wait))
        return wait


class PollRoute:
    """The route's ASGI application; the app it is part of has the strip, and that the function to ask."""

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
        strip = next(block for block in blocks.blocks.values() if block.elem_id == "strip")
        told = json.dumps(await strip.poll(asked), ensure_ascii=False, separators=(",", ":"))
        return Response(told.encode("utf-8", "replace"), media_type="application/json")


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
