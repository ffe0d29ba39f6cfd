"""Sessions of agents, over the Model Context Protocol: so that a call can be cancelled."""

import json
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlm.errors import ConfigError

SESSION = "mcp-session-id"  # header
MOST_SHORT = 4096  # bytes of a message that opens a session or cancels a call


class Sessions:
    """ASGI app around gradio's, which keeps nothing between two requests: so a client can cancel what it asked for.

    A session is an id that the first answer gives. Nothing is refused for want of one, so that a client goes on after a
    restart of the server. Ending it cancels its calls.

    Args:
        app: answers the requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._calls: dict[tuple[str, str | int], anyio.CancelScope] = {}  # by session and request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what a client may ask for beside a page and calls is answered here."""
        headers = Headers(scope=scope)
        session, method = headers.get(SESSION, ""), scope["method"]
        if method == "DELETE":
            self._cancel(lambda key: key[0] == session)
            await Response(status_code=204)(scope, receive, send)
        elif method == "GET" and "text/event-stream" in headers.get("accept", ""):
            # No notice comes but within a call: a stream of others would be open for nothing.
            await Response(status_code=405, headers={"allow": "POST, DELETE"})(scope, receive, send)
        elif method == "POST" and 0 < _number(headers.get("content-length")) <= MOST_SHORT:
            with suppress(ClientDisconnect):
                await self._read(session, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _read(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a short message; one that cancels a call does, and the answer to the first one names a session."""
        body = await Request(scope, receive).body()
        said, unread = _message(body), [True]
        params = said.get("params")
        if session and said.get("method") == "notifications/cancelled" and isinstance(params, dict):
            self._cancel(lambda key: key == (session, params.get("requestId")))  # none without the id of one

        async def again() -> Message:
            if unread:
                unread.clear()
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[SESSION] = secrets.token_hex(16)
            await send(message)

        await self._app(scope, again, named if said.get("method") == "initialize" else send)

    def _cancel(self, is_meant: Callable[[tuple[str, str | int]], bool]) -> None:
        """Cancel the calls, by session and request, that are meant; those without a session never are."""
        for key, call in list(self._calls.items()):
            if key[0] and is_meant(key):
                call.cancel()

    async def hold(self, request: Request, request_id: str | int, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """The answer of a call that its session can cancel.

        Raises:
            ConfigError: it was cancelled; nobody reads that.
        """
        key = request.headers.get(SESSION, ""), request_id
        with anyio.CancelScope() as scope:
            self._calls[key] = scope
            try:
                return await call()
            finally:
                if self._calls.get(key) is scope:
                    del self._calls[key]
        raise ConfigError("the call was cancelled")


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() else 0


def _message(body: bytes) -> dict[str, Any]:
    """A message as JSON; empty if it is none, which is refused elsewhere."""
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
