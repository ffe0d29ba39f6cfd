"""One training in several processes, as torchrun starts them: the first runs the command, the others follow it."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from charlm.architectures import is_counted
from charlm.errors import ConfigError, JobError

if TYPE_CHECKING:
    from charlm.training.distributed import Processes

# What torchrun tells each process (https://docs.pytorch.org/docs/stable/elastic/run.html).
TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Commands that train one model.
SHARED = ("train", "resume", "fork", "retry")
_ours: list["Processes"] = []


def is_one_of_several() -> bool:
    """Whether this process is one of several that torchrun has started."""
    return all(os.environ.get(name) for name in TOLD) and os.environ["WORLD_SIZE"] != "1"


def processes() -> "Processes | None":
    """All processes of this training; None: it is the only one."""
    return _ours[0] if _ours else None


def check_sharing(arch: str, batch_size: int) -> None:
    """Refuse what several processes cannot train together.

    Raises:
        ConfigError: an n-gram, or rows of a batch that they do not share out equally.
    """
    if ours := processes():
        if is_counted(arch):
            raise ConfigError("an n-gram is counted by one process; leave torchrun away")
        ours.rows_of(batch_size)


def run_together(words: Sequence[str], invoke: Callable[[list[str]], int]) -> int:
    """Run a command in the first process, with the help of the others; returns this process's exit code.

    Args:
        words: of the command line.
        invoke: runs it.

    Raises:
        ConfigError: the command does not train one model.
        JobError: the processes do not find each other, or the first has ended without a word.
    """
    is_first = os.environ["RANK"] == "0"
    if "--help" in words:
        return invoke([*words]) if is_first else 0
    if words[0] not in SHARED:
        if not is_first:
            return 2
        raise ConfigError(
            f"torchrun shares out the training of one model ({', '.join(SHARED)}), not {words[0][:40]!r}; "
            "leave torchrun away"
        )
    from charlm.training.distributed import Processes

    with Processes() as ours:
        if is_first:
            _ours.append(ours)
            try:
                return invoke([*words])
            finally:
                _ours.clear()
        for number in (signal.SIGINT, signal.SIGTERM):  # the first process saves, which takes all of them; then all end
            signal.signal(number, signal.SIG_IGN)
        try:
            ours.follow()
        except JobError as error:
            print(f"charlm: process {ours.rank}: {error}", file=sys.stderr)
            return 1
    return 0
