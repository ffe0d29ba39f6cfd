"""Line plots of panels as plotly's JSON: one line a model in its colour, its name at the line's end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from charlm.analysis.figures import (
    AXIS,
    FONT,
    HEIGHT,
    LineEnd,
    arch_colour,
    axis_title,
    dashes,
    end_names,
    frame,
    note,
    plain,
    rgba,
    short,
)

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
    ticks: dict[str, Any] = (
        {"type": "log", "tickvals": xs, "ticktext": [f"{x:,}" for x in xs]} if log else {"nticks": 8}
    )
    shapes = []
    notes = [note("axis", y_title, 0, 1, yref="paper", xanchor="left", xshift=-LEFT, yshift=32, yanchor="bottom")]
    if level:
        shapes.append({
            "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": at, "y1": at,
            "line": {"width": 1.5, "dash": "dot", "color": FONT},
        })  # fmt: skip
        notes.append(note("level", level, 0, at, yref="y", xanchor="left", xshift=4, yanchor="top"))
    names = [short(line.name) for line in lines]
    right = 22 + LETTER * max(map(len, names), default=0)
    return {
        "data": [trace for place, line in enumerate(lines) for trace in _traces(line, _dash(line, lines[:place]))],
        "layout": frame(
            HEIGHT,
            showlegend=False,
            margin={"l": LEFT, "r": right, "t": TOP, "b": BOTTOM},
            xaxis={**AXIS, **ticks, "showgrid": False, "title": axis_title(x_title)},
            yaxis={**AXIS, "range": [0, 1.02 * top], "nticks": 6},
            shapes=shapes,
            annotations=[*notes, *end_names(_ends(lines, names, 1.02 * top), xshift=10, yref="y")],
        ),
    }


def _dash(line: Line, before: Sequence[Line]) -> str:
    """Solid for the first of an architecture; faint lines do not count."""
    return dashes([*(other.arch for other in before if not other.faint), line.arch])[-1]


def _ends(lines: Sequence[Line], names: Sequence[str], top: float) -> Iterator[LineEnd]:
    """Where the lines end, of a plot whose axis ends at `top`."""
    for line, name in zip(lines, names, strict=True):
        known = [y for y in line.ys if y is not None]
        if name and known:
            pixel = known[-1] / top * (HEIGHT - TOP - BOTTOM)
            yield LineEnd(pixel, known[-1], line.name, f"<b>{plain(name)}</b>", line.arch)


def _traces(line: Line, dash: str) -> list[dict[str, Any]]:
    """The band and the line."""
    colour, xs = arch_colour(line.arch), list(line.xs)
    traces: list[dict[str, Any]] = []
    if line.lows:
        traces.append({
            "type": "scatter", "mode": "lines", "x": [*xs, *reversed(xs)], "y": [*line.highs, *reversed(line.lows)],
            "fill": "toself", "fillcolor": rgba(colour, 0.16), "line": {"width": 0}, "hoverinfo": "skip",
        })  # fmt: skip
    width, drawn = (1, rgba(colour, 0.45)) if line.faint else (2.4, colour)
    traces.append({
        "type": "scatter", "mode": "lines" if line.faint else "lines+markers", "x": xs, "y": list(line.ys),
        "line": {"width": width, "color": drawn, "dash": dash}, "marker": {"size": 5, "color": drawn},
        "name": plain(line.name), "hovertemplate": f"{line.hover}<extra></extra>", "cliponaxis": False,
    })  # fmt: skip
    return traces
