"""What the Train tab says of its runs: the finding, the table, the samples; all from what the runs have logged."""

from collections.abc import Mapping, Sequence
from typing import Any

from charlm.analysis.standing import common_limit, standing
from charlm.run import Run
from charlm.ui import numbers
from charlm.ui.common import (
    Cell,
    Column,
    Services,
    action,
    columns,
    heading,
    marked_text,
    notice,
    section,
    swatch,
    table,
)
from charlm.ui.ranking import model_name, shape
from charlm.ui.verdict import AT_WORK, names

HEAD = ("Val. loss", "Train loss", "Perplexity", "Bits/char", "Grad. norm", "Chars/s", "Own time")
PHONE_COLUMNS = (0, 1, 4, 7)
TIE = 0.0005  # nats: what three decimals cannot show


def head_html(services: Services, runs: Sequence[Run]) -> str:
    """The finding and the line under it; what failed, why, and the mend."""
    if not runs:
        return heading("Nothing has been trained yet.", "Press Train: the curves grow here.")
    failed = [run for run in runs if run.status == "failed"]
    troubles = "".join(
        notice(
            f"{run.label} failed.",
            run.message or "No reason was recorded.",
            "error",
            action("mend", "Put a third of its learning rate into the form", run=run.run_id),
        )
        for run in failed
    )
    return heading(finding(runs), _circumstances(services, runs)) + troubles


def finding(runs: Sequence[Run]) -> str:
    """`GRU leads by 0.016 nats after 1,230 of 3,000 steps`, for runs that share a text."""
    called = dict(zip([run.run_id for run in runs], names(runs), strict=True))
    rows = {run.run_id: run.metrics() for run in _contenders(runs)}
    ranked, step = standing(rows, "step"), common_limit(rows, "step")
    at_work, total = any(run.status in AT_WORK for run in runs), max(run.total_steps or 0 for run in runs)
    after = f"after {numbers.whole(step)}{f' of {numbers.whole(total)}' if at_work and total else ''} steps"
    if not ranked:
        waiting = f"{numbers.listed(list(called.values()))}: the first validation is on its way"
        return waiting if at_work else "No validation yet"
    leader, loss = ranked[0]
    if len(ranked) == 1:
        verb = "is at" if at_work else "reached"
        return f"{called[leader]} {verb} {numbers.nats(loss)} nats per character {after}"
    lead = ranked[1][1] - loss
    if lead < TIE:
        return f"{called[leader]} and {called[ranked[1][0]]} are level {after}"
    return f"{called[leader]} {'leads' if at_work else 'won'} by {numbers.nats(lead)} nats {after}"


def _contenders(runs: Sequence[Run]) -> list[Run]:
    """Who is ranked: a run that failed on the way would hold the others' ranking at the step where it fell."""
    return [run for run in runs if run.status != "failed"] or list(runs)


def _circumstances(services: Services, runs: Sequence[Run]) -> str:
    """Who leads by the clock, what state the training is in, and what was adapted."""
    states = [services.jobs.status(run.run_id, since_step=10**12) for run in runs]
    called = dict(zip([run.run_id for run in runs], names(runs), strict=True))
    parts = [f"On {runs[0].corpus.get('name', 'a text')}."]
    ranked = standing({run.run_id: run.metrics() for run in _contenders(runs)}, "seconds")
    at_work = any(state["status"] in AT_WORK for state in states)
    if len(ranked) > 1:
        verb = "is" if at_work else "was"
        parts.append(f"At equal seconds of its own {called[ranked[0][0]]} {verb} ahead.")
    if at_work:
        parts.append("Training goes on when you close this page.")
    elif runs[0].shipped:
        parts.append("This training came with the app; press Train to start your own.")
    else:
        parts.append(f"{', '.join(dict.fromkeys(state['status'] for state in states)).capitalize()}.")
    parts += dict.fromkeys(
        _sentence(state["message"]) for state in states if state["message"] and state["status"] != "failed"
    )
    return " ".join(parts)


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:] + ("" if message.endswith(".") else ".")


def body_html(services: Services, runs: Sequence[Run]) -> str:
    """The table and what the models write now."""
    if not runs:
        return ""
    states = {run.run_id: services.jobs.status(run.run_id, since_step=10**12) for run in runs}
    rows = {run.run_id: run.metrics() for run in runs}
    title = section(
        "What they write now" if len(runs) > 1 else "What it writes now",
        "A fresh sample at every validation. Wavy: words that are not in the corpus.",
    )
    samples = f'<div class="swipe">{_samples(services, runs)}</div>'
    return f'{_table(runs, states, rows)}<div class="writes">{title}{samples}</div>'


def _table(runs: Sequence[Run], states: Mapping[str, Any], rows: Mapping[str, Any]) -> str:
    """Ranked at equal steps; the last column ranks at equal own seconds."""
    ranked = {run.run_id: rows[run.run_id] for run in _contenders(runs)}
    step, seconds = common_limit(ranked, "step"), common_limit(ranked, "seconds")
    by_steps, by_seconds = dict(standing(ranked, "step")), dict(standing(ranked, "seconds"))
    order = list(by_steps)
    called = dict(zip([run.run_id for run in runs], names(runs), strict=True))
    several = len(runs) > 1
    lines: list[list[Cell | str]] = []
    for run in sorted(runs, key=lambda run: order.index(run.run_id) if run.run_id in order else len(order)):
        state, last = states[run.run_id], rows[run.run_id][-1] if rows[run.run_id] else {}
        loss = by_steps.get(run.run_id)
        cells: list[Cell | str] = [
            Cell(html=f"{swatch(run.arch)}{model_name(called[run.run_id], shape(run))}"),
            Cell(numbers.nats(loss), strong=True),
            numbers.nats(state["train_loss"]),
            numbers.perplexity(loss),
            numbers.bits(numbers.bits_of(loss)),
            numbers.bits(last.get("grad_norm")),
            numbers.whole(state["chars_per_second"]),
            f"{state['seconds'] or 0:,.1f} s",
        ]
        lines.append(cells + ([numbers.nats(by_seconds.get(run.run_id))] if several else []))
    head = (f"At step {numbers.whole(step)}", *HEAD, *((f"At {seconds:,.1f} s each",) if several else ()))
    return table(head, lines, keep=PHONE_COLUMNS, kind="standing", id="train-table")


def _samples(services: Services, runs: Sequence[Run]) -> str:
    from charlm.analysis.words import unknown_words

    shown = []
    for run, name in zip(runs, names(runs), strict=True):
        samples = run.samples()
        newest: Mapping[str, Any] = samples[-1] if samples else {"step": 0, "prompt": "", "text": ""}
        known = services.serving.lexicon(run)
        spans = unknown_words(newest["text"], known, ended=False)[0] if known else []
        text = marked_text(newest["prompt"], newest["text"], spans)
        note = "" if samples else "Its first sample comes with the first validation."
        shown.append(
            Column(run.run_id, run.arch, name, f"step {numbers.whole(newest['step'])}", text_html=text, note=note)
        )
    return columns(shown)
