"""What gradio describes anew for every session, described once.

For each page, and for each call of a program, gradio 6.31 describes every component of the app: tens of milliseconds,
and most of what a text that is written for a program would cost.
"""

from typing import Any

import gradio as gr
from gradio.blocks import BlocksConfig


class Descriptions:
    """Stands in the place of gradio's `config_for_block` once the app runs: its components do not change any more.

    Args:
        demo: the app.
    """

    def __init__(self, demo: gr.Blocks) -> None:
        self._demo = demo
        self._known: dict[int, dict[str, Any]] = {}

    def __call__(self, _id: int, rendered_ids: list[int], block: Any, renderable: Any = None) -> dict[str, Any]:
        """The description of a component; what a session changed of its own, or renders itself, is described anew."""
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
        copied = super().__copy__()
        vars(copied)["config_for_block"] = self.config_for_block
        return copied


def describe_once(demo: gr.Blocks) -> None:
    """Let all sessions of an app share what is the same."""
    shared = SharedConfig(demo)
    vars(shared).update(vars(demo.default_config), config_for_block=Descriptions(demo))
    demo.default_config = shared
