"""What repairs gradio 6.31 from outside; tests/ui/test_gradio_patches.py fails where a repair is no longer needed.

- `slow_queue`: the queue looks for new events 1,000 times a second.
- `describe_once`: every session describes all components again.
- `page_head`: of a stylesheet that is given as `css=`, what stands in @supports and @container is dropped, and @media
  reaches only what lies in the page's main part; so it goes into the head. There is also gradio_patches.js, which
  slows down loading timers that never end, lets Backspace in a dropdown with several choices be heard as input, and
  spares the page that opens some of the time that it takes to look through its listeners.
- `serve_agents`: gradio's MCP server answers with Python's repr instead of JSON, knows no type of what stands in an
  object, tells of a stream only "Processing", and names a tool as the function, after the Space.
- `FONT_WEIGHTS`: of the fonts that gradio brings along, the half-bold ones, which it asks for by itself, hold only
  three letters.
"""

from functools import partial
from typing import Any

import gradio as gr
import gradio.mcp
from gradio.blocks import BlocksConfig

from charlm.public.services import FileAccess
from charlm.ui.agents import AgentServer
from charlm.ui.colours import stylesheet
from charlm.ui.html import asset

FONT_WEIGHTS = (400, 700)
# A training beside the page would lose a tenth of its time; these are the seconds that gradio takes on Windows.
QUEUE_SLEEPS = {"sleep_when_free": 0.05, "progress_update_sleep_when_free": 0.1}


def slow_queue(demo: gr.Blocks) -> None:
    """Let an app's queue look for new events less often."""
    for name, seconds in QUEUE_SLEEPS.items():
        if hasattr(demo._queue, name):
            setattr(demo._queue, name, seconds)


def serve_agents(files: FileAccess) -> None:
    """Have gradio use this program's own MCP server in each app that is launched with `mcp_server=True`.

    Args:
        files: keeps texts that come inside a call.
    """
    vars(gradio.mcp)["GradioMCPServer"] = partial(AgentServer, files=files)


def page_head() -> str:
    """Stylesheet and scripts as head elements."""
    scripts = ("gradio_patches.js", "lab.js", "connection.js", "address.js", "access.js", "samples.js", "notify.js")
    script = "".join(map(asset, scripts))
    return f"<style>\n{asset('lab.css')}\n{stylesheet()}\n</style>\n<script>\n{script}\n</script>"


class Descriptions:
    """Stands in the place of gradio's `config_for_block` once the app runs: its components no longer change.

    For each page, and for each call of a program, gradio describes every component of the app: tens of milliseconds,
    and most of what a text that is written for a program would cost.

    Args:
        demo: the app.
    """

    def __init__(self, demo: gr.Blocks) -> None:
        self._demo = demo
        self._known: dict[int, dict[str, Any]] = {}

    def __call__(self, _id: int, rendered_ids: list[int], block: Any, renderable: Any = None) -> dict[str, Any]:
        """The description of a component; what a session changed of its own, or renders itself, is described again."""
        own: Any = self._demo.blocks.get(_id)
        if not self._demo.is_running or renderable is not None or own is not block:
            return BlocksConfig.config_for_block(_id, rendered_ids, block, renderable)
        if _id not in self._known:
            self._known[_id] = BlocksConfig.config_for_block(_id, rendered_ids, block)
        known = self._known[_id]
        return {**known, "props": dict(known["props"])}  # a session notes values in it


class SharedConfig(BlocksConfig):
    """The app's components; each session has a copy."""

    config_for_block: Any

    def __copy__(self) -> BlocksConfig:
        plain: Any = super()
        copied: BlocksConfig = plain.__copy__()
        vars(copied)["config_for_block"] = self.config_for_block
        return copied


def describe_once(demo: gr.Blocks) -> None:
    """Let all sessions of an app share what is the same."""
    shared = SharedConfig(demo)
    vars(shared).update(vars(demo.default_config), config_for_block=Descriptions(demo))
    demo.default_config = shared
