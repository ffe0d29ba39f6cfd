"""The panel of the gradient through time: its norm against how many tokens back, on a logarithmic axis."""

from collections.abc import Sequence
from typing import Any

from charlm.analysis.backpropagation import Node
from charlm.analysis.figures import (
    AXIS,
    FONT,
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
    view_menu,
)
from charlm.analysis.gradient import Curves, Row, main_node
from charlm.analysis.measurement import Measured
from charlm.ui.formatting import listed
from charlm.ui.understand.outlines import GRADIENT
from charlm.ui.understand.panel import Found, Panel

HEIGHT, TOP, BOTTOM = 380, 84, 44  # px of the figure, and of what is above and below its plot
INPUT = " (input)"
LOWEST = -20.0  # decades that the axis shows at first: what falls further would press the others flat
FAINT, FAINTER = 0.55, 0.25  # of initial weights and of snapshots

METHOD = (
    "The loss of one token, −ln p of the one that comes next, is differentiated by the state that the model had k "
    "tokens before: log₁₀ ‖∂loss(t) / ∂s(t − k)‖, the mean over all positions t. Lag 0 is the state that the last step "
    "reads. It is the total derivative in the unrolled network: a state h of a layer with all that reads it, the next "
    "step of its layer and, in its own step, the layer above; an LSTM's cell c likewise, through h. The input is what "
    "the embedding returns (a one-hot vector where there is none). The picture shows the gradient relative to lag 0; "
    "the table has the norms themselves, and standard errors over positions.",
    "Sample: 64 evenly spaced positions of the text (settings: positions, lags, warmup), each after 144 tokens that "
    "warm the state up; computed with 8-byte numbers in segments from which the scale is taken out, so that nothing "
    "underflows. Dropout is off. The half-life is the first lag at which the mean has fallen by 0.301, a factor of 2: "
    "of the last layer's h, or of the input of a Transformer, which carries no state. Its lags end where its layers' "
    "contexts together reach: layers × (context − 1).",
    "A training sees no gradient from beyond its own sequence: that length is marked. The thin line is the same model "
    "before its training, from its own seed; the thinnest are kept snapshots. An n-gram has no gradient, as it counts.",
    "Source: S. Hochreiter, Untersuchungen zu dynamischen neuronalen Netzen (1991); Y. Bengio, P. Simard and P. "
    "Frasconi, Learning Long-Term Dependencies with Gradient Descent is Difficult (1994); R. Pascanu, T. Mikolov and "
    "Y. Bengio, On the difficulty of training recurrent neural networks (2013).",
)


def picture(found: Found, whole: bool = False) -> dict[str, Any] | None:
    """Gradients relative to lag 0, with a button for each kind of state; None: nothing was found.

    Args:
        found: what was measured of each model.
        whole: the axis reaches as far as the lines of initial weights, too, not only as far as the bold ones.
    """
    if not found:
        return None
    views = _views(found)
    heights = [y for _, nodes in views for y in _heights(found, nodes, whole)]
    lowest, highest = max(LOWEST, min([-1.0, *heights]) * 1.05), max([0.3, *heights]) * 1.05
    data: list[dict[str, Any]] = []
    notes = []
    for number, (label, nodes) in enumerate(views):
        for trace in _traces(found, nodes):
            data.append({**trace, "visible": number == 0, "meta": {**trace["meta"], "view": number}})
        notes.append(_names(found, nodes, lowest, highest) + _fixed_notes(found, label))
    buttons = [
        {
            "label": label,
            "method": "update",
            "args": [{"visible": [trace["meta"]["view"] == number for trace in data]}, {"annotations": notes[number]}],
        }
        for number, (label, _) in enumerate(views)
    ]
    layout = _layout(found, lowest, highest)
    layout["annotations"] = notes[0]
    if len(views) > 1:
        layout["updatemenus"] = [view_menu(buttons, HEIGHT, TOP, BOTTOM)]
    return {"data": data, "layout": layout}


def alt(found: Found) -> str:
    """The half-lives, and what is left at the length of a training sequence."""
    if not found:
        return "No gradient was measured."
    parts = []
    for one in found:
        result = one.result
        halved = (
            "never halves" if result["half_life"] is None else f"halves {_count(result['half_life'], one.unit)} back"
        )
        left = "to nothing" if result["decades"] is None else f"to 10^{result['decades']:.1f}"
        parts.append(f"{one.label}: {halved}, {left} after {result['far']}")
    return (
        "Lines of the gradient's norm against the number of tokens back, relative to the last step, on a logarithmic "
        f"axis. {'; '.join(parts)}."
    )


def _count(number: int, unit: str) -> str:
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def _views(found: Found) -> list[tuple[str, list[Node | None]]]:
    """What the buttons show: a label, and of each model the state that is drawn; None: it has none such."""
    nodes = [_nodes(one.result) for one in found]
    last = [main_node(some) for some in nodes]
    first = [min((node for node in some if node.state == "h"), default=None, key=_layer) for some in nodes]
    cells = [max((node for node in some if node.state == "c"), default=None, key=_layer) for some in nodes]
    views: list[tuple[str, list[Node | None]]] = [("last layer", [*last])]
    if any(node is not None and node != end for node, end in zip(first, last, strict=True)):
        views.append(("first layer", first))
    if any(cells):
        views.append(("cell", cells))
    given = Node("input", 0)
    if any(node != given for node in last) and all(given in some for some in nodes):
        views.append(("input", [given] * len(found)))
    return views


def _layer(node: Node) -> int:
    return node.layer


def _nodes(curves: Curves) -> list[Node]:
    """All that a model was differentiated by."""
    return [Node(one["state"], one["layer"]) for one in curves["half_lives"]]


def _relative(curves: Curves, node: Node) -> tuple[list[Row], list[float | None]]:
    """The rows of a state, and their decades above lag 0."""
    rows = [row for row in curves["rows"] if (row["state"], row["layer"]) == node]
    start = rows[0]["log10_norm"] if rows else None
    return rows, [
        None if start is None or row["log10_norm"] is None else round(row["log10_norm"] - start, 4) for row in rows
    ]


def _heights(found: Found, nodes: Sequence[Node | None], whole: bool) -> list[float]:
    """All decades of the trained models; `whole`: of their initial weights, too."""
    shown: list[tuple[Curves, Node]] = []
    for one, node in zip(found, nodes, strict=True):
        initial = one.result["initial"] if whole else None
        shown += [(curves, node) for curves in (one.result, initial) if curves and node]
    drawn = [_relative(curves, node)[1] for curves, node in shown]
    return [y for heights in drawn for y in heights if y is not None]


def _traces(found: Found, nodes: Sequence[Node | None]) -> list[dict[str, Any]]:
    """Of each model thin lines for initial weights and snapshots, and over them a bold one."""
    traces = []
    for one, node, dash in zip(found, nodes, dashes(one.arch for one in found), strict=True):
        if node is None:
            continue
        initial = one.result["initial"]
        faint = [(curves, FAINTER, 1.0) for curves in one.result["snapshots"]]
        faint += [(initial, FAINT, 1.2)] if initial else []
        for curves, alpha, width in faint:
            traces.append(_trace(one, curves, node, {"color": rgba(arch_colour(one.arch), alpha), "width": width}))
        bold = {"color": arch_colour(one.arch), "width": 2.4, "dash": dash}
        traces.append(_trace(one, one.result, node, bold))
    return traces


def _trace(one: Measured[Any], curves: Curves, node: Node, line: dict[str, Any]) -> dict[str, Any]:
    """One line; hovering tells the norm itself and its standard error."""
    rows, heights = _relative(curves, node)
    when = {"now": "", "initial": ", before training"}.get(curves["at"], f", step {curves['at']}")
    name = plain(f"{one.label}{when}")
    return {
        "type": "scatter", "mode": "lines", "line": line, "showlegend": False, "name": name, "connectgaps": False,
        "x": [row["lag"] for row in rows], "y": heights,
        "customdata": [[_shown(row["log10_norm"]), _shown(row["stderr"])] for row in rows],
        "hovertemplate": f"{_said(node)}, %{{x}} back<br><b>10^%{{y:.2f}}</b> of lag 0<br>"
                         "norm 10^%{customdata[0]} ± %{customdata[1]}",
        "meta": {"run": one.label, "at": curves["at"]},
    }  # fmt: skip


def _shown(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}"


def _said(node: Node) -> str:
    return "input" if node.state == "input" else f"{node.state} of layer {node.layer}"


def _names(found: Found, nodes: Sequence[Node | None], lowest: float, highest: float) -> list[dict[str, Any]]:
    """The models' names at their line ends, pushed apart; under the plot's edge, where a line leaves it."""
    ends, leaving = [], []
    plot = HEIGHT - TOP - BOTTOM
    for one, node in zip(found, nodes, strict=True):
        if node is None:
            continue
        heights = _relative(one.result, node)[1]
        drawn = [(lag, y) for lag, y in enumerate(heights) if y is not None]
        gone = next((lag for lag, y in drawn if y < lowest), None)
        if gone is not None:
            leaving.append((one, gone))
        elif drawn:
            y = drawn[-1][1]
            pixel = (y - lowest) / (highest - lowest) * plot
            ends.append(LineEnd(pixel, y, one.label, _name(one, nodes), one.arch))
    longest = _longest(found)
    return [
        *end_names(ends),
        *(
            note(one.label, _name(one, nodes), lag, 0, xref="x", yref="paper", yanchor="bottom",
                 xanchor="left" if lag < 0.7 * longest else "right", xshift=8 if lag < 0.7 * longest else -8,
                 yshift=4 + 15 * number, font={"size": 12, "color": arch_colour(one.arch)})
            for number, (one, lag) in enumerate(leaving)
        ),
    ]  # fmt: skip


def _name(one: Measured[Any], nodes: Sequence[Node | None]) -> str:
    """The model's name, with what is drawn of it where that is another thing than of the others."""
    other = len({node.state for node in nodes if node}) > 1 and _has_input_only(one)
    return f"<b>{plain(short(one.label))}</b>{INPUT if other else ''}"


def _has_input_only(one: Measured[Any]) -> bool:
    return main_node(_nodes(one.result)).state == "input"


def _longest(found: Found) -> int:
    return int(max((row["lag"] for one in found for row in one.result["rows"]), default=1))


def _fixed_notes(found: Found, view: str) -> list[dict[str, Any]]:
    """The axis's name with the chosen view's, the lengths of training sequences, and what the thin lines are."""
    notes = [
        note("axis", f"gradient relative to lag 0 · {view}", 0, 1, yref="paper", xanchor="left", yanchor="bottom",
             xshift=-34, yshift=8)
    ]  # fmt: skip
    for length in _marked(found):
        text = f"training sequence: {length}"
        notes.append(note("sequence", text, length, 1, xref="x", yref="paper", xanchor="left", yanchor="top", xshift=4))
    if any(one.result["initial"] or one.result["snapshots"] for one in found):
        # As far right as the picture goes: on a phone the axis's name needs the rest of the line.
        notes.append(note("thin", "thin: before training", 1, 1, yref="paper", xanchor="right", yanchor="bottom",
                          xshift=_right(found) - 2, yshift=8))  # fmt: skip
    return notes


def _marked(found: Found) -> list[int]:
    """The lengths of training sequences that are in the picture."""
    return sorted({one.seq_len for one in found if 0 < one.seq_len <= _longest(found)})


def _right(found: Found) -> int:
    """px that the names at the lines' ends take."""
    return 16 + max(8 * len(short(one.label)) + 6 * len(INPUT) * _has_input_only(one) for one in found)


def _layout(found: Found, lowest: float, highest: float) -> dict[str, Any]:
    units = listed(sorted({one.unit for one in found}))
    return frame(
        HEIGHT,
        margin={"l": 44, "r": _right(found), "t": TOP, "b": BOTTOM},
        xaxis={
            **AXIS, "title": axis_title(f"{units} back"), "showgrid": False, "range": [0, _longest(found)], "nticks": 7,
        },
        yaxis={
            **AXIS, "range": [lowest, highest], "nticks": 7, "tickprefix": "10<sup>", "ticksuffix": "</sup>",
            "tickformat": ".3~g",
        },
        shapes=[
            {"type": "line", "x0": length, "x1": length, "yref": "paper", "y0": 0, "y1": 1,
             "line": {"width": 1.5, "dash": "dot", "color": FONT}}
            for length in _marked(found)
        ],
        dragmode="zoom",
        uirevision="gradient",
    )  # fmt: skip


PANEL = Panel(
    GRADIENT,
    method=METHOD,
    picture=picture,
    alt=alt,
)
