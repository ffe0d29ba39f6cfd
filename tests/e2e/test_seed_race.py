"""A race of several seeds on the page: the form, the band, and what may be claimed."""

from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.e2e.steps import choose_tab, fill_form, started, unfold, until


def choose(page: Any, elem_id: str, option: str) -> None:
    """Pick from a dropdown."""
    page.locator(f"#{elem_id} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def test_the_form_makes_sizes_equal_and_says_so(page: Any) -> None:
    choose_tab(page, "Train")
    fill_form(page, seeds=2)
    expect(page.locator("#train-fold-name > button")).to_contain_text(", 2 seeds")
    unfold(page, "train-fold-advanced")
    unfold(page, "train-fold-race")
    choose(page, "train-match", "parameters")
    fold, estimates = page.locator("#train-fold-race > button"), page.locator("#train-estimates")
    expect(fold).to_contain_text("Race: equal parameters, equal tokens")
    expect(estimates).to_contain_text("% parameters)")
    choose(page, "train-budget", "flops")
    expect(fold).to_contain_text("equal flops")
    expect(estimates).to_contain_text("GRU")


def test_early_stopping_is_asked_for_from_four_seeds_on(page: Any) -> None:
    choose_tab(page, "Train")
    fill_form(page, seeds=3)
    title, box = page.locator("#train-fold-name > button"), page.locator("#train-early-stop")
    expect(title).to_contain_text(", 3 seeds")
    expect(box).to_have_count(0)
    fill_form(page, seeds=4)
    box.get_by_role("checkbox").check()
    expect(title).to_contain_text(", 4 seeds at most")
    page.reload()
    choose_tab(page, "Train")
    expect(title).to_contain_text(", 4 seeds at most")  # also after a reload
    unfold(page, "train-fold-name")
    expect(box.get_by_role("checkbox")).to_be_checked()


def test_a_race_of_seeds_is_shown_with_bands_and_a_claim(page: Any, services: Any, pictures: Path) -> None:
    ids = started(services, "gru", "rnn", seeds=3, steps=60, eval_every=10)
    choose_tab(page, "Train")
    until(lambda: all(services.store.get(run_id).status == "finished" for run_id in ids))
    title = page.locator("#train-head h2, #train-head h1").first
    expect(title).to_contain_text("nats per token")
    expect(title).not_to_contain_text("So far")
    section = page.locator("#train-seed-curves")
    expect(section.locator("#train-seeds-table tbody tr")).to_have_count(2)
    page.wait_for_function(
        "document.querySelector('#train-seed-curves [role=img]')"
        ".data?.filter((one) => one.meta.kind === 'band').length === 4"
    )
    expect(section.get_by_role("img", name="Mean validation loss over seeds")).to_be_visible()
    expect(page.locator("#train-table tbody tr")).to_have_count(2)  # the first seed's
    page.screenshot(path=pictures / "train-seeds-light.png", full_page=True)
    page.set_viewport_size({"width": 390, "height": 844})
    page.screenshot(path=pictures / "train-seeds-phone.png", full_page=True)
    unfold(page, "train-rungs")
    page.reload()
    choose_tab(page, "Train")
    expect(page.locator("#train-seeds-table tbody tr")).to_have_count(2)
