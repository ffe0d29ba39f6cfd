"""The gradient through time while it is being learned: the newest recorded curve of each model over its first one."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from charlm.analysis.figures import MENU_ROW
from charlm.analysis.gradient import Curves, Result
from charlm.analysis.measurement import Measured
from charlm.analysis.settings import NOW
from charlm.config import LEVEL_NAMES
from charlm.runs.gradients import main_curve
from charlm.ui.formatting import listed, whole
from charlm.ui.html import section
from charlm.ui.understand import gradient

Recorded = tuple[Any, str, Sequence[Mapping[str, Any]]]  # a run, what to call it, and its records, at least one
TITLE = "Gradient through time"


class Moving(TypedDict):
    """What the page shows: a title with its sentence, a plot, and that in words."""

    html: str
    figure: dict[str, Any]
    alt: str


def moving(recorded: Sequence[Recorded]) -> Moving | None:
    """The curves as they are now, in the look of the Understand tab; None: nothing was recorded.

    Args:
        recorded: of the runs that have records.
    """
    found = [_measured(*one) for one in recorded]
    figure = gradient.picture(found, whole=True)
    if figure is None:
        return None
    for trace in figure["data"]:  # lags are 0, 1, .. without being told; two decimals are what was recorded
        del trace["x"], trace["customdata"]
        trace["hovertemplate"] = "%{x} back<br><b>10^%{y:.2f}</b> of lag 0"
    layout = figure["layout"]
    layout["annotations"] = [note for note in layout["annotations"] if note["name"] != "thin"]  # the sentence says it
    layout["margin"]["t"] -= MENU_ROW
    layout["height"] -= MENU_ROW
    return {"html": section(TITLE, sentence(found, recorded)), "figure": figure, "alt": gradient.alt(found)}


def sentence(found: Sequence[Measured[Result]], recorded: Sequence[Recorded]) -> str:
    """How far back the gradient has halved in each model, now and at the first record, which the thin lines show."""
    parts = [
        _halved(one, rows, one.unit != found[0].unit or one is found[0])
        for one, (_, _, rows) in zip(found, recorded, strict=True)
    ]
    starts = list(dict.fromkeys(_at(rows[0]) for _, _, rows in recorded if len(rows) > 1))
    thin = f" Thin: at {listed(starts)}." if starts else ""
    return f"The gradient of the loss now halves {listed(parts)}.{thin}"


def _halved(one: Measured[Result], rows: Sequence[Mapping[str, Any]], with_unit: bool) -> str:
    """`3 characters back in the LSTM (1 at step 0)`, or `3 in the LSTM (1 at step 0)`."""
    lag, first = one.result["half_life"], rows[0]["half_life"]
    before = f" ({'nowhere' if first is None else first} at {_at(rows[0])})" if len(rows) > 1 else ""
    if lag is None:
        return f"nowhere within {len(one.result['rows']) - 1} {one.unit} in {one.name}{before}"
    unit = f" {one.unit.removesuffix('s') if lag == 1 else one.unit} back" if with_unit else ""
    return f"{lag}{unit} in {one.name}{before}"


def _at(row: Mapping[str, Any]) -> str:
    return f"step {whole(row['step'])}"


def _measured(run: Any, called: str, rows: Sequence[Mapping[str, Any]]) -> Measured[Result]:
    """A run's newest record, with its first one in the place of the initial weights."""
    seq_len = run.train_config.seq_len
    first = _curves(rows[0], seq_len, str(rows[0]["step"])) if len(rows) > 1 else None
    result: Result = {**_curves(rows[-1], seq_len, NOW), "initial": first, "snapshots": []}
    return Measured(called, run.arch, result, seq_len, LEVEL_NAMES[run.level])


def _curves(row: Mapping[str, Any], far: int, at: str) -> Curves:
    """The main curve of a record as a result of the measurement."""
    name = main_curve(row)
    norms, (state, layer) = row[name], (("input", 0) if name == "input" else (name[0], int(name[1:])))
    far = min(far, len(norms) - 1)
    ends = norms[0], norms[far]
    return {
        "at": at,
        "positions": 0,
        "half_life": row["half_life"],
        "half_lives": [{"state": state, "layer": layer, "half_life": row["half_life"]}],
        "far": far,
        "decades": None if None in ends else round(ends[1] - ends[0], 2),
        "rows": [
            {"state": state, "layer": layer, "lag": lag, "log10_norm": norm, "stderr": None}
            for lag, norm in enumerate(norms)
        ],
    }
