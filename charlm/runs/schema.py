"""What a run.json holds: its known fields, each of its own type; what the file says otherwise is dropped."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from charlm.config import ModelConfig, TrainConfig
from charlm.files import is_count, is_number, one_line

MOST_BYTES = 1 << 20
MAX_LABEL = 80
MAX_NOTE = 2_000
STATUSES = ("queued", "running", "paused", "stopped", "finished", "failed", "interrupted")
# What a new run.json holds of a training that has not started.
NO_PROGRESS: dict[str, Any] = {
    "step": 0,
    "total_steps": None,
    "epoch": 0.0,
    "train_loss": None,
    "val_loss": None,
    "test_loss": None,
    "best_val_loss": None,
    "best_step": 0,
    "seconds": 0.0,
    "chars_per_second": 0.0,
}
COUNTS = ("step", "total_steps", "best_step")
DURATIONS = ("epoch", "seconds", "chars_per_second")  # numbers that are never below zero
# Texts of one line, and how many characters of them are kept.
LINES = {"label": MAX_LABEL, "message": 1_000, "preset": 40, "group": 40, "device": 20, "owner": 40}
TIMES = ("created", "updated")
CORPUS_LINES = {"name": 200, "key": 40, "sha256": 64}
CORPUS_COUNTS = (
    "characters", "distinct", "train_chars", "val_chars", "test_chars", "train_tokens", "val_tokens", "test_tokens",
    "val_unknown", "val_unseen",
)  # fmt: skip
MOST_ANCESTORS = 100
MOST_RATES = 100  # changes of the learning rate
HIGHEST_RATE: float = TrainConfig.__dataclass_fields__["learning_rate"].metadata["high"]
MOST_NAMES = 40  # of versions, fixes and the like


def tidied(info: Mapping[str, Any]) -> dict[str, Any]:
    """A run.json's content with every known field of its own kind; fields of other versions stay as they are.

    Raises:
        KeyError, ValueError: a field without which there is no run is missing, or of another kind.
    """
    found = dict(info)
    found |= {name: one_line(found[name], most) for name, most in LINES.items() if name in found}
    found |= {name: _time(found[name]) for name in TIMES if name in found}
    found["label"] = one_line(info["label"], MAX_LABEL)
    found["status"] = found.get("status") if found.get("status") in STATUSES else "interrupted"
    found["corpus"] = _corpus(info["corpus"])
    found["progress"] = progress_of(info["progress"])
    found["num_parameters"] = info.get("num_parameters", 0)
    if not is_count(found["num_parameters"]):
        raise ValueError(f"num_parameters is {_brief(found['num_parameters'])}, not a count")
    odd_ends = {
        "ancestry": _ancestry, "mend": _mend, "versions": _facts, "imported": _facts, "rate_changes": _rate_changes,
        "wanted_rate": _wanted_rate, "note": clean_note, "looks": _looks,
    }  # fmt: skip
    return found | {name: tidy(found[name]) for name, tidy in odd_ends.items() if name in found}


def clean_note(value: Any) -> str:
    """A note as lines of printable characters, at most MAX_NOTE together; empty if it is not a text."""
    if not isinstance(value, str):
        return ""
    lines = value[: 8 * MAX_NOTE].splitlines()
    shown = ["".join(char if char.isprintable() else " " for char in line).rstrip() for line in lines]
    return "\n".join(shown).strip()[:MAX_NOTE].rstrip()


def progress_of(values: Any) -> dict[str, Any]:
    """`progress` of a run.json, whole and of numbers only.

    Raises:
        ValueError: one is no number, or it is no object.
    """
    if not isinstance(values, Mapping):
        raise ValueError("progress is no object")
    progress = {name: values.get(name) for name in NO_PROGRESS}
    for name, default in NO_PROGRESS.items():
        value = progress[name]
        if value is None:
            progress[name] = default
        elif name in COUNTS and not is_count(value):
            raise ValueError(f"{name} is {_brief(value)}, not a count")
        elif not is_number(value, *((0,) if name in DURATIONS else ())):
            raise ValueError(f"{name} is {_brief(value)}, not a number")
    return progress


def _brief(value: Any) -> str:
    return repr(str(value)[:40])


def _time(value: Any) -> str:
    """An ISO time of these centuries, else nothing: it is converted to other time zones."""
    try:
        return value if 1970 < datetime.fromisoformat(value).year < 9999 and len(value) <= 40 else ""
    except (TypeError, ValueError):
        return ""


def _corpus(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("corpus is no object")
    lines = {name: one_line(value[name], most) for name, most in CORPUS_LINES.items() if name in value}
    counts = {name: value[name] for name in CORPUS_COUNTS if is_count(value.get(name))}
    own = value.get("held_out")
    if isinstance(own, list) and len(own) == 2 and all(map(is_count, own)):
        counts["held_out"] = own
    return lines | counts


def _ancestry(value: Any) -> list[dict[str, Any]]:
    """The runs it descends from, nearest first."""
    parents = value if isinstance(value, Sequence) and not isinstance(value, str) else []
    return [_parent(one) for one in parents[:MOST_ANCESTORS] if isinstance(one, Mapping)]


def _parent(value: Mapping[str, Any]) -> dict[str, Any]:
    lines = {name: one_line(value.get(name), most) for name, most in (("run_id", 130), ("label", MAX_LABEL))}
    step = value.get("step")
    return {**lines, "step": step if is_count(step) else 0, "why": "fork" if value.get("why") == "fork" else "retry"}


def _mend(value: Any) -> dict[str, Any]:
    """Settings with which it would not have failed."""
    given = value if isinstance(value, Mapping) else {}
    known = {name: given[name] for name in (*ModelConfig.names(), *TrainConfig.names()) if name in given}
    return {name: one for name, one in known.items() if is_number(one) or one_line(one, 40)}


def _rate_changes(value: Any) -> list[dict[str, Any]]:
    """Changes of the learning rate, in the order of their steps; what is none is left out."""
    changes, last = list[dict[str, Any]](), -1
    for one in value[:MOST_RATES] if isinstance(value, list) else ():
        if not isinstance(one, Mapping) or not (is_count(one.get("step")) and one["step"] > last):
            continue
        if _is_rate(one.get("from")) and _is_rate(one.get("to")):
            last = one["step"]
            changes.append({**{name: one[name] for name in ("step", "from", "to")}, "time": _time(one.get("time"))})
    return changes


def _wanted_rate(value: Any) -> dict[str, Any]:
    """A learning rate that was asked for; empty without one."""
    is_one = isinstance(value, Mapping) and _is_rate(value.get("to"))
    return {"to": value["to"], "race": value.get("race") is True} if is_one else {}


def _looks(value: Any) -> list[int]:
    """Numbers of seeds, ascending; empty if they are not."""
    given = value if isinstance(value, list) and all(is_count(one) and one > 1 for one in value) else []
    return given if given == sorted(set(given)) and len(given) <= MOST_NAMES else []


def _is_rate(value: Any) -> bool:
    return is_number(value, 0) and 0 < value <= HIGHEST_RATE


def _facts(value: Any) -> dict[str, Any]:
    """Short texts, numbers and truths by name."""
    given = list(value.items())[:MOST_NAMES] if isinstance(value, Mapping) else []
    plain = {name: one_line(one, 200) if isinstance(one, str) else one for name, one in given}
    return {
        name: one
        for name, one in plain.items()
        if name == one_line(name, 40) and (isinstance(one, str | bool) or is_number(one))
    }
