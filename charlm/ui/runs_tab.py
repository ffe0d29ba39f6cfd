"""Runs: every run with its actions; details, rename, delete, download and evaluation of the chosen one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from charlm.errors import CharLMError
from charlm.ui import run_details
from charlm.ui.choice import asked, request
from charlm.ui.common import ACTIONS_JS, Services, Shared, section, toast
from charlm.ui.files import click_js, run_zip
from charlm.ui.run_table import runs_heading, runs_table

TABLE_JS = (
    ACTIONS_JS
    + """
const tell = () => { if (element.isConnected && element.offsetParent) trigger('refresh', {}); };
window.addEventListener('charlm:job', tell);
setInterval(() => {
  if (document.visibilityState === 'visible' && document.querySelector('#strip .job')) tell();
}, 3000);
"""
)
WAKE_JS = "() => window.dispatchEvent(new CustomEvent('charlm:wake'))"
SHOW_JS = """() => setTimeout(
  () => document.getElementById('runs-details')?.scrollIntoView({ block: 'nearest', behavior: 'smooth' }), 120)"""
TEXT_TYPES = [".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".gz"]
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class RunsTab:
    """The components that others read or write; `chosen` is the id of the run under the table."""

    head: gr.HTML
    filter: gr.Textbox
    table: gr.HTML
    chosen: gr.Textbox
    panel: gr.Row
    details: gr.HTML
    corpus: gr.Dropdown
    upload: gr.UploadButton
    evaluate: gr.Button
    evaluated: gr.HTML
    rename: gr.Button
    download: gr.Button
    file: gr.DownloadButton
    delete: gr.Button
    name_row: gr.Row
    name: gr.Textbox
    save: gr.Button
    ask_row: gr.Column
    question: gr.HTML
    sure: gr.Button
    keep: gr.Button


def build(services: Services, shared: Shared) -> RunsTab:
    """The tab's components and their wiring; call inside its gr.Tab."""
    tab = _components(services)
    _wire_table(tab, services, shared)
    _wire_details(tab, services)
    _wire_evaluation(tab, services)
    return tab


def _components(services: Services) -> RunsTab:
    from charlm import catalog

    runs = services.store.list()
    with gr.Row(elem_classes="head-line"):
        head = gr.HTML(runs_heading(runs), elem_id="runs-head", apply_default_css=False)
        wanted = gr.Textbox(
            show_label=False, label="Filter", placeholder="Filter by name, corpus or architecture",
            elem_id="runs-filter", scale=0, min_width=290,
        )  # fmt: skip
    table = gr.HTML(runs_table(runs), elem_id="runs-table", js_on_load=TABLE_JS, apply_default_css=False)
    chosen = gr.Textbox(visible="hidden", elem_id="runs-chosen")
    texts = [(entry.title, entry.key) for entry in catalog.entries()]
    with gr.Row(visible=False, elem_id="runs-panel", elem_classes="halves") as panel:
        with gr.Column(min_width=320):
            details = gr.HTML(elem_id="runs-details", js_on_load=ACTIONS_JS, apply_default_css=False)
        with gr.Column(min_width=320, elem_classes="tight"):
            gr.HTML(
                section("Evaluate on another corpus", "Characters the model does not know are counted and skipped."),
                apply_default_css=False,
            )
            corpus = gr.Dropdown(
                texts, value=catalog.DEFAULT_KEY, show_label=False, label="Corpus", elem_id="runs-corpus"
            )
            with gr.Row(elem_classes="buttons"):
                evaluate = gr.Button("Evaluate", size="sm", elem_id="runs-evaluate")
                upload = gr.UploadButton("Upload…", size="sm", file_types=TEXT_TYPES, elem_id="runs-upload")
                rename = gr.Button("Rename", size="sm", elem_id="runs-rename")
                download = gr.Button("Download", size="sm", elem_id="runs-download")
                delete = gr.Button("Delete…", size="sm", elem_id="runs-delete")
            evaluated = gr.HTML(elem_id="runs-evaluated", apply_default_css=False)
            with gr.Row(visible=False, elem_classes="bar-line") as name_row:
                name = gr.Textbox(label="New name", max_length=80, elem_id="runs-name", scale=4)
                save = gr.Button("Save", size="sm", elem_id="runs-save", scale=0, min_width=80)
            with gr.Column(visible=False, elem_classes="tight") as ask_row:
                question = gr.HTML(elem_id="runs-question", apply_default_css=False)
                with gr.Row(elem_classes="buttons"):
                    sure = gr.Button("Delete", size="sm", variant="stop", elem_id="runs-delete-sure")
                    keep = gr.Button("Keep", size="sm", elem_id="runs-delete-keep")
            file = gr.DownloadButton("Run", visible="hidden", elem_id="runs-file")
    return RunsTab(
        head, wanted, table, chosen, panel, details, corpus, upload, evaluate, evaluated, rename, download, file,
        delete, name_row, name, save, ask_row, question, sure, keep,
    )  # fmt: skip


def _told(work: Callable[[], Any]) -> Any:
    """Do it, or raise the toast that says why not."""
    try:
        return work()
    except CharLMError as error:
        raise gr.Error(toast(error), title="That did not work", print_exception=False) from error


def _wire_table(tab: RunsTab, services: Services, shared: Shared) -> None:
    """Filter, refresh and the text actions of every line."""
    store, jobs = services.store, services.jobs

    def listing(wanted: str) -> tuple[str, str]:
        runs = store.list()
        return runs_heading(runs), runs_table(runs, wanted)

    def act(wanted: str, event: gr.EventData) -> tuple[Any, ...]:
        name, run_id = str(event._data.get("act", "")), str(event._data.get("run", ""))
        chosen, compare, watch, tab_name = (gr.skip() for _ in range(4))
        if name == "open":
            chosen = request(run=run_id)
        elif name == "compare":
            compare, tab_name = request(runs=[run_id]), gr.Tabs(selected="compare")
        elif name == "watch":
            watch, tab_name = request(run=run_id), gr.Tabs(selected="train")
        elif name == "resume":
            _told(lambda: jobs.resume(run_id, run_details.resume_options(store.get(run_id))))
        elif name == "stop":
            _told(lambda: jobs.stop(run_id))
        return chosen, compare, watch, tab_name, *listing(wanted)

    listed = [tab.head, tab.table]
    outputs = [tab.chosen, shared.compare, shared.watch, shared.tabs, *listed]
    for place in (tab.table, tab.details):
        place.act(act, tab.filter, outputs, queue=False, **QUIET).then(None, js=WAKE_JS)
    tab.table.refresh(listing, tab.filter, listed, queue=False, **QUIET)
    tab.filter.input(listing, tab.filter, listed, queue=False, trigger_mode="always_last", **QUIET)
    shared.own.select(listing, tab.filter, listed, queue=False, **QUIET)


def _wire_details(tab: RunsTab, services: Services) -> None:
    """Opening a run, and renaming, downloading and deleting it."""
    store = services.store

    def find(message: str) -> Any:
        return _told(lambda: store.get(asked(message).get("run", "")))

    def opened(message: str) -> tuple[Any, ...]:
        if not asked(message).get("run"):
            return gr.update(visible=False), "", *(gr.skip() for _ in range(2)), "", *(gr.skip() for _ in range(2))
        run = find(message)
        own = gr.update(visible=not run.shipped)
        closed = gr.update(visible=False)
        return gr.update(visible=True), run_details.details(run), own, own, "", closed, closed

    def ask_name(message: str) -> tuple[Any, str]:
        return gr.update(visible=True), find(message).label

    def save(message: str, label: str, wanted: str) -> tuple[Any, ...]:
        run = find(message)
        _told(lambda: store.rename(run, label.strip()))
        runs = store.list()
        return request(run=run.run_id), runs_heading(runs), runs_table(runs, wanted)

    def ask_delete(message: str) -> tuple[Any, str]:
        return gr.update(visible=True), run_details.delete_question(find(message))

    def delete(message: str, wanted: str) -> tuple[Any, ...]:
        _told(lambda: store.delete(find(message)))
        runs = store.list()
        return request(run=""), runs_heading(runs), runs_table(runs, wanted)

    def pack(message: str) -> str:
        run = find(message)
        return run_zip(Path(run.folder), run.run_id)

    after = [tab.chosen, tab.head, tab.table]
    shown = [tab.panel, tab.details, tab.rename, tab.delete, tab.evaluated, tab.name_row, tab.ask_row]
    tab.chosen.change(opened, tab.chosen, shown, queue=False, **QUIET).then(None, js=SHOW_JS)
    tab.rename.click(ask_name, tab.chosen, [tab.name_row, tab.name], queue=False, **QUIET)
    gr.on([tab.save.click, tab.name.submit], save, [tab.chosen, tab.name, tab.filter], after, queue=False, **QUIET)
    tab.delete.click(ask_delete, tab.chosen, [tab.ask_row, tab.question], queue=False, **QUIET)
    tab.keep.click(lambda: gr.update(visible=False), None, tab.ask_row, queue=False, **QUIET)
    tab.sure.click(delete, [tab.chosen, tab.filter], after, queue=False, **QUIET)
    tab.download.click(pack, tab.chosen, tab.file, **QUIET).then(None, js=click_js("runs-file"))


def _wire_evaluation(tab: RunsTab, services: Services) -> None:
    """The chosen run on a text of the catalog or on an upload."""

    def measure(message: str, read: Callable[[Any], Any]) -> str:
        def work() -> str:
            run = services.store.get(asked(message).get("run", ""))
            corpus = read(run.corpus_config)
            measured = services.serving.evaluate(run, corpus.text[-run_details.MOST_CHARACTERS :])
            return run_details.evaluation(run, corpus.name, corpus.text, measured)

        return _told(work)

    def evaluate_known(message: str, key: str) -> str:
        from charlm import catalog

        return measure(message, lambda config: catalog.load_corpus(key, config))

    def evaluate_file(message: str, path: str) -> str:
        from charlm.corpus import read_corpus_file

        return measure(message, lambda config: read_corpus_file(Path(path), config))

    shown: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": tab.evaluated, "api_visibility": "private"}
    tab.evaluate.click(evaluate_known, [tab.chosen, tab.corpus], tab.evaluated, concurrency_limit=2, **shown)
    tab.upload.upload(evaluate_file, [tab.chosen, tab.upload], tab.evaluated, concurrency_limit=2, **shown)
