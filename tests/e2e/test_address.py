"""The address says where one is: what is chosen stands in it, and a link, Back and a reload bring it back."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.e2e.payloads import LISTEN_JS, PAYLOADS, PROBE_JS, TRACES_JS
from tests.e2e.steps import SECOND, choose_tab, open_app, pasted, set_number, until
from tests.patience import patience

CHOSEN = "#compare-columns .col"


def query(page: Any) -> dict[str, str]:
    """What the address says, by name."""
    said = parse_qs(page.evaluate("location.search.slice(1)"), keep_blank_values=True)
    return {name: values[-1] for name, values in said.items()}


def compared(page: Any) -> list[str]:
    """The runs in the columns, by id."""
    ids: list[str] = page.locator(CHOSEN).evaluate_all("all => all.map(one => one.dataset.run)")
    return ids


def prompt(page: Any) -> Any:
    return page.locator("#compare-prompt textarea")


def selected(page: Any) -> str:
    text: str = page.locator("#tabs [role=tab][aria-selected=true]").inner_text()
    return text


def remove(page: Any, picker: str, at: int) -> None:
    """Take a model out of a picker."""
    chosen = page.locator(f"#{picker} .token")
    count = chosen.count()
    chosen.nth(at).get_by_role("button").click()
    until(lambda: chosen.count() == count - 1)


def opened(page: Any, server: str, **asked: Any) -> None:
    """Open a link to a comparison and wait until it is shown."""
    page.goto(f"{server}?{urlencode(asked)}")
    page.locator(CHOSEN).first.wait_for()


def written(page: Any) -> list[str]:
    """The texts that Generate has written."""
    before = page.locator(f"{CHOSEN} .text").all_inner_texts()
    page.locator("#compare-generate").click()
    now = page.locator(f"{CHOSEN} .text")
    until(lambda: all(new != old for new, old in zip(now.all_inner_texts(), before, strict=True)))
    page.locator("#compare-generate").wait_for(state="visible")
    texts: list[str] = now.all_inner_texts()
    return texts


@pytest.fixture
def visitors(browser: Any, server: str) -> Iterator[Any]:
    """Opens pages of one visitor after another; an uncaught error in one fails the test."""
    contexts, problems = [], []

    def visitor() -> Any:
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}))
        page = contexts[-1].new_page()
        page.set_default_timeout(patience(60) * SECOND)
        page.on("pageerror", lambda error: problems.append(str(error)))
        return page

    yield visitor
    for context in contexts:
        context.close()
    assert not problems


def test_the_address_is_clean_until_something_is_chosen(page: Any) -> None:
    page.locator(CHOSEN).nth(2).wait_for()
    page.wait_for_timeout(500)
    assert not query(page)
    before = page.evaluate("history.length")
    prompt(page).fill("Watson & <b>Holmes</b>")
    until(lambda: query(page).get("prompt") == "Watson & <b>Holmes</b>")
    assert query(page).keys() == {"runs", "prompt", "seed"}
    assert query(page)["runs"].split(",") == compared(page)
    page.locator("#compare-sampling").get_by_role("button").first.click()
    set_number(page, "compare-temperature", 1.2)
    until(lambda: query(page).get("temperature") == "1.2")
    set_number(page, "compare-temperature", 0.8)
    until(lambda: "temperature" not in query(page))
    remove(page, "compare-models", 0)
    until(lambda: query(page)["runs"].split(",") == compared(page) and len(compared(page)) == 2)
    assert page.evaluate("history.length") == before, "settings are no steps to go back"


def test_a_preset_stands_in_the_address(page: Any) -> None:
    page.locator("#compare-sampling").get_by_role("button").first.click()
    page.locator("#compare-preset label").last.click()
    until(lambda: len(query(page)) > 3)
    said = query(page)
    page.reload()
    page.locator(CHOSEN).nth(2).wait_for()
    until(lambda: prompt(page).input_value() == said["prompt"])
    assert query(page) == said


@pytest.mark.smoke
def test_a_link_opens_the_same_comparison_and_writes_the_same_texts(visitors: Any, server: str) -> None:
    first, second = visitors(), visitors()
    asked = {"runs": "sherlock-gru,sherlock-rnn", "prompt": "The dog ", "seed": 11, "temperature": 1.1, "length": 80}
    opened(first, server, **asked)
    until(lambda: prompt(first).input_value() == "The dog ")
    until(lambda: compared(first) == ["sherlock-gru", "sherlock-rnn"])
    title = first.locator("#compare-sampling").get_by_role("button").first
    until(lambda: title.inner_text().startswith("80 characters · temperature 1.1 · seed 11"))
    assert first.locator("#compare-more").is_disabled(), "a link writes nothing before Generate is pressed"
    texts = written(first)
    assert all(text.startswith("The dog ") for text in texts)

    first.locator("#compare-copy-link", has_text="Copy link").click()
    first.locator("#compare-copy-link", has_text="Copied").wait_for()
    link = pasted(first)
    assert parse_qs(urlsplit(link).query) == {name: [str(value)] for name, value in asked.items()}
    second.goto(link)
    until(lambda: prompt(second).input_value() == "The dog " and len(compared(second)) == 2)
    assert written(second) == texts
    third = visitors()
    opened(third, server, **{**asked, "seed": 12})
    until(lambda: prompt(third).input_value() == "The dog " and len(compared(third)) == 2)
    assert written(third) != texts


def test_a_copied_link_names_what_the_page_chose_by_itself(page: Any) -> None:
    page.locator(CHOSEN).nth(2).wait_for()
    until(lambda: prompt(page).input_value() != "")
    for _ in range(2):
        page.locator("#compare-copy-link").click()
        page.locator("#compare-copy-link", has_text="Copied").wait_for()
    link = parse_qs(urlsplit(pasted(page)).query)
    assert link == {"runs": [",".join(compared(page))], "prompt": [prompt(page).input_value()], "seed": ["7"]}
    page.locator("#compare-copy-link", has_text="Copy link").wait_for()
    assert not query(page)
    prompt(page).fill("я" * 2000)
    page.locator("#compare-copy-link").click()
    page.locator("#compare-copy-link", has_text="too long for a link").wait_for()
    until(lambda: "runs" in query(page))
    assert "prompt" not in query(page)


def test_an_empty_prompt_and_stop_strings_are_kept(page: Any, server: str) -> None:
    prompt(page).fill("")
    page.locator("#compare-sampling").get_by_role("button").first.click()
    page.locator("#compare-stop-before textarea").fill("\\n\nThe end, \\\\")
    page.locator("#compare-greedy input").check()
    until(lambda: query(page).get("greedy") == "true" and query(page).get("stop") == "\\n\nThe end, \\\\")
    assert query(page)["prompt"] == ""
    page.reload()
    page.locator(CHOSEN).first.wait_for()
    title = page.locator("#compare-sampling").get_by_role("button").first
    until(
        lambda: title.inner_text().startswith(
            '500 characters · greedy: always the most likely · stops before "\\n" and 1 more'
        )
    )
    page.wait_for_timeout(500)
    assert prompt(page).input_value() == ""


def test_tabs_are_steps_and_settings_are_not(page: Any, server: str) -> None:
    open_app(page, server, __theme="dark", view="x")
    page.locator(CHOSEN).first.wait_for()
    choose_tab(page, "Train")
    until(lambda: query(page) == {"__theme": "dark", "view": "x", "tab": "train"})
    page.locator("#train-start").wait_for()
    choose_tab(page, "Corpus")
    page.locator("#corpus-head", has_text=re.compile(r"\w")).wait_for()
    assert query(page)["tab"] == "corpus"
    page.locator("#corpus-train").click()  # the page goes to another tab by itself
    until(lambda: query(page)["tab"] == "train")
    choose_tab(page, "Compare")
    until(lambda: "tab" not in query(page))
    prompt(page).fill("Holmes")
    until(lambda: query(page).get("prompt") == "Holmes")
    for expected in ("Train", "Corpus", "Train", "Compare"):
        page.go_back()
        until(lambda expected=expected: selected(page) == expected)  # type: ignore[misc]
        assert query(page)["prompt"] == "Holmes", "the form is as it is, whatever tab is shown"
    page.go_forward()
    until(lambda: selected(page) == "Train")
    page.reload()
    page.locator("#train-start").wait_for()
    assert selected(page) == "Train" and page.evaluate("document.body.classList.contains('dark')")
    page.go_back()
    until(lambda: selected(page) == "Compare")
    assert prompt(page).input_value() == "Holmes"


def test_understand_keeps_its_models(page: Any, server: str) -> None:
    names = page.locator("#understand-models .token")
    open_app(page, server, tab="understand", runs="sherlock-gru,sherlock-rnn")
    until(lambda: len(names.all_inner_texts()) == 2)  # those that Compare shows
    page.wait_for_timeout(300)
    assert "understand" not in query(page)
    remove(page, "understand-models", 0)
    until(lambda: query(page).get("understand") == "sherlock-rnn")
    page.reload()
    until(lambda: len(names.all_inner_texts()) == 1)
    assert "RNN" in names.inner_text().upper()
    choose_tab(page, "Compare")
    until(lambda: compared(page) == ["sherlock-gru", "sherlock-rnn"])
    choose_tab(page, "Understand")
    page.wait_for_timeout(500)
    assert len(names.all_inner_texts()) == 1 and query(page)["understand"] == "sherlock-rnn"


def test_the_form_of_train_outlives_a_reload_and_not_a_new_page(page: Any, server: str) -> None:
    choose_tab(page, "Train")
    page.locator("#train-preset label", has_text="balanced").click()
    page.locator("#train-archs").get_by_label("RNN", exact=True).uncheck()
    page.locator("#train-fold-model").get_by_role("button").first.click()
    page.locator("#train-fold-training").get_by_role("button").first.click()
    until(lambda: page.locator("#train-preset", has_text="balanced:").count() == 1)
    set_number(page, "train-hidden-size", 72)
    page.locator("#train-corpus input").click()
    options = page.get_by_role("option").all_inner_texts()
    corpus = next(one.strip(" ✓\n") for one in reversed(options))
    page.get_by_role("option", name=corpus).click()
    page.wait_for_function("sessionStorage.getItem('charlm-train').includes('\"hidden_size\":72')")
    until(lambda: page.locator("#train-corpus input").input_value() == corpus)
    page.wait_for_timeout(1000)
    values = {name: page.locator(f"#train-{name} input").first.input_value() for name in ("steps", "dropout")}

    page.reload()
    page.locator("#train-start").wait_for()
    page.locator("#train-fold-model").get_by_role("button").first.click()
    page.locator("#train-fold-training").get_by_role("button").first.click()
    until(lambda: page.locator("#train-hidden-size input").input_value() == "72")
    until(lambda: page.locator("#train-corpus input").input_value() == corpus)
    page.wait_for_timeout(1000)  # what suits the text comes late, and changes nothing
    assert page.locator("#train-hidden-size input").input_value() == "72"
    assert {name: page.locator(f"#train-{name} input").first.input_value() for name in values} == values
    assert page.locator("#train-learning-rate input").input_value() == ""
    boxes = page.locator("#train-archs")
    assert [boxes.get_by_label(name, exact=True).is_checked() for name in ("LSTM", "GRU", "RNN")] == [True, True, False]
    assert page.locator("#train-preset input:checked").input_value() == "balanced"

    open_app(page, server)
    choose_tab(page, "Train")
    page.locator("#train-fold-model").get_by_role("button").first.click()
    page.locator("#train-estimates", has_text="parameters").wait_for()
    assert page.locator("#train-preset input:checked").input_value() == "quick"
    assert page.locator("#train-hidden-size input").input_value() != "72"


def test_a_memory_that_was_meddled_with_is_passed_over(page: Any) -> None:
    choose_tab(page, "Train")
    page.locator("#train-estimates", has_text="parameters").wait_for()
    page.wait_for_function("sessionStorage.getItem('charlm-train')")
    strange = (
        '{"preset": ["x"], "archs": ["gru", {}, "<b>"], "corpus": "../x", "filled": "{", '
        '"hidden_size": "<img>", "schedule": 7}'
    )
    # It is put in place as the page opens: the page before it may still save its own.
    page.add_init_script("sessionStorage.setItem('charlm-train', sessionStorage.getItem('meddled'))")
    for text in ("{", strange):
        page.evaluate("text => sessionStorage.setItem('meddled', text)", text)
        page.reload()
        page.locator("#train-estimates", has_text="parameters").wait_for()
    boxes = page.locator("#train-archs")
    until(lambda: [boxes.get_by_label(name, exact=True).is_checked() for name in ("LSTM", "GRU")] == [False, True])
    assert page.locator("#train-preset input:checked").input_value() == "quick"


def test_what_cannot_be_had_is_said_and_the_rest_is_shown(page: Any, server: str) -> None:
    opened(
        page, server, runs="nobody,sherlock-gru,..%2F..", prompt="Holmes", temperature="hot", length="90", seed="-1",
        tab="nowhere", utm_source="x",
    )  # fmt: skip
    said = page.locator(".toast-body")
    said.wait_for()
    text = said.inner_text()
    assert all(one in text for one in ("'nobody'", "temperature", "'hot'", "seed -1", "'nowhere'")), text
    until(lambda: prompt(page).input_value() == "Holmes")
    until(lambda: compared(page) == ["sherlock-gru"])
    assert selected(page) == "Compare"
    title = page.locator("#compare-sampling").get_by_role("button").first
    until(lambda: title.inner_text().startswith("90 characters · temperature 0.8 · seed 7"))
    choose_tab(page, "Runs")
    until(lambda: query(page)["tab"] == "runs")
    opened(page, server, runs="nobody", length="1e999")
    said.wait_for()
    page.locator(CHOSEN).nth(2).wait_for()  # as without a link


def hostile(page: Any, server: str, payload: str, **asked: str) -> None:
    """Open a link with a payload in it, and look at two tabs."""
    opened(page, server, prompt=payload, **asked)
    until(lambda: prompt(page).input_value() == payload)
    if "runs" in asked or "tab" in asked:
        page.locator(".toast-body").first.wait_for()
    page.evaluate(PROBE_JS)
    assert not page.evaluate("window.hurts") and not page.evaluate(TRACES_JS), payload
    choose_tab(page, "Understand")
    choose_tab(page, "Compare")
    until(lambda: selected(page) == "Compare" and "tab" not in query(page))


def test_payloads_in_the_address_stay_text(visitors: Any, server: str) -> None:
    names = ("runs", "temperature", "seed", "stop", "tab", "understand", "greedy", "__theme", "other")
    page = visitors()
    heard: list[str] = []
    page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
    page.add_init_script(LISTEN_JS)
    pairs = zip(PAYLOADS[::2], PAYLOADS[1::2], strict=True)  # a page load takes seconds
    for place, pair in enumerate(pairs):
        asked = {name: pair[(place + at) % 2] for at, name in enumerate(names)}
        hostile(page, server, "".join(pair), **asked)
    assert not heard
