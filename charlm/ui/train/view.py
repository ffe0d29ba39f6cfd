"""What the Train tab says of its runs at one moment: the finding, the table, the samples."""

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from charlm.analysis.advice import MOST, Advice
from charlm.analysis.plots import Curve, Level, common_limit, loss_range, near, ranked
from charlm.analysis.standing import Contender, Standings, standings
from charlm.config import RaceConfig
from charlm.runs.history import LossHistory, Row
from charlm.runs.run import ACTIVE, Run
from charlm.ui import formatting, verdict
from charlm.ui.compare.ranking import model_name, shape
from charlm.ui.html import (
    MOST_STOPS,
    Cell,
    Column,
    column,
    columns,
    few,
    heading,
    marked_text,
    render,
    sample_slider,
    section,
    swatch,
    table,
)
from charlm.ui.runs.details import origin_sentence, rate_changes, trouble
from charlm.ui.train.form import ADVANCED, BASIC, control_values
from charlm.ui.verdict import loss_unit, names

if TYPE_CHECKING:
    from charlm.analysis.baselines import Baselines
    from charlm.ui.train.gradient import Moving
    from charlm.ui.train.seeds import Seeds

Advised = tuple[Any, Advice]  # a run and a piece of advice on it


def chosen(advice: Mapping[str, Sequence[Advice]], runs: Sequence[Any]) -> list[Advised]:
    """The most useful of what is said of several runs, each kind once."""
    advised = [(run, one) for run in runs for one in advice.get(run.run_id, ())]
    kinds: dict[str, Advised] = {}
    for run, one in sorted(advised, key=lambda pair: -pair[1].weight):
        kinds.setdefault(one.kind, (run, one))
    return list(kinds.values())[:MOST]


def advice_html(advised: Sequence[Advised], called: Mapping[str, str]) -> str:
    """Sentences with their buttons; empty without any.

    Args:
        advised: see `chosen`.
        called: what to call each run, by its id; a single one needs no name.
    """
    names = called if len(called) > 1 else dict.fromkeys(called, "")
    return section("What to try next") + render("advice", advised=advised, names=names) if advised else ""


def form_values(run: Any, advice: Advice) -> dict[str, Any]:
    """What the form's controls show for the run's settings with the advice's changes; the name is left open."""
    settings = RaceConfig().to_dict() | run.model_config.to_dict() | run.train_config.to_dict()
    settings |= {**advice.changes, "label": ""}
    return control_values(settings)


def opened_folds(advice: Advice) -> set[str]:
    """Keys of the form's folds in which something changes; an advanced setting that goes back to 0 needs no look."""
    basic = {key for key, names in BASIC.items() if set(names) & set(advice.changes)}
    return basic | {key for key, names in ADVANCED.items() if any(advice.changes.get(name) for name in names)}


HEAD = ("Val. loss", "Train loss", "Perplexity", "Bits/char", "Grad. norm", "Chars/s", "Own time")
TESTED = "Test perplexity"  # where a text has a test part
PHONE_COLUMNS = (0, 1, 4, 7)
EVERY = "all"  # what the form for the learning rate says for every network at work
ROUNDED = 1e-5  # nats: a log has seven digits


def mark(value: Any) -> str:
    """A few characters that change with a JSON value."""
    return f"{zlib.crc32(json.dumps(value).encode()):08x}"


@dataclass(frozen=True)
class Written:
    """A run's newest sample; `html` is escaped and None without one."""

    step: int = -1
    html: str | None = None


def written(sample: Mapping[str, Any] | None, lexicon: frozenset[str]) -> Written:
    """A sample with the words wavy that are not in the lexicon; without a lexicon, none."""
    from charlm.data.corpus import unknown_words

    if sample is None:
        return Written()
    prompt, text = str(sample.get("prompt", "")), str(sample.get("text", ""))
    spans = unknown_words(text, lexicon, ended=False)[0] if lexicon else []
    return Written(sample["step"], marked_text(prompt, text, spans))


@dataclass(eq=False)
class View:
    """Some runs at one moment, and what there is to say of them; every sentence and table is made once.

    Attributes:
        runs: in the order in which they are drawn.
        states: per run id, `Jobs.state`.
        histories: per run id, what is logged.
        samples: per run id, what it wrote last.
        baselines: of the text that all of them share; None: not known yet, or they share none.
        advice: per run id, what might be tried next.
        gradients: per run id, the gradient through time as it was recorded; empty where it was not.
        written_at: the sample of a run that it wrote at a step, or at the last validation before.
        seeds: what all seeds of the race show, whose first seed `runs` are of; None: it has but one.
    """

    runs: Sequence[Run]
    states: Mapping[str, Mapping[str, Any]]
    histories: Mapping[str, LossHistory]
    samples: Mapping[str, Written]
    baselines: "Baselines | None" = None
    advice: Mapping[str, Sequence[Advice]] = field(default_factory=dict)
    gradients: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    written_at: Callable[[Run, int], Written] = lambda run, step: Written()
    seeds: "Seeds | None" = None

    @cached_property
    def called(self) -> dict[str, str]:
        """What to call each run."""
        return dict(zip([run.run_id for run in self.runs], names(self.runs), strict=True))

    @cached_property
    def active(self) -> list[str]:
        """Ids of the runs at work."""
        return [run_id for run_id, state in self.states.items() if state["status"] in ACTIVE]

    @cached_property
    def key(self) -> str:
        """Changes when the page has to be drawn from scratch: other runs, names or rates, a beginning, an end."""
        failures = [self.states[run.run_id]["message"] for run in self._failed]
        changed = [run for run in self.runs if run.rate_changes]
        rates = [
            [run.rate_changes, bool(self.histories[run.run_id].rows)] for run in changed
        ]  # no mark without a curve
        drawn = [level.name for level in self.near]
        return mark([self.called, self.active, failures, drawn, rates]) if self.runs else ""

    @cached_property
    def curves(self) -> list[Curve]:
        """The runs as a plot draws them."""
        curves = []
        for run in self.runs:
            best, history = self.best(run), self.histories[run.run_id]
            step = best["step"] if best else None
            called, span, rates = self.called[run.run_id], history.span, run.rate_changes
            curves.append(Curve(run.run_id, called, run.arch, history.rows, step, span=span, rates=rates))
        return curves

    def best(self, run: Run) -> Row | None:
        """The validation whose weights are kept; the newest low may be so before it is noted as the best."""
        state, lows = self.states[run.run_id], self.histories[run.run_id].lows
        known = math.inf if state["best_val_loss"] is None else state["best_val_loss"]
        if lows and lows[-1]["val_loss"] <= known + ROUNDED:
            return lows[-1]
        return next((row for row in lows if row["step"] == state["best_step"]), None)

    @cached_property
    def uniform(self) -> float | None:
        """What guessing costs, ln V."""
        sizes = [run.model_config.vocab_size for run in self.runs[:1]]
        return math.log(sizes[0]) if sizes and sizes[0] > 1 else None

    @cached_property
    def levels(self) -> list[Level]:
        """The other losses that need no training."""
        return verdict.levels(self.baselines)

    @property
    def near(self) -> list[Level]:
        """Those of them that the curves have come near to, which are drawn."""
        return near(self.curves, self.uniform, self.levels)

    @property
    def span(self) -> tuple[float, float]:
        """The losses that the plot shows."""
        return loss_range(self.curves, self.uniform, self.near)

    @cached_property
    def title(self) -> str:
        """`GRU leads, 0.023 bits per character ahead of LSTM at step 1,125 of 3,000.`, for runs that share a text."""
        if not self.runs:
            return "Nothing has been trained yet."
        if self.seeds is not None and self.seeds.title:
            return self.seeds.title
        ranked = self.standings.ranked
        if not ranked:
            waiting = f"{formatting.listed(list(self.called.values()))}: the first validation is on its way"
            return waiting if self._at_work else "No validation yet"
        if len(ranked) > 1:
            return verdict.winner(self.standings, self.called, self._of_total)
        [one] = ranked
        verb, of = "is at" if self._at_work else "reached", loss_unit(self.runs)[0]
        after = f"after {formatting.whole(one.step)}{self._of_total} steps"
        return f"{self.called[one.run.run_id]} {verb} {formatting.nats(one.loss)} {of} {after}"

    @property
    def _of_total(self) -> str:
        """How many steps are planned, while they are made."""
        total = max(run.total_steps or 0 for run in self.runs)
        return f" of {formatting.whole(total)}" if self._at_work and total else ""

    @cached_property
    def lead(self) -> str:
        """Who leads by the clock, what state the training is in, and what was adapted."""
        if not self.runs:
            return "Press Train: the curves grow here."
        parts = [f"On {self.runs[0].corpus.get('name', 'a text')}."]
        parts += [f"A {origin_sentence(self.runs[0])}."] if len(self.runs) == 1 and self.runs[0].ancestry else []
        if len(self._by_seconds) > 1:
            verb = "is" if self._at_work else "was"
            parts.append(f"At equal seconds of its own {self.called[self._by_seconds[0][0]]} {verb} ahead.")
        if self.seeds is not None:
            parts.append(self.seeds.lead)
        elif len(self.standings.ranked) > 1:
            parts.append(verdict.how_sure(self.standings, self.called))
        parts += filter(None, [self.matched, self._rates])
        states = self.states.values()
        if self._at_work:
            parts.append("Training goes on when you close this page.")
        elif self.runs[0].shipped:
            parts.append("This training came with the app; press Train to start your own.")
        else:
            parts.append(f"{', '.join(dict.fromkeys(state['status'] for state in states)).capitalize()}.")
        messages = [state["message"] for state in states if state["message"] and state["status"] != "failed"]
        return " ".join([*parts, *dict.fromkeys(map(_sentence, messages))])

    @property
    def _rates(self) -> str:
        """`Learning rate changed: LSTM and GRU 0.002 from step 501.`; empty if none was."""
        alike: dict[str, list[str]] = {}
        for run in self.runs:
            alike.setdefault(rate_changes(run), []).append(self.called[run.run_id])
        is_one = len(self.runs) == 1
        said = [
            changes if is_one else f"{formatting.listed(named)} {changes}"
            for changes, named in alike.items()
            if changes
        ]
        return f"Learning rate changed: {'; '.join(said)}." if said else ""

    @cached_property
    def learning(self) -> list[Run]:
        """The networks at work, whose learning rate can be changed."""
        return [run for run in self.runs if run.run_id in self.active and not run.model_config.is_counted]

    @property
    def _rate_form(self) -> str:
        """Where the learning rate of the models at work is changed; empty if none is."""
        rates = {run.run_id: f"{run.learning_rate:g}" for run in self.learning}
        if not rates:
            return ""
        known = set(rates.values())
        every = max(known) if len(known) == 1 else ""
        choices = [(run.run_id, self.called[run.run_id], rates[run.run_id]) for run in self.learning]
        if len(choices) > 1:
            choices.insert(0, (EVERY, "all", every))
        return render("rate", shown=choices[0][2], choices=choices)

    @cached_property
    def matched(self) -> str:
        """`LSTM matches a 6-gram.`; empty as long as nothing is known."""
        best = [(run, self.states[run.run_id]["best_val_loss"]) for run in self.runs]
        networks = [(run, loss) for run, loss in best if loss is not None and not run.model_config.is_counted]
        return verdict.matched_orders(self.baselines, [(self.called[run.run_id], loss) for run, loss in networks])

    @cached_property
    def head(self) -> str:
        """The finding and the line under it; the learning rate; what failed, why, and the fix."""
        troubles = [trouble(run, f"{run.label} failed.", self.states[run.run_id]["message"]) for run in self._failed]
        return heading(self.title, self.lead) + self._rate_form + "".join(troubles)

    @cached_property
    def limits(self) -> list[str]:
        """The first and the last column's heads: the step, and the seconds, at which the runs are compared."""
        clock = f"At {self._seconds:,.1f} s each" if self._by_seconds else "At equal time"
        step = f"At step {formatting.whole(self._step)}" if self.standings.trained_alike else "As kept"
        return [step if self.standings.ranked else "Model", *([clock] if len(self.runs) > 1 else [])]

    @property
    def _step(self) -> int:
        """The step at which the runs are compared."""
        common, trained = self.standings.common, [self.histories[run.run_id].last.get("step", 0) for run in self.runs]
        return max(trained, default=0) if common is None else common

    @cached_property
    def rows(self) -> list[list[Any]]:
        """The table, best run first: the run's place in `runs`, then its cells."""
        order = list(self._losses)
        ranked = [order.index(run.run_id) if run.run_id in order else len(order) for run in self.runs]
        places = sorted(range(len(self.runs)), key=lambda place: ranked[place])
        return [[place, *self._cells(self.runs[place])] for place in places]

    @cached_property
    def _tested(self) -> bool:
        return any(run.corpus.get("test_tokens") for run in self.runs)

    def _cells(self, run: Run) -> list[str]:
        state, loss = self.states[run.run_id], self._losses.get(run.run_id)
        return [
            formatting.nats(loss),
            formatting.nats(state["train_loss"]),
            formatting.perplexity(loss),
            formatting.bits(run.bits_per_char(loss)),
            formatting.bits(self.histories[run.run_id].last.get("grad_norm")),
            formatting.whole(state["chars_per_second"] or None),
            f"{state['seconds']:,.1f} s" if state["seconds"] else formatting.MISSING,
            *([formatting.perplexity(state.get("test_loss"))] if self._tested else []),
            *([formatting.nats(dict(self._by_seconds).get(run.run_id))] if len(self.runs) > 1 else []),
        ]

    @cached_property
    def body(self) -> str:
        """The table, ranked at equal steps, and what the models write."""
        if not self.runs:
            return ""
        title = "What they write" if len(self.runs) > 1 else "What it writes"
        hint = "A fresh sample at every validation; the slider goes back to earlier ones."
        about = section(title, f"{hint} Wavy: words that are not in the corpus.")
        about += sample_slider(self.stops)
        samples = columns([self._column(run) for run in self.runs])
        advised = f'<div id="train-advice">{self.advised}</div>'
        gradient, seeds = '<div id="train-gradient"></div>', '<div id="train-seed-curves"></div>'  # train.js draws them
        if self.seeds is not None:
            seeds += section(f"Seed {self.runs[0].train_config.seed}", "The first one, as it trains.")
        writes = f'<div class="writes">{about}<div class="swipe">{samples}</div></div>'
        return f"{seeds}{self._table()}{gradient}{advised}{writes}"

    @cached_property
    def gradient(self) -> "Moving | None":
        """The gradient through time, as far as it was recorded."""
        recorded = [(run, self.called[run.run_id], self.gradients.get(run.run_id, ())) for run in self.runs]
        if not any(rows for _, _, rows in recorded):
            return None
        from charlm.ui.train.gradient import moving  # torch takes seconds: not before it is needed

        return moving([one for one in recorded if one[2]])

    @property
    def moving(self) -> dict[str, str]:
        """The parts that train.js draws into the body, by name, with what changes when one has moved."""
        marks = {"seeds": self.seeds_mark, "gradient": self.gradient_mark}
        return {name: mark for name, mark in marks.items() if mark}

    def moved(self, name: str) -> "Moving | None":
        """A part of `moving` as it is now."""
        if name == "gradient":
            return self.gradient
        return self.seeds.moving() if self.seeds else None

    @property
    def seeds_mark(self) -> str:
        """Changes when a seed has been validated or has ended; empty without several of them."""
        if self.seeds is None or self.seeds.found is None:
            return ""
        return mark([self.seeds.is_over, {run_id: len(rows) for run_id, rows in self.seeds.curves.items()}])

    @property
    def gradient_mark(self) -> str:
        """Changes when a recorded curve has moved; empty without any."""
        steps = [[run.run_id, rows[-1]["step"]] for run in self.runs if (rows := self.gradients.get(run.run_id))]
        return mark(steps) if steps else ""

    @cached_property
    def advised(self) -> str:
        """What to try next, as HTML."""
        return advice_html(chosen(self.advice, self.runs), self.called)

    def _table(self) -> str:
        lines: list[list[Cell | str]] = []
        for place, loss, *others in self.rows:
            run = self.runs[place]
            name = f"{swatch(run.arch)}{model_name(self.called[run.run_id], shape(run))}"
            lines.append([Cell(html=name), Cell(loss, strong=True), *others])
        first, *last = self.limits
        tested = (TESTED,) if self._tested else ()
        return table((first, *HEAD, *tested, *last), lines, keep=PHONE_COLUMNS, kind="standing", id="train-table")

    @cached_property
    def stops(self) -> Sequence[int]:
        """The steps at which one of the runs wrote a sample, ascending."""
        return few(sorted({step for run in self.runs for step in run.sample_steps()}), MOST_STOPS)

    def written(self, run: Run, at: int | None = None) -> Written:
        """What a run wrote last; with `at`, at that step or at its last validation before."""
        return self.samples[run.run_id] if at is None else self.written_at(run, at)

    def sample(self, place: int, at: int | None = None) -> str:
        """The column of `written`, as HTML."""
        return column(self._column(self.runs[place], at))

    def _column(self, run: Run, at: int | None = None) -> Column:
        shown = self.written(run, at)
        note = "" if shown.html is not None else "Its first sample comes with the first validation."
        if at is not None and shown.html is None:
            note = "It had written nothing yet."
        step = f"step {formatting.whole(max(shown.step, 0))}"
        return Column(run.run_id, run.arch, self.called[run.run_id], step, text_html=shown.html or "", note=note)

    @cached_property
    def _failed(self) -> list[Run]:
        return [run for run in self.runs if self.states[run.run_id]["status"] == "failed"]

    @cached_property
    def _at_work(self) -> bool:
        return any(state["status"] in ACTIVE for state in self.states.values())

    @cached_property
    def _ranked_runs(self) -> list[Run]:
        """Those that did not fail on the way, if there are any."""
        return [run for run in self.runs if run not in self._failed] or list(self.runs)

    @cached_property
    def standings(self) -> Standings:
        """Who is ahead."""
        return standings([self._contender(run) for run in self._ranked_runs])

    def _contender(self, run: Run) -> Contender:
        state, best = self.states[run.run_id], self.best(run)
        loss = (best["val_loss"], best["step"]) if best else (state["best_val_loss"], state["best_step"])
        return Contender(run, state["status"], *loss, lambda: self.histories[run.run_id])

    @cached_property
    def _losses(self) -> dict[str, float]:
        """By run id, the lowest first as bits per character."""
        return {one.run.run_id: one.loss for one in self.standings.ranked}

    @cached_property
    def _seconds(self) -> float:
        """How far all have come by their clocks; an n-gram, which counts the text once, holds no run up."""
        rows = {run.run_id: self.histories[run.run_id].standing for run in self._ranked_runs}
        trained = [run.run_id for run in self._ranked_runs if not run.model_config.is_counted]
        return common_limit({run_id: rows[run_id] for run_id in trained} or rows, "seconds")

    @cached_property
    def _by_seconds(self) -> list[tuple[str, float]]:
        rows = {run.run_id: self.histories[run.run_id].standing for run in self._ranked_runs}
        return ranked(rows, "seconds", self._seconds)


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:] + ("" if message.endswith(".") else ".")
