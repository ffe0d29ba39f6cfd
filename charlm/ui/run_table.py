"""The Runs tab's table: one line a run, its actions at the line's end."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from charlm.config import ARCH_NAMES, LEVEL_NAMES
from charlm.ui import numbers
from charlm.ui.common import Cell, action, heading, notice, swatch, table
from charlm.ui.origin import origin_line, origin_sentence
from charlm.ui.run_details import came_untrained, resume_options
from charlm.ui.verdict import AT_WORK

HEAD = ("Run", "Corpus", "Status", "Best val. loss", "Bits/char", "Steps", "Time", "Started", "")
PHONE_COLUMNS = (0, 3, 8)  # what can be done tells the status
RESUMABLE = ("stopped", "interrupted", "finished")


def runs_heading(runs: Sequence[Any], used: int | None = None) -> str:
    """`9 runs, 41.0 MB on disk` and what they are.

    Args:
        runs: all of them.
        used: bytes they take on disk.
    """
    if not runs:
        return heading("No runs yet")
    counts = {
        "at work": sum(run.status in AT_WORK and run.status != "queued" for run in runs),
        "waiting": sum(run.status == "queued" for run in runs),
        "yours": sum(run.status not in AT_WORK and not run.shipped for run in runs),
        "shipped with the app (read-only)": sum(run.shipped for run in runs),
    }
    parts = [f"{number} {what}" for what, number in counts.items() if number]
    cost = f", {numbers.size(used)} on disk" if used is not None else ""
    return heading(numbers.count(len(runs), "run") + cost, ", ".join(parts) + ".")


def matching(runs: Sequence[Any], wanted: str) -> list[Any]:
    """Runs whose label, id, corpus, architecture or status contains every word of `wanted`."""
    words = (wanted or "").lower().split()
    return [run for run in runs if all(word in _haystack(run) for word in words)]


def _haystack(run: Any) -> str:
    corpus = run.corpus.get("name", "")
    parts = (run.label, run.run_id, corpus, run.arch, status_word(run), run.status, origin_sentence(run))
    return " ".join(map(str, parts)).lower()


def status_word(run: Any) -> str:
    """The status as the table shows it."""
    return "shipped" if run.shipped else "imported" if came_untrained(run) else str(run.status)


def runs_table(runs: Sequence[Any], wanted: str = "", words: Mapping[str, str] | None = None) -> str:
    """The table of the runs that match, or what to do when there are none.

    Args:
        runs: all of them.
        wanted: the filter.
        words: what their jobs say of those at work and in the queue, by run id.
    """
    shown = matching(runs, wanted)
    if not runs:
        return notice("Nothing has been trained here yet.", "The Train tab makes the first run in about a minute.")
    if not shown:
        return notice("No run matches.", f"Nothing here is called {wanted!r}; clear the filter to see all.")
    rows = [_row(run, (words or {}).get(run.run_id, "")) for run in shown]
    return table(HEAD, rows, keep=PHONE_COLUMNS, kind="runs", id="runs-list")


def _row(run: Any, word: str) -> list[Cell | str]:
    return [
        Cell(html=_name(run)),
        str(run.corpus.get("name", numbers.MISSING)),
        Cell(html=_status(run, word)),
        Cell(numbers.nats(run.best_val_loss), strong=True),
        numbers.bits(run.bits_per_char(run.best_val_loss)),
        numbers.MISSING if came_untrained(run) else numbers.whole(run.step),
        numbers.MISSING if came_untrained(run) else numbers.duration(run.seconds),
        Cell(html=f'<span class="grey">{escape(_started(run))}</span>'),
        Cell(html=_actions(run)),
    ]


def _name(run: Any) -> str:
    """Swatch and label as a button that opens the details, then the architecture; under it where it comes from."""
    arch = ARCH_NAMES.get(run.arch, run.arch)
    arch = arch if run.level == "char" else f"{arch} on {LEVEL_NAMES[run.level]}"
    return (
        f'<span class="named">{swatch(run.arch)}<button type="button" class="name" data-act="open" '
        f'data-run="{escape(run.run_id)}"><b>{escape(run.label)}</b></button> '
        f'<span class="grey">{escape(arch)}</span></span>{origin_line(run)}'
    )


def _status(run: Any, word: str) -> str:
    """The status, or the job's word for it: run.json says nothing of a place, nor of a rest that it cannot take."""
    shown = word if word and run.status in AT_WORK else status_word(run)
    kind = "bad" if run.status == "failed" else "live" if shown in ("running", "paused") else "still"
    return f'<span class="status {kind}">{escape(shown)}</span>'


def _started(run: Any) -> str:
    if run.shipped:
        return numbers.MISSING
    return "now" if run.status == "running" else numbers.day(run.created)


def _actions(run: Any) -> str:
    """What can be done with the run in its state, most wanted first."""
    names = [("watch", "Watch", ""), ("stop", "Stop", "")] if run.status in AT_WORK else []
    if run.status == "failed":
        names.append(("open", "Why?", ""))
    elif run.status not in AT_WORK and run.has_learned:
        names.append(("compare", "Compare", ""))
    complete = run.status == "finished" and run.model_config.is_counted
    if run.status in RESUMABLE and not (run.shipped or run.trimmed or complete):
        more = resume_options(run).get("steps")
        names.append(("resume", "Resume", f"{numbers.count(more, 'step')} more" if more else ""))
    links = [action(name, label, why, run=run.run_id) for name, label, why in names]
    return f'<span class="acts">{"".join(links)}{action("open", "⋯", run=run.run_id, why="Details")}</span>'
