"""The doorman before a small app: bodies are counted however they come, and only open routes are reached."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.public.identity import HEADER
from charlm.public.limits import Limits
from charlm.public.middleware import ALLOWED, MULTIPART, PublicMiddleware
from charlm.public.quotas import Quotas
from charlm.ui.services import VisitorFiles, who
from tests.ui.strangers import file_data
from tests.ui.waiting import finished

LIMITS = Limits(body_bytes=2000, question_bytes=1000, files_a_request=2, uploads_an_hour=5, waiting_requests=4)
UPLOAD, JOIN = "/gradio_api/upload", "/gradio_api/queue/join"
SECRET = "s" * 30
FORM_TYPE = "multipart/form-data; boundary=b"


class App:
    """Reads the whole body and answers with its length; an upload with a path for each file."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    def get_blocks(self) -> Any:
        return SimpleNamespace(_queue=SimpleNamespace(event_queue_per_concurrency_id={}, active_jobs=[]))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append(scope["path"])
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        body = b'["/cache/a.txt", "/cache/b.txt"]' if scope["path"] == UPLOAD else str(size).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


class Door:
    """An app behind a doorman, to be asked."""

    def __init__(self) -> None:
        self.app = App()
        self.quotas = Quotas(LIMITS)
        self.files = VisitorFiles(who, self.quotas)
        self.doorman = PublicMiddleware(self.app, self.quotas, self.files)

    def ask(self, method: str, path: str, *pieces: bytes, **headers: str) -> tuple[int, bytes]:
        """Status and body of the answer to a request whose body comes in these pieces."""
        coming = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        coming = [*coming, {"type": "http.request", "body": b"", "more_body": False}]
        told: list[Any] = []

        async def receive() -> Any:
            return coming.pop(0) if coming else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            told.append(message)

        lines = {HEADER: SECRET, **{name.replace("_", "-"): value for name, value in headers.items()}}
        scope = {
            "type": "http", "method": method, "path": path, "client": ("198.51.100.7", 1), "app": self.app,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in lines.items()],
        }  # fmt: skip
        finished(self.doorman(scope, receive, send))
        starts = [message["status"] for message in told if message["type"] == "http.response.start"]
        assert len(starts) == 1, told
        return starts[0], b"".join(message.get("body", b"") for message in told)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=8))
def test_a_question_has_so_many_bytes_in_whatever_pieces(pieces: list[bytes]) -> None:
    pieces = [b" " * len(piece) for piece in pieces]  # no JSON
    size = sum(map(len, pieces))
    status, told = Door().ask("POST", JOIN, *pieces)
    assert (status, told) == (200, str(size).encode()) if size <= 1000 else status == 413


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6), st.integers(1, 50))
def test_files_are_counted_across_pieces(files: int, cut: int) -> None:
    body = b"".join(b"--b\r\ncontent-disposition: form-data\r\n\r\nx\r\n" for _ in range(files)) + b"--b--\r\n"
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
    door = Door()
    status, _ = door.ask("POST", UPLOAD, *pieces, content_type=FORM_TYPE)
    assert status == (200 if files <= LIMITS.files_a_request else 413)


@pytest.mark.parametrize(
    "spelling",
    ["multipart/form-data", "multipart/form-data; BOUNDARY=b", "multipart/form-data; boundary*=utf-8''b",
     "multipart/form-data; boundary=c; boundary=b", 'multipart/form-data; boundary="b" ', "application/json", "",
     "multipart/form-data; x=boundary=c; boundary=b", "multipart/form-data;boundary=", "multipart/mixed; boundary=b",
     "Multipart/Form-Data; boundary=b", "multipart/form-data; boundary=b\u00e9"],
)  # fmt: skip
def test_other_spellings_of_a_form_do_not_hide_files(spelling: str) -> None:
    door = Door()
    assert door.ask("POST", UPLOAD, b"--b--", content_type=spelling)[0] == 415
    assert not door.app.reached


@pytest.mark.parametrize(
    "spelling",
    ["multipart/form-data; boundary=----WebKitFormBoundaryAbc123", "multipart/form-data; boundary=0a1b2c",
     "multipart/form-data;boundary=x", 'multipart/form-data; boundary="a_b"'],
)  # fmt: skip
def test_what_browsers_and_clients_write_is_known(spelling: str) -> None:
    assert MULTIPART.fullmatch(spelling)


def test_many_uploads_at_once_are_many() -> None:
    """Each counts when it comes, not when it has been read."""
    door = Door()
    answers = [door.ask("POST", UPLOAD, b"x" * 3000, content_type=FORM_TYPE)[0] for _ in range(7)]
    assert answers == [413] * 5 + [429] * 2


def test_every_file_of_an_upload_counts_and_is_owned() -> None:
    door = Door()
    answers = [door.ask("POST", UPLOAD, b"--b--", content_type=FORM_TYPE)[0] for _ in range(4)]
    assert answers == [200, 200, 200, 429]  # two files each
    assert door.ask("GET", "/gradio_api/file=/cache/a.txt")[0] == 200
    assert door.ask("GET", "/gradio_api/file=/cache/a.txt", **{HEADER: "t" * 30})[0] == 404
    assert door.ask("GET", "/gradio_api/file=/cache/c.txt")[0] == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "http://198.51.100.7/secret", "/cache/a.txt\0", "\ud800", ""])
def test_a_call_names_ones_own_files_only(path: str) -> None:
    door = Door()
    assert door.ask("POST", JOIN, json.dumps({"data": [file_data(path)]}).encode())[0] == 400
    assert not door.app.reached
    door.ask("POST", UPLOAD, b"--b--", content_type=FORM_TYPE)
    assert door.ask("POST", JOIN, json.dumps({"data": [file_data("/cache/a.txt")]}).encode())[0] == 200


@given(st.sampled_from(["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get", "POST", "GET", "HEAD"]),
       st.text(max_size=60))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_only_what_is_open_is_reached(method: str, path: str) -> None:
    door = Door()
    status, _ = door.ask(method, "/" + path)
    is_open = method in ALLOWED and ALLOWED[method].fullmatch("/" + path)
    assert status == (200 if is_open else 404) and bool(door.app.reached) is bool(is_open)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_closed_even_where_a_page_reads(method: str) -> None:
    door = Door()
    assert door.ask(method, "/config")[0] == 404 and not door.app.reached


@pytest.mark.parametrize("length", ["1001", "99999999999999999999"])
def test_a_body_said_to_be_too_large_is_not_read(length: str) -> None:
    door = Door()
    assert door.ask("POST", JOIN, b"{}", content_length=length)[0] == 413 and not door.app.reached
