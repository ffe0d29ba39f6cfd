"""A notification when a training ends, for who has asked for it and looks elsewhere."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.steps import SECOND, choose_tab, open_app, started, until
from tests.patience import patience

# The browser's own notifications cannot be read; this one answers as the browser's would, and keeps what is shown.
RECORDER = """
window.shown = [];
window.Notification = class {
  static permission = 'default';
  static async requestPermission() { return (this.permission = 'ANSWER'); }
  constructor(title, options) { window.shown.push([title, options.body]); }
  close() {}
};
Object.defineProperty(document, 'visibilityState', { get: () => window.away ? 'hidden' : 'visible' });
"""


@pytest.fixture(params=["granted"])
def asked(request: Any, browser: Any, server: str) -> Iterator[Any]:
    """A page whose visitor answers the browser's question so."""
    visitor = browser.new_context(viewport={"width": 1280, "height": 900})
    visitor.add_init_script(RECORDER.replace("ANSWER", request.param))
    page = visitor.new_page()
    page.set_default_timeout(patience(60) * SECOND)
    open_app(page, server)
    choose_tab(page, "Train")
    yield page
    visitor.close()


def test_the_end_of_a_training_is_notified_to_who_looks_elsewhere(asked: Any, services: Any) -> None:
    button = asked.get_by_role("button", name="Notify me at the end")
    button.click()
    asked.locator("#train-notify [aria-pressed=true]").wait_for()
    asked.get_by_text("You are notified when a training ends while you look elsewhere.").wait_for()
    for away, told in ((False, 0), (True, 1)):
        [run_id] = started(services, label=f"away-{away}")
        asked.evaluate("() => { window.dispatchEvent(new Event('charlm:wake')); }")
        asked.locator("#strip .job").wait_for()
        asked.evaluate("(away) => { window.away = away; }", away)
        services.jobs.stop_job(run_id)
        until(lambda: services.jobs.current() is None)
        said = asked.locator("#said p").filter(has_text=f"away-{away}").filter(has_text="Stopped and saved")
        said.wait_for(state="attached")
        assert len(asked.evaluate("window.shown")) == told
    [[title, body]] = asked.evaluate("window.shown")
    assert title == "CharLM Lab" and "away-True" in body
    asked.evaluate("() => { window.away = false; }")
    button.click()
    asked.locator("#train-notify [aria-pressed=false]").wait_for()


@pytest.mark.parametrize("asked", ["denied"], indirect=True)
def test_a_browser_that_does_not_allow_it_is_named(asked: Any) -> None:
    asked.get_by_role("button", name="Notify me at the end").click()
    asked.get_by_text("The browser does not allow this page to notify").wait_for()
    assert asked.locator("#train-notify button").get_attribute("aria-pressed") == "false"
