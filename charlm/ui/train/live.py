"""How a page keeps up with its runs: the whole plot once, then at each tick only what it lacks."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from charlm.analysis.plots import By, Curve, end_places, loss_plot, scaled
from charlm.runs.history import Row
from charlm.runs.run import Run
from charlm.ui.train.view import View, mark
from charlm.ui.verdict import loss_unit, same_tokens

HEIGHT = 330
MOST = 12  # runs a page may ask for at once
# Points that a tick adds to a plot, all runs together: the most that take no more than ROOM bytes.
POINTS, ROOM = (48, 36, 24, 15), 420
DIGITS = 3  # of a loss; a pixel is about 0.01 nats


def figure(
    view: View, overlay: Sequence[Run] = (), by: By = "step", log: bool = False, shared: bool = True
) -> dict[str, Any]:
    """The whole plot. `layout.meta` tells the page what it shows, so that it can ask for what is missing.

    Args:
        view: its runs are drawn.
        overlay: earlier runs, laid under them.
        by: x axis.
        log: logarithmic loss axis.
        shared: the overlay was measured on the same text, so that the view's other lines hold for it.
    """
    earlier = [run for run in overlay if run.run_id not in view.called]
    faded = [
        Curve(
            run.run_id, run.label, run.arch, scaled(run.history().rows, _factor(view, run)), run.best_step, faded=True
        )
        for run in earlier
    ]
    levels, (unit, _) = view.levels if shared else (), loss_unit(view.runs)
    plot = loss_plot(
        [*faded, *view.curves], by=by, log=log, uniform=view.uniform, levels=levels, height=HEIGHT,
        live=bool(view.active), unit=unit,
    )  # fmt: skip
    meta = {"runs": list(view.called), "since": _since(view), "key": view.key, "by": by, "log": log}
    plot["layout"]["meta"] = meta
    return plot


def _factor(view: View, earlier: Run) -> float:
    """What a nat of an earlier run is worth here: where tokens differ, as much text for as much text."""
    first = next(iter(view.runs), earlier)
    if same_tokens([first, earlier]):
        return 1.0
    own, other = first.bits_per_char(1.0), earlier.bits_per_char(1.0)
    return other / own if own and other else math.nan


def _since(view: View) -> list[int]:
    """The last step of each run, -1 before the first."""
    return [view.histories[run.run_id].last.get("step", -1) for run in view.runs]


def answer(view: View, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a page needs at a tick.

    Args:
        view: what there is to show.
        asked: `key`, `since`, `by` and `log` of the plot as it stands, without `since` if points can wait; `text`, the
            key of head and body if it is another, and `seen`, the marks of the line under the finding, of the advice
            and of samples.

    Returns:
        `redraw`: the plot shows what it should not: other runs, or steps that a resumed run takes anew; or a run began
        or ended, and its last validation may be at a step already drawn. Else `points`, if there are new ones: per run,
        in the order of the plot's meta, [x, loss, ..] of training (each x as what it is more than the one before), the
        same of validation, then of the ring if there is a validation, the newest step; and `ends`, the places of the
        names. `head` and `body` with their `text` key: HTML of what is new to the page;
        else `title`, `lead`, `advice` and `samples` {place: HTML}, as far as they changed. `limits` and `rows`: the
        table.
    """
    told = _texts(view, asked)
    if not view.runs:
        return told
    if asked.get("key") != view.key:
        return {**told, "redraw": True}
    if "since" not in asked:
        return told
    since, newest = _numbers(asked["since"], len(view.runs)), _since(view)
    if any(old > new for old, new in zip(since, newest, strict=True)):
        return {**told, "redraw": True}
    if since != newest:
        by: By = "seconds" if asked.get("by") == "seconds" else "step"
        told["points"] = _points(view, since, by)
        told["ends"] = _ends(view, asked.get("log") is True)
    return told


def _points(view: View, since: Sequence[float], by: By) -> list[list[Any]]:
    points: list[list[Any]] = []
    for most in POINTS:
        each = max(1, most // len(view.runs))
        points = [_additions(view, run, at, by, each) for run, at in zip(view.runs, since, strict=True)]
        if len(json.dumps(points, separators=(",", ":"))) <= ROOM:
            break
    return points


def _additions(view: View, run: Run, since: float, by: By, most: int) -> list[Any]:
    history = view.histories[run.run_id]
    fresh = history.since(since)
    train = [row for row in fresh if row["train_loss"] is not None]
    val = [row for row in fresh if row["val_loss"] is not None]
    best = view.best(run) if val else None
    return [
        _flat(few(train, most), "train_loss", by),
        _flat(few(val, max(1, most // 2)), "val_loss", by),
        _flat([best] if best else [], "val_loss", by),
        history.last.get("step", -1),
    ]


def few(rows: Sequence[Any], most: int) -> Sequence[Any]:
    """At most `most` of the rows, evenly taken; the last one stays."""
    count = len(rows)
    return rows if count <= most else [rows[(place + 1) * count // most - 1] for place in range(most)]


def _flat(rows: Sequence[Row], loss: str, by: By) -> list[float]:
    """[x, loss, ..], each x as what it is more than the one before."""
    flat, before = [], 0.0
    for row in rows:
        x = round(row[by], 2)
        flat += [round(x - before, 2), round(row[loss], DIGITS)]
        before = x
    return flat


def _ends(view: View, log: bool) -> list[list[float] | None]:
    places = end_places(view.curves, log=log, span=view.span, height=HEIGHT)
    return [[round(place[0], DIGITS), round(place[1], 1)] if place else None for place in places]


def _texts(view: View, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Head, table and samples, whole or what changed in them."""
    marks = [mark(view.lead), mark(view.advised), *(view.samples[run.run_id].step for run in view.runs)]
    seen = asked.get("seen")
    told: dict[str, Any] = {"limits": view.limits, "rows": view.rows} if view.runs else {}
    if asked.get("text", asked.get("key")) != view.key or not isinstance(seen, list) or len(seen) != len(marks):
        return {**told, "text": view.key, "seen": marks, "head": view.head, "body": view.body}
    if seen == marks:
        return {**told, "title": view.title}
    told |= {"title": view.title, "seen": marks}
    if seen[0] != marks[0]:
        told["lead"] = view.lead
    if seen[1] != marks[1]:
        told["advice"] = view.advised
    changed = [place for place in range(len(view.runs)) if seen[place + 2] != marks[place + 2]]
    return {**told, "samples": {str(place): view.sample(place) for place in changed}}


def wishes(asked: Mapping[str, Any]) -> list[str]:
    """The run ids a page wants to see, as far as they are any."""
    wanted = asked.get("wanted")
    return [item for item in wanted if isinstance(item, str)][:MOST] if isinstance(wanted, list) else []


def _numbers(value: Any, count: int) -> list[float]:
    """`count` steps from a page; what is none counts as not begun."""
    steps = value if isinstance(value, list) and len(value) == count else [-1] * count
    return [step if isinstance(step, int | float) and abs(step) < 1e15 else -1 for step in steps]
