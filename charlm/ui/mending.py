"""A failed run: why it failed, and the one click that mends it."""

from collections.abc import Mapping
from typing import Any

from charlm.ui.common import action, notice

CALLED = {"learning_rate": "learning rate", "batch_size": "batch", "hidden_size": "hidden size", "seq_len": "sequence"}
SAVED = "Resume from what was saved"


def trouble(run: Any, title: str, message: str) -> str:
    """What failed, why, and the mend if there is one."""
    return notice(title, message or "No reason was recorded.", "error", remedy(run))


def remedy(run: Any) -> str:
    """A button that starts the run again with settings that mend it, else one that goes on; empty without either."""
    if run.shipped:
        return ""
    if run.mend:
        return action("retry", again(run.mend), run=run.run_id)
    return action("resume", SAVED, run=run.run_id) if is_resumable(run) else ""


def again(mend: Mapping[str, Any]) -> str:
    """`Try again with learning rate 0.0033`."""
    parts = [f"{CALLED.get(name, name.replace('_', ' '))} {_value(value)}" for name, value in mend.items()]
    return f"Try again with {' and '.join(parts)}"


def _value(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def is_resumable(run: Any) -> bool:
    """Whether something was saved that training can go on from."""
    return not run.shipped and not run.trimmed and run.best_val_loss is not None
