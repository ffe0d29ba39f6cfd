"""Strangers without a browser for bench/crowd.py: each has a secret of its own and asks for text after text."""

import http.client
import json
import secrets
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

RUNS = ("sherlock-lstm", "sherlock-gru", "sherlock-rnn")
LENGTHS = (200, 400, 600, 800, 1000)
PATIENCE = 300  # seconds


@dataclass(frozen=True)
class Wish:
    """One text to be written; no two clients have the same prompt."""

    client: int
    number: int

    @property
    def prompt(self) -> str:
        """Letters that name the client and the text."""
        name = "".join(chr(65 + digit) for digit in (self.client // 26, self.client % 26, self.number % 26))
        return f"Mr. {name} said "

    @property
    def inputs(self) -> list[Any]:
        """Of the endpoint /generate."""
        place = self.client + self.number
        options = {"greedy": True} if place % 4 == 0 else {"seed": place}
        return [RUNS[place % len(RUNS)], self.prompt, LENGTHS[place % len(LENGTHS)], options]


@dataclass
class Told:
    """The result of a wish.

    Attributes:
        first: seconds until the first text, or until a refusal.
        whole: seconds until the end.
        text: the last state of it.
        refusal: the sentence, if it was refused.
        own: whether every state began with the client's own prompt.
    """

    client: int
    number: int
    first: float = 0.0
    whole: float = 0.0
    text: str = ""
    refusal: str = ""
    own: bool = True


@dataclass
class Client:
    """One stranger; a connection for each request, as programs without a session have it."""

    address: str
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    def ask(self, wish: Wish) -> Told:
        """Have one text written."""
        told, began = Told(wish.client, wish.number), time.perf_counter()
        for event, data in self.call("generate", wish.inputs):
            if event == "error":
                told.refusal = str(data)
            elif event in ("generating", "complete") and data:
                told.text = data[0]
                told.own = told.own and told.text.startswith(wish.prompt)
            if not told.first and (told.refusal or len(told.text) > len(wish.prompt)):
                told.first = time.perf_counter() - began
        told.whole = time.perf_counter() - began
        return told

    def call(self, name: str, inputs: list[Any]) -> Any:
        """The events of a call to an endpoint: name and data."""
        status, body = self._send("POST", f"/gradio_api/call/{name}", json.dumps({"data": inputs}))
        answer = json.loads(body.read())
        if status != 200:
            yield "error", answer
            return
        event = ""
        for line in self._send("GET", f"/gradio_api/call/{name}/{answer['event_id']}")[1]:
            kind, _, rest = line.decode().rstrip("\n").partition(": ")
            event = rest if kind == "event" else event
            if kind == "data":
                yield event, json.loads(rest)

    def _send(self, method: str, path: str, body: str | None = None) -> tuple[int, http.client.HTTPResponse]:
        line = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=PATIENCE)
        line.request(method, path, body, {"Content-Type": "application/json", "x-charlm-visitor": self.secret})
        answer = line.getresponse()
        return answer.status, answer


def crowd(address: str, clients: int, times: int) -> list[Told]:
    """So many clients at once, each with so many wishes one after the other."""
    told: list[Told] = []

    def stay(number: int) -> None:
        client = Client(address)
        for count in range(times):
            told.append(client.ask(Wish(number, count)))

    threads = [threading.Thread(target=stay, args=[number], daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return told


def main() -> None:
    """`ADDRESS CLIENTS TIMES`: prints the results of all wishes, as JSON."""
    print(json.dumps([asdict(one) for one in crowd(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))]))


if __name__ == "__main__":
    main()
