"""A blind vote as a visitor sees it: no author in sight before it, all of them after it; two visitors of a Space."""

import csv
import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from charlm.architectures import ARCHITECTURES
from tests.e2e.steps import SECOND, download, open_app, unfold, until
from tests.patience import patience
from tests.tiny_runs import TEXT, trained

BOOK = "".join(f"{line} Then number {place} came along.\n" for place, line in enumerate(TEXT.splitlines() * 20))
BALLOT, VOTES = "#compare-ballot", "#compare-votes"
# Keeps what the server says from now on, a text for each answer.
LISTEN = """() => {
  const ask = window.fetch;
  window.told = [];
  window.fetch = async (...given) => {
    const answer = await ask(...given);
    const place = window.told.push('') - 1;
    const keep = async (reader) => {
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        window.told[place] += new TextDecoder().decode(piece.value);
      }
    };
    keep(answer.clone().body.getReader()).catch(() => {});  // the page has heard enough
    return answer;
  };
}"""
SHIPPED = ("sherlock-small-lstm", "sherlock-small-gru")


def texts_of(page: Any) -> list[str]:
    """What each text of the ballot says, without the prompt before it and the dots behind."""
    return [
        one.removesuffix("…")
        for one in page.evaluate(
            f"""() => [...document.querySelectorAll('{BALLOT} .text')].map((text) => {{
              const prompt = text.querySelector('.prompt').textContent;
              return text.textContent.slice(prompt.length);
            }})"""
        )
    ]


def told_with(page: Any, word: str) -> str:
    """All that the server said in the events in whose messages `word` occurs; others, say Compare's curves, come late.

    Raises:
        AssertionError: No message has the word.
    """
    lines = [line.removeprefix("data: ") for answer in page.evaluate("window.told") for line in answer.splitlines()]
    messages = [(json.loads(line).get("event_id"), line) for line in lines if line.startswith("{")]
    events = {event for event, line in messages if event and word in line}
    assert events, word
    return "\n".join(line for event, line in messages if event in events)


def button(page: Any, name: str) -> Any:
    return page.locator("#compare-vote-fold").get_by_role("button", name=name, exact=True)


@pytest.fixture
def voted(services: Any) -> Iterator[None]:
    """No votes are left for the next test."""
    yield
    services.serving.votes.reset()


@pytest.mark.smoke
def test_nothing_tells_the_authors_before_the_vote_and_everything_after_it(
    page: Any, server: str, services: Any, voted: None
) -> None:
    runs = trained(services.store, "lstm", "gru", text=BOOK, steps=20)
    open_app(page, server, runs=",".join(run.run_id for run in runs), length="60")
    expect(page.locator("#compare-columns .col")).to_have_count(2)
    unfold(page, "compare-vote-fold")
    expect(page.locator(VOTES)).to_contain_text("No votes yet.")
    page.evaluate(LISTEN)
    button(page, "Show texts").click()
    expect(page.locator(f"{BALLOT} section")).to_have_count(3)
    colours = [about.colour for about in ARCHITECTURES.values()]
    secrets = [word for run in runs for word in (run.run_id, run.label)] + [*ARCHITECTURES, *colours, "swatch"]
    shown = page.locator("#compare-vote-fold").evaluate("fold => fold.outerHTML")
    told = told_with(page, "Text A")
    assert "Text A" in shown
    for word in secrets:
        assert word not in shown and word not in told, word
    assert (
        page.locator(f"{BALLOT} section").evaluate_all(
            "all => new Set(all.map((one) => getComputedStyle(one).borderTopColor)).size"
        )
        == 1
    )
    texts = texts_of(page)
    assert {len(text) for text in texts} == {60}
    expect(page.locator(VOTES).locator("table")).to_have_count(0)
    expect(button(page, "Choose Text A")).to_be_focused()  # Show texts was pressed, and gave way
    page.get_by_role("radio", name="Which did a human write?").check(force=True)
    button(page, "Choose Text B").focus()
    page.keyboard.press("Enter")
    expect(page.locator(f"{BALLOT} .told-line")).to_contain_text("is the human's")
    assert texts_of(page) == texts
    authors = page.locator(f"{BALLOT} section .sub").all_inner_texts()
    assert sorted(authors) == sorted(["the human", *(run.label for run in runs)])
    prompt = page.locator(f"{BALLOT} .prompt").first.evaluate("one => one.textContent")
    assert prompt + texts[authors.index("the human")] in BOOK
    shown = page.locator(BALLOT).inner_html()
    assert all(ARCHITECTURES[run.arch].colour in shown for run in runs)
    expect(button(page, "Next texts")).to_be_focused()
    is_right = authors[1] == "the human"
    found = page.locator(f"{VOTES} .found")
    expect(found).to_contain_text(f"The human's passage was recognised in {1 if is_right else 0} of 1 votes")
    expect(page.locator(f"{VOTES} tbody tr")).to_have_count(3)
    page.keyboard.press("Enter")
    expect(button(page, "Choose Text C")).to_be_visible()
    expect(page.locator(f"{VOTES} table")).to_have_count(0)
    page.get_by_role("radio", name="Which is best?").check(force=True)
    button(page, "Choose Text C").click()
    expect(page.locator(f"{BALLOT} .told-line")).to_contain_text("You chose Text C by ")
    expect(page.locator(f"{VOTES} table")).to_have_count(2)
    tallies = services.serving.votes.tallies()["together"]
    assert tallies["best"]["votes"] == tallies["human"]["votes"] == 1


def test_the_tables_are_saved_and_votes_deleted_after_a_question(
    page: Any, server: str, services: Any, voted: None
) -> None:
    [run] = trained(services.store, "ngram", text=BOOK, label="=1+1")
    open_app(page, server, runs=run.run_id, length="40")
    expect(page.locator("#compare-columns .col")).to_have_count(1)
    unfold(page, "compare-vote-fold")
    button(page, "Show texts").click()
    button(page, "Choose Text A").click()
    expect(page.locator(f"{VOTES} table")).to_have_count(1)
    saved = download(page, page.locator("#compare-votes-csv"))
    assert saved.name == "charlm-votes.csv"
    with saved.path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"'=1+1", "the human"} and sum(int(row["chosen"]) for row in rows) == 1
    assert {row["kind"] for row in rows} == {"best"} and all(float(row["chance"]) == 0.5 for row in rows)
    button(page, "Reset").click()
    expect(page.locator(VOTES)).to_contain_text("1 vote: gone for good?")
    button(page, "Keep").click()
    button(page, "Reset").click()
    button(page, "Delete").click()
    expect(page.locator(VOTES)).to_contain_text("No votes yet.")
    until(lambda: services.serving.votes.tallies()["together"]["best"]["votes"] == 0)


def test_stop_ends_what_is_written(page: Any, server: str, services: Any) -> None:
    open_app(page, server, runs="sherlock-lstm,sherlock-gru,sherlock-rnn", length="4000")
    expect(page.locator("#compare-columns .col")).to_have_count(3)
    unfold(page, "compare-vote-fold")
    button(page, "Show texts").click()
    page.locator("#compare-vote-stop").click()
    expect(button(page, "Show texts")).to_be_visible()
    expect(page.locator("#compare-vote-stop")).to_have_count(0)
    expect(page.locator(f"{BALLOT} section")).to_have_count(0)
    expect(page.locator(VOTES)).to_contain_text("No votes yet.")


def test_models_of_different_texts_are_refused_in_a_sentence(page: Any, server: str, services: Any) -> None:
    runs = [*trained(services.store, "ngram", text=BOOK), *trained(services.store, "ngram", text=BOOK + "More.\n")]
    open_app(page, server, runs=",".join(run.run_id for run in runs), length="40")
    expect(page.locator("#compare-columns .col")).to_have_count(2)
    unfold(page, "compare-vote-fold")
    button(page, "Show texts").click()
    expect(page.locator(f"{BALLOT} [role=alert]")).to_contain_text("a blind vote needs models of the same text")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, chromium_path: str) -> Iterator[str]:
    """The address of a public Space of its own."""
    from charlm.ui.app import build_demo, launch_options
    from charlm.ui.services import PublicAppServices

    folder = tmp_path_factory.mktemp("space")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARLM_RUNS", str(folder / "runs"))
        made = PublicAppServices()
    demo = build_demo(made.services, folder)
    options = launch_options(made.services)
    _, address, _ = demo.launch(**options, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield address
    demo.close()
    made.jobs.close(patience(30))


def test_two_visitors_vote_together_and_each_resets_their_own(browser: Any, server: str, space: str) -> None:
    pages = []
    for number in range(2):
        one = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        one.set_default_timeout(patience(60) * SECOND)
        open_app(one, space, runs=",".join(SHIPPED), length="60")
        expect(one.locator("#compare-columns .col")).to_have_count(2)
        unfold(one, "compare-vote-fold")
        button(one, "Show texts").click()
        button(one, "Choose Text A").click()
        headings = one.locator(f"{VOTES} h2")
        expect(headings).to_have_text(["Your votes", "All votes"])
        said = one.locator(f"{VOTES} .found")
        expect(said).to_have_count(2)
        for place, votes in enumerate((1, number + 1)):
            expect(said.nth(place)).to_contain_text(f"of {votes} votes")
        pages.append(one)
    first = pages[0]
    button(first, "Reset").click()
    button(first, "Delete").click()
    expect(first.locator(VOTES)).to_contain_text("Your votesNo votes yet.")
    expect(first.locator(f"{VOTES} .found")).to_contain_text("of 1 votes")
    for one in pages:
        one.context.close()
