"""Cross-perplexity that is known: kept in the data folder by weights, texts and settings, without anybody's names."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict

from charlm.analysis.cross import VERSION, Cross, Row, Settings
from charlm.data.catalog import data_dir
from charlm.files import fingerprint, is_of_type, read
from charlm.runs.run import Run
from charlm.serving.measurements import FOLDER, weights_sha256, write_result

MOST_BYTES = 1 << 16  # of a matrix on disk


class KeptRow(TypedDict):
    """A row of the matrix without names; see `charlm.analysis.cross.Row`."""

    texts: int
    characters: int
    bits: list[float | None]


class Kept(TypedDict):
    """A matrix as its file holds it: rows of each model in their order, then of each held-out text."""

    rows: list[KeptRow]


@dataclass(frozen=True)
class CrossQuestion:
    """Which models are to read which texts.

    Attributes:
        runs: their best weights are used.
        called: the models' names.
        held_out: held-out texts by what to call them.
        settings: how many texts, and how long.
    """

    runs: Sequence[Run]
    called: Sequence[str]
    held_out: Mapping[str, str]
    settings: Settings

    @cached_property
    def path(self) -> Path:
        """Where the matrix is kept.

        Raises:
            MeasurementError: a run has no weights.
        """
        facts = [
            VERSION,
            [(run.run_id, weights_sha256(run)) for run in self.runs],
            [hashlib.sha256(text.encode()).hexdigest() for text in self.held_out.values()],
            self.settings.to_dict(),
        ]
        return data_dir() / FOLDER / "cross" / f"cross-{fingerprint(facts)}.json"

    def known(self) -> Cross | None:
        """The matrix, if it has been measured; a file that is damaged is as good as none.

        Raises:
            MeasurementError: a run has no weights.
        """
        try:
            found = read(self.path, MOST_BYTES)
        except (OSError, ValueError):
            return None
        sources = [(run.run_id, name) for run, name in zip(self.runs, self.called, strict=True)]
        sources += [("", name) for name in self.held_out]
        if not is_of_type(found, Kept) or len(found["rows"]) != len(sources):
            return None
        kept: list[KeptRow] = found["rows"]
        if any(len(row["bits"]) != len(self.runs) for row in kept):
            return None
        rows = [
            Row(writer=writer, name=name, texts=row["texts"], characters=row["characters"], bits=row["bits"])
            for (writer, name), row in zip(sources, kept, strict=True)
        ]
        return Cross(readers=[run.run_id for run in self.runs], names=list(self.called), rows=rows)

    def keep(self, found: Cross) -> None:
        """Write the matrix; what cannot be written is measured again another time."""
        rows = [KeptRow(texts=row["texts"], characters=row["characters"], bits=row["bits"]) for row in found["rows"]]
        write_result(self.path, Kept(rows=rows), "cross-perplexity")
