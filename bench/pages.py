"""Pages: bytes and browser time of a tick, a history of 100,000 points opened, and what five pages cost a training.

The usual side of a tick and of a history is what tutorials do: a timer that sends the whole figure to a gr.Plot. A page
shows a race of three. Bytes are bodies both ways, without HTTP's own headers. Without Chromium, only what five clients
cost is measured that ask as a page does.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.measure import ROOT, Row
from bench.start import chromium

PAGES = 5
SETTLED = 4.0  # seconds until a page is watched
PATIENCE = 120_000  # ms
DRAWN = """() => new Promise((done) => {
  const look = () => {
    const plot = document.querySelector('#train-plot .js-plotly-plot');
    const points = plot?.data?.reduce((sum, trace) => sum + (trace.x?.length ?? trace.x?.bdata?.length ?? 0), 0);
    if (points && plot.querySelector('.js-line')) requestAnimationFrame(() => setTimeout(done));
    else requestAnimationFrame(look);
  };
  look();
})"""


class Server:
    """A process of bench/acting.py; `round(seconds)` only where it trains."""

    def __init__(self, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.acting", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address: str = self._answer()["address"]
        if words[0] == "training":
            self._answer()  # warm

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a server of the bench ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def round(self, seconds: float) -> float:
        """Steps a second."""
        assert self._process.stdin
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return float(self._answer()["steps_per_second"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def measure(quick: bool = False) -> list[Row]:
    """Rows of ticks, histories and trainings."""
    sizes, rounds, seconds = ((200,), 1, 3.0) if quick else ((1_000, 100_000), 3, 6.0)
    rows = []
    with chromium() as browser:
        if browser is None:
            print("no Chromium with Playwright: ticks, histories and real pages are left out", file=sys.stderr)
        else:
            for points in sizes:
                rows += _ticks(browser, points, rounds, seconds)
            rows += _histories(browser, sizes[-1], rounds)
        rows += _trainings(browser, quick)
    return rows


@contextlib.contextmanager
def _served(side: str, points: int, how: str) -> Iterator[str]:
    server = Server(side, str(points), how)
    try:
        yield server.address
    finally:
        server.close()


def _ticks(browser: Any, points: int, rounds: int, seconds: float) -> list[Row]:
    """What a page of a growing race costs."""
    found: dict[str, list[tuple[float, float]]] = {"usual": [], "ours": []}
    with _served("usual", points, "running") as usual, _served("ours", points, "running") as ours:
        for side, address in (("usual", usual), ("ours", ours)) * rounds:
            size, share = _watched(browser, address, seconds)
            _say(f"{side}, {points:,} points: {size:,.0f} bytes a tick, main thread {share:.3f} s/s")
            found[side].append((size, share))
    sizes, shares = ({side: [one[which] for one in found[side]] for side in found} for which in (0, 1))
    name = f"race of three, {points:,} points each"
    return [
        Row(f"a tick, {name}", "bytes", sizes["ours"], sizes["usual"], "<= 1024", less_is_better=True),
        Row(f"browser's main thread, {name}", "s/s", shares["ours"], shares["usual"], less_is_better=True),
    ]


def _watched(browser: Any, address: str, seconds: float) -> tuple[float, float]:
    """Bodies of all calls a tick, and the share of the time that the page's main thread is busy."""
    page = _opened(browser, address)
    page.get_by_role("tab", name="Train", exact=True).click()
    page.evaluate(DRAWN)
    page.wait_for_timeout(1000 * SETTLED)
    wire = page.context.new_cdp_session(page)
    traffic = {"asked": 0, "bytes": 0}

    def asked(event: dict[str, Any]) -> None:
        if event["request"]["method"] == "POST":
            traffic["asked"] += 1
            traffic["bytes"] += len((event["request"].get("postData") or "").encode())

    def received(event: dict[str, Any]) -> None:
        traffic["bytes"] += event["dataLength"]

    wire.on("Network.requestWillBeSent", asked)
    wire.on("Network.dataReceived", received)
    wire.send("Network.enable")
    wire.send("Performance.enable")
    began, busy, took = time.perf_counter(), _busy(wire), 0.0
    while took < seconds or (traffic["asked"] < 2 and took < 6 * seconds):
        page.wait_for_timeout(200)
        took = time.perf_counter() - began
    share = (_busy(wire) - busy) / took
    page.context.close()
    return traffic["bytes"] / max(traffic["asked"], 1), share


def _busy(wire: Any) -> float:
    metrics = wire.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def _histories(browser: Any, points: int, rounds: int) -> list[Row]:
    """How long a finished race's curves take, from the click on the tab, on a server that has just been started."""
    found: dict[str, list[float]] = {"usual": [], "ours": []}
    for side in list(found) * rounds:
        with _served(side, points, "finished") as address:
            page = _opened(browser, address)
            page.wait_for_timeout(1000 * SETTLED)  # plotly itself comes with the first tab's plot
            began = time.perf_counter()
            page.get_by_role("tab", name="Train", exact=True).click()
            page.evaluate(DRAWN)
            found[side].append(time.perf_counter() - began)
            page.context.close()
        _say(f"{side}, {points:,} points: drawn after {found[side][-1]:.2f} s")
    name = f"a race of three, {points:,} points each, opened"
    return [Row(name, "s", found["ours"], found["usual"], "<= 2 s", less_is_better=True)]


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _opened(browser: Any, address: str) -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.get_by_role("tab", name="Train", exact=True).wait_for()
    return page


def _trainings(browser: Any, quick: bool) -> list[Row]:
    """Steps a second with pages and without, in turn; the smaller the model, the more a page is felt."""
    clients = ("five pages (no browsers)", _visitors, ">= 0.97x", 10)
    crowd = ("five pages in Chromium on this machine", lambda address: _crowd(browser, address), "", 3)
    plan = {"rnn": [clients]} if quick else {"lstm": [clients, *([crowd] if browser else [])], "race": [clients]}
    rows, seconds = [], 1.0 if quick else 3.0
    for arch, visits in plan.items():
        server = Server("training", arch)
        try:
            server.round(seconds)
            for what, visit, goal, rounds in visits:
                alone, beside = _in_turn(server, visit, 1 if quick else rounds, seconds)
                rows.append(Row(f"quick {arch} beside {what} (usual: none)", "steps/s", beside, alone, goal))
        finally:
            server.close()
    return rows


def _in_turn(
    server: Server, visit: Callable[[str], Any], rounds: int, seconds: float
) -> tuple[Sequence[float], Sequence[float]]:
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(server.round(seconds))
        with visit(server.address):
            beside.append(server.round(seconds))
        _say(f"alone {alone[-1]:.2f}, with five pages {beside[-1]:.2f} steps/s")
    return alone, beside


@contextlib.contextmanager
def _visitors(address: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.visiting", address, str(PAGES)], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout
        process.stdout.readline()
        time.sleep(2)
        yield
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def _crowd(browser: Any, address: str) -> Iterator[None]:
    pages = [_opened(browser, address) for _ in range(PAGES)]
    for page in pages:
        page.get_by_role("tab", name="Train", exact=True).click()
        page.evaluate(DRAWN)
    time.sleep(2)
    try:
        yield
    finally:
        for page in pages:
            page.context.close()
