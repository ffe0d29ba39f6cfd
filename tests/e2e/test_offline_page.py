"""The exported page in a real browser: its numbers are torch's, and nothing that was named runs."""

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charlm.data.corpus import corpus_from_text
from charlm.formats.exports import find_format
from charlm.formats.imports import import_file
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.runs.create import create_runs
from charlm.runs.run import Run
from charlm.runs.store import SHIPPED, RunStore
from tests.e2e.steps import SECOND, fill_number, until
from tests.formats.pages import ODD_TOKENS, logits_of, random_run, rounded_model
from tests.formats.test_import_shapes import spiky
from tests.patience import patience
from tests.tiny_runs import settings, spoil, store_in

HURT = "<img src=x onerror='window.hurt=1'>"
HOSTILE = [
    f"</title>{HURT}", f"</script><script>window.hurt=1</script>{HURT}", "<!--<script>", f"--></textarea>{HURT}",
    "${window.hurt=1}{{script}}", f'"><svg onload="window.hurt=1">{HURT}', f"\u2028window.hurt=1//{HURT}",
]  # fmt: skip


@pytest.fixture
def offline(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens a run's page from its file, without a network; what it asks for, and what goes wrong, fails the test."""
    visitor = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    opened = visitor.new_page()
    opened.set_default_timeout(patience(60) * SECOND)
    asked, wrong = [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text))

    def open_page(run: Run, name: str = "html") -> Any:
        path = tmp_path / "page.html"
        find_format(name).write(run, path)
        opened.goto(path.as_uri())
        opened.locator("#bars button").first.wait_for()
        return opened

    yield open_page
    visitor.close()
    # Over WebDriver BiDi Firefox 153 tells of no request for a file, the page itself included.
    own = set() if browser.browser_type.name == "firefox" else {(tmp_path / "page.html").as_uri()}
    assert not wrong and set(asked) == own


def shipped(arch: str) -> Run:
    return Run(SHIPPED / f"sherlock-{arch}", shipped=True)


def source(page: Any) -> str:
    return Path(page.url.removeprefix("file://")).read_text(encoding="utf-8")


def text_of(page: Any) -> str:
    return str(page.locator("#text").text_content())


# --- numbers ---------------------------------------------------------------------------------------------------------

MODELS: list[dict[str, Any]] = [
    {"arch": "lstm", "hidden_size": 33, "num_layers": 2},
    {"arch": "gru", "hidden_size": 33, "num_layers": 2},
    {"arch": "rnn", "hidden_size": 17, "num_layers": 3},
    {"arch": "rnn", "hidden_size": 17, "num_layers": 1, "nonlinearity": "relu"},
    {"arch": "lstm", "hidden_size": 1, "num_layers": 8, "embed_dim": 7},
    {"arch": "gru", "hidden_size": 6, "num_layers": 1, "embed_dim": 3},
    {"arch": "gru", "hidden_size": 9, "num_layers": 2, "embed_dim": 9, "tie_weights": True},
    {"arch": "mingru", "hidden_size": 17, "num_layers": 2},
    {"arch": "mingru", "hidden_size": 9, "num_layers": 1, "embed_dim": 9, "tie_weights": True},
    {"arch": "transformer", "hidden_size": 24, "num_layers": 2},
    {"arch": "transformer", "hidden_size": 12, "num_layers": 3, "context": 7, "num_heads": 3, "embed_dim": 5},
]


@pytest.mark.parametrize("name", ["html", "html8"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: "-".join(map(str, model.values())))
def test_logits_are_torchs_with_the_same_weights(
    model: dict[str, Any], name: str, offline: Any, tmp_path: Path
) -> None:
    run = random_run(tmp_path, ODD_TOKENS, **model)
    page, text = offline(run, name), "".join(islice(cycle(ODD_TOKENS + ODD_TOKENS[::3]), 200))
    found = np.array(page.evaluate("(text) => charlm.logits(text)", text))
    wanted = logits_of(rounded_model(run, source(page)), run, text)
    assert found.shape == (200, len(ODD_TOKENS)) and wanted.std() > 0.01
    assert np.abs(found - wanted).max() < 1e-3


@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn"])
def test_logits_of_the_shipped_models(arch: str, offline: Any, record_property: Any) -> None:
    run, text = shipped(arch), (shipped(arch).sample() or {})["text"][:200]
    page = offline(run)
    found = np.array(page.evaluate("(text) => charlm.logits(text)", text))
    same = np.abs(found - logits_of(rounded_model(run, source(page)), run, text)).max()
    full = np.abs(found - logits_of(run.load_model(), run, text)).max()
    print(f"{arch}: {same:.1e} off torch with the same weights, {full:.1e} off the weights before rounding")
    assert found.shape == (200, 78) and same < 1e-3 and full < 0.1


def mulberry32(seed: int) -> Iterator[int]:
    """The page's random numbers, written anew."""
    mask = 2**32 - 1
    while True:
        seed = (seed + 0x6D2B79F5) & mask
        mixed = ((seed ^ seed >> 15) * (seed | 1)) & mask
        mixed ^= (mixed + (((mixed ^ mixed >> 7) * (mixed | 61)) & mask)) & mask
        yield mixed ^ mixed >> 14


def expected_text(run: Run, page: str, prompt: str, length: int, temperature: float, top_k: int, seed: int) -> str:
    """What the page with this source should write, from torch's logits."""
    model, tokenizer, draws, text = rounded_model(run, page), run.tokenizer(), mulberry32(seed), ""
    for number in islice(draws, length):
        logits = logits_of(model, run, prompt + text)[-1].astype(np.float64) / temperature
        if top_k:
            logits[np.argsort(-logits, kind="stable")[top_k:]] = -np.inf
        shares = np.cumsum(np.exp(logits - logits.max()))
        text += tokenizer.tokens[int(np.searchsorted(shares, number / 2**32 * shares[-1], side="right"))]
    return text


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.8, "top_k": 0, "seed": 7},
     {"temperature": 1.5, "top_k": 3, "seed": 2**31 - 1},
     {"temperature": 0.1, "top_k": 1, "seed": 0}],
)  # fmt: skip
def test_a_text_is_drawn_from_the_logits_by_the_seed(settings: dict[str, Any], offline: Any) -> None:
    run = shipped("gru")
    page = offline(run)
    written = page.evaluate("(wanted) => charlm.write('Holmes', wanted)", {**settings, "length": 60})
    assert written == expected_text(run, source(page), "Holmes", 60, **settings)


# --- a visitor -------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_prompt_settings_generate_and_go_on(offline: Any) -> None:
    page = offline(shipped("lstm"))
    page.get_by_label("Prompt").fill("Holmes 日 said 𝒳")
    page.locator("#status", has_text="Skipped what the model does not know: 日 𝒳").wait_for()
    page.locator("#settings summary").click()
    for name, value in (("Length", "150"), ("Temperature", "0.6"), ("Top-k", "9"), ("Seed", "11")):
        fill_number(page.get_by_label(name), value)
        page.get_by_label(name).press("Tab")
    assert page.locator("#settings summary").inner_text() == "150 characters · temperature 0.6 · top-k 9 · seed 11"
    page.get_by_role("button", name="Generate").click()
    page.locator("#status", has_text="150 characters").wait_for()
    wanted = {"length": 300, "temperature": 0.6, "top_k": 9, "seed": 11}
    alone = "Holmes  said " + page.evaluate("(wanted) => charlm.write('Holmes  said ', wanted)", wanted)
    assert text_of(page) == alone[: 13 + 150]
    page.get_by_role("button", name="Go on").click()
    until(lambda: text_of(page) == alone)
    page.get_by_role("button", name="Generate").wait_for()
    page.get_by_label("Prompt").press("Enter")
    until(lambda: text_of(page) == alone[: 13 + 150])


def test_settings_are_put_back_into_their_range(offline: Any) -> None:
    page = offline(shipped("rnn"))
    page.locator("#settings summary").click()
    for name, given, kept in (
        ("Length", "0", "1"), ("Length", "", "500"), ("Temperature", "99", "5"), ("Top-k", "7.6", "8"),
        ("Top-k", "900", "78"), ("Seed", "-3", "0"),
    ):  # fmt: skip
        fill_number(page.get_by_label(name), given)
        page.get_by_label(name).press("Tab")
        assert page.get_by_label(name).input_value() == kept


def test_stop_ends_the_writing(offline: Any) -> None:
    page = offline(shipped("lstm"))
    page.evaluate("document.getElementById('length').value = 100000")
    page.get_by_role("button", name="Generate").click()
    until(lambda: len(text_of(page)) > 20)
    assert page.locator("#bars button").first.is_disabled()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Generate").wait_for()
    until(page.locator("#bars button").first.is_enabled)
    assert 20 < len(text_of(page)) < 100_000


def test_a_bar_is_the_share_it_is_drawn_with_and_can_be_taken(offline: Any) -> None:
    run = shipped("lstm")
    page = offline(run)
    page.get_by_label("Prompt").fill("Sherlock Holme")
    page.locator("#bars button").first.get_by_text("s", exact=True).wait_for()
    logits = logits_of(rounded_model(run, source(page)), run, "Sherlock Holme")[-1].astype(np.float64) / 0.8
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    shown = [button.get_attribute("aria-label") for button in page.locator("#bars button").all()]
    assert len(shown) == 12 and shown[0] == f"s, {100 * shares.max():.1f} %"
    page.get_by_role("button", name="s, ").first.click()
    until(
        lambda: text_of(page) == "Sherlock Holmes" and page.locator("#bars button").first.inner_text().split()[0] != "s"
    )
    assert page.get_by_role("button", name="space, ").is_enabled()


def test_an_empty_prompt_begins_like_the_library(offline: Any) -> None:
    page = offline(shipped("rnn"))
    page.get_by_label("Prompt").fill("")
    page.locator("#bars button").first.wait_for()
    assert text_of(page) == ""
    assert page.evaluate("charlm.logits('')") == page.evaluate("charlm.logits('\\n')")


@pytest.mark.parametrize("arch", ["lstm", "transformer"])
def test_each_item_of_a_list_begins_from_nothing(arch: str, offline: Any, tmp_path: Path) -> None:
    config = settings(items="line", steps=20)
    items = [f"{one}{two}{three}" for one in "abcd" for two in "efg" for three in "hijk"]
    corpus = corpus_from_text("\n".join(items), "list", config.corpus)
    [run] = create_runs(store_in(tmp_path), corpus, config, [arch])
    run_trainers(prepare([run], corpus), Control())
    page = offline(run)
    text = page.evaluate("charlm.write('', { length: 60, temperature: 0.5 })")
    first, second, *_ = text.split("\n")
    alone, after = (page.evaluate("(text) => charlm.logits(text)", one) for one in (second, f"{first}\n{second}"))
    assert len(text) == 60 and alone[1:] == after[len(first) + 2 :] and alone == after[len(first) + 1 :]
    tokenizer, model = run.tokenizer(), run.load_model()
    ids = torch.tensor([[tokenizer.border, *tokenizer.encode(second).tolist()]])
    np.testing.assert_allclose(alone, model(ids)[0][0].detach().numpy(), atol=2e-2)  # 16-bit weights


def test_numbers_beyond_all_bounds_are_said(offline: Any, tmp_path: Path) -> None:
    import torch

    from charlm.runs.checkpoint import save_weights

    run = random_run(tmp_path, ["a", "b"], arch="rnn", nonlinearity="relu", hidden_size=2, num_layers=1)
    model = run.load_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(60_000.0)
    save_weights(run.folder / "best.safetensors", model)
    page = offline(run)
    page.get_by_role("button", name="Generate").click()
    page.locator("#status", has_text="grew beyond all bounds").wait_for()
    page.get_by_role("button", name="Generate").wait_for()


# --- safety ----------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_names_from_users_never_run(offline: Any, tmp_path: Path) -> None:
    for place, name in enumerate(HOSTILE):
        run = random_run(tmp_path / str(place), ODD_TOKENS, label=name, hidden_size=3, num_layers=1)
        spoil(run.folder / "run.json", corpus={"name": name})
        run.sample_log.append({"step": 1, "prompt": name, "text": ""})
        page = offline(Run(run.folder))
        page.get_by_label("Prompt").fill(name)
        page.get_by_role("button", name="Generate").click()
        page.locator("#status", has_text="500 characters").wait_for()
        assert page.evaluate("window.hurt") is None and page.locator("img, svg").count() == 0
        assert page.title().split() == Run(run.folder).label.split() and name[2:9] in page.locator(".lead").inner_text()


@pytest.mark.parametrize(
    "attempt",
    ["fetch('https://example.org/')", "new WebSocket('wss://example.org/').readyState",
     "import('data:text/javascript,1')", "eval('1')"],
)  # fmt: skip
def test_even_its_own_script_reaches_nothing(attempt: str, browser: Any, tmp_path: Path) -> None:
    find_format("html").write(random_run(tmp_path, ["a", "b"], hidden_size=2, num_layers=1), tmp_path / "page.html")
    visitor = browser.new_context()
    page = visitor.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    refused = page.evaluate(
        """(attempt) => new Promise((done) => {
          document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective));
          const script = document.createElement('script');
          script.textContent = attempt;
          document.body.append(script);
          setTimeout(() => done('nothing was refused'), 5000);
        })""",
        attempt,
    )
    assert refused.startswith("script-src")  # what is added cannot even begin
    visitor.close()


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_pictures_of_the_page(look: str, browser: Any, pictures: Path, tmp_path: Path) -> None:
    find_format("html").write(shipped("gru"), tmp_path / "page.html")
    size = {"width": 390, "height": 844} if look == "phone" else {"width": 1280, "height": 900}
    visitor = browser.new_context(viewport=size, color_scheme="dark" if look == "dark" else "light")
    page = visitor.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    if look == "dark" and not page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches"):
        pytest.skip("Playwright cannot have this browser prefer dark pages")
    page.get_by_label("Prompt").fill("Holmes ")
    page.locator("#settings summary").click()
    fill_number(page.get_by_label("Seed"), "16")
    page.get_by_role("button", name="Generate").click()
    page.locator("#status", has_text="500 characters").wait_for()
    page.mouse.move(0, 0)
    page.screenshot(path=pictures / f"page-{look}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(18, 19, 21)" if look == "dark" else "rgb(252, 252, 251)")
    visitor.close()


def test_special_tokens_are_read_and_never_written(offline: Any, store: RunStore, tmp_path: Path) -> None:
    vocab = {"<PAD>": 0, "<BOS>": 1, "[EOS]": 2, "a": 3, "b": 4, "\n": 5}
    model = spiky(len(vocab), {0: 6.0, 1: 6.0, 2: 6.0})
    torch.save({"state_dict": model.state_dict(), "vocab": vocab}, tmp_path / "special.pt")
    run = import_file(store, tmp_path / "special.pt")
    page = offline(run)
    for how in ("{length: 200}", "{length: 200, temperature: 2, top_k: 4}", "{length: 50, temperature: 0.1}"):
        text = page.evaluate(f"window.charlm.write('ab', {how})")
        assert len(text) in (50, 200) and set(text) <= set("ab\n")
    own = np.array(page.evaluate("window.charlm.logits('ab')"))
    with torch.no_grad():
        expected = rounded_model(run, source(page))(torch.tensor([[1, 3, 4]]))[0][0].numpy()
    np.testing.assert_allclose(own[:, 3:], expected[:, 3:], atol=1e-5)
