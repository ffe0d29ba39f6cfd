"""Compare's columns: what each model wrote, with its unknown words underlined, and its six numbers."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from charlm.analysis.words import unknown_words
from charlm.config import ARCH_NAMES, SampleConfig
from charlm.ui import numbers
from charlm.ui.common import Column, columns, marked_text, notice
from charlm.ui.ranking import Writing, number_columns, shape
from charlm.ui.verdict import names

FLUSH_SECONDS = 0.05  # serving hands texts on at about this pace
BEGUN_WORD = re.compile(r"[^\W\d_]+$")
NO_LEXICON: frozenset[str] = frozenset()


def resting_columns(runs: Sequence[Any], lexicons: Mapping[str, frozenset[str]]) -> str:
    """Before Generate: the last sample of each run's training, so that the page never opens empty."""
    if not runs:
        return notice("No model chosen.", "Pick one to six in Models; the three that come with the app are at its end.")
    drafts = {run.run_id: _last_sample(run) for run in runs}
    return _draw(runs, drafts, lexicons)


def written_columns(
    runs: Sequence[Any], drafts: Mapping[str, Any], lexicons: Mapping[str, frozenset[str]], writing: bool
) -> str:
    """The columns for the drafts so far; `writing` shows a caret where a model is not done."""
    shown = {run_id: _shown(draft, writing) for run_id, draft in drafts.items()}
    return _draw(runs, shown, lexicons)


def stream_columns(
    serving: Any, runs: Sequence[Any], prompt: str, config: SampleConfig, flush: float = FLUSH_SECONDS
) -> Iterator[str]:
    """All columns, about every `flush` seconds; more rarely when drawing long texts takes long itself."""
    lexicons = {run.run_id: serving.lexicon(run) for run in runs}
    drafts: Mapping[str, Any] = {}
    due = 0.0
    for drafts in serving.compare(runs, prompt, config):
        now = time.monotonic()
        if now < due:
            continue
        yield written_columns(runs, drafts, lexicons, writing=True)
        due = now + max(flush, 6 * (time.monotonic() - now))
    yield written_columns(runs, drafts, lexicons, writing=False)


def _shown(draft: Any, writing: bool) -> dict[str, Any]:
    """A draft as plain values; one that failed says so in its own column."""
    return {
        "prompt": draft.prompt,
        "text": draft.text,
        "note": skipped_note(draft.skipped) or unknown_note(draft.unknown),
        "speed": draft.chars_per_second if draft.text else None,
        "writing": writing and not draft.done,
        "error": getattr(draft, "error", ""),
    }


def _last_sample(run: Any) -> dict[str, Any]:
    """The newest sample of a run's training, or an invitation."""
    samples = run.samples()
    if not samples:
        unmeasured = run.imported and run.best_val_loss is None
        why = "Not measured: it came without a text; Runs can evaluate it on one. " if unmeasured else ""
        return {"prompt": "", "text": "", "note": f"{why}Press Generate, and it writes here."}
    newest = samples[-1]
    note = f"Written during its training, at step {numbers.whole(newest.get('step'))}. Press Generate for a new text."
    return {"prompt": newest.get("prompt", ""), "text": newest.get("text", ""), "note": note}


def skipped_note(skipped: Sequence[str]) -> str:
    """Which prompt characters this model never saw."""
    return f"Skipped, never seen in its corpus: {_named(skipped)}" if skipped else ""


def unknown_note(unknown: Sequence[str]) -> str:
    """Which prompt words are not in this model's vocabulary."""
    return f"Read as <unk>, not in its vocabulary: {_named(unknown)}" if unknown else ""


def _named(unseen: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(unseen))
    named = " ".join(_visible(one) for one in distinct[:12])
    return named + (f" and {len(distinct) - 12} more" if len(distinct) > 12 else "")


def _visible(character: str) -> str:
    return {" ": "space", "\n": "line end", "\t": "tab"}.get(character, character)


def _draw(runs: Sequence[Any], drafts: Mapping[str, Mapping[str, Any]], lexicons: Mapping[str, frozenset[str]]) -> str:
    """Texts marked, shares and speeds measured, everything put into columns."""
    marked, writing = {}, {}
    for run in runs:
        draft = drafts.get(run.run_id, {"prompt": "", "text": "", "note": ""})
        spans, share = _unknown(draft, lexicons.get(run.run_id, NO_LEXICON))
        marked[run.run_id] = _text_html(draft, spans)
        writing[run.run_id] = Writing(share, draft.get("speed"))
    rows = number_columns(runs, writing)
    called = names(runs)
    return columns(
        [
            Column(
                key=run.run_id,
                arch=run.arch,
                title=name,
                subtitle=shape(run)
                if name in ARCH_NAMES.values()
                else f"{ARCH_NAMES.get(run.arch, run.arch)} {shape(run)}",
                figure=numbers.bits(run.bits_per_char(run.best_val_loss)),
                unit="bits/char",
                text_html=marked[run.run_id],
                note=str(drafts.get(run.run_id, {}).get("note", "")),
                numbers=rows[run.run_id],
            )
            for run, name in zip(runs, called, strict=True)
        ]
    )


def _unknown(draft: Mapping[str, Any], lexicon: frozenset[str]) -> tuple[Sequence[tuple[int, int]], float | None]:
    """Spans and share of words outside the lexicon; a word that the prompt began is judged whole."""
    text = draft["text"]
    if not lexicon or not text.strip():
        return (), None
    begun = BEGUN_WORD.search(str(draft["prompt"]))
    prefix = begun.group() if begun and text[:1].isalpha() else ""
    spans, share = unknown_words(prefix + text, lexicon, ended=not draft.get("writing"))
    return [(max(start - len(prefix), 0), end - len(prefix)) for start, end in spans], share


def _text_html(draft: Mapping[str, Any], spans: Sequence[tuple[int, int]]) -> str:
    if draft.get("error"):
        return notice("This model could not write.", str(draft["error"]), "error")
    return marked_text(str(draft["prompt"]), draft["text"], spans, bool(draft.get("writing")))
