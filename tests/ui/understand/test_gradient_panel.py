"""The panel of the gradient through time: what is drawn is what was measured, and hostile names stay text."""

import json
from typing import Any

import plotly.graph_objects as go
import pytest

from charlm.analysis.figures import DASHES, arch_colour
from charlm.analysis.gradient import Curves, Result, Settings, measure
from charlm.analysis.measurement import Measured, Subject
from charlm.config import ModelConfig
from charlm.models import build_model
from charlm.tokenizers import CharTokenizer
from charlm.ui.understand.gradient import LOWEST, PANEL

TEXT = "a horse, a horse, my kingdom for a horse! " * 6
TOKENIZER = CharTokenizer.fit(TEXT)
SETTINGS = Settings(positions=3, lags=12, warmup=4)


def found(arch: str, label: str = "", snapshots: tuple[int, ...] = ()) -> Measured[Result]:
    def built(seed: int) -> Any:
        config = ModelConfig(arch=arch, vocab_size=TOKENIZER.vocab_size, hidden_size=8, context=4, num_layers=2)
        return build_model(config, seed).eval()

    ids = TOKENIZER.encode(TEXT)
    about = Subject(
        built(3), TOKENIZER, TEXT, ids, seq_len=5, initial=lambda: built(4), snapshots=snapshots, at=built
    )  # fmt: skip
    *_, last = measure(about, SETTINGS)
    assert last.result is not None
    return Measured(label or arch, arch, last.result, 5)


def drawn(*some: Measured[Result]) -> dict[str, Any]:
    assert PANEL.picture is not None
    plot = PANEL.picture(some)
    assert plot is not None
    json.dumps(plot, allow_nan=False)
    go.Figure(plot)  # plotly knows every name in it
    return plot


def test_lines_are_the_rows_relative_to_lag_0() -> None:
    lstm, transformer = found("lstm"), found("transformer")
    plot = drawn(lstm, transformer)
    menu = plot["layout"]["updatemenus"][0]["buttons"]
    assert [button["label"] for button in menu] == ["last layer", "first layer", "cell", "input"]
    shown = {
        "last layer": [("h", 1), ("input", 0)],
        "first layer": [("h", 0), None],
        "cell": [("c", 1), None],
        "input": [("input", 0), ("input", 0)],
    }
    for view, button in enumerate(menu):
        visible = [trace for trace, seen in zip(plot["data"], button["args"][0]["visible"], strict=True) if seen]
        assert visible == [trace for trace in plot["data"] if trace["meta"]["view"] == view]
        for one, node in zip((lstm, transformer), shown[button["label"]], strict=True):
            lines = {trace["meta"]["at"]: trace for trace in visible if trace["meta"]["run"] == one.label}
            if node is None:
                assert not lines
                continue
            assert set(lines) == {"now", "initial"} and lines["now"]["line"]["color"] == arch_colour(one.arch)
            assert one.result["initial"] is not None
            of_weights: list[tuple[str, Curves]] = [("now", one.result), ("initial", one.result["initial"])]
            for at, curves in of_weights:
                rows = [row for row in curves["rows"] if (row["state"], row["layer"]) == node]
                start = rows[0]["log10_norm"]
                assert lines[at]["x"] == [row["lag"] for row in rows]
                assert lines[at]["y"] == pytest.approx(
                    [(row["log10_norm"] or 0) - (start or 0) for row in rows], abs=1e-4
                )
    first = [trace["visible"] for trace in plot["data"]]
    assert first == menu[0]["args"][0]["visible"]


def test_the_training_sequence_is_marked() -> None:
    layout = drawn(found("gru"))["layout"]
    assert [shape["x0"] for shape in layout["shapes"]] == [5]
    assert any("training sequence: 5" in one["text"] for one in layout["annotations"])


def test_snapshots_are_drawn_faintly_beside_now() -> None:
    plot = drawn(found("rnn", snapshots=(7, 9)))
    lines = [trace for trace in plot["data"] if trace["meta"]["view"] == 0]
    assert [trace["meta"]["at"] for trace in lines] == ["7", "9", "initial", "now"]
    widths = [trace["line"]["width"] for trace in lines]
    assert widths == sorted(widths)


def test_models_of_one_architecture_differ_by_dashes_and_every_line_has_its_name() -> None:
    plot = drawn(found("gru", "one"), found("gru", "two"))
    bold = [trace for trace in plot["data"] if trace["meta"]["at"] == "now" and trace["meta"]["view"] == 0]
    assert [trace["line"]["dash"] for trace in bold] == list(DASHES[:2])
    assert {"one", "two"} <= {one["name"] for one in plot["layout"]["annotations"]}


def test_a_line_that_falls_out_of_the_picture_has_its_name_where_it_leaves() -> None:
    far = found("rnn")
    for row in far.result["rows"]:
        row["log10_norm"] = -10.0 * row["lag"]
    plot = drawn(far, found("gru"))
    assert plot["layout"]["yaxis"]["range"][0] == LOWEST
    label = next(one for one in plot["layout"]["annotations"] if one["name"] == "rnn")
    assert (label["xref"], label["x"], label["yref"], label["y"]) == ("x", 3, "paper", 0)


def test_a_gradient_of_zero_is_a_gap() -> None:
    gone = found("rnn")
    for row in gone.result["rows"][3:]:
        row["log10_norm"] = row["stderr"] = None
    drawn(gone)


def test_the_alternative_text_has_the_results_numbers() -> None:
    one, other = found("lstm"), found("transformer")
    text = PANEL.alt([one, other])
    assert "lstm: " in text and "transformer: " in text
    assert f"to 10^{one.result['decades']:.1f} after 5" in text
    one.result["half_life"], one.result["decades"] = None, None
    assert "lstm: never halves, to nothing after 5" in PANEL.alt([one])


def test_hostile_names_stay_text() -> None:
    name = "<img src=x onerror=alert(1)>"
    written = json.dumps(drawn(found("gru", name)))
    assert "<img" not in json.dumps([trace["name"] for trace in json.loads(written)["data"]])
    assert all("<img" not in one["text"] for one in json.loads(written)["layout"]["annotations"])


def test_nothing_found_draws_nothing() -> None:
    assert PANEL.picture is not None and PANEL.picture([]) is None and PANEL.alt([])
    assert set(PANEL.outline.controls) <= set(Settings.names())
