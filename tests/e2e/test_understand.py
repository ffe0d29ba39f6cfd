"""The Understand tab as a visitor meets it: pictures, numbers, keyboard, downloads, own runs."""

import csv
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.analysis import memory
from charlm.serving import measurements
from charlm.ui.understand.outlines import FIRST, FOLDED
from charlm.ui.understand.tab import measured
from tests.e2e.steps import STORY, choose_tab, download, finished_run, until

SHIPPED = ("sherlock-lstm", "sherlock-gru", "sherlock-rnn")

# Buttons, fields and pictures without a name that is read out; headings and labels that stand there twice.
NAMELESS_JS = """() => {
  const seen = [...document.querySelectorAll('#tab-understand *, [id^=understand]')]
    .filter(one => one.checkVisibility({ visibilityProperty: true }));
  const named = one => (one.getAttribute('aria-label') || one.innerText || one.title || '').trim()
    || [...(one.labels || [])].some(label => label.innerText.trim())
    || (one.getAttribute('aria-labelledby') || '').split(' ').some(id => document.getElementById(id)?.innerText.trim());
  const wanted = seen.filter(one => one.matches('button, input, select, textarea, [role=slider], [tabindex="0"]'));
  return [...new Set(wanted.filter(one => !named(one)))].map(one => one.outerHTML.slice(0, 200));
}"""
WIDER_JS = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture
def understand(page: Any) -> Iterator[Any]:
    """A visitor's page on the opened tab with the included models; what the console calls an error fails the test."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    choose_tab(page, "Understand")
    for outline in FIRST:
        drawn(page, outline.name)
    yield page
    assert not said


def drawn(page: Any, name: str) -> Any:
    """A panel's plot, when it is there and nothing of it is still being measured."""
    plot = page.locator(f"#understand-{name}-plot .js-plotly-plot")
    plot.locator(".main-svg").first.wait_for()
    page.locator(f"#understand-{name}-status [data-waiting]").wait_for(state="detached")
    return plot


def unfold(page: Any, name: str) -> None:
    """Open or close a fold of the tab by its element's name."""
    page.locator(f"#understand-{name} button").first.click()
    page.mouse.move(0, 0)  # or it points at whatever is scrolled under it


def lines(page: Any, name: str) -> set[str]:
    """The names of what a plot draws."""
    return set(
        page.locator(f"#understand-{name}-plot .js-plotly-plot").evaluate("one => one.data.map(({ name }) => name)")
    )


def take_away(page: Any, label: str) -> None:
    """Take a model out of the picker."""
    token = page.locator("#understand-models .token", has_text=label)
    token.get_by_role("button").click()
    token.wait_for(state="detached")


def choose(page: Any, label: str) -> None:
    """Take a model into the picker."""
    field = page.locator("#understand-models input")
    field.scroll_into_view_if_needed()  # before its list opens, which stands where the field stood
    field.fill(label)
    page.get_by_role("option").filter(has_text=label).first.click()


def status(page: Any, name: str) -> Any:
    return page.locator(f"#understand-{name}-status")


def save(page: Any, name: str, kind: str) -> Path:
    """Press a panel's CSV, SVG or PNG; the file."""
    saved = download(page, status(page, name).get_by_role("button", name=kind))
    assert saved.name == f"charlm-{name}.{kind.lower()}"
    return saved.path


@pytest.mark.smoke
def test_the_tab_opens_with_its_finding(understand: Any, services: Any) -> None:
    runs = [services.store.get(name) for name in SHIPPED]
    found = measured(services.serving.inspect("memory", runs, begin=False))
    assert [one.label for one in found] == ["LSTM", "GRU", "RNN"]
    head = understand.locator("#understand-head")
    assert head.locator("h1").inner_text() == memory.finding(found)
    assert "gradient" in head.locator("p").inner_text()
    for outline in FIRST:
        assert lines(understand, outline.name) >= {"LSTM", "GRU", "RNN"}
        assert status(understand, outline.name).get_by_role("alert").count() == 0


def test_every_fold_shows_a_picture_and_has_names_for_all_that_can_be_used(understand: Any, pictures: Path) -> None:
    for outline in (*FIRST, *FOLDED):
        if outline in FOLDED:
            unfold(understand, outline.name)
        drawn(understand, outline.name)
        line = status(understand, outline.name)
        assert line.locator("[role=status]").count() == 1
        assert line.locator(".unseen").inner_text().startswith("The picture: ")
    for name in ("memory", "gym"):
        unfold(understand, f"{name}-method")
        understand.locator(f"#understand-{name}-method", has_text="python -m charlm").wait_for()
        assert understand.locator(f"#understand-{name}-method .method p").count() > 2
    assert understand.evaluate(NAMELESS_JS) == []
    assert understand.evaluate(WIDER_JS) <= 0
    understand.screenshot(path=pictures / "understand-open-light.png", full_page=True)
    understand.set_viewport_size({"width": 390, "height": 844})
    wide = "[...document.querySelectorAll('#tab-understand .js-plotly-plot')].some(one => one.offsetWidth > 390)"
    until(lambda: not understand.evaluate(wide))
    assert understand.evaluate(WIDER_JS) <= 0
    understand.screenshot(path=pictures / "understand-open-phone.png", full_page=True)


def test_pictures_and_tables_are_downloaded(understand: Any) -> None:
    with save(understand, "memory", "CSV").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {"LSTM", "GRU", "RNN"}
    assert all(float(row["loss"]) > 0 for row in rows) and len(rows) > 20
    assert b"<svg" in save(understand, "memory", "SVG").read_bytes()[:300]
    assert save(understand, "gradient", "PNG").read_bytes().startswith(b"\x89PNG")


def test_a_coloured_text_is_stepped_through_by_keys(understand: Any) -> None:
    unfold(understand, "surprise")
    drawn(understand, "surprise")
    texts = understand.locator("#understand-surprise .tokens")
    here = understand.locator("#understand-surprise .here")
    assert texts.count() == here.count() == 3
    piece = texts.first.inner_text()[:12]
    texts.first.focus()
    for place in range(3):
        understand.keyboard.press("ArrowRight")
        assert texts.nth(0).locator("i.at").inner_text() == piece[place]
        for number in range(3):  # the same place in all of them
            assert here.nth(number).locator("p code").inner_text() == {" ": "␣"}.get(piece[place], piece[place])
    for number in range(3):
        assert " cost " in here.nth(number).inner_text() and here.nth(number).locator("ol li").count() == 5
    second = here.first.inner_text()
    understand.keyboard.press("ArrowLeft")
    assert texts.first.locator("i.at").inner_text() == piece[1] and here.first.inner_text() != second
    understand.keyboard.press("Home")
    here.first.get_by_text("has nothing before it").wait_for()

    before = texts.nth(2).locator("i").evaluate_all("all => all.map(one => one.className)")
    understand.locator("#understand-surprise select").select_option("0")
    assert texts.nth(2).locator("i").evaluate_all("all => all.map(one => one.className)") != before
    assert understand.locator("#understand-surprise [data-legend=difference]").inner_text().count("LSTM") == 1
    assert texts.nth(2).locator("i[class*=o]").count() > 0


def test_the_slider_goes_back_through_the_training(understand: Any) -> None:
    unfold(understand, "history")
    drawn(understand, "history")
    status(understand, "history").get_by_text("the included small race").wait_for()
    slider, shown = (understand.locator(f"#understand-history .scrub {name}") for name in ("input", "output"))
    written = understand.locator("#understand-history .written:visible")
    last, texts = shown.inner_text(), written.all_inner_texts()
    figures = understand.locator("#understand-history .figure b").all_inner_texts()
    assert len(texts) == 3 and slider.get_attribute("aria-valuetext") == f"step {last}"
    slider.focus()
    understand.keyboard.press("ArrowLeft")
    assert int(shown.inner_text().replace(",", "")) < int(last.replace(",", ""))
    understand.keyboard.press("Home")
    assert shown.inner_text() == "0" and slider.get_attribute("aria-valuetext") == "step 0"
    assert all(new != old for new, old in zip(written.all_inner_texts(), texts, strict=True))
    for new, old in zip(understand.locator("#understand-history .figure b").all_inner_texts(), figures, strict=True):
        assert float(new) > float(old)  # it knew less
    understand.keyboard.press("End")
    assert written.all_inner_texts() == texts

    understand.keyboard.press("Home")
    choose(understand, "small-gru")
    until(lambda: understand.locator("#understand-history .col").count() == 1)
    until(lambda: written.evaluate_all("all => all.map(one => one.dataset.at)") == ["0"])  # the step stays
    assert shown.inner_text() == "0" and slider.input_value() == "0"


def test_panels_follow_the_chosen_models(understand: Any) -> None:
    unfold(understand, "surprise")
    drawn(understand, "surprise")
    texts, here = (understand.locator(f"#understand-surprise .{name}") for name in ("tokens", "here"))
    texts.first.focus()
    for _ in range(6):
        understand.keyboard.press("ArrowRight")
    of_gru = here.nth(1).inner_text()
    understand.locator("#understand-surprise select").select_option("2")  # the difference to the RNN

    take_away(understand, "sherlock-lstm")
    understand.locator("#understand-head h1", has_not_text="LSTM").wait_for()
    for name in ("memory", "gradient", "surprise"):
        until(lambda name=name: not {"LSTM", "LSTM, before training"} & lines(understand, name))  # type: ignore[misc]
        assert lines(understand, name) >= {"GRU", "RNN"}
    until(lambda: texts.count() == 2)
    texts.first.focus()
    for _ in range(6):
        understand.keyboard.press("ArrowRight")
    assert here.first.inner_text() == of_gru  # and not what stood there of another model
    assert understand.locator("#understand-surprise select").input_value() == "1"  # still the RNN
    assert "RNN" in understand.locator("#understand-surprise [data-legend=difference]").inner_text()


@pytest.mark.parametrize(
    ("tab", "plot", "said"),
    [("understand", "gradient", "choose the models"), ("compare", "compare", "No model chosen")],
)
def test_a_picker_that_backspace_empties_is_heard(page: Any, tab: str, plot: str, said: str) -> None:
    """Gradio itself tells nobody; its x that takes all away is not shown."""
    choose_tab(page, tab.capitalize())
    page.locator(f"[id$={plot}-plot] .main-svg:visible").first.wait_for()  # or the models are yet to be filled in
    picker, tokens = page.locator(f"#{tab}-models"), page.locator(f"#{tab}-models .token")
    assert picker.locator(".remove-all").count() == 1 and picker.locator(".remove-all").is_hidden()
    picker.locator("input").focus()
    for left in reversed(range(tokens.count())):
        page.keyboard.press("Backspace")
        until(lambda left=left: tokens.count() == left)  # type: ignore[misc]
    page.locator(f"#tab-{tab}", has_text=said).wait_for()
    assert not {"LSTM", "GRU"} & set(page.locator(f"#tab-{tab} h1").inner_text().split())


@pytest.fixture
def goes_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A memory that is being measured stays at its first picture until this is set or it is stopped."""
    go, steps_of = threading.Event(), measurements.steps_of

    def steps(question: Any) -> Iterator[Any]:
        for progress in steps_of(question):
            yield progress
            while question.name == "memory" and progress.result is not None and not go.is_set():
                time.sleep(0.01)
                yield progress

    monkeypatch.setattr(measurements, "steps_of", steps)
    yield go
    go.set()


def test_an_own_run_is_measured_on_a_pasted_text_stopped_and_measured_again(
    understand: Any, services: Any, goes_on: threading.Event
) -> None:
    run = services.store.get(finished_run(services, "<b>my own</b>"))
    choose_tab(understand, "Runs")
    choose_tab(understand, "Understand")  # offers it
    for name in SHIPPED:
        take_away(understand, name)
    understand.locator("#understand-source").get_by_text("pasted text").click()
    text = understand.locator("#understand-text textarea")
    text.fill(STORY)
    text.blur()
    choose(understand, run.label)

    def known() -> Any:
        [found] = services.serving.inspect("memory", [run], STORY, begin=False)
        return found

    line, again = status(understand, "memory"), status(understand, "memory").get_by_role("button", name="Measure")
    until(lambda: known().result is not None)
    line.get_by_role("button", name="Stop").click()
    again.wait_for()
    assert known().is_unfinished and not goes_on.is_set()
    assert lines(understand, "memory") == {"GRU"}  # what was found until then
    assert understand.locator("#understand-head h1").inner_text() == memory.finding(measured([known()]))
    goes_on.set()
    again.click()
    again.wait_for(state="detached")
    drawn(understand, "memory")
    line.get_by_role("button", name="CSV").wait_for()
    assert known().share == 1.0 and known().result["tokens"] == len(STORY)
    assert understand.locator("#understand-head h1").inner_text() == memory.finding(measured([known()]))
    assert list((run.folder / measurements.FOLDER).glob("memory-*.json"))  # beside the run


@pytest.mark.parametrize(("tab", "plot"), [("Understand", "gradient"), ("Compare", "compare")])
def test_a_page_at_rest_asks_for_nothing(page: Any, tab: str, plot: str) -> None:
    """No event of the tab calls forth itself: only the status bar's question remains."""
    choose_tab(page, tab)
    page.locator(f"[id$={plot}-plot] .js-plotly-plot:visible").wait_for()
    page.wait_for_timeout(4000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(4000)
    assert [url for url in asked if "pulse" not in url] == []
