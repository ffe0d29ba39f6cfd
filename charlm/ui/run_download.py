"""Taking a run along: the choice among its formats, and the button that downloads it with one click."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlm.errors import CharLMError
from charlm.exchange.exports import FORMATS, find_format
from charlm.ui.common import section, toast
from charlm.ui.files import Files, click_js

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


def wire_download(download: Download, files: Files, chosen: gr.Textbox, find: Callable[[str], Any]) -> None:
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
