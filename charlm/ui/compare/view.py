"""Compare's columns: what each model wrote, with its unknown words underlined, and its six numbers."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from charlm.analysis.duel import Written, duel_sentence, partings
from charlm.architectures import ARCH_NAMES
from charlm.config import SampleConfig
from charlm.data.corpus import unknown_words
from charlm.errors import ConfigError
from charlm.files import parsed
from charlm.pretrained.model import KIND
from charlm.serving import GeneratedText
from charlm.training.metrics import Blocks
from charlm.ui import formatting
from charlm.ui.compare.ranking import Writing, number_columns, shape
from charlm.ui.html import FIRST_RUN, Column, columns, marked_text, notice, render
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
        given = parsed(message or "{}", MOST_MESSAGE, 4) if isinstance(message, str | None) else message
    except ValueError:
        given = {}
    given = given if isinstance(given, dict) else {}
    present = {run.run_id: _texts_of_run(given.get(run.run_id)) for run in runs}
    return {run_id: texts for run_id, texts in present.items() if texts}


def _texts_of_run(listed: Any) -> list[GeneratedText]:
    """The texts of one run; empty if there is none to continue."""
    pairs = filter(_is_text, listed[:MOST_SAMPLES]) if isinstance(listed, list) else ()
    return [GeneratedText(_clean(prompt), _clean(text), place) for place, (prompt, text) in enumerate(pairs)]


def _is_text(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)


def _clean(text: str) -> str:
    """A text as UTF-8 can hold it: half characters become question marks."""
    return text.encode("utf-8", "replace").decode()


def check_room(present: Present, config: SampleConfig) -> None:
    """Refuse to continue texts that are as long as they may be.

    Raises:
        ConfigError: there is none, or one has grown so long that it would exceed its room.
    """
    if not present:
        raise ConfigError("there is nothing to go on with; press Generate")
    longest = max(len(one.prompt) + len(one.text) for texts in present.values() for one in texts)
    if longest + config.length > LONGEST:
        raise ConfigError(f"a text has {longest:,} characters and can have {LONGEST:,}; Generate begins a new one")


def still(present: Present) -> dict[str, GeneratedText]:
    """Drafts of texts that no model is writing."""
    drafts: dict[str, GeneratedText] = {}
    for run_id, texts in present.items():
        first, *more = (GeneratedText(one.prompt, one.text, done=True) for one in texts)
        drafts[run_id] = replace(first, more=tuple(more))
    return drafts


def gone_on(
    present: Present, started: Present, drafts: Iterator[Mapping[str, GeneratedText]]
) -> Iterator[dict[str, GeneratedText]]:
    """All that stands in the columns, while some of it is continued.

    Args:
        present: what stands there.
        started: what of it is continued.
        drafts: of what is written, as it grows, by run id; the samples in the order of `started`.
    """
    resting = still(present)
    for written in drafts:
        state = {**written, **resting}
        for run_id, texts in started.items():
            samples = list(resting[run_id].samples)
            for one, draft in zip(texts, written[run_id].samples, strict=False):
                samples[one.sample] = replace(draft, more=())
            state[run_id] = replace(samples[0], more=tuple(samples[1:]))
        yield state


FLUSH_SECONDS = 0.05  # serving hands texts on at about this pace
PARTIAL_WORD = re.compile(r"[^\W\d_]+$")
NO_LEXICON: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Shown:
    """A text in a column: what its model was given, what it wrote, and what there is to say of it.

    Attributes:
        speed: characters a second; None: not known.
        turns: of the text; see GeneratedText.
        writing: more is to come.
        error: why there is no text.
        parts_at: characters of the text before it parts from the first column's, in a duel; None: it does not.
    """

    prompt: str = ""
    text: str = ""
    note: str = ""
    speed: float | None = None
    turns: Blocks = ()
    writing: bool = False
    error: str = ""
    parts_at: int | None = None


def resting_columns(runs: Sequence[Any], lexicons: Mapping[str, frozenset[str]]) -> str:
    """Before Generate: the last sample of each run's training, so that the page never opens empty."""
    if not runs:
        return notice("No model chosen.", "Pick one to six in Models. " + FIRST_RUN)
    return _columns(runs, {run.run_id: [_last_sample(run)] for run in runs}, lexicons)


def resting_prompt(runs: Sequence[Any]) -> str | None:
    """What the first of the texts that `resting_columns` shows was written for; None if there is no text."""
    newest = (run.samples()[-1:] for run in runs)
    return next((str(sample.get("prompt", "")) for samples in newest for sample in samples), None)


def written_columns(
    runs: Sequence[Any],
    drafts: Mapping[str, GeneratedText],
    lexicons: Mapping[str, frozenset[str]],
    writing: bool,
    duel: bool = False,
) -> str:
    """The columns for the drafts so far.

    Args:
        runs: a column for each.
        drafts: what their models have written, by run id.
        lexicons: the words of their corpora, by run id; other words are underlined.
        writing: whether a caret shows where a model is not done.
        duel: whether it is marked where the texts part, and said under the columns.

    Returns:
        HTML.
    """
    texts = {run_id: [_shown(one, writing) for one in draft.samples] for run_id, draft in drafts.items()}
    if not duel:
        return _columns(runs, texts, lexicons)
    present = [run for run in runs if run.run_id in drafts]
    said = ""
    if len(present) > 1:
        told = [[Written(one.text, one.done, bool(one.error)) for one in drafts[run.run_id].samples] for run in present]
        samples = list(zip(*told, strict=False))
        for place, sample in enumerate(samples):
            for run, at in zip(present, partings(sample), strict=True):
                texts[run.run_id][place] = replace(texts[run.run_id][place], parts_at=at)
        said = duel_sentence([name for run, name in zip(runs, names(runs), strict=True) if run in present], samples)
    return _columns(runs, texts, lexicons) + render("duel", said=said)


def stream_columns(
    serving: Any,
    runs: Sequence[Any],
    drafts: Iterator[Mapping[str, GeneratedText]],
    flush: float = FLUSH_SECONDS,
    duel: bool = False,
) -> Iterator[str]:
    """All columns, about every `flush` seconds; more rarely when drawing long texts takes long itself.

    Args:
        serving: knows the words of a run's corpus.
        runs: a column for each.
        drafts: what their models write, as it grows.
        flush: seconds.
        duel: see `written_columns`.
    """
    lexicons = {run.run_id: serving.lexicon(run) for run in runs}
    state: Mapping[str, GeneratedText] = {}
    due = 0.0
    for state in drafts:
        now = time.monotonic()
        if now < due:
            continue
        yield written_columns(runs, state, lexicons, True, duel)
        due = now + max(flush, 6 * (time.monotonic() - now))
    yield written_columns(runs, state, lexicons, False, duel)


def _shown(draft: GeneratedText, writing: bool) -> Shown:
    notes = replaced_note(draft.replaced), skipped_note(draft.skipped), unknown_note(draft.unknown)
    note = ". ".join(filter(None, notes))
    speed = draft.chars_per_second or None
    return Shown(draft.prompt, draft.text, note, speed, draft.turns, writing and not draft.done, draft.error)


def _last_sample(run: Any) -> Shown:
    """The newest sample of a run's training, or an invitation."""
    if run.arch == KIND:
        return Shown(note="Press Generate, and it writes here.")
    samples = run.samples()
    if not samples:
        unmeasured = run.imported and run.best_val_loss is None
        why = "Not measured: it came without a text; Runs can evaluate it on one. " if unmeasured else ""
        return Shown(note=f"{why}Press Generate, and it writes here.")
    newest = samples[-1]
    step = formatting.whole(newest.get("step"))
    note = f"Written during its training, at step {step}. Press Generate for a new text."
    return Shown(str(newest.get("prompt", "")), newest.get("text", ""), note)


def replaced_note(replaced: Mapping[str, str]) -> str:
    """What of the prompt this model reads otherwise, as it knows it."""
    return ", ".join(f"{_sign(typed)} read as {_sign(spelled)}" for typed, spelled in replaced.items())


def skipped_note(skipped: Sequence[str]) -> str:
    """Which prompt characters this model never saw."""
    return f"Skipped, never seen in its corpus: {_named(skipped)}" if skipped else ""


def unknown_note(unknown: Sequence[str]) -> str:
    """Which prompt words are not in this model's vocabulary."""
    return f"Read as <unk>, not in its vocabulary: {_named(unknown)}" if unknown else ""


def _named(unseen: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(unseen))
    more = f" and {len(distinct) - 12} more" if len(distinct) > 12 else ""
    return " ".join(map(_sign, distinct[:12])) + more


def _sign(typed: str) -> str:
    return {" ": "space", "\n": "line end", "\r\n": "line end", "\t": "tab"}.get(typed, typed)


def _columns(runs: Sequence[Any], texts: Mapping[str, Sequence[Shown]], lexicons: Mapping[str, frozenset[str]]) -> str:
    """Texts marked, shares of unknown words and speeds measured, everything put into columns."""
    bodies, notes, writing = {}, {}, {}
    for run in runs:
        shown = texts.get(run.run_id) or [Shown()]
        marked = [_marked(one, lexicons.get(run.run_id, NO_LEXICON)) for one in shown]
        samples = [(html, formatting.percent(found / of) if of else "") for html, (found, of) in marked]
        bodies[run.run_id] = samples[0][0] if len(samples) == 1 else render("samples", texts=samples)
        notes[run.run_id] = shown[0].note if run.arch != KIND else f"{shown[0].note} {run.note}".strip()
        unknown = sum(found for _, (found, _) in marked), sum(of for _, (_, of) in marked)
        writing[run.run_id] = Writing(unknown, _mean([one.speed for one in shown]), shown[0].turns)
    rows = number_columns(runs, writing)
    made = []
    for run, name in zip(runs, names(runs), strict=True):
        arch = ARCH_NAMES.get(run.arch, run.arch)
        subtitle = shape(run) if name in ARCH_NAMES.values() else f"{arch} {shape(run)}"
        cost, key = formatting.bits(run.bits_per_char(run.best_val_loss)), run.run_id
        cost = "" if run.arch == KIND and run.scored is None else cost
        made.append(
            Column(key, run.arch, name, subtitle, cost, "bits/char", bodies[key], notes[key], rows[key], copied=True)
        )
    return columns(made)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _marked(one: Shown, lexicon: frozenset[str]) -> tuple[str, tuple[int, int]]:
    """A text's HTML, its words outside the lexicon, and all of them; a word that the prompt began counts whole."""
    if one.error:
        return notice("This model could not write.", one.error, "error"), (0, 0)
    if not lexicon or not one.text.strip():
        return marked_text(one.prompt, one.text, (), one.writing, one.parts_at), (0, 0)
    partial = PARTIAL_WORD.search(one.prompt)
    prefix = partial.group() if partial and one.text[:1].isalpha() else ""
    found, words = unknown_words(prefix + one.text, lexicon, ended=not one.writing)
    spans = [(max(start - len(prefix), 0), end - len(prefix)) for start, end in found]
    return marked_text(one.prompt, one.text, spans, one.writing, one.parts_at), (len(spans), words)
