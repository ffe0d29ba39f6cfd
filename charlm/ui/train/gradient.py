"""The gradient through time while it is being learned: the newest recorded curve of each model over its first one."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from charlm.analysis.gradient import Curves, Result
from charlm.analysis.measurement import Measured
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
    for note in figure["layout"]["annotations"]:
        if note["name"] == "thin":
            note["text"] = f"thin: {listed(sorted({_at(rows[0]) for _, _, rows in recorded if len(rows) > 1}))}"
    return {"html": section(TITLE, sentence(recorded)), "figure": figure, "alt": gradient.alt(found)}


def sentence(recorded: Sequence[Recorded]) -> str:
    """How far back the gradient has halved in each model, now and at the first record."""
    parts = [_halved(called, rows, LEVEL_NAMES[run.level]) for run, called, rows in recorded]
    return f"The gradient of the loss now halves {listed(parts)}."


def _halved(called: str, rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    """`3 characters back in LSTM (1 at step 0)`."""
    first, now = rows[0], rows[-1]
    start = "nowhere" if first["half_life"] is None else whole(first["half_life"])
    before = f" ({start} at {_at(first)})" if len(rows) > 1 else ""
    if now["half_life"] is None:
        longest = len(now[main_curve(now)]) - 1
        return f"not within {longest} {unit} in {called}{before}"
    return f"{now['half_life']} {unit.removesuffix('s') if now['half_life'] == 1 else unit} back in {called}{before}"


def _at(row: Mapping[str, Any]) -> str:
    return f"step {whole(row['step'])}"


def _measured(run: Any, called: str, rows: Sequence[Mapping[str, Any]]) -> Measured[Result]:
    """A run's newest record, with its first one as that of the initial weights."""
    first = _curves(rows[0], run.train_config.seq_len) if len(rows) > 1 else None
    now = _curves(rows[-1], run.train_config.seq_len)
    if first is not None:
        first["at"] = "initial"
    return Measured(
        called, run.arch, {**now, "initial": first, "snapshots": []}, run.train_config.seq_len, LEVEL_NAMES[run.level]
    )


def _curves(row: Mapping[str, Any], far: int) -> Curves:
    """The main curve of a record as a result of the measurement."""
    name = main_curve(row)
    norms, (state, layer) = row[name], (("input", 0) if name == "input" else (name[0], int(name[1:])))
    far = min(far, len(norms) - 1)
    ends = norms[0], norms[far]
    return {
        "at": "now",
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
