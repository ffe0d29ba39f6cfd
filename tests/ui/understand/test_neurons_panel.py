"""The panel of neurons: the passage, the test and the texts are those of the result, and strangers' text is escaped."""

import json
import re
from html import unescape

import pytest

from charlm.analysis import neurons as module
from charlm.analysis.measurement import Measured
from charlm.analysis.neurons import Neurons, unit_name
from charlm.tokenizers import CharTokenizer
from charlm.ui.html import asset
from charlm.ui.understand.neurons import PANEL
from charlm.ui.understand.panel import Found
from tests.analysis.test_neurons import TEXT, measured, steps, subject

HOSTILE = 'Says <b onclick=alert(1)>: "&amp; </i><script>alert(2)</script>" he.\n\n'


@pytest.fixture(autouse=True)
def short_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITTEN", 20)


@pytest.fixture(scope="module")
def found() -> list[Measured[Neurons]]:
    return [Measured(arch.upper(), arch, measured(subject(arch), label="inside quotes")) for arch in ("gru", "rnn")]


def html(many: Found) -> str:
    assert PANEL.html
    return PANEL.html(many)


def test_the_passage_is_coloured_by_the_unit(found: Found) -> None:
    markup = html(found)
    spans = re.findall(r"<i(?: class=\"([sonu\d ]+)\")?>([^<]*)</i>", markup)
    for one in found:
        result = one.result
        part, spans = spans[: len(result["pieces"])], spans[len(result["pieces"]) :]
        assert [unescape(piece) for _, piece in part] == result["pieces"]
        for (classes, _), value, holds in zip(part, result["values"], result["holds"], strict=True):
            assert ("u" in classes.split()) == holds
            if re.search(r"s\d", classes):
                assert value > result["mean"]
            elif re.search(r"o\d", classes):
                assert value < result["mean"]
        assert unit_name(result["chosen"]) in markup
        assert f"{result['causal']['there']:+.3f}".replace("-", "−") in markup
    assert [json.loads(unescape(one)) for one in re.findall(r'data-values="([^"]*)"', markup)] == [
        one.result["values"] for one in found
    ]


def test_the_texts_and_the_labels_stand_below(found: Found) -> None:
    markup = unescape(html(found))
    for one in found:
        texts = one.result["texts"]
        assert f'<span class="prompt">{texts["prompt"]}</span>{texts["free"]}' in markup
        assert texts["clamped"] in markup
        for table in one.result["labels"]:
            assert f"<td>{table['label']}</td>" in markup and unit_name(table["units"][0]) in markup
    early = next(step.result for step in steps(subject()) if step.result)
    assert "held at its mean</h3>" not in html([Measured("GRU", "gru", early)])


def test_what_is_not_in_the_text_is_said() -> None:
    plain = measured(subject(text="the cat sat by the door and saw it " * 40))
    markup = html([Measured("GRU", "gru", plain)])
    assert "Not in this text: inside quotes (0 places with it" in markup


def test_the_picture_is_the_causal_test(found: Found) -> None:
    assert PANEL.picture
    figure = PANEL.picture([*found, found[0]])
    assert figure and json.dumps(figure, allow_nan=False)
    bars = [trace for trace in figure["data"] if trace["type"] == "bar"]
    dots = [trace for trace in figure["data"] if trace["type"] == "scatter"]
    assert len(bars) == 3 and len(dots) == 6
    for trace, one in zip(bars, [*found, found[0]], strict=True):
        assert trace["x"] == [one.result["causal"]["there"], one.result["causal"]["elsewhere"]]
    assert dots[0]["x"] == [other["there"] for other in found[0].result["causal"]["random"]]
    assert len(set(figure["layout"]["yaxis"]["categoryarray"])) == 6
    early = next(step.result for step in steps(subject()) if step.result)
    assert PANEL.picture([Measured("GRU", "gru", early)]) is None
    assert PANEL.alt([Measured("GRU", "gru", early)]) == "The causal test is not done yet."


def test_the_picture_is_told_in_words(found: Found) -> None:
    told = PANEL.alt(found)
    for one in found:
        assert one.label in told and unit_name(one.result["chosen"]) in told
        assert f"{one.result['causal']['elsewhere']:+.3f}".replace("-", "−") in told


def test_strangers_text_is_never_markup() -> None:
    text = HOSTILE * 60
    one = Measured("<img src=x>", "lstm", measured(subject("lstm", text, CharTokenizer.fit(text))))
    markup = html([one])
    assert "<b onclick" not in markup and "<script" not in markup and "<img" not in markup
    assert PANEL.picture and "<img" not in json.dumps(PANEL.picture([one]))


def test_what_the_script_reads_is_in_the_markup(found: Found) -> None:
    assert "data.values" in asset(PANEL.outline.script) and "data.holds" in asset(PANEL.outline.script)
    markup = html(found)
    assert 'data-kind="value"' in markup and "data-holds=" in markup and 'class="here short"' in markup
    assert TEXT and all("<" not in part and part.endswith(".") for part in PANEL.method)
