"""Files that a page may download, written straight into gradio's own cache, which it clears by itself."""

import re
import secrets
import zipfile
from collections.abc import Iterable
from pathlib import Path

# What a run folder may hold; nothing else of it leaves the machine.
RUN_FILES = (
    "run.json", "tokenizer.json", "metrics.jsonl", "samples.jsonl", "best.safetensors", "last.safetensors",
    "resume.safetensors",
)  # fmt: skip
RUN_FOLDERS = ("snapshots", "analysis")


def click_js(elem_id: str) -> str:
    """Presses the hidden download button once its file is known, so that one click is enough."""
    return f"() => setTimeout(() => document.getElementById('{elem_id}').click(), 60)"


def served_path(name: str) -> Path:
    """A fresh path in gradio's cache whose last part is `name`, made safe."""
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder()) / secrets.token_hex(16)
    folder.mkdir(parents=True)
    return folder / (re.sub(r"[^\w.-]+", "-", name).strip("-.") or "file")


def served_text(name: str, text: str) -> str:
    """Write a text file that the page may download; its path."""
    path = served_path(name)
    path.write_text(text, encoding="utf-8")
    return str(path)


def run_members(folder: Path, extra: Iterable[str] = ()) -> list[Path]:
    """The named members of a run folder that exist, links left out."""
    named = [folder / name for name in (*RUN_FILES, *extra)]
    named += [path for sub in RUN_FOLDERS for path in sorted((folder / sub).glob("*"))]
    return [path for path in named if path.is_file() and not path.is_symlink()]


def run_zip(folder: Path, name: str, extra: Iterable[str] = ()) -> str:
    """A run folder as a zip that the page may download; its path. Weights do not shrink, so they are stored."""
    path = served_path(f"{name}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member in run_members(folder, extra):
            archive.write(member, f"{name}/{member.relative_to(folder).as_posix()}")
    return str(path)
