"""A model that came from elsewhere, as a visitor meets it: listed, writing, and learning another text."""

from pathlib import Path
from typing import Any

from charlm.exchange.imports import import_file
from tests.e2e.steps import choose_tab, open_app, until
from tests.exchange.models import TOKENS, udacity_file


def test_an_imported_model_writes_and_learns_another_text(
    page: Any, server: str, services: Any, idle: None, tmp_path: Path
) -> None:
    udacity_file(tmp_path / "brought.net", tokens=(*TOKENS[:-1], "n"))
    run = import_file(services.store, tmp_path / "brought.net")
    open_app(page, server)
    choose_tab(page, "Runs")
    row = page.locator(f"#runs-table tr:has([data-run='{run.run_id}'])")
    row.get_by_text("imported from brought.net").wait_for()
    row.get_by_role("button", name="Compare").click()
    page.locator("#compare-verdict", has_text="came without a text").wait_for()
    page.locator("#compare-generate").click()
    page.wait_for_function("document.querySelector('#compare-columns .col .text').innerText.length > 100")

    choose_tab(page, "Runs")
    row.locator("button.name").click()
    page.locator("#runs-details", has_text="not measured: it came without a text").wait_for()
    page.locator("#runs-fork").click()
    text = page.locator("#runs-fork-text input")
    text.wait_for()
    assert "Its own" not in text.input_value()
    page.locator("#runs-fork-steps input").fill("5")
    page.locator("#runs-fork-start").click()
    page.locator("#train-head", has_text="A fork of brought").wait_for()
    child = services.store.list()[0]
    until(lambda: services.store.get(child.run_id).status == "finished")
    child = services.store.get(child.run_id)
    assert child.step == 5 and child.best_val_loss is not None and child.corpus["name"]
