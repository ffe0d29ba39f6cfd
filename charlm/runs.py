"""All runs: create, list, find, rename, delete."""

import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from charlm.config import ARCH_NAMES
from charlm.errors import CharLMError, CheckpointError, ConfigError, JobError
from charlm.files import write_atomically
from charlm.run import ACTIVE, MAX_LABEL, NO_PROGRESS, Run, clean_label, now, write_json
from charlm.tokenizer import CharTokenizer

__all__ = ["ACTIVE", "SHIPPED", "Run", "RunStore", "load_run", "runs_dir"]

FORMAT = 1
SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints" / "shipped"
# A folder's name as an id: begins with a letter or digit, so that it never leads anywhere else.
RUN_ID = re.compile(r"[A-Za-z0-9][\w .()+-]{0,120}")


def runs_dir() -> Path:
    """Where new runs go: CHARLM_RUNS, else `checkpoints`."""
    return Path(os.environ.get("CHARLM_RUNS") or "checkpoints")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _open_all(folder: Path, shipped: bool) -> list[Run]:
    runs = []
    for path in folder.glob("*/run.json"):
        try:
            runs.append(Run(path.parent, shipped))
        except CharLMError:
            continue
    return runs


def _is_run(folder: Path) -> bool:
    try:
        return (folder / "run.json").is_file()
    except (OSError, ValueError):
        return False  # a name that is too long, a folder that may not be entered


class RunStore:
    """All runs: the user's under `root`, and the shipped ones."""

    def __init__(self, root: Path | None = None, shipped: Path | None = None) -> None:
        self.root = root or runs_dir()
        self.shipped = shipped or SHIPPED

    def list(self) -> list[Run]:
        """Newest first, shipped ones last; folders that are no runs are passed over."""
        own = sorted(_open_all(self.root, shipped=False), key=lambda run: (run.created, run.run_id), reverse=True)
        return own + sorted(_open_all(self.shipped, shipped=True), key=lambda run: _arch_rank(run.arch))

    def find(self, token: str) -> Run:
        """The run with this id, a unique prefix of one, an unambiguous label, or this folder.

        Raises:
            CheckpointError: none fits, or several do; then it lists their ids.
        """
        exact = self._exact(token)
        if exact:
            return exact
        runs = self.list() if token else []
        matches = [run for run in runs if run.label == token] or [run for run in runs if run.run_id.startswith(token)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise CheckpointError(f"{token!r} fits {len(matches)} runs: {', '.join(run.run_id for run in matches)}")
        if token and _is_run(Path(token)):
            return Run(Path(token), shipped=Path(token).resolve().parent == self.shipped.resolve())
        raise CheckpointError(f"there is no run {token[:80]!r}; `runs list` shows them all")

    def get(self, run_id: str) -> Run:
        """The run with exactly this id: what a browser or a client may ask for.

        Raises:
            CheckpointError: there is none.
        """
        run = self._exact(run_id) if isinstance(run_id, str) else None
        if run is None:
            raise CheckpointError(f"there is no run {str(run_id)[:80]!r}")
        return run

    def _exact(self, run_id: str) -> Run | None:
        if not RUN_ID.fullmatch(run_id):
            return None
        for root, shipped in ((self.root, False), (self.shipped, True)):
            if _is_run(root / run_id):
                return Run(root / run_id, shipped)
        return None

    def create(self, info: Mapping[str, Any], tokenizer: CharTokenizer) -> Run:
        """A new run folder, held by this process, status queued.

        Args:
            info: label, model, train, corpus_config, corpus, preset, group, num_parameters.
            tokenizer: goes into tokenizer.json.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{info['model']['arch']}-{secrets.token_hex(5)}"
        folder = self.root / run_id
        versions = {"python": sys.version.split()[0]} | {name: _version(name) for name in ("torch", "numpy", "gradio")}
        full = {
            "format": FORMAT, "run_id": run_id, "status": "queued", "message": "", "created": now(),
            "progress": dict(NO_PROGRESS), "versions": versions, **info,
        }  # fmt: skip
        try:
            folder.mkdir(parents=True)
            tokens = json.dumps(tokenizer.to_dict(), ensure_ascii=False)
            write_atomically(folder / "tokenizer.json", tokens.encode())
            # Not yet queued: whoever lists it before it is held would take it for interrupted.
            write_json(folder / "run.json", {**full, "status": "interrupted"})
            run = Run(folder)
            run.hold()
            run.update(status="queued")
        except (OSError, CheckpointError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise CheckpointError(
                f"a run cannot be made in {self.root}: {getattr(error, 'strerror', None) or error}; "
                "name another folder in CHARLM_RUNS, or make room"
            ) from error
        return run

    def rename(self, run: Run, label: str) -> None:
        """Give a run another label, 1 to 80 characters; line ends become spaces."""
        label = clean_label(label)
        if not 1 <= len(label) <= MAX_LABEL:
            raise ConfigError(f"a label has 1 to {MAX_LABEL} characters; this one has {len(label)}")
        run.update(label=label)

    def delete(self, run: Run) -> None:
        """Remove a run folder for good; refused for shipped and for active runs."""
        if run.shipped:
            raise CheckpointError(f"{run.label} came with the app and cannot be deleted")
        if run.status in ACTIVE:
            raise JobError(f"{run.label} is {run.status}; stop it first, then delete it")
        if not _is_run(run.folder):
            raise CheckpointError(f"there is no run {run.run_id!r} any more")
        run.hold()  # nobody may resume it meanwhile
        try:
            shutil.rmtree(run.folder)
        except OSError as error:
            raise CheckpointError(f"{run.label} cannot be deleted: {error.strerror or error}") from error
        finally:
            run.release()


def _arch_rank(arch: str) -> int:
    return list(ARCH_NAMES).index(arch)


def load_run(token: str) -> Run:
    """The run with this id, unique prefix, unambiguous label or folder, among the user's and the shipped ones.

    Raises:
        CheckpointError: none fits, or several do.
    """
    return RunStore().find(token)
