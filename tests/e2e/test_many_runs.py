"""The table of runs in a browser: sorted, grouped, selected; the chosen run's note, curve and samples."""

from typing import Any

from tests.e2e.steps import choose_tab, finished_run, open_app, started, toast, until

LABELS = "rows => rows.map(row => row.querySelector('.name').innerText)"


def labels(page: Any) -> list[str]:
    """The names of the runs, from top to bottom."""
    return list(page.locator("#runs-list tr:has(.name)").evaluate_all(LABELS))


def filter_by(page: Any, wanted: str) -> None:
    """Put other words into the filter at once, as one pastes or deletes."""
    page.locator("#runs-filter").get_by_role("textbox").fill(wanted)


def box(page: Any, label: str) -> Any:
    """The box of a run."""
    return page.get_by_role("checkbox", name=f"Select {label}", exact=True)


def chosen_models(page: Any) -> list[str]:
    """The ids that the address says Compare shows."""
    return str(page.evaluate("new URLSearchParams(location.search).get('runs') ?? ''")).split(",")


def test_a_head_sorts_by_click_and_by_keyboard_and_the_tab_remembers(page: Any, server: str) -> None:
    choose_tab(page, "Runs")
    head = page.locator("#runs-list th", has_text="Parameters")
    head.get_by_role("button").click()
    until(lambda: head.get_attribute("aria-sort") == "descending")
    largest = labels(page)
    assert largest[-1].startswith("small-") and not largest[0].startswith("small-")
    assert page.evaluate("document.activeElement.dataset.by") == "parameters"
    page.keyboard.press("Enter")
    until(lambda: head.get_attribute("aria-sort") == "ascending")
    assert labels(page) == largest[::-1] and page.locator("#runs-list th[aria-sort]").count() == 1

    page.reload()
    choose_tab(page, "Runs")
    until(lambda: head.get_attribute("aria-sort") == "ascending")
    other = page.context.new_page()
    open_app(other, server, tab="runs")
    other.locator("#runs-list th[aria-sort=descending]", has_text="Started").wait_for()


def test_selected_runs_outlive_a_refresh_and_are_compared_and_deleted(page: Any, services: Any) -> None:
    ids = [finished_run(services, label) for label in ("<i>one</i>", "two")]
    started(services, "gru", "lstm", label="race")
    choose_tab(page, "Runs")
    box(page, "<i>one</i>").check()
    box(page, "two").check()
    bar = page.locator("#runs-picked")
    bar.get_by_text("2 selected", exact=True).wait_for()
    page.get_by_label("Group by race").check()
    page.locator("#runs-list tr.race", has_text="Race race on story.txt").wait_for()
    all_shipped = page.get_by_role("checkbox", name="Select all of Shipped with the app")
    all_shipped.check()
    bar.get_by_text("9 selected", exact=True).wait_for()
    bar.get_by_role("button", name="Add to Compare").click()
    toast(page, "9 runs are selected, and Compare shows 6 at most").wait_for()
    all_shipped.uncheck()
    filter_by(page, "two")
    bar.get_by_text("2 selected, 1 of them not shown").wait_for()
    filter_by(page, "")
    box(page, "<i>one</i>").wait_for()
    assert (
        box(page, "<i>one</i>").is_checked()
        and box(page, "two").is_checked()
        and not box(page, "race-gru").is_checked()
    )

    bar.get_by_role("button", name="Compare only these").click()
    page.locator("#compare-ranking", has_text="<i>one</i>").wait_for()
    until(lambda: chosen_models(page) == ids)
    choose_tab(page, "Runs")
    bar.get_by_role("button", name="Clear").click()
    box(page, "sherlock-rnn").check()
    bar.get_by_role("button", name="Add to Compare").click()
    until(lambda: chosen_models(page) == [*ids, "sherlock-rnn"])

    choose_tab(page, "Runs")
    box(page, "two").check()
    box(page, "<i>one</i>").check()
    bar.get_by_role("button", name="Delete").click()
    told = page.locator("#runs-told", has_text="sherlock-rnn came with the app")
    told.wait_for()
    assert "Deleted two and <i>one</i>." in told.inner_text() or "Deleted <i>one</i> and two." in told.inner_text()
    box(page, "two").wait_for(state="detached")
    bar.get_by_text("1 selected", exact=True).wait_for()
    told.get_by_role("button", name="Undo").click()
    box(page, "two").wait_for()
    assert {run.run_id for run in services.store.list()} >= set(ids)


def test_the_chosen_run_has_a_note_a_curve_and_its_samples(page: Any, services: Any) -> None:
    [run_id] = started(services, steps=30, eval_every=10, label="<i>noted</i>")
    until(lambda: services.store.get(run_id).status == "finished")
    choose_tab(page, "Runs")
    page.locator(f"#runs-list .name[data-run='{run_id}']").click()
    page.locator("#runs-past").get_by_role("img", name="Losses of the chosen run").wait_for()
    page.locator("#runs-note textarea").fill("<b>too hot</b>\nagain with less")
    page.locator("#runs-note textarea").press("Tab")
    page.locator("#runs-told", has_text="The note of <i>noted</i> is kept.").wait_for()
    assert services.store.get(run_id).note == "<b>too hot</b>\nagain with less"
    row = page.locator(f"#runs-list tr:has([data-run='{run_id}'])")
    row.get_by_text("<b>too hot</b> again with less").wait_for()
    filter_by(page, "TOO less")
    until(lambda: labels(page) == ["<i>noted</i>"])

    written = {one["step"]: one["text"] for one in services.store.get(run_id).samples()}
    shown = page.locator("#runs-samples .shown-sample")
    assert list(written) == [10, 20, 30] and written[30].split()[-1] in shown.inner_text()
    slider = page.locator("#runs-samples input[type=range]")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    shown.get_by_text("step 10", exact=True).wait_for()
    text = str(shown.locator(".text").text_content())
    assert text.endswith(written[10]) and slider.get_attribute("aria-valuetext") == "step 10"
    filter_by(page, "")
    page.locator("#runs-list .name[data-run=sherlock-rnn]").click()
    page.locator("#runs-samples .shown-sample[data-run=sherlock-rnn]").wait_for()
    newest = services.store.get("sherlock-rnn").sample()
    until(lambda: str(shown.locator(".text").text_content()).endswith(newest["text"]))
    assert not page.locator("#runs-note").is_visible()
