"""Memorised or invented: the model's text with its copies marked, and the share of new n-grams."""

import math
from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import Any

from charlm.analysis.copies import Copies, Curve, Text, usual
from charlm.analysis.measurement import Measured
from charlm.tokenizers.characters import visible_line
from charlm.ui.html import Column, columns, render
from charlm.ui.understand.lines import Line, plot
from charlm.ui.understand.outlines import COPIES
from charlm.ui.understand.panel import Panel

# A copy of twice `shortest` is so many percent of the model's colour, and so on with each doubling.
FAINTEST, DOUBLING, DARKEST = 18, 18, 72
SAID = (4, 8, 12, 16)  # n of the alternative text
Found = Sequence[Measured[Copies]]


def picture(found: Found) -> dict[str, Any] | None:
    """The share of n-grams that the training text does not have against n; the held-out text's in grey."""
    shown = [one for one in found if one.result["curves"]]
    if not shown:
        return None
    lines = []
    for one in shown:
        main = usual(one.result)
        if len(shown) == 1:
            lines += [_line(other, "", one.arch, faint=True) for other in one.result["curves"] if other is not main]
        lines.append(_line(main, one.label, one.arch))
    humans = [one.result["held_out"] for one in shown if one.result["held_out"] is not None]
    distinct = [curve for at, curve in enumerate(humans) if curve not in humans[:at]]
    lines += [_line(curve, "" if at else "held-out text", "") for at, curve in enumerate(distinct)]
    return plot(lines, "characters of an n-gram, n", "n-grams never seen, %")


def _line(curve: Curve, name: str, arch: str, faint: bool = False) -> Line:
    at = "" if curve["temperature"] is None else f" at temperature {curve['temperature']:g}"
    return Line(
        name, arch, [row["n"] for row in curve["rows"]],
        [None if row["unseen"] is None else 100 * row["unseen"] for row in curve["rows"]], faint=faint,
        hover=f"n = %{{x}}<br><b>%{{y:.1f}} %</b> new{at}",
    )  # fmt: skip


def markup(found: Found) -> str:
    """For each temperature the models' texts in columns, copies marked; then the longest copies of each model."""
    shown = [one for one in found if one.result["texts"]]
    if not shown:
        return ""
    temperatures = sorted(
        {text["temperature"] for one in shown for text in one.result["texts"]}, key=lambda value: value or 0.0
    )
    opened = usual(shown[0].result)["temperature"]
    folds = [
        {
            "title": "The text" if temperature is None else f"Temperature {temperature:g}",
            "open": temperature == opened,
            "columns_html": columns([_column(one, temperature) for one in shown if _texts(one, temperature)]),
        }
        for temperature in temperatures
    ]
    listed = [
        {
            "label": one.label,
            "arch": one.arch,
            "copies": [{**copy, "shown": visible_line(copy["quote"])} for copy in one.result["longest_copies"]],
        }
        for one in shown
    ]
    shortest = shown[0].result["shortest"]
    lengths = [shortest * 2**step for step in range(1 + (DARKEST - FAINTEST) // DOUBLING)]
    legend = [(length, _tint(length, shortest)) for length in lengths]
    return render("copies", folds=folds, listed=listed, legend=legend)


def _texts(one: Measured[Copies], temperature: float | None) -> list[Text]:
    return [text for text in one.result["texts"] if text["temperature"] == temperature]


def _column(one: Measured[Copies], temperature: float | None) -> Column:
    """A model's text with the longest copy of this temperature, and what was found of all of them."""
    result, texts = one.result, _texts(one, temperature)
    place, text = max(enumerate(texts, 1), key=lambda pair: (pair[1]["longest"], -pair[0]))
    curve = next(curve for curve in result["curves"] if curve["temperature"] == temperature)
    row, human, n = curve["rows"][result["ngram"] - 1], result["held_out"], result["ngram"]
    numbers = [("In copies this long", f"{100 * curve['copied']:.1f} %", False)]
    if row["unseen"] is not None:
        numbers.append((f"{n}-grams never seen", f"{100 * row['unseen']:.1f} %", False))
    beside = human["rows"][n - 1]["unseen"] if human else None
    if human and beside is not None:
        numbers.append(("… of held-out text", f"{100 * beside:.1f} %", False))
        numbers.append(("Its longest copy", f"{human['longest']:,}", False))
    return Column(
        key=one.label, arch=one.arch, title=one.label,
        subtitle=f"text {place} of {len(texts)}" if len(texts) > 1 else "",
        figure=f"{curve['longest']:,}", unit="characters at most",
        text_html=coloured(text, result["shortest"]), numbers=numbers,
    )  # fmt: skip


def coloured(text: Text, shortest: int) -> str:
    """A text in which every copy is marked, the longer the darker; where two overlap, the longer one has the place.

    Args:
        text: with its copies.
        shortest: length of the faintest ones.

    Returns:
        HTML in which the text is escaped; a mark can be focused and says its length.
    """
    owner = [-1] * len(text["text"])
    order = sorted(range(len(text["copies"])), key=lambda at: (text["copies"][at][1] - text["copies"][at][0], -at))
    for at in order:
        start, end = text["copies"][at]
        owner[start:end] = [at] * (end - start)
    parts, place = [], 0
    for at, run in groupby(owner):
        piece = text["text"][place : place + len(list(run))]
        place += len(piece)
        if at < 0:
            parts.append(escape(piece))
            continue
        length = text["copies"][at][1] - text["copies"][at][0]
        about = f"part of {length:,} characters that stand so in the training text"
        parts.append(
            f'<mark tabindex="0" style="--t:{_tint(length, shortest)}%" title="{about}">{escape(piece)}</mark>'
        )
    return (
        f'<div class="copied" tabindex="0" role="group" aria-label="Text with its copies marked">{"".join(parts)}</div>'
    )


def _tint(length: int, shortest: int) -> int:
    """How much of the model's colour a copy of this length has, in percent."""
    return round(min(DARKEST, FAINTEST + DOUBLING * math.log2(length / shortest)))


def alternative(found: Found) -> str:
    """The plot in words: the share of new n-grams at a few n."""
    parts = []
    for one in found:
        if one.result["curves"]:
            curve = usual(one.result)
            parts.append(f"{one.label} {_said(curve)}")
            if one.result["held_out"]:
                parts.append(f"held-out text beside it {_said(one.result['held_out'])}")
    return f"Share of n-grams that the training text does not have, against n. {'; '.join(dict.fromkeys(parts))}."


def _said(curve: Curve) -> str:
    known = [row for row in curve["rows"] if row["n"] in SAID and row["unseen"] is not None]
    return ", ".join(f"{100 * (row['unseen'] or 0.0):.0f} % at n = {row['n']}" for row in known)


PANEL = Panel(
    COPIES,
    method=(
        "A copy is a piece of the text that stands in the training text, character for character, and cannot be "
        "extended to either side. Colour begins at the length `shortest` and darkens with each doubling; where copies "
        "overlap, the longest one has the place. Of several texts the one with the longest copy is shown.",
        "The curve is the share of a text's n-grams (pieces of n characters, each counted as often as it occurs) that "
        "stand nowhere in the training text: unseen(n) = #{i : x[i..i+n) not in training text} / #{i}, n from 1 to 30. "
        "No n-gram reaches from one text into the next.",
        "The grey curve is that of held-out text by the author of the training text: as many pieces of the same "
        "length, evenly spaced. A model that only invents as its author does has the same curve; one that memorises "
        "is below it. A lower temperature prefers common phrases, which the training text has, so compare at 1.",
        "By default 4 texts of 1,000 characters at each temperature, from fixed seeds, after an empty prompt and "
        "without top-k or top-p. All lengths are in characters of the text as the model's tokens write it, "
        "decode(encode(text)): for characters and subwords the text itself; words may be in lower case and spaced "
        "anew, and rare ones are <unk>, of which the model writes none.",
        "Found exactly: the texts become a suffix automaton (Blumer et al. 1985), which the whole training text passes "
        "once (matching statistics, Chang and Lawler 1994). The share of new n-grams as a measure of novelty is that "
        "of McCoy et al. 2023 (RAVEN), there by words.",
    ),
    alt=alternative,
    picture=picture,
    html=markup,
)
