"""The chosen run under the table: what it is, how it was trained, why it failed, how it does on another text."""

from html import escape
from typing import Any

from charlm.config import ARCH_NAMES
from charlm.ui import numbers
from charlm.ui.common import action, notice, section
from charlm.ui.numbers import MISSING, bits, bits_of, count, whole

# An evaluation happens while the visitor waits.
MOST_CHARACTERS = 200_000


def details(run: Any) -> str:
    """Title, sentence and the lines under it; a failed run opens with its message."""
    why = failure(run) if run.status == "failed" else ""
    told = f'<p class="hint">{escape(run.message)}</p>' if run.message and run.status != "failed" else ""
    lines = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in _lines(run))
    return f'{section(run.label, model_sentence(run))}{told}{why}<dl class="details">{lines}</dl>'


def failure(run: Any) -> str:
    """Why it failed and, once something was saved, the mend."""
    mend = action("resume", "Go on from what was saved, at half the learning rate", run=run.run_id)
    saved = run.best_val_loss is not None and not run.shipped
    return notice("This run failed.", run.message or "It left no message.", "error", mend if saved else "")


def resume_options(run: Any) -> dict[str, Any]:
    """What Resume adds: a finished run as many steps again, a failed one half its learning rate."""
    if run.status == "finished":
        return {"steps": max(run.step, 1)}
    return {"learning_rate": run.train_config.learning_rate / 2} if run.status == "failed" else {}


def model_sentence(run: Any) -> str:
    """`LSTM, 2 layers of 512, dropout 0.3. Best at step 980.`"""
    model = run.model_config
    kind = ARCH_NAMES.get(run.arch, run.arch)
    bend = f" ({model.nonlinearity})" if run.arch == "rnn" else ""
    best = f" Best at step {whole(run.best_step)}." if run.best_val_loss is not None else ""
    return f"{kind}{bend}, {count(model.num_layers, 'layer')} of {model.hidden_size}, dropout {model.dropout:g}.{best}"


def _lines(run: Any) -> list[tuple[str, str]]:
    corpus = run.corpus
    loss = f"{numbers.nats(run.best_val_loss)} nats, {bits(bits_of(run.best_val_loss))} bits per character"
    speed = f", {whole(run.chars_per_second)} characters/s" if run.chars_per_second else ""
    return [
        ("Corpus", f"{corpus.get('name', MISSING)}, {whole(corpus.get('characters'))} characters"),
        ("Best loss", loss if run.best_val_loss is not None else "not measured yet"),
        ("Trained", training_sentence(run)),
        ("Time", f"{numbers.duration(run.seconds)} for {count(run.step, 'step')}{speed}"),
        ("Parameters", whole(run.num_parameters)),
        ("Folder", f"{run.folder.name}, {numbers.size(run.size_bytes)}"),
    ]


def training_sentence(run: Any) -> str:
    """`30 epochs, batch 128 × 100, learning rate 0.001, clip 5, seed 7`."""
    train = run.train_config
    budget = [f"{train.epochs:g} epochs"] if train.epochs else []
    budget += [f"{whole(train.steps)} steps"] if train.steps else []
    budget += [f"{train.minutes:g} minutes"] if train.minutes else []
    clip = f"clip {train.grad_clip:g}" if train.grad_clip else "no clip"
    rate = f"learning rate {train.learning_rate:g} {train.schedule}"
    return f"{' or '.join(budget)}, batch {train.batch_size} × {train.seq_len}, {rate}, {clip}, seed {train.seed}"


def delete_question(run: Any) -> str:
    """What would be lost."""
    return notice(
        f"Delete “{run.label}” for good?", f"Its {numbers.size(run.size_bytes)} of weights and curves go too."
    )


def evaluation(run: Any, name: str, text: str, measured: dict[str, Any]) -> str:
    """How a run does on another text, against its own held-out loss."""
    cost = measured["bits_per_char"]
    own = bits_of(run.best_val_loss)
    cut = f"the last {whole(MOST_CHARACTERS)} of " if len(text) > MOST_CHARACTERS else ""
    skipped = measured.get("skipped") or 0
    number = skipped if isinstance(skipped, int) else len(skipped)
    unknown = f" {count(number, 'character')} it does not know skipped." if number else ""
    beside = f" On its own held-out text: {bits(own)}." if own is not None else ""
    body = (
        f"Perplexity {numbers.perplexity(measured['nats_per_token'])}, measured on {cut}{whole(len(text))} characters."
    )
    return notice(f"{bits(cost)} bits per character on {name}.", body + unknown + beside)
