"""The exported page of words and subwords: it reads prompts as the Python tokenizers do, and writes as they do."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlm.formats.exports import find_format
from charlm.runs.run import Run
from charlm.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer
from charlm.tokenizers.base import without_halves
from tests.e2e.steps import SECOND, until
from tests.formats.pages import logits_of, rounded_model, run_with
from tests.patience import patience

TEXT = """“Don’t go,” said he; 'it's well-known that he'll pay 1,234.50 at 10:45 a.m.!' — I've seen the O'Neill house.

Then, in 1887... she (his mother) said: "Wait--what?" Über Straße naïve café Ελλάδα ΟΔΟΣ привет 日本語 constructor
He sold 3 @,@ 000 shares of well @-@ known stock , and the <unk> was 1 @.@ 5 times as large . \n It 's the dogs ' home.
"""
HARD = [
    "", " ", "The ", "the  ", "Don't", "don’t", "DON'T I'LL we'Re", "'s 'ſ 'ſt", "rock'n'roll o'clock '90s",
    "“quoted”", '"straight" and \'single\'', "it's—well--known", "a-b-c a--b -a- a-", "...", "…", "......",
    "wait…what", "1,234.5 1,,2", "10:45 1:2:3", "a.m. U.S.A.", "<unk> <UNK> <eos> <pad>", "@-@ @,@ @.@ @@", "x@-@y",
    "a\nb\n\nc", "a\r\nb\rc", "a\x85b\u2028c", "tab\there", "no\xa0break\u2003em\u3000wide", "zero\u200bwidth",
    "bom\ufeffhere \ufeff", "naïve naïve", "é é", "ΟΔΟΣ ΟΔΟΣ. Σ", "İstanbul ıI", "ǅ ǆ Ǆungla", "ﬁne ﬁ",
    "ß STRASSE straße Straße", "日本語 日本", "привет ПРИВЕТ", "🦊 👩‍👩‍👧", "𝒳 𝔘", "ภาษาไทย हिन्दी مرحبا",
    "-----------", "!!!!???", "*" * 34, "a" * 40 + " " + "1" * 70, "x" * 80,
    "constructor toString __proto__ hasOwnProperty", "(a) [b] {c}", "$5 £6 50% #1", "_under_ __init__",
    "\x00\x01\x1c\x1f\x7f", "\ue000\U0010ffff", "e\u0301\u0301 \u0301", "`back` ´acute´",
    "‚low‘ „low“ «guillemets» ‹x›", "– — ‐ ‑ − ‒ ―", "Wait -- what", "Said HE", "don´t", "don`t", "“Don't", "said,he",
    "house.Then", "CAFÉ café cafe", "said.", "\ud800 half", "x" * 33 + "é" * 33,
]  # fmt: skip
TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "characters": lambda: CharTokenizer.fit(TEXT),
    "lower": lambda: WordTokenizer.fit(TEXT, "lower"),
    "cased": lambda: WordTokenizer.fit(TEXT, "cased"),
    "spaces": lambda: WordTokenizer.fit(TEXT, "spaces"),
    "spaces without joints": lambda: WordTokenizer.fit(TEXT.replace("@", ""), "spaces"),
    "subwords": lambda: BPETokenizer.fit(TEXT * 3, 360),
}
RARER = ("cased", "spaces without joints")
MODELS = {"lower": "lstm", "cased": "mingru", "spaces": "gru", "subwords": "transformer"}  # 4 heads divide 16


@pytest.fixture
def offline(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page of a run; what goes wrong in it fails the test."""
    visitor = browser.new_context(offline=True)
    opened = visitor.new_page()
    opened.set_default_timeout(patience(60) * SECOND)
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text))

    def open_page(run: Run, name: str = "html") -> Any:
        find_format(name).write(run, tmp_path / "page.html")
        opened.goto((tmp_path / "page.html").as_uri())
        opened.locator("#bars button").first.wait_for()
        return opened

    yield open_page
    visitor.close()
    assert not wrong


def prompts(count: int) -> list[str]:
    """Hard prompts, and others put together of their parts and of any characters that Unicode had in 2020."""
    chance = random.Random(5)
    pieces = [piece for prompt in (*HARD, TEXT) for piece in prompt.split()] + list(" \n'’-.,\"“”…s")
    points = [chance.choice((chance.randrange(32, 0x250), chance.randrange(0x250, 0x2FFF))) for _ in range(400)]
    pieces += [chr(point) for point in points if chr(point).isprintable()]
    return HARD + ["".join(chance.choices(pieces, k=chance.randrange(1, 7)))[:60] for _ in range(count)]


@pytest.mark.parametrize("name", ["characters", "lower", "spaces", "subwords", *RARER])
def test_ids_of_hard_prompts_are_those_of_the_tokenizer(name: str, offline: Callable[..., Any], tmp_path: Path) -> None:
    tokenizer = TOKENIZERS[name]()
    words = {"words": tokenizer.rule} if isinstance(tokenizer, WordTokenizer) else {}
    page = offline(run_with(tmp_path, tokenizer, hidden_size=3, num_layers=1, embed_dim=2, **words))
    asked = prompts(30)
    found = page.evaluate("(all) => all.map((one) => model.tokenizer.read(one))", asked)
    for prompt, one in zip(asked, found, strict=True):
        assert one["ids"] == tokenizer.read(prompt).tolist(), prompt
        spelled, _ = tokenizer.spell(prompt)
        unknown = tokenizer.unknown(spelled)
        assert [without_halves(part) for part in one["unknown"]] == [without_halves(part) for part in unknown], prompt
        read = spelled if name != "characters" else "".join(sign for sign in spelled if sign not in unknown)
        assert one["text"] == without_halves(read), prompt


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokens_become_text_as_the_speller_spells(name: str, offline: Callable[..., Any], tmp_path: Path) -> None:
    tokenizer, chance = TOKENIZERS[name](), random.Random(3)
    words = {"words": tokenizer.rule} if isinstance(tokenizer, WordTokenizer) else {}
    page = offline(run_with(tmp_path, tokenizer, hidden_size=3, num_layers=1, embed_dim=2, **words))
    own = tokenizer.encode(TEXT).tolist()
    for before in ("", "The ", "He said, 'it", 'Wait. "', "end.\n\n", " "):
        for ids in (own, [*chance.choices(range(tokenizer.vocab_size), k=600), *own]):
            take = tokenizer.speller(before).take
            found = page.evaluate("([before, ids]) => ids.map(model.tokenizer.speller(before))", [before, ids])
            expected = [take(one) for one in ids]
            assert "".join(found) == "".join(expected)
            # Of bytes that are no characters one decoder says so a byte sooner than the other.
            assert found == expected or (ids != own and name == "subwords")


@pytest.mark.parametrize(("name", "arch"), MODELS.items())
@pytest.mark.parametrize("bits", ["html", "html8"])
def test_logits_are_torchs(name: str, arch: str, bits: str, offline: Callable[..., Any], tmp_path: Path) -> None:
    tokenizer = TOKENIZERS[name]()
    words = {"words": tokenizer.rule} if isinstance(tokenizer, WordTokenizer) else {}
    run = run_with(
        tmp_path, tokenizer, arch=arch, hidden_size=16, num_layers=2, embed_dim=16, tie_weights=True, **words
    )
    page = offline(run, bits)
    found = np.array(page.evaluate("(text) => charlm.logits(text)", TEXT))
    wanted = logits_of(rounded_model(run, (tmp_path / "page.html").read_text(encoding="utf-8")), run, TEXT)
    drawn = [one for one in range(tokenizer.vocab_size) if one != tokenizer.unk_id]
    off = np.abs(found - wanted)[:, drawn].max() / np.abs(wanted).max()
    assert found.shape == wanted.shape and off < (1e-5 if bits == "html" else 1e-3)  # activations have 16 bits
    if tokenizer.unk_id is not None:
        assert (found[:, tokenizer.unk_id] == -1e30).all(), "an unknown word is never written"


def test_a_visitor_writes_words_and_takes_one(offline: Callable[..., Any], tmp_path: Path) -> None:
    run = run_with(tmp_path, TOKENIZERS["lower"](), hidden_size=9, num_layers=1, embed_dim=5, words="lower")
    page = offline(run)
    assert page.locator("#next-title").inner_text() == "Next word"
    page.get_by_label("Prompt").fill("Don't zebra")
    page.locator("#status", has_text="Read as unknown words: zebra").wait_for()
    page.get_by_role("button", name="Generate").click()
    page.locator("#status", has_text="500 words").wait_for()
    text = page.locator("#text").text_content()
    assert text.startswith("Don’t zebra") and "<unk>" not in text
    assert text.removeprefix("Don’t zebra") == page.evaluate("charlm.write('Don\\'t zebra')")
    page.locator("#bars button").first.click()
    until(lambda: len(page.locator("#text").text_content()) > len(text))
