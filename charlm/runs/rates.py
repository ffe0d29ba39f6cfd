"""Changes of a run's learning rate while it trains: asked for by anyone who may, recorded at the step they take effect.

run.json holds `rate_changes`, a list of {step, from, to, time}: from the step after `step` on, `to` stands in the place
of the setting learning_rate; warm-up and schedule go on as factors of it. What was asked for and has not taken effect
yet is its `wanted_rate`: {to, race}; the process that trains the run, whichever it is, looks for it between two steps.
A training that is resumed before such a step makes the same change there again.
"""

from collections.abc import Mapping
from typing import Any

from charlm.config import TrainConfig
from charlm.errors import ConfigError, JobError
from charlm.runs.run import ACTIVE, Run, now
from charlm.runs.schema import MOST_RATES
from charlm.training.schedule import RateChanges, base_rate

Wanted = Mapping[str, Any]


def request_rate(run: Run, rate: float, race: bool = False) -> None:
    """Ask the process that trains a run to change its learning rate before the next step.

    Args:
        run: queued, running or paused, in this process or another one.
        rate: takes the place of the setting learning_rate.
        race: also of the networks that race with it, at the same step.

    Raises:
        ConfigError: no number above 0 and within the setting's range.
        JobError: it does not train, has no learning rate, or was changed too often.
        CheckpointError: it cannot be written.
    """
    rate = checked_rate(rate)
    if run.model_config.is_counted:
        raise JobError(f"{run.label} counts its text and has no learning rate; change that of a network")
    if run.status not in ACTIVE:
        raise JobError(
            f"{run.label} is {'not at work' if run.shipped else run.status}; its learning rate can be changed while it "
            "trains, or by resuming or forking it with another learning_rate"
        )
    if len(run.rate_changes) >= MOST_RATES:
        raise JobError(f"the learning rate of {run.label} was changed {MOST_RATES} times already; fork it to go on")
    run.update(wanted_rate={"to": rate, "race": race})


def checked_rate(rate: Any) -> float:
    """A learning rate that a training can be given.

    Raises:
        ConfigError: no number, not above 0, or beyond the setting's range.
    """
    rate = TrainConfig.from_dict({"learning_rate": rate, "steps": 1}).learning_rate
    if not rate:
        raise ConfigError("learning_rate 0 would end all learning; choose one above 0, or stop the run")
    return float(rate)


def wanted_rate(run: Run) -> Wanted | None:
    """What was asked for and has not taken effect yet, as run.json was last read."""
    return run.info.get("wanted_rate") or None


def take_rate(run: Run, step: int, rate: float, wanted: Wanted | None = None) -> None:
    """Record a change that takes effect now; changes at this step or later belong to another past and are dropped.

    Args:
        run: held by this process.
        step: steps that are made.
        rate: from the next one on.
        wanted: what asked for it, and is done now; what was asked for since stays.

    Raises:
        CheckpointError: it cannot be written; nothing has changed.
    """
    kept = [one for one in run.rate_changes if one["step"] < step]
    before = float(kept[-1]["to"]) if kept else run.train_config.learning_rate
    changes = kept if rate == before else [*kept, {"step": step, "from": before, "to": rate, "time": now()}]

    def change(info: Mapping[str, Any]) -> Mapping[str, Any]:
        is_done = wanted is not None and info.get("wanted_rate") == wanted
        return {"rate_changes": changes} | ({"wanted_rate": {}} if is_done else {})

    run.edit(change)


def changes_of(run: Run) -> RateChanges:
    """The changes that run.json has recorded, those yet to come included."""
    return [(one["step"], float(one["to"])) for one in run.rate_changes]


def rate_at(run: Run, step: int) -> float:
    """The learning rate, before warm-up and schedule, of the step after so many."""
    return base_rate(run.train_config.learning_rate, step, changes_of(run))
