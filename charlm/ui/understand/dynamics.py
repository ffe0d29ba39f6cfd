"""The panel of dynamics: how long units keep, how far their gates are open, and a table with exponents and radii."""

from math import log10
from typing import Any

from charlm.analysis.dynamics import BINS, GATES, KEEPING, Result, Unit
from charlm.analysis.figures import (
    AXIS,
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
from charlm.analysis.measurement import Measured
from charlm.ui.formatting import listed
from charlm.ui.html import table
from charlm.ui.understand.outlines import DYNAMICS
from charlm.ui.understand.panel import Found, Panel

HEIGHT, TOP, BOTTOM = 430, 134, 44  # px of the figure, and of what is above and below its plot
MOST_POINTS = 200  # of a line over units
DENSE = 0.5  # share of the tokens in one bin that has the full colour
FAINT = 0.5  # of the layers below the last
MEANING = {"lstm": "forget gate", "gru": "update gate", "mingru": "update gate", "rnn": "state"}
MISSING = "–"

METHOD = (
    "Time scale of a unit: −1 / mean(ln r) tokens, where r is the share of its past that the unit keeps: the forget "
    "gate f of an LSTM, the update gate z of a GRU in torch's form, 1 − z of a minGRU. A constant r would fade what is "
    "kept to 1/e in so many tokens. An RNN has no gate, so that its units have none. Saturation: at how many of the "
    "tokens the gate is below 0.1 (closed) or above 0.9 (open); of an RNN, how near its state is to either end of its "
    "range (tanh: −1 to 1, relu: 0 to 1, where more counts as 1).",
    "Spectral radius: the largest absolute eigenvalue of the recurrent matrix of each gate, and beside it the largest "
    "singular value (norm). They are the weights' alone: a radius above 1 says nothing yet of what happens between "
    "gates and bends. A minGRU has no such matrix, as its gates read only the input.",
    "Lyapunov exponent: two copies of the model read the same text from states that differ by a small change of the "
    "whole state (all layers, h and c). After each token the change is brought back to its size, and the mean of the "
    "logarithms of its growth is the exponent, in nats per token. Below 0, the state forgets how it began; above 0, "
    "the smallest difference takes over (chaos).",
    "Sample: 8,192 tokens at 16 places of the text at once, after 144 tokens to warm up at each, or what the text has, "
    "at least 2,000. The interval is of 95 %, over blocks of 256 tokens: mean ± 1.96 standard errors.",
    "Source: C. Tallec and Y. Ollivier, Can recurrent neural networks warp time? (2018); A. Karpathy, J. Johnson and "
    "L. Fei-Fei, Visualizing and Understanding Recurrent Networks (2015); G. Benettin et al., Lyapunov characteristic "
    "exponents (1980); L. M. Pecora and T. L. Carroll on conditional exponents of driven systems (1991).",
)


def picture(found: Found) -> dict[str, Any] | None:
    """Time scales, saturation, and of each model the values of its units, with a button for each.

    Args:
        found: what was measured of each model.
    """
    if not found:
        return None
    views = [
        *([_scales(found)] if any(_scaled(one) for one in found) else []),
        _saturation(found),
        *(_values(one) for one in found),
    ]
    data = [
        {**trace, "visible": number == 0, "meta": {**trace["meta"], "view": number}}
        for number, (_, traces, _) in enumerate(views)
        for trace in traces
    ]
    buttons = []
    for number, (label, _, more) in enumerate(views):
        visible = [trace["meta"]["view"] == number for trace in data]
        buttons.append({"label": label, "method": "update", "args": [{"visible": visible}, more]})
    rows = buttons[: -len(found)], buttons[-len(found) :]  # on a phone they do not fit into one
    right = 16 + max(8 * len(short(one.label)) for one in found)
    layout = frame(
        HEIGHT,
        margin={"l": 44, "r": right, "t": TOP, "b": BOTTOM},
        dragmode="zoom",
        updatemenus=[view_menu(some, HEIGHT, TOP, BOTTOM, row) for row, some in enumerate(rows)],
        **views[0][2],
    )
    return {"data": data, "layout": layout}


def html(found: Found) -> str:
    """The numbers of every layer.

    Args:
        found: what was measured of each model.
    """
    head = (
        "Model",
        "Layer",
        "Exponent",
        "Interval",
        "Time scale",
        "Slowest tenth",
        "Closed",
        "Open",
        "Spectral radius",
    )
    rows = [_row(one, layer) for one in found for layer in range(len(one.result["layers"]))]
    return table(head, rows, keep=(0, 1, 2, 4), kind="dynamics")


def alt(found: Found) -> str:
    """The exponents and the time scales."""
    if not found:
        return "No dynamics were measured."
    parts = []
    for one in found:
        last = one.result["layers"][-1]
        scale = (
            "no gates" if last["median"] is None else
            f"a median time scale of {last['median']:.1f} {one.unit}, the longest {last['longest']:.0f}"
        )  # fmt: skip
        parts.append(f"{one.label}: Lyapunov exponent {_number(one.result['lyapunov'])}, {scale}")
    return (
        "Lines of the time scales of the units, sorted, on a logarithmic axis; by buttons how often their gates are "
        f"closed and open, and the values of each unit. {'; '.join(parts)}."
    )


View = tuple[str, list[dict[str, Any]], dict[str, Any]]  # label of the button, traces, and what they need of the layout


def _scales(found: Found) -> View:
    """Time scales of the units of each layer, sorted."""
    traces, ends = [], []
    drawn = [unit["time_scale"] for one in found for unit in one.result["units"] if unit["time_scale"]]
    lowest, highest = log10(min(drawn)) - 0.1, log10(max(drawn)) + 0.1
    plot = HEIGHT - TOP - BOTTOM
    for one, dash in zip(found, dashes(one.arch for one in found), strict=True):
        if not _scaled(one):
            continue
        last = len(one.result["layers"]) - 1
        for layer in range(last + 1):
            scales = sorted(unit["time_scale"] or 0.0 for unit in _units(one, layer))
            picked = sorted({round(n * (len(scales) - 1) / MOST_POINTS) for n in range(MOST_POINTS + 1)})
            line = {"color": arch_colour(one.arch), "width": 2.4, "dash": dash}
            faint = {"color": rgba(arch_colour(one.arch), FAINT), "width": 1.2}
            traces.append({
                "type": "scatter", "mode": "lines", "showlegend": False, "line": line if layer == last else faint,
                "name": plain(one.label),
                "x": [round(100 * (place + 1) / len(scales), 2) for place in picked],
                "y": [scales[place] for place in picked],
                "hovertemplate": f"layer {layer}: %{{x:.0f}} % of the units<br>up to <b>%{{y:.2f}}</b> {one.unit}",
                "meta": {"run": one.label, "layer": layer},
            })  # fmt: skip
        top = max(unit["time_scale"] or 1.0 for unit in _units(one, last))
        pixel = (log10(top) - lowest) / (highest - lowest) * plot
        ends.append(LineEnd(pixel, log10(top), one.label, _name(one), one.arch))
    names = end_names(ends)
    units = listed(sorted({one.unit for one in found}))
    without = [one.label for one in found if not _scaled(one)]
    thin = "thin: layers below the last"
    text = f"{thin}; no gates: {listed(without)}" if without else thin
    names.append(_corner(text))
    return (
        "Time scales",
        traces,
        {
            "xaxis": _axis("units, sorted by their time scale, %", range=[0, 100]),
            "yaxis": _axis("", type="log", range=[lowest, highest], dtick="D2"),
            "annotations": [_title(f"time scale, {units}"), *names],
        },
    )


def _saturation(found: Found) -> View:
    """Of each unit of the last layers, at how many tokens its gate is closed, and open."""
    traces = [
        {
            "type": "scatter", "mode": "markers", "showlegend": False, "name": plain(one.label),
            "marker": {"size": 5, "color": rgba(arch_colour(one.arch), 0.45)},
            "x": [round(100 * unit["low"], 2) for unit in _last(one)],
            "y": [round(100 * unit["high"], 2) for unit in _last(one)],
            "customdata": [unit["unit"] for unit in _last(one)],
            "hovertemplate": "unit %{customdata}<br>below 0.1: %{x:.0f} %<br>above 0.9: %{y:.0f} %",
            "meta": {"run": one.label},
        }
        for one in found
    ]  # fmt: skip
    names = [
        note(one.label, _name(one), 1, 1, yref="paper", xanchor="left", xshift=8, yanchor="top", yshift=-16 * number,
             font={"size": 12, "color": arch_colour(one.arch)})
        for number, one in enumerate(found)
    ]  # fmt: skip
    gates = listed(list(dict.fromkeys(f"{MEANING.get(one.arch, 'gate')}" for one in found)))
    return (
        "Saturation",
        traces,
        {
            "xaxis": _axis(f"{gates} below 0.1, % of the tokens", range=[-2, 102]),
            "yaxis": _axis("", type="linear", range=[-2, 102]),
            "annotations": [_title("above 0.9, % of the tokens"), _corner("a point: a unit of the last layer"), *names],
        },
    )


def _values(one: Measured[Any]) -> View:
    """The histogram of every unit of the last layer, the one that keeps longest at the top."""
    units = sorted(_last(one), key=lambda unit: (unit["time_scale"] or 0.0, unit["high"] - unit["low"]))
    colour = arch_colour(one.arch)
    trace = {
        "type": "heatmap", "showscale": False, "zmin": 0, "zmax": DENSE, "name": plain(one.label),
        "colorscale": [[0, rgba(colour, 0.0)], [1, rgba(colour, 1.0)]],
        "x": [round((place + 0.5) / BINS, 3) for place in range(BINS)],
        "y": list(range(1, len(units) + 1)),
        "z": [[round(share, 3) for share in unit["histogram"]] for unit in units],
        "customdata": [[unit["unit"]] * BINS for unit in units],
        "hovertemplate": "unit %{customdata}, around %{x}<br><b>%{z:.0%}</b> of the tokens<extra></extra>",
        "meta": {"run": one.label},
    }  # fmt: skip
    meaning = MEANING.get(one.arch, "gate")
    order = "unit, the longest time scale at the top" if _scaled(one) else "unit, the most often high at the top"
    return (
        plain(short(one.label)),
        [trace],
        {
            "xaxis": _axis(f"value of the {meaning}", range=[0, 1]),
            "yaxis": _axis("", type="linear", range=[0.5, len(units) + 0.5]),
            "annotations": [_title(order), _corner(f"{_name(one)}, last layer")],
        },
    )


def _row(one: Measured[Any], layer: int) -> list[str]:
    """A layer's numbers as they are written."""
    result: Result = one.result
    scale = result["layers"][layer]
    keeping = KEEPING.get(one.arch) or GATES[one.arch][0]
    gate = next(gate for gate in result["gates"] if (gate["layer"], gate["gate"]) == (layer, keeping))
    radii = [
        f"{matrix['gate']} {_number(matrix['radius'], 2)}" for matrix in result["matrices"] if matrix["layer"] == layer
    ]
    interval = result["interval"]
    whole = (_number(result["lyapunov"]), MISSING if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}")
    return [
        one.label if layer == 0 else "", str(layer), *(whole if layer == 0 else ("", "")),
        *(MISSING if scale[name] is None else f"{scale[name]:.2f}" for name in ("median", "slowest_tenth")),
        f"{100 * gate['low']:.0f} %", f"{100 * gate['high']:.0f} %", ", ".join(radii) or MISSING,
    ]  # fmt: skip


def _number(value: float | None, digits: int = 3) -> str:
    return "−∞" if value is None and digits == 3 else MISSING if value is None else f"{value:.{digits}f}"


def _scaled(one: Measured[Any]) -> bool:
    return one.arch in KEEPING


def _units(one: Measured[Any], layer: int) -> list[Unit]:
    return [unit for unit in one.result["units"] if unit["layer"] == layer]


def _last(one: Measured[Any]) -> list[Unit]:
    return _units(one, len(one.result["layers"]) - 1)


def _name(one: Measured[Any]) -> str:
    return f"<b>{plain(short(one.label))}</b>"


def _title(text: str) -> dict[str, Any]:
    """What the upright axis shows, above it."""
    return note("axis", text, 0, 1, yref="paper", xanchor="left", yanchor="bottom", xshift=-34, yshift=24)


def _corner(text: str) -> dict[str, Any]:
    """A remark under that."""
    return note("remark", text, 0, 1, yref="paper", xanchor="left", yanchor="bottom", xshift=-34, yshift=6)


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {**AXIS, "nticks": 7, "showgrid": not title, "title": axis_title(title), **more}


PANEL = Panel(
    DYNAMICS,
    method=METHOD,
    picture=picture,
    html=html,
    alt=alt,
)
