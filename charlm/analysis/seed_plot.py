"""Validation losses of several seeds: each architecture's mean with its 95 % interval, over the single curves."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from charlm.analysis.figures import HEIGHT, arch_colour, plain, rgba
from charlm.analysis.plots import By, Curve, Rows, loss_plot
from charlm.analysis.seeds import mean_of

PAD = 0.03  # of the losses shown, under the lowest interval at the end


class SeedCurves(NamedTuple):
    """One architecture's trainings.

    Attributes:
        name: written at the line's end.
        arch: gives the colour.
        curves: of each seed, the rows of its validations in the order of steps: step, seconds, val_loss.
    """

    name: str
    arch: str
    curves: Sequence[Rows]


def mean_rows(curves: Sequence[Rows]) -> list[dict[str, Any]]:
    """The mean over seeds at each validation that all of them have had.

    Returns:
        Rows of step, seconds, val_loss, and `margin`: half of the 95 % interval of that mean, None for one seed.
    """
    rows = []
    for validations in zip(*curves, strict=False):
        found = mean_of([row["val_loss"] for row in validations])
        seconds = sum(row["seconds"] for row in validations) / len(validations)
        margin = found.margin if found.seeds > 1 else None
        rows.append({"step": validations[0]["step"], "seconds": seconds, "val_loss": found.mean, "margin": margin})
    return rows


def seed_plot(
    groups: Sequence[SeedCurves], by: By = "step", unit: str = "nats per character", height: int = HEIGHT
) -> dict[str, Any]:
    """The curves as plotly's JSON: a mean is bold, its interval a band, a single seed faint.

    Args:
        groups: in drawing order.
        by: x axis: steps, or the seconds that each run itself computed.
        unit: of the losses.
        height: of the whole figure, px.
    """
    means = [mean_rows(group.curves) for group in groups]
    bold = [Curve(one.name, one.name, one.arch, rows, None) for one, rows in zip(groups, means, strict=True)]
    plot = loss_plot(bold, by=by, unit=unit, height=height)
    kept = [trace for trace in plot["data"] if trace["meta"]["kind"] == "val"]
    for trace in kept:
        trace["hovertemplate"] = trace["hovertemplate"].replace("held out", "mean over seeds")
    ends = [rows[-1]["val_loss"] - (rows[-1]["margin"] or 0.0) for rows in means if rows]
    low, high = plot["layout"]["yaxis"]["range"]
    plot["layout"]["yaxis"]["range"] = [min([low, *(end - PAD * (high - end) for end in ends)]), high]
    under = [part for one, rows in zip(groups, means, strict=True) for part in _band(one, rows, by)]
    faint = [_single(one, rows, by) for one in groups if len(one.curves) > 1 for rows in one.curves]
    return {**plot, "data": [*under, *faint, *kept]}


def _band(group: SeedCurves, rows: Rows, by: By) -> list[dict[str, Any]]:
    """The interval, as a lower and an upper edge without lines; empty for one seed."""
    known = [row for row in rows if row["margin"] is not None]
    edges = [[row["val_loss"] + sign * row["margin"] for row in known] for sign in (-1, 1)]
    fill = {"fill": "tonexty", "fillcolor": rgba(arch_colour(group.arch), 0.18)}
    return [
        {**_plain_line(group, [row[by] for row in known], ys, "band"), "line": {"width": 0}, **more}
        for ys, more in zip(edges, ({}, fill), strict=True)
        if known
    ]


def _single(group: SeedCurves, rows: Rows, by: By) -> dict[str, Any]:
    line = {"width": 1, "color": rgba(arch_colour(group.arch), 0.34)}
    return {**_plain_line(group, [row[by] for row in rows], [row["val_loss"] for row in rows], "seed"), "line": line}


def _plain_line(group: SeedCurves, xs: Sequence[float], ys: Sequence[float], kind: str) -> dict[str, Any]:
    """A line that says nothing when it is pointed at."""
    return {
        "type": "scatter", "mode": "lines", "x": [*xs], "y": [*ys], "hoverinfo": "skip", "showlegend": False,
        "name": plain(group.name), "meta": {"run": group.name, "kind": kind},
    }  # fmt: skip
