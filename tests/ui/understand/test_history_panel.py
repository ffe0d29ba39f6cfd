"""The panel of history: small plots on a logarithmic axis, and a slider over texts that are escaped."""

import json
import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from charlm.analysis.history import KINDS, History
from charlm.analysis.measurement import Measured
from charlm.ui.html import asset
from charlm.ui.understand.history import PANEL, PLOTTED
from charlm.ui.understand.panel import Found
from tests.analysis.test_time_machine import measured, result_of, with_snapshots

HOSTILE = "<img src=x onerror=alert(1)> & \"quoted\" 'text'\r\n</i></div><script>alert(2)</script>"


@pytest.fixture(scope="module")
def found() -> list[Measured[History]]:
    return [Measured(name, arch, measured(with_snapshots(arch))) for name, arch in (("LSTM", "lstm"), ("RNN", "rnn"))]


def html(many: Found) -> str:
    assert PANEL.html
    return PANEL.html(many)


def picture(many: Found) -> dict[str, Any]:
    assert PANEL.picture
    plot = PANEL.picture(many)
    assert plot is not None
    json.dumps(plot, allow_nan=False)
    return plot


def data_of(markup: str, name: str) -> list[Any]:
    return [json.loads(unescape(value)) for value in re.findall(f' data-{name}="([^"]*)"', markup)]


def test_each_kind_has_a_plot_with_a_line_for_each_model(found: list[Measured[History]]) -> None:
    plot = picture(found)
    titles = [note["text"] for note in plot["layout"]["annotations"]]
    shown = [kind for kind in PLOTTED if f"<b>{kind.capitalize()}</b>" in titles]
    assert shown and all(found[0].result["kinds"][KINDS.index(kind)]["tokens"] for kind in shown)
    lines = [trace for trace in plot["data"] if "lines" in trace["mode"]]
    assert len(lines) == 2 * len(shown)
    for at, kind in enumerate(shown):
        for trace, one in zip(lines[2 * at : 2 * at + 2], found, strict=True):
            means = [moment["kinds"][KINDS.index(kind)] for moment in one.result["moments"]]
            assert trace["y"] == means and trace["x"][1:] == [10, 20, 40] and 0 < trace["x"][0] < 10
            assert trace["customdata"] == ["0", "10", "20", "40"] and trace["name"] == one.label
    assert lines[0]["line"]["color"] != lines[1]["line"]["color"]
    axis = plot["layout"]["xaxis"]
    assert axis["type"] == "log" and axis["ticktext"][0] == "0" and axis["tickvals"][0] == lines[0]["x"][0]


def test_names_stand_at_the_right_and_do_not_touch(found: list[Measured[History]]) -> None:
    plot = picture(found)
    names = [note for note in plot["layout"]["annotations"] if note["text"] in ("<b>LSTM</b>", "<b>RNN</b>")]
    assert names and len(names) % 2 == 0
    for one, other in zip(names[::2], names[1::2], strict=True):
        assert one["yref"] == other["yref"]
        high = plot["layout"]["yaxis" + one["yref"][1:]]["range"][1]
        assert abs((one["y"] - other["y"]) / high * 150 + one["yshift"] - other["yshift"]) >= 14.9


def test_a_circle_marks_where_a_kind_is_learned() -> None:
    result = result_of(spaces=2400)
    for moment in result["moments"]:
        moment["kinds"] = [3.0] * len(KINDS)
    circles = [trace for trace in picture([Measured("LSTM", "lstm", result)])["data"] if trace["mode"] == "markers"]
    assert [(one["x"], one["y"]) for one in circles] == [([2400], [3.0])]


def test_models_of_one_architecture_have_dashes(found: list[Measured[History]]) -> None:
    two = [found[0], replace(found[0], label="other")]
    dashes = [trace["line"]["dash"] for trace in picture(two)["data"] if "lines" in trace["mode"]]
    assert dashes[:2] == ["solid", "dot"]


def test_one_step_is_no_curve() -> None:
    assert PANEL.picture
    one = measured(replace(with_snapshots(), snapshots=[5]))
    assert PANEL.picture([Measured("LSTM", "lstm", one)]) is None
    assert "disabled" in html([Measured("LSTM", "lstm", one)])


def test_the_slider_has_all_steps_and_starts_at_the_last(found: list[Measured[History]]) -> None:
    other = replace(with_snapshots("gru"), snapshots=[0, 7, 40])
    many = [*found, Measured("GRU", "gru", measured(other))]
    markup = html(many)
    [steps, *own] = data_of(markup, "steps")
    assert steps == [0, 7, 10, 20, 40] and own == [[0, 10, 20, 40], [0, 10, 20, 40], [0, 7, 40]]
    assert 'type="range" min="0" max="4" step="1" value="4" aria-valuetext="step 40"' in markup
    for bits, means, one in zip(data_of(markup, "bits"), data_of(markup, "means"), many, strict=True):
        assert len(bits) == len(means) == len(one.result["moments"])
        for costs, mean, moment in zip(bits, means, one.result["moments"], strict=True):
            assert mean == f"{moment['bits_per_character']:.2f}"
            assert costs == [None if cost is None else round(100 * cost) for cost in moment["bits"]]
    assert re.findall(r'data-at="(\d+)"( hidden)?', markup)[:4] == [
        ("0", " hidden"), ("10", " hidden"), ("20", " hidden"), ("40", ""),
    ]  # fmt: skip


def test_every_text_is_in_the_page(found: list[Measured[History]]) -> None:
    markup = html(found)
    texts = [unescape(text) for text in re.findall(r'<span class="prompt">She </span>(.*?)</div>', markup, re.S)]
    assert texts == [moment["text"] for one in found for moment in one.result["moments"]]
    assert markup.count('class="tokens" tabindex="0" role="group"') == 2 and "8 bits or more" in markup


def test_strangers_texts_are_escaped(found: list[Measured[History]]) -> None:
    result = json.loads(json.dumps(found[0].result))
    result["prompt"] = HOSTILE
    result["pieces"][1] = HOSTILE
    for moment in result["moments"]:
        moment["text"] = HOSTILE
    odd: Found = [Measured(HOSTILE, "lstm", result)]
    markup = html(odd)
    assert "<img" not in markup and "<script" not in markup and markup.count("&lt;script&gt;") > 4
    assert "<img" not in json.dumps(picture(odd)) and PANEL.alt(odd)


def test_the_alternative_text_has_the_numbers(found: list[Measured[History]]) -> None:
    said = PANEL.alt(found)
    for one in found:
        first, last = one.result["moments"][0], one.result["moments"][-1]
        assert f"{one.label} from {first['bits_per_character']:.2f} bits per character at step 0" in said
        assert f"{last['bits_per_character']:.2f} at step 40" in said


def test_the_script_writes_no_markup() -> None:
    script = asset(PANEL.outline.script)
    assert "innerHTML" not in script and "insertAdjacentHTML" not in script and "addEventListener" in script
    assert set(PANEL.outline.controls) <= {"prompt", "length", "temperature", "seed"}
