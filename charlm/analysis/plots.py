"""Loss curves of several runs: who is ahead, and how they are drawn, from measured rows alone.

Figures are plain dicts, which the page draws as they are: plotly's own classes take a second to load and check every
value, too much for the start of the app and for each tick.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from charlm.analysis.figures import (
    AXIS,
    BASELINE_COLOUR,
    CLEAR,
    DASHES,
    FONT,
    HEIGHT,
    arch_colour,
    axis_title,
    frame,
    note,
    plain,
    rgba,
    short,
    spread,
)
from charlm.architectures import is_counted

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_POINTS = 1200
MAX_MARKERS = 300  # validations; more would be a band
FEWEST_STEPS = 4  # that the axis shows; of fewer plotly would label halves
REACH = 0.35  # share of the curves' range that a level may lie below it and still be drawn
LOSSES = ("val_loss", "train_loss")
By = Literal["step", "seconds"]
Row = Mapping[str, Any]
Rows = Sequence[Row]


@dataclass(frozen=True)
class Curve:
    """One run to draw.

    Attributes:
        key: the run's id, put in each trace's `meta` so that a page can find it.
        name: written at the line's end.
        arch: the run's architecture, which gives the colour.
        rows: metrics in the order of steps: step, seconds, train_loss, val_loss (None between evaluations).
        best_step: the step whose weights are kept; None draws no ring.
        faded: an earlier run laid under the others.
        span: lowest and highest loss and highest validation loss, if they are known; NaN where there is none.
        rates: changes of the learning rate, in the order of steps: step, from, to; each is marked on the curve.
    """

    key: str
    name: str
    arch: str
    rows: Rows = field(repr=False)
    best_step: int | None = None
    faded: bool = False
    span: tuple[float, float, float] | None = None
    rates: Rows = ()


@dataclass(frozen=True)
class Level:
    """A loss that needs no training, drawn as a dashed line: its name, and nats per token."""

    name: str
    value: float


def scaled(rows: Rows, factor: float) -> Rows:
    """Rows with their losses times `factor`, in another unit."""
    if factor == 1.0:
        return rows
    return [{**row, **{name: row[name] * factor for name in LOSSES if _finite(row.get(name))}} for row in rows]


def best_until(rows: Rows, by: str, limit: float) -> float | None:
    """The lowest validation loss up to a limit.

    Args:
        rows: of a run's history.
        by: "step" or "seconds".
        limit: the largest `by` that counts.

    Returns:
        In the unit of the rows; None if no row up to there has one.
    """
    losses = [row["val_loss"] for row in rows if row.get("val_loss") is not None and row[by] <= limit]
    return min(losses, default=None)


def common_limit(runs: Mapping[str, Rows], by: str) -> float:
    """How far all runs have come: the largest `by` that every one of them has reached; 0 if one has no row."""
    return min((rows[-1][by] if rows else 0.0 for rows in runs.values()), default=0.0)


def ranked(runs: Mapping[str, Rows], by: str, limit: float | None = None) -> list[tuple[str, float]]:
    """Keys with their best validation loss up to a limit of `by`, best first; runs without one are left out.

    Args:
        runs: rows by key.
        by: "step" or "seconds".
        limit: None: how far all of them have come.
    """
    limit = common_limit(runs, by) if limit is None else limit
    scored = [(key, best_until(rows, by, limit)) for key, rows in runs.items()]
    return sorted(((key, loss) for key, loss in scored if loss is not None), key=lambda entry: entry[1])


def loss_figure(curves: Sequence[Curve], **options: Any) -> "Figure":
    """`loss_plot` as a plotly Figure, for notebooks and files."""
    import plotly.graph_objects as go  # takes a second

    return go.Figure(loss_plot(curves, **options)).update_layout(template="none")


def loss_plot(
    curves: Sequence[Curve],
    *,
    by: By = "step",
    log: bool = False,
    uniform: float | None = None,
    levels: Sequence[Level] = (),
    height: int = HEIGHT,
    live: bool = False,
    unit: str = "nats per character",
) -> dict[str, Any]:
    """Loss curves as plotly's JSON: training thin and faint, validation bold with markers, the kept step ringed.

    Args:
        curves: the runs, in drawing order.
        by: x axis: steps, or the seconds each run itself computed.
        log: logarithmic loss axis.
        uniform: the loss ln V of guessing, in nats; drawn dotted.
        levels: other losses to compare with; those far from the curves are left out.
        height: of the whole figure, px.
        live: points will be added in the page: the axes follow them.
        unit: of the losses.
    """
    levels = near(curves, uniform, levels)
    span = loss_range(curves, uniform, levels)
    layout = _layout(by, log, span, height)
    sight = [0, FEWEST_STEPS] if by == "step" else [0]
    if live:  # the axes follow points that are added in the page; 0 and the lines stay in sight
        del layout["yaxis"]["range"]
        kept = [level.value for level in levels] + ([] if uniform is None else [span[1]])
        follow = {"autorange": True, "rangemode": "nonnegative"}  # before the first point, too
        layout["xaxis"] |= {**follow, "autorangeoptions": {"include": sight}}
        layout["yaxis"] |= {**follow, "autorangeoptions": {"include": [] if log else kept}}
    else:
        layout["xaxis"]["range"] = [0, max([*sight, *(row[by] for curve in curves for row in curve.rows)]) or 1]
    layout["margin"]["r"] = 16 + max((8 * len(short(curve.name)) for curve in curves), default=0)
    layout["annotations"] = [
        *end_labels(curves, log=log, span=span, height=height),
        note("axis", f"loss, {unit}", 0, 1, yref="paper", xanchor="left", yanchor="bottom", xshift=-34, yshift=10),
    ]
    layout["shapes"] = [_line(level.name, level.value, "dash") for level in levels]
    if uniform is not None:
        y = _height(uniform, log)
        layout["annotations"].append(note("uniform", "guessing uniformly", 1, y, xanchor="right", yanchor="bottom"))
        layout["shapes"].append(_line("uniform", uniform, "dot"))
    if not live and not any(curve.rows for curve in curves):
        layout["annotations"].append(note("empty", "no training log", 0.5, 0.5, yref="paper"))
    layout["annotations"] += _level_labels(levels, log)
    traces = [trace for curve, dash in _dashed(curves) for trace in _traces(curve, dash, by)]
    return {"data": [*traces, *_rate_marks(curves, by)], "layout": layout}


def near(curves: Sequence[Curve], uniform: float | None, levels: Sequence[Level]) -> list[Level]:
    """The levels that can be drawn without pressing the curves flat.

    Args:
        curves: the runs.
        uniform: the loss of guessing, if it is drawn.
        levels: all that are known.
    """
    low, high = loss_range(curves, uniform)
    return [level for level in levels if low - REACH * (high - low) <= level.value <= high]


def loss_range(
    curves: Sequence[Curve], uniform: float | None = None, levels: Sequence[Level] = ()
) -> tuple[float, float]:
    """The losses worth showing: the steep start is cut, the uniform line and the levels are not.

    Args:
        curves: the runs.
        uniform: the loss of guessing, if it is drawn.
        levels: those that are drawn.
    """
    low, high = _curve_range(curves, uniform)
    lowest = min((level.value for level in levels), default=low)
    return min(low, max(lowest - 0.08 * (high - lowest), 0.5 * lowest)), high


def _curve_range(curves: Sequence[Curve], uniform: float | None) -> tuple[float, float]:
    spans = [curve.span or _span(curve.rows) for curve in curves]
    lows, highs, tops = ([span[i] for span in spans if math.isfinite(span[i])] for i in range(3))
    if not lows:
        return 0.0, uniform * 1.05 if uniform else 5.0
    low, high = min(lows), max(highs)
    if uniform is not None:
        high = max(uniform, min(high, 1.3 * uniform))
    elif tops:
        high = min(high, max(1.5 * max(tops), 1.5 * low))
    pad = 0.05 * (high - low) or 0.1
    return max(low - pad, 0.5 * low), high + pad


def _span(rows: Rows) -> tuple[float, float, float]:
    val, train = ([row[name] for row in rows if _finite(row.get(name))] for name in LOSSES)
    return min(val + train, default=math.nan), max(val + train, default=math.nan), max(val, default=math.nan)


def end_labels(
    curves: Sequence[Curve], *, log: bool, span: tuple[float, float], height: int = HEIGHT
) -> list[dict[str, Any]]:
    """The curves' names at their line ends as plotly annotations; hidden where there is no line.

    Args:
        curves, log, span, height: as of `end_places`.
    """
    labels = []
    for curve, place in zip(curves, end_places(curves, log=log, span=span, height=height), strict=True):
        y, shift = place or (0.0, 0.0)
        labels.append(note(
            curve.key, f"<b>{plain(short(curve.name))}</b>", 1, y, xanchor="left", xshift=10,
            yanchor="middle", yshift=shift, visible=place is not None,
            font={"size": 12, "color": arch_colour(curve.arch)},
        ))  # fmt: skip
    return labels


def end_places(
    curves: Sequence[Curve], *, log: bool, span: tuple[float, float], height: int = HEIGHT
) -> list[tuple[float, float] | None]:
    """Where each curve's name stands, LABEL_GAP px apart or more; None without a line.

    Args:
        curves: the runs.
        log: whether the loss axis is logarithmic.
        span: the lowest and highest loss of the axis.
        height: of the whole figure, px.

    Returns:
        For each curve its place on the loss axis (in decades, if `log`) and the px to move the name up.
    """
    low, high = (_height(value, log) for value in span)
    ends = []
    for index, curve in enumerate(curves):
        value = _last_value(curve)
        if value is not None:
            place = _height(min(max(value, span[0]), span[1]), log)
            ends.append(((place - low) / ((high - low) or 1.0) * max(height - 40 - 44, 1), place, index))
    ends.sort(key=lambda end: end[0])
    places: list[tuple[float, float] | None] = [None] * len(curves)
    for (have, place, index), want in zip(ends, spread([pixel for pixel, _, _ in ends]), strict=True):
        places[index] = place, want - have
    return places


def thinned(rows: Rows, most: int = MAX_POINTS) -> list[Row]:
    """At most about `most` rows, evenly taken; the last one stays."""
    kept = list(rows[:: math.ceil(len(rows) / most) or 1])
    return kept if not rows or kept[-1] is rows[-1] else [*kept, rows[-1]]


def _traces(curve: Curve, dash: str, by: By) -> list[dict[str, Any]]:
    """Training, validation and ring of one run as plain dicts of Python lists."""
    colour = arch_colour(curve.arch)
    bold = rgba(colour, 0.4) if curve.faded else colour
    val = [row for row in curve.rows if _finite(row.get("val_loss"))]
    step = "step %{x:,}" if by == "step" else "%{x:,.1f} s"
    shown: dict[str, tuple[Rows, dict[str, Any]]] = {
        "train": (
            thinned([row for row in curve.rows if _finite(row.get("train_loss"))]),
            {"mode": "lines", "line": {"width": 1, "color": rgba(colour, 0.34)},
             "hovertemplate": f"{step}<br>%{{y:.3f}} training"},
        ),
        "val": (
            thinned(val, MAX_MARKERS),
            {"mode": "lines+markers", "line": {"width": 2.4, "color": bold, "dash": dash},
             "marker": {"size": 6, "color": bold}, "hovertemplate": f"{step}<br><b>%{{y:.3f}}</b> held out"},
        ),
        "best": (
            [row for row in val if row["step"] == curve.best_step],
            {"mode": "markers", "marker": {"size": 13, "color": CLEAR, "line": {"width": 2, "color": bold}},
             "hoverinfo": "skip"},
        ),
    }  # fmt: skip
    return [
        {
            "type": "scatter", "x": [row[by] for row in rows],
            "y": [row["train_loss" if kind == "train" else "val_loss"] for row in rows], **style,
            "cliponaxis": kind == "train", "name": plain(curve.name),
            "meta": {"run": curve.key, "kind": kind}, "showlegend": False,
        }
        for kind, (rows, style) in shown.items()
    ]  # fmt: skip


def _rate_marks(curves: Sequence[Curve], by: By) -> list[dict[str, Any]]:
    """Triangles on the training curves where learning rates were changed; where several were alike, one is labelled."""
    traces, labelled = [], set[tuple[float, str]]()
    for curve in curves:
        known = [row for row in curve.rows if _finite(row.get("train_loss"))]
        xs, ys, texts, told = list[float](), list[float](), list[str](), list[str]()
        for change in curve.rates if known else ():
            row = next((row for row in known if row["step"] >= change["step"]), known[-1])
            xs.append(change["step"] if by == "step" else row[by])
            ys.append(row["train_loss"])
            label = f"{change['to']:g}"
            texts.append("" if (xs[-1], label) in labelled else label)
            labelled.add((xs[-1], label))
            told.append(_rate_change(change))
        style = {"size": 9, "symbol": "triangle-down", "color": arch_colour(curve.arch)}
        if xs:
            traces.append({
                "type": "scatter", "x": xs, "y": ys, "text": texts, "customdata": told, "mode": "markers+text",
                "textposition": "top center", "textfont": {"size": 11, "color": FONT},
                "hovertemplate": "%{customdata}", "marker": style, "cliponaxis": False, "name": plain(curve.name),
                "meta": {"run": curve.key, "kind": "rate"}, "showlegend": False,
            })  # fmt: skip
    return traces


def _rate_change(change: Row) -> str:
    return f"learning rate {change['from']:g} → {change['to']:g}<br>after step {change['step']:,}"


def _dashed(curves: Sequence[Curve]) -> list[tuple[Curve, str]]:
    """Each curve with its dash: solid for the first of an architecture, but for n-grams, which are no networks."""
    seen, pairs = Counter[str](), []
    for curve in curves:
        pairs.append((curve, DASHES[(seen[curve.arch] + 2 * is_counted(curve.arch)) % len(DASHES)]))
        seen[curve.arch] += 1
    return pairs


def _layout(by: By, log: bool, span: tuple[float, float], height: int) -> dict[str, Any]:
    """Axes, grid and margins; the background is the page's."""
    title = "step" if by == "step" else "seconds of its own"
    return frame(
        height,
        margin={"l": 36, "r": 16, "t": 40, "b": 44},
        xaxis={**AXIS, "title": axis_title(title), "showgrid": False, "tickformat": ",", "nticks": 7},
        yaxis={**AXIS, "type": "log" if log else "linear", "range": [_height(loss, log) for loss in span], "nticks": 6},
        dragmode="zoom",
        uirevision="loss",
    )


def _line(name: str, loss: float, dash: str) -> dict[str, Any]:
    """A line across the plot."""
    return {
        "name": name, "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": loss, "y1": loss,
        "line": {"width": 1.5, "dash": dash, "color": BASELINE_COLOUR},
    }  # fmt: skip


def _level_labels(levels: Sequence[Level], log: bool) -> list[dict[str, Any]]:
    """At the left, where curves are high: the lowest one's name under its line, the others' above theirs."""
    lowest = min((level.value for level in levels), default=0.0) if len(levels) > 1 else None
    return [
        note(
            level.name, level.name, 0, _height(level.value, log), xanchor="left", xshift=4,
            yanchor="top" if level.value == lowest else "bottom",
        )
        for level in levels
    ]  # fmt: skip


def _last_value(curve: Curve) -> float | None:
    """Where a curve's name stands: at its last validation loss, before the first one at its training loss."""
    for name in LOSSES:
        for row in reversed(curve.rows):
            if _finite(row.get(name)):
                return float(row[name])
    return None


def _height(loss: float, log: bool) -> float:
    """Where a loss is on its axis: in decades on a logarithmic one, where that of a memorised text may be zero."""
    return math.log10(max(loss, 1e-3)) if log else loss


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
