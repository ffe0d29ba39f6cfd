"""What the tabs share: pieces of escaped HTML in the app's look, and the components that cross tabs.

Every function here takes plain text and returns HTML in which that text is escaped, unless a name ends in `_html`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from charlm.analysis.plots import BASELINE_COLOUR, arch_colour
from charlm.architectures import ARCH_NAMES

if TYPE_CHECKING:
    import gradio as gr

STATIC = Path(__file__).parent / "static"
# What a newcomer may not know, explained where the word stands.
TERMS = {
    "Validation loss": "How surprised the model is, on average, by each next token (a character, a word or a subword) "
    "of text it never trained on. In nats; lower is better.",
    "Val. loss": "How surprised the model is, on average, by each next token (a character, a word or a subword) of "
    "text it never trained on. In nats; lower is better.",
    "Best val. loss": "The lowest loss on held-out text so far; the weights of that step are kept. In nats.",
    "Train loss": "The same surprise on the text it is learning from. Far below the validation loss means: by heart.",
    "Perplexity": "The loss as a number of choices: 4 means as unsure as when picking among 4 equal tokens.",
    "Test perplexity": "That of the text's test part after the newest epoch. It is told, and nothing is chosen by it.",
    "Bits/char": "The loss in bits for each character: how many yes-or-no questions it still takes. Lower is better; "
    "this can be compared whatever a model's tokens are.",
    "bits/char": "The loss in bits for each character: how many yes-or-no questions it still takes. Lower is better; "
    "this can be compared whatever a model's tokens are.",
    "Grad. norm": "How long the last gradient was; it is cut at the gradient clip.",
    "Chars/s": "Characters read a second while training.",
    "Own time": "Seconds this model itself has computed, without the others' turns.",
    "Trained": "Time this model itself computed, without the others' turns.",
}


def asset(name: str) -> str:
    """The text of a file in static/."""
    return (STATIC / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Shared:
    """Components that cross tabs; made in demo.py before the tabs are.

    `page.load` and `own.select` (`own` is the tab being built) say when to look for what is new. `corpus` holds
    {"key", "sha256", "name"} of the chosen text and outlives a reload. A tab that wants another one to act writes to
    `compare` (JSON {"runs": [ids], "at": nonce}) or `watch` (JSON {"run": id, "at": nonce}), made by choice.request,
    and to `tabs`; the other tab listens to their `.change`.
    """

    page: "gr.Blocks"
    tabs: "gr.Tabs"
    own: "gr.Tab"
    corpus: "gr.BrowserState"
    compare: "gr.Textbox"
    watch: "gr.Textbox"


def toast(error: Exception) -> str:
    """An error's sentence for gr.Error and gr.Warning, which would take `<b>` or `<img>` in a name for markup."""
    return escape(str(error), quote=False)


def plot_data(plot: dict[str, Any]) -> Any:
    """Plotly's JSON as the value of a gr.Plot."""
    from gradio.components.plot import PlotData

    return PlotData(type="plotly", plot=json.dumps(plot))


def heading(title: str, sentence: str = "") -> str:
    """A tab's finding and the sentence under it."""
    under = f'<p class="lead">{escape(sentence)}</p>' if sentence else ""
    return f'<h1 class="finding">{escape(title)}</h1>{under}'


def section(title: str, sentence: str = "") -> str:
    """A section's title and its grey line."""
    under = f'<p class="hint">{escape(sentence)}</p>' if sentence else ""
    return f'<h2 class="section">{escape(title)}</h2>{under}'


def term(word: str) -> str:
    """A word that explains itself on hover, focus or tap, if TERMS knows it."""
    tip = TERMS.get(word)
    if tip is None:
        return escape(word)
    return f'<span class="term" tabindex="0" data-tip="{escape(tip)}">{escape(word)}</span>'


def swatch(arch: str) -> str:
    """The small square in a model's colour."""
    return f'<i class="swatch" style="--c:{arch_colour(arch)}" title="{escape(ARCH_NAMES.get(arch, arch))}"></i>'


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Big numbers over their names: (number, name)."""
    items = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for value, name in pairs)
    return f'<div class="facts">{items}</div>'


def number_rows(rows: Sequence[tuple[str, str, bool]]) -> str:
    """Name, value, whether it is the best of its row: hairlined lines with explanations."""
    items = "".join(
        f"<div><dt>{term(name)}</dt><dd{' class=best' if best else ''}>{escape(value)}</dd></div>"
        for name, value, best in rows
    )
    return f'<dl class="numbers">{items}</dl>'


@dataclass(frozen=True)
class Column:
    """One model's column: a rule in its colour, its name, a figure at the right, a text, numbers."""

    key: str
    arch: str
    title: str
    subtitle: str = ""
    figure: str = ""
    unit: str = ""
    text_html: str = ""
    note: str = ""
    numbers: Sequence[tuple[str, str, bool]] = field(default_factory=tuple)


def column(one: Column) -> str:
    """A column's HTML."""
    figure = f'<span class="figure"><b>{escape(one.figure)}</b> {term(one.unit)}</span>' if one.figure else ""
    note = f'<p class="note">{escape(one.note)}</p>' if one.note else ""
    return (
        f'<section class="col" data-run="{escape(one.key)}" style="--c:{arch_colour(one.arch)}">'
        f'<header><b>{escape(one.title)}</b><span class="sub">{escape(one.subtitle)}</span>{figure}</header>'
        f'<div class="body"><div class="text">{one.text_html}</div>{note}</div>'
        f"{number_rows(one.numbers) if one.numbers else '<div></div>'}</section>"
    )


def columns(many: Sequence[Column]) -> str:
    """Up to six columns side by side; on a phone they are swiped."""
    return f'<div class="cols n{len(many)}">{"".join(column(one) for one in many)}</div>'


def exact(text: str) -> str:
    """Text escaped so that a page can read it off again: a browser makes other line ends its own."""
    return escape(text).replace("\r", "&#13;")


def marked_text(prompt: str, text: str, spans: Sequence[tuple[int, int]] = (), writing: bool = False) -> str:
    """A model's text: the prompt grey, the words at `spans` (start, end in `text`) wavy, a caret while it writes."""
    parts = [f'<span class="prompt">{exact(prompt)}</span>'] if prompt else []
    at = 0
    for start, end in spans:
        parts += [exact(text[at:start]), f"<u>{exact(text[start:end])}</u>"]
        at = end
    parts.append(exact(text[at:]))
    return "".join(parts) + ('<i class="caret"></i>' if writing else "")


@dataclass(frozen=True)
class Cell:
    """A table's cell: `html` is trusted, `text` is escaped; `sort` keeps the raw value for CSV."""

    text: str = ""
    html: str = ""
    strong: bool = False


def table(
    head: Sequence[str], rows: Sequence[Sequence[Cell | str]], keep: Sequence[int] = (), **attributes: str
) -> str:
    """A hairlined table: first column left, others right.

    Args:
        head: column names; those in TERMS explain themselves.
        rows: cells, plain strings are escaped.
        keep: the columns that a phone shows, by index; empty: all.
        attributes: `id`, or `kind` as an extra class.
    """
    wide = [" class=wide" if keep and index not in keep else "" for index in range(len(head))]
    top = "".join(f"<th{cls}>{term(name)}</th>" for cls, name in zip(wide, head, strict=True))
    body = "".join(
        "<tr>" + "".join(_cell(cell, cls) for cls, cell in zip(wide, row, strict=True)) + "</tr>" for row in rows
    )
    marks = f' id="{escape(attributes["id"])}"' if "id" in attributes else ""
    return (
        f'<table class="grid {escape(attributes.get("kind", ""))}"{marks}>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cell(cell: Cell | str, cls: str) -> str:
    if isinstance(cell, str):
        cell = Cell(cell)
    inner = cell.html or escape(cell.text)
    return f"<td{cls}>{'<b>' + inner + '</b>' if cell.strong else inner}</td>"


def bars(rows: Sequence[tuple[str, float, str, str]]) -> str:
    """Horizontal bars: (name, value, value as written, CSS colour or "" for grey), drawn in the given order."""
    top = max((value for _, value, _, _ in rows), default=1.0) or 1.0
    items = "".join(
        f"<div><span>{escape(name)}</span>"
        f'<i style="--w:{100 * value / top:.2f}%;--c:{escape(colour or BASELINE_COLOUR)}"></i>'
        f"<b>{escape(written)}</b></div>"
        for name, value, written, colour in rows
    )
    return f'<div class="bars">{items}</div>'


def notice(title: str, sentence: str, kind: Literal["empty", "error", "lost"] = "empty", action_html: str = "") -> str:
    """An empty, a failed or a disconnected state: what is so, and the next click."""
    action = f"<p>{action_html}</p>" if action_html else ""
    role = ' role="alert"' if kind == "error" else ""
    return f'<div class="notice {kind}"{role}><b>{escape(title)}</b><p>{escape(sentence)}</p>{action}</div>'


def action(name: str, label: str, why: str = "", **data: str) -> str:
    """A text button whose click reaches Python through the element's `js_on_load` (see ACTIONS_JS); `why` on hover."""
    hover = f' title="{escape(why)}"' if why else ""
    if why and not any(map(str.isalpha, label)):  # a sign cannot be read out
        hover += f' aria-label="{escape(why)}"'
    attributes = "".join(f' data-{escape(key)}="{escape(value)}"' for key, value in data.items())
    return f'<button type="button" class="act" data-act="{escape(name)}"{attributes}{hover}>{escape(label)}</button>'


# Sends {act, run, ...} of the clicked button to the element's "act" listener; a double click is meant once.
ACTIONS_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button || button.disabled) return;
  button.disabled = true;
  setTimeout(() => { button.disabled = false; }, 700);
  trigger('act', { ...button.dataset });
});
"""


def swatch_css(elem_id: str, archs: Sequence[str]) -> str:
    """A style element that draws the boxes of a CheckboxGroup as the models' swatches, in the order of its labels."""
    rules = "".join(
        f"#{elem_id} .wrap label:nth-of-type({place}) input{{--c:{arch_colour(arch)}}}"
        for place, arch in enumerate(archs, start=1)
    )
    return f"<style>{rules}</style>"
