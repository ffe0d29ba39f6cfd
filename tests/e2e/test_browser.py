"""The real app in a real browser, as a visitor meets it."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bench.acting import stage
from charlm.data.catalog import data_dir
from charlm.data.corpus import corpus_from_text
from charlm.presets import from_options
from charlm.training.machine import FILE
from tests.e2e.steps import (
    SECOND,
    STORY,
    choose_tab,
    download,
    fill_form,
    fill_number,
    finished_run,
    open_app,
    set_number,
    started,
    stop_all,
    toast,
    until,
)
from tests.patience import patience
from tests.server import serving

TABS = ("Compare", "Train", "Corpus", "Runs", "Understand")


def texts(page: Any) -> list[str]:
    """What stands in Compare's columns."""
    return page.locator("#compare-columns .col .text").all_inner_texts()


@pytest.mark.smoke
def test_one_click_three_texts(page: Any) -> None:
    page.locator("#compare-columns .col").nth(2).wait_for()
    assert page.locator("#compare-columns .col").count() == 3
    before = texts(page)
    prompt = page.locator("#compare-prompt textarea").input_value()
    assert prompt
    page.locator("#compare-generate").click()
    page.wait_for_function(
        """([before, prompt]) => {
            const now = [...document.querySelectorAll('#compare-columns .col .text')].map(node => node.innerText);
            return now.length === 3
                && now.every((text, at) => text !== before[at] && text.length > prompt.length + 100);
        }""",
        arg=[before, prompt],
    )
    page.locator("#compare-generate").wait_for(state="visible")
    assert all(text.startswith(prompt) for text in texts(page))
    assert re.search(r"\d", page.locator("#compare-verdict").inner_text())


def test_the_prompt_follows_the_texts_and_what_was_typed_stays(page: Any, services: Any) -> None:
    config = from_options({"hidden_size": 8, "num_layers": 1, "steps": 5, "label": "Fuchs"})
    text = "Der Fuchs lief fort. Der Hase sah ihn. Ein Huhn kam vorbei. " * 60
    [run_id] = services.jobs.start(corpus_from_text(text, "fuchs.txt", config.corpus), config, ["gru"])
    until(lambda: services.store.get(run_id).status == "finished")
    page.reload()  # the newest three are still those that came along, and the picker knows the new one

    prompt, beginning = page.locator("#compare-prompt textarea"), page.locator("#compare-columns .text .prompt").first
    page.wait_for_function("document.querySelector('#compare-prompt textarea')?.value === 'The '")
    assert beginning.text_content() == "The "

    def choose_only(name: str, run_id: str) -> None:
        field, chosen = page.locator("#compare-models input"), page.locator("#compare-models [title^=Remove]")
        while chosen.count():
            chosen.last.click()
        field.fill(name)
        page.get_by_role("option", name=name).first.click()
        page.locator(f"#compare-columns .col[data-run='{run_id}']").wait_for()

    choose_only("Fuchs", run_id)
    page.wait_for_function("document.querySelector('#compare-prompt textarea').value === 'Der '")
    assert beginning.text_content() == "Der "
    prompt.fill("Mein eigener ")
    choose_only("sherlock-gru", "sherlock-gru")
    answered = page.locator("#compare-answered").locator("textarea, input")
    until(lambda: answered.input_value() == '"The "')
    page.wait_for_timeout(300)
    assert prompt.input_value() == "Mein eigener "


def test_a_prompt_is_never_markup(page: Any) -> None:
    page.evaluate("window.hurt = false")
    page.locator("#compare-prompt textarea").fill("<img src=x onerror='window.hurt=true'>${window.hurt=true} Holmes")
    page.locator("#compare-generate").click()
    page.locator("#compare-columns .note", has_text="Skipped").first.wait_for()
    page.locator("#compare-generate").wait_for(state="visible")
    assert page.locator("#compare-columns .text img").count() == 0
    assert page.evaluate("window.hurt") is False


def write_long(page: Any) -> None:
    """Have long texts written, and wait until each has begun."""
    page.locator("#compare-sampling").get_by_role("button").first.click()
    length = page.locator("#compare-length input[type=number]")
    fill_number(length, length.get_attribute("max") or "5000")
    length.press("Tab")
    page.locator("#compare-generate").click()
    page.locator("#compare-stop").wait_for()
    written_beyond(page, ["x" * 40])


def written_beyond(page: Any, before: list[str]) -> None:
    """Wait until each text being written is longer than all of these."""
    page.wait_for_function(
        """(least) => [...document.querySelectorAll('#compare-columns .text')].every(
            (one) => one.querySelector('.caret') && one.textContent.length > least)""",
        arg=max(map(len, before)),
    )


@pytest.mark.smoke
def test_stop_ends_the_writing(page: Any, services: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services.serving._worker, "_is_training", lambda: True)  # or it is done before one can stop
    write_long(page)
    before = page.locator("#compare-columns .text").all_text_contents()
    page.locator("#compare-stop").click()
    page.locator("#compare-generate").wait_for(state="visible", timeout=patience(3) * SECOND)
    assert not services.serving._worker._opened  # no model is at work
    stayed = page.locator("#compare-columns .text").all_text_contents()
    assert all(now.startswith(then) for now, then in zip(stayed, before, strict=True))
    assert page.locator("#compare-columns .caret").count() == 0
    page.locator("#compare-more").click()
    written_beyond(page, stayed)
    page.locator("#compare-stop").click()
    page.locator("#compare-generate").wait_for(state="visible")
    longer = page.locator("#compare-columns .text").all_text_contents()
    assert all(now.startswith(then) for now, then in zip(longer, stayed, strict=True))


SHIFTS_JS = """() => {
  window.shifted = 0;
  window.watching?.disconnect();
  const add = (one) => { window.shifted += one.hadRecentInput ? 0 : one.value; };
  window.watching = new PerformanceObserver((list) => list.getEntries().forEach(add));
  window.watching.observe({ type: 'layout-shift' });
}"""


# Stop may have been there and gone in between.
WRITTEN_JS = """(before) => {
  const texts = [...document.querySelectorAll('#compare-columns .text')].map((one) => one.textContent);
  const isDone = document.querySelector('#compare-more:enabled') && !document.querySelector('#compare-columns .caret');
  return isDone && texts.every((one, place) => one !== before[place]);
}"""


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_else_moves_while_texts_are_written(page: Any, width: int) -> None:
    if not page.evaluate("PerformanceObserver.supportedEntryTypes.includes('layout-shift')"):
        pytest.skip("this browser does not tell what moves")
    page.set_viewport_size({"width": width, "height": 900})
    for button in ("#compare-generate", "#compare-more"):
        before = page.locator("#compare-columns .text").all_text_contents()
        page.evaluate(SHIFTS_JS)
        page.locator(button).click()
        page.wait_for_function(WRITTEN_JS, arg=before)
        page.wait_for_timeout(300)  # what moves at the end, too
        assert page.evaluate("window.shifted") < 0.05, button


def test_stop_leaves_other_pages_alone_and_a_closed_page_writes_no_more(
    page: Any, browser: Any, server: str, services: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.serving._worker, "_is_training", lambda: True)
    visitor = browser.new_context()
    other = visitor.new_page()
    other.set_default_timeout(patience(60) * SECOND)
    open_app(other, server)
    write_long(other)
    write_long(page)
    page.locator("#compare-stop").click()
    page.locator("#compare-generate").wait_for(state="visible")
    written_beyond(other, other.locator("#compare-columns .text").all_text_contents())
    assert services.serving._worker._opened
    visitor.close()
    until(lambda: not services.serving._worker._opened)


def test_the_curves_are_drawn(page: Any) -> None:
    page.locator("#compare-plot .js-plotly-plot").wait_for()
    assert page.evaluate("document.querySelector('#compare-plot .js-plotly-plot').data.length") >= 3


def test_the_ngram_ladder_comes_by_itself(page: Any) -> None:
    page.locator("#compare-verdict", has_text="better than every n-gram").wait_for()
    page.wait_for_function("document.querySelector('#compare-plot .js-plotly-plot')?.layout.shapes?.length === 2")
    page.locator("#compare-rungs", has_text="better than every n-gram").get_by_role("button").first.click()
    bars = page.locator("#compare-ladder .bars > div")
    bars.first.wait_for()
    assert bars.count() == 19 and any("12-gram" in text for text in bars.all_inner_texts())
    choose_tab(page, "Train")
    page.locator("#train-rungs").get_by_role("button").first.click()
    page.locator("#train-ladder .bars > div").first.wait_for()
    page.locator("#train-rungs", has_text="better than every n-gram").wait_for()


def test_the_learning_rate_that_will_be_used_is_shown_in_grey(page: Any) -> None:
    choose_tab(page, "Train")
    page.locator("#train-fold-training").get_by_role("button").first.click()
    field, suited = page.locator("#train-learning-rate input"), re.compile(r"0\.0\d+")
    until(lambda: suited.match(field.get_attribute("placeholder") or ""))
    assert field.input_value() == ""
    small = field.get_attribute("placeholder")
    page.locator("#train-fold-model").get_by_role("button").first.click()
    set_number(page, "train-hidden-size", 1024)
    until(lambda: field.get_attribute("placeholder") != small)
    set_number(page, "train-learning-rate", 0.01)
    page.locator("#train-preset label", has_text="balanced").click()
    until(lambda: field.input_value() == "")
    page.locator("#train-preset label", has_text="notebook").click()
    until(lambda: field.input_value() == "0.001")


def test_the_machine_is_measured_again_on_demand(page: Any) -> None:
    choose_tab(page, "Train")
    pace, file = page.locator("#train-estimates .pace"), data_dir() / FILE
    page.locator("#train-estimates", has_text="characters/s, ").wait_for()
    told = json.loads(file.read_bytes())
    file.write_text(json.dumps({**told, "when": "2026-05-03T12:00:00+00:00"}))
    page.locator("#train-archs").get_by_label("GRU", exact=True).uncheck()
    page.locator("#train-estimates", has_text="measured 3 May 2026").wait_for()
    pace.get_by_role("button", name="Measure again").click()
    page.locator("#train-estimates", has_text=re.compile("measured today")).wait_for()
    assert json.loads(file.read_bytes())["when"] >= told["when"]


def test_the_ranking_can_be_kept(page: Any) -> None:
    content = download(page, page.locator("#compare-csv")).path.read_text(encoding="utf-8")
    assert len(content.splitlines()) == 4


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_pictures_of_every_tab(look: str, browser: Any, server: str, pictures: Path) -> None:
    """Nothing is wider than its window; the pictures are for people to look at."""
    size = {"width": 390, "height": 844} if look == "phone" else {"width": 1280, "height": 900}
    visitor = browser.new_context(viewport=size, device_scale_factor=2 if look == "phone" else 1)
    page = visitor.new_page()
    page.set_default_timeout(patience(60) * SECOND)
    open_app(page, server, __theme="dark" if look == "dark" else "light")
    for name in TABS:
        choose_tab(page, name)
        settle(page, name)
        page.screenshot(path=pictures / f"{name.lower()}-{look}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} overflows"
    visitor.close()


def settle(page: Any, name: str) -> None:
    """Wait for what the tab draws last."""
    plots = {"Compare": ["compare"], "Train": ["train"], "Understand": ["understand-memory", "understand-gradient"]}
    for plot in plots.get(name, ()):
        page.locator(f"#{plot}-plot .js-plotly-plot").wait_for()
    page.locator(f"#tab-{name.lower()}").first.wait_for(state="attached")
    if name == "Corpus":
        page.locator("#corpus-guessing .bars").wait_for()
    if name == "Train":
        page.locator("#train-estimates", has_text="parameters").wait_for()
    page.wait_for_function("document.fonts.status === 'loaded'")
    if name == "Compare":
        before = texts(page)
        page.locator("#compare-generate").click()
        until(lambda: all(new not in ("", old) for new, old in zip(texts(page), before, strict=True)))
        page.locator("#compare-generate").wait_for(state="visible")


# --- Corpus -----------------------------------------------------------------------------------------------------------


def upload(page: Any, name: str, data: bytes) -> None:
    choose_tab(page, "Corpus")
    page.locator("#corpus-facts", has_text="distinct").wait_for()
    with page.expect_file_chooser() as chooser:
        page.locator("#corpus-upload").click()
    chooser.value.set_files({"name": name, "mimeType": "text/plain", "buffer": data})


@pytest.mark.smoke
def test_an_uploaded_text_is_shown_and_trained_on(page: Any, services: Any) -> None:
    text = STORY + "<img src=x onerror='window.hurt=true'>"
    page.evaluate("window.hurt = false")
    upload(page, "fox.txt", text.encode("utf-16"))
    page.locator("#corpus-head", has_text="fox.txt").wait_for()
    page.get_by_text(re.compile("UTF-16")).first.wait_for()
    assert f"{len(text):,}" in page.locator("#corpus-facts").inner_text()
    assert page.locator("#corpus-begins", has_text="A fox met a hen").count() == 1
    assert page.evaluate("window.hurt") is False

    page.locator("#corpus-train").click()
    page.locator("#train-start").wait_for(state="visible")
    page.locator("#train-estimates", has_text="parameters").wait_for()
    fill_form(page, hidden_size=8, num_layers=1, steps=4)
    for name in ("LSTM", "RNN"):
        page.locator("#train-archs").get_by_label(name, exact=True).uncheck()
    page.locator("#train-start", has_text="Train").click()
    until(lambda: services.store.list()[0].corpus["name"] == "fox.txt")
    until(lambda: services.store.list()[0].status == "finished")
    run = services.store.list()[0]
    assert (run.arch, run.step, run.corpus["characters"]) == ("gru", 4, len(text))


def test_the_text_to_train_on_is_the_one_that_was_meant_last(page: Any) -> None:
    picker = page.locator("#train-corpus input")
    upload(page, "hen.txt", STORY.replace("fox", "hen").encode())
    page.locator("#corpus-head", has_text="hen.txt").wait_for()
    page.locator("#corpus-train").click()  # at once: the other tab is mounted while the text is on its way to it
    page.locator("#train-estimates", has_text="parameters").wait_for()
    until(lambda: picker.input_value().startswith("hen.txt"))
    page.wait_for_timeout(1500)  # what comes late changes nothing
    assert picker.input_value().startswith("hen.txt")
    picker.click()
    page.get_by_role("option", name="Sherlock Holmes").click()
    until(lambda: picker.input_value() == "Sherlock Holmes")
    for tab in ("Compare", "Train"):
        choose_tab(page, tab)
    page.wait_for_timeout(1000)
    assert picker.input_value() == "Sherlock Holmes"  # picked by hand
    choose_tab(page, "Corpus")
    page.locator("#corpus-train").click()
    until(lambda: picker.input_value().startswith("hen.txt"))


@pytest.mark.parametrize(
    ("name", "data", "said"), [("a.txt", bytes(range(256)) * 9, "binary"), ("b.txt", b"", "empty")]
)
def test_a_file_that_is_no_text_is_refused(page: Any, name: str, data: bytes, said: str) -> None:
    upload(page, name, data)
    page.get_by_text(re.compile(said)).first.wait_for()
    assert name not in page.locator("#corpus-head").inner_text()


def test_what_the_model_sees(page: Any) -> None:
    choose_tab(page, "Corpus")
    page.locator("#corpus-sees").get_by_role("button").first.click()
    page.locator("#corpus-model", has_text="truncated backpropagation").wait_for()


# --- Train ------------------------------------------------------------------------------------------------------------

POINTS = """() => {
    const plot = document.querySelector('#train-plot .js-plotly-plot');
    return plot ? plot.data.reduce((sum, trace) => sum + (trace.x ? trace.x.length : 0), 0) : 0;
}"""


def begin_race(page: Any, **numbers: float) -> None:
    """A race of the three, tiny and long enough to be interrupted."""
    choose_tab(page, "Train")
    fill_form(page, **{"hidden_size": 12, "num_layers": 1, "steps": 100_000, "eval_every": 40, **numbers})
    page.locator("#train-start").click()
    page.locator("#strip .job").wait_for()


@pytest.mark.smoke
def test_a_race_grows_survives_a_reload_and_stops(page: Any, server: str, services: Any, pictures: Path) -> None:
    begin_race(page)
    page.wait_for_function(f"({POINTS})() > 12")
    page.screenshot(path=pictures / "race-light.png", full_page=True)
    before = page.evaluate(POINTS)
    page.wait_for_function(f"({POINTS})() > {before + 6}")
    assert page.evaluate("document.querySelector('#train-plot .js-plotly-plot').data.length") >= 6
    running = services.jobs.current()
    assert running["kind"] == "race" and [one["arch"] for one in running["runs"]] == ["lstm", "gru", "rnn"]

    page.reload()
    page.get_by_role("tab", name="Compare", exact=True).wait_for()
    page.locator("#strip .job").wait_for(timeout=patience(5) * SECOND)
    second = page.context.new_page()
    open_app(second, server)
    second.locator("#strip .job").wait_for(timeout=patience(5) * SECOND)
    choose_tab(second, "Train")
    second.wait_for_function(f"({POINTS})() > {before}")
    second.close()

    page.locator("#strip button[data-act=pause]").click()
    page.locator("#strip .job[data-status=paused]").wait_for()
    page.locator("#strip button[data-act=resume]").click()
    page.locator("#strip .job[data-status=running]").wait_for()
    stop_all(page, services)
    runs = [services.store.get(run_id) for run_id in running["run_ids"]]
    assert {run.status for run in runs} == {"stopped"} and all(run.best_val_loss for run in runs)


# Notes, at every change of the table, how many points stand above it in curves of runs that it does not show.
WATCHED = """() => {
    window.strangers = [];
    const look = () => {
        const shown = [...document.querySelectorAll('#train-live .cols > .col')].map(one => one.dataset.run);
        const traces = document.querySelector('#train-plot .js-plotly-plot')?.data ?? [];
        const others = traces.filter(one => !shown.includes(one.meta.run));
        window.strangers.push(others.reduce((sum, one) => sum + one.x.length, 0));
    };
    new MutationObserver(look).observe(document.querySelector('#train-live'), { childList: true, subtree: true });
}"""


def test_a_new_races_table_does_not_stand_under_the_old_ones_curves(page: Any, services: Any) -> None:
    choose_tab(page, "Train")
    page.wait_for_function(f"({POINTS})() > 100")  # a race that came along
    page.evaluate(WATCHED)
    begin_race(page)
    for run_id in services.jobs.current()["run_ids"]:
        page.locator(f"#train-live .col[data-run='{run_id}']").wait_for()
    page.wait_for_function(f"0 < ({POINTS})() && ({POINTS})() < 100")
    assert page.evaluate("window.strangers.length > 0 && window.strangers.every(points => points === 0)")
    stop_all(page, services)


# The lines of the recorded gradient, by whether they are the newest or the first.
GRADIENT = """(at) => {
    const plot = document.querySelector('#train-gradient [role=img]');
    return plot?.data ? plot.data.filter((line) => line.meta.at === at).map((line) => [...line.y]) : [];
}"""


def test_a_recorded_gradient_moves_while_it_trains(page: Any, server: str, services: Any, pictures: Path) -> None:
    started(services, "lstm", "rnn", record_gradient=True, eval_every=40)
    choose_tab(page, "Train")
    page.wait_for_function(f"({GRADIENT})('0').length === 2 && ({GRADIENT})('now').length === 2")
    before, first = page.evaluate(f"({GRADIENT})('now')"), page.evaluate(f"({GRADIENT})('0')")
    assert all(len(line) == 64 and line[0] == 0 for line in before + first)
    until(lambda: page.evaluate(f"({GRADIENT})('now')") not in ([], before))
    assert page.evaluate(f"({GRADIENT})('0')") == first
    section = page.locator("#train-gradient")
    assert "The gradient of the loss now halves" in section.inner_text() and "at step 0)" in section.inner_text()
    assert "LSTM: " in section.get_by_role("img").first.get_attribute("aria-label")
    page.screenshot(path=pictures / "train-gradient-light.png", full_page=True)

    page.set_viewport_size({"width": 390, "height": 844})
    open_app(page, server, __theme="dark")  # a reload finds it again
    choose_tab(page, "Train")
    page.wait_for_function(f"({GRADIENT})('now').length === 2")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.screenshot(path=pictures / "train-gradient-phone.png", full_page=True)
    stop_all(page, services)
    page.wait_for_function(f"({GRADIENT})('now').length === 2")  # the last curve stays
    started(services, "gru", steps=5)
    page.locator("#train-head", has_text="GRU").wait_for()
    page.wait_for_function("document.querySelector('#train-gradient:empty') !== null")


def test_a_transformer_and_a_mingru_race_and_write(page: Any, services: Any) -> None:
    choose_tab(page, "Train")
    boxes = page.locator("#train-archs")
    for name in ("LSTM", "GRU", "RNN"):
        boxes.get_by_label(name, exact=True).uncheck()
    for name in ("Transformer", "minGRU"):
        boxes.get_by_label(name, exact=True).check()
    fill_form(page, hidden_size=12, num_layers=1, steps=6, eval_every=3, context=8)
    page.locator("#train-estimates", has_text="num_heads may be 1, 2, 3, 6").wait_for()
    fill_form(page, hidden_size=8, num_heads=2)
    page.locator("#train-estimates", has_text="parameters").wait_for()
    page.locator("#train-start", has_text="Race").click()
    until(lambda: services.store.list()[0].arch in ("transformer", "mingru"))
    until(lambda: {run.status for run in services.store.list()[:2]} == {"finished"})
    runs = {run.arch: run for run in services.store.list()[:2]}
    assert runs.keys() == {"transformer", "mingru"}
    assert (runs["transformer"].model_config.context, runs["transformer"].model_config.num_heads) == (8, 2)
    for name in ("Transformer", "minGRU"):
        page.locator("#train-live .col", has_text=name).first.wait_for()

    choose_tab(page, "Compare")
    for run in runs.values():
        field = page.locator("#compare-models input")
        field.fill(run.label)
        page.get_by_role("option", name=run.label).first.click()
    page.locator("#compare-generate").click()
    for run in runs.values():
        column = page.locator(f"#compare-columns [data-run='{run.run_id}']")
        column.wait_for()
        until(lambda column=column: len(column.inner_text()) > 400)  # type: ignore[misc]


RANGE = "document.querySelector('#train-plot .js-plotly-plot')?.layout.xaxis.range"


def test_zoom_survives_new_points(page: Any, services: Any) -> None:
    begin_race(page)
    page.wait_for_function(f"({POINTS})() > 12")
    page.evaluate("Plotly.relayout(document.querySelector('#train-plot .js-plotly-plot'), {'xaxis.range': [0, 60]})")
    before = page.evaluate(POINTS)
    page.wait_for_function(f"({POINTS})() > {before + 12}")
    page.wait_for_function(f"String({RANGE}) === '0,60'")
    stop_all(page, services)


def test_a_tick_is_one_small_call(page: Any, services: Any) -> None:
    begin_race(page, steps=20_000, eval_every=20_000)
    page.wait_for_function(f"({POINTS})() > 12")
    page.locator("#train-plot", has_text="-gram").wait_for()  # the ladder's lines are drawn once, when they are known
    calls: list[bool] = []

    def note(request: Any) -> None:
        sizes = request.sizes()
        small = sizes["requestBodySize"] + sizes["responseBodySize"] <= 1024
        calls.append(small and request.url.endswith("/gradio_api/pulse"))

    page.on("requestfinished", note)
    until(lambda: page.wait_for_timeout(200) or calls[-6:] == [True] * 6)  # a busy page is drawn anew once more before
    stop_all(page, services)


def test_a_server_without_the_route_is_asked_gradios_way(page: Any, server: str, services: Any) -> None:
    page.route("**/gradio_api/pulse", lambda route: route.fulfill(status=404))
    open_app(page, server)
    begin_race(page)
    page.wait_for_function(f"({POINTS})() > 12")
    stop_all(page, services)


def test_the_form_follows_the_text_and_leaves_what_was_set_by_hand(page: Any, services: Any) -> None:
    upload(page, "fox.txt", STORY.encode())
    page.locator("#corpus-head", has_text="fox.txt").wait_for()
    choose_tab(page, "Train")
    page.locator("#train-fold-training", has_text="200 steps").wait_for()
    model = page.locator("#train-fold-model")
    model.get_by_role("button", name="layers of 128, dropout 0.07").wait_for()  # 4,000 characters
    for arch in ("GRU", "RNN"):
        page.locator("#train-archs").get_by_text(arch, exact=True).click()
    model.get_by_role("button", name="dropout 0.1").wait_for()  # an LSTM takes more
    model.get_by_role("button").first.click()
    set_number(page, "train-dropout", 0.45)
    page.locator("#train-corpus input").click()
    page.get_by_role("option", name="Sherlock Holmes").click()
    page.locator("#train-fold-training", has_not_text="200 steps").wait_for()
    model.get_by_role("button", name="dropout 0.45").wait_for()
    page.locator("#train-preset").get_by_text("notebook").click()
    model.get_by_role("button", name="2 layers of 512, dropout 0.3").wait_for()
    page.locator("#train-fold-training", has_text="30 epochs").wait_for()


def test_advice_fills_the_form_with_the_runs_settings_and_its_mend(page: Any, services: Any) -> None:
    [run_id] = started(services, learning_rate=1e-5, steps=160, warmup_steps=10, label="timid")
    until(lambda: services.store.get(run_id).status == "finished")
    choose_tab(page, "Train")
    page.locator("#train-advice", has_text="a learning rate of 1e-05 is too low").wait_for()
    page.locator("#train-advice").get_by_role("button", name="Learning rate 5e-05").click()
    toast(page, "The form now says: Learning rate 5e-05.").wait_for()
    page.wait_for_function("document.querySelector('#train-learning-rate input').value === '0.00005'")
    page.locator("#train-fold-model").get_by_role("button").first.click()
    assert page.locator("#train-hidden-size input").input_value() == "8"
    checked = page.locator("#train-archs label:has(input:checked)")
    assert checked.all_inner_texts() == ["GRU"]


def test_advice_brings_the_text_of_the_run_along(page: Any, services: Any) -> None:
    options = {"hidden_size": 8, "num_layers": 1, "steps": 160, "learning_rate": 1e-5, "lowercase": True}
    config = from_options({**options, "eval_every": 20, "warmup_steps": 10})
    text = corpus_from_text(STORY.replace("fox", "Owl"), "owl.txt", config.corpus)
    [run_id] = services.jobs.start(text, config, ["gru"])
    until(lambda: services.store.get(run_id).status == "finished")
    choose_tab(page, "Train")
    page.locator("#train-advice").get_by_role("button", name="Learning rate 5e-05").click()
    toast(page, "It learns owl.txt, as the run did").wait_for()
    until(lambda: page.locator("#train-corpus input").input_value() == "owl.txt")
    fill_form(page, steps=4)
    page.locator("#train-start").click()
    until(lambda: services.store.list()[0].status == "finished" and services.store.list()[0].run_id != run_id)
    again = services.store.list()[0]
    assert (again.corpus["sha256"], again.corpus_config.lowercase) == (text.sha256, True)
    assert (again.arch, again.model_config.hidden_size, again.step) == ("gru", 8, 4)


def test_a_history_of_100_000_points_is_opened(page: Any, services: Any) -> None:
    runs = stage(services.store, 100_000, "finished")
    choose_tab(page, "Train")
    page.locator("#train-head", has_text="LSTM wins").wait_for()
    page.wait_for_function(f"({POINTS})() > 3 * 1000")
    assert page.evaluate(POINTS) < 3 * 4000
    choose_tab(page, "Runs")
    page.locator(f"#runs-table button.name[data-run='{runs[0].run_id}']").click()
    page.locator("#runs-details", has_text="for 100,000 steps").wait_for()


CONTROLS = "#tabs button, #tabs input, #tabs textarea, #strip button"
LIVE = f"[...document.querySelectorAll('{CONTROLS}')].filter(one => !one.disabled)"


def test_a_lost_connection_is_said_and_what_needs_the_server_waits_for_it(page: Any, services: Any) -> None:
    begin_race(page)
    lost, label = page.get_by_text("Connection lost, reconnecting"), page.locator("#train-label").get_by_role("textbox")
    page.locator("#train-fold-name").get_by_role("button").first.click()
    label.fill("half a na")
    page.context.set_offline(True)
    lost.wait_for()
    page.wait_for_function(f"{LIVE}.length === 0")
    assert "if the server does" in page.locator("#strip").inner_text()
    step = services.jobs.current()["step"]
    until(lambda: services.jobs.current()["step"] > step)
    page.context.set_offline(False)
    lost.wait_for(state="detached")
    page.wait_for_function(f"{LIVE}.length > 20")
    assert label.input_value() == "half a na" and label.evaluate("node => node === document.activeElement")
    choose_tab(page, "Runs")
    stop_all(page, services)


def test_a_server_that_is_started_again_finds_the_page_on_its_tab(browser: Any, tmp_path: Path) -> None:
    places = {"CHARLM_RUNS": str(tmp_path / "runs"), "CHARLM_DATA": str(tmp_path / "data")}
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(patience(60) * SECOND)
    with serving(tmp_path, **places) as first:
        open_app(page, first.address)
        choose_tab(page, "Runs")
        page.locator("#runs-table", has_text="sherlock-lstm").wait_for()
        first.process.kill()
        page.locator("#strip", has_text="Connection lost, reconnecting").wait_for()
        assert "goes on" not in page.locator("#strip").inner_text()
        page.wait_for_function(f"{LIVE}.length === 0")
    with serving(tmp_path, port=first.port, **places) as second:
        assert second.address == first.address
        page.locator("#tab-runs-button[aria-selected=true]:enabled").wait_for()
        page.locator("#runs-table button.name:enabled").first.click()
        page.locator("#runs-details", has_text="characters/s").wait_for()
    page.context.close()


def test_a_setting_out_of_range_is_said(page: Any, services: Any) -> None:
    choose_tab(page, "Train")
    fill_form(page, hidden_size=0)
    page.locator("#train-estimates", has_text="hidden_size 0 is outside 1 to 4,096").wait_for()
    page.locator("#train-start").click()
    page.get_by_text("hidden_size 0 is outside 1 to 4,096").nth(1).wait_for()
    assert services.jobs.current() is None


# --- Runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_runs_are_opened_renamed_downloaded_evaluated_and_deleted(page: Any, services: Any) -> None:
    run_id = finished_run(services, "<b>my run</b>")
    choose_tab(page, "Runs")
    page.locator(f"#runs-table button.name[data-run='{run_id}']").click()
    page.locator("#runs-details", has_text=run_id).wait_for()
    assert "<b>my run</b>" in page.locator("#runs-details").inner_text()

    page.locator("#runs-rename").click()
    page.locator("#runs-name").get_by_role("textbox").fill("renamed")
    page.locator("#runs-save").click()
    page.locator("#runs-table", has_text="renamed").wait_for()
    assert services.store.get(run_id).label == "renamed"

    with zipfile.ZipFile(download(page, page.locator("#runs-download")).path) as archive:
        assert {Path(name).name for name in archive.namelist()} >= {"run.json", "best.safetensors", "metrics.jsonl"}

    page.locator("#runs-evaluate").click()
    page.locator("#runs-evaluated", has_text=re.compile(r"\d\.\d")).wait_for()

    page.locator("#runs-delete").click()
    page.locator(f"#runs-table button.name[data-run='{run_id}']").wait_for(state="detached")
    assert run_id not in [run.run_id for run in services.store.list()]
    page.locator("#runs-told", has_text="Deleted renamed.").get_by_role("button", name="Undo").click()
    page.locator(f"#runs-table button.name[data-run='{run_id}']").wait_for()
    assert services.store.get(run_id).label == "renamed"
