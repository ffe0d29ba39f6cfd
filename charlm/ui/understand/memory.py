"""The panel of effective memory: the loss against how many tokens of context a model is given."""

import math
from typing import Any

from charlm.analysis.figures import AXIS, CLEAR, arch_colour, axis_title, dashes, frame, note, plain
from charlm.analysis.measurement import Measured
from charlm.analysis.memory import BEYOND, FIRST_CONTEXT, FIRST_TARGETS, LITTLE, NOTHING, Memory, contexts_up_to
from charlm.analysis.plots import Curve, end_labels
from charlm.ui.html import Cell, render, table
from charlm.ui.understand.outlines import MEMORY
from charlm.ui.understand.panel import Found, Panel

HEIGHT = 360  # px of the figure
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
BEFORE = {
    "none": "",
    "shuffled": f", after the {BEYOND} tokens before them in a random order",
    "elsewhere": f", after {BEYOND} tokens from elsewhere in the text",
}

METHOD = (
    "The model predicts the same held-out tokens again and again, each time given only the last k tokens before them, "
    "from the zero state: k = 1, 2, 3, 5, 8, 13 and so on. loss(k) is the mean over these targets in nats per token; "
    "excess(k) = mean of [loss(k) − loss(longest k)], paired by target. A Transformer and an n-gram are given no more "
    "than these k tokens, either.",
    f"Memory is the smallest k from which on the excess stays below {LITTLE} nats, bisected to the whole number. There "
    "is none where the last step still gains that much.",
    f"Sample: first {FIRST_TARGETS} targets or a few more and contexts up to {FIRST_CONTEXT}, then 4,000 targets "
    "(setting: targets). They are evenly from all of the text: it is cut into at most 64 blocks of 1,000 tokens or "
    "more, and in each stand equally many neighbouring targets, beginning at a random place. Standard errors are those "
    "of the excess over blocks, so that the similarity of neighbours counts. Contexts grow until two steps in a row "
    f"gain less than {NOTHING} nats with 95 % confidence, at most to 1,000 tokens (setting: longest) or half the text.",
    "A window that begins at one place and is read on gives the loss of the next target with k = 1, of the one after "
    "that with k = 2, and so on; neighbouring targets share windows that way, and the results are the same. A model "
    f"that makes no use at all of contexts up to {FIRST_CONTEXT} tokens, but of longer ones, would be missed.",
    f"Beyond the context stands nothing; or, as variants, {BEYOND} tokens: those which the text has there, in a random "
    "order, or others from half the text away. If a shuffled past is better than none, the model makes use of what "
    "was said long ago, whatever its order.",
    "Source: U. Khandelwal, H. He, P. Qi and D. Jurafsky, Sharp Nearby, Fuzzy Far Away: How Neural Language Models Use "
    "Context (2018), who cut off, shuffled and replaced the far context of an LSTM of words.",
)


def picture(found: Found) -> dict[str, Any] | None:
    """Loss against context on a logarithmic axis, the memory ringed; None: nothing was found.

    Args:
        found: what was measured of each model.
    """
    if not found:
        return None
    losses = [row["loss"] for one in found for row in one.result["rows"]]
    low, high = min(losses), max(losses)
    pad = 0.05 * (high - low) or 0.1
    span = low - pad, high + pad
    longest = max(one.result["last_context"] for one in found)
    curves = [
        Curve(one.label, one.label, one.arch, [{"val_loss": row["loss"]} for row in one.result["rows"]])
        for one in found
    ]
    layout = _layout(_unit(found), longest, span)
    layout["margin"]["r"] = 24 + max(8 * min(len(one.label), 16) for one in found)
    layout["annotations"] += end_labels(curves, log=False, span=span, height=HEIGHT)
    drawn = zip(found, dashes(one.arch for one in found), strict=True)
    return {"data": [trace for one, dash in drawn for trace in _traces(one, dash)], "layout": layout}


def alt(found: Found) -> str:
    """Where each line starts and ends, and from where on it is flat."""
    if not found:
        return "No memory was measured."
    parts = []
    for one in found:
        first, last = one.result["rows"][0], one.result["rows"][-1]
        flat = "not flat at its end" if one.result["memory"] is None else f"flat from {one.result['memory']:,} on"
        parts.append(
            f"{one.label}: {first['loss']:.2f} nats with {first['context']}, {last['loss']:.2f} with "
            f"{last['context']:,}, {flat}"
        )
    return (
        f"Lines of the loss per token against how many {_unit(found)} of context the model is given, on a logarithmic "
        f"axis. {'; '.join(parts)}."
    )


def html(found: Found) -> str:
    """The numbers as a table, and what limits them.

    Args:
        found: what was measured of each model.
    """
    head = ("Model", "Memory", "Loss with 1", "with 8", "with 34", "with the longest", "Longest", "Targets")
    body: list[list[Cell | str]] = []
    for one in found:
        result: Memory = one.result
        losses = {row["context"]: f"{row['loss']:.3f}" for row in result["rows"]}
        last = result["last_context"]
        body.append([
            one.label, Cell(_memory(result), strong=True), *(losses.get(k, "–") for k in (1, 8, 34, last)),
            f"{last:,}", f"{result['targets']:,}",
        ])  # fmt: skip
    if not found:
        return ""
    return render("memory", table_html=table(head, body, keep=(0, 1, 2, 5)), notes=_notes(found))


def _memory(result: Memory) -> str:
    return "–" if result["memory"] is None else f"{result['memory']:,}"


def _notes(found: Found) -> list[str]:
    """A sentence for each model that longer contexts might say more of."""
    notes = []
    for one in found:
        result: Memory = one.result
        if result["settled"] or result["last_context"] < contexts_up_to(result["limit"])[-1]:
            continue  # or still growing
        end = f"{one.label}: contexts end at {result['last_context']:,} {one.unit}"
        if result["rows"][0]["stderr"] is None:
            notes.append(f"{end}; a text of {result['tokens']:,} {one.unit} is too short for standard errors.")
        else:
            notes.append(f"{end}; whether longer ones lower the loss further was not measured.")
    return notes


def _unit(found: Found) -> str:
    """What the tokens of all models are."""
    return found[0].unit if len({one.unit for one in found}) == 1 else "tokens"


def _traces(one: Measured[Memory], dash: str) -> list[dict[str, Any]]:
    """The line of a model, and a ring where its memory ends."""
    colour, result = arch_colour(one.arch), one.result
    ring = [row for row in result["rows"] if row["context"] == result["memory"]]
    styles: list[tuple[str, list[Any], dict[str, Any]]] = [
        ("loss", result["rows"], {
            "mode": "lines+markers", "line": {"width": 2.4, "color": colour, "dash": dash},
            "marker": {"size": 6, "color": colour},
            "customdata": [[f"{row['excess']:.3f}", _error(row["stderr"])] for row in result["rows"]],
            "hovertemplate": f"%{{x:,}} {one.unit}{BEFORE[result['beyond']]}<br><b>%{{y:.3f}}</b> nats<br>"
                             "%{customdata[0]}%{customdata[1]} over the longest",
        }),
        ("memory", ring, {
            "mode": "markers", "marker": {"size": 13, "color": CLEAR, "line": {"width": 2, "color": colour}},
            "hoverinfo": "skip",
        }),
    ]  # fmt: skip
    return [
        {"type": "scatter", "x": [row["context"] for row in some], "y": [row["loss"] for row in some], **style,
         "cliponaxis": False, "name": plain(one.label), "showlegend": False, "meta": {"run": one.label, "kind": kind}}
        for kind, some, style in styles
    ]  # fmt: skip


def _error(stderr: float | None) -> str:
    return "" if stderr is None else f" ± {stderr:.3f}"


def _layout(unit: str, longest: int, span: tuple[float, float]) -> dict[str, Any]:
    """Axes and margins."""
    ticks = [tick for tick in TICKS if tick <= longest]
    place: dict[str, Any] = {"yref": "paper", "xanchor": "left", "yanchor": "bottom", "xshift": -34, "yshift": 10}
    return frame(
        HEIGHT,
        margin={"l": 36, "r": 16, "t": 40, "b": 44},
        xaxis={
            **AXIS, "type": "log", "range": [-0.05, math.log10(longest) + 0.02], "showgrid": False, "tickvals": ticks,
            "ticktext": [f"{tick:,}" for tick in ticks], "title": axis_title(f"{unit} of context"),
        },
        yaxis={**AXIS, "range": list(span), "nticks": 6},
        dragmode="zoom",
        uirevision="memory",
        annotations=[note("axis", f"loss, nats per {unit.removesuffix('s')}", 0, 1, **place)],
    )  # fmt: skip


PANEL = Panel(
    MEMORY,
    method=METHOD,
    picture=picture,
    html=html,
    alt=alt,
)
