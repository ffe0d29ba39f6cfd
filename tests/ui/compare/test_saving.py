"""A comparison as a page, as Markdown and as JSON: what they say, and that nobody's text becomes markup."""

import json
import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from charlm.cli import main
from charlm.config import SampleConfig
from charlm.pretrained import Pretrained
from charlm.runs.history import LossHistory
from charlm.serving import GeneratedText
from charlm.ui.compare.drawing import drawing, ticks
from charlm.ui.compare.saving import KINDS, Comparison, as_html, as_json, as_markdown, compare_command
from tests.e2e.payloads import PAYLOADS
from tests.ui.compare.test_cross_view import found as cross_of
from tests.ui.shown_runs import FakeRun, trio

AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def learned(run: FakeRun) -> FakeRun:
    rows = [{"step": step, "val_loss": 1.4 + 100 / step} for step in (100, 200, 400)]
    run.history = lambda: LossHistory([{"step": 50, "val_loss": None}, *rows], rows)  # type: ignore[method-assign]
    return run


def comparison(texts: str = "cat sat", config: SampleConfig | None = None, **more: str) -> Comparison:
    runs = [learned(run) for run in trio(**more)]
    return Comparison(runs, {run.run_id: [GeneratedText("The ", texts)] for run in runs}, config, AT)


def test_json_holds_texts_settings_seeds_numbers_and_curves() -> None:
    config = SampleConfig(temperature=0.5, seed=3)
    told = json.loads(as_json(comparison(config=config)))
    assert told["finding"].startswith("LSTM wins,") and SampleConfig.from_dict(told["settings"]) == config
    lstm = told["models"][0]
    assert lstm["texts"] == [{"prompt": "The ", "text": "cat sat"}]
    assert (lstm["best_val_loss"], lstm["best_step"], lstm["train"]["seed"]) == (1.357, 2900, 7)
    assert lstm["curve"] == {"steps": [100, 200, 400], "losses": [2.4, 1.9, 1.65]}


def test_texts_of_trainings_have_no_settings() -> None:
    told = json.loads(as_json(comparison()))
    assert told["settings"] is None and told["command"] == ""
    assert "Written during the trainings" in as_html(comparison()) and "Written during the trainings" in as_markdown(
        comparison()
    )


DUEL = SampleConfig(duel=True, samples=2)


def duel(*texts: list[str], config: SampleConfig = DUEL) -> Comparison:
    runs = [learned(run) for run in trio()[: len(texts)]]
    written = {run.run_id: [GeneratedText("P ", text) for text in of] for run, of in zip(runs, texts, strict=True)}
    return Comparison(runs, written, config, AT)


def test_a_duel_is_marked_where_its_texts_part() -> None:
    saved = duel(["had a <b>", "same"], ["had a tea", "same"], ["hat", "same"])
    told = json.loads(as_json(saved))
    parts = [[one["parts_after"] for one in model["texts"]] for model in told["models"]]
    assert parts == [[2, None], [6, None], [2, None]] and told["models"][0]["texts"][0]["text"] == "had a <b>"
    assert told["duel"] == saved.duel[0] and "RNN parts after 2 characters" in told["duel"]
    said = as_markdown(saved)
    assert "P ha‖d a <b>\n" in said and "P had a ‖tea\n" in said and "P ha‖t\n" in said and "P same\n" in said
    assert f"{told['duel']} ‖ marks the place." in said
    page = as_html(saved)
    assert re.findall(r"</b>([^<]*)<i [^>]*></i>([^<]*)</pre>", page) == [
        ("ha", "d a &lt;b&gt;"), ("had a ", "tea"), ("ha", "t")
    ]  # fmt: skip
    assert "<b>P </b>same</pre>" in page and f"<p>{told['duel']}</p>" in page


def test_a_text_that_begins_another_has_not_parted() -> None:
    assert duel(["the same", ""], ["the", ""]).duel[1] == {"lstm": (None, None), "gru": (None, None)}
    assert "agree so far" in duel(["the same"], ["the"]).duel[0]
    assert duel(["a"], ["a"]).duel[0] == "LSTM and GRU wrote the same."


def test_only_a_duel_is_marked() -> None:
    for saved in (duel(["ab"], ["ac"], config=SampleConfig()), duel(["ab"]), duel(["ab"], [])):
        assert saved.duel == ("", {}) and "‖" not in as_markdown(saved) and "<i " not in as_html(saved)
        assert "parts_after" not in as_json(saved) and '"duel": "' not in as_json(saved)


def test_cross_perplexity_is_there_where_it_was_measured() -> None:
    found = cross_of("LSTM", "<b>")
    saved = replace(comparison(), cross=found)
    assert json.loads(as_json(saved))["cross_perplexity"] == found
    said = as_markdown(saved)
    assert "| Written by | LSTM reads | \\<b\\> reads |\n| --- | --- | --- |\n| LSTM | **1.50** | 1.75 |\n" in said
    assert "| \\<b\\> | 1.50 |  |\n" in said and "LSTM pays 1.50 for its own" in said
    page = as_html(saved)
    assert '<th scope="row">LSTM</th><td class="own"><b>1.50</b></td><td>1.75</td></tr>' in page
    assert "&lt;b&gt; reads" in page and "LSTM pays 1.50 for its own" in page
    for write in (as_json, as_markdown, as_html):
        assert "ross-perplexity" not in write(comparison()) and "cross_perplexity" not in write(comparison())


class Scored(NamedTuple):
    bits_per_char: float


def with_pretrained(scored: bool, alone: bool = False) -> Comparison:
    """Two runs and a pretrained model between them, or the latter alone."""
    tokenizer: Any = None
    model = Pretrained("pretrained-1", "Smol <b>", "./Smol", None, tokenizer, 64, "2 × 16", 12_345)
    model.scored = ("the first 20 characters of <i>", Scored(1.125)) if scored else None  # type: ignore[assignment]
    runs = [learned(run) for run in trio()[:2]]
    models = [model] if alone else [runs[0], model, runs[1]]
    return Comparison(models, {one.run_id: [GeneratedText("P ", f"by {one.label}")] for one in models}, None, AT)


@pytest.mark.parametrize("scored", [True, False])
def test_a_pretrained_model_is_saved_with_its_text_and_an_upper_bound(scored: bool) -> None:
    saved = with_pretrained(scored)
    told = json.loads(as_json(saved))
    assert [one["arch"] for one in told["models"]] == ["lstm", "pretrained", "gru"]
    mine = told["models"][1]
    assert mine["texts"] == [{"prompt": "P ", "text": "by Smol <b>"}] and mine["source"] == "./Smol"
    assert mine["bits_per_char"] == (1.125 if scored else None) and mine["upper_bound"] is True
    assert mine["scored_on"] == ("the first 20 characters of <i>" if scored else None)
    assert not {"curve", "best_val_loss", "train"} & set(mine) and mine["parameters"] == 12_345
    assert told["finding"] == json.loads(as_json(replace(saved, models=saved.runs)))["finding"]
    cost = "≤ 1.12" if scored else "—"
    said = as_markdown(saved)
    assert f"| Smol \\<b\\> | 2 × 16 | — | {cost} | — | — | 12,345 | — |" in said and "P by Smol <b>" in said
    assert "Smol \\<b\\> is pretrained, and not ranked. " in said
    assert ("It may have read this text" in said) is scored
    page = as_html(saved)
    assert "<b>" in page and "Smol <b>" not in page and "<pre><b>P </b>by Smol &lt;b&gt;</pre>" in page
    assert f'<div class="bits">{cost} <span' in page and "Pretrained, 2 × 16, 0.0 million parameters" in page
    assert page.count("<polyline") == 2


def test_pretrained_models_alone_are_saved_too() -> None:
    saved = with_pretrained(True, alone=True)
    assert json.loads(as_json(saved))["finding"] == "Written by Smol <b>." and saved.name == "Smol-b"
    assert as_markdown(saved).startswith("# Written by Smol \\<b\\>.\n\n| Model |")
    assert "<polyline" not in as_html(saved) and "<h1>Written by Smol &lt;b&gt;.</h1>" in as_html(saved)


def test_the_command_is_understood_by_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SampleConfig(temperature=0.5, stop=("\n\n", "it's"), greedy=True, length=60)
    program, option, name, *words = shlex.split(compare_command(trio(), 'a "b" $c\n', config))
    assert (program, option, name) == ("python", "-m", "charlm")
    heard = {}
    monkeypatch.setattr("charlm.cli.generate.RunStore", lambda folder: heard.update(folder=folder) or Store())

    class Store:
        def find(self, token: str) -> FakeRun:
            return FakeRun(token)

    class Serving:
        def __init__(self, store: Store) -> None:
            pass

        def compare(self, runs: list[FakeRun], prompt: str, asked: SampleConfig) -> list[dict[str, GeneratedText]]:
            heard.update(ids=[run.run_id for run in runs], prompt=prompt, config=asked)
            return [{run.run_id: GeneratedText(prompt, done=True) for run in runs}]

    monkeypatch.setattr("charlm.cli.generate.Serving", Serving)
    assert main(words) == 0
    assert (heard["ids"], heard["prompt"], heard["config"]) == (["lstm", "gru", "rnn"], 'a "b" $c\n', config)


class Marks(HTMLParser):
    """What of a page is markup, and what is text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_and_holds_no_stranger_s_markup() -> None:
    plain = Marks(as_html(comparison(config=SampleConfig())))
    assert {"script", "img", "link", "iframe"}.isdisjoint(plain.tags) and plain.tags.count("polyline") == 3
    for payload in PAYLOADS:
        page = as_html(comparison(payload, SampleConfig(), label=payload, message=payload))
        hostile = Marks(page)
        assert hostile.tags == plain.tags and not [name for name in hostile.attributes if name.startswith("on")]
        assert payload in hostile.text
    assert Marks(as_html(comparison())).tags.count("meta") == 3 and "default-src &#39;none&#39;" in page


def test_markdown_shows_texts_as_they_are() -> None:
    for payload in (*PAYLOADS, "```", "a ```` b\n```\n", "| x |"):
        said = as_markdown(comparison(payload, label=payload))
        fence = re.search(r"^(`{3,})text$", said, re.M)
        assert fence and f"{fence[1]}text\nThe {payload}\n{fence[1]}\n" in said and fence[1] not in payload
        assert re.sub(r"(`{3,})text\n.*?\n\1\n", "", said, flags=re.S).count("<") == said.count("\\<")


def test_a_file_is_named_by_the_labels() -> None:
    assert comparison().name == "lstm-vs-gru-vs-rnn"
    assert comparison(label="../../etc/<b>").name == "etc-b-vs-etc-b-vs-etc-b"
    assert comparison(label="...").name == "comparison"
    assert {ending for ending, _ in KINDS.values()} == {"html", "md", "json"}


def test_a_picture_has_its_lines_where_the_losses_are() -> None:
    curves = [{"steps": [0, 100], "losses": [3.0, 1.0]}, {"steps": [50], "losses": [2.0]}, {"steps": [], "losses": []}]
    found = drawing(curves, ["<a>", "b", "c"], ["lstm", "lstm", "rnn"])
    assert found is not None and [line.name for line in found.lines] == ["<a>"]
    first, last = (tuple(map(float, point.split(","))) for point in found.lines[0].points.split())
    assert first == (found.left, found.top) and last == (found.right, found.bottom)
    assert drawing(curves[1:], ["b", "c"], ["lstm", "rnn"]) is None
    same = [{"steps": [1, 2], "losses": [1.0, 1.0]}] * 6
    level = drawing(same, list("abcdef"), ["lstm"] * 6)
    assert level is not None and min(abs(a.y - b.y) for a in level.lines for b in level.lines if a is not b) >= 15
    assert len({line.dash for line in level.lines}) == 6


def test_ticks_are_round() -> None:
    assert ticks(0, 3944) == [0, 1000, 2000, 3000]
    assert ticks(1.18, 1.66) == [1.2, 1.3, 1.4, 1.5, 1.6]
    assert ticks(0.01, 0.013) == pytest.approx([0.01, 0.011, 0.012, 0.013])


def test_the_drawn_picture_is_well_formed() -> None:
    page = as_html(comparison())
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    assert len(list(ElementTree.fromstring(svg))) > 10
