"""What of a public server a stranger may reach: the routes a page needs, uploads of a bounded size, files of one's own.

Works in front of gradio's app; what it lets through is checked again where it is used.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlm.errors import LimitError
from charlm.public.identity import asking, new_cookie, secret_of, visitor_of
from charlm.public.limits import ELSEWHERE, Limits, Visitor
from charlm.public.quotas import Quotas

FOREIGN = "the file is no upload of yours; upload it here first"
BROKEN = "the text in the request is no Unicode: it holds half of a surrogate pair"
DEEP = "the request is nested too deeply"


def problem_in(body: bytes, is_own: Callable[[str], bool]) -> str:
    """What is wrong with a request's body, as a sentence; empty if nothing is.

    Args:
        body: what is no JSON is left to gradio, which will not read it either.
        is_own: asked for the path of each file.
    """
    foreign = False

    def look(value: dict[str, Any]) -> dict[str, Any]:
        nonlocal foreign
        if "path" in value and "meta" in value:
            foreign = foreign or not (isinstance(value["path"], str) and is_own(value["path"]))
        return value

    try:
        json.dumps(json.loads(body or b"null", object_hook=look), ensure_ascii=False).encode()
    except RecursionError:
        return DEEP
    except UnicodeEncodeError:
        return BROKEN
    except ValueError:
        return ""
    return FOREIGN if foreign else ""


SCOPE_KEY = "charlm.visitor"  # of the visitor in a request's scope, which gradio's queue keeps


class ConcurrencyLimits:
    """Bounds the open requests of a visitor and of an internet address; works in the server's one event loop only.

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
        """Refuse one more event in gradio's queue if too many of the visitor's wait there or are at work.

        Raises:
            LimitError: too many are there.
        """
        waiting = [event for lane in queue.event_queue_per_concurrency_id.values() for event in lane.queue]
        at_work = [event for events in queue.active_jobs for event in events or ()]
        held: Counter[str] = Counter()
        for event in (*waiting, *at_work):
            held.update(key for key, _ in self._shares(event.request.scope.get(SCOPE_KEY) or Visitor("")))
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


# As browsers and clients write it; in other spellings gradio's parser could see more files than are counted here.
MULTIPART = re.compile(r"multipart/form-data; ?boundary=\"?([\w'()+,./:=?-]{1,70})\"?", re.ASCII)


def too_large(most: int) -> PlainTextResponse:
    """The answer to a body of more than so many bytes."""
    return PlainTextResponse(f"A request of this public Space has at most {most:,} bytes; {ELSEWHERE}", 413)


class LimitedBody:
    """A request's body; one that grows too large is cut off and answered with 413.

    Args:
        receive, send: of the request.
        limits: the table.
        upload: the headers, if it is an upload, whose files are counted, too; their content type fits MULTIPART.
    """

    def __init__(self, receive: Receive, send: Send, limits: Limits, upload: Mapping[str, str] | None) -> None:
        self._receive, self._send, self._limits = receive, send, limits
        self._most = limits.question_bytes if upload is None else limits.body_bytes
        boundary = MULTIPART.fullmatch((upload or {}).get("content-type", ""))
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
AGENTS = r"mcp(/|/http/?|/schema)?"  # the endpoints for agents, where they are served
PAGES = ("/", "/config", "/config/")  # where a visitor without a secret is given one
ALLOWED = {
    "GET": re.compile(
        r"/|/config/?|/theme\.css|/robots\.txt|/favicon\.ico|/manifest\.json|/pwa_icon(/\d+)?|/(assets|static)/.+"
        rf"|{API}(info/?|openapi\.json|app_id/?|login_check/?|startup-events|theme\.css|heartbeat/[^/]+|queue/(data|status)"
        rf"|call/.+|upload_progress|file=.+|{AGENTS})"
    ),
    "POST": re.compile(
        rf"{API}(queue/join|call/.+|run/.+|api/.+|cancel|reset/?|upload|component_server/?|pulse|{AGENTS})"
    ),
    "DELETE": re.compile(rf"{API}{AGENTS}"),  # ends an agent's session
    "OPTIONS": re.compile(".*"),  # a browser's question before it calls from another site
}
ALLOWED["HEAD"] = ALLOWED["GET"]
LOGIN = re.compile(r"/login/(huggingface|callback)|/logout")  # gradio's own routes, where visitors may log in
QUEUED = re.compile(rf"{API}(queue/join|call/.+)")  # what goes into gradio's queue
QUIET_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"))


class OwnedFiles(Protocol):
    """Which files of the page's cache belong to whom."""

    def own(self, path: str, visitor: Visitor) -> None: ...
    def is_own(self, path: str, visitor: Visitor | None) -> bool: ...


class PublicMiddleware:
    """ASGI middleware that answers what a stranger may not reach, and counts what comes in.

    Args:
        app: what stands behind it.
        quotas: counts the uploads.
        files: knows whose they are.
        login: whether visitors may log in with their accounts of the Hub.
    """

    def __init__(self, app: ASGIApp, quotas: Quotas, files: OwnedFiles, login: bool = False) -> None:
        self.app, self.quotas, self.files, self.login = app, quotas, files, login
        self.concurrency = ConcurrencyLimits(quotas.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        scope[SCOPE_KEY] = visitor = visitor_of(headers, (scope.get("client") or ("",))[0])
        asking.set(visitor)  # of this request's task
        try:
            with self.concurrency.request(visitor):
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
        body = LimitedBody(receive, send, self.quotas.limits, Headers(scope=scope) if is_upload else None)
        answer = reading_paths(body.send, lambda paths: self._take(paths, visitor)) if is_upload else body.send
        is_own = partial(self.files.is_own, visitor=visitor)
        with suppress(ClientDisconnect):  # it has left, or was cut off
            is_question = scope["method"] == "POST" and not is_upload
            if is_question and (problem := problem_in(await body.read(), is_own)):
                await refused(problem, 400)(scope, receive, send)
                return
            await self.app(scope, body.receive, answer)
        await body.end()

    def _refusal(self, scope: Scope, headers: Mapping[str, str], visitor: Visitor) -> Response | None:
        """What is answered at once; None for what may pass.

        Raises:
            LimitError: an upload or an event too many.
        """
        path, method, limits = scope["path"], scope["method"], self.quotas.limits
        is_login = self.login and method == "GET" and LOGIN.fullmatch(path)
        if not is_login and (method not in ALLOWED or not ALLOWED[method].fullmatch(path)):
            return PlainTextResponse("Not found", 404)
        if path.startswith(FILE) and not self.files.is_own(path.removeprefix(FILE), visitor):
            return PlainTextResponse("Not found", 404)
        length = headers.get("content-length", "")
        most = limits.body_bytes if path == UPLOAD else limits.question_bytes
        if length.isascii() and length.isdigit() and int(length) > most:
            return too_large(most)
        if method == "POST" and path == UPLOAD:
            if not MULTIPART.fullmatch(headers.get("content-type", "")):
                return PlainTextResponse("An upload is multipart/form-data with a plain boundary", 415)
            self.quotas.take("upload", visitor)  # before it comes: many at once are many
        if method == "POST" and QUEUED.fullmatch(path):
            self.concurrency.check_queue(scope["app"].get_blocks()._queue, visitor)
        return None

    def _take(self, paths: Sequence[str], visitor: Visitor) -> None:
        """Uploaded files are the visitor's own now; the first one was counted when it came."""
        for path in paths:
            self.files.own(path, visitor)
        with suppress(LimitError):  # the last request may exceed the quota; the next one is refused
            for _ in paths[1:]:
                self.quotas.take("upload", visitor)


def refused(sentence: str, status: int) -> JSONResponse:
    """A refusal as gradio's own routes word it."""
    return JSONResponse({"detail": sentence}, status)


def reading_paths(send: Send, take: Callable[[Sequence[str]], None]) -> Send:
    """Send the answer to an upload, and hand the paths of the files that it lists to `take`."""
    status, body = 0, b""

    async def sending(message: Message) -> None:
        nonlocal status, body
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            body += message.get("body", b"")
            if status == 200 and not message.get("more_body"):
                take(json.loads(body))
        await send(message)

    return sending


def with_headers(send: Send, scope: Scope, headers: Mapping[str, str]) -> Send:
    """Send with the headers every answer has, and a secret for who has none.

    Args:
        send: of the request.
        scope: its path and scheme.
        headers: of the request.
    """
    added: list[Any] = list(QUIET_HEADERS)
    if scope["path"] in PAGES and not secret_of(headers):
        secure = "https" in (scope.get("scheme"), headers.get("x-forwarded-proto", "").split(",")[0].strip())
        added.append((b"set-cookie", new_cookie(secure).encode()))

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return sending
