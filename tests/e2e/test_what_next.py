"""Texts that go on, and next-token probabilities: stepping through a text, and another token put into it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from charlm.config import SampleConfig
from tests.e2e.steps import SECOND, set_number, until
from tests.patience import patience

LENGTH = 120
NAMES = ("sherlock-lstm", "sherlock-gru", "sherlock-rnn")


@pytest.fixture
def written(page: Any) -> Iterator[Any]:
    """The page with three short texts, of the models that came along."""
    from playwright.sync_api import TimeoutError as TooLate

    page.locator("#compare-sampling").get_by_role("button").first.click()
    page.locator("#compare-length input[type=number]").wait_for()

    def taken() -> bool:
        """What is typed right after a fold opens is lost now and then, why is not known: typed again then."""
        set_number(page, "compare-length", LENGTH)
        with contextlib.suppress(TooLate):
            page.locator("#compare-sampling", has_text=f"{LENGTH} characters").wait_for(timeout=patience(2) * SECOND)
            return True
        return False

    until(taken)
    page.locator("#compare-prompt textarea").fill("Holmes")
    page.locator("#compare-generate").click()
    page.locator("#compare-more:enabled").wait_for()
    yield page


def texts(page: Any) -> dict[str, str]:
    """What the models wrote, by run id, without the prompt."""
    return {run_id: found[0][1] for run_id, found in page.evaluate("window.charlmTexts()").items()}


def rest(page: Any) -> None:
    """Wait until nothing is written any more."""
    page.locator("#compare-more:enabled").wait_for()


def open_panel(page: Any) -> Any:
    """The panel with its first answer."""
    page.locator("#compare-next-fold").get_by_role("button").first.click()
    page.locator("#compare-next .next-bars li").first.wait_for()
    return page.locator("#compare-next")


def longer(services: Any, length: int) -> dict[str, str]:
    """The texts that a greater length would have made."""
    runs = [services.store.get(name) for name in NAMES]
    last = list(services.serving.compare(runs, "Holmes", SampleConfig(length=length)))[-1]
    return {run_id: draft.text for run_id, draft in last.items()}


def test_texts_go_on_as_if_they_had_been_longer(written: Any, services: Any) -> None:
    assert texts(written) == longer(services, LENGTH)
    written.locator("#compare-more").click()
    until(lambda: texts(written) == longer(services, 2 * LENGTH))
    rest(written)
    written.locator("#compare-models").get_by_role("button").first.click()  # one model less: its last sample
    written.locator("#compare-more:disabled").wait_for()


def test_a_text_is_stepped_through_by_keys_that_inputs_keep(written: Any) -> None:
    panel, text = open_panel(written), written.locator("#compare-next .next-text")
    where = panel.locator(".where")
    assert where.inner_text() == f"character 1 of {LENGTH}"
    text.focus()
    for key, said in (("ArrowRight", "character 2 "), ("ArrowRight", "character 3 "), ("ArrowLeft", "character 2 "),
                      ("End", "after 120"), ("ArrowRight", "after 120"), ("Home", "character 1 ")):  # fmt: skip
        written.keyboard.press(key)
        assert where.inner_text().startswith(said), key
    prompt = written.locator("#compare-prompt textarea")
    prompt.focus()
    for key in ("ArrowRight", "End", "1"):
        written.keyboard.press(key)
    assert where.inner_text() == f"character 1 of {LENGTH}" and prompt.input_value() == "Holmes1"
    text.locator("[data-at='40']").click()
    assert where.inner_text() == f"character 41 of {LENGTH}"
    own = texts(written)[NAMES[0]][40]
    signs = panel.locator(".next-bars .stands .token span").inner_text(), panel.locator("dd").first.inner_text()
    assert set(signs) == {{" ": "␣", "\n": "⏎"}.get(own, own)}
    panel.get_by_role("radio", name="RNN").click()
    until(lambda: text.inner_text().startswith(f"Holmes{texts(written)[NAMES[2]][:20]}"))
    assert where.inner_text() == f"character 1 of {LENGTH}"


@pytest.mark.parametrize("way", ["key", "click", "enter"])
def test_another_token_is_gone_on_from(way: str, written: Any) -> None:
    panel, text = open_panel(written), written.locator("#compare-next .next-text")
    before = texts(written)
    text.locator("[data-at='30']").click()
    rows = panel.locator(".next-bars button")
    place = next(at for at in (0, 1) if "stands" not in (rows.nth(at).get_attribute("class") or ""))
    token = rows.nth(place).locator(".token span").inner_text()
    if way == "key":
        written.keyboard.press(str(place + 1))
    elif way == "click":
        rows.nth(place).click()
    else:
        for key in ["ArrowDown"] * (place + 1) + ["Enter"]:
            written.keyboard.press(key)
    until(lambda: panel.locator(".where").inner_text() == f"character 32 of {LENGTH}")
    rest(written)
    after = texts(written)
    assert after[NAMES[0]][:31] == before[NAMES[0]][:30] + {"␣": " ", "⏎": "\n"}.get(token, token)
    assert len(after[NAMES[0]]) == LENGTH and after[NAMES[0]] != before[NAMES[0]]
    assert {name: after[name] for name in NAMES[1:]} == {name: before[name] for name in NAMES[1:]}


def test_at_the_end_a_text_grows_by_a_token_at_a_time(written: Any) -> None:
    panel, text = open_panel(written), written.locator("#compare-next .next-text")
    text.focus()
    written.keyboard.press("End")
    for more in (1, 2):
        written.keyboard.press("1")
        until(lambda more=more: panel.locator(".where").inner_text() == f"after {LENGTH + more} characters")  # type: ignore[misc]
        rest(written)
    assert len(texts(written)[NAMES[0]]) == LENGTH + 2


def test_one_of_several_samples_is_changed(written: Any) -> None:
    set_number(written, "compare-samples", 3)
    written.locator("#compare-sampling", has_text="3 samples").wait_for()
    written.locator("#compare-generate").click()
    until(lambda: written.locator("#compare-columns .one").count() == 9)
    rest(written)
    before = written.evaluate("window.charlmTexts()")[NAMES[0]]
    assert len({text for _, text in before}) == 3
    panel = open_panel(written)
    panel.get_by_role("radio", name="2", exact=True).click()
    until(lambda: panel.locator(".next-text").inner_text().startswith(f"Holmes{before[1][1][:15]}"))
    panel.locator(".next-text [data-at='10']").click()
    panel.locator(".next-bars button:not(.stands)").first.click()
    until(lambda: panel.locator(".where").inner_text() == f"character 12 of {LENGTH}")
    rest(written)
    after = written.evaluate("window.charlmTexts()")[NAMES[0]]
    assert after[0] == before[0] and after[2] == before[2] and after[1][1][:10] == before[1][1][:10] != after[1]
