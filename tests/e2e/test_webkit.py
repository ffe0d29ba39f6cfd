"""The app and an exported page in WebKit, Safari's engine: a smoke run, by WebDriver (Debian: webkit2gtk-driver)."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.formats.exports import find_format
from tests.e2e.test_offline_page import expected_text, shipped
from tests.patience import patience, wait_for

NEEDED = {"WebKitWebDriver": "webkit2gtk-driver", "Xvfb": "xvfb"}  # programs and Debian's packages
TABS = {
    "train": "#train-archs", "corpus": "#corpus-sees", "runs": "#runs-table button.name",
    "understand": "#tab-understand .fold",
}  # fmt: skip


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A screen that nobody sees: this engine has none without."""
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert screen.stdout
    yield f":{screen.stdout.readline().strip()}"
    screen.terminate()
    screen.wait(patience(20))


@pytest.fixture(scope="module")
def webkit(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A WebKit, driven by WebDriver."""
    pytest.importorskip("selenium", reason="WebKit is driven by selenium: pip install -r requirements-slow.txt")
    from selenium import webdriver
    from selenium.webdriver.webkitgtk.options import Options
    from selenium.webdriver.webkitgtk.service import Service

    for program, package in NEEDED.items():
        if shutil.which(program) is None:
            pytest.skip(f"no {program} at hand; on Debian: apt-get install {package}")
    options = Options()
    options.binary_location = str(min(Path("/usr/lib").glob("*/webkit2gtk*/MiniBrowser")))
    options.add_argument("--automation")
    environment = {"DISPLAY": request.getfixturevalue("display"), "WEBKIT_DISABLE_COMPOSITING_MODE": "1"}
    driver = webdriver.WebKitGTK(options, Service(shutil.which("WebKitWebDriver"), env=environment))
    yield driver
    driver.quit()


def found(webkit: Any, selector: str) -> Any:
    """The first such element, once it is there."""
    return wait_for(lambda: next(iter(webkit.find_elements("css selector", selector)), None), f"for {selector}")


def until(true: Callable[[], Any], what: str) -> None:
    wait_for(true, what, pause=0.1)


def test_the_app_opens_writes_and_shows_its_tabs(webkit: Any, server: str) -> None:
    webkit.get(f"{server}?length=80&seed=11")
    columns = "return [...document.querySelectorAll('#compare-columns .text')].map((one) => one.textContent)"
    until(lambda: len(webkit.execute_script(columns)) == 3, "for the columns")
    webkit.execute_script("window.wrong = []; window.addEventListener('error', (event) => wrong.push(event.message))")
    found(webkit, "#compare-plot .js-plotly-plot .main-svg")
    before = webkit.execute_script(columns)
    found(webkit, "#compare-generate").click()

    def has_written() -> bool:
        texts = webkit.execute_script(columns)
        is_done = bool(webkit.find_elements("css selector", "#compare-more:enabled"))
        return is_done and all(new != old for new, old in zip(texts, before, strict=True))

    until(has_written, "for the texts")
    for tab, part in TABS.items():
        found(webkit, f"#tabs [aria-controls=tab-{tab}]").click()
        until(lambda part=part: any(one.is_displayed() for one in webkit.find_elements("css selector", part)), tab)
    assert webkit.execute_script("return wrong") == []


def test_an_exported_page_writes_the_same_text_as_elsewhere(webkit: Any, tmp_path: Path) -> None:
    run, path, settings = shipped("gru"), tmp_path / "page.html", {"temperature": 0.8, "top_k": 0, "seed": 7}
    find_format("html").write(run, path)
    webkit.get(path.as_uri())
    found(webkit, "#bars button")
    written = webkit.execute_script("return charlm.write('Holmes', arguments[0])", {**settings, "length": 60})
    assert written == expected_text(run, path.read_text(encoding="utf-8"), "Holmes", 60, **settings)
