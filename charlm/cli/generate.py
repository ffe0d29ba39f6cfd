"""generate and compare: text out of trained runs."""

import sys
from collections.abc import Sequence
from typing import Any

from charlm.analysis.duel import Written, duel_sentence, partings
from charlm.cli.options import Json, ModelToken, ModelTokens, Prompt, RunsDir, takes
from charlm.cli.report import note, print_json
from charlm.config import SampleConfig
from charlm.errors import CheckpointError
from charlm.pretrained import is_pretrained
from charlm.runs.store import RunStore
from charlm.serving import GeneratedText, Serving
from charlm.serving.compared import Writer

# Stands between the samples of one model, a blank line before and after it.
RULE = "-" * 40


@takes(SampleConfig)
def generate(
    run: ModelToken, options: dict[str, Any], prompt: Prompt = "", runs_dir: RunsDir = None, json: Json = False
) -> None:
    """Print a prompt and its continuation by one run; a single sample appears as it grows.

    Args:
        options: the settings of SampleConfig that were given, by name.
    """
    config = SampleConfig.from_dict(options)
    store = RunStore(runs_dir)
    serving = Serving(store)
    found = find_model(serving, store, run)
    written: GeneratedText | None = None
    for draft in serving.generate(found, prompt, config):
        if written is None:
            note_respelled(found.label, draft)
        if not json and config.samples == 1:
            sys.stdout.write(draft.prompt + draft.text if written is None else draft.text[len(written.text) :])
            sys.stdout.flush()
        written = draft
    if written is None:
        return
    if not json and config.samples == 1 and sys.stdout.isatty():
        print()  # what is said or typed next begins a line
    note_error(found.label, written)
    if json:
        about = {"run_id": found.run_id, "label": found.label}
        print_json(samples(about, written, config) if config.samples > 1 else {**about, **facts_of(written)})
    elif config.samples > 1:
        print(all_samples(written))


@takes(SampleConfig)
def compare(
    runs: ModelTokens, options: dict[str, Any], prompt: Prompt = "", runs_dir: RunsDir = None, json: Json = False
) -> None:
    """Print the continuations of one prompt by several runs.

    Args:
        options: as for `generate`.

    Raises:
        CheckpointError: no run could write.
    """
    config = SampleConfig.from_dict(options)
    store = RunStore(runs_dir)
    serving = Serving(store)
    found = [find_model(serving, store, token) for token in dict.fromkeys(runs)]
    drafts: dict[str, GeneratedText] = {}
    for state in serving.compare(found, prompt, config):
        drafts |= state
    if drafts and all(draft.error for draft in drafts.values()):
        raise CheckpointError("; ".join(dict.fromkeys(draft.error for draft in drafts.values())))
    texts = [[Written(one.text, one.done, bool(one.error)) for one in drafts[run.run_id].samples] for run in found]
    if json:
        columns = [column(run, drafts[run.run_id], config) for run in found]
        print_json(with_partings(columns, texts, config) if config.duel else columns)
        return
    for run in found:
        note_error(run.label, drafts[run.run_id])
        note_respelled(run.label, drafts[run.run_id])
        bits = run.bits_per_char(run.best_val_loss)
        headline = run.label if bits is None else f"{run.label} · {bits:.2f} bits per character"
        print(f"== {headline}\n{all_samples(drafts[run.run_id])}\n")
    if config.duel and (said := duel_sentence([run.label for run in found], list(zip(*texts, strict=False)))):
        print(said)


def find_model(serving: Serving, store: RunStore, token: str) -> Writer:
    """The run that a word names, or the pretrained model: hf:owner/name, a .gguf file, or a model's folder.

    Raises:
        CheckpointError: there is none, or it cannot be used.
    """
    return serving.pretrained.load(token) if is_pretrained(token) else store.find(token)


def column(run: Writer, draft: GeneratedText, config: SampleConfig) -> dict[str, Any]:
    """One column of a comparison for JSON.

    Args:
        run: the model.
        draft: its finished text; of several samples the first is shown, and all of them under `samples`.
        config: how it was sampled.
    """
    about = {"run_id": run.run_id, "label": run.label, "arch": run.arch, "best_val_loss": run.best_val_loss}
    more = {"samples": samples({}, draft, config)} if config.samples > 1 else {}
    return {**about, **facts_of(draft), **more}


def with_partings(
    columns: list[dict[str, Any]], texts: Sequence[Sequence[Written]], config: SampleConfig
) -> list[dict[str, Any]]:
    """The columns of a duel for JSON, each text with `parts_after`: the characters before it parts, null if never.

    Args:
        columns: of each run.
        texts: of each run, its samples.
        config: how they were sampled.
    """
    for at, sample in enumerate(zip(*texts, strict=False)):
        for one, place in zip(columns, partings(sample), strict=True):
            if at == 0:
                one["parts_after"] = place
            if config.samples > 1:
                one["samples"][at]["parts_after"] = place
    return columns


def samples(about: dict[str, Any], draft: GeneratedText, config: SampleConfig) -> list[dict[str, Any]]:
    """All samples of a draft for JSON, each with its seed.

    Args:
        about: facts to repeat in each of them.
        draft: finished.
        config: how it was sampled; sample i has the seed config.seed + i.
    """
    return [{**about, "seed": config.seed + at, **facts_of(one)} for at, one in enumerate(draft.samples)]


def facts_of(draft: GeneratedText) -> dict[str, Any]:
    """A finished draft for JSON."""
    return {
        "prompt": draft.prompt,
        "text": draft.text,
        "replaced": dict(draft.replaced),
        "skipped": list(draft.skipped),
        "unknown": list(draft.unknown),
        "chars_per_second": draft.chars_per_second,
        **({"error": draft.error} if draft.error else {}),
    }


def all_samples(draft: GeneratedText) -> str:
    """Prompt and text of every sample, with a rule between them."""
    return f"\n\n{RULE}\n\n".join(one.prompt + one.text for one in draft.samples)


def note_error(label: str, draft: GeneratedText) -> None:
    """Say why the model wrote nothing more; stdout is for text alone."""
    if draft.error:
        note(f"{label} could not write: {draft.error}")


def note_respelled(label: str, draft: GeneratedText) -> None:
    """Name the parts of the prompt that the model knows in another spelling, or not at all."""
    if draft.replaced:
        note(f"{label} reads: {', '.join(f'{typed!r} as {spelled!r}' for typed, spelled in draft.replaced.items())}")
    if draft.skipped:
        note(f"{label} does not know and skipped: {' '.join(map(repr, draft.skipped))}")
    if draft.unknown:
        note(f"{label} does not know and reads as <unk>: {' '.join(map(repr, draft.unknown))}")
