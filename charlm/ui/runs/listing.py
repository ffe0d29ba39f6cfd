"""The Runs tab's table: one line a run, its actions at the line's end."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, cast

import gradio as gr

from charlm.architectures import ARCH_NAMES
from charlm.config import LEVEL_NAMES
from charlm.errors import ConfigError
from charlm.public import VisitorRuns
from charlm.public.services import Services
from charlm.runs.store import RunStore
from charlm.ui import formatting
from charlm.ui.formatting import count, listed, ordinal, size
from charlm.ui.html import ACTIONS_JS, Cell, action, heading, notice, section, swatch, table
from charlm.ui.runs.details import came_untrained, origin_line, origin_sentence, resume_options
from charlm.ui.verdict import AT_WORK


class Disk:
    """Remembers the sizes of runs that rest; those at work grow."""

    def __init__(self) -> None:
        self._sizes: dict[str, tuple[Any, int]] = {}  # by run id: what the folder was last changed for, its bytes

    def used(self, runs: Iterable[Any]) -> int:
        """Bytes of all these runs together."""
        return sum(map(self._size, runs))

    def _size(self, run: Any) -> int:
        if run.status in AT_WORK:
            return int(run.size_bytes)
        changed = run.info.get("updated"), run.status, run.trimmed
        known = self._sizes.get(run.run_id)
        if known is None or known[0] != changed:
            known = self._sizes[run.run_id] = changed, int(run.size_bytes)
        return known[1]


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
    cost = f", {formatting.size(used)} on disk" if used is not None else ""
    return heading(formatting.count(len(runs), "run") + cost, ", ".join(parts) + ".")


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
        str(run.corpus.get("name", formatting.MISSING)),
        Cell(html=_status(run, word)),
        Cell(formatting.nats(run.best_val_loss), strong=True),
        formatting.bits(run.bits_per_char(run.best_val_loss)),
        formatting.MISSING if came_untrained(run) else formatting.whole(run.step),
        formatting.MISSING if came_untrained(run) else formatting.duration(run.seconds),
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
        return formatting.MISSING
    return "now" if run.status == "running" else formatting.day(run.created)


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
        names.append(("resume", "Resume", f"{formatting.count(more, 'step')} more" if more else ""))
    links = [action(name, label, why, run=run.run_id) for name, label, why in names]
    return f'<span class="acts">{"".join(links)}{action("open", "⋯", run=run.run_id, why="Details")}</span>'


# What the browser's file picker offers, on a public Space the first one only; what is read is known by its content.
TYPES = [".zip", ".net", ".pt", ".pth", ".safetensors", ".json", ".txt"]
LISTS = (".json", ".txt")
WANTED = "choose a run's zip or a checkpoint, and at most one .json or .txt with its characters beside it"


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
    from charlm.formats.imports import import_file

    if isinstance(services.store, VisitorRuns):
        return services.store.take_in(checkpoint, **options)
    return import_file(cast(RunStore, services.store), checkpoint, characters=characters, **options)


def told_apart(files: Sequence[Path]) -> tuple[Path, Path | None]:
    """The checkpoint and the list of its characters, in whatever order they were chosen.

    Raises:
        ConfigError: it cannot be told which is which.
    """
    lists = [path for path in files if path.suffix.lower() in LISTS]
    rest = [path for path in files if path not in lists]
    if len(rest) != 1 or len(lists) > 1:
        given = listed([path.name[:60] for path in files[:4]]) or "no file"
        raise ConfigError(f"{given} cannot be imported; {WANTED}")
    return rest[0], lists[0] if lists else None


def imported_html(run: Any) -> str:
    """What the new run is, and what can be done with it next."""
    model = run.model_config
    kind = ARCH_NAMES.get(run.arch, run.arch)
    what = f"{kind}, {model.shape}, {count(model.vocab_size, 'character')}"
    return told_html(
        f"Imported {run.label}: {what}. Below it can be forked, to train it further, and scored on a text.",
        action("compare", "Compare it", run=run.run_id),
    )


TABLE_JS = (
    ACTIONS_JS
    + """
const tell = () => { if (element.isConnected && element.offsetParent) trigger('refresh', {}); };
window.addEventListener('charlm:job', tell);
setInterval(() => {
  if (document.visibilityState === 'visible' && document.querySelector('#strip .job[data-status]')) tell();
}, 3000);
"""
)


@dataclass(frozen=True)
class Listing:
    """The components, and what to put into them. Built in the order in which they stand, the panel in between."""

    services: Services
    disk: Disk
    head: gr.HTML
    filter: gr.Textbox
    upload: gr.UploadButton
    queue_row: gr.Row
    queue: gr.HTML
    at_once: gr.Number
    table: gr.HTML
    told: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        """What `now` fills."""
        return [self.head, self.queue_row, self.queue, self.table]

    def now(self, wanted: str = "") -> dict[Any, Any]:
        """Everything but the trash, as it is now.

        Args:
            wanted: the filter.
        """
        runs, jobs = self.services.store.list(), self.services.jobs
        return {
            self.head: runs_heading(runs, self.disk.used(runs)),
            self.queue_row: gr.update(visible=is_shown(jobs)),
            self.queue: queue_html(jobs),
            self.table: runs_table(runs, wanted, words(jobs)),
        }


@dataclass(frozen=True)
class Trash:
    """The fold at the tab's foot."""

    services: Services
    fold: gr.Accordion
    body: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        """What `now` fills."""
        return [self.fold, self.body]

    def now(self, asking: bool = False) -> dict[Any, Any]:
        """The trash as it is now; `asking` whether it shall be emptied."""
        runs = self.services.store.trashed()
        return {
            self.fold: gr.update(label=trash_title(runs), visible=bool(runs)),
            self.body: trash_html(runs, asking),
        }


def build_listing(services: Services) -> Listing:
    """Heading, filter, import, queue, table and the line that says what was done; call inside the tab.

    The runs come when the tab is opened: a list of those that were there when the server began would change under the
    visitor's hand, and the click go to another run.
    """
    jobs = services.jobs
    with gr.Row(elem_classes="head-line"):
        head = gr.HTML(elem_id="runs-head", apply_default_css=False)
        wanted = gr.Textbox(
            show_label=False, label="Filter", placeholder="Filter by name, corpus or model",
            elem_id="runs-filter", scale=0, min_width=290,
        )  # fmt: skip
        upload = gr.UploadButton(
            "Import…",
            size="sm",
            file_count="multiple",
            file_types=TYPES if services.limits is None else TYPES[:1],
            elem_id="runs-import",
            scale=0,
        )
    with gr.Row(visible=is_shown(jobs), elem_id="runs-queue-row") as queue_row:
        queue = gr.HTML(queue_html(jobs), elem_id="runs-queue", js_on_load=ACTIONS_JS, apply_default_css=False)
        at_once = gr.Number(
            jobs.at_once, label=AT_ONCE_LABEL, info=AT_ONCE_HINT, precision=0, elem_id="runs-at-once", scale=0,
            min_width=230, visible=services.limits is None,
        )  # fmt: skip
    table = gr.HTML(elem_id="runs-table", js_on_load=TABLE_JS, apply_default_css=False)
    told = gr.HTML("", elem_id="runs-told", js_on_load=ACTIONS_JS, apply_default_css=False)
    return Listing(services, Disk(), head, wanted, upload, queue_row, queue, at_once, table, told)


def build_trash(services: Services) -> Trash:
    """The fold with the deleted runs; call inside the tab."""
    runs = services.store.trashed()
    with gr.Accordion(trash_title(runs), open=False, visible=bool(runs), elem_id="runs-trash") as fold:
        body = gr.HTML(trash_html(runs), elem_id="runs-trashed", js_on_load=ACTIONS_JS, apply_default_css=False)
    return Trash(services, fold, body)
