"""What a training reports at a step."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

# Of contiguous pieces of a text, in its order: the summed loss in nats, and the tokens.
Blocks = Sequence[tuple[float, float]]

SELDOM = ("test_loss", "val_error")  # measures of some rows


@dataclass(frozen=True)
class Metrics:
    """One step of a training. Losses are nats per token; `seconds` is the run's own time, without pauses.

    `val_error` is the standard error of `val_loss`. `test_loss` is there at an epoch's end if the text has a test part;
    nothing is decided by it.
    """

    step: int
    epoch: float
    train_loss: float
    val_loss: float | None
    learning_rate: float
    grad_norm: float
    chars_per_second: float
    seconds: float
    test_loss: float | None = None
    val_error: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """A row for JSON; numbers keep seven digits, none is NaN or infinite. What is seldom there is left out."""
        row = {name: _short(value) for name, value in asdict(self).items()}
        return {name: value for name, value in row.items() if value is not None or name not in SELDOM}


MEASURES = tuple(field.name for field in fields(Metrics) if field.name != "step")


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.7g}") if math.isfinite(value) else None
