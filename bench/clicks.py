"""How long a visitor waits after a click: until the page can be used, a tab is shown, the first characters come.

The times are taken in the page itself, from the click to the first frame that shows what was asked for. It needs
Playwright and Chromium, and a machine that does nothing else.
"""

import statistics
import sys
import time
from typing import Any

from bench.start import chromium, first_byte, free_port, server, usable

TIMES = 7
# What a tab shows when it is there.
TABS = {"Train": "#train-archs", "Corpus": "#corpus-sees", "Runs": "#runs-table button.name",
        "Understand": "#understand-models", "Compare": "#compare-columns .col"}  # fmt: skip
GOALS = {"open": 3.0, "first characters": 0.3}
TAB_GOAL = 0.3
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


def measure(browser: Any, port: int) -> dict[str, list[float]]:
    """Seconds of each kind of click, TIMES each; the first round warms up and is not counted."""
    seconds: dict[str, list[float]] = {}
    for _ in range(TIMES + 1):
        seconds.setdefault("open", []).append(usable(browser, port, time.perf_counter()))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#compare-plot .main-svg").first.wait_for()
        page.wait_for_timeout(1000)
        for tab, shown in TABS.items():
            found = click(page, f"#tabs [aria-controls=tab-{tab.lower()}]", shown)
            seconds.setdefault(f"tab {tab}", []).append(found)
            page.wait_for_timeout(500)
        text = "#compare-columns .col .text"
        seconds.setdefault("first characters", []).append(click(page, "#compare-generate", text, True))
        page.close()
    return {name: found[1:] for name, found in seconds.items()}


def main() -> None:
    """Print a table: median, least, most and goal, in seconds."""
    with chromium() as browser:
        if browser is None:
            raise SystemExit("this needs playwright and chromium")
        port = free_port()
        with server([sys.executable, "app.py"], port) as process:
            first_byte(process, port, time.perf_counter())
            found = measure(browser, port)
    print("| Click | Median, s | Least | Most | Goal |\n|---|---|---|---|---|")
    for name, seconds in found.items():
        goal = GOALS.get(name, TAB_GOAL)
        print(f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f} | {goal:g} |")


if __name__ == "__main__":
    main()
