"""What was uploaded or pasted stays after a reload and in another browser, until it is deleted."""

from typing import Any

from tests.e2e.steps import SECOND, STORY, choose_tab, open_app, until, wait_focus
from tests.patience import patience


def listed(page: Any) -> str:
    """The list of own texts, unfolded."""
    choose_tab(page, "Corpus")
    page.locator("#corpus-facts", has_text="distinct").wait_for()
    if not page.locator("#corpus-own").is_visible():
        page.locator("#corpus-own-fold button").first.click()
    page.locator("#corpus-own", has_text="stays until you delete it").wait_for()
    return str(page.locator("#corpus-own").inner_text())


def options_of(page: Any, picker: str) -> list[str]:
    """The choices of a picker."""
    page.locator(f"#{picker} input").click()
    page.get_by_role("option").first.wait_for()
    found = [str(option) for option in page.get_by_role("option").all_inner_texts()]
    page.keyboard.press("Escape")
    return found


def test_own_texts_are_in_every_picker_until_they_are_deleted(
    page: Any, browser: Any, server: str, services: Any
) -> None:
    assert "fox.txt" not in listed(page)
    with page.expect_file_chooser() as chooser:
        page.locator("#corpus-upload").click()
    chooser.value.set_files({"name": "fox.txt", "mimeType": "text/plain", "buffer": STORY.encode()})
    page.locator("#corpus-own", has_text="fox.txt").wait_for()
    page.locator("#corpus-paste").click()
    page.locator("#corpus-pasted textarea").fill("It was a dark and stormy night. " * 60)
    page.locator("#corpus-use").click()
    page.locator("#corpus-own", has_text="Pasted: It was a dark").wait_for()

    page.reload()
    assert "fox.txt" in listed(page) and "Pasted: It was a dark" in listed(page)

    other = browser.new_context().new_page()
    other.set_default_timeout(patience(60) * SECOND)
    open_app(other, server)
    shown = listed(other)
    assert "fox.txt 4.4 kB, today" in " ".join(shown.split()) and "Pasted: It was a dark" in shown
    for tab, picker in (("Corpus", "corpus-picker"), ("Train", "train-corpus"), ("Runs", "runs-corpus")):
        choose_tab(other, tab)
        if tab == "Runs":
            other.locator("#runs-table button[data-act=open]").first.click()
        other.locator(f"#{picker} input").wait_for()
        until(lambda picker=picker: any("fox.txt" in name for name in options_of(other, picker)))  # type: ignore[misc]
    choose_tab(other, "Understand")
    other.locator("#understand-source").get_by_text("your text").click()
    other.locator("#understand-kept input").wait_for()
    assert len(options_of(other, "understand-kept")) == 2

    listed(other)
    row = other.locator("#corpus-own li", has_text="fox.txt")
    row.locator("button[data-act=ask]").press("Enter")
    other.locator("#corpus-own", has_text="they can still be resumed").wait_for()
    other.locator("#said p", has_text="they can still be resumed").wait_for(state="attached")
    wait_focus(other, "#corpus-own [data-act=keep]")
    assert len(services.texts.list()) == 2  # not before it was said a second time
    row.locator("button[data-act=delete]").press("Enter")
    row.wait_for(state="detached")
    wait_focus(other, "#corpus-own li [data-act]")  # of the other text
    assert [one.name[:7] for one in services.texts.list()] == ["Pasted:"]
    choose_tab(other, "Train")
    until(lambda: not any("fox.txt" in name for name in options_of(other, "train-corpus")))
    other.context.close()
