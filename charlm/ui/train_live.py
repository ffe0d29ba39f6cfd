"""What the Train tab shows and how it keeps up: which runs, their figure, and what a page lacks at a tick."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from charlm.config import ARCH_NAMES
from charlm.errors import CharLMError
from charlm.plots import MAX_POINTS, By, Curve, end_labels, loss_plot, loss_range
from charlm.run import ACTIVE, Run
from charlm.ui.common import Services
from charlm.ui.train_view import body_html, head_html
from charlm.ui.verdict import names

HEIGHT = 330
MOST = 12  # runs a page may ask for at once


def shown_runs(services: Services, wanted: Sequence[str] = ()) -> list[Run]:
    """The runs the tab shows: the wanted ones with their race, else those at work, else the last, else the shipped."""
    job = services.jobs.current()
    ids = list(wanted) or (job["run_ids"] if job else [])
    if ids:
        runs = _found(services, ids)
        return _race(services, runs[0]) if wanted and runs else runs
    runs = services.store.list()
    return _race(services, runs[0]) if runs else []


def _found(services: Services, ids: Sequence[str]) -> list[Run]:
    runs = []
    for run_id in ids:
        try:
            runs.append(services.store.get(run_id))
        except CharLMError:
            continue  # deleted meanwhile
    return runs


def _race(services: Services, run: Run) -> list[Run]:
    """A run and those it raced with, in the order of the architectures."""
    if not run.group:
        return [run]
    runs = [other for other in services.store.list() if other.group == run.group and other.shipped == run.shipped]
    return sorted(runs, key=lambda one: list(ARCH_NAMES).index(one.arch))


def figure(
    services: Services, runs: Sequence[Run], overlay: str = "", by: By = "step", log: bool = False
) -> dict[str, Any]:
    """The whole plot. `layout.meta` tells the page what it shows, so that it can ask for what is missing."""
    rows = {run.run_id: run.metrics() for run in runs}  # read once: what is drawn and `since` must agree
    curves = _curves(runs, list(rows.values()))
    earlier = [run for run in _found(services, [overlay] if overlay else []) if run not in runs]
    faded = [Curve(run.run_id, run.label, run.arch, run.metrics(), run.best_step, faded=True) for run in earlier]
    active = _active(runs)
    plot = loss_plot([*faded, *curves], by=by, log=log, uniform=_uniform(runs), height=HEIGHT, live=bool(active))
    plot["layout"]["meta"] = {
        "runs": [run.run_id for run in runs],
        "since": {run_id: mine[-1]["step"] if mine else -1 for run_id, mine in rows.items()},
        "active": active,
        "by": by,
        "log": log,
    }
    return plot


def _curves(runs: Sequence[Run], rows: Sequence[Sequence[Mapping[str, Any]]]) -> list[Curve]:
    called = names(runs)
    return [
        Curve(run.run_id, name, run.arch, mine, run.best_step)
        for run, name, mine in zip(runs, called, rows, strict=True)
    ]


def _active(runs: Sequence[Run]) -> list[str]:
    """Ids of the runs at work."""
    return [run.run_id for run in runs if run.status in ACTIVE]


def _uniform(runs: Sequence[Run]) -> float | None:
    return math.log(runs[0].model_config.vocab_size) if runs and runs[0].model_config.vocab_size > 1 else None


def poll(services: Services, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the page needs at a tick.

    Args:
        asked: `runs`, `since` {run: step}, `active` run ids, `by`, `log` of the plot as it stands, `wanted` run ids,
            `seen` marks.

    Returns:
        `redraw`: the plot shows what it should not: other runs, or steps that a resumed run takes anew; or a run began
        or ended, and its last validation may be at a step already drawn. `points`: per run, what to add to its traces.
        `labels`: names at the line ends. `head`, `body`: HTML, None if it has been seen.
    """
    runs = shown_runs(services, _strings(asked.get("wanted")))
    ids, since = [run.run_id for run in runs], asked.get("since")
    since = since if isinstance(since, dict) else {}
    rows = {run.run_id: run.metrics() for run in runs}
    stale = any(_whole(since.get(run_id)) > (mine[-1]["step"] if mine else -1) for run_id, mine in rows.items())
    active = _strings(asked.get("active")) if "active" in asked else _active(runs)
    if stale or ids != _strings(asked.get("runs")) or active != _active(runs):
        return {"redraw": True, **_texts(services, runs, asked)}
    by: By = "seconds" if asked.get("by") == "seconds" else "step"
    fresh = {run_id: [row for row in mine if row["step"] > _whole(since.get(run_id))] for run_id, mine in rows.items()}
    state: dict[str, Any] = {"redraw": False, **_texts(services, runs, asked)}
    if any(fresh.values()):
        curves = _curves(runs, list(rows.values()))
        span = loss_range(curves, _uniform(runs))
        log = bool(asked.get("log"))
        state["points"] = {run.run_id: _points(run, fresh[run.run_id], rows[run.run_id], by) for run in runs}
        state["labels"] = end_labels(curves, by=by, log=log, span=span, height=HEIGHT)
    return state


def _points(run: Run, fresh: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], by: str) -> dict[str, Any]:
    """New points of the two lines, the place of the ring, and the step reached."""
    best = [row for row in rows if row["step"] == run.best_step and row.get("val_loss") is not None]
    lines = {
        kind: [row for row in fresh[-MAX_POINTS:] if row.get(f"{kind}_loss") is not None] for kind in ("train", "val")
    }
    return {
        **{
            kind: {"x": [row[by] for row in own], "y": [row[f"{kind}_loss"] for row in own]}
            for kind, own in lines.items()
        },
        "best": {"x": [row[by] for row in best], "y": [row["val_loss"] for row in best]},
        "since": fresh[-1]["step"] if fresh else None,
    }


def _texts(services: Services, runs: Sequence[Run], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Head and body with a mark each; None for what the page has already."""
    seen = asked.get("seen")
    seen = seen if isinstance(seen, dict) else {}
    state: dict[str, Any] = {"marks": {}}
    for name, html in (("head", head_html(services, runs)), ("body", body_html(services, runs))):
        mark = hashlib.md5(html.encode(), usedforsecurity=False).hexdigest()
        state["marks"][name] = mark
        state[name] = None if seen.get(name) == mark else html
    return state


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)][:MOST] if isinstance(value, list) else []


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and abs(value) < 1e15 else -1
