"""Runs: every run with its actions, the queue above them, the chosen one under them, and the trash."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr

from charlm.data import catalog
from charlm.data.corpus import PACKED, SUFFIXES, Corpus, read_corpus
from charlm.errors import CharLMError
from charlm.files import is_count
from charlm.formats.exports import FORMATS, find_format
from charlm.public.services import FileAccess, Services
from charlm.runs.run import MAX_LABEL, MAX_NOTE, clean_note
from charlm.ui.compare.ranking import asked, found_runs, request
from charlm.ui.compare.tab import LEGEND, loss_plot
from charlm.ui.corpus.texts import Chosen, open_corpus, picker_choices
from charlm.ui.formatting import size
from charlm.ui.html import ACTIONS_JS, QUICK, QUIET, Shared, asset, render, section, toast
from charlm.ui.runs import details, hub, listing, picked
from charlm.ui.runs.belongings import belongings_html, delete_all
from charlm.ui.runs.order import Order, remembered
from charlm.ui.services import click_js
from charlm.ui.train.view import written

Changes = dict[Any, Any]  # components with what they are to show
TEXT_TYPES = [*SUFFIXES, *PACKED]
SAME_TEXT = ("The same text", "")
# The browser's tab remembers how the table stands over a reload.
KEEP_ORDER_JS = "(order, by_race) => { window.charlmAddress.keepRuns([order, by_race]); }"
KEPT_ORDER_JS = "(order, by_race) => window.charlmAddress.keptRuns() ?? [order, by_race]"
WAKE_JS = "() => window.dispatchEvent(new CustomEvent('charlm:wake'))"
SCROLL_JS = """() => setTimeout(() => document.getElementById('%s')?.scrollIntoView({
  block: 'nearest', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'instant' : 'smooth',
}), 120)"""


def build(services: Services, shared: Shared, compared: gr.Dropdown) -> None:
    """The tab's components and their wiring; call inside its gr.Tab.

    Args:
        services: what the page works with.
        shared: components of other tabs.
        compared: the models that are chosen in Compare.
    """
    tab = RunsTab(services, shared, compared)
    tab.wire_listing()
    tab.wire_actions()
    tab.wire_panel()
    tab.wire_fork()
    if "hub_push" in tab.parts:
        hub.wire(tab.parts, services, tab.find)
    if services.limits is not None:
        tab.wire_belongings()


def attempt(work: Callable[[], Any], title: str = "That did not work") -> Any:
    """Do it, or raise the toast that says why not."""
    try:
        return work()
    except CharLMError as error:
        raise gr.Error(toast(error), title=title, print_exception=False) from error


def export_file(files: FileAccess, run: Any, name: Any) -> str:
    """Write a run as a file of a format.

    Args:
        files: where exports are written.
        run: the one to write.
        name: the format's; see `format_choices`.

    Returns:
        The path of the file.

    Raises:
        gradio.Error: a toast that says why this run cannot be written in this format.
    """
    return str(attempt(lambda: files.run(run, find_format(str(name))), "Not in this format"))


def format_choices() -> list[tuple[str, str]]:
    """What is read and the format's name, in the order of the list."""
    return [(f"{one.name}: {one.about}", one.name) for one in FORMATS]


class RunsTab:
    """The components by name, and what they do.

    The runs come when the tab is opened: a list of those that were there when the server began would change under the
    visitor's hand, and the click go to another run.
    """

    def __init__(self, services: Services, shared: Shared, compared: gr.Dropdown) -> None:
        self.services, self.shared, self.compared, self.disk = services, shared, compared, listing.Disk()
        self.store, self.jobs = services.store, services.jobs
        parts = {**_listing(services), **_panel(services), **_trash(services)}
        self.parts: dict[str, Any] = parts
        self.listed = [parts[name] for name in ("head", "queue_row", "queue", "table")]
        self.trashed = [parts["trash"], parts["trashed"]]
        self.asked = [parts[name] for name in ("filter", "order", "by_race")]  # what `now` is called with

    def now(self, wanted: str = "", order: str = "", by_race: bool = False) -> Changes:
        """Everything but the trash, as it is now.

        Args:
            wanted: the filter.
            order: see `Order.read`.
            by_race: see `listing.runs_table`.
        """
        runs, parts = self.store.list(), self.parts
        return {
            parts["head"]: listing.runs_heading(runs, self.disk.used(runs)),
            parts["queue_row"]: gr.update(visible=listing.is_shown(self.jobs)),
            parts["queue"]: listing.queue_html(self.jobs),
            parts["table"]: listing.runs_table(
                runs, wanted, listing.words(self.jobs), Order.read(order), by_race is True
            ),
        }

    def trash_now(self, asking: bool = False) -> Changes:
        """The trash as it is now; `asking` whether it shall be emptied."""
        runs = self.store.trashed()
        fold = gr.update(label=listing.trash_title(runs), visible=bool(runs))
        return {self.parts["trash"]: fold, self.parts["trashed"]: listing.trash_html(runs, asking)}

    def open_run(self, run_id: str) -> Changes:
        """Show a run's details, also if they are shown already."""
        return {self.parts["chosen"]: request(run=run_id)}

    def watch(self, run_id: str) -> Changes:
        """Go to the Train tab and look at a run."""
        return {self.shared.watch: request(run=run_id), self.shared.tabs: gr.Tabs(selected="train")}

    def done(self, sentence: str) -> Changes:
        """Say what was done."""
        return {self.parts["done"]: listing.done_html(sentence)}

    def find(self, message: str) -> Any:
        """The run that a message of `chosen` names."""
        return attempt(lambda: self.store.get(asked(message).get("run", "")))

    def wire_listing(self) -> None:
        """Filter, order, refresh, what is new when the tab is opened, how many train at once, and the import."""
        parts, wanted, by_race, asked_for = self.parts, self.parts["filter"], self.parts["by_race"], self.asked

        def opened(*table: Any) -> Changes:
            return {**self.now(*table), **self.trash_now(), parts["done"]: "", parts["at_once"]: self.jobs.at_once}

        def set_at_once(number: float | None, *table: Any) -> Changes:
            if number is not None:  # emptied to type another one
                attempt(lambda: self.jobs.set_at_once(number))
            return self.now(*table)

        def bring(files: list[str] | None, _: str, *table: Any) -> Iterator[Changes]:
            yield self.done("Reading…")
            try:
                paths = [self.services.files.uploaded(path) for path in files or []]
                run = listing.bring_run(self.services, *listing.tell_apart(paths))
            except CharLMError as error:
                gr.Warning(toast(error), title="Nothing was imported")
                yield {parts["done"]: ""}
                return
            yield {**self.open_run(run.run_id), wanted: "", parts["done"]: listing.imported_html(run),
                   **self.now("", *table)}  # fmt: skip

        everything = [*self.listed, *self.trashed, parts["done"], parts["at_once"]]
        self.shared.own.select(opened, asked_for, everything, **QUICK)
        parts["table"].refresh(self.now, asked_for, self.listed, **QUICK)
        gr.on([wanted.change, by_race.input], self.now, asked_for, self.listed, trigger_mode="always_last", **QUICK)
        typed = [parts["at_once"].blur, parts["at_once"].submit]  # to type 12 is to type 1 first
        numbered = gr.on(typed, set_at_once, [parts["at_once"], *asked_for], self.listed, **QUIET)
        numbered.then(None, js=WAKE_JS)
        outputs = [parts["done"], parts["chosen"], wanted, *self.listed]
        parts["import"].upload(bring, [parts["import"], *asked_for], outputs, concurrency_limit=2, **QUIET)
        order = [parts["order"], by_race]
        gr.on([one.change for one in order], None, order, None, js=KEEP_ORDER_JS, **QUICK)
        self.shared.page.load(None, order, order, js=KEPT_ORDER_JS, **QUICK)

    def wire_actions(self) -> None:
        """The text actions of table, details, queue and trash, and those on several runs."""
        parts, shared = self.parts, self.shared
        actions, several = self.actions(), self.several()

        def act(wanted: str, order: str, by_race: bool, present: list[str] | None, event: gr.EventData) -> Changes:
            said = event._data if isinstance(event._data, Mapping) else {}
            name, run_id, changes = str(said.get("act", "")), str(said.get("run", "")), None
            if name == "sort":
                order = json.dumps(remembered(Order.read(order).clicked(str(said.get("by", "")))))
                changes = {parts["order"]: order}
            elif name in several and "runs" in said:
                ids = picked.picked_ids(said["runs"])
                changes = attempt(lambda: several[name](ids, [one for one in present or () if isinstance(one, str)]))
            elif name in actions:
                changes = attempt(lambda: actions[name](run_id))
            return {**self.now(wanted, order, by_race), **(changes if isinstance(changes, Mapping) else {})}

        crossing = [parts["chosen"], shared.compare, shared.watch, shared.tabs]
        outputs = [*self.listed, *self.trashed, parts["done"], parts["order"], *crossing]
        for name in ("table", "picked", "queue", "done", "details", "trashed"):
            parts[name].act(act, [*self.asked, self.compared], outputs, **QUIET).then(None, js=WAKE_JS)

    def several(self) -> dict[str, Callable[[list[str], list[str]], Changes]]:
        """What is done with the ids of several runs, beside those that are chosen in Compare; and what changes then."""
        store, shared = self.store, self.shared

        def compare(ids: list[str], present: list[str]) -> Changes:
            kept = [run.run_id for run in found_runs(store, present)]
            wanted = picked.to_compare(picked.found(store, ids), kept)
            return {shared.compare: request(runs=wanted), shared.tabs: gr.Tabs(selected="compare")}

        def delete(ids: list[str], _: list[str]) -> Changes:
            _, said = picked.delete(store, picked.found(store, ids))
            return {**self.open_run(""), self.parts["done"]: said, **self.trash_now()}

        def restore(ids: list[str], _: list[str]) -> Changes:
            labels = [store.restore(run_id).label for run_id in ids]
            return {**self.done(f"Restored {picked.names(labels)}."), **self.trash_now()}

        return {
            "compare-more": compare,
            "compare-only": lambda ids, _: compare(ids, []),
            "delete-all": delete,
            "restore": restore,
        }

    def actions(self) -> dict[str, Callable[[str], Any]]:
        """What each text action does with a run's id, and what else changes then; what it did shows in the listing."""
        store, jobs, shared = self.store, self.jobs, self.shared

        def resume(run_id: str) -> Changes:
            run = store.get(run_id)
            jobs.resume(run_id, details.resume_options(run))
            # Of a failed run it is offered in the details, which must not say any longer that it failed.
            return self.open_run(run_id) if run.status == "failed" else {}

        def trim(run_id: str) -> Changes:
            freed = store.trim(store.get(run_id))
            return {**self.open_run(run_id), **self.done(f"Freed {size(freed)}.")}

        def restore(run_id: str) -> Changes:
            run = store.restore(run_id)
            return {**self.done(f"Restored {run.label}."), **self.trash_now()}

        def empty(_: str) -> Changes:
            freed = store.empty_trash()
            return {**self.done(f"The trash is empty, {size(freed)} are free again."), **self.trash_now()}

        return {
            "open": self.open_run,
            "compare": lambda run: {shared.compare: request(runs=[run]), shared.tabs: gr.Tabs(selected="compare")},
            "watch": self.watch,
            "retry": lambda run_id: self.watch(jobs.retry(run_id)["run_id"]),
            "resume": resume,
            "stop": lambda run_id: _nothing(jobs.stop(run_id)),
            "cancel": jobs.stop_job,
            "earlier": lambda run_id: _nothing(jobs.move(run_id, -1)),
            "later": lambda run_id: _nothing(jobs.move(run_id, 1)),
            "trim": trim,
            "restore": restore,
            "ask-empty": lambda _: self.trash_now(asking=True),
            "keep": lambda _: self.trash_now(),
            "empty": empty,
        }

    def wire_panel(self) -> None:
        """The chosen run: its details, its name, its end, its export, its loss on another text."""
        parts, chosen, services = self.parts, self.parts["chosen"], self.services
        shown = ("panel", "details", "rename", "delete", "fork", "evaluated", "name_row", "fork_column", "note")
        past = ("past", "plot", "samples")

        def opened(message: str) -> Changes:
            if not asked(message).get("run"):
                hidden = gr.update(visible=False)
                return {parts["panel"]: hidden, parts["past"]: hidden, parts["details"]: ""}
            run = self.find(message)
            known = {other.run_id for other in self.store.list()} if run.ancestry else ()
            own, closed = gr.update(visible=not run.shipped), gr.update(visible=False)
            forkable = gr.update(visible=details.is_forkable(run))
            note = gr.update(value=run.note, visible=not run.shipped)
            values = gr.update(visible=True), details.details(run, known), own, own, forkable, "", closed, closed, note
            steps, is_logged = run.sample_steps(), bool(run.history().rows)
            drawn = (
                gr.update(visible=is_logged or bool(steps)),
                loss_plot([run]) if is_logged else None,
                details.samples(run, steps, sample_html(services, run)),
            )
            return {parts[name]: value for name, value in zip((*shown, *past), (*values, *drawn), strict=True)}

        def annotate(message: str, note: str, *table: Any) -> Changes:
            run = self.find(message)
            if run.shipped or clean_note(note or "") == run.note:
                return {parts["done"]: gr.skip()}
            attempt(lambda: self.store.annotate(run, note or ""))
            return {**self.done(f"The note of {run.label} is {'kept' if run.note else 'removed'}."), **self.now(*table)}

        def ask_name(message: str) -> Changes:
            shows = {parts["name_row"]: gr.update(visible=True), parts["fork_column"]: gr.update(visible=False)}
            return {**shows, parts["name"]: self.find(message).label}

        def save(message: str, label: str, *table: Any) -> Changes:
            run = self.find(message)
            attempt(lambda: self.store.rename(run, label.strip()))
            return {**self.open_run(run.run_id), **self.now(*table)}

        def delete(message: str, *table: Any) -> Changes:
            run = self.find(message)
            attempt(lambda: self.store.delete(run))
            done = {parts["done"]: listing.deleted_html(run)}
            return {**self.open_run(""), **done, **self.now(*table), **self.trash_now()}

        def pack(message: str, name: str) -> str:
            return export_file(services.files, self.find(message), name)

        def evaluate_known(message: str, key: str) -> str:
            return self.evaluate(message, lambda config: open_corpus(key, config))

        def offer(chosen: Chosen | None, key: str | None) -> Any:
            choices = picker_choices(chosen, services.texts.list())
            is_there = key in [value for _, value in choices]
            return gr.update(choices=choices, value=key if is_there else catalog.DEFAULT_KEY)

        def evaluate_file(message: str, path: str) -> str:
            def read(config: Any) -> Corpus:
                file = services.files.uploaded(path)
                given = services.upload_of([(file, file.name)])
                return read_corpus(given.data, given.name, config, given.most_bytes, given.native)

            return self.evaluate(message, read)

        outputs = [parts[name] for name in (*shown, *past)]
        inputs = [chosen, parts["note"], *self.asked]
        parts["note"].blur(annotate, inputs, [parts["done"], *self.listed], **QUIET)
        chosen.change(opened, chosen, outputs, **QUICK).then(None, js=SCROLL_JS % "runs-details")
        outputs = [parts["name_row"], parts["fork_column"], parts["name"]]
        parts["rename"].click(ask_name, chosen, outputs, **QUICK)
        inputs = [chosen, parts["name"], *self.asked]
        gr.on([parts["save"].click, parts["name"].submit], save, inputs, [chosen, *self.listed], **QUIET)
        outputs = [chosen, parts["done"], *self.listed, *self.trashed]
        deleted = parts["delete"].click(delete, [chosen, *self.asked], outputs, **QUIET)
        deleted.then(None, js=SCROLL_JS % "runs-told")
        busy: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private", "concurrency_limit": 2}
        inputs, button = [chosen, parts["format"]], parts["download"]
        packed = button.click(pack, inputs, parts["file"], show_progress_on=button, **busy)
        packed.success(None, js=click_js("runs-file"))  # one click writes the file and fetches it
        corpus, causes = parts["corpus"], [self.shared.own.select, chosen.change]
        gr.on(causes, offer, [self.shared.corpus, corpus], corpus, **QUICK)
        evaluated, busy["show_progress_on"] = parts["evaluated"], parts["evaluated"]
        parts["evaluate"].click(evaluate_known, [chosen, parts["corpus"]], evaluated, **busy)
        parts["upload"].upload(evaluate_file, [chosen, parts["upload"]], evaluated, **busy)

    def evaluate(self, message: str, read: Callable[[Any], Corpus]) -> str:
        """The chosen run on a text, which `read` opens as the run's own was cleaned."""

        def measure() -> str:
            run = self.store.get(asked(message).get("run", ""))
            corpus = read(run.corpus_config)
            measured = self.services.serving.evaluate(run, corpus.text[-details.MOST_CHARACTERS :])
            return details.evaluation(run, corpus.name, corpus.text, measured)

        return str(attempt(measure))

    def wire_fork(self) -> None:
        """What a fork may change is asked for, then it starts."""
        parts, shared = self.parts, self.shared
        fields = [parts[name] for name in ("text", "rate", "steps", "fork_name", "grow")]

        def ask(message: str, chosen: Chosen | None) -> Changes:
            run = self.find(message)
            is_counted = run.model_config.is_counted
            others = picker_choices(chosen, self.services.texts.list())
            texts = [*([SAME_TEXT] if run.corpus and not is_counted else []), *others]
            return {
                parts["fork_column"]: gr.update(visible=True),
                parts["name_row"]: gr.update(visible=False),
                parts["fork_hint"]: details.fork_hint(run),
                parts["text"]: gr.update(choices=texts, value=texts[0][1]),
                parts["rate"]: gr.update(value=run.learning_rate, visible=not is_counted),
                parts["steps"]: gr.update(value=details.fork_steps(run), visible=not is_counted),
                parts["fork_name"]: details.fork_name(run),
                parts["grow"]: gr.update(value=False, visible=details.can_grow(run, texts[0][1])),
            }

        def offer_growth(message: str, text: str) -> Any:
            return gr.update(visible=details.can_grow(self.find(message), text))

        def start(message: str, text: str, rate: float | None, steps: int | None, label: str, grow: bool) -> Changes:
            run = self.find(message)
            given = {"learning_rate": rate, "steps": steps, "label": (label or "").strip()}
            options = {name: value for name, value in given.items() if value not in (None, "")}
            options |= {"grow": True} if grow and text else {}
            other = attempt(lambda: (open_corpus(text, run.corpus_config),)) if text else ()
            state = attempt(lambda: self.jobs.fork(run.run_id, options, *other))
            return {parts["fork_column"]: gr.update(visible=False), **self.watch(state["run_id"])}

        asks = [parts["fork_column"], parts["name_row"], parts["fork_hint"], *fields]
        parts["fork"].click(ask, [parts["chosen"], shared.corpus], asks, **QUICK)
        parts["text"].input(offer_growth, [parts["chosen"], parts["text"]], parts["grow"], **QUICK)
        outputs = [parts["fork_column"], shared.watch, shared.tabs]
        parts["start"].click(start, [parts["chosen"], *fields], outputs, **QUIET).then(None, js=WAKE_JS)

    def wire_belongings(self) -> None:
        """A visitor of a public Space deletes all that is theirs, after a question."""
        parts, services = self.parts, self.services

        def act(wanted: str, order: str, by_race: bool, event: gr.EventData) -> Iterator[Changes]:
            name = str(event._data.get("act", "")) if isinstance(event._data, Mapping) else ""
            if name != "delete-mine":
                yield {parts["mine"]: belongings_html(services, asking=name == "ask-mine")}
                return
            yield self.done("Stopping and deleting…")
            try:
                said = f"All that was yours is gone: {delete_all(services)}."
            except CharLMError as error:
                gr.Warning(toast(error), title="Not all of it was deleted")
                said = ""
            told = self.done(said) if said else {parts["done"]: ""}
            shown = {**self.now(wanted, order, by_race), **self.trash_now(), **self.open_run(""), **told}
            yield {parts["mine"]: belongings_html(services), **shown}

        outputs = [parts["mine"], parts["done"], parts["chosen"], *self.listed, *self.trashed]
        acted = parts["mine"].act(act, self.asked, outputs, concurrency_limit=2, **QUIET)
        acted.then(None, js=SCROLL_JS % "runs-told").then(None, js=WAKE_JS)


def _nothing(_: Any) -> None:
    """What was done shows in the listing."""


def _html(name: str, value: str | None = None, **more: Any) -> gr.HTML:
    return gr.HTML(value, elem_id=f"runs-{name}", apply_default_css=False, **more)


def _button(label: str, name: str, **more: Any) -> gr.Button:
    return gr.Button(label, size="sm", elem_id=f"runs-{name}", **more)


def _listing(services: Services) -> dict[str, Any]:
    """Heading, filter, import, queue, table and the line that says what was done."""
    jobs, parts = services.jobs, dict[str, Any]()
    with gr.Row(elem_classes="head-line"):
        parts["head"] = _html("head")
        parts["filter"] = gr.Textbox(
            show_label=False, label="Filter", placeholder="Filter by name, corpus or model", elem_id="runs-filter",
            scale=0, min_width=290,
        )  # fmt: skip
        types = listing.TYPES if services.limits is None else listing.TYPES[:1]
        parts["import"] = gr.UploadButton(
            "Import…", size="sm", file_count="multiple", file_types=types, elem_id="runs-import", scale=0
        )
    with gr.Row(visible=listing.is_shown(jobs), elem_id="runs-queue-row") as parts["queue_row"]:
        parts["queue"] = _html("queue", listing.queue_html(jobs), js_on_load=ACTIONS_JS)
        parts["at_once"] = gr.Number(
            jobs.at_once, label="How many train at once", info="Each then gets less of the machine.", precision=0,
            elem_id="runs-at-once", scale=0, min_width=230, visible=services.limits is None,
        )  # fmt: skip
    with gr.Row(elem_id="runs-table-line"):
        parts["by_race"] = gr.Checkbox(label="Group by race", container=False, elem_id="runs-by-race", scale=0)
        parts["picked"] = _html("picked", render("picked"), js_on_load=ACTIONS_JS)
    parts["order"] = gr.Textbox(visible="hidden", elem_id="runs-order")
    parts["table"] = _html("table", js_on_load=ACTIONS_JS + asset("runs.js"))
    parts["done"] = _html("told", js_on_load=ACTIONS_JS)
    return parts


def sample_html(services: Services, run: Any, step: int | None = None) -> str:
    """What a run wrote last; with `step`, at that step or at its last validation before. As HTML."""
    found = run.sample(step)
    shown = written(found, services.serving.lexicon(run) if found else frozenset())
    return details.sample(run, shown.step, shown.html)


def _panel(services: Services) -> dict[str, Any]:
    """The chosen run's details, and beside them what can be done with it; `chosen` is a message with its id.

    Under both, how it learned and what it wrote along the way.
    """

    def sample_at(asked: Any = None) -> str:
        said = asked if isinstance(asked, Mapping) else {}
        step = said.get("step")
        try:
            run = services.store.get(str(said.get("run", "")))
            return sample_html(services, run, step if is_count(step) else None)
        except CharLMError:  # deleted meanwhile
            return ""

    parts: dict[str, Any] = {"chosen": gr.Textbox(visible="hidden", elem_id="runs-chosen")}
    with gr.Row(visible=False, elem_id="runs-panel", elem_classes="halves") as parts["panel"]:
        with gr.Column(min_width=320):
            parts["details"] = _html("details", js_on_load=ACTIONS_JS)
            parts["note"] = gr.Textbox(
                label="Note", info="Kept as you leave the field; the filter finds it.", lines=2, max_lines=8,
                max_length=MAX_NOTE, elem_id="runs-note",
            )  # fmt: skip
        with gr.Column(min_width=320, elem_classes="tight"):
            hint = "Characters it does not know are skipped, words read as unknown."
            gr.HTML(section("Evaluate on another corpus", hint), apply_default_css=False)
            texts = [(entry.title, entry.key) for entry in catalog.entries()]
            parts["corpus"] = gr.Dropdown(
                texts, value=catalog.DEFAULT_KEY, show_label=False, label="Corpus", elem_id="runs-corpus"
            )
            with gr.Row(elem_classes="buttons"):
                parts["evaluate"] = _button("Evaluate", "evaluate")
                parts["upload"] = gr.UploadButton("Upload…", size="sm", file_types=TEXT_TYPES, elem_id="runs-upload")
                for name, label in (("rename", "Rename"), ("fork", "Fork…"), ("delete", "Delete")):
                    parts[name] = _button(label, name)
            parts["evaluated"] = _html("evaluated")
            with gr.Row(visible=False, elem_classes="bar-line") as parts["name_row"]:
                parts["name"] = gr.Textbox(label="New name", max_length=MAX_LABEL, elem_id="runs-name", scale=4)
                parts["save"] = _button("Save", "save", scale=0, min_width=80)
            with gr.Column(visible=False, elem_id="runs-fork-column", elem_classes="tight") as parts["fork_column"]:
                parts["fork_hint"] = _html("fork-hint")
                parts["text"] = gr.Dropdown([SAME_TEXT], value="", label="Text", elem_id="runs-fork-text")
                parts["grow"] = gr.Checkbox(
                    label="Learn its new characters", info="Else what the run does not know is left out of the text.",
                    elem_id="runs-fork-grow",
                )  # fmt: skip
                with gr.Row(elem_classes="bar-line"):
                    parts["rate"] = gr.Number(label="Learning rate", elem_id="runs-fork-rate", min_width=90)
                    parts["steps"] = gr.Number(
                        label="Steps to add", precision=0, elem_id="runs-fork-steps", min_width=90
                    )
                    parts["fork_name"] = gr.Textbox(
                        label="Name", max_length=MAX_LABEL, elem_id="runs-fork-name", min_width=120
                    )
                    parts["start"] = _button("Start", "fork-start", scale=0, min_width=70)
            _html("export-head", section("Export", "As a file that goes on without this page."))
            with gr.Row(elem_classes="bar-line", elem_id="runs-export"):
                parts["format"] = gr.Dropdown(
                    format_choices(), value=FORMATS[0].name, show_label=False, label="Format", elem_id="runs-format",
                    scale=4,
                )  # fmt: skip
                parts["download"] = _button("Download", "download", scale=0, min_width=90)
            # Pressed by the page itself once the file is there.
            parts["file"] = gr.DownloadButton("Run", visible="hidden", elem_id="runs-file")
            parts |= hub.build(services)
    with gr.Row(visible=False, elem_id="runs-past", elem_classes="halves") as parts["past"]:
        with gr.Column(min_width=320):
            gr.HTML(section("How it learned", LEGEND), apply_default_css=False)
            parts["plot"] = gr.Plot(
                label="Losses of the chosen run", show_label=False, container=False, elem_id="runs-plot"
            )
            gr.HTML(render("picture", plot="runs-plot"), apply_default_css=False)
        with gr.Column(min_width=320):
            script = asset("runs_samples.js")
            parts["samples"] = _html("samples", js_on_load=script, server_functions=[sample_at])
    return parts


def _trash(services: Services) -> dict[str, Any]:
    """The fold with the deleted runs; on a public Space also that with all of a visitor's."""
    runs, parts = services.store.trashed(), dict[str, Any]()
    title = listing.trash_title(runs)
    with gr.Accordion(title, open=False, visible=bool(runs), elem_id="runs-trash") as parts["trash"]:
        parts["trashed"] = _html("trashed", listing.trash_html(runs), js_on_load=ACTIONS_JS)
    if services.limits is not None:
        with gr.Accordion("All that is yours", open=False, elem_id="runs-mine-fold"):
            parts["mine"] = _html("mine", render("belongings", asking=False, amount=""), js_on_load=ACTIONS_JS)
    return parts
