"""Stand-ins for runs: what the page reads of one, without a folder behind it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.errors import CheckpointError
from charlm.runs.history import LossHistory
from charlm.runs.run import Run
from charlm.training.metrics import Blocks

SHERLOCK = {"name": "Sherlock Holmes", "sha256": "aa", "key": "sherlock", "characters": 561676, "distinct": 78,
            "val_chars": 56168}  # fmt: skip
AUNT = {**SHERLOCK, "name": "<b>aunt</b>.txt", "sha256": "bb", "val_chars": 900}


@dataclass
class FakeRun:
    """The attributes of charlm.runs.run.Run that ui/ uses."""

    run_id: str
    arch: str = "lstm"
    best_val_loss: float | None = 1.357
    label: str = ""
    status: str = "finished"
    shipped: bool = False
    corpus: dict[str, Any] = field(default_factory=lambda: dict(SHERLOCK))
    step: int = 3000
    seconds: float = 98.0
    num_parameters: int = 284238
    seed: int = 7
    message: str = ""
    note: str = ""
    size_bytes: int = 1_500_000
    best_step: int = 2900
    chars_per_second: float = 98100.0
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    texts: list[dict[str, Any]] = field(default_factory=list)
    folder: Path = Path("a-run")
    group: str = ""
    total_steps: int | None = 3000
    ancestry: list[dict[str, Any]] = field(default_factory=list)
    fix: dict[str, Any] = field(default_factory=dict)
    trimmed: bool = False
    spare_bytes: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    imported: dict[str, Any] = field(default_factory=dict)
    level: str = "char"
    blocks: Blocks = ()
    rate_changes: list[dict[str, Any]] = field(default_factory=list)
    bits_per_char = Run.bits_per_char

    @property
    def learning_rate(self) -> float:
        return float(self.rate_changes[-1]["to"]) if self.rate_changes else self.train_config.learning_rate

    @property
    def has_learned(self) -> bool:
        return self.best_val_loss is not None or bool(self.imported)

    def __post_init__(self) -> None:
        self.label = self.label or self.run_id
        self.model_config = ModelConfig(arch=self.arch, level=self.level)
        self.train_config = TrainConfig(seed=self.seed, learning_rate=0.01)
        self.corpus_config = CorpusConfig()

    def samples(self) -> list[dict[str, Any]]:
        return self.texts

    def metrics(self, since: int = -1) -> list[dict[str, Any]]:
        return []

    def history(self) -> LossHistory:
        low = {"step": self.best_step, "val_loss": self.best_val_loss}
        return LossHistory([low], [low] if self.best_val_loss is not None else [])

    def val_blocks(self, step: int) -> Blocks:
        return self.blocks if step == self.best_step else ()


def trio(**more: Any) -> list[FakeRun]:
    """LSTM, GRU and RNN on one corpus, in the order of their losses."""
    losses = {"lstm": 1.357, "gru": 1.384, "rnn": 1.583}
    return [FakeRun(arch, arch, loss, **more) for arch, loss in losses.items()]


class FakeStore:
    """A store over a list."""

    def __init__(self, runs: list[FakeRun]) -> None:
        self.runs = runs

    def list(self) -> list[FakeRun]:
        return list(self.runs)

    def get(self, run_id: str) -> FakeRun:
        for run in self.runs:
            if run.run_id == run_id:
                return run
        raise CheckpointError(f"there is no run {run_id!r}")
