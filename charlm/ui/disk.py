"""What runs cost on disk, without measuring again what has not changed."""

from collections.abc import Iterable
from typing import Any

from charlm.ui.verdict import AT_WORK


class Disk:
    """Remembers the sizes of runs that rest; those at work grow."""

    def __init__(self) -> None:
        self._sizes: dict[str, tuple[Any, int]] = {}  # by run id: what the folder was last changed for, its bytes

    def used(self, runs: Iterable[Any]) -> int:
        """Bytes of all these runs together."""
        return sum(map(self._size, runs))

    def _size(self, run: Any) -> int:
        if run.status in AT_WORK:
            return int(run.size_bytes)
        changed = run.info.get("updated"), run.status, run.trimmed
        known = self._sizes.get(run.run_id)
        if known is None or known[0] != changed:
            known = self._sizes[run.run_id] = changed, int(run.size_bytes)
        return known[1]
