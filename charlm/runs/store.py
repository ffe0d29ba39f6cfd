"""All runs: create, list, find, rename, delete."""

import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from charlm.architectures import ARCH_NAMES
from charlm.errors import CharLMError, CheckpointError, ConfigError, JobError
from charlm.files import sync_folder, write_atomically
from charlm.runs.history import HistoryReader
from charlm.runs.run import (
    ACTIVE,
    MAX_LABEL,
    MAX_NOTE,
    NO_PROGRESS,
    SPARE,
    Run,
    clean_label,
    clean_note,
    folder_bytes,
    leftovers_in,
    now,
    run_lock,
    write_json,
)
from charlm.runs.snapshots import drop_snapshots
from charlm.tokenizers import Tokenizer

__all__ = ["ACTIVE", "SHIPPED", "Run", "RunStore", "load_run", "runs_dir"]

FORMAT = 1
PACKAGE = Path(str(files("charlm"))).resolve()
# Inside an installed package, beside it in a checkout.
SHIPPED = PACKAGE / "shipped" if (PACKAGE / "shipped").is_dir() else PACKAGE.parent / "checkpoints" / "shipped"
# A folder's name as an id: begins with a letter or digit, so that it never leads anywhere else.
RUN_ID = re.compile(r"[A-Za-z0-9][\w .()+-]{0,120}")
HISTORIES = 32  # that are kept, those used last; each is some megabytes at most
MADE_ID = re.compile(r"\d{8}-\d{6}-[a-z]+-[0-9a-f]{10}")  # of folders that this program made


def runs_dir() -> Path:
    """Where new runs go: CHARLM_RUNS, else `checkpoints` in the current folder, installed or not."""
    return Path(os.environ.get("CHARLM_RUNS") or "checkpoints")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _is_run(folder: Path) -> bool:
    try:
        return (folder / "run.json").is_file()
    except (OSError, ValueError):
        return False  # a name that is too long, a folder that may not be entered


def no_run(run_id: object) -> CheckpointError:
    """What is said of an id that fits no run."""
    return CheckpointError(f"there is no run {str(run_id)[:80]!r}")


def nobody() -> str:
    """The owner of new runs where all belong to one user."""
    return ""


class RunStore:
    """All runs: the user's under `root`, and the shipped ones.

    Args:
        root: where new runs go; None: `runs_dir()`.
        shipped: the runs that came with the app.
        owner: asked at every new run whose it is; a key of a visitor, or "".
    """

    def __init__(
        self, root: Path | None = None, shipped: Path | None = None, owner: Callable[[], str] = nobody
    ) -> None:
        self.root = root or runs_dir()
        self.shipped = shipped or SHIPPED
        self._owner = owner
        self._reader = lru_cache(HISTORIES)(HistoryReader)  # one for each log: who looks at a run reads on from there
        self._known: dict[Path, dict[str, Run]] = {}  # by the folder they are in and their own, as they were read

    def list(self) -> list[Run]:
        """Newest first, shipped ones last, the largest of each architecture first; what is no run is passed over."""
        own = sorted(self._open_all(self.root, shipped=False), key=lambda run: (run.created, run.run_id), reverse=True)
        shipped = self._open_all(self.shipped, shipped=True)
        return own + sorted(shipped, key=lambda run: (_arch_rank(run.arch), -run.num_parameters))

    def _open_all(self, folder: Path, shipped: bool) -> Iterable[Run]:
        """The runs in a folder; of those that have not changed nothing is read again."""
        known, runs = self._known.get(folder, {}), dict[str, Run]()
        for name in _names(folder):
            with suppress(CharLMError):
                run = known.get(name)
                if run is None or not run.is_fresh:
                    run = Run(folder / name, shipped, reader=self._reader)
                runs[name] = run
        self._known[folder] = runs
        return (run.twin() for run in runs.values())

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
            raise no_run(run_id)
        return run

    def _exact(self, run_id: str) -> Run | None:
        if not RUN_ID.fullmatch(run_id):
            return None
        for root, shipped in ((self.root, False), (self.shipped, True)):
            if _is_run(root / run_id):
                return Run(root / run_id, shipped, reader=self._reader)
        return None

    def create(self, info: Mapping[str, Any], tokenizer: Tokenizer) -> Run:
        """A new run folder, held by this process, status queued.

        Args:
            info: label, model, train, corpus_config, corpus, preset, group, num_parameters.
            tokenizer: goes into tokenizer.json.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{info['model']['arch']}-{secrets.token_hex(5)}"
        folder = self.root / run_id
        lock = run_lock(folder)
        try:
            folder.mkdir(parents=True)
            lock.acquire(timeout=1)  # before it can be listed: a run that is not held was interrupted
            self._describe(folder, info, tokenizer)
            return Run(folder, lock=lock)
        except (OSError, CheckpointError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
            raise CheckpointError(
                f"a run cannot be made in {self.root}: {getattr(error, 'strerror', None) or error}; "
                "name another folder in CHARLM_RUNS, or make room"
            ) from error

    def _describe(self, folder: Path, info: Mapping[str, Any], tokenizer: Tokenizer) -> None:
        """What a run consists of before its training; run.json comes last and makes the folder a run."""
        versions = {"python": sys.version.split()[0]} | {name: _version(name) for name in ("torch", "numpy", "gradio")}
        full = {
            "format": FORMAT, "run_id": folder.name, "status": "queued", "message": "", "created": now(),
            "progress": dict(NO_PROGRESS), "versions": versions, **info, "owner": self._owner(),
        }  # fmt: skip
        write_atomically(folder / "tokenizer.json", tokenizer.to_file())
        write_json(folder / "run.json", full)
        sync_folder(self.root)

    def rename(self, run: Run, label: str) -> None:
        """Give a run another label, 1 to 80 characters; line ends become spaces."""
        label = clean_label(label)
        if not 1 <= len(label) <= MAX_LABEL:
            raise ConfigError(f"a label has 1 to {MAX_LABEL} characters; this one has {len(label)}")
        run.update(label=label)

    def annotate(self, run: Run, note: str) -> None:
        """Write about a run what is to be remembered of it, up to MAX_NOTE characters; an empty note removes it.

        Raises:
            ConfigError: it is longer.
            CheckpointError: the run came with the app, is gone, or cannot be written.
        """
        if len(note) > MAX_NOTE:
            raise ConfigError(f"a note has up to {MAX_NOTE:,} characters; this one has {len(note):,}")
        run.update(note=clean_note(note))

    def discard(self, run: Run) -> None:
        """Remove a run that this process has just made."""
        shutil.rmtree(run.folder, ignore_errors=True)
        run.release()

    @property
    def trash(self) -> Path:
        """Where deleted runs lie until the trash is emptied."""
        return self.root / ".trash"

    def delete(self, run: Run) -> None:
        """Move a run to the trash; refused for shipped and for active runs.

        Raises:
            CheckpointError: it is shipped, gone, or cannot be moved.
            JobError: it is being trained.
        """
        if run.shipped:
            raise CheckpointError(f"{run.label} came with the app and cannot be deleted")
        if run.status in ACTIVE:
            raise JobError(f"{run.label} is {run.status}; stop it first, then delete it")
        if not _is_run(run.folder):
            raise CheckpointError(f"there is no run {run.run_id!r} any more")
        run.hold()  # it must not be resumed meanwhile
        try:
            self.trash.mkdir(exist_ok=True)
            if sys.platform == "win32":  # an open file keeps its folder in place there
                run.release()
            _move(run.folder, self.trash / run.folder.name)
        except OSError as error:
            raise CheckpointError(f"{run.label} cannot be deleted: {error.strerror or error}") from error
        finally:
            run.release()

    def trashed(self) -> Sequence[Run]:
        """The deleted runs, the last deleted first."""
        runs = self._open_all(self.trash, shipped=False)
        return sorted(runs, key=lambda run: run.folder.stat().st_ctime_ns, reverse=True)

    def restore(self, run_id: str) -> Run:
        """Take a run out of the trash.

        Raises:
            CheckpointError: it is not there, or cannot be moved.
        """
        if not RUN_ID.fullmatch(run_id) or not _is_run(self.trash / run_id):
            raise CheckpointError(f"there is no run {run_id[:80]!r} in the trash")
        if (self.root / run_id).exists():
            raise CheckpointError(f"there is another run {run_id!r} by now; delete it first")
        try:
            _move(self.trash / run_id, self.root / run_id)
        except OSError as error:
            raise CheckpointError(f"{run_id} cannot be restored: {error.strerror or error}") from error
        return self.get(run_id)

    def empty_trash(self, only: Sequence[Run] | None = None) -> int:
        """Remove deleted runs for good; returns the bytes that are free now.

        Args:
            only: of `trashed`; None: everything in the trash.

        Raises:
            CheckpointError: something in it cannot be removed.
        """
        freed = 0
        try:
            for folder in _folders(self.trash) if only is None else [run.folder for run in only]:
                size = folder_bytes(folder)
                shutil.rmtree(folder)
                freed += size
        except OSError as error:
            raise CheckpointError(f"the trash cannot be emptied: {error.strerror or error}") from error
        return freed

    def trim(self, run: Run) -> int:
        """Keep the best weights only: the run can be compared and forked, but not resumed.

        Returns:
            The bytes that are free now.

        Raises:
            CheckpointError: it is shipped, has no best weights that can be read, or cannot be written.
            JobError: it is being trained.
        """
        from charlm.runs.checkpoint import is_valid  # torch takes seconds: not before it is needed

        if run.shipped:
            raise CheckpointError(f"{run.label} came with the app and is read-only")
        if run.status in ACTIVE:
            raise JobError(f"{run.label} is {run.status}; stop it first")
        run.hold()
        try:
            if not is_valid(run.folder / "best.safetensors"):
                raise CheckpointError(f"{run.label} has no best weights that can be read; nothing was removed")
            freed = run.spare_bytes
            run.update(trimmed=True)
            for name in SPARE:
                (run.folder / name).unlink(missing_ok=True)
            drop_snapshots(run.folder)
        except OSError as error:
            raise CheckpointError(f"{run.label} cannot be trimmed: {error.strerror or error}") from error
        finally:
            run.release()
        return freed

    def sweep(self) -> Sequence[Path]:
        """Remove what killed processes left: files half written, folders that never became runs, half-emptied trash.

        Returns:
            The folders that were tidied; what another process holds is left alone.
        """
        tidied = [folder for folder in _folders(self.root) if _is_untidy(folder) and _tidy(folder)]
        for folder in _folders(self.trash):
            if not _is_run(folder):
                shutil.rmtree(folder, ignore_errors=True)
                tidied.append(folder)
        return tidied


def _names(root: Path) -> list[str]:
    """The names of the folders in a folder, sorted."""
    try:
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if _is_dir(entry))
    except OSError:
        return []


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # links in a circle


def _folders(root: Path) -> list[Path]:
    return [root / name for name in _names(root) if not name.startswith(".")]


def _move(source: Path, target: Path) -> None:
    os.replace(source, target)
    for folder in (target.parent, source.parent):
        sync_folder(folder)


def _is_untidy(folder: Path) -> bool:
    """Whether a run has leftovers, or what was to become one never did."""
    return bool(leftovers_in(folder)) if _is_run(folder) else MADE_ID.fullmatch(folder.name) is not None


def _tidy(folder: Path) -> bool:
    """Clear one folder of leftovers; returns False if a process holds it."""
    try:
        lock = run_lock(folder)
        with lock.acquire(blocking=False):
            if not _is_run(folder):
                shutil.rmtree(folder, ignore_errors=True)
            else:
                Run(folder, lock=lock).sweep()
    except (OSError, CharLMError):  # held (Timeout is an OSError), gone, or not to be touched
        return False
    return True


def _arch_rank(arch: str) -> int:
    return list(ARCH_NAMES).index(arch)


def load_run(token: str) -> Run:
    """The run with this id, unique prefix, unambiguous label or folder, among the user's and the shipped ones.

    Raises:
        CheckpointError: none fits, or several do.
    """
    return RunStore().find(token)
