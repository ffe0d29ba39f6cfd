"""Runs pushed to the Hub: a model repository, in one commit, and none where nothing has changed."""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from charlm.errors import CheckpointError, ConfigError, JobError
from charlm.formats.exports import find_format
from charlm.formats.hub.card import TAG, model_card
from charlm.formats.hub.connection import check_name, hub_errors
from charlm.formats.run_zip import BEST, LOGS
from charlm.runs.run import ACTIVE, Run

if TYPE_CHECKING:
    from huggingface_hub import HfApi

WEIGHTS = "model.safetensors"  # what the Hub looks for
MADE = {"model.onnx": "onnx", "page.html": "html"}  # exports that go along, by name, and their format
# What this program puts into a model repository; anything else there is left alone.
MODEL_FILES = ("README.md", "run.json", "tokenizer.json", WEIGHTS, *LOGS, *MADE)
# Fields of run.json that stay at home: whose it is, and what was noted about it.
OWN = ("owner", "note", "left_alone", "featured")
NEW = {".gitattributes", "README.md"}  # what the Hub puts into a new repository
Files = dict[str, Path | bytes]


@dataclass(frozen=True)
class Contents:
    """What a repository is to hold.

    Attributes:
        kind: of the repository.
        files: a path or bytes by name.
        is_ours: of a name, whether this program puts such files there, so that those no longer made are removed.
        message: of the commit.
        sdk: of a Space: gradio or static.
        left_out: why an export is not among them, a sentence each.
    """

    kind: Literal["model", "space"]
    files: Files
    is_ours: Callable[[str], bool]
    message: str
    sdk: str | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pushed:
    """What a push came to.

    Attributes:
        repo: the repository's full name.
        url: of its page.
        commit: the newest there.
        is_changed: whether this push made it.
        is_private: whether only its owner sees it.
        left_out: see `Contents`.
    """

    repo: str
    url: str
    commit: str
    is_changed: bool
    is_private: bool
    left_out: tuple[str, ...]


def full_name(api: "HfApi", repo: str) -> str:
    """A repository's name with its owner; a bare name belongs to whoever the token is of.

    Raises:
        ConfigError: it is no name of a repository.
        HubError: the Hub does not know the token, or cannot be reached.
    """
    check_name(repo)
    with hub_errors(repo):
        user = str(api.whoami()["name"])
    return repo if "/" in repo else f"{user}/{repo}"


def check_pushable(run: Run) -> None:
    """Refuse a run that has no weights yet, or whose weights may change meanwhile.

    Raises:
        CheckpointError: it has none.
        JobError: it is being trained.
    """
    if run.status in ACTIVE:
        raise JobError(f"{run.label} is {run.status}; stop it first, or wait for its end")
    if not (run.folder / BEST).is_file():
        raise CheckpointError(f"{run.label} has no weights yet, so there is nothing to push; train it first")


def description(run: Run, featured: bool = False) -> bytes:
    """run.json as others may read it.

    Args:
        run: whose.
        featured: whether a page that has it opens on it.
    """
    kept = {name: value for name, value in run.info.items() if name not in OWN}
    kept |= {"featured": True} if featured else {}
    return json.dumps(kept, indent=1, ensure_ascii=False).encode("utf-8", "replace")


@contextmanager
def model_contents(run: Run, repo: str, license: str = "", language: str = "") -> Iterator[Contents]:
    """What a model repository holds of a run; its files last as long as the block.

    Args:
        run: with weights.
        repo: the repository's full name.
        license, language: see `model_card`.

    Raises:
        CheckpointError: the run has no weights, or they cannot be read.
        JobError: it is being trained.
    """
    check_pushable(run)
    run.load_model()  # damaged weights are found before anything is sent
    files: Files = {"run.json": description(run), "tokenizer.json": run.folder / "tokenizer.json"}
    files[WEIGHTS] = run.folder / BEST
    files |= {name: run.folder / name for name in LOGS if (run.folder / name).is_file()}
    left_out = []
    with tempfile.TemporaryDirectory(prefix="charlm-") as folder:
        for name, format in MADE.items():
            try:
                find_format(format).write(run, Path(folder) / name)
                files[name] = Path(folder) / name
            except CheckpointError as error:
                left_out.append(f"without {name}: {error}")
        files["README.md"] = model_card(run, repo, [*files], license, language).encode("utf-8", "replace")
        message = f"{run.label}, step {run.best_step:,}"
        yield Contents("model", files, MODEL_FILES.__contains__, message, left_out=tuple(left_out))


def push(api: "HfApi", repo: str, contents: Contents, public: bool = False, force: bool = False) -> Pushed:
    """Make a repository hold these contents: made if it is not there, then changed in one commit, or in none.

    What is interrupted leaves the repository as it was; the same push again sends what is missing.

    Args:
        api: see `connect`.
        repo: the repository's full name.
        contents: of it.
        public: whether everybody may see it.
        force: also into a repository that this program did not make.

    Raises:
        ConfigError: the repository is there, and is another's work, or seen by others than asked for.
        HubError: the Hub refuses, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    with hub_errors(repo):
        found = _repository(api, repo, contents, public)
        there = {one.rfilename for one in found.siblings or ()}
        if not force and there - NEW and TAG not in (found.tags or ()):
            raise ConfigError(
                f"{repo} is there already and holds what did not come from here; take another name, or add --force"
            )
        gone = [name for name in sorted(there - contents.files.keys()) if contents.is_ours(name)]
        operations = [CommitOperationDelete(name) for name in gone]
        added = [CommitOperationAdd(name, given) for name, given in sorted(contents.files.items())]
        with _quiet():
            made = api.create_commit(
                repo, [*operations, *added], commit_message=contents.message, repo_type=contents.kind
            )
    place = f"{api.endpoint}/{'spaces/' if contents.kind == 'space' else ''}{repo}"
    return Pushed(repo, place, made.oid, made.oid != found.sha, bool(found.private), contents.left_out)


def _repository(api: "HfApi", repo: str, contents: Contents, public: bool) -> Any:
    """What the Hub says of the repository, which is made if it is not there."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = api.repo_info(repo, repo_type=contents.kind)
    except RepositoryNotFoundError:
        api.create_repo(repo, repo_type=contents.kind, private=not public, space_sdk=contents.sdk, exist_ok=True)
        found = api.repo_info(repo, repo_type=contents.kind)
    if not found.private and not public:
        raise ConfigError(f"{repo} is public: everybody sees what is pushed; add --public if that is meant")
    if found.private and public:
        raise ConfigError(
            f"{repo} is private; leave out --public, or make it public in its settings on the Hub, with its history"
        )
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars, and no warning that nothing has changed: what a push came to is said here."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger, had_bars = logging.getLogger("huggingface_hub.hf_api"), not are_progress_bars_disabled()
    level = logger.level
    logger.setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if had_bars:
            enable_progress_bars()


def summary(pushed: Pushed) -> str:
    """What a push came to, in a sentence."""
    who = "private" if pushed.is_private else "public"
    done = f"pushed as commit {pushed.commit[:7]}" if pushed.is_changed else "nothing has changed since the last push"
    return f"{pushed.url} ({who}): {done}"


def facts(pushed: Pushed) -> Mapping[str, Any]:
    """The same for `--json`."""
    return {
        "repo": pushed.repo, "url": pushed.url, "commit": pushed.commit, "changed": pushed.is_changed,
        "private": pushed.is_private, "left_out": list(pushed.left_out),
    }  # fmt: skip
