"""Line plots of panels as plotly's JSON: one line a model in its colour, its name at the line's end."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from charlm.analysis.plots import CLEAR, DASHES, FAMILY, FONT, GRID, HEIGHT, arch_colour, short, spread

TOP, BOTTOM, LEFT = 60, 44, 40  # px around the plot
LETTER = 8  # px of a bold letter of a name


@dataclass(frozen=True)
class Line:
    """A line.

    Attributes:
        name: at its end; empty: none is written.
        arch: gives the colour; grey for what is no architecture.
        xs, ys: its points; None leaves a gap.
        lows, highs: of a band around it; empty: none.
        faint: thinner and paler than the others.
        hover: plotly's template of what is said of a point.
    """

    name: str
    arch: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()
    faint: bool = False
    hover: str = "%{x:,}<br><b>%{y:.1f} %</b>"


def plot(
    lines: Sequence[Line],
    x_title: str,
    y_title: str,
    top: float = 100.0,
    log: bool = False,
    level: str = "",
    at: float = 0.0,
) -> dict[str, Any]:
    """Lines over a percentage or another number from 0 on.

    Args:
        lines: in drawing order.
        x_title, y_title: of the axes; the second stands above the plot.
        top: of the y axis.
        log: whether x doubles from tick to tick.
        level: the name of a dotted line across the plot; empty: there is none.
        at: its height.
    """
    xs = sorted({x for line in lines for x in line.xs})
    axis: dict[str, Any] = {"gridcolor": GRID, "zeroline": False, "ticks": "", "linecolor": GRID, "showline": True}
    ticks: dict[str, Any] = (
        {"type": "log", "tickvals": xs, "ticktext": [f"{x:,}" for x in xs]} if log else {"nticks": 8}
    )
    shapes, notes = [], [_note(y_title, 0, 1, "paper", xanchor="left", xshift=-LEFT, yshift=32, yanchor="bottom")]
    if level:
        shapes.append({
            "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": at, "y1": at,
            "line": {"width": 1.5, "dash": "dot", "color": FONT},
        })  # fmt: skip
        notes.append(_note(level, 0, at, "y", xanchor="left", xshift=4, yanchor="top"))
    names = [short(line.name) for line in lines]
    title = {"text": x_title, "standoff": 8, "font": {"size": 12}}
    return {
        "data": [trace for line, dash in _dashed(lines) for trace in _traces(line, dash)],
        "layout": {
            "height": HEIGHT, "autosize": True, "paper_bgcolor": CLEAR, "plot_bgcolor": CLEAR, "showlegend": False,
            "margin": {"l": LEFT, "r": 22 + LETTER * max(map(len, names), default=0), "t": TOP, "b": BOTTOM},
            "font": {"family": FAMILY, "size": 12, "color": FONT},
            "hoverlabel": {"font": {"family": FAMILY, "size": 12}},
            "xaxis": {**axis, **ticks, "showgrid": False, "title": title},
            "yaxis": {**axis, "range": [0, 1.02 * top], "nticks": 6},
            "shapes": shapes, "annotations": [*notes, *_end_names(lines, names, top)],
        },
    }  # fmt: skip


def _dashed(lines: Sequence[Line]) -> list[tuple[Line, str]]:
    """Each line with its dash: solid for the first of an architecture."""
    seen, pairs = Counter[str](), []
    for line in lines:
        pairs.append((line, DASHES[seen[line.arch] % len(DASHES)]))
        seen[line.arch] += not line.faint
    return pairs


def _traces(line: Line, dash: str) -> list[dict[str, Any]]:
    """The band and the line."""
    colour, xs = arch_colour(line.arch), list(line.xs)
    traces: list[dict[str, Any]] = []
    if line.lows:
        traces.append({
            "type": "scatter", "mode": "lines", "x": [*xs, *reversed(xs)], "y": [*line.highs, *reversed(line.lows)],
            "fill": "toself", "fillcolor": _rgba(colour, 0.16), "line": {"width": 0}, "hoverinfo": "skip",
        })  # fmt: skip
    width, drawn = (1, _rgba(colour, 0.45)) if line.faint else (2.4, colour)
    traces.append({
        "type": "scatter", "mode": "lines" if line.faint else "lines+markers", "x": xs, "y": list(line.ys),
        "line": {"width": width, "color": drawn, "dash": dash}, "marker": {"size": 5, "color": drawn},
        "name": escape(line.name, quote=False), "hovertemplate": f"{line.hover}<extra></extra>", "cliponaxis": False,
    })  # fmt: skip
    return traces


def _end_names(lines: Sequence[Line], names: Sequence[str], top: float) -> list[dict[str, Any]]:
    """The names at the lines' ends, pushed apart."""
    height = HEIGHT - TOP - BOTTOM
    ends = []
    for line, name in zip(lines, names, strict=True):
        known = [y for y in line.ys if y is not None]
        if name and known:
            ends.append((known[-1] / (1.02 * top) * height, known[-1], name, line.arch))
    ends.sort(key=lambda end: end[0])
    places = spread([place for place, *_ in ends])
    return [
        _note(
            f"<b>{escape(name, quote=False)}</b>", 1, y, "y", xanchor="left", xshift=10, yanchor="middle",
            yshift=moved - place, font={"size": 12, "color": arch_colour(arch)},
        )
        for (place, y, name, arch), moved in zip(ends, places, strict=True)
    ]  # fmt: skip


def _note(text: str, x: float, y: float, yref: str, **more: Any) -> dict[str, Any]:
    return {"text": text, "x": x, "xref": "paper", "y": y, "yref": yref, "showarrow": False, **more}


def _rgba(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
