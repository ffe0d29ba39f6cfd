"""Measured rows -> plotly figures, pure: no file, no model, no page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from charlm.architectures import ARCHITECTURES, is_counted

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BASELINE_COLOUR = "#7F7F7F"
FONT = "#84888f"
GRID = "rgba(128,128,128,.16)"
# Several runs of one architecture share its colour and differ by their dashes.
DASHES = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")
MAX_POINTS = 1200
MAX_MARKERS = 300  # validations; more would be a band
LABEL_GAP = 15  # px between two names at the line ends
REACH = 0.35  # share of the curves' range that a level may lie below it and still be drawn
By = Literal["step", "seconds"]


def arch_colour(arch: str) -> str:
    """The colour of an architecture, the same everywhere; grey for what has none."""
    return ARCHITECTURES[arch].colour if arch in ARCHITECTURES else BASELINE_COLOUR


@dataclass(frozen=True)
class Curve:
    """One run to draw.

    Attributes:
        key: the run's id, put in each trace's `meta` so that a page can find it.
        name: written at the line's end.
        rows: metrics in the order of steps: step, seconds, train_loss, val_loss (None between evaluations).
        best_step: the step whose weights are kept; None draws no ring.
        faded: an earlier run laid under the others.
        span: lowest and highest loss and highest validation loss, if they are known; NaN where there is none.
    """

    key: str
    name: str
    arch: str
    rows: Sequence[Mapping[str, Any]] = field(repr=False)
    best_step: int | None = None
    faded: bool = False
    span: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Level:
    """A loss that needs no training, drawn as a dashed line: what it is called, and nats per token."""

    name: str
    value: float


def scaled(rows: Sequence[Mapping[str, Any]], factor: float) -> Sequence[Mapping[str, Any]]:
    """Rows with their losses in another unit, a `factor` of it each."""
    if factor == 1.0:
        return rows
    losses = ("train_loss", "val_loss")
    return [{**row, **{name: row[name] * factor for name in losses if _finite(row.get(name))}} for row in rows]


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
    height: int = 330,
    live: bool = False,
    unit: str = "nats per character",
) -> dict[str, Any]:
    """Loss curves as plotly's JSON: training thin and faint, validation bold with markers, the kept step ringed.

    A page draws it as it is, without plotly being loaded on the server.

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
    low, high = loss_range(curves, uniform, levels)
    layout = _layout(by, log, (low, high), height)
    names = end_labels(curves, log=log, span=(low, high), height=height)
    end = max((row[by] for curve in curves for row in curve.rows), default=None)
    layout["xaxis"]["range"] = [0, end or 1]
    if live:
        kept = [level.value for level in levels] + ([] if uniform is None else [high])
        _follow(layout, [] if log else kept)
    layout["margin"]["r"] = 16 + max((8 * len(short(curve.name)) for curve in curves), default=0)
    layout["annotations"] = [*names, _axis_title(unit), *_uniform_label(uniform, log), *_no_curve(curves, live)]
    layout["annotations"] += _level_labels(levels, log)
    layout["shapes"] = [_line(level.name, level.value, "dash") for level in levels]
    if uniform is not None:
        layout["shapes"].append(_line("uniform", uniform, "dot"))
    traces = [trace for curve, dash in _dashed(curves) for trace in _traces(curve, dash, by)]
    return {"data": traces, "layout": layout}


def _follow(layout: dict[str, Any], highest: list[float]) -> None:
    """Let the axes follow points that are added in the page; 0 and the uniform line stay in sight."""
    for axis, included in (("xaxis", [0]), ("yaxis", highest)):
        del layout[axis]["range"]
        layout[axis] |= {"autorange": True, "autorangeoptions": {"include": included}}


def near(curves: Sequence[Curve], uniform: float | None, levels: Sequence[Level]) -> list[Level]:
    """The levels that can be drawn without pressing the curves flat."""
    low, high = loss_range(curves, uniform)
    return [level for level in levels if low - REACH * (high - low) <= level.value <= high]


def loss_range(
    curves: Sequence[Curve], uniform: float | None = None, levels: Sequence[Level] = ()
) -> tuple[float, float]:
    """The losses worth showing: the steep start is cut, the uniform line and the levels are not."""
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


def _span(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float, float]:
    val = [row["val_loss"] for row in rows if _finite(row.get("val_loss"))]
    seen = val + [row["train_loss"] for row in rows if _finite(row.get("train_loss"))]
    return min(seen, default=math.nan), max(seen, default=math.nan), max(val, default=math.nan)


def end_labels(
    curves: Sequence[Curve], *, log: bool, span: tuple[float, float], height: int = 330
) -> list[dict[str, Any]]:
    """The curves' names at their line ends as plotly annotations, LABEL_GAP px apart or more; hidden without a line."""
    places = end_places(curves, log=log, span=span, height=height)
    return [_end_label(curve, place) for curve, place in zip(curves, places, strict=True)]


def end_places(
    curves: Sequence[Curve], *, log: bool, span: tuple[float, float], height: int = 330
) -> list[tuple[float, float] | None]:
    """Where each curve's name stands: its place on the loss axis (in decades, if `log`) and the px to move it up."""
    per_px = max(height - 40 - 44, 1)
    ends = []
    for index, curve in enumerate(curves):
        value = _last_value(curve)
        if value is not None:
            place = min(max(value, span[0]), span[1])
            ends.append((_share(place, span, log) * per_px, place, index))
    ends.sort(key=lambda end: end[0])
    places: list[tuple[float, float] | None] = [None] * len(curves)
    for (have, value, index), want in zip(ends, spread([pixel for pixel, _, _ in ends]), strict=True):
        places[index] = (_decades(value) if log else value, want - have)
    return places


def spread(places: Sequence[float], gap: float = LABEL_GAP) -> list[float]:
    """Sorted places moved as little as a few passes find, until neighbours are `gap` apart."""
    moved = list(places)
    for _ in range(100):
        for i in range(len(moved) - 1):
            lack = gap - (moved[i + 1] - moved[i])
            if lack > 1e-6:
                moved[i] -= lack / 2
                moved[i + 1] += lack / 2
    return moved


def thinned(rows: Sequence[Mapping[str, Any]], most: int = MAX_POINTS) -> list[Mapping[str, Any]]:
    """At most about `most` rows, evenly taken; the last one stays."""
    stride = math.ceil(len(rows) / most) if rows else 1
    kept = list(rows[::stride])
    if rows and kept[-1] is not rows[-1]:
        kept.append(rows[-1])
    return kept


def _traces(curve: Curve, dash: str, by: By) -> list[dict[str, Any]]:
    """Training, validation and ring of one run as plain dicts of python lists."""
    colour = arch_colour(curve.arch)
    train = thinned([row for row in curve.rows if _finite(row.get("train_loss"))])
    val = [row for row in curve.rows if _finite(row.get("val_loss"))]
    best = [row for row in val if row["step"] == curve.best_step]
    val = thinned(val, MAX_MARKERS)
    bold = _rgba(colour, 0.4) if curve.faded else colour
    step = "step %{x:,}" if by == "step" else "%{x:,.1f} s"
    lines = [
        {**_xy(train, "train_loss", by), "mode": "lines", "line": {"width": 1, "color": _rgba(colour, 0.34)},
         "hovertemplate": f"{step}<br>%{{y:.3f}} training"},
        {**_xy(val, "val_loss", by), "mode": "lines+markers", "line": {"width": 2.4, "color": bold, "dash": dash},
         "marker": {"size": 6, "color": bold}, "hovertemplate": f"{step}<br><b>%{{y:.3f}}</b> held out"},
        {**_xy(best, "val_loss", by), "mode": "markers",
         "marker": {"size": 13, "color": "rgba(0,0,0,0)", "line": {"width": 2, "color": bold}}, "hoverinfo": "skip"},
    ]  # fmt: skip
    return [
        {
            **line,
            "type": "scatter",
            "cliponaxis": kind == "train",
            "name": _plain(curve.name),
            "meta": {"run": curve.key, "kind": kind},
            "showlegend": False,
        }
        for line, kind in zip(lines, ("train", "val", "best"), strict=True)
    ]


def _xy(rows: Sequence[Mapping[str, Any]], loss: str, by: By) -> dict[str, list[float]]:
    return {"x": [row[by] for row in rows], "y": [row[loss] for row in rows]}


def _dashed(curves: Sequence[Curve]) -> list[tuple[Curve, str]]:
    """Each curve with its dash: solid for the first of an architecture, but for n-grams, which are no networks."""
    seen: dict[str, int] = {}
    pairs = []
    for curve in curves:
        place = seen.get(curve.arch, 2 if is_counted(curve.arch) else 0)
        seen[curve.arch] = place + 1
        pairs.append((curve, DASHES[place % len(DASHES)]))
    return pairs


def _layout(by: By, log: bool, span: tuple[float, float], height: int) -> dict[str, Any]:
    """Axes, grid and margins; nothing of its own behind the page."""
    axis = {"gridcolor": GRID, "zeroline": False, "ticks": "", "linecolor": GRID, "automargin": False}
    limits = [_decades(value) for value in span] if log else list(span)
    title = "step" if by == "step" else "seconds of its own"
    return {
        "height": height,
        "autosize": True,
        "margin": {"l": 36, "r": 16, "t": 40, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "'IBM Plex Sans', system-ui, sans-serif", "size": 12, "color": FONT},
        "hoverlabel": {"font": {"family": "'IBM Plex Sans', system-ui, sans-serif", "size": 12}},
        "xaxis": {**axis, "title": {"text": title, "standoff": 8, "font": {"size": 12}}, "showgrid": False,
                  "tickformat": ",", "nticks": 7, "showline": True},
        "yaxis": {**axis, "type": "log" if log else "linear", "range": limits, "showline": True, "nticks": 6},
        "dragmode": "zoom",
        "uirevision": "loss",
    }  # fmt: skip


def _end_label(curve: Curve, place: tuple[float, float] | None) -> dict[str, Any]:
    value, shift = place or (0.0, 0.0)
    return {
        "name": curve.key, "text": f"<b>{_plain(short(curve.name))}</b>", "x": 1, "xref": "paper", "xanchor": "left",
        "xshift": 10, "y": value, "yanchor": "middle", "yshift": shift, "visible": place is not None,
        "showarrow": False, "font": {"size": 12, "color": arch_colour(curve.arch)},
    }  # fmt: skip


def _axis_title(unit: str) -> dict[str, Any]:
    return {
        "name": "axis", "text": f"loss, {unit}", "x": 0, "xref": "paper", "xanchor": "left", "xshift": -34,
        "y": 1, "yref": "paper", "yanchor": "bottom", "yshift": 10, "showarrow": False,
    }  # fmt: skip


def _line(name: str, loss: float, dash: str) -> dict[str, Any]:
    """A line across the plot."""
    return {
        "name": name, "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": loss, "y1": loss,
        "line": {"width": 1.5, "dash": dash, "color": BASELINE_COLOUR},
    }  # fmt: skip


def _level_labels(levels: Sequence[Level], log: bool) -> list[dict[str, Any]]:
    """At the left, where curves are high: the lowest one's name under its line, the others' above theirs."""
    lowest = min((level.value for level in levels), default=0.0)
    return [
        {
            "name": level.name, "text": level.name, "x": 0, "xref": "paper", "xanchor": "left", "xshift": 4,
            "y": _decades(level.value) if log else level.value, "showarrow": False,
            "yanchor": "top" if len(levels) > 1 and level.value == lowest else "bottom",
        }
        for level in levels
    ]  # fmt: skip


def _uniform_label(uniform: float | None, log: bool) -> list[dict[str, Any]]:
    if uniform is None:
        return []
    return [
        {
            "name": "uniform", "text": "guessing uniformly", "x": 1, "xref": "paper", "xanchor": "right",
            "y": _decades(uniform) if log else uniform, "yanchor": "bottom", "showarrow": False,
        }
    ]  # fmt: skip


def _no_curve(curves: Sequence[Curve], live: bool) -> list[dict[str, Any]]:
    """What is said where there is nothing to draw, and nothing to wait for."""
    if live or any(curve.rows for curve in curves):
        return []
    middle = {"x": 0.5, "xref": "paper", "y": 0.5, "yref": "paper", "showarrow": False}
    return [{"name": "empty", "text": "trained elsewhere, without a log", **middle}]


def _last_value(curve: Curve) -> float | None:
    """Where a curve's name stands: at its last validation loss, before the first one at its training loss."""
    for name in ("val_loss", "train_loss"):
        for row in reversed(curve.rows):
            if _finite(row.get(name)):
                return float(row[name])
    return None


def _decades(loss: float) -> float:
    """A loss on the logarithmic axis; those of a text learned by heart may be zero."""
    return math.log10(max(loss, 1e-3))


def _share(value: float, span: tuple[float, float], log: bool) -> float:
    """Height of `value` in the plot, from 0 at the bottom to 1."""
    low, high = span
    if log:
        low, high, value = map(_decades, (low, high, value))
    return (value - low) / ((high - low) or 1.0)


def _rgba(colour: str, alpha: float) -> str:
    """A hex colour with transparency of its own: trace opacity lays a dark veil over a dark page."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def short(name: str, most: int = 16) -> str:
    """A name that leaves room for the plot."""
    return name if len(name) <= most else name[: most - 1] + "…"


def _plain(name: str) -> str:
    """A name that plotly's small HTML cannot misread."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
