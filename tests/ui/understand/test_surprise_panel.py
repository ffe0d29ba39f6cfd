"""The panel of surprise: columns of coloured text that show what stands in the result, and strangers' text escaped."""

import json
import re
from html import unescape

import pytest

from charlm.analysis.measurement import Measured
from charlm.analysis.surprise import Surprise
from charlm.tokenizers import CharTokenizer, WordTokenizer
from charlm.ui.html import asset
from charlm.ui.understand.coloured import LEVELS, coloured_text, level, shown_names
from charlm.ui.understand.panel import Found
from charlm.ui.understand.surprise import PANEL
from tests.analysis.test_surprise import TEXT, measured, subject

HOSTILE = "<img src=x onerror=alert(1)> & \"quoted\" 'text'\r\n</i><script>alert(2)</script>"


def found(*archs: str) -> list[Measured[Surprise]]:
    return [Measured(arch.upper(), arch, measured(subject(arch))) for arch in archs or ("lstm", "gru")]


def pieces_of(markup: str) -> list[str]:
    """The texts of all tokens, as a browser has them."""
    return [unescape(piece) for piece in re.findall(r"<i(?: class=\"[son\d ]+\")?>([^<]*)</i>", markup)]


def data_of(markup: str, name: str) -> list[object]:
    return [json.loads(unescape(value)) for value in re.findall(f' data-{name}="([^"]*)"', markup)]


def html(many: Found) -> str:
    assert PANEL.html
    return PANEL.html(many)


def test_every_column_holds_the_text_and_its_numbers() -> None:
    many = found()
    markup = html(many)
    assert "".join(pieces_of(markup)) == 2 * TEXT
    assert markup.count('class="col"') == 2 and markup.count('class="tokens" tabindex="0" role="group"') == 2
    assert f"{many[1].result['bits_per_character']:.2f}</b>" in markup
    bits = many[0].result["bits"]
    assert data_of(markup, "bits")[0] == [None] + [round(100 * cost) for cost in bits[1:] if cost is not None]
    for names, likeliest, one in zip(data_of(markup, "names"), data_of(markup, "likeliest"), many, strict=True):
        assert likeliest == one.result["likeliest"] and names == shown_names(one.result["names"])
    classes = re.findall(r"<i( class=\"[son\d ]+\")?>[^<]*</i>", markup)[: len(bits)]
    for cost, written in zip(bits, classes, strict=True):
        assert (f"s{level(cost or 0.0, 8.0)}" in written) == (level(cost or 0.0, 8.0) > 0)


def test_the_difference_is_offered_between_models_with_the_same_tokens() -> None:
    markup = html(found())
    assert re.findall(r"<option value=\"(\d*)\">", markup) == ["", "0", "1"]
    assert len(set(re.findall(r"data-group=\"(\d+)\"", markup))) == 1
    assert "<option" not in html(found("lstm"))
    words = subject("rnn", tokenizer=WordTokenizer.fit(TEXT, "lower"))
    both = [*found("lstm"), Measured("words", "rnn", measured(words), unit="words")]
    assert "<option" not in html(both) and re.findall(r"data-group=\"(\d+)\"", html(both)) == ["0", "1"]


def test_no_total_of_one_passage_is_called_the_best() -> None:
    markup = html(found("lstm", "gru", "rnn"))
    assert markup.count("<dd>") > 9 and "best" not in markup and 'data-act="copy"' not in markup


def test_strangers_text_is_never_markup() -> None:
    many = [Measured(HOSTILE, "lstm", measured(subject(text=HOSTILE, tokenizer=CharTokenizer.fit(HOSTILE))))] * 2
    markup = html(many)
    assert "<img" not in markup and "<script" not in markup and "onerror=alert(1)>" not in markup.replace("&gt;", "")
    assert "".join(pieces_of(markup)) == 2 * HOSTILE
    picture = PANEL.picture and PANEL.picture(many)
    assert picture and "<" not in picture["data"][0]["name"]


def test_the_bars_are_the_totals() -> None:
    many = found("lstm", "lstm", "rnn")
    assert PANEL.picture
    figure = PANEL.picture(many)
    assert figure and json.dumps(figure, allow_nan=False)
    for trace, one in zip(figure["data"], many, strict=True):
        bits = {total["kind"]: total["bits"] for total in one.result["kinds"]}
        assert [bits[name[0].lower() + name[1:]] for name in trace["y"]] == trace["x"]
    patterns = [trace["marker"]["pattern"]["shape"] for trace in figure["data"]]
    assert patterns[0] != patterns[1] and patterns[2] == ""
    assert figure["data"][0]["marker"]["color"] != figure["data"][2]["marker"]["color"]
    only_digits = [Measured("LSTM", "lstm", measured(subject(text="12121212")))]
    assert [trace["y"] for trace in (PANEL.picture(only_digits) or {})["data"]] == [["Digit"]]


def test_the_picture_is_told_in_words() -> None:
    many = found()
    told = PANEL.alt(many)
    for one in many:
        known = [total["bits"] for total in one.result["kinds"] if total["bits"] is not None]
        assert one.label in told and f"{max(known):.2f}" in told and f"{min(known):.2f}" in told


def test_levels_and_signs() -> None:
    assert [level(value, 8.0) for value in (0.0, 0.2, 8.0, 100.0, -8.0)] == [0, 0, LEVELS, LEVELS, -LEVELS]
    assert shown_names([" ", "\n", "a b", "x"]) == ["␣ space", "⏎ line end", "a␣b", "x"]
    assert 'class="o15 n"' in coloured_text(["\n"], [-15], label="", arch="gru", kind="value", group="0", data={})


def test_what_the_script_reads_is_in_the_markup() -> None:
    script = asset(PANEL.outline.script)
    assert f"LEVELS = {LEVELS}" in script and "MOST = 4" in script  # half of the panel's 8 bits
    markup = html(found())
    for name in ("bits", "names", "likeliest", "chances", "kind", "group"):
        assert f" data-{name}=" in markup
    for hook in ("data-base", "data-legend", "data-base-name", 'class="here"', 'class="tokens"'):
        assert hook in markup


@pytest.mark.parametrize("text", PANEL.method)
def test_the_method_is_plain_text(text: str) -> None:
    assert "<" not in text and text.endswith(".")
