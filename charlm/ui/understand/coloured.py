"""Text coloured token by token: markup that a page can step through, with what stands behind each token beside it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from charlm.analysis.figures import arch_colour, rgb
from charlm.tokenizers.characters import called, visible_line
from charlm.ui.html import exact, render

LEVELS = 15  # of colour, beside none
SCRIPT = "understand_text.js"


def level(value: float, most: float) -> int:
    """How dark a value is drawn, 0 to LEVELS; negative for negative ones.

    Args:
        value: any number.
        most: the value that is as dark as it gets.
    """
    return max(-LEVELS, min(LEVELS, round(LEVELS * value / most)))


def coloured_text(
    pieces: Sequence[str],
    levels: Iterable[int],
    *,
    label: str,
    arch: str,
    kind: str,
    group: str,
    data: Mapping[str, Any],
    marks: Sequence[bool] = (),
) -> str:
    """A text whose tokens are coloured, as one stop of the tab key; the arrow keys step through it.

    Args:
        pieces: what each token adds to the text; escaped here.
        levels: of each of them: positive in the model's colour, negative in the other one; see `level`.
        label: what the text is, for those who cannot see it.
        arch: whose colour it has.
        kind: what the script says of a token: bits or value.
        group: texts of one group have the same pieces, and their places are shown together.
        data: what the script needs, by name; numbers and texts, sent as JSON.
        marks: which tokens are underlined; empty: none.
    """
    spans = "".join(
        f"<i{classes(piece, one, marked)}>{exact(piece)}</i>"
        for piece, one, marked in zip(pieces, levels, marks or [False] * len(pieces), strict=True)
    )
    return render(
        "coloured_text",
        spans_html=Markup(spans),
        label=label,
        kind=kind,
        group=group,
        rgb=rgb(arch_colour(arch)),
        data={name: json.dumps(value, ensure_ascii=False, separators=(",", ":")) for name, value in data.items()},
    )


def groups_of(texts: Iterable[Sequence[str]]) -> list[str]:
    """For each text the name of the group of those that are cut into the same pieces."""
    firsts: list[Sequence[str]] = []
    groups = []
    for pieces in texts:
        if pieces not in firsts:
            firsts.append(pieces)
        groups.append(str(firsts.index(pieces)))
    return groups


def shown_names(tokens: Iterable[str]) -> list[str]:
    """Tokens as the page writes them: a sign for what cannot be seen, with its name where it is alone."""
    return [
        f"{visible_line(one, '␣')} {called(one)}" if one in " \n\t" and one else visible_line(one, "␣")
        for one in tokens
    ]


def classes(piece: str, level: int, marked: bool = False) -> str:
    """The class attribute of a token.

    Args:
        piece: what it adds to the text.
        level: see `level`.
        marked: whether it is underlined.
    """
    names = [f"s{level}"] if level > 0 else [f"o{-level}"] if level else []
    names += ["n"] if "\n" in piece else []
    names += ["u"] if marked else []
    return f' class="{" ".join(names)}"' if names else ""
