"""What a visitor of a public Space may still have, in one line at the page's foot."""

from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr

from charlm.limits import Limits
from charlm.ui.common import Services
from charlm.ui.numbers import count
from charlm.ui.train_view import mark

# Asked for every few seconds only: the server has to look through all runs for it.
LEFT_JS = """
let seen = null, asked = 0;
window.charlmParts.left = {
  ask: () => {
    if (Date.now() - asked < 5000) return null;
    asked = Date.now();
    return { seen };
  },
  take: (told) => {
    seen = told.mark;
    if (told.html !== undefined) element.innerHTML = told.html;
  },
};
window.addEventListener('charlm:job', () => { asked = 0; });
"""
OTHERWISE = "Larger models and longer texts: on your own machine, or in a Space of your own."


def left_html(limits: Limits, left: Mapping[str, Any]) -> str:
    """The line: minutes, runs and generations."""
    minutes = f"<b>{left['minutes']:g}</b> of {limits.day_minutes:g} minutes of training today"
    if left["set_aside"]:
        minutes += f", {left['set_aside']:g} set aside for what trains now"
    runs = f"<b>{left['runs']}</b> of {count(limits.runs, 'run')} to keep"
    texts = f"<b>{left['texts']}</b> of {count(limits.texts_a_minute, 'generation')} this minute"
    return (
        '<p class="left-line">A public Space, shared with others. '
        f"Left for you: {minutes} · {runs} · {texts}. {escape(OTHERWISE)}</p>"
    )


def left_state(services: Services, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a page needs that shows the line with the mark `seen`: nothing new, or the line."""
    assert services.limits is not None
    html = left_html(services.limits, services.jobs.left())
    now = mark(html)
    return {"mark": now} if now == asked.get("seen") else {"mark": now, "html": html}


def build_left(services: Services) -> None:
    """The line, where there are limits; call inside the page, after the tabs."""
    if services.limits is not None:
        gr.HTML("", elem_id="left", js_on_load=LEFT_JS, apply_default_css=False)
