"""generate and compare: text out of trained runs."""

import sys
from typing import Any

import typer

from charlm.cli.options import Json, Prompt, RunsDir, RunToken, RunTokens, takes
from charlm.cli.report import note, print_json
from charlm.config import SampleConfig
from charlm.errors import CheckpointError

# Stands between the samples of one model, a blank line before and after it.
RULE = "-" * 40


def add_to(app: typer.Typer) -> None:
    """Hang the commands of this module on the program."""
    said = "Write on from a prompt; prints prompt and text, nothing else; several samples with a line between them."
    app.command("generate", help=said)(generate)
    app.command("compare", help="The same prompt to several runs.")(compare)


def drawn(draft: Any) -> dict[str, Any]:
    """A finished draft for JSON."""
    return {
        "prompt": draft.prompt,
        "text": draft.text,
        "skipped": list(draft.skipped),
        "unknown": list(draft.unknown),
        "chars_per_second": draft.chars_per_second,
        **({"error": draft.error} if draft.error else {}),
    }


def say_skipped(label: str, draft: Any) -> None:
    """Name what of the prompt the model never saw, or why it wrote nothing; stdout is for text alone."""
    if draft.error:
        note(f"{label} could not write: {draft.error}")
    if draft.skipped:
        note(f"{label} does not know and skipped: {' '.join(repr(char) for char in draft.skipped)}")
    if draft.unknown:
        note(f"{label} does not know and reads as <unk>: {' '.join(map(repr, draft.unknown))}")


@takes(SampleConfig)
def generate(
    run: RunToken, options: dict[str, Any], prompt: Prompt = "", runs_dir: RunsDir = None, json: Json = False
) -> None:
    from charlm.runs.store import RunStore
    from charlm.serving import Serving

    config = SampleConfig.from_dict(options)
    store = RunStore(runs_dir)
    found = store.find(run)
    written = None
    for draft in Serving(store).generate(found, prompt, config):
        if not json and config.samples == 1:
            write(draft.prompt + draft.text if written is None else draft.text[len(written.text) :])
        written = draft
    if written is None:
        return
    say_skipped(found.label, written)
    if json:
        print_json(listed({"run_id": found.run_id, "label": found.label}, written, config))
    elif config.samples > 1:
        print(all_samples(written))
    elif sys.stdout.isatty():
        print()


def listed(about: dict[str, Any], draft: Any, config: SampleConfig) -> Any:
    """One sample as an object, several as a list of them, each with its seed."""
    samples = [{**about, "seed": config.seed + at, **drawn(one)} for at, one in enumerate(draft.samples)]
    return samples if config.samples > 1 else {**about, **drawn(draft)}


def all_samples(draft: Any) -> str:
    """Prompt and text of every sample, with a rule between them."""
    return f"\n\n{RULE}\n\n".join(one.prompt + one.text for one in draft.samples)


def write(text: str) -> None:
    """Put text out at once, as it comes from the model."""
    sys.stdout.write(text)
    sys.stdout.flush()


@takes(SampleConfig)
def compare(
    runs: RunTokens, options: dict[str, Any], prompt: Prompt = "", runs_dir: RunsDir = None, json: Json = False
) -> None:
    from charlm.runs.store import RunStore
    from charlm.serving import Serving

    config = SampleConfig.from_dict(options)
    store = RunStore(runs_dir)
    found = [store.find(token) for token in dict.fromkeys(runs)]
    drafts: dict[str, Any] = {}
    for state in Serving(store).compare(found, prompt, config):
        drafts = {**drafts, **state}
    if drafts and all(draft.error for draft in drafts.values()):
        raise CheckpointError("; ".join(dict.fromkeys(draft.error for draft in drafts.values())))
    if json:
        print_json([compared(run, drafts[run.run_id], config) for run in found])
        return
    for run in found:
        say_skipped(run.label, drafts[run.run_id])
        print(f"== {headline(run)}\n{all_samples(drafts[run.run_id])}\n")


def compared(run: Any, draft: Any, config: SampleConfig) -> dict[str, Any]:
    """One column of a comparison for JSON; of several samples the first, and all of them under `samples`."""
    more = {"samples": listed({}, draft, config)} if config.samples > 1 else {}
    return {**about(run), **drawn(draft), **more}


def about(run: Any) -> dict[str, Any]:
    """What tells the columns of a comparison apart."""
    return {"run_id": run.run_id, "label": run.label, "arch": run.arch, "best_val_loss": run.best_val_loss}


def headline(run: Any) -> str:
    """The run's label with what it costs the model to guess unseen text."""
    bits = run.bits_per_char(run.best_val_loss)
    return run.label if bits is None else f"{run.label} · {bits:.2f} bits per character"
