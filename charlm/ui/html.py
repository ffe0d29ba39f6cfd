"""What the tabs share: pieces of escaped HTML in the app's look, and the components that cross tabs.

Every function here takes plain text and returns HTML in which that text is escaped, unless a name ends in `_html`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup

from charlm.analysis.figures import BASELINE_COLOUR, arch_colour
from charlm.architectures import ARCH_NAMES

if TYPE_CHECKING:
    import gradio as gr

STATIC = Path(__file__).parent / "static"
TABS = ("Compare", "Train", "Corpus", "Runs", "Understand")  # an address names them in lower case
# How a page's own event is declared: no endpoint of its own, and no component is told how far it is, which would cost a
# page more than most events do; QUICK does not wait in the queue, but cannot toast either.
QUIET: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": (), "api_visibility": "private"}
QUICK: dict[str, Any] = {**QUIET, "queue": False}
FIRST_RUN = "If there is none yet, the Train tab makes the first in about a minute."  # what an empty place says
# What a newcomer may not know, explained where the word stands.
_SURPRISE = (
    "How surprised the model is, on average, by each next token (a character, a word or a subword) of text it never "
    "trained on. In nats; lower is better."
)
_BITS = (
    "The loss in bits for each character: how many yes-or-no questions it still takes. Lower is better; this can be "
    "compared whatever a model's tokens are."
)
TERMS = {
    "Validation loss": _SURPRISE,
    "Val. loss": _SURPRISE,
    "Best val. loss": "The lowest loss on held-out text so far; the weights of that step are kept. In nats.",
    "Train loss": "The same surprise on the text it is learning from. Far below the validation loss: it memorises.",
    "Perplexity": "The loss as a number of choices: 4 means as unsure as when picking among 4 equal tokens.",
    "Test perplexity": "That of the text's test part after the newest epoch. It is shown, and nothing is chosen by it.",
    "Bits/char": _BITS,
    "bits/char": _BITS,
    "Grad. norm": "How long the last gradient was; it is cut at the gradient clip.",
    "Chars/s": "Characters read a second while training.",
    "Chance": "The share that choosing at random would have on the same ballots.",
    "Strength": (
        "The probability of being chosen if all stood on one ballot (the model of Plackett and Luce; with two texts, "
        "of Bradley and Terry)."
    ),
    "Own time": "Seconds this model itself has computed, without the others' turns.",
    "Trained": "Time this model itself computed, without the others' turns.",
}


def asset(name: str) -> str:
    """The text of a file in static/."""
    return (STATIC / name).read_text(encoding="utf-8")


class OneLine(Extension):
    """Takes a template's line breaks and indentation away, which would otherwise become text of the page."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """The template's source in one line.

        Args:
            source: of the template.
            name: of the template; not used.
            filename: of the template; not used.
        """
        return "".join(line.strip() for line in source.splitlines())


TEMPLATES = Environment(
    loader=FileSystemLoader(STATIC.parent / "templates"),
    extensions=[OneLine],
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
)
# What a template may call; these return markup in which the text is escaped.
TEMPLATES.globals |= {
    "action": lambda *args, **data: Markup(action(*args, **data)),
    "arch_colour": arch_colour,
    "swatch": lambda arch: Markup(swatch(arch)),
    "term": lambda word: Markup(term(word)),
}


def render(name: str, /, **values: Any) -> str:
    """A template of templates/ with these values in it.

    Args:
        name: the file's name without `.html`.
        values: all that the template names. Text is escaped; a name that ends in `html` holds trusted markup, which the
            template passes through `|safe`.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    return TEMPLATES.get_template(f"{name}.html").render(values)


@dataclass(frozen=True)
class Shared:
    """Components that cross tabs; made in app.py before the tabs are.

    `page.load` and `own.select` (`own` is the tab being built) say when to look for what is new. `corpus` holds
    {"key", "sha256", "name"} of the chosen text and outlives a reload. A tab that wants another one to act writes to
    `compare` (JSON {"runs": [ids], "at": nonce}) or `watch` (JSON {"run": id, "at": nonce}), made by ranking.request,
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
    return render("heading", title=title, sentence=sentence)


def section(title: str, sentence: str = "") -> str:
    """A section's title and its grey line."""
    return render("section", title=title, sentence=sentence)


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
    return render("facts", pairs=pairs)


def number_rows(rows: Sequence[tuple[str, str, bool]]) -> str:
    """Name, value, whether it is the best of its row: hairlined lines with explanations."""
    return render("numbers", rows=rows)


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
    numbers: Sequence[tuple[str, str, bool]] = ()
    copied: bool = False  # a button copies the text


def column(one: Column) -> str:
    """A column's HTML."""
    return render("column", one=one)


def columns(many: Sequence[Column]) -> str:
    """Up to six columns side by side; on a phone they are swiped."""
    return render("columns", columns=many)


MOST_STOPS = 200  # of a slider


def few(rows: Sequence[Any], most: int) -> Sequence[Any]:
    """At most `most` of the rows, evenly taken; the last one stays."""
    count = len(rows)
    return rows if count <= most else [rows[(place + 1) * count // most - 1] for place in range(most)]


def sample_slider(steps: Sequence[int], of: str = "") -> str:
    """A slider over the validations whose samples can be shown, at the newest; hidden while there is no choice.

    samples.js moves it. When the visitor does, the element sends `charlm:sample`, which bubbles; its `detail` is the
    step, or null at the newest, which the slider then follows as `charlmSamples.add(slider, steps)` adds more.

    Args:
        steps: ascending; of more than MOST_STOPS, so many are offered.
        of: whose samples they are, for those who hear the slider by itself.
    """
    newest = f"step {steps[-1] if steps else 0:,}, the newest"
    return render("sample_slider", steps=list(few(steps, MOST_STOPS)), newest=newest, of=of)


def exact(text: str) -> str:
    """Text escaped so that a page can read it off again: a browser makes other line ends its own."""
    return escape(text).replace("\r", "&#13;")


# An empty element, so that what a page reads off as the text stays the text.
PARTS_HERE = '<i class="parts" role="img" aria-label="Parts here" title="Parts here"></i>'


def marked_text(
    prompt: str, text: str, spans: Sequence[tuple[int, int]] = (), writing: bool = False, parts_at: int | None = None
) -> str:
    """A model's text: the prompt grey, some words with a wavy underline, a caret while it writes.

    Args:
        prompt: what the model was given.
        text: what it has written.
        spans: (start, end) in `text` of the words to underline, in order.
        writing: whether more is to come.
        parts_at: the character in `text` before which a mark stands; None: there is no mark.

    Returns:
        HTML in which both texts are escaped.
    """

    def piece(start: int, end: int) -> str:
        if parts_at is None or not start <= parts_at < end:
            return exact(text[start:end])
        return exact(text[start:parts_at]) + PARTS_HERE + exact(text[parts_at:end])

    parts = [f'<span class="prompt">{exact(prompt)}</span>'] if prompt else []
    at = 0
    for start, end in spans:
        parts += [piece(at, start), f"<u>{piece(start, end)}</u>"]
        at = end
    parts += [piece(at, len(text)), PARTS_HERE if parts_at == len(text) else ""]
    return "".join(parts) + ('<i class="caret"></i>' if writing else "")


@dataclass(frozen=True)
class Cell:
    """A table's cell: `html` is trusted, `text` is escaped; `sort` keeps the raw value for CSV."""

    text: str = ""
    html: str = ""
    strong: bool = False


def table(
    head: Sequence[str], rows: Sequence[Sequence[Cell | str]], keep: Sequence[int] = (), id: str = "", kind: str = ""
) -> str:
    """A hairlined table: first column left, others right.

    Args:
        head: column names; those in TERMS explain themselves.
        rows: cells, plain strings are escaped.
        keep: the columns that a phone shows, by index; empty: all.
        id: of the element; empty: none.
        kind: an extra class.
    """
    return render("table", head=head, rows=rows, keep=keep, id=id, kind=kind)


def bars(rows: Sequence[tuple[str, float, str, str]]) -> str:
    """Horizontal bars: (name, value, value as written, CSS colour or "" for grey), drawn in the given order."""
    top = max((value for _, value, _, _ in rows), default=1.0) or 1.0
    return render("bars", rows=rows, top=top, grey=BASELINE_COLOUR)


def notice(title: str, sentence: str, kind: Literal["empty", "error", "lost"] = "empty", action_html: str = "") -> str:
    """An empty, a failed or a disconnected state: what is so, and the next click.

    Args:
        title: what is so, in a few words; escaped.
        sentence: why, or what to do; escaped.
        kind: which of the three states.
        action_html: a button, as HTML; empty: none.

    Returns:
        HTML.
    """
    return render("notice", title=title, sentence=sentence, kind=kind, action_html=action_html)


def action(name: str, label: str, why: str = "", of: str = "", **data: str) -> str:
    """A text button whose click reaches Python through the element's `js_on_load`; see ACTIONS_JS.

    Args:
        name: of the action, which the click sends as `act`.
        label: the button's text; escaped.
        why: shown on hover; empty: nothing.
        of: what it acts on, such as a run's name, for those who hear the button by itself; empty: that is plain.
        **data: sent along with the click, such as `run`.

    Returns:
        HTML.
    """
    is_sign = not any(map(str.isalpha, label))  # which cannot be read out
    heard = why if is_sign else label if of else ""
    return render("action", name=name, label=label, why=why, heard=f"{heard} {of}".strip(), data=data)


# Sends {act, run, ...} of the clicked button to the element's "act" listener; a double click is meant once.
ACTIONS_JS = """
element.addEventListener('click', (event) => {
  const data = window.charlmPressed(event);
  if (data) trigger('act', data);
});
"""


def swatch_css(elem_id: str, archs: Sequence[str]) -> str:
    """A style element that draws the boxes of a CheckboxGroup as the models' swatches, in the order of its labels."""
    rules = "".join(
        f"#{elem_id} .wrap label:nth-of-type({place}) input{{--c:var(--drawn-{arch},{arch_colour(arch)})}}"
        for place, arch in enumerate(archs, start=1)
    )
    return f"<style>{rules}</style>"
