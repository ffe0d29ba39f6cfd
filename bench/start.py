"""How long the app takes to open, beside an empty gr.Blocks app in the same environment.

Seconds from starting the process to the first byte of the page and, where Chromium is at hand, to a page whose tabs can
be clicked.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from bench.measure import ROOT, Row

EMPTY = """
import gradio as gr
with gr.Blocks(analytics_enabled=False) as demo:
    with gr.Tab("One"):
        gr.Textbox(label="One")
demo.launch()
"""
CHROMIUM_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 120.0  # seconds until a start counts as failed
# Asked at every frame; to wait for a locator asks twice a second.
TAB_JS = "document.querySelector('[role=tab]')?.checkVisibility({ visibilityProperty: true })"


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(command: list[str], port: int, **env: str) -> Iterator[subprocess.Popen]:
    """The app as a process of its own, with empty folders for runs and data; ended at the end."""
    with tempfile.TemporaryDirectory() as folder:
        place = {"CHARLM_RUNS": f"{folder}/runs", "CHARLM_DATA": f"{folder}/data"}
        address = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port)}
        quiet = {"GRADIO_ANALYTICS_ENABLED": "False"}
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **place, **address, **quiet, **env}, stdout=subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            process.kill()
            process.wait()


def first_byte(process: subprocess.Popen, port: int, started: float) -> float:
    """Seconds from `started` until the page answers."""
    while time.perf_counter() - started < PATIENCE:
        if process.poll() is not None:
            raise SystemExit(f"the app ended with exit code {process.returncode} before it answered")
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                answer.read(1)
            return time.perf_counter() - started
        time.sleep(0.02)
    raise SystemExit(f"no answer within {PATIENCE:.0f} s")


def usable(browser: Any, port: int, started: float) -> float:
    """Seconds from `started` until a tab can be clicked."""
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
    page.wait_for_function(TAB_JS, timeout=PATIENCE * 1000)
    page.get_by_role("tab").first.click(timeout=PATIENCE * 1000)
    seconds = time.perf_counter() - started
    page.close()
    return seconds


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser, or None where Playwright or Chromium is not at hand."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_ARGS))
        yield browser
        browser.close()


def one_start(command: list[str], browser: Any) -> dict[str, float]:
    """One start: seconds to the first byte and to a usable page."""
    port, started = free_port(), time.perf_counter()
    with server(command, port) as process:
        seconds = {"first byte": first_byte(process, port, started)}
        if browser is not None:
            seconds["usable page"] = usable(browser, port, started)
    return seconds


def measure(quick: bool = False) -> list[Row]:
    """Alternate the two apps; the first start of each warms the disk and is not counted."""
    apps = {"usual": [sys.executable, "-c", EMPTY], "ours": [sys.executable, "app.py"]}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in apps}
    with chromium() as browser:
        for name in list(apps) * (2 if quick else 6):
            times[name].append(one_start(apps[name], browser))
            shown = ", ".join(f"{what} {value:.2f} s" for what, value in times[name][-1].items())
            print(f"  {name}: {shown}", file=sys.stderr, flush=True)
    return [
        Row(
            f"start, {what} (usual: an empty gr.Blocks)",
            "s",
            [row[what] for row in times["ours"][1:]],
            [row[what] for row in times["usual"][1:]],
            "at most 1.5 s more",
            less_is_better=True,
        )
        for what in times["ours"][0]
    ]
