"""The panel of history: a slider through a training's kept steps, and what was learned when."""

import json
import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from charlm.analysis.figures import (
    AXIS,
    BASELINE_COLOUR,
    CLEAR,
    LineEnd,
    arch_colour,
    dashes,
    end_names,
    frame,
    note,
    plain,
    rgb,
    short,
)
from charlm.analysis.history import KINDS, LEAST_GAIN, LEAST_PLACES, SHARE, History
from charlm.analysis.measurement import Measured
from charlm.ui.formatting import bits, listed
from charlm.ui.html import Column, columns, exact, marked_text, render
from charlm.ui.understand.coloured import classes, level
from charlm.ui.understand.outlines import HISTORY
from charlm.ui.understand.panel import Found, Panel

MOST = 8.0  # bits of the darkest token
PLOTTED = ("spaces", "short words", "word endings", "names", "line ends", "quotes")  # two beside each other
ROW, GAP, TOP, BOTTOM, LEFT = 150, 50, 34, 46, 34  # px of the picture
METHOD = (
    "A training keeps its weights at step 0 and at about a dozen other steps, each about twice as late as the one "
    "before, in 16 bits. At each of them the model writes after the same prompt with the same seed, and reads the same "
    "held-out passage once, from the zero state; each token costs −log₂ p bits.",
    "The kind of a token is that of its first character that is no space. Letters of a short word are all those of a "
    "word of at most three; word endings are letters after the third; a name is a word with a capital within a "
    "sentence. A mean is over all tokens of a kind in the passage.",
    "A kind is learned at the first kept step at which 90 % of the way is gone from what it costs one who knows how "
    "frequent each token of the passage is, and nothing else (the dashed line), to what it costs the model at its last "
    f"kept step: bits ≤ start − {SHARE} · (start − last). A circle marks it. Kinds with fewer than {LEAST_PLACES} "
    f"tokens, or with less than {LEAST_GAIN} bits to gain, are left out. A step is known no finer than the kept ones, "
    "and a kind that is learned at the last one or the one before may still be improving.",
    "Source: T. A. Chang, B. K. Bergen, Word Acquisition in Neural Language Models (2022), where a word counts as "
    "acquired when half of the way from chance to its lowest surprisal is gone; here it is 90 %.",
)


def picture(found: Found) -> dict[str, Any] | None:
    """Mean bits of six kinds against the step, a small plot each; None where there are fewer than two steps.

    Args:
        found: what was measured of each model.
    """
    steps = _steps(found)
    if len(steps) < 2:
        return None
    kinds = [kind for kind in PLOTTED if any(_kind(one, kind)["tokens"] for one in found)]
    if not kinds:
        return None
    count = -(-len(kinds) // 2)
    plot = count * ROW + (count - 1) * GAP
    right = 20 + 8 * max(len(short(one.label)) for one in found)
    zero = steps[1] / 2 if steps[0] == 0 else steps[0]  # where step 0 stands on a logarithmic axis
    layout = frame(
        TOP + plot + BOTTOM,
        margin={"l": LEFT, "r": right, "t": TOP, "b": BOTTOM},
        showlegend=False,
        annotations=[],
        shapes=[],
    )
    data: list[dict[str, Any]] = []
    drawn = list(zip(found, dashes(one.arch for one in found), strict=True))
    for place, kind in enumerate(kinds):
        high = _highest(found, kind)
        row, side, number = place // 2, place % 2, str(place + 1) if place else ""
        bottom = 1 - (row * (ROW + GAP) + ROW) / plot
        domain = [bottom, bottom + ROW / plot]
        across = [0.54, 1] if side else [0, 0.46]
        layout |= _axes(number, across, domain, zero, steps[-1], high, is_last=place + 2 >= len(kinds))
        layout["annotations"].append(note(
            kind, f"<b>{kind.capitalize()}</b>", across[0], domain[1], yref="paper", xanchor="left",
            yanchor="bottom", xshift=-LEFT + 8, yshift=5,
        ))  # fmt: skip
        starts = {_kind(one, kind)["frequency"] for one in found} - {None}
        layout["shapes"] += [
            {
                "type": "line", "xref": f"x{number} domain", "yref": f"y{number}", "x0": 0, "x1": 1, "y0": start,
                "y1": start, "line": {"width": 1.2, "dash": "dash", "color": BASELINE_COLOUR},
            }
            for start in starts
        ]  # fmt: skip
        data += [trace for one, dash in drawn for trace in _traces(one, dash, kind, number, zero)]
        if side or place == len(kinds) - 1:
            layout["annotations"] += _names(found, kind, number, across[1], high)
    layout["annotations"].append(note(
        "axis", "mean bits per token", 0, 1, yref="paper", xanchor="left", yanchor="bottom", xshift=-LEFT + 8,
        yshift=TOP - 14,
    ))  # fmt: skip
    return {"data": data, "layout": layout}


def _axes(
    number: str, across: Sequence[float], domain: Sequence[float], zero: float, last: int, high: float, is_last: bool
) -> dict[str, Any]:
    """The two axes of one small plot."""
    decades = [10**power for power in range(math.ceil(math.log10(zero * 4)), int(math.log10(last)) + 1)]
    span = math.log10(last) - math.log10(zero)
    return {
        f"xaxis{number}": {
            **AXIS, "type": "log", "domain": list(across), "anchor": f"y{number}", "showgrid": False,
            "range": [math.log10(zero) - 0.04 * span, math.log10(last) + 0.04 * span],
            "tickvals": [zero, *decades], "ticktext": ["0", *(f"{step:,}" for step in decades)],
            **({"title": {"text": "step", "standoff": 6, "font": {"size": 12}}} if is_last else {}),
        },
        f"yaxis{number}": {
            **AXIS, "domain": list(domain), "anchor": f"x{number}", "range": [0, high], "nticks": 4,
        },
    }  # fmt: skip


def _traces(one: Measured[History], dash: str, kind: str, number: str, zero: float) -> list[dict[str, Any]]:
    """A model's line in one small plot, and the circle where the kind is learned."""
    place, colour, about = KINDS.index(kind), arch_colour(one.arch), _kind(one, kind)
    moments = one.result["moments"]
    steps = [moment["step"] for moment in moments]
    means = [moment["kinds"][place] for moment in moments]
    axes = {"type": "scatter", "xaxis": f"x{number}", "yaxis": f"y{number}", "name": plain(one.label)}
    line = {
        **axes, "mode": "lines+markers", "x": [step or zero for step in steps], "y": means,
        "line": {"width": 2, "color": colour, "dash": dash}, "marker": {"size": 4, "color": colour},
        "customdata": [f"{step:,}" for step in steps],
        "hovertemplate": f"step %{{customdata}}<br><b>%{{y:.2f}}</b> bits, {kind}",
    }  # fmt: skip
    if about["learned"] is None:
        return [line]
    at = steps.index(about["learned"])
    ring = {
        **axes, "mode": "markers", "x": [steps[at] or zero], "y": [means[at]], "hoverinfo": "skip",
        "marker": {"size": 12, "color": CLEAR, "line": {"width": 2, "color": colour}},
    }  # fmt: skip
    return [line, ring]


def _names(found: Found, kind: str, number: str, x: float, high: float) -> list[dict[str, Any]]:
    """The models' names at their line ends, pushed apart."""
    place = KINDS.index(kind)
    values = [(one, one.result["moments"][-1]["kinds"][place] or 0.0) for one in found]
    ends = [
        LineEnd(value / high * ROW, value, one.label, f"<b>{plain(short(one.label))}</b>", one.arch)
        for one, value in values
    ]
    return end_names(ends, x, yref=f"y{number}")


def _highest(found: Found, kind: str) -> float:
    """The top of a small plot's axis."""
    place = KINDS.index(kind)
    known = [moment["kinds"][place] or 0.0 for one in found for moment in one.result["moments"]]
    return 1.06 * max([*known, *(_kind(one, kind)["frequency"] or 0.0 for one in found), 0.1])


def _kind(one: Measured[History], kind: str) -> Any:
    return one.result["kinds"][KINDS.index(kind)]


def _steps(found: Found) -> list[int]:
    """All kept steps of all models."""
    return sorted({moment["step"] for one in found for moment in one.result["moments"]})


def html(found: Found) -> str:
    """A slider over all kept steps, and in a column for each model its text and the passage at the chosen one.

    Args:
        found: what was measured of each model.
    """
    steps = _steps(found)
    return render("history", steps=steps, steps_json=json.dumps(steps), columns_html=columns(list(map(_column, found))))


def _column(one: Measured[History]) -> Column:
    """A model at its last kept step; the script shows the others."""
    result, moments = one.result, one.result["moments"]
    last = moments[-1]
    costs = zip(result["pieces"], last["bits"], strict=True)
    spans = "".join(f"<i{classes(piece, level(cost or 0.0, MOST))}>{exact(piece)}</i>" for piece, cost in costs)
    told = [moment["bits_per_character"] for moment in moments]
    text = render(
        "history_column",
        label=one.label,
        unit=one.unit,
        last=last["step"],
        written=[(moment["step"], Markup(marked_text(result["prompt"], moment["text"]))) for moment in moments],
        spans_html=Markup(spans),
        rgb=rgb(arch_colour(one.arch)),
        data={
            "steps": json.dumps([moment["step"] for moment in moments]),
            "means": json.dumps([bits(mean) for mean in told]),
            "bits": json.dumps(
                [[None if cost is None else round(100 * cost) for cost in moment["bits"]] for moment in moments],
                separators=(",", ":"),
            ),
        },
    )
    known = sorted((kind["learned"], kind["kind"]) for kind in result["kinds"] if kind["learned"] is not None)
    numbers = [(f"{kind.capitalize()} by step", f"{step:,}", False) for step, kind in known]
    return Column(
        key=one.label,
        arch=one.arch,
        title=one.label,
        figure=bits(last["bits_per_character"]),
        unit="bits/char",
        text_html=text,
        numbers=numbers,
    )


def alt(found: Found) -> str:
    """What the picture shows, in words."""
    told = []
    for one in found:
        first, last = one.result["moments"][0], one.result["moments"][-1]
        known = [kind for kind in one.result["kinds"] if kind["kind"] in PLOTTED and kind["learned"] is not None]
        when = listed([f"{kind['kind']} by step {kind['learned']:,}" for kind in known]) or "none of the kinds yet"
        told.append(
            f"{one.label} from {first['bits_per_character']:.2f} bits per character at step {first['step']:,} to "
            f"{last['bits_per_character']:.2f} at step {last['step']:,}; learned: {when}"
        )
    return f"Mean bits per token against the training step, by kind of token. {'. '.join(told)}."


PANEL = Panel(
    HISTORY,
    method=METHOD,
    alt=alt,
    picture=picture,
    html=html,
)
