"""The trash: what was deleted, how it comes back, and how it goes for good."""

from collections.abc import Sequence
from html import escape
from typing import Any

from charlm.config import ARCH_NAMES
from charlm.ui.common import action, swatch
from charlm.ui.numbers import count, size

HINT = "Deleted runs stay here, and on the disk, until the trash is emptied."


def trash_title(runs: Sequence[Any]) -> str:
    """`Trash: 3 runs, 40 MB`."""
    return f"Trash: {_amount(runs)}"


def _amount(runs: Sequence[Any]) -> str:
    return f"{count(len(runs), 'run')}, {size(sum(run.size_bytes for run in runs))}"


def trash_html(runs: Sequence[Any], asking: bool = False) -> str:
    """A line for each run, and the way to free the room; `asking` puts the question."""
    if not runs:
        return ""
    if asking:
        foot = f"<span>{_amount(runs)}: gone for good?</span>{action('empty', 'Empty it')}{action('keep', 'Keep')}"
    else:
        foot = action("ask-empty", "Empty the trash")
    lines = "".join(map(_trash_line, runs))
    return f'<p class="hint">{HINT}</p><ul class="trash">{lines}</ul><p class="foot acts">{foot}</p>'


def _trash_line(run: Any) -> str:
    arch, corpus = ARCH_NAMES.get(run.arch, run.arch), run.corpus.get("name")
    what = f"{arch}{f' on {corpus}' if corpus else ''}, {size(run.size_bytes)}"
    return (
        f'<li><span class="what">{swatch(run.arch)}<b>{escape(run.label)}</b> '
        f'<span class="grey">{escape(what)}</span></span>'
        f'<span class="acts">{action("restore", "Restore", run=run.run_id)}</span></li>'
    )


def deleted_html(run: Any) -> str:
    """`Deleted gru-sherlock. Undo`."""
    return told_html(f"Deleted {run.label}.", action("restore", "Undo", run=run.run_id))


def told_html(sentence: str, action_html: str = "") -> str:
    """The line that says what was just done."""
    return f'<p class="told-line" role="status">{escape(sentence)} {action_html}</p>'
