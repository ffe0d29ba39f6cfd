"""Compare's columns: what each model wrote, with its unknown words underlined, and its six numbers."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from charlm.architectures import ARCH_NAMES
from charlm.config import SampleConfig
from charlm.data.corpus import unknown_words
from charlm.errors import ConfigError
from charlm.files import parsed
from charlm.serving import GeneratedText
from charlm.ui import formatting
from charlm.ui.compare.ranking import Writing, number_columns, shape
from charlm.ui.html import Column, columns, marked_text, notice
from charlm.ui.verdict import names

# What of a browser's message is looked at: bytes, texts of one model, characters of one text.
MOST_MESSAGE, MOST_SAMPLES, LONGEST = 4_000_000, 8, 20_000
Present = Mapping[str, Sequence[GeneratedText]]


def texts_in(message: Any, runs: Sequence[Any]) -> dict[str, list[GeneratedText]]:
    """What a page says stands in the columns of these runs.

    Args:
        message: JSON text or what it says, {run id: [[prompt, text], ..]}; null in place of a text that is none.
        runs: those of other runs are passed over.
    """
    try:
        told = parsed(message or "{}", MOST_MESSAGE, 4) if isinstance(message, str | None) else message
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    present = {run.run_id: _begun(told.get(run.run_id)) for run in runs}
    return {run_id: texts for run_id, texts in present.items() if texts}


def _begun(listed: Any) -> list[GeneratedText]:
    """The texts of one run; empty if there is none to go on with."""
    pairs = filter(_is_text, listed[:MOST_SAMPLES]) if isinstance(listed, list) else ()
    return [GeneratedText(_clean(prompt), _clean(text), place) for place, (prompt, text) in enumerate(pairs)]


def _is_text(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)


def _clean(text: str) -> str:
    """A text as UTF-8 can hold it: half characters become question marks."""
    return text.encode("utf-8", "replace").decode()


def check_room(present: Present, config: SampleConfig) -> None:
    """Refuse to go on with texts that are as long as they may be.

    Raises:
        ConfigError: there is none, or one has grown so long that it would exceed its room.
    """
    if not present:
        raise ConfigError("there is nothing to go on with; press Generate")
    longest = max(len(one.prompt) + len(one.text) for texts in present.values() for one in texts)
    if longest + config.length > LONGEST:
        raise ConfigError(f"a text has {longest:,} characters and can have {LONGEST:,}; Generate begins a new one")


def still(present: Present) -> dict[str, GeneratedText]:
    """Drafts of texts that nobody writes at."""
    drafts: dict[str, GeneratedText] = {}
    for run_id, texts in present.items():
        first, *more = (GeneratedText(one.prompt, one.text, done=True) for one in texts)
        drafts[run_id] = replace(first, more=tuple(more))
    return drafts


def gone_on(
    present: Present, begun: Present, drafts: Iterator[Mapping[str, GeneratedText]]
) -> Iterator[dict[str, GeneratedText]]:
    """All that stands in the columns, while some of it is gone on with.

    Args:
        present: what stands there.
        begun: what of it is written on.
        drafts: of what is written, as it grows, by run id; the samples in the order of `begun`.
    """
    resting = still(present)
    for told in drafts:
        state = {**told, **resting}
        for run_id, texts in begun.items():
            samples = list(resting[run_id].samples)
            for one, draft in zip(texts, told[run_id].samples, strict=False):
                samples[one.sample] = replace(draft, more=())
            state[run_id] = replace(samples[0], more=tuple(samples[1:]))
        yield state


FLUSH_SECONDS = 0.05  # serving hands texts on at about this pace
BEGUN_WORD = re.compile(r"[^\W\d_]+$")
NO_LEXICON: frozenset[str] = frozenset()
NOTHING: Mapping[str, Any] = {"prompt": "", "text": "", "note": ""}


def resting_columns(runs: Sequence[Any], lexicons: Mapping[str, frozenset[str]]) -> str:
    """Before Generate: the last sample of each run's training, so that the page never opens empty."""
    if not runs:
        return notice("No model chosen.", "Pick one to six in Models; those that come with the app are at its end.")
    return _draw(runs, {run.run_id: [_last_sample(run)] for run in runs}, lexicons)


def written_columns(
    runs: Sequence[Any], drafts: Mapping[str, GeneratedText], lexicons: Mapping[str, frozenset[str]], writing: bool
) -> str:
    """The columns for the drafts so far; `writing` shows a caret where a model is not done."""
    shown = {run_id: [_shown(one, writing) for one in draft.samples] for run_id, draft in drafts.items()}
    return _draw(runs, shown, lexicons)


def stream_columns(
    serving: Any, runs: Sequence[Any], drafts: Iterator[Mapping[str, GeneratedText]], flush: float = FLUSH_SECONDS
) -> Iterator[str]:
    """All columns, about every `flush` seconds; more rarely when drawing long texts takes long itself.

    Args:
        serving: knows the words of a run's corpus.
        runs: a column for each.
        drafts: what their models write, as it grows.
        flush: seconds.
    """
    lexicons = {run.run_id: serving.lexicon(run) for run in runs}
    state: Mapping[str, GeneratedText] = {}
    due = 0.0
    for state in drafts:
        now = time.monotonic()
        if now < due:
            continue
        yield written_columns(runs, state, lexicons, writing=True)
        due = now + max(flush, 6 * (time.monotonic() - now))
    yield written_columns(runs, state, lexicons, writing=False)


def _shown(draft: GeneratedText, writing: bool) -> dict[str, Any]:
    """A draft as plain values; one that failed says so in its own column."""
    return {
        "prompt": draft.prompt,
        "text": draft.text,
        "note": skipped_note(draft.skipped) or unknown_note(draft.unknown),
        "speed": draft.chars_per_second or None,
        "writing": writing and not draft.done,
        "error": draft.error,
    }


def _last_sample(run: Any) -> dict[str, Any]:
    """The newest sample of a run's training, or an invitation."""
    samples = run.samples()
    if not samples:
        unmeasured = run.imported and run.best_val_loss is None
        why = "Not measured: it came without a text; Runs can evaluate it on one. " if unmeasured else ""
        return {"prompt": "", "text": "", "note": f"{why}Press Generate, and it writes here."}
    newest = samples[-1]
    note = (
        f"Written during its training, at step {formatting.whole(newest.get('step'))}. Press Generate for a new text."
    )
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


def _draw(
    runs: Sequence[Any], drafts: Mapping[str, Sequence[Mapping[str, Any]]], lexicons: Mapping[str, frozenset[str]]
) -> str:
    """Texts marked, shares and speeds measured, everything put into columns."""
    texts, writing = {}, {}
    for run in runs:
        samples = drafts.get(run.run_id) or [NOTHING]
        judged = [_unknown(one, lexicons.get(run.run_id, NO_LEXICON)) for one in samples]
        texts[run.run_id] = _texts_html(samples, judged)
        speeds = [one.get("speed") for one in samples]
        writing[run.run_id] = Writing(_mean([share for _, share in judged]), _mean(speeds))
    rows = number_columns(runs, writing)
    return columns(
        [
            Column(
                key=run.run_id,
                arch=run.arch,
                title=name,
                subtitle=shape(run)
                if name in ARCH_NAMES.values()
                else f"{ARCH_NAMES.get(run.arch, run.arch)} {shape(run)}",
                figure=formatting.bits(run.bits_per_char(run.best_val_loss)),
                unit="bits/char",
                text_html=texts[run.run_id],
                note=str((drafts.get(run.run_id) or [NOTHING])[0].get("note", "")),
                numbers=rows[run.run_id],
            )
            for run, name in zip(runs, names(runs), strict=True)
        ]
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _unknown(draft: Mapping[str, Any], lexicon: frozenset[str]) -> tuple[Sequence[tuple[int, int]], float | None]:
    """Spans and share of words outside the lexicon; a word that the prompt began is judged whole."""
    text = draft["text"]
    if not lexicon or not text.strip():
        return (), None
    begun = BEGUN_WORD.search(str(draft["prompt"]))
    prefix = begun.group() if begun and text[:1].isalpha() else ""
    spans, share = unknown_words(prefix + text, lexicon, ended=not draft.get("writing"))
    return [(max(start - len(prefix), 0), end - len(prefix)) for start, end in spans], share


def _texts_html(samples: Sequence[Mapping[str, Any]], judged: Sequence[tuple[Sequence[Any], float | None]]) -> str:
    """The text, or all samples under each other, each with its number and its share of unknown words."""
    texts = [_text_html(one, spans) for one, (spans, _) in zip(samples, judged, strict=True)]
    if len(texts) == 1:
        return texts[0]
    shares = [
        "" if share is None else f" · {formatting.percent(share)} of words not in the corpus" for _, share in judged
    ]
    return "".join(
        f'<p class="sample"><b>{place}</b>{share}</p><div class="one">{text}</div>'
        for place, (text, share) in enumerate(zip(texts, shares, strict=True), 1)
    )


def _text_html(draft: Mapping[str, Any], spans: Sequence[tuple[int, int]]) -> str:
    if draft.get("error"):
        return notice("This model could not write.", str(draft["error"]), "error")
    return marked_text(str(draft["prompt"]), draft["text"], spans, bool(draft.get("writing")))
