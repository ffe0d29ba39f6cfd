"""What a panel of the Understand tab is made of; each has a file of its own, with its PANEL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from charlm.analysis.measurement import Measured
from charlm.ui.understand.outlines import Outline

Found = Sequence[Measured[Any]]


@dataclass(frozen=True)
class Panel:
    """How a measurement is shown.

    Attributes:
        outline: its title and controls.
        method: how it is measured, in paragraphs of plain text: formula, sample size, source.
        alt: the picture in a sentence or two, for those who cannot see it.
        picture: plotly's JSON of what was found, models in their colours; None: this panel has no plot.
        html: markup of what was found, in which all text is escaped; None: nothing beside the plot.
    """

    outline: Outline
    method: Sequence[str]
    alt: Callable[[Found], str]
    picture: Callable[[Found], dict[str, Any] | None] | None = None
    html: Callable[[Found], str] | None = None


def panel_of(outline: Outline) -> Panel:
    """The panel of an outline; its module, and torch with it, is loaded now."""
    panel: Panel = import_module(f"charlm.ui.understand.{outline.name}").PANEL
    return panel
