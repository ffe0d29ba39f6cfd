"""Cost against work: start and Runs tab with 3 to 2,000 runs in the folder, and a race of up to a million steps.

Seconds from starting the process to the first byte of the page; from the click on a tab to the first frame with it; and
from the click on Train to the curves of a finished race of three. It needs Playwright and Chromium. What a longer text
costs is measured by `bench corpora`, what more visitors cost by `bench crowd`.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.acting import ARCHS, stage
from bench.clicks import TABS, click
from bench.measure import Row
from bench.pages import DRAWN
from bench.start import chromium, first_byte, free_port, server

RUNS = (3, 30, 300, 1_998)
STEPS = (100, 10_000, 1_000_000)
FEW_STEPS = 100  # of each run where it is their number that matters: one validation, so that it can be compared
SETTLED = 2_000  # ms until what a page loads by itself is there


def measure(quick: bool = False) -> list[Row]:
    """A row for each number of runs and of steps; the goals are those of the largest."""
    runs, steps, rounds = (RUNS[:1], STEPS[:1], 1) if quick else (RUNS, STEPS, 3)
    rows = []
    with chromium() as browser:
        if browser is None:
            raise SystemExit("this needs playwright and chromium")
        for count in runs:
            found = _opened(browser, count // len(ARCHS), FEW_STEPS, rounds)
            name = f"{count:,} runs in the folder"
            rows += [
                Row(f"start, first byte, {name}", "s", [one["start"] for one in found], goal="<= 0.3 more than with 3"),
                Row(f"the Runs tab, {name}", "s", [one["Runs"] for one in found], goal="<= 0.5"),
            ]
        for count in steps:
            found = _opened(browser, 1, count, rounds)
            rows.append(Row(f"a race of three, {count:,} steps each, opened", "s", [one["Train"] for one in found]))
    return rows


def _opened(browser: Any, races: int, steps: int, rounds: int) -> list[dict[str, float]]:
    """Seconds until the app answers, Runs is shown and Train's curves are drawn, on a server started for each round."""
    from charlm.runs.store import RunStore

    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder) / "runs", Path(folder) / "shipped")
        for _ in range(races):
            stage(store, steps, "finished")
        return [_round(browser, store.root, f"{races} races of {steps:,} steps") for _ in range(rounds)]


def _round(browser: Any, root: Path, what: str) -> dict[str, float]:
    port, began = free_port(), time.perf_counter()
    with server([sys.executable, "app.py"], port, CHARLM_RUNS=os.fspath(root)) as process:
        found = {"start": first_byte(process, port, began)}
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator(TABS["Compare"]).first.wait_for()
        page.wait_for_timeout(SETTLED)
        found["Runs"] = click(page, "#tabs [aria-controls=tab-runs]", TABS["Runs"])
        page.wait_for_timeout(SETTLED)
        began = time.perf_counter()
        page.get_by_role("tab", name="Train", exact=True).click()
        page.evaluate(DRAWN)
        found["Train"] = time.perf_counter() - began
        page.close()
    shown = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items())
    print(f"  {what}: {shown}", file=sys.stderr, flush=True)
    return found
