"""Figures: what is drawn of measured rows, and what is not."""

import itertools
import json
import math
from typing import Any

import pytest

from charlm.analysis.figures import arch_colour, short, spread
from charlm.analysis.plots import FEWEST_STEPS, Curve, Level, end_labels, loss_figure, loss_range, thinned


def rows(last: int = 40, offset: float = 0.0) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "seconds": step / 10,
            "train_loss": 1.2 + offset + math.exp(-step / 10),
            "val_loss": 1.3 + offset + math.exp(-step / 10) if step % 10 == 0 else None,
        }
        for step in range(1, last + 1)
    ]


def curve(arch: str = "lstm", key: str = "a", name: str = "LSTM", **more: Any) -> Curve:
    return Curve(key, name, arch, more.pop("rows", rows()), **more)


def by_kind(figure: Any) -> dict[str, Any]:
    return {trace.meta["kind"]: trace for trace in figure.data}


def test_each_run_has_three_traces_that_a_page_can_find() -> None:
    figure = loss_figure([curve(best_step=40), curve("gru", "b", "GRU")])
    assert [(trace.meta["run"], trace.meta["kind"]) for trace in figure.data] == [
        (run, kind) for run in "ab" for kind in ("train", "val", "best")
    ]


def test_validation_is_drawn_where_it_was_measured_and_the_kept_step_is_ringed() -> None:
    traces = by_kind(loss_figure([curve(best_step=30)]))
    assert list(traces["val"].x) == [10, 20, 30, 40]
    assert list(traces["best"].x) == [30]
    assert traces["val"].mode == "lines+markers"


def test_training_is_faint_by_its_own_colour_not_by_trace_opacity() -> None:
    traces = by_kind(loss_figure([curve()]))
    assert traces["train"].line.color.startswith("rgba(0,114,178")
    assert all(trace.opacity is None for trace in traces.values())


def test_values_go_out_as_plain_lists_so_that_points_can_be_added_in_the_page() -> None:
    data = json.loads(loss_figure([curve()]).to_json())["data"]
    assert all(isinstance(trace[axis], list) for trace in data for axis in "xy")


def test_by_seconds_uses_the_runs_own_clock() -> None:
    assert list(by_kind(loss_figure([curve()], by="seconds"))["val"].x) == [1.0, 2.0, 3.0, 4.0]


def test_log_axis_and_its_labels_are_in_decades() -> None:
    figure = loss_figure([curve()], log=True, uniform=4.0)
    assert figure.layout.yaxis.type == "log"
    label = next(note for note in figure.layout.annotations if note.name == "uniform")
    assert label.y == pytest.approx(math.log10(4.0))


def test_the_uniform_guess_is_inside_the_plot() -> None:
    figure = loss_figure([curve()], uniform=4.36)
    assert figure.layout.yaxis.range[1] > 4.36
    assert figure.layout.shapes[0].y0 == 4.36


def test_a_live_figure_lets_its_axes_follow() -> None:
    axes = loss_figure([curve()], live=True, uniform=4.36).layout
    assert axes.xaxis.range is None and axes.yaxis.range is None
    assert axes.xaxis.autorangeoptions.include == (0, FEWEST_STEPS) and axes.yaxis.autorangeoptions.include[0] > 4.36


def test_the_axis_of_a_few_steps_has_whole_steps() -> None:
    """Plotly labels halves of fewer; before the first point it would begin at -1."""
    assert loss_figure([curve(rows=rows(1))]).layout.xaxis.range == (0, FEWEST_STEPS)
    assert loss_figure([curve(rows=rows(1))], by="seconds").layout.xaxis.range[1] < 1
    live = loss_figure([curve(rows=[])], live=True).layout
    assert live.xaxis.rangemode == live.yaxis.rangemode == "nonnegative"


def test_no_curve_and_no_point_give_an_empty_plot() -> None:
    assert not loss_figure([]).data
    empty = loss_figure([curve(rows=[])])
    assert len(empty.data) == 3 and "no training log" in [note.text for note in empty.layout.annotations][-1]
    assert not any("log" in note.text for note in loss_figure([curve()]).layout.annotations)


def test_rows_that_are_not_numbers_are_left_out() -> None:
    bad = [{"step": 1, "seconds": 1, "train_loss": float("nan"), "val_loss": float("inf")}, *rows(10)]
    assert all(math.isfinite(y) for trace in loss_figure([curve(rows=bad)]).data for y in trace.y)


def test_the_range_cuts_the_steep_start_without_a_uniform_line() -> None:
    steep = [{"step": 0, "seconds": 0, "train_loss": 9.0, "val_loss": None}, *rows()]
    assert loss_range([curve(rows=steep)])[1] < 4


def test_two_runs_of_one_architecture_differ_by_dash() -> None:
    figure = loss_figure([curve(), curve(key="b", name="second")])
    dashes = [trace.line.dash for trace in figure.data if trace.meta["kind"] == "val"]
    assert dashes[0] == "solid" and dashes[1] != "solid"


def test_names_at_line_ends_keep_their_distance() -> None:
    curves = [curve(key=str(i), name=str(i), rows=rows(offset=i / 1000)) for i in range(4)]
    labels = end_labels(curves, log=False, span=(1.0, 3.0))
    assert len({label["yshift"] for label in labels}) == 4
    hidden = end_labels([*curves, curve(rows=[])], log=False, span=(1.0, 3.0))
    assert [label["visible"] for label in hidden] == [True] * 4 + [False]
    places = spread([10.0, 10.1, 10.2, 40.0])
    assert all(b - a > 14.9 for a, b in itertools.pairwise(places))


def test_a_label_is_no_markup() -> None:
    label = end_labels([curve(name="<b>x</b>&")], log=False, span=(1, 2))[0]
    assert label["text"] == "<b>&lt;b&gt;x&lt;/b&gt;&amp;</b>"
    assert short("a" * 40) == "a" * 15 + "…"


def test_many_points_are_thinned_and_the_last_stays() -> None:
    many = [{"step": step} for step in range(10_001)]
    kept = thinned(many, 1000)
    assert len(kept) <= 1002 and kept[-1]["step"] == 10_000


def test_many_validations_are_thinned_and_the_kept_step_stays_ringed() -> None:
    many = [{"step": step, "seconds": step, "train_loss": 2.0, "val_loss": 2 + 1 / step} for step in range(1, 5001)]
    traces = by_kind(loss_figure([curve(rows=many, best_step=4321)]))
    assert len(traces["val"].x) <= 301 and traces["val"].x[-1] == 5000 and list(traces["best"].x) == [4321]


def test_colours() -> None:
    assert arch_colour("gru") == "#009E73"
    assert arch_colour("n-gram") == "#7F7F7F"


@pytest.mark.parametrize("loss", [0, -0.0, -3.0, 1e-9])
def test_a_text_learned_by_heart_has_its_place_on_the_log_axis(loss: float) -> None:
    end = {"step": 50, "seconds": 5.0, "train_loss": loss, "val_loss": loss}
    figure = loss_figure([curve(rows=[*rows(), end])], log=True, uniform=1.0)
    assert all(math.isfinite(number) for number in figure.layout.yaxis.range)
    assert [label["y"] for label in end_labels([curve(rows=[end])], log=True, span=(0.0, 3.0))] == [-3.0]


def test_a_name_is_no_markup_to_plotly() -> None:
    """Hover texts show a trace's name, and plotly reads links and tags in it."""
    figure = loss_figure([curve(name="<a href='https://canary.invalid'>&amp;</a>")])
    assert {trace.name for trace in figure.data} == {"&lt;a href='https://canary.invalid'&gt;&amp;amp;&lt;/a&gt;"}


def test_levels_are_lines_with_names_where_they_leave_the_curves_room() -> None:
    low = min(row["val_loss"] for row in rows() if row["val_loss"] is not None)
    levels = [Level("best n-gram", 0.9 * low), Level("xz", low), Level("far", -100.0), Level("high", 90.0)]
    plain, figure = loss_figure([curve()]), loss_figure([curve()], levels=levels)
    assert [(line.name, line.y0, line.line.dash) for line in figure.layout.shapes] == [
        ("best n-gram", 0.9 * low, "dash"), ("xz", low, "dash")
    ]  # fmt: skip
    assert figure.layout.yaxis.range[0] < 0.9 * low and figure.layout.yaxis.range[1] == plain.layout.yaxis.range[1]
    notes = {note.name: note for note in figure.layout.annotations}
    assert notes["best n-gram"].yanchor == "top" and notes["xz"].yanchor == "bottom" and "far" not in notes
    live = loss_figure([curve()], levels=levels, live=True).layout
    assert {0.9 * low, low} <= set(live.yaxis.autorangeoptions.include)
    logarithmic = loss_figure([curve()], levels=levels, log=True)
    note = next(note for note in logarithmic.layout.annotations if note.name == "xz")
    assert note.y == pytest.approx(math.log10(low)) and logarithmic.layout.shapes[1].y0 == low


def test_a_change_of_the_learning_rate_is_marked_on_the_training_curve() -> None:
    changes = [{"step": step, "from": old, "to": new} for step, old, new in ((0, 0.01, 0.02), (25, 0.02, 5e-4))]
    changed = curve(rates=[*changes, {"step": 99, "from": 5e-4, "to": 1e-5}])
    marks = by_kind(loss_figure([changed, curve("gru", "b", "GRU")]))["rate"]
    assert list(marks.x) == [0, 25, 99] and list(marks.text) == ["0.02", "0.0005", "1e-05"]
    known = rows()
    assert list(marks.y) == [known[0]["train_loss"], known[24]["train_loss"], known[-1]["train_loss"]]
    assert marks.customdata[1] == "learning rate 0.02 → 0.0005<br>after step 25" and marks.meta["run"] == "a"
    twice = loss_figure([changed, curve("gru", "b", "GRU", rates=changes)]).data[-2:]
    assert [list(one.text) for one in twice] == [["0.02", "0.0005", "1e-05"], ["", ""]]
    by_seconds = by_kind(loss_figure([changed], by="seconds"))["rate"]
    assert list(by_seconds.x) == [0.1, 2.5, 4.0]
    assert "rate" not in by_kind(loss_figure([curve(rows=[], rates=changes)]))
