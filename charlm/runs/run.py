"""One run: a folder whose run.json says what it is, with tokenizer, weights, metrics and samples beside it."""

import copy
import json
import logging
import math
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar

from filelock import FileLock, Timeout

from charlm import files
from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.data.items import border_of
from charlm.errors import CheckpointError, ConfigError, JobError
from charlm.files import leftovers, one_line, write_atomically
from charlm.runs.gradients import FILE as GRADIENTS
from charlm.runs.gradients import GradientLog
from charlm.runs.history import BLOCK_LOG, TEST_LOG, HistoryReader, LossHistory, MetricsLog, blocks_of, file_mark
from charlm.runs.samples import FILE as SAMPLES
from charlm.runs.samples import SampleLog
from charlm.runs.schema import MAX_LABEL, MAX_NOTE, MOST_BYTES, NO_PROGRESS, clean_note, progress_of, tidied
from charlm.runs.snapshots import snapshot_leftovers, snapshot_path, snapshot_steps
from charlm.tokenizers import Tokenizer, most_tokenizer_bytes, read_tokenizer
from charlm.training.metrics import Blocks

if TYPE_CHECKING:
    from charlm.models import LanguageModel

__all__ = [
    "ACTIVE", "MAX_LABEL", "MAX_NOTE", "NO_PROGRESS", "SPARE", "Run", "clean_label", "clean_note", "now", "read_json",
    "run_lock",
]  # fmt: skip

log = logging.getLogger(__name__)
Value = TypeVar("Value")

ACTIVE = ("queued", "running", "paused")
# Files that a run can do without once it need not be resumed.
SPARE = ("resume.safetensors", "resume.previous.safetensors", "last.safetensors")
# Seconds to wait for another process that is writing the same run.json, or letting go of the run.
PATIENCE = 5.0


def now() -> str:
    """The time in UTC, ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def clean_label(label: str) -> str:
    """A label as one line: printable characters, single spaces."""
    return one_line(label, len(label))


def read_json(path: Path, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The object in a run's JSON file.

    Raises:
        CheckpointError: missing, unreadable, too large, or no object.
    """
    try:
        data = files.read(path, most_bytes)
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent.name} has no {path.name}; it is not a run folder") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} in {path.parent.name} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path.name} in {path.parent.name} does not hold an object")
    return data


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a run's JSON file in one go, for people to read."""
    write_atomically(path, json.dumps(data, indent=1, ensure_ascii=False).encode("utf-8", "replace"))


def run_lock(folder: Path) -> FileLock:
    """What marks the run in `folder` as a process's own: taken by one thread, let go by another."""
    return FileLock(folder / ".lock", thread_local=False)


def folder_bytes(folder: Path) -> int:
    """What all files in a folder take on disk."""
    return sum(_size(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names)


def _size(file: str | Path) -> int:
    try:
        state = os.stat(file)
    except OSError:
        return 0  # replaced or deleted meanwhile
    return state.st_size if stat.S_ISREG(state.st_mode) else 0


def leftovers_in(folder: Path) -> list[Path]:
    """What a killed process left half written in a run's folder."""
    return [*leftovers(folder), *snapshot_leftovers(folder)]


class _Stored(Generic[Value]):
    """An attribute of a run that stands in run.json, at its top or in its `progress`."""

    def __init__(self, name: str, default: Value, part: Literal["info", "progress"] = "info") -> None:
        self._name, self._default, self._part = name, default, part

    def __get__(self, run: "Run", _: type["Run"]) -> Value:
        value: Value = vars(run)[self._part].get(self._name, self._default)
        return float(value) if isinstance(self._default, float) else value  # type: ignore[return-value, arg-type]


class Run:
    """One run folder. Attributes are read from run.json when the object is made; `update` writes them back.

    Its id is the folder's name, so that a copied folder is a run of its own.

    Args:
        folder: of the run.
        shipped: it came with the app and is read-only.
        lock: its `run_lock`, if that is taken already.
        reader: gives what reads its log; one that others have, too, need not begin anew.
    """

    message = _Stored("message", "")  # why it failed, or what was adapted
    preset = _Stored("preset", "")  # that it started from
    note = _Stored("note", "")  # what its user wrote about it; forks have none of it
    group = _Stored("group", "")  # the race it took part in
    looks = _Stored[list[int]]("looks", [])  # seeds after which its experiment may stop early; empty: it may not
    owner = _Stored("owner", "")  # the key of the visitor it belongs to; empty where all belongs to one user
    created = _Stored("created", "")  # ISO 8601, UTC
    # What it was made from, nearest first: run_id, label, step, and why: fork or retry.
    ancestry = _Stored[list[dict[str, Any]]]("ancestry", [])
    # Where it came from, if it was not trained here: format, file and what they state; empty if it was.
    imported = _Stored[dict[str, Any]]("imported", {})
    # Changes of its learning rate while it trained, see charlm/runs/rates.py: step, from, to, time.
    rate_changes = _Stored[list[dict[str, Any]]]("rate_changes", [])
    step = _Stored("step", 0, "progress")
    total_steps = _Stored[int | None]("total_steps", None, "progress")  # None if only minutes limit the run
    epoch = _Stored("epoch", 0.0, "progress")  # passes over the training text
    seconds = _Stored("seconds", 0.0, "progress")  # the training's own time
    chars_per_second = _Stored("chars_per_second", 0.0, "progress")
    best_val_loss = _Stored[float | None]("best_val_loss", None, "progress")  # nats per token
    best_step = _Stored("best_step", 0, "progress")

    def __init__(
        self,
        folder: Path,
        shipped: bool = False,
        lock: FileLock | None = None,
        reader: Callable[[Path], HistoryReader] = HistoryReader,
    ) -> None:
        self.folder = folder
        self.shipped = shipped
        self.run_id: str = folder.name or folder.resolve().name
        self._lock = lock  # None: it has not been held by this object yet
        self._reader = reader
        self._load()

    # Made when they are first asked for: of thousands of runs in a list hardly any is.
    log = cached_property(lambda run: MetricsLog(run.folder / "metrics.jsonl"))
    sample_log = cached_property(lambda run: SampleLog(run.folder / SAMPLES))
    block_log = cached_property(lambda run: MetricsLog(run.folder / BLOCK_LOG))
    test_log = cached_property(lambda run: MetricsLog(run.folder / TEST_LOG))
    gradient_log = cached_property(lambda run: GradientLog(run.folder / GRADIENTS))

    @cached_property
    def _history(self) -> HistoryReader:
        return self._reader(self.log.path)

    def twin(self) -> Self:
        """The same run as it was read, without reading it again; with a lock of its own."""
        twin = copy.copy(self)
        twin._lock = None
        return twin

    @property
    def is_fresh(self) -> bool:
        """Whether run.json is as it was read."""
        return file_mark(self.folder / "run.json") == self._mark

    def _load(self) -> None:
        self._mark = file_mark(self.folder / "run.json")
        info = read_json(self.folder / "run.json")
        try:
            self.model_config = ModelConfig.from_dict(info["model"])
            self.train_config = TrainConfig.from_dict(info["train"]).resolve(self.model_config)
            self.corpus_config = CorpusConfig.from_dict(info["corpus_config"])
            self._take(tidied(info))
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise CheckpointError(f"run.json in {self.folder.name} is not a run's description: {reason}") from error

    def _take(self, info: dict[str, Any]) -> None:
        """The attributes of what run.json holds, tidied."""
        self.info = info
        self.label: str = info["label"] or self.run_id
        self.corpus: dict[str, Any] = info["corpus"]
        self.progress: dict[str, Any] = info["progress"]
        self.num_parameters: int = info["num_parameters"]

    def refresh(self) -> None:
        """Read run.json again if it has changed; what is known of the log stays.

        Raises:
            CheckpointError: it is gone or damaged.
        """
        if not self.is_fresh:
            self._load()

    @property
    def arch(self) -> str:
        """lstm, gru and so on, a key of `config.ARCHITECTURES`."""
        return self.model_config.arch

    @property
    def status(self) -> str:
        """A status word; an active run that no process holds was interrupted."""
        status: str = self.info["status"]
        if status not in ACTIVE or self._is_held():
            return status
        try:  # it may have ended properly since this object was made
            latest = Run(self.folder, self.shipped)
        except CheckpointError:
            return "interrupted"
        self.info, self.progress = latest.info, latest.progress
        status = self.info["status"]
        return "interrupted" if status in ACTIVE else status

    @property
    def has_learned(self) -> bool:
        """Whether it has weights to write with and to continue from: a validation has passed, or it was imported."""
        return self.best_val_loss is not None or bool(self.imported)

    @property
    def fix(self) -> dict[str, Any]:
        """The settings with which a failed run would probably not have failed; empty if none is known."""
        return self.info.get("mend", {}) if self.info["status"] == "failed" else {}

    @property
    def learning_rate(self) -> float:
        """Before warm-up and schedule, as it is now: the setting, or what it was changed to last."""
        changes = self.rate_changes
        return float(changes[-1]["to"]) if changes else self.train_config.learning_rate

    @property
    def trimmed(self) -> bool:
        """Whether only its best weights were kept, so that it cannot be resumed."""
        return self.info.get("trimmed") is True

    @property
    def left_alone(self) -> bool:
        """Whether it was interrupted and its user does not want to be asked again whether to resume it."""
        return self.info.get("left_alone") is True

    @property
    def level(self) -> str:
        """What its tokens are: char, word or bpe."""
        return self.model_config.level

    @property
    def held_out(self) -> tuple[int, int] | None:
        """Characters of the validation and test part that its text came with; None: they are shares of it."""
        own = self.corpus.get("held_out")
        return (own[0], own[1]) if own else None

    def bits_per_char(self, loss: float | None) -> float | None:
        """A validation loss in bits per character, which runs with other tokens can be compared in.

        Args:
            loss: nats per token; None, or no finite number: there is none.
        """
        if loss is None or not math.isfinite(loss):
            return None
        tokens, characters = self.corpus.get("val_tokens"), self.corpus.get("val_chars")
        if self.level == "char":  # also of runs that do not say how many tokens they were measured on
            return loss / math.log(2)
        return loss * tokens / characters / math.log(2) if tokens and characters else None

    @property
    def size_bytes(self) -> int:
        """What the folder costs on disk."""
        return folder_bytes(self.folder)

    @property
    def spare_bytes(self) -> int:
        """What would be freed by keeping the best weights only; 0 if there are none."""
        if self.shipped or not (self.folder / "best.safetensors").is_file():
            return 0
        kept = [snapshot_path(self.folder, step) for step in self.snapshots()]
        return sum(map(_size, [*(self.folder / name for name in SPARE), *kept]))

    def metrics(self, since: int = -1) -> list[dict[str, Any]]:
        """The logged rows beyond step `since`."""
        return self.log.rows(since)

    def history(self) -> LossHistory:
        """What a plot draws of the log; read on from where this object's last reading ended."""
        return self._history.read()

    def val_blocks(self, step: int) -> Blocks:
        """The losses by block of the held-out text, of a validation that was the best so far; empty: not known."""
        return next((blocks_of(row) for row in self.block_log.rows(since=step - 1) if row["step"] == step), ())

    def test_blocks(self) -> Blocks:
        """The losses by block of the test part, by the weights that are kept; empty: not known, or there is none."""
        return next((blocks_of(row) for row in self.test_log.rows() if row["step"] == self.best_step), ())

    def samples(self) -> list[dict[str, Any]]:
        """The texts it wrote at its validations: step, prompt, text."""
        return self.sample_log.rows()

    def sample(self, step: int | None = None) -> dict[str, Any] | None:
        """The newest of its samples; with `step`, of that step or an earlier one. None without any."""
        return self.sample_log.last() if step is None else self.sample_log.at(step)

    def sample_steps(self) -> list[int]:
        """The steps of which there is a sample, ascending."""
        return self.sample_log.steps()

    def gradients(self) -> list[dict[str, Any]]:
        """The gradient through time at its validations, where `record_gradient` was set; see charlm/runs/gradients.py.

        Returns:
            In the order of steps: `step`, `half_life`, and by state and layer (`h0`, `c0`, .., `input`) log10 of the
            gradient's norm 0, 1, .. steps back, None where it is zero. Empty where nothing was recorded.
        """
        return self.gradient_log.rows()

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of its ids.

        Raises:
            CheckpointError: tokenizer.json is damaged, or of another model.
        """
        most = most_tokenizer_bytes(self.model_config.vocab_size, self.model_config.level)
        tokenizer = read_tokenizer(read_json(self.folder / "tokenizer.json", most), self.model_config)
        if self.corpus_config.is_list:
            border = tokenizer.encode(border_of(self.corpus_config.items), skip_unknown=True)
            tokenizer.border = int(border[0]) if len(border) else None
        return tokenizer

    def load_model(self, which: str = "best") -> "LanguageModel":
        """Its model with the `best` or `last` weights, ready to generate; the last ones if the best are damaged.

        Raises:
            CheckpointError: none were saved, or they are damaged.
        """
        from charlm.runs.checkpoint import load_weights  # torch takes seconds: not before it is needed

        try:
            return load_weights(self.folder / f"{which}.safetensors", self.model_config)
        except CheckpointError as error:
            best, last = self.folder / "best.safetensors", self.folder / "last.safetensors"
            if which != "best" or not (best.exists() and last.exists()):
                raise
            log.warning("%s; its last weights are used instead", error)
            return load_weights(last, self.model_config)

    def snapshots(self) -> list[int]:
        """The steps whose weights were kept along the way, ascending; see charlm/runs/snapshots.py."""
        return snapshot_steps(self.folder)

    def load_snapshot(self, step: int) -> "LanguageModel":
        """Its model as it was at one of `snapshots`, ready to generate.

        Raises:
            CheckpointError: its weights of this step were not kept, or they are damaged.
        """
        from charlm.runs.checkpoint import load_weights  # torch takes seconds: not before it is needed

        if step not in (steps := self.snapshots()):
            kept = f"it has those of {', '.join(f'{one:,}' for one in steps)}" if steps else "it kept none at all"
            raise CheckpointError(f"{self.label} kept no weights of step {step:,}; {kept}")
        return load_weights(snapshot_path(self.folder, step), self.model_config)

    def load_initial(self) -> "LanguageModel":
        """Its model as it was before its training: the snapshot of step 0, else made again from seed and text.

        Raises:
            MeasurementError: it began with the weights of another run, was imported without a snapshot of step 0, or
                its text is no longer at hand.
            CheckpointError: the snapshot, or its tokenizer, is damaged.
        """
        from charlm.runs.initial import initial_model  # torch takes seconds: not before it is needed

        return initial_model(self)

    def update(self, progress: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Change run.json, in one go; what others changed in it meanwhile (a label, a step) stays.

        Raises:
            CheckpointError: it came with the app, is gone, or cannot be written.
        """
        self.edit(lambda info: fields, progress)

    def edit(
        self, change: Callable[[Mapping[str, Any]], Mapping[str, Any]], progress: Mapping[str, Any] | None = None
    ) -> None:
        """As `update`, where what changes depends on what others have changed meanwhile.

        Args:
            change: gives the new fields of what run.json holds; nobody else writes it meanwhile.
            progress: numbers of its progress.

        Raises:
            CheckpointError: it came with the app, is gone, or cannot be written.
        """
        if self.shipped:
            raise CheckpointError(
                f"{self.label} came with the app and is read-only; train a run of your own to change it"
            )
        path = self.folder / "run.json"
        read_json(path)  # a lock would bring a deleted folder back
        try:
            with FileLock(self.folder / ".edit", timeout=PATIENCE):
                info = read_json(path)
                numbers = progress_of({**info["progress"], **(progress or {})})
                info |= {**change(info), "progress": numbers, "updated": now()}
                write_json(path, info)
                self._take(tidied(info))
        except (OSError, ValueError, TypeError, KeyError) as error:  # Timeout is an OSError
            reason = getattr(error, "strerror", None) or error
            raise CheckpointError(f"run.json of {self.label} cannot be written: {reason}") from error
        finally:
            if not path.exists():  # deleted in the moment before the lock, which brought the folder back
                with suppress(OSError):
                    (self.folder / ".edit").unlink(missing_ok=True)
                    self.folder.rmdir()

    def hold(self) -> None:
        """Mark the run as this process's own until `release`; a process that dies lets go by itself."""
        self._lock = self._lock or run_lock(self.folder)
        try:
            self._lock.acquire(timeout=1)
        except Timeout:
            raise JobError(f"{self.label} ({self.run_id}) is being trained elsewhere") from None
        except OSError as error:
            raise CheckpointError(f"{self.label} cannot be written: {error.strerror or error}") from error

    def release(self) -> None:
        """Let go of the run."""
        if self._lock is not None:
            self._lock.release()

    def sweep(self) -> None:
        """Remove what a killed process left half written; the run is held, and not edited meanwhile."""
        try:
            with FileLock(self.folder / ".edit", timeout=PATIENCE):
                for leftover in leftovers_in(self.folder):
                    leftover.unlink(missing_ok=True)
        except OSError as error:  # it is only untidy
            log.warning("the leftovers in %s stay: %s", self.run_id, error)

    def _is_held(self) -> bool:
        if self._lock is not None and self._lock.is_locked:
            return True
        if not (self.folder / ".lock").is_file():
            return False
        try:
            with FileLock(self.folder / ".lock").acquire(blocking=False):
                return False
        except Timeout:
            return True
        except OSError:
            return False
