"""Own files in the shapes people have them: several at once, a chat, a code page, and markup that came as text."""

import json
from typing import Any

from tests.data.sample_documents import word
from tests.e2e.steps import choose_tab, until

NAMES = "Łukasz Wąsik\nJędrzej Śliwa\nBożena Dąbrowska\n" * 30


def bring(page: Any, *files: tuple[str, bytes]) -> Any:
    """Upload files in Corpus; the head of the tab."""
    choose_tab(page, "Corpus")
    page.locator("#corpus-facts", has_text="distinct").wait_for()
    with page.expect_file_chooser() as chooser:
        page.locator("#corpus-upload").click()
    chooser.value.set_files([{"name": name, "mimeType": "text/plain", "buffer": data} for name, data in files])
    return page.locator("#corpus-head")


def test_several_files_of_several_kinds_are_one_text(page: Any) -> None:
    chapters = [(f"chapter {number}.txt", f"Chapter {number}. A fox met a hen.\n".encode() * 30) for number in (10, 2)]
    head = bring(page, *chapters, ("a.docx", word()))
    head.get_by_text("a.docx, chapter 2.txt, chapter 10.txt").wait_for()
    assert "A fox met a hen." in page.locator("#corpus-begins").inner_text()
    page.locator("#corpus-guessing", has_text="Uniform").wait_for()  # all that follows an upload has come
    page.locator("#corpus-train").click()
    page.locator("#train-corpus input").wait_for()
    until(lambda: "a.docx and 2 more.zip" in page.locator("#train-corpus input").input_value())


def test_the_messages_of_a_chat_are_read_and_another_column_can_be(page: Any) -> None:
    messages = [{"from": f"Ana {row}", "text": [{"type": "bold", "text": "hi"}, f" fox {row}"]} for row in range(60)]
    head = bring(page, ("chat.json", json.dumps({"name": "Chat", "messages": messages}).encode()))
    head.get_by_text("column messages.text read").wait_for()
    page.locator("#corpus-options > button").click()
    page.locator("#corpus-column input").click()
    page.get_by_role("option", name="messages.from").click()
    page.locator("#corpus-begins", has_text="Ana 0").wait_for()


def test_an_encoding_is_said_and_another_can_be_chosen_or_typed(page: Any) -> None:
    head = bring(page, ("names.txt", NAMES.encode("cp1250")))
    head.get_by_text("read as cp1250, for example “Łukasz Wąsik”").wait_for()
    page.locator("#corpus-options > button").click()
    page.locator("#corpus-encoding input").click()
    page.get_by_role("option", name="cp1252", exact=True).click()
    page.locator("#corpus-begins", has_text="£ukasz").wait_for()
    page.locator("#corpus-encoding input").fill("cp1257")
    page.keyboard.press("Enter")
    page.locator("#corpus-options", has_text="read as cp1257").wait_for()


def test_markup_is_said_and_stripped(page: Any) -> None:
    head = bring(page, ("page.txt", b"<p>A <b>fox</b> met a hen.</p>\n" * 60))
    head.get_by_text("of this looks like HTML tags").wait_for()
    page.locator("#corpus-options > button").click()
    page.locator("#corpus-strip-markup input").check()
    page.locator("#corpus-begins", has_text="A fox met a hen.").wait_for()
    head.get_by_text("HTML tags stripped").wait_for()
