"""The chosen run under the table: details, evaluation, and what can be done with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlm.errors import CharLMError
from charlm.formats.exports import FORMATS, find_format
from charlm.public.services import FileAccess, Services
from charlm.runs.run import MAX_LABEL
from charlm.ui.compare.ranking import asked, request
from charlm.ui.corpus.form import picker_choices
from charlm.ui.corpus.texts import Chosen, open_corpus
from charlm.ui.html import ACTIONS_JS, Shared, section, toast
from charlm.ui.runs import details
from charlm.ui.runs.listing import Listing, Trash, deleted_html
from charlm.ui.services import click_js

HINT = "As a file that goes on without this page."


@dataclass(frozen=True)
class Download:
    """The components; `file` is pressed by the page itself once the file is there."""

    format: gr.Dropdown
    button: gr.Button
    file: gr.DownloadButton


def format_choices() -> list[tuple[str, str]]:
    """What is read and the format's name, in the order of the list."""
    return [(f"{one.name}: {one.about}", one.name) for one in FORMATS]


def build_download() -> Download:
    """The components; call inside the panel."""
    gr.HTML(section("Take it along", HINT), elem_id="runs-export-head", apply_default_css=False)
    with gr.Row(elem_classes="bar-line", elem_id="runs-export"):
        wanted = gr.Dropdown(
            format_choices(), value=FORMATS[0].name, show_label=False, label="Format", elem_id="runs-format", scale=4
        )
        button = gr.Button("Download", size="sm", elem_id="runs-download", scale=0, min_width=90)
    return Download(wanted, button, gr.DownloadButton("Run", visible="hidden", elem_id="runs-file"))


def wire_download(download: Download, files: FileAccess, chosen: gr.Textbox, find: Callable[[str], Any]) -> None:
    """One click writes the file and fetches it; a format that does not fit the run says why.

    Args:
        download: the components.
        files: where it is put.
        chosen: the message with the run's id.
        find: the run of such a message.
    """

    def pack(message: str, name: str) -> str:
        run = find(message)
        try:
            return files.run(run, find_format(str(name)))
        except CharLMError as error:
            raise gr.Error(toast(error), title="Not in this format", print_exception=False) from error

    inputs = [chosen, download.format]
    packed = download.button.click(
        pack, inputs, download.file, show_progress="minimal", show_progress_on=download.button,
        api_visibility="private", concurrency_limit=2,
    )  # fmt: skip
    packed.success(None, js=click_js("runs-file"))


TEXT_TYPES = [".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".gz"]
WAKE_JS = "() => window.dispatchEvent(new CustomEvent('charlm:wake'))"
SHOW_JS = """() => setTimeout(
  () => document.getElementById('runs-details')?.scrollIntoView({ block: 'nearest', behavior: 'smooth' }), 120)"""
SHOW_TOLD_JS = """() => setTimeout(
  () => document.getElementById('runs-told')?.scrollIntoView({ block: 'nearest', behavior: 'smooth' }), 120)"""
SAME_TEXT = ("The same text", "")
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Panel:
    """The components; `chosen` is the id of the run they are about."""

    chosen: gr.Textbox
    row: gr.Row
    details: gr.HTML
    corpus: gr.Dropdown
    upload: gr.UploadButton
    evaluate: gr.Button
    evaluated: gr.HTML
    rename: gr.Button
    fork: gr.Button
    delete: gr.Button
    name_row: gr.Row
    name: gr.Textbox
    save: gr.Button
    download: Download
    fork_column: gr.Column
    fork_hint: gr.HTML
    text: gr.Dropdown
    rate: gr.Number
    steps: gr.Number
    fork_name: gr.Textbox
    start: gr.Button


def told(work: Callable[[], Any]) -> Any:
    """Do it, or raise the toast that says why not."""
    try:
        return work()
    except CharLMError as error:
        raise gr.Error(toast(error), title="That did not work", print_exception=False) from error


def build() -> Panel:
    """The components; call inside the tab."""
    chosen = gr.Textbox(visible="hidden", elem_id="runs-chosen")
    with gr.Row(visible=False, elem_id="runs-panel", elem_classes="halves") as row:
        with gr.Column(min_width=320):
            details = gr.HTML(elem_id="runs-details", js_on_load=ACTIONS_JS, apply_default_css=False)
        with gr.Column(min_width=320, elem_classes="tight"):
            corpus, upload, evaluate, rename, fork, delete = _buttons()
            evaluated = gr.HTML(elem_id="runs-evaluated", apply_default_css=False)
            with gr.Row(visible=False, elem_classes="bar-line") as name_row:
                name = gr.Textbox(label="New name", max_length=MAX_LABEL, elem_id="runs-name", scale=4)
                save = gr.Button("Save", size="sm", elem_id="runs-save", scale=0, min_width=80)
            with gr.Column(visible=False, elem_id="runs-fork-column", elem_classes="tight") as fork_column:
                forking = _fork_line()
            download = build_download()
    return Panel(
        chosen, row, details, corpus, upload, evaluate, evaluated, rename, fork, delete, name_row, name, save,
        download, fork_column, *forking,
    )  # fmt: skip


def _buttons() -> tuple[Any, ...]:
    """Evaluation, and the actions that need no more than a press."""
    from charlm.data import catalog

    gr.HTML(
        section("Evaluate on another corpus", "Characters it does not know are skipped, words read as unknown."),
        apply_default_css=False,
    )
    texts = [(entry.title, entry.key) for entry in catalog.entries()]
    corpus = gr.Dropdown(texts, value=catalog.DEFAULT_KEY, show_label=False, label="Corpus", elem_id="runs-corpus")
    with gr.Row(elem_classes="buttons"):
        evaluate = gr.Button("Evaluate", size="sm", elem_id="runs-evaluate")
        upload = gr.UploadButton("Upload…", size="sm", file_types=TEXT_TYPES, elem_id="runs-upload")
        rename = gr.Button("Rename", size="sm", elem_id="runs-rename")
        fork = gr.Button("Fork…", size="sm", elem_id="runs-fork")
        delete = gr.Button("Delete", size="sm", elem_id="runs-delete")
    return corpus, upload, evaluate, rename, fork, delete


def _fork_line() -> tuple[Any, ...]:
    """What a fork may change, and its start."""
    hint = gr.HTML(elem_id="runs-fork-hint", apply_default_css=False)
    text = gr.Dropdown([SAME_TEXT], value="", label="Text", elem_id="runs-fork-text")
    with gr.Row(elem_classes="bar-line"):
        rate = gr.Number(label="Learning rate", elem_id="runs-fork-rate", min_width=90)
        steps = gr.Number(label="Steps to add", precision=0, elem_id="runs-fork-steps", min_width=90)
        name = gr.Textbox(label="Name", max_length=MAX_LABEL, elem_id="runs-fork-name", min_width=120)
        start = gr.Button("Start", size="sm", elem_id="runs-fork-start", scale=0, min_width=70)
    return hint, text, rate, steps, name, start


def wire(panel: Panel, listing: Listing, trash: Trash, shared: Shared) -> None:
    """Opening a run, and all that can be done with it but its text actions."""
    find = _finder(listing.services)
    _wire_opening(panel, listing.services, find)
    _wire_name(panel, listing, find)
    _wire_fork(panel, listing.services, shared, find)
    _wire_leaving(panel, listing, trash, find)
    wire_download(panel.download, listing.services.files, panel.chosen, find)
    _wire_evaluation(panel, listing.services)


def _finder(services: Services) -> Callable[[str], Any]:
    return lambda message: told(lambda: services.store.get(asked(message).get("run", "")))


def _wire_opening(panel: Panel, services: Services, find: Callable[[str], Any]) -> None:
    def opened(message: str) -> dict[Any, Any]:
        if not asked(message).get("run"):
            return {panel.row: gr.update(visible=False), panel.details: ""}
        run = find(message)
        own, closed = gr.update(visible=not run.shipped), gr.update(visible=False)
        known = {other.run_id for other in services.store.list()} if run.ancestry else ()
        return {
            panel.row: gr.update(visible=True), panel.details: details.details(run, known), panel.rename: own,
            panel.delete: own, panel.fork: gr.update(visible=details.is_forkable(run)), panel.evaluated: "",
            panel.name_row: closed, panel.fork_column: closed,
        }  # fmt: skip

    shown = [
        panel.row, panel.details, panel.rename, panel.fork, panel.delete, panel.evaluated, panel.name_row,
        panel.fork_column,
    ]  # fmt: skip
    panel.chosen.change(opened, panel.chosen, shown, queue=False, **QUIET).then(None, js=SHOW_JS)


def _wire_name(panel: Panel, listing: Listing, find: Callable[[str], Any]) -> None:
    def ask_name(message: str) -> tuple[Any, Any, str]:
        return gr.update(visible=True), gr.update(visible=False), find(message).label

    def save(message: str, label: str, wanted: str) -> dict[Any, Any]:
        run = find(message)
        told(lambda: listing.services.store.rename(run, label.strip()))
        return {panel.chosen: request(run=run.run_id), **listing.now(wanted)}

    outputs, rows = [panel.chosen, *listing.outputs], [panel.name_row, panel.fork_column, panel.name]
    panel.rename.click(ask_name, panel.chosen, rows, queue=False, **QUIET)
    gr.on([panel.save.click, panel.name.submit], save, [panel.chosen, panel.name, listing.filter], outputs, **QUIET)


def _wire_fork(panel: Panel, services: Services, shared: Shared, find: Callable[[str], Any]) -> None:
    def ask(message: str, chosen: Chosen | None) -> dict[Any, Any]:
        run = find(message)
        counted = run.model_config.is_counted
        texts = [*([SAME_TEXT] if run.corpus and not counted else []), *picker_choices(chosen)]
        return {
            panel.fork_column: gr.update(visible=True), panel.name_row: gr.update(visible=False),
            panel.fork_hint: details.fork_hint(run),
            panel.rate: gr.update(value=run.train_config.learning_rate, visible=not counted),
            panel.text: gr.update(choices=texts, value=texts[0][1]),
            panel.steps: gr.update(value=details.fork_steps(run), visible=not counted),
            panel.fork_name: details.fork_name(run),
        }  # fmt: skip

    def start(message: str, text: str, rate: float | None, steps: int | None, label: str) -> tuple[Any, ...]:
        run = find(message)
        given = {"learning_rate": rate, "steps": steps, "label": (label or "").strip()}
        options = {name: value for name, value in given.items() if value not in (None, "")}
        other = told(lambda: (open_corpus(text, run.corpus_config),)) if text else ()
        state = told(lambda: services.jobs.fork(run.run_id, options, *other))
        return gr.update(visible=False), request(run=state["run_id"]), gr.Tabs(selected="train")

    asks = [
        panel.fork_column, panel.name_row, panel.fork_hint, panel.text, panel.rate, panel.steps, panel.fork_name,
    ]  # fmt: skip
    panel.fork.click(ask, [panel.chosen, shared.corpus], asks, queue=False, **QUIET)
    given = [panel.chosen, panel.text, panel.rate, panel.steps, panel.fork_name]
    outputs = [panel.fork_column, shared.watch, shared.tabs]
    panel.start.click(start, given, outputs, **QUIET).then(None, js=WAKE_JS)


def _wire_leaving(panel: Panel, listing: Listing, trash: Trash, find: Callable[[str], Any]) -> None:
    """Delete: into the trash, which can be undone."""

    def delete(message: str, wanted: str) -> dict[Any, Any]:
        run = find(message)
        told(lambda: listing.services.store.delete(run))
        return {
            panel.chosen: request(run=""), listing.told: deleted_html(run), **listing.now(wanted), **trash.now(),
        }  # fmt: skip

    outputs = [panel.chosen, listing.told, *listing.outputs, *trash.outputs]
    panel.delete.click(delete, [panel.chosen, listing.filter], outputs, **QUIET).then(None, js=SHOW_TOLD_JS)


def _wire_evaluation(panel: Panel, services: Services) -> None:
    """The chosen run on a text of the catalog or on an upload."""

    def measure(message: str, read: Callable[[Any], Any]) -> str:
        def work() -> str:
            run = services.store.get(asked(message).get("run", ""))
            corpus = read(run.corpus_config)
            measured = services.serving.evaluate(run, corpus.text[-details.MOST_CHARACTERS :])
            return details.evaluation(run, corpus.name, corpus.text, measured)

        return told(work)

    def evaluate_known(message: str, key: str) -> str:
        from charlm.data import catalog

        return measure(message, lambda config: catalog.load_corpus(key, config))

    def evaluate_file(message: str, path: str) -> str:
        from charlm.data.corpus import read_corpus_file

        return measure(
            message, lambda config: read_corpus_file(services.files.uploaded(path), config, services.text_bytes)
        )

    shown: dict[str, Any] = {
        "show_progress": "minimal", "show_progress_on": panel.evaluated, "api_visibility": "private",
        "concurrency_limit": 2,
    }  # fmt: skip
    panel.evaluate.click(evaluate_known, [panel.chosen, panel.corpus], panel.evaluated, **shown)
    panel.upload.upload(evaluate_file, [panel.chosen, panel.upload], panel.evaluated, **shown)
