"""What a panel of the Understand tab is made of; each has a file of its own, with its PANEL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from charlm.analysis.measurement import Measured

Found = Sequence[Measured[Any]]


@dataclass(frozen=True)
class Panel:
    """A measurement's panel.

    Attributes:
        name: of the measurement: `charlm inspect NAME`, the endpoint, the element ids.
        title: of the fold.
        question: what it answers, in one line.
        method: how it is measured, in paragraphs of plain text: formula, sample size, source.
        picture: plotly's JSON of what was found, models in their colours; None: this panel has no plot.
        html: markup of what was found, in which all text is escaped; None: nothing beside the plot.
        alt: the picture in a sentence or two, for those who cannot see it.
        controls: settings of the measurement that the panel offers, by name.
        script: a file of static/ that makes the markup live; empty: none.
    """

    name: str
    title: str
    question: str
    method: Sequence[str]
    alt: Callable[[Found], str]
    picture: Callable[[Found], dict[str, Any] | None] | None = None
    html: Callable[[Found], str] | None = None
    controls: Sequence[str] = ()
    script: str = ""
