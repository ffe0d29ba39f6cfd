"""Script payloads through every text a user can bring: whatever the page shows of them, nothing runs."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.data.corpus import corpus_from_text
from charlm.presets import from_options
from tests.e2e.payloads import LISTEN_JS, PAYLOADS, PROBE_JS, TRACES_JS
from tests.e2e.steps import SECOND, choose_tab, download, open_app, until
from tests.patience import patience

ALL = "\n".join(PAYLOADS)
PRINTED = [" ".join("".join(one if one.isprintable() else " " for one in text).split()) for text in PAYLOADS]
LINES = "document.querySelector('#train-plot .js-plotly-plot').data.length"


class Listener:
    """A page that hears every payload that runs."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.heard: list[str] = []
        page.on("dialog", lambda dialog: (self.heard.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self._request(request.url))
        page.on("pageerror", lambda error: self.heard.append(f"error {error}"))
        page.on("framenavigated", lambda frame: self._request(frame.url))
        page.add_init_script(LISTEN_JS)

    def _request(self, url: str) -> None:
        if "canary.invalid" in url.split("?")[0]:
            self.heard.append(url)

    def silent(self, after: str) -> None:
        """Nothing has run, and nothing stands in the page that could."""
        self.page.evaluate(PROBE_JS)
        hurts = self.page.evaluate("window.hurts")
        assert not hurts and not self.heard and not self.page.evaluate(TRACES_JS), (
            after, hurts, self.heard, self.page.evaluate(TRACES_JS),
        )  # fmt: skip


@pytest.fixture(scope="module")
def planted(services: Any) -> Iterator[list[str]]:
    """Forty runs, each with a payload in every field of its run.json and in its samples; one reads them all."""
    config = from_options({"hidden_size": 8, "num_layers": 1, "steps": 6, "eval_every": 3, "label": "reads payloads"})
    corpus = corpus_from_text(f"{ALL}\n" * 8, f"{PAYLOADS[0]}.txt", config.corpus)
    [first] = services.jobs.start(corpus, config, ["gru"])
    until(lambda: services.store.get(first).status == "finished")
    source, ids = services.store.get(first).folder, [first]
    for place, payload in enumerate(PAYLOADS):
        folder = source.parent / f"payload-{place:02}"
        shutil.copytree(source, folder)
        ids.append(folder.name)
        plant(folder, payload, ("failed", "finished", payload, "stopped")[place % 4])
    yield ids
    for run_id in ids:
        shutil.rmtree(source.parent / run_id, ignore_errors=True)


def plant(folder: Path, payload: str, status: str) -> None:
    """What a run folder that was put there by hand may say."""
    info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    parent = {"run_id": payload, "label": ALL, "step": 3, "why": "fork"}
    info |= {
        "label": payload, "message": ALL, "status": status, "preset": payload, "group": payload, "owner": payload,
        "created": payload, "updated": payload, "mend": {"learning_rate": payload, payload: payload},
        "ancestry": [parent, {**parent, "why": payload}], "versions": {payload: payload}, payload: payload,
    }  # fmt: skip
    info["corpus"] |= {"name": payload, "key": payload, "about": payload}
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    samples = [{"step": step, "prompt": payload, "text": f"{step} {payload} {ALL}"} for step in (3, 6)]
    lines = "".join(json.dumps(sample) + "\n" for sample in samples)
    (folder / "samples.jsonl").write_text(lines, encoding="utf-8")


@pytest.fixture
def listener(browser: Any, server: str, planted: list[str]) -> Iterator[Listener]:
    visitor = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = visitor.new_page()
    page.set_default_timeout(patience(60) * SECOND)
    made = Listener(page)
    open_app(page, server)
    yield made
    made.silent("all")
    visitor.close()


def row(page: Any, run_id: str) -> Any:
    return page.locator(f"#runs-table button.name[data-run='{run_id}']")


def choose(page: Any, elem_id: str, text: str) -> None:
    """Take what a picker offers with this text; it may offer others, too."""
    field = page.locator(f"#{elem_id} input").first
    field.click()
    field.fill(text)
    page.get_by_role("option").filter(has_text=text).first.click()


@pytest.mark.smoke
def test_the_canary_would_be_heard(browser: Any, server: str) -> None:
    """Each way to hear works: else silence means nothing."""
    page = browser.new_page()
    listener = Listener(page)
    open_app(page, server)
    listener.silent("nothing")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=hurt(0)>')")
    page.wait_for_function("window.hurts.length > 0")
    with page.expect_event("request"):
        page.evaluate("fetch('https://canary.invalid/1').catch(() => 0)")
    assert listener.heard and page.evaluate(TRACES_JS)
    page.close()


def test_runs_that_were_put_there_by_hand(listener: Listener, planted: list[str], services: Any) -> None:
    page = listener.page
    choose_tab(page, "Runs")
    row(page, planted[-1]).wait_for()
    shown = page.locator("#runs-table").inner_text()
    assert all(one in " ".join(shown.split()) for one in PRINTED if "  " not in one)
    listener.silent("the table")
    wanted = page.locator("#runs-filter").get_by_role("textbox")
    for payload in (PAYLOADS[4], f"nothing {ALL}"):
        wanted.fill(payload)
        wanted.press_sequentially(" ")  # a fill alone is no typing
    page.locator("#runs-table", has_text="No run matches").wait_for()
    listener.silent("the filter")
    wanted.fill("")
    wanted.press_sequentially(" ")
    row(page, planted[-1]).wait_for()
    for run_id in (*planted[1:9], planted[-1]):
        row(page, run_id).click()
        page.locator("#runs-details", has_text=run_id).wait_for()
    listener.silent("details")
    written = page.locator("#runs-samples .shown-sample")
    assert PRINTED[-1] in " ".join(written.inner_text().split())
    page.locator("#runs-samples input[type=range]").press("Home")
    written.get_by_text("step 3", exact=True).wait_for()
    assert ALL.split("\n")[0] in written.locator(".text").inner_text()
    page.locator("#runs-plot .main-svg").first.hover()
    listener.silent("samples and history")
    page.locator("#runs-note textarea").fill(ALL)
    page.locator("#runs-note textarea").blur()
    until(lambda: bool(services.store.get(planted[-1]).note))
    listener.silent("a note")
    page.locator("#runs-fork").click()
    page.locator("#runs-fork-name").get_by_role("textbox").fill(PAYLOADS[0])
    page.locator("#runs-rename").click()
    page.locator("#runs-name").get_by_role("textbox").fill(PAYLOADS[1])
    page.locator("#runs-save").click()
    until(lambda: services.store.get(planted[-1]).label == PAYLOADS[1])
    listener.silent("fork and rename")
    assert not set("<>\"'/\\:&${}") & set(download(page, page.locator("#runs-download")).name)
    page.locator("#runs-delete").click()
    page.locator("#runs-told", has_text="Deleted").wait_for()
    page.locator("#runs-trash").get_by_role("button").first.click()
    listener.silent("told and trash")
    page.locator("#runs-told").get_by_role("button", name="Undo").click()
    row(page, planted[-1]).wait_for()


@pytest.mark.smoke
def test_compare_writes_them_and_draws_them(listener: Listener, planted: list[str]) -> None:
    page = listener.page
    for place in (1, 2, 6):
        choose_tab(page, "Runs")
        compare = page.locator(f"#runs-table button[data-act=compare][data-run='{planted[place]}']")
        row(page, planted[place]).wait_for()
        if compare.count():
            compare.click()
            page.locator(f"#compare-columns [data-run='{planted[place]}']").wait_for()
        else:
            row(page, planted[place]).click()
            page.locator("#runs-details", has_text=planted[place]).wait_for()
    choose_tab(page, "Compare")
    page.locator("#compare-columns .col").first.wait_for()
    for text in (ALL[:1900], ALL[-1200:]):
        before = page.locator("#compare-columns .text").first.inner_text()
        page.locator("#compare-prompt textarea").fill(text)
        page.locator("#compare-generate").click()
        until(lambda before=before: page.locator("#compare-columns .text").first.inner_text() != before)  # type: ignore[misc]
        page.locator("#compare-generate").wait_for(state="visible")
        listener.silent("generated text")
    page.locator("#compare-stop").wait_for(state="detached")
    page.locator("#compare-next-fold").get_by_role("button").first.click()
    page.locator("#compare-next .next-bars li").first.wait_for()
    page.locator("#compare-next .next-text").focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("2")
    page.locator("#compare-next.stale").wait_for(state="detached")
    listener.silent("what next")
    page.locator("#compare-plot .js-plotly-plot").wait_for()
    for x in (0.3, 0.6, 0.9):  # hover texts
        page.locator("#compare-plot .js-plotly-plot").scroll_into_view_if_needed()  # nothing is hovered out of sight
        box = page.locator("#compare-plot .js-plotly-plot").bounding_box()
        page.mouse.move(box["x"] + x * box["width"], box["y"] + box["height"] / 2)
        page.evaluate(PROBE_JS)
    assert download(page, page.locator("#compare-csv")).name == "charlm-ranking.csv"
    listener.silent("plot and ranking")


def test_texts_files_and_tables(listener: Listener, tmp_path: Path) -> None:
    page = listener.page
    choose_tab(page, "Corpus")
    page.locator("#corpus-paste").click()
    page.locator("#corpus-pasted textarea").fill(f"{ALL}\n" * 4)
    page.locator("#corpus-use").click()
    page.locator("#corpus-head", has_text="Pasted text").wait_for()
    page.locator("#corpus-guessing", has_text="bits").wait_for()
    page.locator("#corpus-sees").get_by_role("button").first.click()
    page.locator("#corpus-model", has_text="truncated backpropagation").wait_for()
    listener.silent("pasted")
    head, toasts = page.locator("#corpus-head"), page.locator(".toast-body")
    for name, content in files():
        before = (head.inner_text(), *toasts.all_inner_texts())
        chosen = {"name": name, "mimeType": "text/plain", "buffer": content}
        page.locator("#corpus-bar input[type=file]").set_input_files(chosen)
        until(lambda before=before: not {head.inner_text(), *toasts.all_inner_texts()} <= set(before))  # type: ignore[misc]
        listener.silent(name)
    choose_tab(page, "Train")
    page.locator("#train-estimates", has_text="parameters").wait_for()
    listener.silent("the name of the text on the Train tab")


def files() -> Iterator[tuple[str, bytes]]:
    """Uploads whose names, columns, cells or errors hold payloads."""
    quoted = [payload.replace('"', '""') for payload in PAYLOADS]
    head = ",".join(f'"{one}"' for one in quoted[:6])
    cells = "".join(",".join(f'"{one} and more text"' for one in quoted[at : at + 6]) + "\n" for at in range(0, 36, 6))
    yield "<img src=x onerror=hurt(0)>.csv", (head + "\n" + cells * 8).encode()
    yield "<svg onload=hurt(1)>.txt", (f"{ALL}\n" * 4).encode()
    yield "${hurt(4)}{{hurt(5)}}.txt", b"\0\1\2\3" * 100  # refused: a toast with its name
    yield '"onmouseover=hurt(7) x=".json', b'{"a":'
    yield "</title><script>hurt(9)</script>.txt", b"x"  # too short: a toast


def test_training_shows_them_live(listener: Listener, services: Any, planted: list[str]) -> None:
    page = listener.page
    config = from_options({"hidden_size": 8, "num_layers": 1, "steps": 1_000_000, "eval_every": 50,
                           "label": PRINTED[0], "record_gradient": True})  # fmt: skip
    corpus = corpus_from_text(f"{ALL}\n" * 8, f"{PAYLOADS[4]}{PAYLOADS[1]}", config.corpus)
    ids = services.jobs.start(corpus, config, ["lstm", "rnn"])
    until(lambda: services.store.get(ids[0]).sample() is not None)
    page.locator("#strip .job").wait_for()
    choose_tab(page, "Train")
    page.locator("#train-plot .js-plotly-plot").wait_for()
    page.locator("#train-live .col").first.wait_for()
    page.locator("#train-gradient .main-svg").first.wait_for()
    listener.silent("live")
    for run_id in planted[1:6]:
        choose_tab(page, "Runs")
        watch: Callable[[], Any] = page.locator(f"#runs-table button[data-run='{run_id}']").first.click
        watch()
    choose_tab(page, "Train")
    lines = page.evaluate(LINES)
    choose(page, "train-overlay", "svg onload")
    page.wait_for_function(f"{LINES} > {lines}")
    listener.silent("overlay")


def measured(page: Any, name: str) -> Any:
    """The line of a panel of Understand, when nothing of it is still being measured."""
    page.locator(f"#understand-{name}-plot .main-svg").first.wait_for()
    line = page.locator(f"#understand-{name}-status")
    line.locator("[data-waiting]").wait_for(state="detached")
    return line


def measure_on(page: Any, text: str) -> None:
    field = page.locator("#understand-text textarea")
    field.fill(text)
    field.blur()


def test_measurements_show_them(listener: Listener, planted: list[str], services: Any) -> None:
    """Labels, the name of a text and a pasted text, in panels and in what stands there instead of them."""
    page = listener.page
    runs = [services.store.get(planted[place]) for place in (1, 3, 6)]
    about = runs[0].folder / "run.json"
    info = json.loads(about.read_text(encoding="utf-8"))
    info["corpus"]["sha256"] = "0" * 64  # a text that nobody has
    about.write_text(json.dumps(info), encoding="utf-8")
    choose_tab(page, "Understand")
    measured(page, "gradient")
    tokens = page.locator("#understand-models .token")
    for left in reversed(range(tokens.count())):
        tokens.last.get_by_role("button").click()
        until(lambda left=left: tokens.count() == left)  # type: ignore[misc]
    for run in runs:
        choose(page, "understand-models", run.label)
    until(lambda: tokens.count() == len(runs))
    alerts = page.locator("#understand-memory-status").get_by_role("alert")
    # The model's name, again in what is said of it, and the name of its text.
    until(lambda: [said.count(PAYLOADS[0]) for said in alerts.all_inner_texts()] == [3])
    listener.silent("a text that is gone")
    page.locator("#understand-source").get_by_text("pasted text").click()
    measure_on(page, "日本語" * 99)

    def all_refuse() -> bool:
        said = " ".join(alerts.all_inner_texts())
        return said.count("knows 0 tokens") == len(runs) and all(run.label in said for run in runs)

    until(all_refuse)  # in one look: what failed begins again when it is asked for again
    listener.silent("errors")

    measure_on(page, f"{ALL}\n" * 2)  # dynamics wants 2,000 tokens
    alerts.first.wait_for(state="detached")
    for name in ("surprise", "neurons", "dynamics", "copies", "history", "gym"):
        page.locator(f"#understand-{name} button").first.click()
    for name in ("memory", "gradient", "surprise", "neurons", "dynamics", "copies", "history", "gym"):
        measured(page, name)
        listener.silent(name)
    head = page.locator("#understand-head")
    until(lambda: all(run.label in head.inner_text() for run in runs))
    coloured = page.locator("#understand-surprise .tokens")
    coloured_texts = coloured.evaluate_all("all => all.map(one => one.textContent)")
    assert len(coloured_texts) == len(runs) and all(one in text for text in coloured_texts for one in PAYLOADS[:18])
    coloured.first.focus()
    for _ in range(90):  # over some of them, letter by letter
        page.keyboard.press("ArrowRight")
    page.locator("#understand-surprise select").select_option("1")
    assert runs[1].label in page.locator("#understand-surprise [data-legend=difference]").inner_text()
    page.locator("#understand-surprise-plot").hover()
    for run in runs[1:]:  # the text of the first is gone
        page.locator("#understand-copies details.longest summary", has_text=run.label).click()
    page.locator("#understand-copies summary").first.click()
    page.locator("#understand-copies .copied, #understand-copies mark").first.wait_for()
    listener.silent("copies, unfolded")
    assert all(run.label in page.locator("#understand-history .history").inner_text() for run in runs)
    page.locator("#understand-history .scrub input").press("Home")
    page.locator("#understand-history .written[data-at='0']:visible").first.wait_for()
    listener.silent("the first step of a training")
    csv = page.locator("#understand-surprise-status").get_by_role("button", name="CSV")
    assert download(page, csv).name == "charlm-surprise.csv"
    listener.silent("stepped through, and the difference to a model")
