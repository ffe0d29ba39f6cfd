"""The chosen run in words: what it is, how it was trained, why it failed, how it does on another text; as HTML."""

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

from charlm.architectures import ARCH_NAMES
from charlm.config import LEVEL_NAMES, ModelConfig
from charlm.runs.run import ACTIVE, MAX_LABEL
from charlm.ui import formatting
from charlm.ui.formatting import MISSING, bits, count, size, whole
from charlm.ui.html import Column, action, columns, notice, render, sample_slider, section

SHORT_NAMES = {
    "learning_rate": "learning rate", "batch_size": "batch", "hidden_size": "hidden size", "seq_len": "sequence",
}  # fmt: skip
SAVED = "Resume from what was saved"
FORK_TIP = "A fork is a new run that goes on from what another one has learned, with other settings."
WRITTEN = "A sample at every validation. Wavy: words that are not in the corpus."
MOST_CHANGES = 4  # of the learning rate that a sentence has room for
MOST_CHARACTERS = 200_000  # of an evaluation, which happens while the visitor waits


def trouble(run: Any, title: str, message: str) -> str:
    """What failed, why, and the fix if there is one.

    Args:
        run: the one that failed.
        title: what failed, in a few words.
        message: why; empty: no reason was recorded.

    Returns:
        HTML.
    """
    return notice(title, message or "No reason was recorded.", "error", remedy(run))


def remedy(run: Any) -> str:
    """A button that starts the run again with settings that fix it, else one that resumes it; empty without either."""
    if run.shipped:
        return ""
    if run.fix:
        return action("retry", retry_label(run.fix), run=run.run_id)
    is_resumable = not run.trimmed and run.best_val_loss is not None
    return action("resume", SAVED, run=run.run_id) if is_resumable else ""


def retry_label(changes: Mapping[str, Any]) -> str:
    """`Try again with learning rate 0.0033`."""
    parts = [f"{SHORT_NAMES.get(name, name.replace('_', ' '))} {_value(value)}" for name, value in changes.items()]
    return f"Try again with {' and '.join(parts)}"


def _value(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def origin_sentence(run: Any) -> str:
    """`fork of gru-sherlock at step 500`, `imported from rnn.net`; empty for a run that began from nothing here."""
    if run.imported and not run.ancestry:
        return f"imported from {run.imported.get('file', 'a file')}"
    verbs = {True: "fork of", False: "new try of"}
    return "".join(f"{verbs[one['why'] == 'fork']} {one['label']}{_place(one)}" for one in run.ancestry[:1])


def origin_line(run: Any) -> str:
    """The same as the small line under a name."""
    sentence = origin_sentence(run)
    return f'<span class="origin">{escape(sentence)}</span>' if sentence else ""


def chain(run: Any, known: Collection[str]) -> str:
    """The whole ancestry, nearest first; the names of runs that still exist open them.

    Args:
        run: whose.
        known: ids of the runs that exist.
    """
    return render("ancestry", run=run, known=known, tip=FORK_TIP, place=_place)


def _place(one: Mapping[str, Any]) -> str:
    return f" at step {whole(one['step'])}" if one["why"] == "fork" else ""


def details(run: Any, known: Collection[str] = ()) -> str:
    """Title, sentence and the lines under it; a failed run opens with why, and the fix.

    Args:
        run: which.
        known: ids of the runs that exist; those it comes from can be opened.
    """
    return render(
        "details",
        run=run,
        head_html=section(run.label, model_sentence(run)),
        trouble_html=trouble(run, "This run failed.", run.message) if run.status == "failed" else "",
        lines=_lines(run),
        ancestry_html=chain(run, known),
        is_bare=came_untrained(run),
        is_trimmable=not run.shipped and run.status not in ACTIVE and run.spare_bytes > 0,
        size=size,
    )


def came_untrained(run: Any) -> bool:
    """Whether it is an imported checkpoint of which no training is known."""
    return bool(run.imported) and run.step == 0


def resume_options(run: Any) -> dict[str, Any]:
    """What Resume adds: a finished run gets as many steps again."""
    return {"steps": max(run.step, 1)} if run.status == "finished" else {}


def is_forkable(run: Any) -> bool:
    """Whether it has trained weights to continue from; it may be at work."""
    return bool(run.has_learned)


def fork_hint(run: Any) -> str:
    """What a fork is, and which weights it continues from."""
    which = "best" if run.shipped or run.trimmed else "newest"
    hint = f"A new run that goes on from the {which} weights of this one, with other settings or on another text."
    if run.model_config.is_counted:
        hint = (
            "A new run that counts another text on top of what this one has counted; characters new to it are skipped."
        )
    return section(f"Fork {run.label}", hint)


def fork_steps(run: Any) -> int:
    """As many more as it was given, to begin with."""
    return int(run.train_config.steps or max(run.step, 1))


def fork_name(run: Any) -> str:
    """A name to begin with, no longer than a label may be."""
    return f"{run.label.removesuffix('-fork')[: MAX_LABEL - 5]}-fork"


def can_grow(run: Any, text: str) -> bool:
    """Whether a fork on this text, empty for the run's own, may learn characters that the run does not know."""
    return bool(text) and run.model_config.level == "char" and not run.model_config.is_counted


def model_sentence(run: Any) -> str:
    """`LSTM, 2 layers of 512, dropout 0.3. Best at step 980.`, `n-gram, order 7, 505,508 tokens counted.`"""
    model = run.model_config
    nonlinearity = f" ({model.nonlinearity})" if run.arch == "rnn" else ""
    kind = f"{ARCH_NAMES.get(run.arch, run.arch)}{nonlinearity}{_reads(model)}, {model.shape}"
    best = f" Best at step {whole(run.best_step)}." if run.best_val_loss is not None and run.step else ""
    if model.is_counted:
        return f"{kind}, counts {whole(model.counted)} tokens.{best}"
    return f"{kind}, dropout {model.dropout:g}.{best}"


def _reads(model: ModelConfig) -> str:
    """` on 4,000 words (lower)`; empty for characters."""
    if model.level == "char":
        return ""
    rule = f" ({model.words})" if model.level == "word" else ""
    return f" on {model.vocab_size:,} {LEVEL_NAMES[model.level]}{rule}"


def _lines(run: Any) -> list[tuple[str, str]]:
    corpus, imported = run.corpus, run.imported
    text = f"{corpus.get('name', MISSING)}, {whole(corpus.get('characters'))} characters"
    loss = f"{formatting.nats(run.best_val_loss)} nats, {bits(run.bits_per_char(run.best_val_loss))} bits per character"
    speed = f", {whole(run.chars_per_second)} characters/s" if run.chars_per_second else ""
    lines = [("Imported", f"{imported.get('file', MISSING)} ({imported.get('format', MISSING)})")] if imported else []
    lines.append(("Corpus", text if corpus else "unknown: score it on a text to see how it does"))
    lines.append(("Best loss", loss if run.best_val_loss is not None else "not measured yet"))
    if not came_untrained(run):
        lines.append(("Trained", training_sentence(run)))
        lines.append(("Time", f"{formatting.duration(run.seconds)} for {count(run.step, 'step')}{speed}"))
    counts = ", the tokens it counts" if run.model_config.is_counted else ""
    return [*lines, ("Parameters", whole(run.num_parameters) + counts)]


def training_sentence(run: Any) -> str:
    """`30 epochs, batch 128 × 100, learning rate 0.001, clip 5, seed 7`."""
    train = run.train_config
    if run.model_config.is_counted:
        return "counted in one pass over the text"
    budget = [f"{train.epochs:g} epochs"] if train.epochs else []
    budget += [f"{whole(train.steps)} steps"] if train.steps else []
    budget += [f"{train.minutes:g} minutes"] if train.minutes else []
    clip = f"clip {train.grad_clip:g}" if train.grad_clip else "no clip"
    rate = f"learning rate {train.learning_rate:g} {train.schedule}"
    changes = rate_changes(run)
    rate += f" ({changes})" if changes else ""
    return f"{' or '.join(budget)}, batch {train.batch_size} × {train.seq_len}, {rate}, {clip}, seed {train.seed}"


def samples(run: Any, steps: Sequence[int], sample_html: str) -> str:
    """What it wrote along the way: a slider, and the text that it stands at.

    Args:
        run: which.
        steps: at which it wrote one.
        sample_html: the newest; see `sample`.
    """
    head_html = section("What it wrote", WRITTEN) + sample_slider(steps, run.label)
    return render("run_samples", run_id=run.run_id, head_html=head_html, sample_html=sample_html)


def sample(run: Any, step: int, text_html: str | None) -> str:
    """One of these texts.

    Args:
        run: which.
        step: at which it wrote it.
        text_html: the text; None: there is none.
    """
    if text_html is None:
        return notice("No samples.", "It was trained elsewhere, or has not come to its first validation.")
    return columns([Column(run.run_id, run.arch, run.label, f"step {whole(step)}", text_html=text_html)])


def rate_changes(run: Any) -> str:
    """`0.002 from step 501, 0.0005 from step 801`, the newest MOST_CHANGES of them; empty without any."""
    changes = [f"{one['to']:g} from step {whole(one['step'] + 1)}" for one in run.rate_changes]
    earlier = ["…"] if len(changes) > MOST_CHANGES else []
    return ", ".join([*earlier, *changes[-MOST_CHANGES:]])


def evaluation(run: Any, name: str, text: str, measured: Mapping[str, Any]) -> str:
    """How a run does on another text, against its own held-out loss.

    Args:
        run: which.
        name: of the text.
        text: all of it.
        measured: what an evaluation of its end came to.
    """
    own = run.bits_per_char(run.best_val_loss)
    cut = f"the last {whole(MOST_CHARACTERS)} of " if len(text) > MOST_CHARACTERS else ""
    skipped, unknown = measured.get("skipped") or 0, measured.get("unknown") or 0
    number = skipped if isinstance(skipped, int) else len(skipped)
    perplexity = formatting.perplexity(measured["nats_per_token"])
    said = f"Perplexity {perplexity}, measured on {cut}{whole(len(text))} characters."
    said += f" {count(number, 'character')} it does not know skipped." if number else ""
    said += f" {count(unknown, 'word')} it does not know read as <unk>." if unknown else ""
    said += f" On its own held-out text: {bits(own)}." if own is not None else ""
    return notice(f"{bits(measured['bits_per_char'])} bits per character on {name}.", said)
