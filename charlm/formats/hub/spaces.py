"""Spaces: this program with a run of one's own, and a static page that needs no server."""

import html
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charlm.errors import CheckpointError, ConfigError
from charlm.files import one_line, open_plain
from charlm.formats.exports import find_format
from charlm.formats.hub.card import TAG, license_of
from charlm.formats.hub.push import Contents, Files, check_pushable, description
from charlm.formats.markdown import plain
from charlm.formats.run_zip import members
from charlm.runs.run import Run
from charlm.runs.store import PACKAGE, SHIPPED

PROGRAM = ("app.py", "requirements.txt", "pyproject.toml", "LICENSE")  # of a checkout, beside the package
SHIPPED_AS = "checkpoints/shipped"
SPARE = ("last.safetensors", "resume.safetensors")  # which nothing in a Space needs
MOST_PAGE = 64 << 20  # bytes of a page
HEAD = 4096  # bytes of a page that say what it is
POLICY = b'<meta http-equiv="Content-Security-Policy" content="default-src &#x27;none&#x27;'
MOST_SHORT = 60  # characters of a Space's short description, as the Hub counts


def program_folder() -> Path:
    """The checkout that this program runs from.

    Raises:
        ConfigError: it is an installed package, without the files of a Space.
    """
    root = PACKAGE.parent
    if missing := [name for name in (*PROGRAM, "README.md") if not (root / name).is_file()]:
        raise ConfigError(
            f"a Space is made from a checkout of CharLM Lab, and there is no {missing[0]} beside {PACKAGE}; "
            "clone the repository and push from there"
        )
    return root


def space_contents(run: Run, license: str = "") -> Contents:
    """A Space with the whole page, the runs that came with the program, and this one, which the page opens on.

    Args:
        run: with weights.
        license: of the Space, an identifier of the Hub; empty: that of the program.

    Raises:
        CheckpointError: the run has no weights.
        ConfigError: this program is no checkout.
        JobError: the run is being trained.
    """
    from huggingface_hub.repocard import metadata_load

    check_pushable(run)
    run.load_model()
    root = program_folder()
    files: Files = {name: root / name for name in PROGRAM}
    files |= {path.relative_to(root).as_posix(): path for path in _sources(PACKAGE)}
    files |= {f"{SHIPPED_AS}/{path.relative_to(SHIPPED).as_posix()}": path for path in _sources(SHIPPED)}
    own = f"{SHIPPED_AS}/{run.run_id}"
    kept = [one for one in members(run.folder) if one.name not in SPARE]
    files |= {f"{own}/{one.relative_to(run.folder).as_posix()}": one for one in kept}
    files[f"{own}/run.json"] = description(run, featured=True)
    about = dict(metadata_load(root / "README.md") or {})
    about |= {"title": run.label, "tags": [TAG], "pinned": False, "license": license or about.get("license", "mit")}
    about["short_description"] = _short(f"{run.label}, and how LSTM, GRU and RNN differ")
    body = f"{plain(run.label)} in CharLM Lab: write with it, compare it, see why architectures differ."
    files["README.md"] = _readme(about, body)
    message = f"CharLM Lab with {run.label}, step {run.best_step:,}"
    return Contents("space", files, lambda name: name.startswith(("charlm/", f"{SHIPPED_AS}/")), message, "gradio")


def _sources(folder: Path) -> Iterator[Path]:
    """The files below a folder, without what Python and this program leave there."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield path


@contextmanager
def run_page(run: Run, license: str = "") -> Iterator[Contents]:
    """A static Space that is a run's own page; its files last as long as the block.

    Raises:
        CheckpointError: the run has no weights, or cannot be such a page.
        JobError: it is being trained.
    """
    check_pushable(run)
    with tempfile.TemporaryDirectory(prefix="charlm-") as folder:
        path = Path(folder) / "index.html"
        find_format("html").write(run, path)
        yield page_contents(path, license or license_of(run))


def page_contents(path: Path, license: str = "") -> Contents:
    """A static Space that is a page of this program's: a run's, or that of a comparison.

    Args:
        path: of the file.
        license: an identifier of the Hub; empty: not known.

    Raises:
        CheckpointError: it cannot be read, or is another's page.
    """
    try:
        with open_plain(path) as file:
            data = file.read(MOST_PAGE + 1)
    except OSError as error:
        raise CheckpointError(f"{str(path)[:200]} cannot be read: {error.strerror or error}") from None
    if len(data) > MOST_PAGE:
        raise CheckpointError(f"{path.name} has more than {MOST_PAGE:,} bytes, and no page of this program is so large")
    if not data.startswith(b"<!doctype html>") or b"CharLM Lab" not in data or POLICY not in _escaped(data[:HEAD]):
        raise CheckpointError(
            f"{path.name} is no page of this program; make one with `export RUN --format html`, or save a comparison "
            "as a page"
        )
    found = re.search(r"<title>([^<]*)</title>", data.decode("utf-8", "replace"))
    title = one_line(html.unescape(found[1]) if found else "", 80) or "CharLM Lab"
    about = {
        "title": title, "emoji": "🔤", "colorFrom": "gray", "colorTo": "gray", "sdk": "static",
        "app_file": "index.html", "pinned": False, "license": license or "unknown", "tags": [TAG],
        "short_description": _short(title),
    }  # fmt: skip
    body = f"{plain(title)}. One page, made with CharLM Lab: it runs in the browser, and nothing is sent."
    files: Files = {"README.md": _readme(about, body), "index.html": data}
    return Contents("space", files, lambda _: False, title, "static")


def _escaped(head: bytes) -> bytes:
    """The head of a page with its apostrophes as escapes: templates write them either way."""
    return head.replace(b"&#39;", b"&#x27;").replace(b"'", b"&#x27;")


def _short(text: str) -> str:
    return one_line(text, MOST_SHORT)


def _readme(about: Mapping[str, Any], body: str) -> bytes:
    """A Space's README.md: its front matter, and a line for people."""
    from huggingface_hub import SpaceCardData

    return f"---\n{SpaceCardData(**about).to_yaml()}\n---\n\n{body}\n".encode("utf-8", "replace")
