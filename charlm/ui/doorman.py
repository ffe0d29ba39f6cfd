"""What of a public server a stranger may reach: the routes a page needs, uploads of a bounded size, files of one's own.

Works in front of gradio's app; what it lets through is checked again where it is used.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlm.accounts import Accounts
from charlm.errors import LimitError
from charlm.limits import ELSEWHERE, Limits, Visitor
from charlm.ui.files import VisitorFiles
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
}
OPEN["HEAD"] = OPEN["GET"]
QUIET_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"))


class Doorman:
    """ASGI middleware.

    Args:
        app: what stands behind it.
        accounts: counts the uploads.
        files: knows whose they are.
    """

    def __init__(self, app: ASGIApp, accounts: Accounts, files: VisitorFiles) -> None:
        self.app, self.accounts, self.files = app, accounts, files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        visitor = visitor_of(headers, (scope.get("client") or ("",))[0])
        asking.set(visitor)  # of this request's task
        refusal = self._refusal(scope, headers, visitor)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        is_upload = scope["path"] == UPLOAD
        body = Body(receive, send, self.accounts.limits, headers if is_upload else None)
        answer = Uploaded(body.send, lambda path: self._take(path, visitor)) if is_upload else None
        try:
            await self.app(scope, body.receive, with_headers(answer.send if answer else body.send, scope, headers))
        except ClientDisconnect:
            if not body.refused:
                raise
        await body.end()

    def _refusal(self, scope: Scope, headers: Mapping[str, str], visitor: Visitor) -> PlainTextResponse | None:
        """What is answered at once; None for what may go on."""
        path, method, limits = scope["path"], scope["method"], self.accounts.limits
        if method in OPEN and not OPEN[method].fullmatch(path):
            return PlainTextResponse("Not found", 404)
        if path.startswith(FILE) and not self.files.is_own(path.removeprefix(FILE), visitor):
            return PlainTextResponse("Not found", 404)
        if path == UPLOAD and not self.accounts.uploads_left(visitor):
            return PlainTextResponse(f"{limits.uploads_an_hour} uploads an hour; wait, or {ELSEWHERE}", 429)
        length = headers.get("content-length", "")
        most = limits.body_bytes if path == UPLOAD else limits.question_bytes
        return too_large(most) if length.isascii() and length.isdigit() and int(length) > most else None

    def _take(self, path: str, visitor: Visitor) -> None:
        """An uploaded file is the visitor's own now."""
        self.files.own(path, visitor)
        with suppress(LimitError):  # the last request may exceed what is left; the next one is refused
            self.accounts.take_upload(visitor)


def too_large(most: int) -> PlainTextResponse:
    """The answer to a body of more than so many bytes."""
    return PlainTextResponse(f"A request of this public Space has at most {most:,} bytes; {ELSEWHERE}", 413)


class Body:
    """A request's body, counted as it comes; one that grows too large is cut off and answered with 413.

    Args:
        receive, send: of the request.
        limits: the table.
        upload: the headers, if it is an upload, whose files are counted, too.
    """

    def __init__(self, receive: Receive, send: Send, limits: Limits, upload: Mapping[str, str] | None) -> None:
        self._receive, self._send, self._limits = receive, send, limits
        self._most = limits.question_bytes if upload is None else limits.body_bytes
        boundary = re.search(r"boundary=\"?([^\";]+)", (upload or {}).get("content-type", ""))
        self._mark = b"--" + boundary[1].encode() if boundary else b""
        self._size = self._parts = 0
        self._tail = b""
        self.refused = self._answered = False

    async def receive(self) -> Message:
        """The next piece, while it is within the limits."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._count(message.get("body", b""))
            if self.refused:
                return {"type": "http.disconnect"}
        return message

    def _count(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._mark:
            seen = self._tail + piece
            self._parts += seen.count(self._mark)
            self._tail = seen[max(0, len(seen) - len(self._mark) + 1) :]
        # every part has a mark before it, and one stands at the end
        self.refused = self.refused or self._size > self._most or self._parts > self._limits.files_a_request + 1

    async def send(self, message: Message) -> None:
        """Pass the answer on, unless the body was cut off: then it is an answer to half of it."""
        if not self.refused:
            self._answered = True
            await self._send(message)

    async def end(self) -> None:
        """Answer a body that was cut off."""
        if self.refused and not self._answered:
            await too_large(self._most)({"type": "http"}, self._receive, self._send)


class Uploaded:
    """Reads the answer to an upload, which lists the paths of the files."""

    def __init__(self, send: Send, take: Callable[[str], None]) -> None:
        self._send, self._take = send, take
        self._status, self._body = 0, b""

    async def send(self, message: Message) -> None:
        """Pass the answer on, and take the paths in it."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
        else:
            self._body += message.get("body", b"")
            if self._status == 200 and not message.get("more_body"):
                for path in json.loads(self._body):
                    self._take(path)
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


def doorman(accounts: Accounts, files: VisitorFiles) -> Middleware:
    """For `demo.launch(app_kwargs={"middleware": [..]})`."""
    return Middleware(Doorman, accounts=accounts, files=files)
