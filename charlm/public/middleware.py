"""What of a public server a stranger may reach: the routes a page needs, uploads of a bounded size, files of one's own.

Works in front of gradio's app; what it lets through is checked again where it is used.
"""

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlm.errors import LimitError
from charlm.public.identity import asking, new_cookie, secret_of, visitor_of
from charlm.public.limits import ELSEWHERE, Limits, Visitor
from charlm.public.quotas import Quotas

FOREIGN = "the file is no upload of yours; upload it here first"
BROKEN = "the text in the request is no Unicode: half a pair of surrogates stands in it"
DEEP = "the request is nested too deeply"


def trouble_in(body: bytes, is_own: Callable[[str], bool]) -> str:
    """What is wrong with a body, as a sentence; empty if nothing is.

    Args:
        body: of a request; what is no JSON is left to gradio, which will not read it either.
        is_own: asked for the path of each file.
    """
    try:
        value = json.loads(body or b"null")
    except RecursionError:
        return DEEP
    except ValueError:
        return ""
    for one in _parts(value):
        if isinstance(one, str):
            if not _is_whole(one):
                return BROKEN
        elif "path" in one and "meta" in one and not (isinstance(one["path"], str) and is_own(one["path"])):
            return FOREIGN
    return ""


def _parts(value: Any) -> Iterator[str | dict[str, Any]]:
    """All objects and texts in a JSON value, objects before what they hold."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            yield one
            rest += one.keys()
            rest += one.values()
        elif isinstance(one, list):
            rest += one


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


MARK = "charlm.visitor"  # where the visitor stands in a request's scope, which gradio's queue keeps


class Presence:
    """Counts by visitor and by internet address; works in the server's one loop only.

    Args:
        limits: the table.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()

    @contextmanager
    def request(self, visitor: Visitor) -> Iterator[None]:
        """A request of this visitor, from its first byte to the last one of its answer.

        Raises:
            LimitError: too many others have no answer yet.
        """
        shares = self._shares(visitor)
        if any(self._open[key] >= most for key, most in shares):
            raise self._refusal("requests")
        self._open.update(key for key, _ in shares)
        try:
            yield
        finally:
            self._open.subtract(key for key, _ in shares)
            self._open += Counter()  # forgets those at zero

    def check_queue(self, queue: Any, visitor: Visitor) -> None:
        """Whether this visitor may put one more event into gradio's queue.

        Raises:
            LimitError: too many are there.
        """
        held: Counter[str] = Counter()
        for event in _events(queue):
            held.update(key for key, _ in self._shares(event.request.scope.get(MARK) or Visitor("")))
        if any(held[key] >= most for key, most in self._shares(visitor)):
            raise self._refusal("events")

    def _shares(self, visitor: Visitor) -> list[tuple[str, int]]:
        """Under which names it is counted, and how many there may be of each."""
        most = self._limits.waiting_requests
        by_address = [(f"address {visitor.address}", most * self._limits.per_address)] if visitor.address else []
        return [(visitor.key, most), *by_address]

    def _refusal(self, what: str) -> LimitError:
        most = self._limits.waiting_requests
        return LimitError(f"{most} {what} of yours wait for an answer; wait until there are fewer, or {ELSEWHERE}")


def _events(queue: Any) -> Iterator[Any]:
    """What waits in gradio's queue, and what is at work."""
    for waiting in queue.event_queue_per_concurrency_id.values():
        yield from waiting.queue
    for at_work in queue.active_jobs:
        yield from at_work or ()


# As browsers and clients write it; in other spellings gradio's parser could see more files than are counted here.
FORM = re.compile(r"multipart/form-data; ?boundary=\"?([\w'()+,./:=?-]{1,70})\"?", re.ASCII)


def too_large(most: int) -> PlainTextResponse:
    """The answer to a body of more than so many bytes."""
    return PlainTextResponse(f"A request of this public Space has at most {most:,} bytes; {ELSEWHERE}", 413)


class Body:
    """A request's body; one that grows too large is cut off and answered with 413.

    Args:
        receive, send: of the request.
        limits: the table.
        upload: the headers, if it is an upload, whose files are counted, too; their content type fits FORM.
    """

    def __init__(self, receive: Receive, send: Send, limits: Limits, upload: Mapping[str, str] | None) -> None:
        self._receive, self._send, self._limits = receive, send, limits
        self._most = limits.question_bytes if upload is None else limits.body_bytes
        boundary = FORM.fullmatch((upload or {}).get("content-type", ""))
        self._mark = b"--" + boundary[1].encode() if boundary else b""
        self._size = self._parts = 0
        self._tail = b""
        self._read: Message | None = None
        self.refused = self._answered = False

    async def read(self) -> bytes:
        """All of it; `receive` gives it out once more.

        Raises:
            ClientDisconnect: the client has left, or is cut off.
        """
        pieces, more = [], True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        whole = b"".join(pieces)
        self._read = {"type": "http.request", "body": whole, "more_body": False}
        return whole

    async def receive(self) -> Message:
        """The next piece, while it is within the limits."""
        if self._read is not None:
            message, self._read = self._read, None
            return message
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
        quotas: counts the uploads.
        files: knows whose they are.
    """

    def __init__(self, app: ASGIApp, quotas: Quotas, files: OwnedFiles) -> None:
        self.app, self.quotas, self.files = app, quotas, files
        self.presence = Presence(quotas.limits)

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
        body = Body(receive, send, self.quotas.limits, Headers(scope=scope) if is_upload else None)
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
        path, method, limits = scope["path"], scope["method"], self.quotas.limits
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
            self.quotas.take("upload", visitor)  # before it comes: many at once are many
        if method == "POST" and QUEUED.fullmatch(path):
            self.presence.check_queue(scope["app"].get_blocks()._queue, visitor)
        return None

    def _take(self, paths: Sequence[str], visitor: Visitor) -> None:
        """Uploaded files are the visitor's own now; the first one was counted when it came."""
        for path in paths:
            self.files.own(path, visitor)
        with suppress(LimitError):  # the last request may exceed what is left; the next one is refused
            for _ in paths[1:]:
                self.quotas.take("upload", visitor)


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


def doorman(quotas: Quotas, files: OwnedFiles) -> Middleware:
    """For `demo.launch(app_kwargs={"middleware": [..]})`."""
    return Middleware(Doorman, quotas=quotas, files=files)
