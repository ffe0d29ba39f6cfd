"""Find good settings on the page: trials as they come, a reload that stops nothing, and the form filled."""

from typing import Any

from playwright.sync_api import expect

from tests.e2e.steps import choose_tab, fill_number, open_app, started, toast, until
from tests.e2e.test_accessibility import AXE, SMALL
from tests.e2e.test_accessibility import axe as axe


def opened(page: Any) -> Any:
    """The fold on the tab Train, open; what it shows."""
    choose_tab(page, "Train")
    page.locator("#train-search-fold > button").click()
    return page.locator("#train-search")


def test_settings_are_found_and_fill_the_form(page: Any, server: str, services: Any, axe: str) -> None:
    body = opened(page)
    expect(body).to_contain_text("No search yet.")
    for arch in ("LSTM", "RNN"):
        page.locator("#train-archs").get_by_label(arch, exact=True).uncheck()
    page.locator("#train-fold-model > button").click()
    fill_number(page.locator("#train-hidden-size input"), "32")
    minutes, start = page.locator("#train-search-minutes input"), page.locator("#train-search-start")
    fill_number(minutes, "0")
    start.click()
    toast(page, "minutes 0.0 is outside 0.05 to 10,000").wait_for()
    fill_number(minutes, "0.4")
    start.click()
    expect(body.locator("td", has_text="base")).to_be_visible()
    expect(body).to_contain_text("On Sherlock Holmes: at work")
    open_app(page, server)
    body = opened(page)
    expect(body).to_contain_text("On Sherlock Holmes: finished.")
    until(lambda: not services.searches.is_running)
    expect(start).to_be_visible()
    expect(body).to_contain_text("with fresh seeds before anything is claimed.")
    page.evaluate(axe)
    assert not page.evaluate(AXE) and not page.evaluate(SMALL)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
    best = services.searches.look().result["archs"][0]["best"]
    body.get_by_role("button", name="Use these settings").click()
    for name in ("hidden-size", "learning-rate", "batch-size"):
        value = best[name.replace("-", "_")]
        expect(page.locator(f"#train-{name} input")).to_have_value(f"{value:g}")
    expect(page.locator("#train-archs").get_by_label("GRU", exact=True)).to_be_checked()
    expect(page.locator("#train-archs").get_by_label("LSTM", exact=True)).not_to_be_checked()


def test_it_is_stopped_goes_on_and_does_not_begin_beside_a_training(page: Any, services: Any) -> None:
    body = opened(page)
    minutes, start = page.locator("#train-search-minutes input"), page.locator("#train-search-start")
    fill_number(minutes, "5")
    start.click()
    expect(body).to_contain_text("at work, about")
    page.locator("#train-search-stop").click()
    expect(body).to_contain_text("stopped with")
    assert not services.searches.is_running
    [run_id] = started(services, "gru")
    body.get_by_role("button", name="Go on").click()
    toast(page, "A training is at work").wait_for()
    services.jobs.stop_job(run_id)
    until(lambda: not services.jobs.is_training())
    body.locator("button[data-act=go-on]:not([data-pressed])").click()  # a double click would have counted as one
    expect(body).to_contain_text("at work, about")
    services.searches.close(60)
