"""What figures are made of, as plotly's JSON: colours and fonts, axes, dashes, notes, and names at line ends.

Plain dicts: plotly's own classes take a second to load and check every value.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

from charlm.architectures import ARCHITECTURES

BASELINE_COLOUR = "#7F7F7F"
FONT, FAMILY = "#84888f", "'IBM Plex Sans', system-ui, sans-serif"
GRID = "rgba(128,128,128,.16)"
CLEAR = "rgba(0,0,0,0)"
HEIGHT = 330  # px of a whole figure
# Several runs of one architecture share its colour and differ by their dashes.
DASHES = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")
LABEL_GAP = 15  # px between two names at the line ends
MENU_ROW = 38  # px from a row of buttons to the next
AXIS = {"gridcolor": GRID, "zeroline": False, "ticks": "", "linecolor": GRID, "automargin": False, "showline": True}


def arch_colour(arch: str) -> str:
    """The colour of an architecture, the same everywhere; grey for what has none."""
    return ARCHITECTURES[arch].colour if arch in ARCHITECTURES else BASELINE_COLOUR


def rgb(colour: str) -> str:
    """A hex colour as `0,114,178`, for CSS and plotly to put a transparency beside."""
    return ",".join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))


def rgba(colour: str, alpha: float) -> str:
    """A hex colour with transparency of its own: trace opacity lays a dark veil over a dark page."""
    return f"rgba({rgb(colour)},{alpha})"


def luminance(colour: str) -> float:
    """The relative luminance of a hex colour as WCAG defines it: 0 for black, 1 for white."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast of two hex colours as WCAG defines it, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def legible(colour: str, background: str, least: float) -> str:
    """A colour, darkened on a light background or lightened on a dark one by no more than the contrast asks for.

    Args:
        colour: in hexadecimal.
        background: in hexadecimal.
        least: the contrast to reach.

    Returns:
        The colour itself if it has that contrast; otherwise one of its hue that has it.
    """
    end = 0 if luminance(background) > 0.18 else 255
    parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    shades = ("#" + "".join(f"{round(part + (end - part) * k / 100):02X}" for part in parts) for k in range(101))
    return next(
        (shade for shade in shades if contrast(shade, background) >= least), "#000000" if end == 0 else "#FFFFFF"
    )


def dashes(archs: Iterable[str]) -> list[str]:
    """The dash of each model's line: solid for the first of an architecture."""
    seen, found = Counter[str](), []
    for arch in archs:
        found.append(DASHES[seen[arch] % len(DASHES)])
        seen[arch] += 1
    return found


def short(name: str, most: int = 16) -> str:
    """A name that leaves room for the plot."""
    return name if len(name) <= most else name[: most - 1] + "…"


def plain(name: str) -> str:
    """A name that plotly, which reads HTML, shows as it is."""
    return escape(name, quote=False)


def frame(height: int, **more: Any) -> dict[str, Any]:
    """The layout that all figures share; the background is the page's.

    Args:
        height: of the whole figure, px.
        **more: what this one has besides.
    """
    return {
        "height": height, "autosize": True, "paper_bgcolor": CLEAR, "plot_bgcolor": CLEAR,
        "font": {"family": FAMILY, "size": 12, "color": FONT}, "hoverlabel": {"font": {"family": FAMILY, "size": 12}},
        **more,
    }  # fmt: skip


def axis_title(text: str) -> dict[str, Any]:
    """What stands under an axis."""
    return {"text": text, "standoff": 8, "font": {"size": 12}}


def note(name: str, text: str, x: float, y: float, **more: Any) -> dict[str, Any]:
    """A text in the plot, which plotly calls an annotation; x is a share of the plot's width."""
    return {"name": name, "text": text, "x": x, "xref": "paper", "y": y, "showarrow": False, **more}


class LineEnd(NamedTuple):
    """Where a line ends, and what is written there.

    Attributes:
        pixel: above the plot's lower edge.
        y: on the line's axis.
        name: of the model, as it is.
        text: HTML.
        arch: gives the colour.
    """

    pixel: float
    y: float
    name: str
    text: str
    arch: str


def end_names(ends: Iterable[LineEnd], x: float = 1.0, **more: Any) -> list[dict[str, Any]]:
    """The models' names at their line ends, pushed apart.

    Args:
        ends: in any order.
        x: share of the plot's width.
        **more: of each note.
    """
    ends = sorted(ends, key=lambda end: end.pixel)
    return [
        note(
            plain(end.name), end.text, x, end.y, yshift=moved - end.pixel,
            **{"xanchor": "left", "xshift": 8, "yanchor": "middle", **more},
            font={"size": 12, "color": arch_colour(end.arch)},
        )
        for end, moved in zip(ends, spread([end.pixel for end in ends]), strict=True)
    ]  # fmt: skip


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


def view_menu(buttons: Sequence[dict[str, Any]], height: int, top: int, bottom: int, row: int = 0) -> dict[str, Any]:
    """A row of buttons above a plot.

    Args:
        buttons: plotly's, each with a label and what it changes.
        height: of the whole figure, px.
        top, bottom: of that above and below the plot.
        row: of several menus, from 0 on.
    """
    return {
        "type": "buttons", "direction": "right", "buttons": list(buttons), "showactive": False, "x": 0,
        "xanchor": "left", "y": 1 + (top - 4 - MENU_ROW * row) / (height - top - bottom), "yanchor": "top",
        "pad": {"l": 0, "t": 0, "r": 0, "b": 0}, "bgcolor": CLEAR, "bordercolor": GRID,
        "font": {"size": 11, "color": FONT},
    }  # fmt: skip
