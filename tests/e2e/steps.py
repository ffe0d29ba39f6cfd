"""What the browser tests do again and again."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from charlm.data.corpus import corpus_from_text
from charlm.presets import from_options
from charlm.ui.train.form import ADVANCED, FOLDS
from tests.patience import wait_for

SECOND = 1000  # Playwright counts milliseconds
STORY = "A fox met a hen by the gate. The hen ran home; the fox sat down and sang. " * 60


def open_app(page: Any, server: str, **query: str) -> None:
    """Load the app and wait until it can be used."""
    page.goto(server + "?" + "&".join(f"{name}={value}" for name, value in query.items()))
    page.locator("#compare-generate, #tab-train").first.wait_for(state="attached")
    page.get_by_role("tab", name="Compare", exact=True).wait_for()


def toast(page: Any, said: str) -> Any:
    """The message that says this; a screen reader's region has it, too."""
    return page.get_by_test_id("toast-text").filter(has_text=said)


def wait_focus(page: Any, selector: str) -> None:
    """Wait until what has the focus matches."""
    page.wait_for_function("(selector) => document.activeElement.matches(selector)", arg=selector)


def choose_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def fill_number(field: Any, value: str) -> None:
    """What a number field holds from now on."""
    if field.page.context.browser.browser_type.name == "firefox":  # where fill() adds to what it holds
        field.press("ControlOrMeta+A")
        if value:
            field.press_sequentially(value)
        else:
            field.press("Delete")
    else:
        field.fill(value)


class Download(NamedTuple):
    """A file that a page has saved: what it is called, and where it is."""

    name: str
    path: Path


def download(page: Any, button: Any) -> Download:
    """Press a button that saves a file.

    Playwright 1.64 passes over the downloads that Firefox counts to no navigation; the file is saved all the same.
    """
    browser = page.context.browser
    if browser.browser_type.name != "firefox":
        with page.expect_download() as waiting:
            button.click()
        return Download(waiting.value.suggested_filename, Path(waiting.value.path()))

    def came() -> list[Path]:
        files = [one for one in browser.downloads.iterdir() if one.is_file()]
        return files if all(one.stat().st_size and one.suffix != ".part" for one in files) else []

    button.click()
    [file] = wait_for(came, "for a download")
    return Download(file.name, file.rename(Path(tempfile.mkdtemp(dir=browser.downloads)) / file.name))


def set_number(page: Any, elem_id: str, value: float) -> None:
    field = page.locator(f"#{elem_id} input[type=number]")
    fill_number(field, str(value))
    field.press("Tab")


def unfold(page: Any, elem_id: str) -> None:
    """Open a fold, if it is not."""
    button = page.locator(f"#{elem_id} > button").first
    if "open" not in (button.get_attribute("class") or "").split():
        button.click()


def fill_form(page: Any, **numbers: float) -> None:
    """Open the folds and set what the test wants, by the settings' names."""
    for name, value in numbers.items():
        [key] = [key for key, names in FOLDS.items() if name in names]
        for fold in (*(["advanced"] if key in ADVANCED else []), key):
            unfold(page, f"train-fold-{fold}")
        set_number(page, f"train-{name.replace('_', '-')}", value)


def pasted(page: Any) -> str:
    """What is in the clipboard: pasted into a page of its own, which every browser allows without being asked."""
    other = page.context.new_page()
    other.set_content("<textarea></textarea>")
    field = other.get_by_role("textbox")
    field.click()
    field.press("ControlOrMeta+V")
    text = field.input_value()
    other.close()
    return str(text)


def until(true: Callable[[], bool]) -> None:
    """Wait for a condition outside the page."""
    wait_for(true)


def stop_all(page: Any, services: Any) -> None:
    """Press the strip's Stop and wait until nothing trains."""
    page.locator("#strip button[data-act=stop]").click()
    page.locator("#strip .job").wait_for(state="detached")
    until(lambda: services.jobs.current() is None)


def started(services: Any, *archs: str, **options: Any) -> list[str]:
    """Ids of small runs that are queued, to train for long unless the options say otherwise."""
    config = from_options({"hidden_size": 8, "num_layers": 1, "steps": 1_000_000, "eval_every": 50, **options})
    return services.jobs.start(corpus_from_text(STORY, "story.txt", config.corpus), config, archs or ("gru",))


def finished_run(services: Any, label: str) -> str:
    """A small run of its own, trained to its end."""
    [run_id] = started(services, steps=5, label=label)
    until(lambda: services.store.get(run_id).status == "finished")
    return run_id
