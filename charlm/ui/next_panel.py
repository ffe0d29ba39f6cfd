"""What next?: the likeliest next tokens at any place of a text, and another one put there."""

from pathlib import Path
from typing import Any

import gradio as gr

from charlm.errors import CharLMError
from charlm.ui.common import Services
from charlm.ui.next_view import view

NEXT_JS = (Path(__file__).parent / "next.js").read_text(encoding="utf-8")


def build(services: Services) -> gr.HTML:
    """The panel, folded; its `take` event says which token is to stand where.

    Its data are {run, sample, place, token, texts}, the last as `present.texts_in` wants them.
    """

    def look(asked: Any = None) -> dict[str, Any]:
        try:
            return view(services, asked)
        except CharLMError as error:
            return {"error": str(error)}

    with gr.Accordion("What next?", open=False, elem_id="compare-next-fold", elem_classes="fold section-fold"):
        return gr.HTML("", elem_id="compare-next", js_on_load=NEXT_JS, server_functions=[look], apply_default_css=False)
