"""A server under load for hours: trainings end to end, pages that come and go; then as small as it was. By option."""

import contextlib
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.start import chromium, first_byte, free_port
from charlm.ui.app import SESSIONS
from tests.patience import patience, wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
MB = 1 << 20
GROWTH = 50.0  # MB that the server may grow by
# A server at rest keeps a worker thread or two of gradio's pool, which come and go with what they last did; a thread
# left over by every training, page or client would be hundreds. The same goes for the handles those threads wait on.
SPARE_THREADS = 3
SPARE_HANDLES = 4
# Gradio remembers this many pages, the last ones, and some go away before they count: the server is warm only then.
FILLED = 1.5 * SESSIONS
KEPT_RUNS = 12  # the older ones are deleted
PATIENCE = 600.0  # seconds until a training or a page counts as hung; a soak runs beside other work
ROUNDS = 10  # the server is let rest, and measured, after each
ARCHS = ("lstm", "gru", "rnn")
SMALL = {"hidden_size": 16, "num_layers": 1, "seq_len": 20, "batch_size": 8, "eval_every": 50}
TEXTS = {
    name: f"The {name} sat on the mat, and then the {name} ran away with the spoon. " * 40
    for name in ("cat", "dog", "hen", "fox")
}


class Server:
    """app.py in a process of its own, and what it costs."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}/"
        self.env = {
            **os.environ,
            "CHARLM_RUNS": str(folder / "runs"),
            "CHARLM_DATA": str(folder / "data"),
            "GRADIO_TEMP_DIR": str(folder / "uploads"),
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(self.port),
        }
        self.log = folder / "server.txt"
        with self.log.open("w") as said:
            self._child = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=self.env, stdout=said, stderr=said)
        self._process = psutil.Process(self._child.pid)
        first_byte(self._child, self.port, time.perf_counter())

    def cost(self) -> dict[str, float]:
        """Memory in MB, threads, open files and sockets, children, at this moment."""
        memory = self._process.memory_full_info()
        return {
            "rss": memory.rss / MB,
            "uss": memory.uss / MB,
            "threads": self._process.num_threads(),
            "handles": self._process.num_fds(),
            "sockets": len(self._process.net_connections(kind="inet")),
            "children": len(self._process.children()),
        }

    def close(self) -> None:
        """End it as a Space would."""
        self._child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(patience(20))
        self._child.kill()
        self._child.wait()


class Trainings(threading.Thread):
    """One training after the other through the endpoints, with all that can be asked of them, until told to end."""

    def __init__(self, server: Server, folder: Path, seed: int) -> None:
        super().__init__(name=f"trainings-{seed}", daemon=True)
        self._server = server
        self._dice = random.Random(seed)
        self._enough = threading.Event()
        self._folder = folder
        self.trained = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        """Until `end`; what goes wrong is kept for the test."""
        try:
            while not self._enough.is_set():
                self._visit()
        except BaseException as error:  # told by `end`, in the test's own thread
            self.error = error

    def end(self) -> int:
        """Let the present training end; returns how many runs there were."""
        self._enough.set()
        self.join(patience(PATIENCE))
        assert not self.is_alive(), "a training hangs"
        if self.error:
            raise self.error
        return self.trained

    def _visit(self) -> None:
        """A client of its own, for a handful of trainings."""
        from gradio_client import Client

        lab = Client(
            self._server.address, verbose=False, download_files=False, httpx_kwargs={"timeout": patience(PATIENCE)}
        )
        try:
            for _ in range(5):
                if not self._enough.is_set():
                    self._train(lab)
            self._tidy(lab)
        finally:
            lab.close()

    def _train(self, lab: Any) -> None:
        """A single training or a race to its end, with a pause or a stop now and then, and texts of what came of it."""
        options = {**SMALL, "steps": self._dice.randint(200, 500), "dropout": self._dice.choice((0.0, 0.2))}
        corpus, file = self._text()
        if self._dice.random() < 0.4:
            archs = self._dice.sample(ARCHS, self._dice.randint(2, 3))
            ids = [one["run_id"] for one in lab.predict(corpus, file, archs, options, api_name="/race")]
        else:
            arch = self._dice.choice(ARCHS)
            ids = [lab.predict(corpus, file, arch, options, api_name="/train")["run_id"]]
        self._meddle(lab, ids[0])
        self._wait(lab, ids)
        if self._dice.random() < 0.3:
            lab.predict(ids[0], {"steps": 100}, api_name="/resume")
            self._wait(lab, ids)
        list(lab.submit(ids[0], "The ", 100, {"seed": 1}, api_name="/generate"))
        list(lab.submit(ids, "The ", 100, {"seed": 1}, api_name="/compare"))
        lab.predict(ids[0], "", {"split": "val"}, api_name="/evaluate")
        self.trained += len(ids)

    def _text(self) -> tuple[str, Any]:
        """A name of the catalog and no upload, or an upload."""
        from gradio_client import handle_file

        if self._dice.random() < 0.2:
            return "sherlock", None
        name = self._dice.choice(list(TEXTS))
        path = self._folder / f"{name}.txt"
        path.write_text(TEXTS[name], encoding="utf-8")
        return "", handle_file(path)

    def _meddle(self, lab: Any, run_id: str) -> None:
        """Pause and go on, or stop; a training that has ended by then says so, which is well."""
        from gradio_client.exceptions import AppError

        words = self._dice.choice(((), ("/pause", "/resume"), ("/stop",), ()))
        with contextlib.suppress(AppError):
            for word in words:
                lab.predict(run_id, *([{}] if word == "/resume" else []), api_name=word)

    def _wait(self, lab: Any, ids: list[str]) -> None:
        def ended(run_id: str) -> Any:
            state = lab.predict(run_id, 10**9, api_name="/status")
            return state["status"] not in ("queued", "running", "paused") and state

        for run_id in ids:
            state = wait_for(partial(ended, run_id), f"for {run_id} to end", seconds=PATIENCE, pause=0.3)
            assert state["status"] in ("finished", "stopped"), state

    def _tidy(self, lab: Any) -> None:
        """Delete all but the newest runs, as a user would on the command line."""
        runs = [one for one in lab.predict(api_name="/runs") if not one["shipped"]]
        old = [one["run_id"] for one in runs[KEPT_RUNS:] if one["status"] in ("finished", "stopped")]
        if old:
            for words in (["delete", "--yes", *old], ["empty-trash", "--yes"]):
                command = [sys.executable, "-m", "charlm", "runs", *words]
                subprocess.run(command, cwd=ROOT, env=self._server.env, check=True, stdout=subprocess.DEVNULL)


class Pages:
    """Visitors that open the page, look at each tab and leave; some leave before it is there."""

    def __init__(self, browser: Any, address: str) -> None:
        self._browser = browser
        self._address = address
        self._dice = random.Random(7)
        self.opened = 0
        self.problems: list[str] = []

    def visit(self) -> None:
        """One visitor."""
        visitor = self._browser.new_context(viewport={"width": 1280, "height": 900})
        visitor.set_default_timeout(1000 * patience(PATIENCE))
        try:
            page = visitor.new_page()
            page.on("pageerror", lambda error: self.problems.append(str(error)))
            hasty = self._dice.random() < 0.3
            page.goto(self._address, wait_until="commit")
            if not hasty:
                self._look(page)
            self.opened += 1
        finally:
            visitor.close()

    def _look(self, page: Any) -> None:
        page.get_by_role("tab", name="Compare", exact=True).wait_for()
        page.locator("#compare-columns .col").first.wait_for()
        if self._dice.random() < 0.5:
            page.locator("#compare-generate").click()
        page.locator("#compare-plot .js-plotly-plot").wait_for()
        page.get_by_role("tab", name="Train", exact=True).click()
        page.locator("#train-estimates", has_text="parameters").wait_for()
        page.get_by_role("tab", name="Corpus", exact=True).click()
        page.locator("#corpus-guessing .bars").wait_for()
        page.get_by_role("tab", name="Runs", exact=True).click()
        page.locator("#runs-table button.name").first.click()
        page.locator("#runs-details", has_text="parameters").wait_for()


class Soak:
    """Load for some minutes, rest, and what the server costs, a line a minute."""

    def __init__(self, server: Server, pages: Pages, folder: Path, log: Path) -> None:
        self._server = server
        self._pages = pages
        self._folder = folder
        self._log = log
        self._began = time.monotonic()
        self._seed = 0
        self.trained = 0

    def work(self, seconds: float) -> None:
        """Trainings and pages for so long."""
        self._seed += 1
        trainings = Trainings(self._server, self._folder, self._seed)
        trainings.start()
        end, before = time.monotonic() + seconds, self.trained
        told = time.monotonic()
        while time.monotonic() < end and trainings.is_alive():
            self._pages.visit()
            self.trained = before + trainings.trained
            if time.monotonic() - told >= 60:
                told = time.monotonic()
                self.tell("work", self._server.cost())
        self.trained = before + trainings.end()

    def rest(self) -> dict[str, float]:
        """The server's costs when nobody asks for anything: medians, once they have settled."""
        deadline, costs = time.monotonic() + 120, [self._quiet()]
        while time.monotonic() < deadline:
            costs.append(self._quiet())
            latest = costs[-6:]
            if len(latest) == 6 and all(len({cost[name] for cost in latest}) == 1 for name in ("threads", "handles")):
                break
        found = {name: statistics.median(cost[name] for cost in costs[-6:]) for name in costs[0]}
        self.tell("rest", found)
        return found

    def _quiet(self) -> dict[str, float]:
        """The costs 3 s after a call: calls make the pool let go of threads that have had nothing to do for 10 s."""
        from gradio_client import Client

        lab = Client(self._server.address, verbose=False, download_files=False)
        lab.predict(api_name="/corpora")
        lab.close()
        time.sleep(3)
        return self._server.cost()

    def minutes(self) -> float:
        """Since the beginning."""
        return (time.monotonic() - self._began) / 60

    def tell(self, what: str, cost: dict[str, float]) -> None:
        """A line of the log."""
        numbers = "  ".join(f"{name} {value:.1f}" for name, value in cost.items())
        with self._log.open("a", encoding="utf-8") as log:
            log.write(
                f"{self.minutes():6.1f} min  {what}  {numbers}  runs {self.trained}  pages {self._pages.opened}\n"
            )


@pytest.fixture
def minutes(request: pytest.FixtureRequest) -> float:
    chosen: float = request.config.getoption("--soak")
    if not chosen:
        pytest.skip("takes hours; --soak MINUTES runs it")
    return chosen


@pytest.fixture
def server(minutes: float, tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    yield started
    started.close()


@pytest.fixture
def pages(server: Server) -> Iterator[Pages]:
    """Visitors with a browser of their own, which ends with the test."""
    with chromium() as browser:
        if browser is None:
            pytest.skip("no chromium with playwright at hand; on Debian: apt-get install chromium")
        yield Pages(browser, server.address)


@pytest.mark.timeout(0)
def test_hours_of_trainings_and_pages_leave_nothing_behind(
    minutes: float, server: Server, pages: Pages, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    soak = Soak(server, pages, tmp_path, Path(request.config.getoption("--soak-log") or tmp_path / "soak.log"))
    warm_up = min(max(180.0, 6.0 * minutes), 30.0 * minutes)
    soak.work(warm_up)
    while pages.opened < FILLED and soak.minutes() < minutes / 3:
        soak.work(60.0)
    before, left = soak.rest(), 60.0 * (minutes - soak.minutes())
    for _ in range(ROUNDS):
        soak.work(left / ROUNDS)
        after = soak.rest()
    assert soak.trained > 10 and pages.opened > 3
    assert not pages.problems
    assert after["rss"] - before["rss"] < GROWTH, (before, after)
    assert after["threads"] <= before["threads"] + SPARE_THREADS, (before, after)
    assert after["handles"] <= before["handles"] + SPARE_HANDLES, (before, after)
    assert after["children"] <= before["children"], (before, after)
    assert "Traceback" not in server.log.read_text(encoding="utf-8")
