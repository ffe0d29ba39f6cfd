"""The form of the Train tab on a phone, and what is basic and what advanced in it."""

from collections.abc import Iterator
from typing import Any

import pytest

from charlm.ui.train.form import ADVANCED, BASIC
from tests.e2e.steps import SECOND, choose_tab, fill_form, open_app, stop_all, unfold, until
from tests.patience import patience


@pytest.fixture
def phone(browser: Any, server: str) -> Iterator[Any]:
    """A fresh visitor with a phone."""
    visitor = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    opened = visitor.new_page()
    opened.set_default_timeout(patience(60) * SECOND)
    open_app(opened, server)
    choose_tab(opened, "Train")
    opened.locator("#train-head h1").wait_for()
    yield opened
    visitor.close()


def top(page: Any, elem_id: str) -> float:
    return float(page.locator(f"#{elem_id}").bounding_box()["y"])


def test_the_form_comes_first_until_something_trains(phone: Any, services: Any) -> None:
    assert top(phone, "train-form") < top(phone, "train-live-side")
    fill_form(phone, hidden_size=12, num_layers=1, steps=100_000)
    phone.locator("#train-start").click()
    phone.locator("#strip .job").wait_for()
    until(lambda: top(phone, "train-live-side") < top(phone, "train-form"))
    phone.wait_for_function("document.getElementById('brand').getBoundingClientRect().top >= 0")  # Stop is in view
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    stop_all(phone, services)
    until(lambda: top(phone, "train-form") < top(phone, "train-live-side"))


def test_advanced_settings_are_folded_once_more(phone: Any) -> None:
    def seen(keys: Any) -> list[bool]:
        return [phone.locator(f"#train-fold-{key}").is_visible() for key in keys]

    assert all(seen(BASIC)) and not any(seen(ADVANCED))
    unfold(phone, "train-fold-advanced")
    phone.locator("#train-fold-heart").wait_for()
    assert all(seen(ADVANCED))
    unfold(phone, "train-fold-model")
    slider = phone.locator("#train-dropout input[type=range]")
    assert (slider.get_attribute("min"), slider.get_attribute("max")) == ("0", "0.95")
    assert phone.locator("#train-order").count() == 0
    phone.locator("#train-archs").get_by_text("n-gram", exact=True).click()
    phone.locator("#train-order input[type=range]").wait_for()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390


def test_folds_of_long_titles_have_their_arrows_with_the_others(phone: Any) -> None:
    choose_tab(phone, "Compare")
    phone.locator("#compare-primer > button").wait_for()
    titles = phone.locator(".gr-accordion > button.label-wrap:visible")
    heights = {round(box["height"]) for box in (one.bounding_box() for one in titles.all())}
    arrows = {round(box["x"]) for box in (one.locator(".icon").bounding_box() for one in titles.all())}
    assert len(arrows) == 1 and max(heights) > 30  # one title at least takes two lines


def test_a_search_without_a_result_says_so(phone: Any) -> None:
    choose_tab(phone, "Runs")
    phone.locator("#runs-table table").wait_for()
    phone.locator("#runs-filter").get_by_role("textbox").press_sequentially("zzz")
    phone.locator("#runs-table", has_text="No run matches.").wait_for()
