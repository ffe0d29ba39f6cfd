"""The README.md of a model repository: metadata that the Hub reads, and what people want to know of a run."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from charlm.architectures import ARCH_NAMES
from charlm.config import LEVEL_NAMES
from charlm.data.catalog import ENTRIES
from charlm.errors import ConfigError
from charlm.files import file_name, one_line
from charlm.formats.markdown import fenced, plain
from charlm.runs.run import Run

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TAG = "charlm-lab"  # of every repository that this program pushes to
LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})?")
LANGUAGES = {"English": "en"}  # of the catalog, as the Hub writes them
POINTS = 10  # of the curve
MOST_SAMPLE = 800  # characters
UNITS = {level: name.removesuffix("s") for level, name in LEVEL_NAMES.items()}  # one of its tokens
WITHOUT = """
Without it, the step in `model.onnx` is enough (`pip install huggingface_hub onnxruntime numpy`):

```python
import json

import numpy as np
import onnxruntime
from huggingface_hub import hf_hub_download

session = onnxruntime.InferenceSession(hf_hub_download("{repo}", "model.onnx"))
tokens = json.loads(session.get_modelmeta().custom_metadata_map["tokens"])
_, *parts = session.get_inputs()
state = {{
    part.name: np.zeros(
        [1 if size == "B" else size for size in part.shape], np.int64 if "int64" in part.type else np.float32
    )
    for part in parts
}}
generator = np.random.default_rng(1)
text = {prompt}
for place in range(len(text) + 200):
    logits, *after = session.run(None, {{"ids": np.array([tokens.index(text[place])]), **state}})
    state = dict(zip(state, after))
    if place == len(text) - 1:
        chances = np.exp((logits[0] - logits[0].max()).astype(np.float64) / 0.8)
        text += tokens[generator.choice(len(tokens), p=chances / chances.sum())]
print(text)
```
"""


def check_words(license: str, language: str) -> None:
    """Refuse what the Hub's metadata cannot hold.

    Args:
        license: an identifier of the Hub's list, as mit or cc-by-4.0.
        language: an ISO 639 code; empty: not known.

    Raises:
        ConfigError: one is of another form.
    """
    if not LICENSE.fullmatch(license):
        raise ConfigError(f"{license[:40]!r} is no license as the Hub names them; give one as mit or cc-by-4.0")
    if language and not LANGUAGE.fullmatch(language):
        raise ConfigError(f"{language[:40]!r} is no code of a language; give one as en or pt-BR")


def license_of(run: Run) -> str:
    """The license that is known of a run: that of this program for those that came with it."""
    return "mit" if run.shipped else "unknown"


def model_card(run: Run, repo: str, files: Sequence[str], license: str = "", language: str = "") -> str:
    """The model card of a run, which is the same as long as the run is.

    Args:
        run: with weights.
        repo: the repository's full name, for the lines that use it.
        files: what else is in the repository.
        license: an identifier of the Hub; empty: what is known of the run.
        language: of the text; empty: the catalog's, if its text is in there.

    Returns:
        Markdown with YAML before it.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        language=language or known_language(run) or None,
        license=license or license_of(run),
        library_name="charlm",
        pipeline_tag="text-generation",
        tags=[TAG, run.arch, f"{UNITS[run.level]}-level", "language-model"],
        model_name=run.label,
        eval_results=results(run) or None,
    )
    sections = {"Use": _use(run, repo, files), "Text": _text(run), "Training": _training(run), "Curve": _curve(run)}
    sections |= {"Sample": _sample(run), "Limits": _limits(run)}
    body = [f"# {plain(run.label)}", _about(run), _figures(run)]
    body += [f"## {title}\n\n{text}" for title, text in sections.items() if text]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(body) + "\n"


def known_language(run: Run) -> str:
    """The language of a text of the catalog; empty for others."""
    key, sha256 = run.corpus.get("key"), run.corpus.get("sha256")
    named = next((one.language for one in ENTRIES if key and sha256 and one.key == key), "")
    return LANGUAGES.get(named, "")


def results(run: Run) -> "list[EvalResult]":
    """Validation loss and bits per character on the run's own held-out text; empty where they are not known."""
    from huggingface_hub import EvalResult

    loss, bits = run.best_val_loss, run.bits_per_char(run.best_val_loss)
    if loss is None or not run.corpus:
        return []
    name = str(run.corpus.get("name") or "a text")
    measured = [("loss", f"Validation loss (nats per {UNITS[run.level]})", round(loss, 4))]
    measured += [("bits_per_char", "Bits per character", round(bits, 4))] if bits is not None else []
    key = str(run.corpus.get("key") or "") or file_name(name, 60).lower() or "text"
    return [
        EvalResult(
            task_type="text-generation", task_name="Text Generation", dataset_type=key, dataset_name=name,
            dataset_split="validation", metric_type=kind, metric_name=title, metric_value=value,
        )
        for kind, title, value in measured
    ]  # fmt: skip


def _about(run: Run) -> str:
    name = run.corpus.get("name")
    learned = f", which learned from {plain(str(name))}" if name else ""
    return (
        f"{ARCH_NAMES[run.arch]} on {LEVEL_NAMES[run.level]}, {run.model_config.shape}{learned}. "
        "Made with CharLM Lab, which trains and compares small language models."
    )


def _figures(run: Run) -> str:
    bits, unit = run.bits_per_char(run.best_val_loss), UNITS[run.level]
    rows = [("Parameters", f"{run.num_parameters:,}"), ("Vocabulary", f"{run.model_config.vocab_size:,} {unit}s")]
    if run.best_val_loss is not None:
        rows.append(("Validation loss", f"{run.best_val_loss:.4f} nats per {unit}"))
    if bits is not None:
        rows.append(("Bits per character", f"{bits:.3f}"))
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _use(run: Run, repo: str, files: Sequence[str]) -> str:
    prompt = _prompt(run)
    shell = prompt.replace("\\", "").replace('"', "").replace("$", "").replace("`", "").replace("!", "")
    given = f' --prompt "{shell}"' if shell else ""
    lines = [
        "With CharLM Lab:",
        "",
        "```bash",
        f'python -m charlm generate "$(python -m charlm pull {repo})"{given} --length 200 --seed 1',
        "```",
    ]
    text = "\n".join(lines)
    if "model.onnx" in files and run.level == "char" and prompt:
        text += "\n" + WITHOUT.format(repo=repo, prompt=ascii(prompt)).rstrip()
    if "page.html" in files:
        text += "\n\n`page.html` is the model as one page that writes in any browser, offline."
    return text


def _prompt(run: Run) -> str:
    """One line that the model can begin with, of signs it knows."""
    known, sample = set(run.tokenizer().tokens), run.sample() or {}
    given = one_line(str(sample.get("prompt") or "The "), 40) + " "
    if run.level != "char":
        return given.strip()
    usable = "".join(sign for sign in given if sign in known).lstrip()
    return usable or next((token for token in run.tokenizer().tokens if token.isalpha()), "")


def _text(run: Run) -> str:
    facts = run.corpus
    if not facts.get("name"):
        return "It is not known what it learned from."
    said = [f"{plain(str(facts['name']))}. The text is not in this repository."]
    if facts.get("characters"):
        distinct = f", {facts['distinct']:,} distinct" if facts.get("distinct") else ""
        said.append(f"It has {facts['characters']:,} characters{distinct}.")
    if facts.get("val_chars"):
        said.append(f"{facts['val_chars']:,} of them were held out; the validation loss is about these.")
    if facts.get("sha256"):
        said.append(f"SHA-256: `{facts['sha256']}`.")
    return " ".join(said)


def _training(run: Run) -> str:
    if run.model_config.is_counted:
        return "Counted in one pass over the text."
    if not run.step:
        return "It was trained elsewhere and imported."
    train, model = run.train_config, run.model_config
    rows = {
        "Steps": f"{run.step:,}, the best at {run.best_step:,}",
        "Passes over the text": f"{run.epoch:.2f}",
        "Seconds": f"{run.seconds:,.0f} on {plain(str(run.info.get('device') or 'an unknown device'))}",
        "Batch": f"{train.batch_size} rows of {train.seq_len}",
        "Learning rate": f"{train.learning_rate:g}, {train.schedule}",
        "Weight decay": f"{train.weight_decay:g}",
        "Gradient clip": f"{train.grad_clip:g}",
        "Dropout": f"{model.dropout:g}",
        "Seed": f"{train.seed}",
    }
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
    return f"{table}\n\nAll settings stand in `run.json`, every validation in `metrics.jsonl`."


def _curve(run: Run) -> str:
    rows = [row for row in run.metrics() if row.get("val_loss") is not None and row.get("train_loss") is not None]
    chosen = rows[::-1][:: -(-len(rows) // POINTS) or 1][::-1]  # the last among them
    if not chosen:
        return ""
    lines = [f"| {row['step']:,} | {row['train_loss']:.3f} | {row['val_loss']:.4f} |" for row in chosen]
    return "\n".join(["| Step | Training loss | Validation loss |", "|---|---|---|", *lines])


def _sample(run: Run) -> str:
    found = run.sample() or {}
    text = f"{found.get('prompt') or ''}{found.get('text') or ''}"[:MOST_SAMPLE]
    return f"Written at step {found['step']:,}:\n\n{fenced(text)}" if text.strip() else ""


def _limits(run: Run) -> str:
    unit = LEVEL_NAMES[run.level]
    return (
        f"It knows {run.model_config.vocab_size:,} {unit} and no others, and nothing beyond its text: no facts, no "
        "instructions. What it writes may stand in that text word for word, and has its views. It is made for "
        "comparing architectures, not for use."
    )
