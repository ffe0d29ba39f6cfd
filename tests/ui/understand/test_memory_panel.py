"""The panel of effective memory: its picture, its table and its words say what stands in the result."""

import itertools
import json
from typing import Any

import plotly.graph_objects as go
import pytest

from charlm.analysis.figures import arch_colour
from charlm.analysis.measurement import Measured
from charlm.analysis.memory import Memory, Settings, contexts_up_to, rows
from charlm.ui.understand.memory import PANEL
from charlm.ui.understand.panel import Found

HOSTILE = "<img src=x onerror=alert(1)> & \"quoted\" 'text'"


def result(memory: int | None = 13, last: int = 144, **more: Any) -> Memory:
    table: list[Any] = [
        {"context": k, "loss": 1.2 + 2 / k, "excess": 2 / k - 2 / last, "stderr": 0.1 / k}
        for k in sorted({*contexts_up_to(last), memory or 1})
    ]
    fixed = {"last_context": last, "settled": True, "limit": 1000, "targets": 4000, "tokens": 50_000, "beyond": "none"}
    return {"memory": memory, "rows": table, **fixed, **more}  # type: ignore[typeddict-item]


def found(*archs: str) -> list[Measured[Memory]]:
    return [Measured(arch.upper(), arch, result(10 + at)) for at, arch in enumerate(archs)]


def picture(many: Found) -> dict[str, Any]:
    assert PANEL.picture
    drawn = PANEL.picture(many)
    assert drawn and drawn == json.loads(json.dumps(drawn, allow_nan=False))
    go.Figure(drawn)  # raises at what plotly does not know
    return drawn


def html(many: Found) -> str:
    assert PANEL.html
    return PANEL.html(many)


def test_the_picture_has_a_line_of_each_models_losses_and_a_ring_at_its_memory() -> None:
    many = found("lstm", "rnn")
    drawn = picture(many)
    for one, (line, ring) in zip(many, zip(drawn["data"][::2], drawn["data"][1::2], strict=True), strict=True):
        assert line["x"] == [row["context"] for row in one.result["rows"]]
        assert line["y"] == [row["loss"] for row in one.result["rows"]]
        assert line["line"]["color"] == arch_colour(one.arch) and ring["x"] == [one.result["memory"]]
    assert drawn["layout"]["xaxis"]["ticktext"][-1] == "100"
    assert picture([Measured("LSTM", "lstm", result(None))])["data"][1]["x"] == []


def test_names_stand_apart_at_the_line_ends_and_models_of_one_architecture_differ_by_dash() -> None:
    many = [Measured(f"run {at}", "gru", result(10)) for at in range(3)]
    drawn = picture(many)
    names = [note for note in drawn["layout"]["annotations"] if note["text"].startswith("<b>")]
    shifts = sorted(note["yshift"] for note in names)
    assert [b - a >= 14.9 for a, b in itertools.pairwise(shifts)] == [True, True]
    assert len({trace["line"]["dash"] for trace in drawn["data"][::2]}) == 3


def test_units_that_differ_are_called_tokens() -> None:
    many = [*found("lstm"), Measured("of words", "lstm", result(), unit="words")]
    assert picture(many)["layout"]["xaxis"]["title"]["text"] == "tokens of context"
    assert picture(many[1:])["layout"]["xaxis"]["title"]["text"] == "words of context"


def test_the_table_and_the_alternative_text_say_the_numbers_of_the_result() -> None:
    many = found("lstm", "rnn")
    assert "<b>10</b>" in html(many) and "<b>11</b>" in html(many) and "4,000" in html(many)
    said = PANEL.alt(many)
    assert "LSTM: 3.20 nats with 1, 1.21 with 144, flat from 10 on; RNN" in said and "characters of context" in said
    assert "not flat at its end" in PANEL.alt([Measured("LSTM", "lstm", result(None))])
    assert "hint" not in html(many)


def test_what_limits_a_result_is_said() -> None:
    ended = {"settled": False, "limit": 150}
    assert "whether longer ones lower" in html([Measured("LSTM", "lstm", result(**ended))])
    alone = result(**ended, tokens=700)
    for row in alone["rows"]:
        row["stderr"] = None
    assert "a text of 700 characters is too short for standard errors" in html([Measured("LSTM", "lstm", alone)])
    picture([Measured("LSTM", "lstm", alone)])
    assert "hint" not in html([Measured("LSTM", "lstm", result(settled=False))])  # still growing


def test_hostile_names_stay_text() -> None:
    many = [Measured(HOSTILE, "lstm", result())]
    assert "<img" not in html(many) and "&lt;img" in html(many)
    drawn = picture(many)
    shown = [trace["name"] for trace in drawn["data"]] + [note["text"] for note in drawn["layout"]["annotations"]]
    assert "&lt;img" in shown[0] and not any("<img" in text for text in shown)


def test_without_a_model_there_is_no_picture() -> None:
    assert PANEL.picture and PANEL.picture([]) is None and html([]) == "" and "No memory" in PANEL.alt([])


@pytest.mark.parametrize("name", PANEL.outline.controls)
def test_controls_are_settings_with_a_hint(name: str) -> None:
    assert Settings.field(name).metadata["hint"]


def test_the_method_names_formula_sample_and_source_and_rows_are_a_flat_table() -> None:
    said = " ".join(PANEL.method)
    assert "excess(k) = mean" in said and "4,000 targets" in said and "Khandelwal" in said
    assert rows(result())[0] == result()["rows"][0]
