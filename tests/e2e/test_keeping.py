"""What is taken away from Compare and Train: files of the comparison, copied texts and commands, pictures of plots."""

import json
from pathlib import Path
from typing import Any

from tests.e2e.steps import choose_tab, download, pasted, set_number, until

SHIPPED = ["sherlock-lstm", "sherlock-gru", "sherlock-rnn"]


def saved(page: Any, button: Any) -> Path:
    return download(page, button).path


def shown(page: Any) -> dict[str, Any]:
    return dict(page.evaluate("window.charlmTexts()"))


def test_a_comparison_is_saved_as_it_stands(page: Any) -> None:
    resting = json.loads(saved(page, page.locator("#compare-save-json")).read_text(encoding="utf-8"))
    assert resting["settings"] is None
    texts = {one["run_id"]: [[each["prompt"], each["text"]] for each in one["texts"]] for one in resting["models"]}
    assert texts == shown(page) and list(texts) == SHIPPED
    page.locator("#compare-sampling button").first.click()
    set_number(page, "compare-seed", 5)
    page.locator("#compare-generate").click()
    until(lambda: shown(page).keys() == texts.keys() and all(shown(page)[run] != texts[run] for run in texts))
    page.locator("#compare-more:enabled").wait_for()
    written = shown(page)
    set_number(page, "compare-seed", 6)  # which nothing was written with yet
    page.locator("#compare-sampling", has_text="seed 6").wait_for()
    told = json.loads(saved(page, page.locator("#compare-save-json")).read_text(encoding="utf-8"))
    assert told["settings"]["seed"] == 5 and "--seed 5" in told["command"]
    assert {
        one["run_id"]: [[each["prompt"], each["text"]] for each in one["texts"]] for one in told["models"]
    } == written
    finding = page.locator("#compare-verdict h1").inner_text()
    assert told["finding"] == finding
    html, markdown = (saved(page, page.locator(f"#compare-save-{kind}")) for kind in ("html", "md"))
    [[_, text], *_] = written[SHIPPED[0]]
    assert text.strip() in markdown.read_text(encoding="utf-8")
    other = page.context.new_page()
    asked: list[str] = []
    other.on("request", lambda request: asked.append(request.url))
    other.set_content(html.read_text(encoding="utf-8"))
    assert other.locator("h1").inner_text() == finding and other.locator("polyline").count() == 3
    assert text.strip()[:100] in other.locator("pre").first.inner_text() and not asked


def test_texts_and_commands_are_copied(page: Any) -> None:
    page.locator("#compare-plot .main-svg").first.wait_for()  # drawn after the columns
    page.locator("#compare-columns .col").first.get_by_role("button", name="Copy").click()
    [[prompt, text]] = shown(page)[SHIPPED[0]]
    until(lambda: pasted(page) == prompt + text)
    page.locator("#compare-copy-command").click()
    until(lambda: pasted(page).startswith(f"python -m charlm compare {' '.join(SHIPPED)} --prompt"))
    choose_tab(page, "Train")
    page.locator("#train-estimates", has_text="parameters").wait_for()
    page.locator("#train-copy-command").click()
    trains = "python -m charlm race sherlock --archs lstm,gru,rnn --preset quick"
    until(lambda: pasted(page).startswith(trains))


def test_plots_are_saved_as_pictures(page: Any) -> None:
    page.locator("#compare-plot .main-svg").first.wait_for()
    choose_tab(page, "Train")
    page.locator("#train-plot .main-svg").first.wait_for()
    for tab, plot in (("Compare", "compare-plot"), ("Train", "train-plot")):
        choose_tab(page, tab)
        svg, png = (page.locator(f"button[data-plot={plot}]", has_text=kind) for kind in ("SVG", "PNG"))
        assert b"<svg" in saved(page, svg).read_bytes()[:300]
        assert saved(page, png).read_bytes().startswith(b"\x89PNG")
