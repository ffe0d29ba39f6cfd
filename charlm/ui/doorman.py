"""What of a public server a stranger may reach: the routes a page needs, uploads of a bounded size, files of one's own.

Works in front of gradio's app; what it lets through is checked again where it is used.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlm.accounts import Accounts
from charlm.errors import LimitError
from charlm.limits import Visitor
from charlm.ui.body import FORM, Body, too_large
from charlm.ui.enclosed import trouble_in
from charlm.ui.presence import MARK, Presence
from charlm.ui.visitor import asking, new_cookie, secret_of, visitor_of

API = "/gradio_api/"
FILE, UPLOAD = f"{API}file=", f"{API}upload"
PAGES = ("/", "/config", "/config/")  # where a visitor without a secret is given one
OPEN = {
    "GET": re.compile(
        r"/|/config/?|/theme\.css|/robots\.txt|/favicon\.ico|/manifest\.json|/pwa_icon(/\d+)?|/(assets|static)/.+"
        rf"|{API}(info/?|openapi\.json|app_id/?|login_check/?|startup-events|theme\.css|heartbeat/[^/]+|queue/(data|status)"
        r"|call/.+|upload_progress|file=.+)"
    ),
    "POST": re.compile(rf"{API}(queue/join|call/.+|run/.+|api/.+|cancel|reset/?|upload|component_server/?|pulse)"),
    "OPTIONS": re.compile(".*"),  # a browser's question before it calls from another site
}
OPEN["HEAD"] = OPEN["GET"]
QUEUED = re.compile(rf"{API}(queue/join|call/.+)")  # what goes into gradio's queue
QUIET_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"))


class OwnedFiles(Protocol):
    """Which files of the page's cache belong to whom."""

    def own(self, path: str, visitor: Visitor) -> None: ...

    def is_own(self, path: str, visitor: Visitor | None) -> bool: ...


class Doorman:
    """ASGI middleware.

    Args:
        app: what stands behind it.
        accounts: counts the uploads.
        files: knows whose they are.
    """

    def __init__(self, app: ASGIApp, accounts: Accounts, files: OwnedFiles) -> None:
        self.app, self.accounts, self.files = app, accounts, files
        self.presence = Presence(accounts.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        scope[MARK] = visitor = visitor_of(headers, (scope.get("client") or ("",))[0])
        asking.set(visitor)  # of this request's task
        try:
            with self.presence.request(visitor):
                refusal = self._refusal(scope, headers, visitor)
                if refusal is None:
                    await self._pass(scope, receive, with_headers(send, scope, headers), visitor)
                else:
                    await refusal(scope, receive, send)
        except LimitError as error:
            await refused(str(error), 429)(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, visitor: Visitor) -> None:
        """Let a request through, its body counted and looked at."""
        is_upload = scope["path"] == UPLOAD
        body = Body(receive, send, self.accounts.limits, Headers(scope=scope) if is_upload else None)
        answer = Uploaded(body.send, lambda paths: self._take(paths, visitor)) if is_upload else None
        with suppress(ClientDisconnect):  # it has left, or was cut off
            if scope["method"] == "POST" and not is_upload and (trouble := await self._trouble(body, visitor)):
                await refused(trouble, 400)(scope, receive, send)
                return
            await self.app(scope, body.receive, answer.send if answer else body.send)
        await body.end()

    async def _trouble(self, body: Body, visitor: Visitor) -> str:
        """What is wrong with a question; empty if nothing is."""
        return trouble_in(await body.read(), lambda path: self.files.is_own(path, visitor))

    def _refusal(self, scope: Scope, headers: Mapping[str, str], visitor: Visitor) -> Response | None:
        """What is answered at once; None for what may go on.

        Raises:
            LimitError: an upload or an event too many.
        """
        path, method, limits = scope["path"], scope["method"], self.accounts.limits
        if method not in OPEN or not OPEN[method].fullmatch(path):
            return PlainTextResponse("Not found", 404)
        if path.startswith(FILE) and not self.files.is_own(path.removeprefix(FILE), visitor):
            return PlainTextResponse("Not found", 404)
        length = headers.get("content-length", "")
        most = limits.body_bytes if path == UPLOAD else limits.question_bytes
        if length.isascii() and length.isdigit() and int(length) > most:
            return too_large(most)
        if method == "POST" and path == UPLOAD:
            if not FORM.fullmatch(headers.get("content-type", "")):
                return PlainTextResponse("An upload is multipart/form-data with a plain boundary", 415)
            self.accounts.take_upload(visitor)  # before it comes: many at once are many
        if method == "POST" and QUEUED.fullmatch(path):
            self.presence.check_queue(scope["app"].get_blocks()._queue, visitor)
        return None

    def _take(self, paths: Sequence[str], visitor: Visitor) -> None:
        """Uploaded files are the visitor's own now; the first one was counted when it came."""
        for path in paths:
            self.files.own(path, visitor)
        with suppress(LimitError):  # the last request may exceed what is left; the next one is refused
            for _ in paths[1:]:
                self.accounts.take_upload(visitor)


def refused(sentence: str, status: int) -> JSONResponse:
    """A refusal as gradio's own routes word it."""
    return JSONResponse({"detail": sentence}, status)


class Uploaded:
    """Reads the answer to an upload, which lists the paths of the files."""

    def __init__(self, send: Send, take: Callable[[Sequence[str]], None]) -> None:
        self._send, self._take = send, take
        self._status, self._body = 0, b""

    async def send(self, message: Message) -> None:
        """Pass the answer on, and take the paths in it."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
        else:
            self._body += message.get("body", b"")
            if self._status == 200 and not message.get("more_body"):
                self._take(json.loads(self._body))
        await self._send(message)


def with_headers(send: Send, scope: Scope, headers: Mapping[str, str]) -> Callable[[Message], Awaitable[None]]:
    """Send with the headers every answer has, and a secret for who has none."""
    added: list[Any] = list(QUIET_HEADERS)
    if scope["path"] in PAGES and not secret_of(headers):
        secure = "https" in (scope.get("scheme"), headers.get("x-forwarded-proto", "").split(",")[0].strip())
        added.append((b"set-cookie", new_cookie(secure).encode()))

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return sending


def doorman(accounts: Accounts, files: OwnedFiles) -> Middleware:
    """For `demo.launch(app_kwargs={"middleware": [..]})`."""
    return Middleware(Doorman, accounts=accounts, files=files)
