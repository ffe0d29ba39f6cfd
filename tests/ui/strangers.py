"""Visitors of a public Space as plain programs: no browser, no session, what they send is up to them."""

import json
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from charlm.public.identity import HEADER
from tests.patience import patience

SOON = {"hidden_size": 8, "num_layers": 1, "seq_len": 10, "batch_size": 4, "steps": 8, "eval_every": 4}
LONG = {**SOON, "steps": 2000, "eval_every": 1000, "batch_size": 256, "seq_len": 64}
SMALL = {"sherlock-small-lstm", "sherlock-small-gru", "sherlock-small-rnn"}
SHIPPED = {"sherlock-lstm", "sherlock-gru", "sherlock-rnn", "sherlock-transformer", *SMALL}
TRACES = ("Traceback", 'File "', ".py")  # no answer has any of them


class Bare:
    """Plain HTTP: no cookies, no session."""

    def __init__(self, address: str, headers: dict[str, str] | None = None) -> None:
        self.address, self.headers = address, headers or {}

    def call(self, name: str, *data: Any) -> tuple[str, Any]:
        call = f"{self.address}/gradio_api/call/{name}"
        event = self.post(f"call/{name}", {"data": data}).json()["event_id"]
        said = self._send("GET", f"{call}/{event}").text
        kind, data = [line for line in said.split("\n") if line][-2:]
        return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))

    def predict(self, name: str, *data: Any) -> Any:
        event, answer = self.call(name, *data)
        assert event == "complete", answer
        return answer[0]

    def refused(self, name: str, *data: Any) -> str:
        event, answer = self.call(name, *data)
        assert event == "error", answer
        return str(answer)

    def post(self, path: str, value: Any) -> httpx.Response:
        """A raw request with JSON in ASCII, so that half a surrogate pair can be sent."""
        url = f"{self.address}/gradio_api/{path}"
        return self._send("POST", url, {"content-type": "application/json"}, content=json.dumps(value))

    def get(self, path: str) -> httpx.Response:
        """A raw request; `path` is sent as it is."""
        return self._send("GET", f"{self.address}/{path}")

    def upload(self, content: bytes, name: str = "a.txt") -> str:
        """Where the server put it."""
        given = [("files", (name, content))]
        sent = self._send("POST", f"{self.address}/gradio_api/upload", files=given)
        assert sent.status_code == 200, sent.text
        [path] = sent.json()
        return str(path)

    def _send(self, method: str, url: str, headers: dict[str, str] | None = None, **content: Any) -> httpx.Response:
        """A client each: of one that threads share, httpcore closes a connection now and then while another reads."""
        with httpx.Client(
            timeout=patience(60), verify=False
        ) as client:  # without certificates, which take long to load
            return client.request(method, url, headers={**(headers or {}), **self.headers}, **content)


def at_once(what: Callable[[int], Any], times: int) -> list[Any]:
    """The answers to so many requests in the same instant."""
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(what, range(times)))


def stranger(address: str) -> Bare:
    """A visitor with a new secret."""
    return Bare(address, {HEADER: secrets.token_urlsafe(32)})


def file_data(path: Any, **more: Any) -> dict[str, Any]:
    """What gradio takes for a file."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "a.txt", **more}
