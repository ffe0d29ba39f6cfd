"""What is measured of several runs: the six numbers under each column, the ranking table, its CSV."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from charlm.config import ARCH_NAMES, LEVEL_NAMES
from charlm.ui import numbers
from charlm.ui.common import Cell, swatch, table
from charlm.ui.csv_text import csv_text
from charlm.ui.run_details import came_untrained
from charlm.ui.verdict import names, same_tokens

HEAD = ("Model", "Val. loss", "Perplexity", "Bits/char", "Steps", "Trained", "Parameters")
PHONE_COLUMNS = (0, 1, 3, 5)
CSV_HEAD = (
    "label",
    "arch",
    "corpus",
    "val_loss",
    "perplexity",
    "bits_per_char",
    "steps",
    "seconds",
    "parameters",
    "tokens",
)


@dataclass(frozen=True)
class Writing:
    """What a generation showed of one run: share of unknown words and characters a second; None: not known."""

    unknown_share: float | None = None
    chars_per_second: float | None = None


def shape(run: Any) -> str:
    """`2 × 128`: layers and hidden units; of an n-gram its order."""
    if run.model_config.is_counted:
        return str(run.model_config.shape)
    return f"{run.model_config.num_layers} × {run.model_config.hidden_size}"


def trained(run: Any) -> tuple[int | None, float | None]:
    """Steps and seconds that it was trained for; None each where that happened elsewhere."""
    return (None, None) if came_untrained(run) else (run.step, run.seconds or 0.0)


def number_columns(runs: Sequence[Any], writing: Mapping[str, Writing]) -> dict[str, list[tuple[str, str, bool]]]:
    """The six rows of every run, by run id; the best value of a row is marked when there is something to beat."""
    seen = [writing.get(run.run_id, Writing()) for run in runs]
    losses = [run.best_val_loss for run in runs]
    comparable = 1 if same_tokens(runs) else 0
    measures: list[tuple[str, list[Any], Any, int]] = [
        ("Validation loss", losses, numbers.nats, comparable),
        ("Perplexity", losses, numbers.perplexity, comparable),
        ("Words not in the corpus", [one.unknown_share for one in seen], numbers.percent, 1),
        ("Parameters", [run.num_parameters for run in runs], numbers.whole, 1),
        ("Training time", [trained(run)[1] for run in runs], numbers.duration, 1),
        ("Writing speed, chars/s", [one.chars_per_second for one in seen], numbers.whole, -1),
    ]
    rows: dict[str, list[tuple[str, str, bool]]] = {run.run_id: [] for run in runs}
    for name, values, write, sign in measures:
        best = best_of(values, sign)
        for place, run in enumerate(runs):
            rows[run.run_id].append((name, write(values[place]), place in best))
    return rows


def best_of(values: Sequence[float | None], sign: int) -> set[int]:
    """Places of the smallest (sign 1) or largest (-1) value; none if fewer than two differ, or the sign is 0."""
    known = [(sign * value, place) for place, value in enumerate(values) if value is not None and math.isfinite(value)]
    if len({value for value, _ in known}) < 2:
        return set()
    top = min(known)[0]
    return {place for value, place in known if value == top}


def by_loss(runs: Sequence[Any]) -> list[Any]:
    """Runs by validation loss in bits per character, which all tokens can be compared in; those without one last."""
    bits = {run.run_id: run.bits_per_char(run.best_val_loss) for run in runs}
    return sorted(runs, key=lambda run: math.inf if bits[run.run_id] is None else bits[run.run_id])


def ranking_table(runs: Sequence[Any]) -> str:
    """The table under the curves, best first."""
    called = dict(zip([run.run_id for run in runs], names(runs), strict=True))
    rows: list[list[Cell | str]] = []
    for run in by_loss(runs):
        name = Cell(html=f"{swatch(run.arch)}{model_name(called[run.run_id], shape(run))}")
        rows.append(
            [
                name,
                Cell(numbers.nats(run.best_val_loss), strong=True),
                numbers.perplexity(run.best_val_loss),
                numbers.bits(run.bits_per_char(run.best_val_loss)),
                numbers.whole(trained(run)[0]),
                numbers.duration(trained(run)[1]),
                numbers.whole(run.num_parameters),
            ]
        )
    return table(HEAD, rows, keep=PHONE_COLUMNS, kind="ranking", id="ranking-table")


def model_name(name: str, grey: str) -> str:
    """A bold name and a grey addition."""
    return f'<b>{escape(name)}</b> <span class="grey">{escape(grey)}</span>'


def ranking_csv(runs: Sequence[Any]) -> str:
    """The ranking for a spreadsheet: text is quoted and never a formula, numbers are numbers."""
    rows: list[Sequence[str | float | None]] = [CSV_HEAD]
    for run in by_loss(runs):
        loss, name = run.best_val_loss, str(run.corpus.get("name", ""))
        losses: list[float | None] = [None] * 3
        if loss is not None:
            bits = run.bits_per_char(loss)
            losses = [
                round(loss, 6),
                float(f"{math.exp(min(loss, 700)):.6g}"),
                None if bits is None else round(bits, 6),
            ]
        text = (run.label, ARCH_NAMES.get(run.arch, run.arch), name)
        steps, seconds = trained(run)
        taken = None if seconds is None else round(seconds, 3)
        rows.append([*text, *losses, steps, taken, run.num_parameters, LEVEL_NAMES[run.level]])
    return csv_text(rows)
