"""import and export: runs come in from files of other programs, and leave in their formats."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.cli.options import Json, RunsDir, RunToken, open_corpus, readable
from charlm.cli.report import note, print_answer, print_json
from charlm.config import CorpusConfig, ModelConfig
from charlm.errors import CheckpointError, ConfigError
from charlm.formats.exports import FORMATS, find_format
from charlm.runs.store import Run, RunStore

FILE = "A run's zip, a state_dict of torch.save, a .safetensors, or a model of another program."
File = Annotated[Path, typer.Argument(metavar="FILE", help=FILE)]
CHARACTERS = "Its characters in the order of the ids, where FILE has none: JSON or text."
Characters = Annotated[Path | None, typer.Option("--characters", "--vocab", help=CHARACTERS)]
NONLINEARITY = "Of a plain RNN, where FILE does not say."
Nonlinearity = Annotated[str, typer.Option("--nonlinearity", metavar="tanh|relu", help=NONLINEARITY)]
Label = Annotated[str, typer.Option("--label", help="The run's name. (default: made from the file's)")]
CORPUS = "A text to measure it on; the run then belongs to that text."
Measured = Annotated[str, typer.Option("--corpus", metavar="CORPUS", help=CORPUS)]
KINDS = "|".join(kind.name for kind in FORMATS)
Kind = Annotated[str, typer.Option("--format", metavar=KINDS, help="What to write.")]
Out = Annotated[Path | None, typer.Option("--out", help="File or folder. (default: LABEL and suffix, in this folder)")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")]


def import_run(
    file: File, characters: Characters = None, nonlinearity: Nonlinearity = "tanh", label: Label = "",
    corpus: Measured = "", runs_dir: RunsDir = None, json: Json = False,
) -> None:  # fmt: skip
    """Make a run of a file and print its id."""
    nonlinearity = ModelConfig(nonlinearity=nonlinearity).nonlinearity
    text = open_corpus(corpus, CorpusConfig()) if corpus else None
    from charlm.formats.imports import import_file  # torch: once the options are known to be good

    run = import_file(
        RunStore(runs_dir), file, characters=characters, nonlinearity=nonlinearity, label=readable(label), corpus=text
    )
    if run.message:
        note(run.message)
    if json:
        print_json(imported_facts(run))
        return
    print(run.run_id)
    bits = run.bits_per_char(run.best_val_loss)
    cost = "" if bits is None else f", {bits:.2f} bits per character on {corpus}"
    how = f" with {run.model_config.nonlinearity}" if run.arch == "rnn" else ""  # most files do not say
    note(f"{run.label}: {run.arch}{how}, {run.num_parameters:,} parameters{cost}")


def imported_facts(run: Run) -> dict[str, Any]:
    """Facts about an imported run, as `--json` prints them."""
    return {
        "run_id": run.run_id,
        "label": run.label,
        "arch": run.arch,
        "num_parameters": run.num_parameters,
        "vocab_size": run.model_config.vocab_size,
        "val_loss": run.best_val_loss,
        "imported": run.imported,
        "message": run.message,
    }


def export(
    run: RunToken, format: Kind = "zip", out: Out = None, force: Force = False, runs_dir: RunsDir = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Write a run to a file and print its path; the file is replaced only once it is complete."""
    kind = find_format(format)
    found = RunStore(runs_dir).find(run)
    path = free_path(out, kind.file_name(found), force)
    beside = path.with_name(f"{path.name}.part")
    try:
        kind.write(found, beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    facts = {"run_id": found.run_id, "format": kind.name, "path": str(path), "bytes": path.stat().st_size}
    print_answer(facts, str(path), json)


def free_path(out: Path | None, name: str, force: bool) -> Path:
    """Where the file goes.

    Args:
        out: as it was asked for: a file, a folder, or None for this folder.
        name: of the file, if `out` does not say.
        force: whether a file that is there may be overwritten.

    Raises:
        CheckpointError: the folder is not there.
        ConfigError: there is such a file already.
    """
    path = Path(name) if out is None else out / name if out.is_dir() else out
    if not path.parent.is_dir():
        raise CheckpointError(f"there is no folder {path.parent}; make it first, or name another with --out")
    if path.exists() and (not force or path.is_dir()):
        raise ConfigError(f"{path} exists; add --force to overwrite it, or name another file with --out")
    return path
