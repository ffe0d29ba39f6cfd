"""A model's card: its data, recipe, curve, losses, samples and limits, in Markdown, from its run."""

import math
from typing import Any

from bench.resumable import markdown
from charlm.config import ARCH_NAMES
from charlm.evaluate import Evaluation
from charlm.runs import Run

POINTS = 12  # of a curve
SHOWN = 600  # characters of a sample
# What is not said of a recipe: where it ran, what it is called, and what only decides when it is looked at.
UNSAID = ("label", "device", "precision", "patience", "eval_every", "vocab_size", "level", "counted")
LIMITS = """\
It has read one book of 1892, in English, and knows its {distinct} characters and nothing else: no other can be in a
prompt. It spells, and writes sentences that sound like the book's; it knows no facts, loses the thread of a sentence
within a line, and invents names. Parts of what it writes may stand in the book word for word. The book's views of
people are those of its time, and the model has no others. It is made for comparing architectures, not for use."""


def card(run: Run, whole: Evaluation, half: Evaluation) -> str:
    """The card of a finished run.

    Args:
        run: with its metrics and samples.
        whole: what its weights score on the held-out text as they were trained.
        half: the same in 16 bits, as they are kept.
    """
    facts, model = run.corpus, run.model_config
    sections = {
        "": f"{ARCH_NAMES[run.arch]} of characters, {model.num_layers} layers of {model.hidden_size}, "
        f"{run.num_parameters:,} parameters.",
        "Data": f"{facts['name']}: {facts['characters']:,} characters, {facts['distinct']} distinct. The last "
        f"{facts['val_chars']:,} are held out; no step of the training saw them. SHA-256 of the text:\n"
        f"`{facts['sha256']}`.",
        "Recipe": f"`python -m bench.make_shipped {run.arch}`, {run.info['progress']['seconds'] / 60:.1f} minutes of "
        f"its own.\n\n{_settings(run)}",
        "Curve": markdown(("passes", "minutes", "training loss", "validation loss"), _curve(run)),
        "Losses": f"On the whole held-out text, dropout off, in nats per character: {half.nats_per_token:.4f} "
        f"(standard error {half.standard_error:.4f}), that is {half.bits_per_char:.3f} bits per character, perplexity "
        f"{half.perplexity:.3f}.\nWith the weights in 32 bits as they were trained: {whole.nats_per_token:.4f}. "
        f"Guessing among {facts['distinct']}: {math.log(facts['distinct']):.4f}.",
        "Samples": "\n\n".join(_sample(sample) for sample in run.samples()[-2:]),
        "Limits": LIMITS.format(distinct=facts["distinct"]),
    }
    return "\n\n".join([f"# {run.label}", *(_section(*one) for one in sections.items())]) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if title else text


def _settings(run: Run) -> str:
    """All that decides what the training does."""
    values = run.model_config.to_dict() | run.train_config.to_dict()
    said = [f"{name} {value}" for name, value in values.items() if name not in UNSAID and value not in (0, "", False)]
    return f"{', '.join(said)}."


def _curve(run: Run) -> list[list[str]]:
    rows = [row for row in run.metrics() if row.get("val_loss") is not None]
    step = -(-len(rows) // POINTS)
    chosen = rows[::-1][::step][::-1]  # the last among them
    return [
        [f"{row['epoch']:.1f}", f"{row['seconds'] / 60:.1f}", f"{row['train_loss']:.3f}", f"{row['val_loss']:.4f}"]
        for row in chosen
    ]


def _sample(sample: dict[str, Any]) -> str:
    text = f"{sample['prompt']}{sample['text']}"[:SHOWN].strip()
    quoted = "\n".join(f"> {line}".rstrip() for line in text.splitlines())
    return f"After {sample['step']:,} steps, as the training showed it:\n\n{quoted}"
