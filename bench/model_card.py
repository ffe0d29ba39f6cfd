"""A model's card: its data, recipe, curve, losses, samples and limits, in Markdown, from its run."""

import math

from bench.resumable import markdown
from charlm.architectures import ARCH_NAMES
from charlm.config import ModelConfig, SampleConfig, TrainConfig
from charlm.generation import generate
from charlm.models import LanguageModel
from charlm.runs.store import Run
from charlm.training.evaluate import Evaluation

POINTS = 12  # of a curve
PROMPT, LENGTH = "Holmes", 400  # of a sample
TEMPERATURES = (0.5, 0.8, 1.1)
# What is said of a recipe although it is the default, and what is not.
SAID = ("num_layers", "batch_size", "seq_len", "schedule", "seed")
UNSAID = ("arch", "label", "eval_every", "vocab_size", "steps", "snapshots")
HISTORY = " It comes with its weights at {count} steps of its training, in `snapshots/`."
LIMITS = """\
It has read one book of 1892, in English, and knows its {distinct} characters and nothing else: no other can be in a
prompt. It spells, and writes sentences that sound like the book's; it knows no facts, loses the thread of a sentence
within a line, and invents names. Parts of what it writes may stand in the book word for word. The book's views of
people are those of its time, and the model has no others. It is made for comparing architectures, not for use."""


def card(run: Run, model: LanguageModel, whole: Evaluation, half: Evaluation) -> str:
    """The card of a finished run.

    Args:
        run: with its metrics.
        model: the trained model, as it is saved.
        whole: what its weights score on the held-out text as they were trained.
        half: the same in 16 bits, as they are kept.
    """
    facts, config = run.corpus, run.model_config
    command = f"--small {run.arch}" if run.snapshots() else run.arch
    texts = {each: "".join(generate(model, run.tokenizer(), PROMPT, sampling(each))) for each in TEMPERATURES}
    sections = {
        "": f"{ARCH_NAMES[run.arch]} of characters, {config.shape}, {run.num_parameters:,} parameters."
        + (HISTORY.format(count=len(run.snapshots())) if run.snapshots() else ""),
        "Data": f"{facts['name']}: {facts['characters']:,} characters, {facts['distinct']} distinct. The last "
        f"{facts['val_chars']:,} are held out; no step\nof the training saw them. SHA-256 of the text:\n"
        f"`{facts['sha256']}`.",
        "Recipe": f"`python -m bench.make_shipped {command}`, {run.info['progress']['seconds'] / 60:.1f} minutes of "
        f"its own.\n\n{_settings(run)}",
        "Curve": markdown(("passes", "minutes", "training loss", "validation loss"), _curve(run)),
        "Losses": f"On the whole held-out text, dropout off, in nats per character: {half.nats_per_token:.4f} "
        f"(standard error {half.standard_error:.4f}), that is {half.bits_per_char:.3f} bits per character, perplexity "
        f"{half.perplexity:.3f}.\nWith the weights in 32 bits as they were trained: {whole.nats_per_token:.4f}. "
        f"Guessing among {facts['distinct']}: {math.log(facts['distinct']):.4f}.",
        "Samples": "\n\n".join(_sample(PROMPT + text, each) for each, text in texts.items()),
        "Limits": LIMITS.format(distinct=facts["distinct"]),
    }
    return "\n\n".join([f"# {run.label}", *(_section(*one) for one in sections.items())]) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if title else text


def sampling(temperature: float) -> SampleConfig:
    """How a sample is drawn, at a temperature."""
    return SampleConfig(length=LENGTH, temperature=temperature)


def _settings(run: Run) -> str:
    """What differs from the defaults, and what one looks for first."""
    values = run.model_config.to_dict() | run.train_config.to_dict()
    usual = ModelConfig().to_dict() | TrainConfig().to_dict()
    differs = [name for name, value in values.items() if value != usual[name] or name in SAID]
    return ", ".join(f"{name.replace('_', ' ')} {values[name]}" for name in differs if name not in UNSAID) + "."


def _curve(run: Run) -> list[list[str]]:
    rows = [row for row in run.metrics() if row.get("val_loss") is not None]
    step = -(-len(rows) // POINTS)
    chosen = rows[::-1][::step][::-1]  # the last among them
    return [
        [f"{row['epoch']:.1f}", f"{row['seconds'] / 60:.1f}", f"{row['train_loss']:.3f}", f"{row['val_loss']:.4f}"]
        for row in chosen
    ]


def _sample(text: str, temperature: float) -> str:
    quoted = "\n".join(f"> {line}".rstrip() for line in text.strip().splitlines())
    return f"At temperature {temperature:g}, seed 7:\n\n{quoted}"
