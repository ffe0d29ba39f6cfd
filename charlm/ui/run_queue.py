"""What waits: one line a training, to be moved or taken out; and the place of each waiting run."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from charlm.config import ARCH_NAMES
from charlm.ui.common import action, section, swatch
from charlm.ui.numbers import count, ordinal

AT_ONCE_LABEL = "How many train at once"
AT_ONCE_HINT = "Each then gets less of the machine."


def waiting(jobs: Any) -> list[Mapping[str, Any]]:
    """The jobs that wait, next one first."""
    return [job for job in jobs.queue_list() if job["position"]]


def words(jobs: Any) -> dict[str, str]:
    """What to say of the runs at work and in the queue: `queued, 2nd`, or their job's status."""
    return {
        run_id: f"queued, {ordinal(job['position'])}" if job["position"] else str(job["status"])
        for job in jobs.queue_list()
        for run_id in job["run_ids"]
    }


def is_shown(jobs: Any) -> bool:
    """Whether there is anything to say or to set back."""
    return bool(waiting(jobs)) or jobs.at_once > 1


def queue_html(jobs: Any) -> str:
    """One line a waiting job; one sentence when none waits."""
    lines = waiting(jobs)
    title = f"{count(len(lines), 'training')} {'waits' if len(lines) == 1 else 'wait'}"
    hint = "They begin by themselves, in this order." if len(lines) > 1 else "It begins by itself."
    if not lines:
        return section(f"Up to {count(jobs.at_once, 'training')} share the machine", "Nothing waits.")
    return section(title, hint) + f'<ol class="queue">{"".join(map(_queue_line, *_ends(lines)))}</ol>'


def _ends(lines: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """The lines, and whether each is the first and the last."""
    places = range(len(lines))
    return lines, [place == 0 for place in places], [place == len(lines) - 1 for place in places]


def _queue_line(job: Mapping[str, Any], first: bool, last: bool) -> str:
    run = str(job["run_ids"][0])
    fixed = not job.get("movable", True)
    pairs = [] if first or fixed else [("earlier", "Earlier")]
    pairs += [] if last or fixed else [("later", "Later")]
    acts = "".join(action(name, label, run=run) for name, label in [*pairs, ("cancel", "Cancel")])
    names = ", ".join(ARCH_NAMES.get(arch, arch) for arch in job["archs"])
    swatches = "".join(map(swatch, job["archs"]))
    return (
        f'<li><span class="grey">{ordinal(job["position"])}</span><span class="what"><span class="swatches-line">'
        f'{swatches}</span><b>{escape(str(job["title"]))}</b> <span class="grey">{escape(names)} on '
        f'{escape(str(job["corpus"]))}</span></span><span class="acts">{acts}</span></li>'
    )
