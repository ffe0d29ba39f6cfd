"""The chosen run under the table: what it is, how it was trained, why it failed, how it does on another text."""

from collections.abc import Collection, Mapping
from html import escape
from typing import Any

from charlm.architectures import ARCH_NAMES
from charlm.config import LEVEL_NAMES, ModelConfig
from charlm.runs.run import MAX_LABEL
from charlm.ui import formatting
from charlm.ui.formatting import MISSING, bits, count, whole
from charlm.ui.html import action, notice, section
from charlm.ui.verdict import AT_WORK

CALLED = {"learning_rate": "learning rate", "batch_size": "batch", "hidden_size": "hidden size", "seq_len": "sequence"}
SAVED = "Resume from what was saved"


def trouble(run: Any, title: str, message: str) -> str:
    """What failed, why, and the fix if there is one."""
    return notice(title, message or "No reason was recorded.", "error", remedy(run))


def remedy(run: Any) -> str:
    """A button that starts the run again with settings that fix it, else one that goes on; empty without either."""
    if run.shipped:
        return ""
    if run.fix:
        return action("retry", again(run.fix), run=run.run_id)
    return action("resume", SAVED, run=run.run_id) if is_resumable(run) else ""


def again(fix: Mapping[str, Any]) -> str:
    """`Try again with learning rate 0.0033`."""
    parts = [f"{CALLED.get(name, name.replace('_', ' '))} {_value(value)}" for name, value in fix.items()]
    return f"Try again with {' and '.join(parts)}"


def _value(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def is_resumable(run: Any) -> bool:
    """Whether something was saved that training can go on from."""
    return not run.shipped and not run.trimmed and run.best_val_loss is not None


FORK_TIP = "A fork is a new run that goes on from what another one has learned, with other settings."


def origin_sentence(run: Any) -> str:
    """`fork of gru-sherlock at step 500`, `imported from rnn.net`; empty for a run that began from nothing here."""
    if run.imported and not run.ancestry:
        return f"imported from {run.imported.get('file', 'a file')}"
    return "".join(f"{_verb(one)} {one['label']}{_place(one)}" for one in run.ancestry[:1])


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
    return "".join(f'<span class="ancestor">{_link(one, known)}</span>' for one in run.ancestry)


def _link(one: Mapping[str, Any], known: Collection[str]) -> str:
    verb = _verb(one)
    if one["why"] == "fork":
        verb = f'<span class="term" tabindex="0" data-tip="{escape(FORK_TIP)}">fork</span> of'
    label, run_id = str(one["label"]), str(one["run_id"])
    name = action("open", label, run=run_id) if run_id in known else f'{escape(label)} <span class="grey">(gone)</span>'
    return f"{verb} {name}{escape(_place(one))}"


def _verb(one: Mapping[str, Any]) -> str:
    return "fork of" if one["why"] == "fork" else "new try of"


def _place(one: Mapping[str, Any]) -> str:
    return f" at step {whole(one['step'])}" if one["why"] == "fork" else ""


# An evaluation happens while the visitor waits.
MOST_CHARACTERS = 200_000


def details(run: Any, known: Collection[str] = ()) -> str:
    """Title, sentence and the lines under it; a failed run opens with why, and the fix.

    Args:
        run: which.
        known: ids of the runs that exist; those it comes from can be opened.
    """
    why = trouble(run, "This run failed.", run.message) if run.status == "failed" else ""
    told = f'<p class="hint">{escape(run.message)}</p>' if run.message and run.status != "failed" else ""
    lines = [(name, escape(value)) for name, value in _lines(run)]
    lines += [("Comes from", chain(run, known))] if run.ancestry else []
    lines.append(("Folder", f"{escape(run.folder.name)}, {formatting.size(run.size_bytes)}{_spare(run)}"))
    shown = "".join(f"<div><dt>{escape(name)}</dt><dd>{value_html}</dd></div>" for name, value_html in lines)
    return f'{section(run.label, model_sentence(run))}{told}{why}<dl class="details">{shown}</dl>'


def _spare(run: Any) -> str:
    """What could be freed, or that it was."""
    if came_untrained(run):
        return '<span class="under">Weights alone: it can be compared and forked, not resumed.</span>'
    if run.trimmed:
        return '<span class="under">Only its best weights are kept: it can be compared and forked, not resumed.</span>'
    if run.shipped or run.status in AT_WORK or run.spare_bytes <= 0:
        return ""
    act = action("trim", f"Keep only the best weights (frees {formatting.size(run.spare_bytes)})", run=run.run_id)
    return f'<span class="under">{act}<br>Then it can be compared and forked, but not resumed.</span>'


def came_untrained(run: Any) -> bool:
    """Whether it is an imported checkpoint of which no training is known."""
    return bool(run.imported) and run.step == 0


def resume_options(run: Any) -> dict[str, Any]:
    """What Resume adds: a finished run gets as many steps again."""
    return {"steps": max(run.step, 1)} if run.status == "finished" else {}


def is_forkable(run: Any) -> bool:
    """Whether it has learned something to go on from; it may be at work."""
    return bool(run.has_learned)


def fork_hint(run: Any) -> str:
    """What a fork is, and which weights it goes on from."""
    if run.model_config.is_counted:
        said = (
            "A new run that counts another text on top of what this one has counted; characters new to it are skipped."
        )
        return section(f"Fork {run.label}", said)
    which = "best" if run.shipped or run.trimmed else "newest"
    return section(
        f"Fork {run.label}",
        f"A new run that goes on from the {which} weights of this one, with other settings or on another text.",
    )


def fork_steps(run: Any) -> int:
    """As many more as it was given, to begin with."""
    return run.train_config.steps or max(run.step, 1)


def fork_name(run: Any) -> str:
    """A name to begin with, no longer than a label may be."""
    return f"{run.label.removesuffix('-fork')[: MAX_LABEL - 5]}-fork"


def model_sentence(run: Any) -> str:
    """`LSTM, 2 layers of 512, dropout 0.3. Best at step 980.`, `n-gram, order 7, 505,508 tokens counted.`"""
    model = run.model_config
    kind = ARCH_NAMES.get(run.arch, run.arch)
    bend = f" ({model.nonlinearity})" if run.arch == "rnn" else ""
    best = f" Best at step {whole(run.best_step)}." if run.best_val_loss is not None and run.step else ""
    if model.is_counted:
        return f"{kind}{_reads(model)}, {model.shape}, counts {whole(model.counted)} tokens.{best}"
    return f"{kind}{bend}{_reads(model)}, {model.shape}, dropout {model.dropout:g}.{best}"


def _reads(model: ModelConfig) -> str:
    """` on 4,000 words (lower)`; empty for characters."""
    if model.level == "char":
        return ""
    rule = f" ({model.words})" if model.level == "word" else ""
    return f" on {model.vocab_size:,} {LEVEL_NAMES[model.level]}{rule}"


def _lines(run: Any) -> list[tuple[str, str]]:
    corpus = run.corpus
    loss = f"{formatting.nats(run.best_val_loss)} nats, {bits(run.bits_per_char(run.best_val_loss))} bits per character"
    speed = f", {whole(run.chars_per_second)} characters/s" if run.chars_per_second else ""
    text = f"{corpus.get('name', MISSING)}, {whole(corpus.get('characters'))} characters"
    came = [("Imported", f"{run.imported.get('file', MISSING)} ({run.imported.get('format', MISSING)})")]
    trained = [
        ("Trained", training_sentence(run)),
        ("Time", f"{formatting.duration(run.seconds)} for {count(run.step, 'step')}{speed}"),
    ]
    return [
        *(came if run.imported else []),
        ("Corpus", text if corpus else "unknown: score it on a text to see how it does"),
        ("Best loss", loss if run.best_val_loss is not None else "not measured yet"),
        *([] if came_untrained(run) else trained),
        ("Parameters", whole(run.num_parameters) + (", the tokens it counts" if run.model_config.is_counted else "")),
    ]


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
    return f"{' or '.join(budget)}, batch {train.batch_size} × {train.seq_len}, {rate}, {clip}, seed {train.seed}"


def evaluation(run: Any, name: str, text: str, measured: dict[str, Any]) -> str:
    """How a run does on another text, against its own held-out loss."""
    cost = measured["bits_per_char"]
    own = run.bits_per_char(run.best_val_loss)
    cut = f"the last {whole(MOST_CHARACTERS)} of " if len(text) > MOST_CHARACTERS else ""
    skipped = measured.get("skipped") or 0
    number = skipped if isinstance(skipped, int) else len(skipped)
    left_out = f" {count(number, 'character')} it does not know skipped." if number else ""
    words = measured.get("unknown") or 0
    unknown = f"{left_out} {count(words, 'word')} it does not know read as <unk>." if words else left_out
    beside = f" On its own held-out text: {bits(own)}." if own is not None else ""
    per_token = formatting.perplexity(measured["nats_per_token"])
    body = f"Perplexity {per_token}, measured on {cut}{whole(len(text))} characters."
    return notice(f"{bits(cost)} bits per character on {name}.", body + unknown + beside)
