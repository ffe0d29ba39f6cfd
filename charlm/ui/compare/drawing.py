"""Loss curves as a picture of their own, for a page without scripts: where plotly's lines would lie, in SVG's units."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from charlm.analysis.figures import arch_colour, dashes, spread
from charlm.ui.formatting import whole

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 48, 130, 16, 34
TICKS = 5  # of an axis, about
NAME_GAP = 16  # between two names at the line ends
STROKES = {
    "solid": "",
    "dot": "2 3",
    "dash": "6 4",
    "dashdot": "6 3 2 3",
    "longdash": "10 4",
    "longdashdot": "10 4 2 4",
}


class Line(NamedTuple):
    """A model's curve: its name and where that stands, its colour, dash and corners."""

    name: str
    y: float
    colour: str
    dash: str
    points: str


class Tick(NamedTuple):
    """A place on an axis, and what is written there."""

    at: float
    text: str


class Drawing(NamedTuple):
    """What a picture is made of, in SVG's units."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    lines: list[Line]
    steps: list[Tick]
    losses: list[Tick]


def drawing(curves: Sequence[Mapping[str, Any]], called: Sequence[str], archs: Sequence[str]) -> Drawing | None:
    """Validation losses over steps; None where no run has two of them.

    Args:
        curves: `steps` and `losses` of each run.
        called: their names.
        archs: their architectures.
    """
    drawn = [place for place, curve in enumerate(curves) if len(curve["steps"]) > 1]
    if not drawn:
        return None
    losses = [loss for place in drawn for loss in curves[place]["losses"]]
    low, high, last = float(min(losses)), float(max(losses)), int(max(curves[place]["steps"][-1] for place in drawn))
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)

    def x(step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * step / max(1, last), 1)

    def y(loss: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - loss) / (high - low), 1)

    strokes, lines = dashes(archs), list[Line]()
    for place in drawn:
        steps, mine = curves[place]["steps"], curves[place]["losses"]
        points = " ".join(f"{x(step)},{y(loss)}" for step, loss in zip(steps, mine, strict=True))
        lines.append(Line(called[place], y(mine[-1]), arch_colour(archs[place]), STROKES[strokes[place]], points))
    lines.sort(key=lambda line: line.y)
    lines = [line._replace(y=y) for line, y in zip(lines, spread([line.y for line in lines], NAME_GAP), strict=True)]
    across = [Tick(x(step), whole(step)) for step in ticks(0, last)]
    up = [Tick(y(loss), f"{loss:g}") for loss in ticks(low, high)]
    return Drawing(WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM, lines, across, up)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, about TICKS of them."""
    exact = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(exact)) if exact > 0 else 1.0
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= exact)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]
