"""By keyboard and by ear: where the focus goes, what buttons and plots are called, and what is said."""

import re
from typing import Any

import pytest

from tests.e2e.steps import choose_tab, fill_number, finished_run, started, stop_all, until, wait_focus

NAMES = "(buttons) => buttons.map(one => one.ariaLabel ?? one.innerText)"


def said(page: Any) -> list[str]:
    """What the live region holds."""
    texts: list[str] = page.locator("#said p").all_text_contents()
    return texts


def wait_said(page: Any, pattern: str) -> None:
    page.locator("#said p", has_text=re.compile(pattern)).first.wait_for(state="attached")


def test_the_focus_goes_to_stop_and_back(page: Any, services: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services.serving._worker, "_is_training", lambda: True)  # or it is done before one can stop
    page.locator("#compare-sampling").get_by_role("button").first.click()
    length = page.locator("#compare-length input[type=number]")
    fill_number(length, length.get_attribute("max") or "5000")
    length.press("Tab")
    page.locator("#compare-generate").focus()
    page.keyboard.press("Enter")
    wait_focus(page, "#compare-stop")
    page.keyboard.press("Enter")
    wait_focus(page, "#compare-generate")
    page.locator("#compare-more").focus()
    page.keyboard.press("Enter")
    wait_focus(page, "#compare-stop")
    page.keyboard.press("Enter")
    wait_focus(page, "#compare-more, #compare-generate")


@pytest.mark.smoke
def test_arrow_keys_move_between_tabs(page: Any) -> None:
    page.get_by_role("tab", name="Compare", exact=True).focus()
    for key, name in {"ArrowRight": "Train", "End": "Understand", "Home": "Compare", "ArrowLeft": "Understand"}.items():
        page.keyboard.press(key)
        chosen = page.locator("#tabs [role=tab][aria-selected=true]")
        until(lambda chosen=chosen, name=name: chosen.inner_text() == name)
        assert page.evaluate("document.activeElement.innerText") == name


def test_the_focus_goes_to_what_opened(page: Any) -> None:
    choose_tab(page, "Corpus")
    page.locator("#corpus-paste").focus()
    page.keyboard.press("Enter")
    wait_focus(page, "#corpus-pasted textarea")
    choose_tab(page, "Runs")
    page.locator("#runs-list button.name").nth(1).focus()
    page.keyboard.press("Enter")
    wait_focus(page, "#runs-details h2")
    row = page.locator("#runs-list tr[aria-current=true]")
    assert row.locator("button.name").inner_text() == page.locator("#runs-details h2").inner_text()
    page.locator("#runs-fork").focus()
    page.keyboard.press("Enter")
    wait_focus(page, "#runs-fork-name :is(input, textarea)")


@pytest.mark.slow
def test_the_focus_outlives_what_had_it(page: Any, services: Any) -> None:
    """Deleted, brought back, gone for good: there is always something to go on from."""
    finished_run(services, "short-lived")
    choose_tab(page, "Runs")
    page.locator("#runs-list button.name", has_text="short-lived").press("Enter")
    wait_focus(page, "#runs-details h2")
    page.locator("#runs-delete").press("Enter")
    wait_focus(page, "#runs-told [data-act=restore]")
    page.keyboard.press("Enter")
    wait_focus(page, "#runs-list button.name")
    assert page.evaluate("document.activeElement.innerText") == "short-lived"
    page.locator("#runs-delete").wait_for(state="hidden")
    page.keyboard.press("Enter")
    wait_focus(page, "#runs-details h2")
    page.locator("#runs-delete").press("Enter")
    wait_focus(page, "#runs-told [data-act=restore]")
    page.locator("#runs-trash button").first.press("Enter")
    page.locator("#runs-trash [data-act=ask-empty]").press("Enter")
    wait_focus(page, "#runs-trash [data-act=keep]")  # a key held too long deletes nothing
    wait_said(page, "gone for good")
    page.locator("#runs-trash [data-act=empty]").press("Enter")
    wait_focus(page, "#tabs [role=tab][aria-selected=true]")
    page.locator("#runs-list [data-act=compare]").first.press("Enter")
    page.wait_for_function("document.activeElement.innerText === 'Compare'")


def test_buttons_of_rows_name_their_run(page: Any, services: Any) -> None:
    for label in ("first", "second", "third"):
        started(services, label=label)
    choose_tab(page, "Runs")
    page.locator("ol.queue li").nth(1).wait_for()
    for selector in ("#runs-list .acts button", "ol.queue .acts button"):
        names = page.locator(selector).evaluate_all(NAMES)
        assert len(names) >= 4 and len(set(names)) == len(names), names
    labels = page.locator("#runs-list button.name").all_inner_texts()
    for row, label in enumerate(labels):
        for name in page.locator("#runs-list tbody tr").nth(row).locator(".acts button").evaluate_all(NAMES):
            assert name.endswith(label)


def test_plots_have_a_name_and_a_table(page: Any) -> None:
    page.get_by_role("img", name="Losses of the chosen models").wait_for()
    page.locator("#compare-plot + details.values summary").click()
    table = page.locator("#compare-plot + details.values table")
    table.wait_for()
    assert table.locator("caption").inner_text() == "Losses of the chosen models"
    heads = table.locator("thead th").all_inner_texts()
    assert heads[0] == "step" and {"LSTM, held out", "GRU, held out", "RNN, training"} <= set(heads)
    graph = "document.querySelector('#compare-plot .js-plotly-plot').data"
    line = page.evaluate(
        f"(() => {{ const one = {graph}.find(one => one.meta.kind === 'val'); return [one.x, one.y]; }})()"
    )
    rows = [row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()]
    assert [row[0] for row in rows] == [f"{x:,}" for x in line[0]]
    told = [float(row[heads.index("LSTM, held out")]) for row in rows]
    assert told == pytest.approx(line[1], rel=1e-3)
    for name, plot in {"Train": "train", "Understand": "understand-memory"}.items():
        choose_tab(page, name)
        page.locator(f"#{plot}-plot .js-plotly-plot[role=img][aria-label]").wait_for()
        page.locator(f"#{plot}-plot + details.values").wait_for()


def test_one_region_says_what_becomes_of_a_training(page: Any, services: Any) -> None:
    assert said(page) == []
    started(services, "gru", "lstm")
    page.locator("#strip .job").wait_for()
    wait_said(page, "^Training started")
    until(lambda: all(run.best_val_loss for run in services.store.list() if run.status == "running"))
    stop_all(page, services)
    wait_said(page, r"^Stopped and saved at step [\d,]+: .*lowest validation loss, \d")
    started(services, steps=4000, eval_every=1000, label="short")  # the page looks every three seconds
    wait_said(page, "^Finished: short")
    choose_tab(page, "Corpus")
    with page.expect_file_chooser() as chooser:
        page.locator("#corpus-upload").click()
    chooser.value.set_files({"name": "a.txt", "mimeType": "text/plain", "buffer": bytes(range(256))})
    wait_said(page, "a.txt is a binary file")
    once = [text for text in said(page) if "binary" in text]
    assert len(once) == 1
    speaking = "[aria-live=polite], [aria-live=assertive], [role=status], [role=alert], [role=log], output"
    loud = page.locator(speaking).evaluate_all(
        "(ones) => ones.filter(one => one.ariaLive !== 'off').map(one => one.id)"
    )
    assert [one for one in loud if one] == ["said"]


def test_a_new_leader_is_said_at_most_every_15_seconds(page: Any) -> None:
    """The bar's numbers are set by hand: a race that changes its leader when it is wanted is hard to come by."""
    page.evaluate(
        """() => {
            const bar = document.createElement('div');
            document.querySelector('#strip').append(bar);
            window.race = (one, other) => {
                bar.innerHTML = `<span class="racers"><i title="ann">${one}</i><i title="bob">${other}</i></span>`;
            };
            const now = performance.now.bind(performance);
            window.later = 0;
            performance.now = () => now() + window.later;
        }"""
    )
    settle = 500  # ms: more than the page takes to look again
    for ann, bob, passed, expected in (
        (2.0, 2.1, 0, []),
        (2.0, 2.0, 20_000, []),
        (2.0, 1.9, 20_000, ["bob"]),
        (1.8, 1.9, 1_000, ["bob"]),
        (1.8, 1.7, 1_000, ["bob"]),
        (1.6, 1.7, 20_000, ["bob", "ann"]),
    ):
        page.evaluate("([ann, bob, passed]) => { later += passed; race(ann, bob); }", [ann, bob, passed])
        page.wait_for_timeout(settle)
        assert [text.split()[0] for text in said(page)] == expected, (ann, bob)
