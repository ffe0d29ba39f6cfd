"""Where a run comes from: the run it was forked from or tries again, and that one's own beginnings."""

from collections.abc import Collection, Mapping
from html import escape
from typing import Any

from charlm.ui.common import action
from charlm.ui.numbers import whole

FORK_TIP = "A fork is a new run that goes on from what another one has learned, with other settings."


def origin_sentence(run: Any) -> str:
    """`fork of gru-sherlock at step 500`, `imported from rnn.net`; empty for a run that began from nothing here."""
    if run.imported and not run.ancestry:
        return f"imported from {run.imported.get('file', 'a file')}"
    return "".join(f"{_verb(one)} {one['label']}{_place(one)}" for one in run.ancestry[:1])


def origin_line(run: Any) -> str:
    """The same as the small line under a name."""
    sentence = origin_sentence(run)
    return f'<span class="origin">{escape(sentence)}</span>' if sentence else ""


def chain(run: Any, known: Collection[str]) -> str:
    """The whole ancestry, nearest first; the names of runs that still exist open them.

    Args:
        run: whose.
        known: ids of the runs that exist.
    """
    return "".join(f'<span class="ancestor">{_link(one, known)}</span>' for one in run.ancestry)


def _link(one: Mapping[str, Any], known: Collection[str]) -> str:
    verb = _verb(one)
    if one["why"] == "fork":
        verb = f'<span class="term" tabindex="0" data-tip="{escape(FORK_TIP)}">fork</span> of'
    label, run_id = str(one["label"]), str(one["run_id"])
    name = action("open", label, run=run_id) if run_id in known else f'{escape(label)} <span class="grey">(gone)</span>'
    return f"{verb} {name}{escape(_place(one))}"


def _verb(one: Mapping[str, Any]) -> str:
    return "fork of" if one["why"] == "fork" else "new try of"


def _place(one: Mapping[str, Any]) -> str:
    return f" at step {whole(one['step'])}" if one["why"] == "fork" else ""
