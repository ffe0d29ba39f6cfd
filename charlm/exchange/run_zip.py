"""A run folder as a zip, with its named members only."""

import zipfile
from pathlib import Path

from charlm.run import Run

# What a run folder may hold; nothing else of it leaves the machine, or comes in.
MEMBERS = (
    "run.json", "tokenizer.json", "metrics.jsonl", "samples.jsonl", "best.safetensors", "last.safetensors",
    "resume.safetensors",
)  # fmt: skip
FOLDERS = ("snapshots", "analysis")


def members(folder: Path) -> list[Path]:
    """The named members of a run folder that exist, links left out."""
    named = [folder / name for name in MEMBERS]
    named += [path for sub in FOLDERS for path in sorted((folder / sub).glob("*"))]
    return [path for path in named if path.is_file() and not path.is_symlink()]


def write_zip(run: Run, path: Path) -> None:
    """A run folder as a zip. Weights do not shrink, so they are stored."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member in members(run.folder):
            archive.write(member, f"{run.run_id}/{member.relative_to(run.folder).as_posix()}")
