"""Which runs Compare offers and which it opens with."""

import json
import time
from collections.abc import Sequence
from typing import Any

from charlm.bounded_json import parsed
from charlm.config import ARCH_NAMES, RACE_ARCHS
from charlm.errors import CharLMError
from charlm.ui.numbers import day
from charlm.ui.verdict import AT_WORK

MOST = 6
MOST_MESSAGE = 1 << 16  # characters of what a browser sends
LOOKED_AT = 64  # ids of one question


def comparable(runs: Sequence[Any]) -> list[Any]:
    """Runs that have weights to write with: one validation has passed, or they were imported."""
    return [run for run in runs if run.has_learned]


def default_runs(runs: Sequence[Any]) -> list[str]:
    """Ids of the newest finished LSTM, GRU and RNN on the same tokens, else the shipped ones, else the newest run."""
    usable = [run for run in comparable(runs) if run.status not in AT_WORK]
    own = [run for run in usable if not run.shipped and run.best_val_loss is not None]
    for group in (own, [run for run in usable if run.shipped]):
        for ground in dict.fromkeys(map(_ground, group)):
            trio = _newest_of_each([run for run in group if _ground(run) == ground])
            if len(trio) == len(RACE_ARCHS):
                return trio
    return [run.run_id for run in usable[:1]]


def _ground(run: Any) -> tuple[Any, str]:
    """What it was trained on: the text, and what its tokens are."""
    return run.corpus.get("sha256"), run.level


def _newest_of_each(runs: Sequence[Any]) -> list[str]:
    """The newest run of each of RACE_ARCHS, in their order."""
    found = {run.arch: run.run_id for run in reversed(runs)}
    return [found[arch] for arch in RACE_ARCHS if arch in found]


def run_choices(runs: Sequence[Any]) -> list[tuple[str, str]]:
    """(what is read, run id) for a picker; a name met twice also says when the run was started."""
    titles = [run_title(run) for run in runs]
    return [
        (title if titles.count(title) == 1 else f"{title} · {day(run.created)}", run.run_id)
        for title, run in zip(titles, runs, strict=True)
    ]


def run_title(run: Any) -> str:
    """A label that also says the architecture, and that a run is still at work."""
    arch = ARCH_NAMES.get(run.arch, run.arch)
    title = run.label if arch.lower() in run.label.lower() else f"{arch} · {run.label}"
    return f"{title} · {run.status}" if run.status in AT_WORK else title


def found_runs(store: Any, ids: Sequence[str]) -> list[Any]:
    """The runs of these ids that still exist, at most six, in the given order."""
    runs = []
    for run_id in dict.fromkeys(map(str, (ids or ())[:LOOKED_AT])):
        try:
            runs.append(store.get(run_id))
        except CharLMError:
            continue  # deleted in another page meanwhile
    return runs[:MOST]


def request(**what: Any) -> str:
    """A message from one tab to another; the nonce makes the same wish twice a change."""
    return json.dumps({**what, "at": time.time_ns()})


def asked(message: str | None) -> dict[str, Any]:
    """A message read back; anything else is an empty one."""
    try:
        value = parsed(message or "{}", MOST_MESSAGE)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
