"""What the Runs tab lists, as HTML: the runs and their actions, the queue above them, the trash; and what comes in."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, cast

from markupsafe import Markup

from charlm.architectures import ARCH_NAMES
from charlm.errors import ConfigError
from charlm.files import one_line
from charlm.public import VisitorRuns
from charlm.public.services import Services
from charlm.runs.run import ACTIVE
from charlm.runs.store import RunStore
from charlm.ui import formatting
from charlm.ui.formatting import count, listed, ordinal, size
from charlm.ui.html import TERMS, action, heading, notice, render, section
from charlm.ui.runs.details import came_untrained, origin_line, origin_sentence, resume_options
from charlm.ui.runs.order import COLUMNS, Group, Order, grouped, model, status_word

SHOWN_NOTE = 90  # characters of a note in the table
MOST_ROWS = 100  # of the table; a browser takes seconds for thousands
RESUMABLE = ("stopped", "interrupted", "finished")
# What the browser's file picker offers, on a public Space the first one only; what is read is known by its content.
TYPES = [
    ".zip", ".net", ".pt", ".pth", ".ckpt", ".safetensors", ".npz", ".keras", ".h5", ".hdf5", ".json", ".txt",
]  # fmt: skip
LISTS = (".json", ".txt")
WANTED = (
    "choose a run's zip or a checkpoint, and at most one .json or .txt with its characters beside it; a model of "
    "several files as a zip of them"
)


class Disk:
    """Remembers the sizes of runs that rest; those at work grow."""

    def __init__(self) -> None:
        self._sizes: dict[str, tuple[Any, int]] = {}  # by run id: what the folder was last changed for, its bytes

    def used(self, runs: Iterable[Any]) -> int:
        """Bytes of all these runs together."""
        return sum(map(self._size, runs))

    def _size(self, run: Any) -> int:
        if run.status in ACTIVE:
            return int(run.size_bytes)
        changed = run.info.get("updated"), run.status, run.trimmed
        known = self._sizes.get(run.run_id)
        if known is None or known[0] != changed:
            known = self._sizes[run.run_id] = changed, int(run.size_bytes)
        return known[1]


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
    if not lines:
        return section(f"Up to {count(jobs.at_once, 'training')} share the machine", "Nothing waits.")
    title = f"{count(len(lines), 'training')} {'waits' if len(lines) == 1 else 'wait'}"
    hint = "They begin by themselves, in this order." if len(lines) > 1 else "It begins by itself."
    return section(title, hint) + render("queue", jobs=lines, ordinal=ordinal, names=ARCH_NAMES)


def trash_title(runs: Sequence[Any]) -> str:
    """`Trash: 3 runs, 40 MB`."""
    return f"Trash: {_amount(runs)}"


def _amount(runs: Sequence[Any]) -> str:
    return f"{count(len(runs), 'run')}, {size(sum(run.size_bytes for run in runs))}"


def trash_html(runs: Sequence[Any], asking: bool = False) -> str:
    """A line for each run, and the way to free the room; `asking` puts the question."""
    return render("trash", runs=runs, asking=asking, amount=_amount(runs), about=_about) if runs else ""


def _about(run: Any) -> str:
    corpus = run.corpus.get("name")
    return f"{ARCH_NAMES.get(run.arch, run.arch)}{f' on {corpus}' if corpus else ''}, {size(run.size_bytes)}"


def deleted_html(run: Any) -> str:
    """`Deleted gru-sherlock. Undo`."""
    return done_html(f"Deleted {run.label}.", action("restore", "Undo", of=run.label, run=run.run_id))


def imported_html(run: Any) -> str:
    """What the new run is, and what can be done with it next."""
    model = run.model_config
    distinct = count(model.vocab_size, "character" if model.level == "char" else "token")
    what = f"{ARCH_NAMES.get(run.arch, run.arch)}, {model.shape}, {distinct}"
    next_steps = "Below it can be forked, to train it further, and scored on a text."
    return done_html(f"Imported {run.label}: {what}. {next_steps}", action("compare", "Compare it", run=run.run_id))


def done_html(sentence: str, action_html: str = "") -> str:
    """The line that says what was just done."""
    return f'<p class="told-line" role="status">{escape(sentence)} {action_html}</p>'


def runs_heading(runs: Sequence[Any], used: int | None = None) -> str:
    """`9 runs, 41.0 MB on disk` and what they are.

    Args:
        runs: all of them.
        used: bytes they take on disk.
    """
    if not runs:
        return heading("No runs yet")
    counts = {
        "at work": sum(run.status in ACTIVE and run.status != "queued" for run in runs),
        "waiting": sum(run.status == "queued" for run in runs),
        "yours": sum(run.status not in ACTIVE and not run.shipped for run in runs),
        "shipped with the app (read-only)": sum(run.shipped for run in runs),
    }
    parts = [f"{number} {what}" for what, number in counts.items() if number]
    cost = f", {size(used)} on disk" if used is not None else ""
    own = any(not run.shipped for run in runs)
    first = "" if own else " None is yours yet: the Train tab makes the first in about a minute."
    return heading(count(len(runs), "run") + cost, f"{', '.join(parts)}.{first}")


def matching(runs: Sequence[Any], wanted: str) -> list[Any]:
    """Runs whose label, id, corpus, architecture, status, origin or note contains every word of `wanted`."""
    words = (wanted or "").lower().split()
    return [run for run in runs if all(word in _haystack(run) for word in words)]


def _haystack(run: Any) -> str:
    corpus = run.corpus.get("name", "")
    facts = (run.label, run.run_id, corpus, run.arch, model(run), status_word(run), run.status)
    parts = (*facts, origin_sentence(run), run.note)
    return " ".join(map(str, parts)).lower()


def runs_table(
    runs: Sequence[Any],
    wanted: str = "",
    words: Mapping[str, str] | None = None,
    order: Order | None = None,
    by_race: bool = False,
) -> str:
    """The table of the runs that match, or what to do when there are none.

    Args:
        runs: all of them.
        wanted: the filter.
        words: what their jobs say of those at work and in the queue, by run id.
        order: by which column, and in which direction; None: the newest first.
        by_race: those of a race stand together under a heading.
    """
    shown, order = matching(runs, wanted), order or Order()
    if not runs:
        return notice("Nothing has been trained here yet.", "The Train tab makes the first run in about a minute.")
    if not shown:
        return notice("No run matches.", f"Nothing here is called {wanted!r}; clear the filter to see all.")
    rows = order.sort(shown)[:MOST_ROWS]
    return render(
        "runs",
        known_json=json.dumps([run.run_id for run in runs]),
        columns=COLUMNS,
        order=order,
        tips=TERMS,
        groups=grouped(rows) if by_race else [Group("", "", rows)],
        left_out=left_out(len(shown)),
        cells=lambda run: _cells(run, (words or {}).get(run.run_id, "")),
        actions=lambda run: Markup("".join(_actions(run))),
    )


def left_out(matching: int) -> str:
    """`The first 100 of 1,998 runs; ..`; empty if all that match are in the table."""
    if matching <= MOST_ROWS:
        return ""
    return f"The first {MOST_ROWS:,} of {matching:,} runs; the filter, or another order, brings the others."


def _cells(run: Any, word: str) -> list[str]:
    """A row's cells in the order of COLUMNS; Markup is trusted, all else text."""
    untrained, started = came_untrained(run), "now" if run.status == "running" else formatting.day(run.created)
    return [
        Markup(render("run_name", run=run, origin_html=origin_line(run), note=note_line(run))),
        model(run),
        str(run.corpus.get("name", formatting.MISSING)),
        Markup(_status(run, word)),
        Markup(f"<b>{formatting.nats(run.best_val_loss)}</b>"),
        formatting.bits(run.bits_per_char(run.best_val_loss)),
        formatting.whole(run.num_parameters),
        formatting.MISSING if untrained else formatting.whole(run.step),
        formatting.MISSING if untrained else formatting.duration(run.seconds),
        Markup('<span class="grey">{}</span>').format(formatting.MISSING if run.shipped else started),
    ]


def note_line(run: Any) -> str:
    """The note's beginning in one line; empty without one."""
    line = one_line(run.note, SHOWN_NOTE + 1)
    return line if len(line) <= SHOWN_NOTE else f"{line[:SHOWN_NOTE].rstrip()}…"


def _status(run: Any, word: str) -> str:
    """The status, or the job's word for it: run.json says nothing of a place, nor of a rest that it cannot take."""
    shown = word if word and run.status in ACTIVE else status_word(run)
    kind = "bad" if run.status == "failed" else "live" if shown in ("running", "paused") else "still"
    return f'<span class="status {kind}">{escape(shown)}</span>'


def _actions(run: Any) -> Iterable[str]:
    """What can be done with the run in its state, most wanted first."""
    if run.status in ACTIVE:
        yield action("watch", "Watch", of=run.label, run=run.run_id)
        yield action("stop", "Stop", of=run.label, run=run.run_id)
    elif run.status == "failed":
        yield action("open", "Why?", of=run.label, run=run.run_id)
    elif run.has_learned:
        yield action("compare", "Compare", of=run.label, run=run.run_id)
    is_complete = run.status == "finished" and run.model_config.is_counted
    if run.status in RESUMABLE and not (run.shipped or run.trimmed or is_complete):
        more = resume_options(run).get("steps")
        yield action("resume", "Resume", f"{count(more, 'step')} more" if more else "", of=run.label, run=run.run_id)
    yield action("open", "⋯", "Details", of=run.label, run=run.run_id)


def bring_run(services: Services, checkpoint: Path, characters: Path | None = None, **options: Any) -> Any:
    """A new run made of what was uploaded; the page and the endpoints come through here.

    Args:
        services: whose store the run goes to.
        checkpoint: a run's zip, or a file of weights.
        characters: the file that lists its characters, if it does not itself.
        options: label, nonlinearity and corpus of `charlm.formats.imports.import_file`.

    Raises:
        CharLMError: it cannot be imported.
    """
    from charlm.formats.imports import import_file  # loads torch

    if isinstance(services.store, VisitorRuns):
        return services.store.take_in(checkpoint, characters=characters, **options)
    return import_file(cast(RunStore, services.store), checkpoint, characters=characters, **options)


def tell_apart(files: Sequence[Path]) -> tuple[Path, Path | None]:
    """The checkpoint and the list of its characters, in whatever order they were chosen.

    Raises:
        ConfigError: it is not clear which is which.
    """
    lists = [path for path in files if path.suffix.lower() in LISTS] if len(files) > 1 else []
    rest = [path for path in files if path not in lists]
    if len(rest) != 1 or len(lists) > 1:
        given = listed([path.name[:60] for path in files[:4]]) or "no file"
        raise ConfigError(f"{given} cannot be imported; {WANTED}")
    return rest[0], lists[0] if lists else None
