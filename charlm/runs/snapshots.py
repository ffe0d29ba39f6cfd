"""Weights that a run keeps along the way: at its first step and at others spaced evenly on a logarithmic scale.

The rule, from which every process that goes on with a run gets the same steps:

- The first snapshot is of the weights that the training began with: step 0, or where a fork began.
- Where the number of steps is known, the others are spaced geometrically from 1/SPAN of the way to the end, counted
  from the first. Where only minutes limit the training, they are 1, 2, 4, 8, .. steps after the first, and its last.
- When there are more than wanted (a longer budget, or powers of two), the earliest goes; the first stays.

They need not be written: a training goes on where the disk refuses one. What is in them is checked when it is read.
"""

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from charlm.files import leftovers

log = logging.getLogger(__name__)

FOLDER = "snapshots"  # in the run's
NAME = re.compile(r"(0|[1-9]\d{0,11})\.safetensors")
MOST_BYTES = 64_000_000  # of a run's snapshots together
MOST = 24  # of a run
SPAN = 500  # how much later the last of them is than the second, where the number of steps is known


def snapshot_path(folder: Path, step: int) -> Path:
    """The file of one snapshot of a run's folder."""
    return folder / FOLDER / f"{step}.safetensors"


def is_snapshot(name: str) -> bool:
    """Whether a path inside a run's folder is that of a snapshot."""
    folder, _, file = name.partition("/")
    return folder == FOLDER and NAME.fullmatch(file) is not None


def snapshot_steps(folder: Path) -> list[int]:
    """The steps of which a run's folder holds a snapshot, ascending; links and other files are passed over."""
    try:
        found = [path for path in (folder / FOLDER).iterdir() if path.is_file() and not path.is_symlink()]
    except OSError:  # it has none
        return []
    return sorted(int(name[1]) for path in found if (name := NAME.fullmatch(path.name)))


def snapshot_leftovers(folder: Path) -> list[Path]:
    """What a killed process left half written among the snapshots of a run's folder."""
    return leftovers(folder / FOLDER)


def drop_snapshots(folder: Path, after: int = -1) -> None:
    """Remove the snapshots of a run's folder beyond a step; without any left, their folder, too.

    Raises:
        OSError: one cannot be removed.
    """
    for step in snapshot_steps(folder):
        if step > after:
            snapshot_path(folder, step).unlink(missing_ok=True)
    with suppress(OSError):  # it is not empty, or not there
        (folder / FOLDER).rmdir()


def planned_snapshots(first: int, last: int, count: int) -> list[int]:
    """The steps of which a training of known length keeps snapshots.

    Args:
        first: step that it began at.
        last: step that it ends at.
        count: how many are wanted, at least 1; a short training has fewer.
    """
    length, gaps = last - first, count - 2
    if count == 1 or length <= 0:
        return [first]
    shares = [SPAN ** (place / gaps - 1) for place in range(gaps + 1)] if gaps else [1.0]
    return sorted({first, *(first + max(1, round(length * share)) for share in shares)})


class SnapshotKeeper:
    """Keeps the snapshots of one training.

    Args:
        folder: of the run, held by this process.
        wanted: how many; 0: none.
        size: bytes of one; fewer are kept where they would take more than MOST_BYTES, none where one would.
        step: where the training stands; what was kept beyond it belongs to steps that are trained again.
        total: step that it ends at; None: minutes limit it.
    """

    def __init__(self, folder: Path, wanted: int, size: int, step: int, total: int | None) -> None:
        self.folder, self.most = folder, min(wanted, MOST_BYTES // max(size, 1))
        self._first, self._planned = step, None if total is None else [step]
        if not self.most:
            return
        with suppress(OSError):
            drop_snapshots(folder, after=step)
        self._first = min([*snapshot_steps(folder), step])
        self._planned = None if total is None else planned_snapshots(self._first, total, self.most)

    def is_due(self, step: int) -> bool:
        """Whether the weights of this step are to be kept."""
        after = step - self._first
        if not self.most or (self.most == 1 and after):
            return False
        if self._planned is not None:
            return step in self._planned
        return after == 0 or after.bit_count() == 1

    def keep(self, step: int, save: Callable[[Path], None]) -> None:
        """Write one, if it is not there, and remove what is too many; a disk that refuses is only logged.

        Args:
            step: of the weights.
            save: writes them to a path.
        """
        if not self.most or (self.most == 1 and step != self._first):
            return
        path = snapshot_path(self.folder, step)
        try:
            if not path.exists():
                path.parent.mkdir(exist_ok=True)  # of a run that was deleted meanwhile, nothing comes back
                save(path)
            for early in snapshot_steps(self.folder)[1 : 1 - self.most] if self.most > 1 else []:
                snapshot_path(self.folder, early).unlink(missing_ok=True)
        except (OSError, ValueError) as error:
            log.warning("the weights of step %d of %s are not kept: %s", step, self.folder.name, error)
