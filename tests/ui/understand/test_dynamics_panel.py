"""The panel of dynamics: what is drawn and tabled is what was measured, and hostile names stay text."""

import json
import re
from typing import Any

import plotly.graph_objects as go
import pytest

from charlm.analysis.dynamics import Result, Settings, measure
from charlm.analysis.figures import arch_colour
from charlm.analysis.measurement import Measured, Subject
from charlm.config import ModelConfig
from charlm.models import build_model
from charlm.tokenizers import CharTokenizer
from charlm.ui.understand.dynamics import PANEL

TEXT = "out, out, brief candle! life's but a walking shadow, a poor player. " * 35
TOKENIZER = CharTokenizer.fit(TEXT)


def found(arch: str, label: str = "") -> Measured[Result]:
    config = ModelConfig(arch=arch, vocab_size=TOKENIZER.vocab_size, hidden_size=6, num_layers=2)
    about = Subject(build_model(config, 3).eval(), TOKENIZER, TEXT, TOKENIZER.encode(TEXT))
    *_, last = measure(about, Settings(tokens=2000, warmup=8))
    assert last.result is not None
    return Measured(label or arch, arch, last.result)


@pytest.fixture(scope="module")
def models() -> list[Measured[Result]]:
    return [found(arch) for arch in ("lstm", "gru", "rnn", "mingru")]


def drawn(some: list[Measured[Result]]) -> dict[str, Any]:
    assert PANEL.picture is not None
    plot = PANEL.picture(some)
    assert plot is not None
    json.dumps(plot, allow_nan=False)
    go.Figure(plot)  # plotly knows every name in it
    for button in buttons(plot):
        visible, layout = button["args"]
        for trace, seen in zip(plot["data"], visible["visible"], strict=True):
            trace["visible"] = seen
        go.Figure(plot["data"], {**plot["layout"], **layout})
    return plot


def buttons(plot: dict[str, Any]) -> list[dict[str, Any]]:
    return [button for menu in plot["layout"]["updatemenus"] for button in menu["buttons"]]


def of_view(plot: dict[str, Any], label: str) -> list[dict[str, Any]]:
    button = next(button for button in buttons(plot) if button["label"] == label)
    return [trace for trace, seen in zip(plot["data"], button["args"][0]["visible"], strict=True) if seen]


def test_lines_are_the_sorted_time_scales_of_the_units(models: list[Measured[Result]]) -> None:
    plot = drawn(models)
    lines = of_view(plot, "Time scales")
    assert {trace["meta"]["run"] for trace in lines} == {"lstm", "gru", "mingru"}
    for trace in lines:
        one = next(one for one in models if one.label == trace["meta"]["run"])
        units = [unit for unit in one.result["units"] if unit["layer"] == trace["meta"]["layer"]]
        assert trace["y"] == sorted(unit["time_scale"] for unit in units)
        bold = trace["meta"]["layer"] == 1
        assert (trace["line"]["width"] > 2) == bold and (trace["line"]["color"] == arch_colour(one.arch)) == bold
    assert any("no gates: rnn" in one["text"] for one in plot["layout"]["annotations"])


def test_points_are_the_shares_of_closed_and_open(models: list[Measured[Result]]) -> None:
    for one, trace in zip(models, of_view(drawn(models), "Saturation"), strict=True):
        last = one.result["units"][6:]
        assert trace["x"] == pytest.approx([100 * unit["low"] for unit in last], abs=0.01)
        assert trace["y"] == pytest.approx([100 * unit["high"] for unit in last], abs=0.01)


def test_each_model_has_the_histograms_of_its_units(models: list[Measured[Result]]) -> None:
    for one in models:
        (trace,) = of_view(drawn(models), one.label)
        by_unit = {unit["unit"]: unit for unit in one.result["units"][6:]}
        for (number, *_), shares in zip(trace["customdata"], trace["z"], strict=True):
            assert shares == pytest.approx(by_unit.pop(number)["histogram"], abs=1e-3)
        assert not by_unit


def test_models_without_gates_begin_with_saturation() -> None:
    plot = drawn([found("rnn")])
    assert [button["label"] for button in buttons(plot)] == ["Saturation", "rnn"]


def test_the_table_has_the_numbers_of_the_result(models: list[Measured[Result]]) -> None:
    assert PANEL.html is not None
    rows = re.findall(r"<tr>(.*?)</tr>", PANEL.html(models), re.S)[1:]
    cells = [
        [re.sub(r"\s+", " ", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)] for row in rows
    ]
    assert [row[:2] for row in cells] == [[name, n] for one in models for name, n in ((one.label, "0"), ("", "1"))]
    lstm, rnn, mingru = models[0].result, cells[4], cells[6]
    assert cells[0][2] == f"{lstm['lyapunov']:.3f}" and cells[1][4] == f"{lstm['layers'][1]['median']:.2f}"
    assert cells[0][8].startswith(f"i {lstm['matrices'][0]['radius']:.2f}, f ")
    assert rnn[4:6] == ["–", "–"] and mingru[8] == "–"


def test_an_exponent_of_minus_infinity_has_a_sign(models: list[Measured[Result]]) -> None:
    gone = Measured("gone", "rnn", {**models[2].result, "lyapunov": None, "interval": None})
    assert PANEL.html is not None and "−∞" in PANEL.html([gone]) and "−∞" in PANEL.alt([gone])


def test_the_alternative_text_has_the_results_numbers(models: list[Measured[Result]]) -> None:
    text = PANEL.alt(models)
    assert f"lstm: Lyapunov exponent {models[0].result['lyapunov']:.3f}" in text and "no gates" in text


def test_hostile_names_stay_text(models: list[Measured[Result]]) -> None:
    one = Measured("<img src=x onerror=alert(1)>", "gru", models[1].result)
    plot = drawn([one])
    shown = [note["text"] for button in buttons(plot) for note in button["args"][1]["annotations"]]
    names = [trace["name"] for trace in plot["data"]] + [button["label"] for button in buttons(plot)]
    assert PANEL.html is not None
    assert not any("<img" in text for text in [*shown, *names, PANEL.html([one])])


def test_nothing_found_draws_nothing() -> None:
    assert PANEL.picture is not None and PANEL.picture([]) is None and PANEL.alt([])
    assert set(PANEL.outline.controls) <= set(Settings.names())
