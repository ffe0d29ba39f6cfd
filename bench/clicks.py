"""How long a visitor waits after a click: until the page can be used, a tab is shown, the first characters come.

The times are taken in the page itself, from the click to the first frame that shows what was asked for; opening is
compared with that of an empty gr.Blocks app. It needs Playwright and Chromium, and a machine that does nothing else.
"""

import sys
import time
from typing import Any

from bench.measure import Row
from bench.start import EMPTY, chromium, first_byte, free_port, server, usable

OPENED = "clicks, open"
FIRST = "clicks, first characters"
# What a tab shows when it is there.
TABS = {"Train": "#train-archs", "Corpus": "#corpus-sees", "Runs": "#runs-table button.name",
        "Understand": "#understand-models", "Compare": "#compare-columns .col"}  # fmt: skip
GOALS = {OPENED: "<= 3 s, <= 1.5x an empty gr.Blocks"}
OTHER_GOALS = "<= 0.3 s"
CLICK_JS = """([button, shown, changed]) => new Promise((resolve) => {
  const text = () => changed ? document.querySelector(shown)?.textContent : '';
  const before = text(), began = performance.now();
  const look = () => {
    const one = document.querySelector(shown);
    if (one?.checkVisibility() && (!changed || text() !== before)) resolve((performance.now() - began) / 1000);
    else requestAnimationFrame(look);
  };
  document.querySelector(button).click();
  requestAnimationFrame(look);
})"""


def click(page: Any, button: str, shown: str, changed: bool = False) -> float:
    """Seconds from a click until something is shown, or its text is another."""
    return float(page.evaluate(CLICK_JS, [button, shown, changed]))


def measure(quick: bool = False) -> list[Row]:
    """Rows of opening, of each tab and of the first characters; the first round of each warms up and is not counted."""
    rounds = 2 if quick else 8
    ours, usual = free_port(), free_port()
    seconds: dict[str, list[float]] = {}
    empty = []
    with (
        chromium() as browser,
        server([sys.executable, "app.py"], ours) as app,
        server([sys.executable, "-c", EMPTY], usual) as blocks,
    ):
        if browser is None:
            raise SystemExit("this needs playwright and chromium")
        for process, port in ((app, ours), (blocks, usual)):
            first_byte(process, port, time.perf_counter())
        for _ in range(rounds):
            empty.append(usable(browser, usual, time.perf_counter()))
            seconds.setdefault(OPENED, []).append(usable(browser, ours, time.perf_counter()))
            for what, taken in _clicks(browser, ours).items():
                seconds.setdefault(what, []).append(taken)
    return [
        Row(
            what,
            "s",
            taken[1:],
            empty[1:] if what == OPENED else (),
            GOALS.get(what, OTHER_GOALS),
            less_is_better=True,
        )
        for what, taken in seconds.items()
    ]


def _clicks(browser: Any, port: int) -> dict[str, float]:
    """Seconds of one click of each kind, in a new page."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"http://127.0.0.1:{port}/")
    page.locator("#compare-plot .main-svg").first.wait_for()
    page.wait_for_timeout(1000)
    seconds = {}
    for tab, shown in TABS.items():
        seconds[f"clicks, tab {tab}"] = click(page, f"#tabs [aria-controls=tab-{tab.lower()}]", shown)
        page.wait_for_timeout(500)
    seconds[FIRST] = click(page, "#compare-generate", "#compare-columns .col .text", True)
    page.close()
    return seconds
