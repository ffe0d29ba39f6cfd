"""What a training reports at a step, and the append-only file that keeps it."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from charlm.files import write_atomically


@dataclass(frozen=True)
class Metrics:
    """One step of a training. Losses are nats per token; `seconds` is the run's own time, without pauses."""

    step: int
    epoch: float
    train_loss: float
    val_loss: float | None
    learning_rate: float
    grad_norm: float
    chars_per_second: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """A row for JSON; numbers keep seven significant digits, and none is NaN or infinite."""
        return {name: _short(value) for name, value in asdict(self).items()}


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.7g}") if math.isfinite(value) else None


class MetricsLog:
    """Rows of JSON, one a line, in a file that only grows; safe to read while it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()

    def append(self, row: dict[str, Any]) -> None:
        """Add one row at the end, in one write."""
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self, since: int = -1) -> list[dict[str, Any]]:
        """The rows whose `step` is beyond `since`; a torn last line is left out. Steps grow from row to row."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        rows = []
        for line in reversed(text.split("\n")):  # a page that follows a training asks for the last few only
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                if row["step"] <= since:
                    break
                rows.append(row)
        return rows[::-1]

    def cut(self, after: int) -> None:
        """Drop the rows beyond step `after`, which a resumed training will write again."""
        kept = [row for row in self.rows() if row["step"] <= after]
        with self._lock:
            write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in kept).encode())
