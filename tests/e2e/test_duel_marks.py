"""A duel as a visitor sees it: the mark, the sentence, and that the texts stay texts; and cross-perplexity's matrix."""

import re
from typing import Any

from playwright.sync_api import expect

from tests.e2e.steps import open_app, set_number, unfold
from tests.patience import patience
from tests.tiny_runs import trained


def test_a_duel_marks_where_the_texts_part(page: Any, server: str, services: Any) -> None:
    runs = trained(services.store, "lstm", "gru", steps=60)
    open_app(page, server, runs=",".join(run.run_id for run in runs), prompt="The ", length="120", duel="true")
    expect(page.locator("#compare-columns .col")).to_have_count(2)
    expect(page.locator("#compare-sampling > button").first).to_contain_text("duel")
    page.locator("#compare-generate").click()
    said = page.locator("#compare-columns p.duel")
    expect(said).to_have_text(re.compile(r"^LSTM and GRU part (at once|after [\d,]+ characters?)\.$"))
    expect(page.locator("#compare-generate")).to_be_visible()
    place = int(re.sub(r"\D", "", said.inner_text()) or 0)
    marks = page.locator("#compare-columns").get_by_role("img", name="Parts here")
    expect(marks).to_have_count(2)
    told = page.evaluate("window.charlmTexts()")
    [one], [other] = (told[run.run_id] for run in runs)
    assert one[0] == other[0] == "The " and len(one[1]) == len(other[1]) == 120
    assert one[1][:place] == other[1][:place] and one[1][place] != other[1][place]
    before = page.evaluate(
        """() => [...document.querySelectorAll('#compare-columns .parts')].map((mark) => {
          const range = document.createRange();
          range.setStart(mark.closest('.text'), 0);
          range.setEndBefore(mark);
          return range.toString().length;
        })"""
    )
    assert before == [4 + place] * 2  # the prompt stands before it
    box = marks.first.bounding_box()
    assert box and box["width"] >= 1 and box["height"] >= 12  # it can be seen
    unfold(page, "compare-sampling")
    expect(page.locator("#compare-duel input")).to_be_checked()
    page.locator("#compare-duel input").uncheck()
    set_number(page, "compare-length", 40)
    page.locator("#compare-generate").click()
    expect(said).to_have_count(0)
    expect(marks).to_have_count(0)


def test_cross_perplexity_is_measured_in_its_fold(page: Any, server: str, services: Any) -> None:
    runs = trained(services.store, "lstm", "ngram", steps=20)
    open_app(page, server, runs=",".join(run.run_id for run in runs))
    expect(page.locator("#compare-columns .col")).to_have_count(2)
    unfold(page, "compare-cross-fold")
    page.locator("#compare-cross-measure").click()
    table = page.locator("#compare-cross table.cross")
    table.wait_for(timeout=patience(60) * 1000)
    expect(table.get_by_role("rowheader")).to_have_text(["LSTM", "n-gram", "Held-out text"])
    expect(table.locator("td.own")).to_have_count(2)
    expect(page.locator("#compare-cross .found")).to_contain_text("model finds its own text cheapest")
    expect(page.locator("#compare-cross-measure")).to_be_visible()
    expect(page.locator("#compare-cross-stop")).to_have_count(0)
