"""The components of the Runs tab that list runs: heading, queue, table, what was just done, and the trash."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlm.ui.common import ACTIONS_JS, Services
from charlm.ui.disk import Disk
from charlm.ui.importing import TYPES
from charlm.ui.run_queue import AT_ONCE_HINT, AT_ONCE_LABEL, is_shown, queue_html, words
from charlm.ui.run_table import runs_heading, runs_table
from charlm.ui.run_trash import trash_html, trash_title

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
