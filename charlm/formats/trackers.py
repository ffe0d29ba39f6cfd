"""Trackers: metrics, samples and settings of runs go to TensorBoard or trackio, while they train or afterwards.

What a training writes into its run's folder is read there and passed on. When a training begins or is resumed, the
tracker's run is written from the folder's first row, in place of what it held: so no step is there twice.
"""

import contextvars
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from charlm.errors import ConfigError
from charlm.runs.history import file_mark
from charlm.runs.run import Run
from charlm.training.metrics import MEASURES

PROJECT = "charlm"  # of trackio
EVENTS = "*tfevents*"  # TensorBoard's files in a folder
# With these trackio logs to another machine, where a run cannot be written anew.
ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")
# What the table of TensorBoard's HParams compares runs by.
COMPARED = ("val_loss", "bits_per_char")


@dataclass(frozen=True)
class Entry:
    """What a run wrote at a step: its measures by name, its own seconds so far, and its sample, if any."""

    step: int
    seconds: float
    measures: Mapping[str, float]
    sample: str


@dataclass(frozen=True)
class Subject:
    """What a tracker's run is made of.

    Attributes:
        name: the run's id.
        group: of those that belong together, such as a race; empty: none.
        settings: by name.
        began: seconds since 1970.
        folder: where event files go.
    """

    name: str
    group: str
    settings: Mapping[str, int | float | str | bool]
    began: float
    folder: Path


def subject_of(run: Run) -> Subject:
    """A run, to be tracked in its own folder."""
    began = 0.0
    with suppress(ValueError):
        began = datetime.fromisoformat(run.created).timestamp()
    return Subject(run.run_id, run.group, settings_of(run), began, run.folder)


class Tracker(Protocol):
    """A tracker's run, empty but for the settings when it is made."""

    def log(self, entry: Entry) -> None:
        """Take an entry; steps grow."""

    def flush(self) -> None:
        """Let it be seen."""

    def close(self) -> None:
        """Nothing more will come."""


def settings_of(run: Run) -> dict[str, int | float | str | bool]:
    """What a run was made with, by name: label, text, model, training."""
    about = {"label": run.label, "group": run.group, "preset": run.preset, "corpus": run.corpus.get("name", "")}
    more = {"num_parameters": run.num_parameters, "device": run.info.get("device", "")}
    settings = run.model_config.to_dict() | run.train_config.to_dict() | about | more
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in settings.items()}


def as_block(text: str) -> str:
    """A text as a block of Markdown in which nothing is markup."""
    return "\n".join(f"    {line}" for line in text.splitlines())


class TensorBoard:
    """An event file that stands for all there were in its folder.

    The newest of those stays, emptied: a page that has read it would not find the new one without. Wall times are the
    run's beginning and the seconds that it has trained: pauses do not count.

    Args:
        subject: whose settings it begins with.
    """

    def __init__(self, subject: Subject) -> None:
        tensorboard = import_module("torch.utils.tensorboard")
        before = sorted(subject.folder.glob(EVENTS))
        for path in before[:-1]:
            path.unlink()
        for path in before[-1:]:
            os.truncate(path, 0)
        self._began = subject.began
        # A page that has read others is told to forget what it has of step 0 and later.
        self._writer = tensorboard.SummaryWriter(str(subject.folder), purge_step=0)
        settings = dict(subject.settings)
        rows = "".join(f"| {name} | {str(value).replace('|', '&#124;')} |\n" for name, value in settings.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0, self._began)
        for summary in tensorboard.summary.hparams(settings, dict.fromkeys(COMPARED, 0.0)):
            self._writer.file_writer.add_summary(summary, walltime=self._began)

    def log(self, entry: Entry) -> None:
        """Add its measures under their names, and its text as `sample`."""
        at = entry.step, self._began + entry.seconds
        for name, value in entry.measures.items():
            self._writer.add_scalar(name, value, *at)
        if entry.sample:
            self._writer.add_text("sample", as_block(entry.sample), *at)

    def flush(self) -> None:
        """Write what waits to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class Trackio:
    """A run of trackio's project PROJECT on this machine, in place of the one of the same name.

    Args:
        subject: whose settings it begins with.
    """

    def __init__(self, subject: Subject) -> None:
        self._trackio: Any = import_module("trackio")
        with suppress(ValueError):  # the first run of the project
            for one in list(self._trackio.Api().runs(PROJECT)):
                if one.name == subject.name:
                    one.delete()
        begin = partial(
            self._trackio.init, PROJECT, name=subject.name, group=subject.group or None,
            config=dict(subject.settings), embed=False, auto_log_gpu=False, auto_log_cpu=False,
        )  # fmt: skip
        # In a context of its own: in one, trackio ends the run before when another begins.
        self._run = contextvars.Context().run(begin)

    def log(self, entry: Entry) -> None:
        """Add its measures under their names, and its text as `sample`."""
        text = {"sample": self._trackio.Markdown(as_block(entry.sample))} if entry.sample else {}
        self._run.log({**entry.measures, **text}, step=entry.step)

    def flush(self) -> None:
        """Nothing to do: it is written twice a second by itself."""

    def close(self) -> None:
        """Write what waits."""
        self._run.finish()


TRACKERS: Mapping[str, Callable[[Subject], Tracker]] = {"tensorboard": TensorBoard, "trackio": Trackio}


def check_tracker(name: str) -> None:
    """Refuse a tracker that is none, or cannot be used here; before anything is made for it.

    Args:
        name: of TRACKERS; empty: none is wanted.

    Raises:
        ConfigError: there is no such tracker, its package is missing, or it logs elsewhere.
    """
    if not name:
        return
    if name not in TRACKERS:
        raise ConfigError(f"track {name[:40]!r} is no tracker; choose among {', '.join(TRACKERS)}")
    check_package(name)
    if name == "trackio" and (elsewhere := [name for name in ELSEWHERE if os.environ.get(name)]):
        raise ConfigError(
            f"trackio logs on this machine, and {elsewhere[0]} names another: unset it, and send the project there "
            "afterwards with `trackio sync`"
        )


def wanted_tracker() -> str:
    """The tracker of trainings that are begun in the page: CHARLM_TRACK; empty: none.

    Raises:
        ConfigError: it cannot be used; see `check_tracker`.
    """
    name = os.environ.get("CHARLM_TRACK", "")
    check_tracker(name)
    return name


def shown_by(name: str, folder: Path) -> str:
    """The command that shows a tracker's page.

    Args:
        name: of TRACKERS.
        folder: around those of the event files.
    """
    return f"trackio show --project {PROJECT}" if name == "trackio" else f"tensorboard --logdir {folder}"


def check_package(name: str) -> None:
    """Refuse what needs a tracker's package where it is missing.

    Raises:
        ConfigError: how to get it.
    """
    if find_spec(name) is None:
        raise ConfigError(f"{name} needs the package {name}: pip install -r requirements-{name}.txt")


class Follower:
    """Passes on what a run writes, from its first step.

    Args:
        run: its folder is read; others may write it.
        tracker: of this run, still empty.
    """

    def __init__(self, run: Run, tracker: Tracker) -> None:
        self._run, self._tracker = run, tracker
        self._mark: tuple[Any, Any] = None, None  # of the files as read last
        self._step, self._sampled, self._seconds = -1, -1, 0.0

    def follow(self, is_over: bool = False) -> None:
        """Pass on what is new; the newest row without a validation only when another follows, or the training is over.

        A training that is stopped is validated once more, which replaces that row.
        """
        logs = self._run.log, self._run.sample_log
        mark = file_mark(logs[0].path), file_mark(logs[1].path)
        if mark == self._mark and not is_over:
            return
        self._mark = mark
        entries = self._new_entries(is_over)
        for entry in entries:
            self._tracker.log(entry)
        if entries:
            self._tracker.flush()

    def _new_entries(self, is_over: bool) -> list[Entry]:
        rows = self._run.log.rows(since=self._step)
        if rows and not is_over and rows[-1].get("val_loss") is None:
            rows.pop()
        samples = {row["step"]: row for row in self._run.sample_log.rows(since=self._sampled)}
        measured = {row["step"]: row for row in rows}
        entries = list[Entry]()
        for step in sorted({*measured, *samples}):
            row, sample = measured.get(step, {}), samples.get(step, {})
            self._seconds = float(row.get("seconds") or self._seconds)
            text = f"{sample.get('prompt', '')}{sample.get('text', '')}"
            entries.append(Entry(step, self._seconds, measures_of(self._run, row), text))
        self._step, self._sampled = max([self._step, *measured]), max([self._sampled, *samples])
        return entries

    def close(self) -> None:
        """Pass on the rest and close the tracker's run."""
        try:
            self.follow(is_over=True)
        finally:
            self._tracker.close()


def measures_of(run: Run, row: Mapping[str, Any]) -> dict[str, float]:
    """The measures in a row of a run's log, and its validation loss in bits per character as `bits_per_char`."""
    found = {name: row[name] for name in MEASURES if row.get(name) is not None}
    bits = run.bits_per_char(found.get("val_loss"))
    return found if bits is None else found | {"bits_per_char": bits}


class Attempts:
    """What is attempted with a tracker; the first time that something goes wrong ends it, and never the training.

    Args:
        name: of TRACKERS; empty: nothing is tracked.
        folder: around those of the event files.
        say: told where to look, and once what went wrong.
    """

    def __init__(self, name: str, folder: Path, say: Callable[[str], None]) -> None:
        self._name, self._folder, self._say = name, folder, say
        self._is_on, self._is_told = bool(name), False

    def begin(self, subject: Subject) -> Tracker:
        """A run of the tracker."""
        made = TRACKERS[self._name](subject)
        if not self._is_told:
            self._is_told = True
            self._say(f"{self._name}: {shown_by(self._name, self._folder)}")
        return made

    def attempt(self, action: Callable[[], None]) -> None:
        """Do something with the tracker, unless that has failed before."""
        if not self._is_on:
            return
        try:
            action()
        except Exception as error:  # of a foreign library, which may raise anything
            self._is_on = False
            reason = (str(error) or type(error).__name__).partition("\n")[0][:300]
            self._say(f"{self._name} failed ({reason}); the training goes on without it")


class Tracking:
    """Passes on what the runs of a training write.

    Args:
        name: of TRACKERS; empty: nothing is tracked.
        runs: of the training.
        say: told where to look, and once what went wrong.
    """

    def __init__(self, name: str, runs: Sequence[Run], say: Callable[[str], None]) -> None:
        self._runs, self._followers = runs, list[Follower]()
        self._tracker = Attempts(name, runs[0].folder.parent, say)

    def follow(self) -> None:
        """Pass on what is new; the first time, once the runs' logs are as their training begins, all there is."""
        self._tracker.attempt(self._follow)

    def _follow(self) -> None:
        for run in self._runs[len(self._followers) :]:
            self._followers.append(Follower(run, self._tracker.begin(subject_of(run))))
        for follower in self._followers:
            follower.follow()

    def close(self) -> None:
        """Pass on the rest."""
        for follower in self._followers:
            self._tracker.attempt(follower.close)


def write_events(run: Run, path: Path) -> None:
    """Put an event file of TensorBoard into a zip, in a folder of the run's id.

    Raises:
        ConfigError: the package tensorboard is missing.
    """
    check_package("tensorboard")
    with tempfile.TemporaryDirectory(prefix="charlm-") as place:
        folder = Path(place)
        Follower(run, TensorBoard(replace(subject_of(run), folder=folder))).close()
        [events] = folder.glob(EVENTS)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            # Its own name tells the name of this machine.
            archive.write(events, f"{run.run_id}/events.out.tfevents.{events.name.split('.')[3]}.{run.run_id}")
