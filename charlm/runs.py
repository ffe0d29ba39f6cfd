"""A run is a folder: create, list, find, rename, delete. run.json says what it is, files beside it hold the rest."""

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
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from charlm.config import ARCH_NAMES, CorpusConfig, ModelConfig, TrainConfig
from charlm.errors import CharLMError, CheckpointError, ConfigError, JobError
from charlm.files import write_atomically
from charlm.metrics import MetricsLog
from charlm.tokenizer import CharTokenizer

if TYPE_CHECKING:
    from charlm.models import LanguageModel

FORMAT = 1
SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints" / "shipped"
ACTIVE = ("queued", "running", "paused")
# What a new run.json holds of a training that has not begun.
NO_PROGRESS: dict[str, Any] = {
    "step": 0,
    "total_steps": None,
    "epoch": 0.0,
    "train_loss": None,
    "val_loss": None,
    "best_val_loss": None,
    "best_step": 0,
    "seconds": 0.0,
    "chars_per_second": 0.0,
}


def runs_dir() -> Path:
    """Where new runs go: CHARLM_RUNS, else `checkpoints`."""
    return Path(os.environ.get("CHARLM_RUNS") or "checkpoints")


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


class Run:
    """One run folder. Attributes are read from run.json when the object is made; `update` writes them back."""

    def __init__(self, folder: Path, shipped: bool = False) -> None:
        self.folder = folder
        self.shipped = shipped
        self.info: dict[str, Any] = _read_json(folder / "run.json")
        try:
            self.run_id: str = str(self.info["run_id"])
            self.model_config = ModelConfig.from_dict(self.info["model"])
            self.train_config = TrainConfig.from_dict(self.info["train"])
            self.corpus_config = CorpusConfig.from_dict(self.info["corpus_config"])
            self.corpus: dict[str, Any] = dict(self.info["corpus"])
            self.progress: dict[str, Any] = {**NO_PROGRESS, **self.info["progress"]}
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise CheckpointError(f"run.json in {folder.name} is not a run's description: {error}") from error
        self._lock = FileLock(folder / ".lock", thread_local=False)  # held by one thread, let go by another

    @property
    def label(self) -> str:
        """The name people see."""
        return str(self.info["label"])

    @property
    def arch(self) -> str:
        """lstm, gru or rnn."""
        return self.model_config.arch

    @property
    def status(self) -> str:
        """A status word; an active run that no process holds was interrupted."""
        status = str(self.info.get("status", "interrupted"))
        return "interrupted" if status in ACTIVE and not self._is_held() else status

    @property
    def message(self) -> str:
        """Why it failed, or what was adapted; empty if there is nothing to say."""
        return str(self.info.get("message", ""))

    @property
    def preset(self) -> str:
        """The preset it started from."""
        return str(self.info.get("preset", ""))

    @property
    def group(self) -> str:
        """The race it took part in, or empty."""
        return str(self.info.get("group", ""))

    @property
    def created(self) -> str:
        """When it was made, ISO 8601 UTC."""
        return str(self.info.get("created", ""))

    @property
    def num_parameters(self) -> int:
        """How many numbers it learned."""
        return int(self.info.get("num_parameters", 0))

    @property
    def best_val_loss(self) -> float | None:
        """Lowest validation loss, nats per token; None before the first validation."""
        return self.progress["best_val_loss"]

    @property
    def best_step(self) -> int:
        """The step of the best validation loss."""
        return int(self.progress["best_step"])

    @property
    def step(self) -> int:
        """Steps trained."""
        return int(self.progress["step"])

    @property
    def total_steps(self) -> int | None:
        """Steps planned; None if only minutes limit the run."""
        return self.progress["total_steps"]

    @property
    def epoch(self) -> float:
        """Passes over the training text."""
        return float(self.progress["epoch"])

    @property
    def seconds(self) -> float:
        """The training's own time."""
        return float(self.progress["seconds"])

    @property
    def chars_per_second(self) -> float:
        """Training speed."""
        return float(self.progress["chars_per_second"] or 0.0)

    @property
    def size_bytes(self) -> int:
        """What the folder costs on disk."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    @property
    def log(self) -> MetricsLog:
        """The run's metrics.jsonl."""
        return MetricsLog(self.folder / "metrics.jsonl")

    def metrics(self, since: int = -1) -> list[dict[str, Any]]:
        """The logged rows beyond step `since`."""
        return self.log.rows(since)

    def samples(self) -> list[dict[str, Any]]:
        """The texts it wrote at its validations: step, prompt, text."""
        return MetricsLog(self.folder / "samples.jsonl").rows()

    def tokenizer(self) -> CharTokenizer:
        """The tokenizer of its ids."""
        return CharTokenizer.from_dict(_read_json(self.folder / "tokenizer.json"))

    def load_model(self, which: str = "best") -> "LanguageModel":
        """Its model with the `best` or `last` weights, ready to generate."""
        from charlm.checkpoint import load_weights  # torch takes seconds: not before it is needed

        return load_weights(self.folder / f"{which}.safetensors", self.model_config)

    def update(self, progress: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Change run.json, in one go."""
        if self.shipped:
            raise CheckpointError(
                f"{self.label} came with the app and is read-only; train a run of your own to change it"
            )
        self.progress.update(progress or {})
        # Read again first: a label changed meanwhile through another object stays.
        self.info = {**_read_json(self.folder / "run.json"), **fields, "progress": self.progress, "updated": now()}
        write_atomically(self.folder / "run.json", json.dumps(self.info, indent=1, ensure_ascii=False).encode())

    def hold(self) -> None:
        """Mark the run as this process's own until `release`; a process that dies lets go by itself."""
        try:
            self._lock.acquire(timeout=1)
        except Timeout:
            raise JobError(f"{self.label} ({self.run_id}) is being trained by another process") from None

    def release(self) -> None:
        """Let go of the run."""
        self._lock.release()

    def _is_held(self) -> bool:
        if self._lock.is_locked:
            return True
        probe = FileLock(self.folder / ".lock")
        try:
            with probe.acquire(blocking=False):
                return False
        except Timeout:
            return True
        except OSError:
            return False


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent.name} has no {path.name}; it is not a run folder") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name} in {path.parent.name} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path.name} in {path.parent.name} does not hold an object")
    return data


def _open_all(folder: Path, shipped: bool) -> list[Run]:
    runs = []
    for path in folder.glob("*/run.json"):
        try:
            runs.append(Run(path.parent, shipped))
        except CharLMError:
            continue
    return runs


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
        runs = self.list()
        matches = [run for run in runs if run.label == token] or [run for run in runs if run.run_id.startswith(token)]
        if len(matches) == 1 and token:
            return matches[0]
        if matches and token:
            raise CheckpointError(f"{token!r} fits {len(matches)} runs: {', '.join(run.run_id for run in matches)}")
        if re.search(r"[\\/]", token) and (Path(token) / "run.json").is_file():
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
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,120}", run_id):
            return None
        for root, shipped in ((self.root, False), (self.shipped, True)):
            if (root / run_id / "run.json").is_file():
                return Run(root / run_id, shipped)
        return None

    def create(self, info: Mapping[str, Any], tokenizer: CharTokenizer) -> Run:
        """A new run folder, held by this process, status queued.

        Args:
            info: label, model, train, corpus_config, corpus, preset, group, num_parameters.
            tokenizer: goes into tokenizer.json.
        """
        run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{info['model']['arch']}-{secrets.token_hex(5)}"
        folder = self.root / run_id
        folder.mkdir(parents=True)
        versions = {"python": sys.version.split()[0]} | {name: _version(name) for name in ("torch", "numpy", "gradio")}
        full = {
            "format": FORMAT, "run_id": run_id, "status": "queued", "message": "", "created": now(),
            "progress": dict(NO_PROGRESS), "versions": versions, **info,
        }  # fmt: skip
        write_atomically(folder / "tokenizer.json", json.dumps(tokenizer.to_dict(), ensure_ascii=False).encode())
        write_atomically(folder / "run.json", json.dumps(full, indent=1, ensure_ascii=False).encode())
        run = Run(folder)
        run.hold()
        return run

    def rename(self, run: Run, label: str) -> None:
        """Give a run another label, 1 to 80 characters."""
        label = label.strip()
        if not 1 <= len(label) <= 80:
            raise ConfigError(f"a label has 1 to 80 characters; this one has {len(label)}")
        run.update(label=label)

    def delete(self, run: Run) -> None:
        """Remove a run folder for good; refused for shipped and for active runs."""
        if run.shipped:
            raise CheckpointError(f"{run.label} came with the app and cannot be deleted")
        if run.status in ACTIVE:
            raise JobError(f"{run.label} is {run.status}; stop it first, then delete it")
        shutil.rmtree(run.folder)


def _arch_rank(arch: str) -> int:
    return list(ARCH_NAMES).index(arch)


def load_run(token: str) -> Run:
    """The run with this id, unique prefix, unambiguous label or folder, among the user's and the shipped ones.

    Raises:
        CheckpointError: none fits, or several do.
    """
    return RunStore().find(token)
