"""The body of a stranger's request: counted as it comes, cut off when it grows too large."""

import re
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Send

from charlm.limits import ELSEWHERE, Limits

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
