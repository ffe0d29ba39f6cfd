"""A list from its upload to the shares of its items, and a fork that learns the new characters of another text."""

from typing import Any

import pytest

from charlm.data.corpus import corpus_from_text
from charlm.presets import from_options
from tests.e2e.steps import STORY, choose_tab, fill_number, finished_run, open_app, set_number, until, wait_focus

NAMES = "".join(
    f"{a}{b}{c}\n" for a in ("an", "bo", "ci", "du") for b in "eiou" for c in ("na", "ri", "to", "le", "su")
)


def of_names(services: Any, label: str) -> str:
    """A small run that learned a list."""
    sizes = {"hidden_size": 16, "num_layers": 1, "steps": 60, "batch_size": 16, "eval_every": 60}
    config = from_options({**sizes, "items": "line", "label": label})
    [run_id] = services.jobs.start(corpus_from_text(NAMES, "names.txt", config.corpus), config, ["gru"])
    until(lambda: services.store.get(run_id).status == "finished")
    return str(run_id)


def preset(page: Any) -> str:
    return str(page.locator("#train-preset input:checked").input_value())


def upload(page: Any, name: str, text: str) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator("#corpus-upload").click()
    chooser.value.set_files({"name": name, "mimeType": "text/plain", "buffer": text.encode()})
    page.locator("#corpus-head", has_text=name).wait_for()


def test_a_list_takes_its_preset_and_its_models_say_how_much_is_new(page: Any, server: str, services: Any) -> None:
    choose_tab(page, "Corpus")
    page.locator("#corpus-facts", has_text="distinct").wait_for()
    upload(page, "names.txt", NAMES)
    page.locator("#corpus-options > button").first.click()
    page.locator("#corpus-items label", has_text="One a line").click()
    page.locator("#corpus-head", has_text="read as 80 items").wait_for()
    page.locator("#corpus-train").click()
    page.locator("#train-preset", has_text="items:").wait_for()
    assert preset(page) == "items"
    page.locator("#train-fold-training", has_text="20 epochs").wait_for()
    choose_tab(page, "Corpus")
    page.locator("#corpus-items label", has_text="No list").click()
    choose_tab(page, "Train")
    page.locator("#train-preset", has_text="quick:").wait_for()
    assert preset(page) == "quick"
    page.locator("#train-fold-training", has_text="steps").wait_for()

    name = of_names(services, "of-names")
    open_app(page, server, runs="sherlock-lstm")
    page.locator("#compare-columns", has_text="LSTM").wait_for()
    assert not page.locator("#compare-items-fold").is_visible()
    open_app(page, server, runs=f"{name},sherlock-lstm")
    page.locator("#compare-items-fold").wait_for()
    set_number(page, "compare-items-count", 15)
    page.locator("#compare-items-check textarea").fill("[a-z]+")
    page.locator("#compare-items-write").click()
    cells = page.locator("#items-table tbody td")
    until(lambda: cells.count() == 7)
    model, different, written, unique, new, valid, nats = cells.all_inner_texts()
    assert model.startswith("GRU") and different == "15" and int(written) >= 15 and float(nats) > 0
    assert all(share.endswith(" %") for share in (unique, new)) and valid == "100.0 %"
    assert page.locator("#compare-items ul.items li").count() == 15
    page.locator("#compare-items-check textarea").fill("[a-")
    page.locator("#compare-items-write").click()
    page.locator("#compare-items", has_text="check '[a-' is no regular expression").wait_for()
    choose_tab(page, "Runs")
    page.locator("#runs-table button[data-act=compare][data-run='sherlock-gru']").click()
    page.locator("#compare-models .token", has_text="sherlock-gru").wait_for()
    page.locator("#compare-items .notice").wait_for(state="detached")


@pytest.mark.slow
def test_a_fork_learns_the_new_characters_of_another_text(page: Any, services: Any) -> None:
    parent = finished_run(services, "parent")
    other = STORY.replace("fox", "füchß").replace("hen", "hén")
    new = sorted(set(other) - set(services.store.get(parent).tokenizer().tokens))
    choose_tab(page, "Corpus")
    page.locator("#corpus-facts", has_text="distinct").wait_for()
    upload(page, "other.txt", other)
    row, newest = "#runs-table button.name[data-run='%s']", parent
    for grows, label in ((True, "larger"), (False, "as-large")):
        choose_tab(page, "Runs")
        page.locator(row % newest).wait_for()  # before it is listed, its place is another's
        page.locator(row % parent).click()
        page.locator("#runs-fork").click()
        wait_focus(page, "#runs-fork-name :is(input, textarea)")  # which closes a list that is open by then
        page.locator("#runs-fork-text input").click()
        page.get_by_role("option").filter(has_text="other.txt").click()
        page.locator("#runs-fork-grow input").set_checked(grows)
        fill_number(page.locator("#runs-fork-steps input"), "3")
        page.locator("#runs-fork-name").get_by_role("textbox").fill(label)
        page.locator("#runs-fork-start").click()

        def made(label: str = label) -> Any:
            return next((run for run in services.store.list() if run.label == label), None)

        until(lambda made=made: made() is not None and made().status == "finished")  # type: ignore[misc]
        newest = made().run_id
        assert made().tokenizer().tokens == [*services.store.get(parent).tokenizer().tokens, *(new if grows else [])]
