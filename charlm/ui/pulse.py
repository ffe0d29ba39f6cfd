"""The page's clock on the server: one call a tick for all that a page keeps up to date.

It has a route of its own: gradio's way to a function costs three times the work, and a training has to wait for it.
"""

import json
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from charlm.ui import train_live
from charlm.ui.common import Services
from charlm.ui.left import left_state
from charlm.ui.strip import strip_state
from charlm.ui.watch import Watches

PATH = "/gradio_api/pulse"  # gradio's prefix: whatever stands before the server lets it through
# Seconds until a page asks again: while something is at work, and otherwise.
LIVE_SECONDS, IDLE_SECONDS = 1.0, 3.0
# While something is at work, all pages together ask no more often a second, as long as none waits longer than this.
ASKS, SLOWEST_SECONDS = 3.0, 5.0
COUNTED_SECONDS = 10.0  # what is taken into account when the pages are counted
LONGEST = 1 << 16  # bytes of a question


class Pulse:
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
        told: dict[str, Any] = {"strip": strip_state(self.services, asked.get("strip"))}
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


class Endpoint:
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
    return Route(PATH, Endpoint(), methods=["POST"])
