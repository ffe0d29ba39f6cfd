"""Pages without a browser for bench/pages.py: clients that ask the server exactly what strip.js and train.js ask."""

import http.client
import json
import sys
import threading
import time
from urllib.parse import urlsplit

PATH = "/gradio_api/pulse"


class Visitor:
    """One page with the Train tab open."""

    def __init__(self, address: str) -> None:
        self._line = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
        self._mark = self._key = None
        self._since: list[int] = []
        self._seen: list[object] = []

    def tick(self) -> float:
        """Ask once; seconds until the next time."""
        asked = {"strip": self._mark, "train": {"key": self._key, "since": self._since, "seen": self._seen}}
        self._line.request("POST", PATH, json.dumps(asked), {"Content-Type": "application/json"})
        told = json.loads(self._line.getresponse().read())
        news = told["train"]
        self._mark = told["strip"].get("mark", self._mark)
        self._seen = news.get("seen", self._seen)
        if "text" in news:  # a browser would have the whole plot drawn now
            self._key, self._since = news["text"], [-1] * len(news.get("rows", []))
        if "points" in news:
            self._since = [points[-1] for points in news["points"]]
        return float(told["wait"])

    def stay(self) -> None:
        """Ask again and again."""
        while True:
            time.sleep(self.tick())


def main() -> None:
    """`ADDRESS COUNT`: so many pages stay open until this process is ended."""
    visitors = [Visitor(sys.argv[1]) for _ in range(int(sys.argv[2]))]
    for place, visitor in enumerate(visitors):
        threading.Timer(place / len(visitors), visitor.stay).start()
    print("here", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
