"""What to try next, under the table of the Train tab: a sentence each, and the button that fills the form."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from charlm.advice import MOST, Advice
from charlm.ui.common import action, section
from charlm.ui.train_form import FOLDS, NAMES

Told = tuple[Any, Advice]  # a run and what is said of it


def chosen(advice: Mapping[str, Sequence[Advice]], runs: Sequence[Any]) -> list[Told]:
    """The most useful of what is said of several runs, each kind once."""
    told = [(run, one) for run in runs for one in advice.get(run.run_id, ())]
    kinds: dict[str, Told] = {}
    for run, one in sorted(told, key=lambda pair: -pair[1].weight):
        kinds.setdefault(one.kind, (run, one))
    return list(kinds.values())[:MOST]


def advice_html(told: Sequence[Told], called: Mapping[str, str]) -> str:
    """Sentences with their buttons; empty without any.

    Args:
        told: see `chosen`.
        called: what to call each run, by its id; a single one needs no name.
    """
    if not told:
        return ""
    lines = []
    for run, one in told:
        name = f"<b>{escape(called[run.run_id])}</b> " if len(called) > 1 else ""
        button = action("fill", one.deed, "Fill the form with it", run=run.run_id, kind=one.kind) if one.deed else ""
        lines.append(f"<li><p>{name}{escape(one.said)}</p>{button}</li>")
    return f'{section("What to try next")}<ul class="advice">{"".join(lines)}</ul>'


def form_values(run: Any, advice: Advice) -> list[Any]:
    """The run's settings with the advice's changes, in the order of the form's controls; the name is left open."""
    settings = run.model_config.to_dict() | run.train_config.to_dict() | dict(advice.changes) | {"label": ""}
    return [settings[name] for name in NAMES]


def opened_folds(advice: Advice) -> set[str]:
    """Keys of the form's folds in which something changes."""
    return {key for key, names in FOLDS.items() if set(names) & set(advice.changes)}
