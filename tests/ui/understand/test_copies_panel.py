"""The panel of copies: marks that lie where the copies are, curves that are those of the result, nothing unescaped."""

import json
import re
from html import unescape

import pytest

from charlm.analysis.copies import Copies, Settings, measure, usual
from charlm.analysis.figures import arch_colour
from charlm.analysis.measurement import Measured, Subject
from charlm.config import ModelConfig
from charlm.models import build_model
from charlm.tokenizers import CharTokenizer
from charlm.ui.html import asset
from charlm.ui.understand.copies import PANEL, coloured

TRAINING = 'The <b>stranger</b> & her "coin" were never seen again. <script>alert(1)</script>\nNobody asked.\n' * 2
HELD_OUT = "Nobody has seen her since, nor the coin; they were never asked about the <b>shop</b>.\n" * 2
MARK = re.compile(r'<mark tabindex="0" style="--t:(\d+)%" title="part of (\d+) [^"]*">([^<]*)</mark>')


def found(arch: str = "lstm", label: str = "LSTM", pasted: str = "") -> Measured[Copies]:
    tokenizer = CharTokenizer.fit(TRAINING + HELD_OUT)
    model = build_model(ModelConfig(arch=arch, vocab_size=tokenizer.vocab_size, hidden_size=8), 2).eval()
    text = pasted or HELD_OUT
    given = Subject(model, tokenizer, text, tokenizer.encode(text), TRAINING)
    how = {"source": "pasted"} if pasted else {"temperatures": "0.5, 1", "samples": 2, "length": 60}
    result = list(measure(given, Settings.from_dict({"shortest": 4, **how})))[-1].result
    assert result is not None
    return Measured(label, arch, result)


def shown(html: str) -> str:
    """What a reader sees of markup."""
    return unescape(re.sub(r"<[^>]*>", "", html))


def test_marks_lie_where_the_copies_are_and_the_longest_has_the_place() -> None:
    text = {
        "temperature": None,
        "seed": None,
        "text": "<i>0123456789&",
        "longest": 7,
        "copies": [(1, 6), (4, 11), (9, 14)],
    }
    html = coloured(text, 4)  # type: ignore[arg-type]
    assert shown(html) == text["text"] and "<i>" not in html
    marks = [(unescape(piece), int(length)) for _, length, piece in MARK.findall(html)]
    assert marks == [("i>0", 5), ("1234567", 7), ("89&", 5)]
    tints = {int(length): int(tint) for tint, length, _ in MARK.findall(html)}
    assert tints[5] < tints[7]


def test_a_text_of_the_training_text_is_one_mark_and_escaped() -> None:
    piece = TRAINING[4:70]
    html = PANEL.html and PANEL.html([found(pasted=piece)])
    assert html and "<script>" not in html and "<b>stranger" not in html
    [[tint, length, marked]] = MARK.findall(html)
    assert unescape(marked) == piece and length == "66" and int(tint) == 72
    assert f"<td>{len(piece)}</td>" in html and "held-out" not in html


def test_every_temperature_has_a_column_a_model_and_the_usual_one_is_open() -> None:
    many = [found(), found("rnn", 'a "<b>"')]
    assert PANEL.html is not None
    html = PANEL.html(many)
    folds = re.findall(r"<details( open)?><summary>Temperature ([\d.]+)</summary>", html)
    assert folds == [("", "0.5"), (" open", "1")]
    assert html.count('<section class="col"') == 4 and 'a "<b>"' not in html
    for one in many:
        assert f"<b>{usual(one.result)['longest']}</b>" in html
        for copy in one.result["longest_copies"]:
            assert f"<td>{copy['training_offset']:,}</td>" in html
    assert PANEL.html([]) == ""


def test_the_curves_are_those_of_the_result() -> None:
    assert PANEL.picture is not None
    many = [found(), found("rnn", "RNN <i>")]
    picture = PANEL.picture(many)
    assert picture is not None
    json.dumps(picture, allow_nan=False)
    lines = [trace["y"] for trace in picture["data"]]
    human = many[0].result["held_out"]
    assert human is not None
    for line, curve in zip(lines, [*(usual(one.result) for one in many), human], strict=True):
        assert line == [100 * row["unseen"] if row["unseen"] is not None else None for row in curve["rows"]]
    assert [trace["line"]["color"] for trace in picture["data"]] == [arch_colour(arch) for arch in ("lstm", "rnn", "")]
    names = " ".join(note["text"] for note in picture["layout"]["annotations"])
    assert "RNN &lt;i&gt;" in names and "held-out text" in names
    alone = PANEL.picture(many[:1])
    assert alone is not None and len(alone["data"]) == 3  # the other temperature faintly, its own, the held-out text's
    assert PANEL.picture([]) is None


def test_two_models_of_one_architecture_differ_by_their_dashes() -> None:
    assert PANEL.picture is not None
    picture = PANEL.picture([found(), found(label="other")])
    assert picture is not None
    assert [trace["line"]["dash"] for trace in picture["data"]] == ["solid", "dot", "solid"]


def test_a_pasted_text_has_no_curve_beside_it() -> None:
    pasted = found(pasted="Nobody asked her.")
    assert PANEL.picture is not None
    picture = PANEL.picture([pasted])
    assert picture is not None and len(picture["data"]) == 1
    assert picture["data"][0]["y"][-1] is None  # shorter than the longest n-gram
    assert "held-out" not in PANEL.alt([pasted])


def test_the_alternative_text_has_the_numbers_of_the_result() -> None:
    one = found()
    share = usual(one.result)["rows"][7]["unseen"]
    assert share is not None and f"{100 * share:.0f} % at n = 8" in PANEL.alt([one])
    assert all(setting in Settings.names() for setting in PANEL.outline.controls)


@pytest.mark.parametrize("selector", [".copies mark", ".copies > .legend", ".gym .example"])
def test_what_the_panels_draw_has_a_style(selector: str) -> None:
    assert selector in asset("lab.css")
