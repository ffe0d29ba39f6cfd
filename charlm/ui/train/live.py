"""How pages keep up with their runs: all pages share one look at them, and get at each tick only what they lack."""

import asyncio
import json
import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from charlm.analysis.advice import Advice, advise, training_of
from charlm.analysis.plots import By, Curve, end_places, loss_plot, scaled
from charlm.architectures import ARCH_NAMES
from charlm.errors import CharLMError
from charlm.files import is_count
from charlm.public.services import Services
from charlm.runs.history import LossHistory, Row
from charlm.runs.run import ACTIVE, Run
from charlm.ui.html import few
from charlm.ui.train.seeds import Seeds, of_first_seed, seeds_of
from charlm.ui.train.view import View, Written, mark, written
from charlm.ui.verdict import loss_unit, same_tokens

HEIGHT = 330
MOST = 12  # runs a page may ask for at once
# Points that a tick adds to a plot, all runs together: the most that take no more than ROOM bytes.
POINTS, ROOM = (48, 36, 24, 15), 420
DIGITS = 3  # of a loss; a pixel is about 0.01 nats
FRESH_SECONDS = 0.9  # how old an answer to a page may be
# Reading a folder of many runs takes long: it is done after this many seconds, and takes this share of the time.
LIST_SECONDS = 2.0
LIST_SHARE = 0.02
KEPT = 64  # open runs
VISITORS = 64
ASKED = 16  # different questions that are looked after at once


class Watches:
    """A Watch for each visitor, so that no answer reaches another one; those used last are kept."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._watches: OrderedDict[Any, Watch] = OrderedDict()

    def own(self) -> "Watch":
        """The Watch of the visitor who asks."""
        visitor = self.services.who()
        key = visitor.key if visitor else None
        watch = self._watches.setdefault(key, Watch(self.services))
        self._watches.move_to_end(key)
        _forget_first(self._watches, VISITORS)
        return watch


class Watch:
    """Keeps open the runs that pages show, and answers all pages that ask at about the same time with one View.

    Args:
        services: where the runs and the job are.
        fresh: seconds until runs are looked at again.
    """

    def __init__(self, services: Services, fresh: float = FRESH_SECONDS) -> None:
        self.services, self.fresh = services, fresh
        self._open: dict[str, Run] = {}
        self._advice: dict[str, tuple[Any, list[Advice]]] = {}  # by run id: when it was thought over, and what was said
        # By run id and step, None for the newest: the sample and what the page shows of it.
        self._written: dict[tuple[str, int | None], tuple[Any, Written]] = {}
        self._of_seeds: dict[Any, tuple[Any, Seeds]] = {}  # by the ids of a race: how far it was, and what was said
        self._listed: tuple[Any, float, list[Run]] = (None, 0.0, [])
        self._views: dict[Any, tuple[float, asyncio.Task[View] | None]] = {}

    async def view(self, wanted: Sequence[str] = ()) -> View:
        """`look`, in a thread, at most once in `fresh` seconds for all who want the same."""
        question = (tuple(wanted), self._queue())
        until, task = self._views.get(question, (0.0, None))
        if task is None or (task.done() and (time.monotonic() > until or task.cancelled() or task.exception())):
            task = asyncio.create_task(asyncio.to_thread(self.look, wanted))
            self._views.pop(question, None)
            self._views[question] = time.monotonic() + self.fresh, task
            _forget_first(self._views, ASKED)
        return await asyncio.shield(task)  # a page that leaves does not take the others' answer along

    def look(self, wanted: Sequence[str] = ()) -> View:
        """The runs to show, and what there is to say of them now."""
        return self.look_at(self.shown(wanted))

    def look_at(self, runs: Sequence[Run]) -> View:
        """What there is to say of these runs now; of a race of several seeds, of the first and of all together."""
        race, runs = runs, of_first_seed(runs)
        states = {run.run_id: self.services.jobs.state(run) for run in runs}  # first: what follows is not older
        histories = {run.run_id: run.history() for run in runs}
        samples = {run.run_id: self._sample(run) for run in runs}
        advice = {run.run_id: self._advise(run, states[run.run_id], histories[run.run_id]) for run in runs}
        gradients = {run.run_id: run.gradients() for run in runs}
        baselines = self.services.serving.baselines.of(runs)
        seeds = self._seeds(race) if len(race) > len(runs) else None
        return View(runs, states, histories, samples, baselines, advice, gradients, self._sample, seeds)

    def _seeds(self, race: Sequence[Run]) -> Seeds:
        """What all seeds show; it is the same until one of them is validated or ends."""
        lows = {run.run_id: [row for row in run.history().rows if row["val_loss"] is not None] for run in race}
        is_over = all(self.services.jobs.state(run)["status"] not in ACTIVE for run in race)
        key = tuple(run.run_id for run in race)
        asked = is_over, [(run.best_step, len(lows[run.run_id])) for run in race]
        known = self._of_seeds.get(key)
        if known is None or known[0] != asked:
            known = self._of_seeds[key] = asked, seeds_of(race, lows, is_over)
            _forget_first(self._of_seeds, ASKED)
        return known[1]

    def _advise(self, run: Run, state: Mapping[str, Any], history: LossHistory) -> list[Advice]:
        """Advice on a run; it is the same until a validation has passed, or the run's state is another."""
        validated = next((row["step"] for row in reversed(history.rows) if row["val_loss"] is not None), 0)
        status = state["status"]
        known = self._advice.get(run.run_id)
        if known is None or known[0] != (validated, status):
            failed = status == "failed"
            advice = [] if failed else advise(training_of(run, history.rows, status, run.total_steps))
            known = self._advice[run.run_id] = (validated, status), advice
            _forget_first(self._advice)
        return known[1]

    def advised(self, run_id: str, kind: Any) -> tuple[Run | None, Advice | None]:
        """A run, and what was last said of it of this kind; None for what is gone."""
        run, known = self._get(run_id), self._advice.get(run_id, (None, []))[1]
        return run, next((advice for advice in known if advice.kind == kind), None)

    def shown(self, wanted: Sequence[str] = ()) -> list[Run]:
        """The wanted runs with their race, else those at work, else the last, else the shipped."""
        job = self.services.jobs.current()
        ids = list(wanted) or (job["run_ids"] if job else [])
        if ids:
            runs = self.found(ids)
            return self._race(runs[0]) if wanted and runs else runs
        runs = self._all()
        return self._race(runs[0]) if runs else []

    def found(self, ids: Sequence[str]) -> list[Run]:
        """The runs of these ids that still exist, kept open."""
        return [run for run_id in ids if (run := self._get(run_id)) is not None]

    def _get(self, run_id: str) -> Run | None:
        try:
            run = self._open.get(run_id) or self.services.store.get(run_id)
            run.refresh()
        except CharLMError:  # deleted meanwhile
            self._open.pop(run_id, None)
            return None
        self._open[run_id] = run
        _forget_first(self._open)
        return run

    def _race(self, run: Run) -> list[Run]:
        """A run and those it raced with, in the order of the architectures."""
        if not run.group:
            return self.found([run.run_id])
        group = [other for other in self._all() if other.group == run.group and other.shipped == run.shipped]
        group.sort(key=lambda one: list(ARCH_NAMES).index(one.arch))
        return self.found([one.run_id for one in group])

    def _all(self) -> list[Run]:
        """All runs; the list may be some seconds old as long as no job began or ended."""
        queue, until, runs = self._listed
        now = time.monotonic()
        if now > until or queue != self._queue() or self.fresh == 0:
            queue, runs = self._queue(), self.services.store.list()
            took = time.monotonic() - now
            self._listed = queue, now + max(LIST_SECONDS, took / LIST_SHARE), runs
        return runs

    def _queue(self) -> Any:
        return tuple(map(tuple, self.services.jobs.queue()))

    def _sample(self, run: Run, step: int | None = None) -> Written:
        """The newest sample of a run, or that of a step or an earlier one."""
        sample = run.sample(step)
        known = self._written.get((run.run_id, step))
        if known is None or known[0] != sample:
            lexicon = self.services.serving.lexicon(run) if sample else frozenset()
            known = self._written[run.run_id, step] = sample, written(sample, lexicon)
            _forget_first(self._written)
        return known[1]


def _forget_first(kept: dict[Any, Any], most: int = KEPT) -> None:
    """Keep what was added last; threads may forget at the same time."""
    while len(kept) > most:
        kept.pop(next(iter(kept)), None)


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
    faded = []
    for run in (run for run in overlay if run.run_id not in view.called):
        rows = scaled(run.history().rows, _factor(view, run))
        faded.append(Curve(run.run_id, run.label, run.arch, rows, run.best_step, faded=True))
    levels, (unit, _) = view.levels if shared else (), loss_unit(view.runs)
    plot = loss_plot(
        [*faded, *view.curves], by=by, log=log, uniform=view.uniform, levels=levels, height=HEIGHT,
        live=bool(view.active), unit=unit,
    )  # fmt: skip
    plot["layout"]["meta"] = {
        "runs": list(view.called), "since": _since(view), "key": view.key, "by": by, "log": log,
    }  # fmt: skip
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
            key of head and body if it is another, and `seen`, the marks of the finding, of the line under it, of the
            advice, of samples, and of gradients that are recorded; `at`, the step whose samples are wanted instead of
            the newest, and `stop`, the last step that the slider over them offers.

    Returns:
        `redraw`: the plot shows what it should not: other runs, or steps that a resumed run takes again; or a run began
        or ended, and its last validation may be at a step already drawn. Else `points`, if there are new ones: per run,
        in the order of the plot's meta, [x, loss, ..] of training (each x as what it is more than the one before), the
        same of validation, then of the ring if there is a validation, the newest step; and `ends`, the places of the
        names. `head` and `body` with their `text` key: HTML of what is new to the page;
        else `title`, `lead`, `advice` and `samples` {place: HTML}, as far as they changed, and `stops`, the steps that
        the slider lacks. `seeds` and `gradient`, when a curve of theirs has moved: see `Moving`. `limits` and `rows`:
        the table.
    """
    new = _texts(view, asked)
    if not view.runs:
        return new
    if asked.get("key") != view.key:
        return {**new, "redraw": True}
    if "since" not in asked:
        return new
    since, newest = _numbers(asked["since"], len(view.runs)), _since(view)
    if any(old > new for old, new in zip(since, newest, strict=True)):
        return {**new, "redraw": True}
    if since != newest:
        by: By = "seconds" if asked.get("by") == "seconds" else "step"
        new["points"] = _points(view, since, by)
        new["ends"] = _ends(view, asked.get("log") is True)
    return new


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
    texts = {"title": view.title, "lead": view.lead, "advice": view.advised}
    at = asked["at"] if is_count(asked.get("at")) else None
    marks = [*map(mark, texts.values()), *(view.written(run, at).step for run in view.runs)]
    moving = view.moving
    marks += moving.values()
    seen = asked.get("seen")
    new: dict[str, Any] = {"limits": view.limits, "rows": view.rows} if view.runs else {}
    if asked.get("text", asked.get("key")) != view.key or not isinstance(seen, list) or len(seen) != len(marks):
        moved = {name: part for name in moving if (part := view.moved(name))}
        newest = [*marks[: len(texts)], *(view.samples[run.run_id].step for run in view.runs)]
        marks[: len(newest)] = newest
        return {**new, "text": view.key, "seen": marks, "head": view.head, "body": view.body, **moved}
    if is_count(asked.get("stop")) and (stops := [step for step in view.stops if step > asked["stop"]]):
        new["stops"] = stops
    if seen == marks:
        return new
    changed = [before != now for before, now in zip(seen, marks, strict=True)]
    told: dict[str, Any] = {name: text for (name, text), is_new in zip(texts.items(), changed, strict=False) if is_new}
    told |= {name: view.moved(name) for name, is_new in zip(moving, changed[-len(moving) :], strict=False) if is_new}
    of_samples = changed[len(texts) : len(texts) + len(view.runs)]
    samples = {str(place): view.sample(place, at) for place, is_new in enumerate(of_samples) if is_new}
    return {**new, **told, "seen": marks, "samples": samples}


def wanted_ids(asked: Mapping[str, Any]) -> list[str]:
    """The run ids a page wants to see, as far as they are any."""
    wanted = asked.get("wanted")
    return [item for item in wanted if isinstance(item, str)][:MOST] if isinstance(wanted, list) else []


def _numbers(value: Any, count: int) -> list[float]:
    """`count` steps from a page; anything else counts as not started."""
    steps = value if isinstance(value, list) and len(value) == count else [-1] * count
    return [step if isinstance(step, int | float) and abs(step) < 1e15 else -1 for step in steps]
