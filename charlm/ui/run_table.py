"""The Runs tab's table: one line a run, its actions at the line's end."""

from collections.abc import Sequence
from html import escape
from typing import Any

from charlm.config import ARCH_NAMES
from charlm.ui import numbers
from charlm.ui.common import Cell, action, heading, notice, swatch, table
from charlm.ui.numbers import bits_of
from charlm.ui.verdict import AT_WORK

HEAD = ("Run", "Corpus", "Status", "Best val. loss", "Bits/char", "Steps", "Time", "Started", "")
PHONE_COLUMNS = (0, 3, 8)  # what can be done tells the status
RESUMABLE = ("stopped", "interrupted", "finished")


def runs_heading(runs: Sequence[Any]) -> str:
    """`9 runs` and what they are."""
    if not runs:
        return heading("No runs yet")
    at_work = [run for run in runs if run.status in AT_WORK]
    shipped = [run for run in runs if run.shipped]
    own = len(runs) - len(at_work) - len(shipped)
    parts = [f"{len(at_work)} at work"] if at_work else []
    parts += [f"{own} yours"] if own else []
    parts += [f"{len(shipped)} shipped with the app (read-only)"] if shipped else []
    return heading(numbers.count(len(runs), "run"), ", ".join(parts) + ".")


def matching(runs: Sequence[Any], wanted: str) -> list[Any]:
    """Runs whose label, id, corpus, architecture or status contains every word of `wanted`."""
    words = (wanted or "").lower().split()
    return [run for run in runs if all(word in _haystack(run) for word in words)]


def _haystack(run: Any) -> str:
    parts = (run.label, run.run_id, run.corpus.get("name", ""), run.arch, status_word(run), run.status)
    return " ".join(map(str, parts)).lower()


def status_word(run: Any) -> str:
    """The status as the table shows it."""
    return "shipped" if run.shipped else str(run.status)


def runs_table(runs: Sequence[Any], wanted: str = "") -> str:
    """The table of the runs that match, or what to do when there are none."""
    shown = matching(runs, wanted)
    if not runs:
        return notice("Nothing has been trained here yet.", "The Train tab makes the first run in about a minute.")
    if not shown:
        return notice("No run matches.", f"Nothing here is called {wanted!r}; clear the filter to see all.")
    return table(HEAD, [_row(run) for run in shown], keep=PHONE_COLUMNS, kind="runs", id="runs-list")


def _row(run: Any) -> list[Cell | str]:
    return [
        Cell(html=_name(run)),
        str(run.corpus.get("name", numbers.MISSING)),
        Cell(html=_status(run)),
        Cell(numbers.nats(run.best_val_loss), strong=True),
        numbers.bits(bits_of(run.best_val_loss)),
        numbers.whole(run.step),
        numbers.duration(run.seconds),
        Cell(html=f'<span class="grey">{escape(_started(run))}</span>'),
        Cell(html=_actions(run)),
    ]


def _name(run: Any) -> str:
    """Swatch and label as a button that opens the details, then the architecture."""
    arch = ARCH_NAMES.get(run.arch, run.arch)
    return (
        f'<span class="named">{swatch(run.arch)}<button type="button" class="name" data-act="open" '
        f'data-run="{escape(run.run_id)}"><b>{escape(run.label)}</b></button> '
        f'<span class="grey">{escape(arch)}</span></span>'
    )


def _status(run: Any) -> str:
    word = status_word(run)
    kind = "live" if run.status in AT_WORK else "bad" if run.status == "failed" else "still"
    return f'<span class="status {kind}">{escape(word)}</span>'


def _started(run: Any) -> str:
    if run.shipped:
        return numbers.MISSING
    return "now" if run.status == "running" else numbers.day(run.created)


def _actions(run: Any) -> str:
    """What can be done with the run in its state, most wanted first."""
    pairs = [("watch", "Watch"), ("stop", "Stop")] if run.status in AT_WORK else []
    if run.status == "failed":
        pairs.append(("open", "Why?"))
    elif run.status not in AT_WORK and run.best_val_loss is not None:
        pairs.append(("compare", "Compare"))
    if run.status in RESUMABLE and not run.shipped and run.status not in AT_WORK:
        pairs.append(("resume", "Resume"))
    links = [action(name, label, run=run.run_id) for name, label in pairs]
    return f'<span class="acts">{"".join(links)}{action("open", "⋯", run=run.run_id, why="Details")}</span>'
