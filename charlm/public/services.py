"""What pages and endpoints work with: runs, trainings, models and files, of one user or as one visitor meets them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from charlm.analysis.votes import Tallies
from charlm.config import SampleConfig
from charlm.data.corpus import MAX_BYTES, Corpus, read_bytes
from charlm.data.own_texts import KeptText, OwnTexts, Upload, uploaded_together
from charlm.experiments.searches import Searches
from charlm.formats.exports import Format
from charlm.jobs import JobStatus, QueueEntry, RunStatus, StatusAnswer
from charlm.presets import RunConfig
from charlm.pretrained import Pretrained
from charlm.public.identity import Who
from charlm.public.limits import Limits
from charlm.public.quotas import Quotas
from charlm.runs.run import Run
from charlm.serving import Finding, GeneratedText, NgramBaselines, Starts
from charlm.serving.compared import Writer
from charlm.serving.pretrained import CHARACTERS, Scores
from charlm.serving.votes import Answer

if TYPE_CHECKING:
    from charlm.analysis.cross import Cross
    from charlm.analysis.measurement import Progress
    from charlm.analysis.new_items import NewItems
    from charlm.analysis.next_tokens import Outlook
    from charlm.serving.ballots import Ballot


class RunAccess(Protocol):
    """Runs: `charlm.runs.store.RunStore`, or those of one visitor."""

    def list(self) -> list[Run]: ...
    def get(self, run_id: str) -> Run: ...
    def rename(self, run: Run, label: str) -> None: ...
    def annotate(self, run: Run, note: str) -> None: ...
    def trim(self, run: Run) -> int: ...
    def delete(self, run: Run) -> None: ...
    def trashed(self) -> Sequence[Run]: ...
    def restore(self, run_id: str) -> Run: ...
    def empty_trash(self) -> int: ...


class JobAccess(Protocol):
    """Trainings: `charlm.jobs.service.Jobs`, which documents every method, or within a visitor's limits."""

    def start(self, corpus: Corpus, config: RunConfig, archs: Sequence[str]) -> list[str]:
        """See `Jobs.start`."""

    def resume(self, run_id: str, options: Mapping[str, Any] | None = None) -> StatusAnswer: ...
    def fork(self, run_id: str, options: Mapping[str, Any] | None = None, corpus: Corpus | None = None) -> StatusAnswer:
        """See `Jobs.fork`."""

    def retry(self, run_id: str) -> StatusAnswer: ...
    def pause(self, run_id: str) -> StatusAnswer: ...
    def stop(self, run_id: str) -> StatusAnswer: ...
    def stop_job(self, run_id: str) -> None: ...
    def change_rate(self, run_id: str, rate: float, race: bool = False) -> StatusAnswer: ...
    def move(self, run_id: str, by: int) -> StatusAnswer: ...
    def interrupted(self) -> list[Run]: ...
    def resume_interrupted(self) -> None: ...
    def dismiss_interrupted(self) -> None: ...
    def status(self, run_id: str, since_step: int = -1) -> StatusAnswer: ...
    def state(self, run: Run) -> RunStatus: ...
    def current(self) -> JobStatus | None: ...
    def queue(self) -> list[list[str]]: ...
    def queue_list(self) -> list[QueueEntry]: ...
    @property
    def at_once(self) -> int: ...
    def set_at_once(self, number: float) -> None: ...
    def left(self) -> dict[str, Any]: ...


class ServingAccess(Protocol):
    """Models that generate: `charlm.serving.Serving`, which documents every method, or within a visitor's limits."""

    @property
    def baselines(self) -> NgramBaselines: ...
    def generate(self, run: Writer, prompt: str, config: SampleConfig) -> Iterator[GeneratedText]:
        """See `Serving.generate`."""

    def compare(
        self, runs: Sequence[Writer], prompt: str, config: SampleConfig, starts: Starts | None = None
    ) -> Iterator[dict[str, GeneratedText]]:
        """See `Serving.compare`."""

    def next_tokens(self, run: Run, prompt: str, text: str, config: SampleConfig, count: int) -> "Outlook":
        """See `Serving.next_tokens`."""

    def with_token(self, run: Run, start: GeneratedText, place: int, token: int) -> tuple[GeneratedText, int]:
        """See `Serving.with_token`."""

    def evaluate(self, run: Run, text: str | None = None, split: str = "") -> dict[str, Any]:
        """See `Serving.evaluate`."""

    def items(
        self, run: Run, count: int, prompt: str = "", config: SampleConfig | None = None, check: str = ""
    ) -> "NewItems":
        """See `Serving.items`."""

    def inspect(
        self,
        name: str,
        runs: Sequence[Run],
        text: str | None = None,
        options: Mapping[str, Any] | None = None,
        begin: bool = True,
    ) -> list[Finding]:
        """See `Serving.inspect`."""

    def stop_inspecting(
        self, name: str, runs: Sequence[Run], text: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        """See `Serving.stop_inspecting`."""

    def cross(
        self, runs: Sequence[Run], options: Mapping[str, Any] | None = None, called: Sequence[str] = ()
    ) -> "Iterator[Progress[Cross]]":
        """See `Serving.cross`."""

    def known_cross(
        self, runs: Sequence[Run], options: Mapping[str, Any] | None = None, called: Sequence[str] = ()
    ) -> "Cross | None":
        """See `Serving.known_cross`."""

    def score(self, models: Sequence[Writer], characters: int = CHARACTERS) -> "Iterator[Progress[Scores]]":
        """See `Serving.score`."""

    def lexicon(self, run: Writer) -> frozenset[str]: ...
    @property
    def pretrained(self) -> "PretrainedAccess": ...
    @property
    def votes(self) -> "VoteAccess": ...


class PretrainedAccess(Protocol):
    """Pretrained models: `charlm.serving.pretrained.PretrainedModels`, or those that a public Space offers."""

    def list(self) -> Sequence[Pretrained]: ...
    def get(self, run_id: str) -> Pretrained | None: ...
    def load(self, source: str) -> Pretrained: ...
    def remove(self, source: str) -> None: ...


class VoteAccess(Protocol):
    """Blind votes: `charlm.serving.votes.Votes`, which documents every method, or as one visitor may take part."""

    def ballot(
        self, runs: Sequence[Run], config: SampleConfig, seed: int | None = None
    ) -> "Iterator[Progress[Ballot]]":
        """See `Votes.ballot`."""

    def vote(self, ballot: str, place: int, kind: str) -> Answer: ...
    def tallies(self) -> Tallies: ...
    def reset(self) -> int: ...


class FileAccess(Protocol):
    """Files that are uploaded and downloaded."""

    def uploaded(self, given: Any) -> Path: ...
    def fresh(self, name: str) -> Path: ...
    def text(self, name: str, text: str) -> str: ...
    def received(self, name: str, text: str) -> str: ...
    def run(self, run: Run, kind: Format) -> str: ...


class TextAccess(Protocol):
    """Uploaded and pasted texts: `charlm.data.own_texts.OwnTexts`, or those of one visitor."""

    @property
    def most_files(self) -> int: ...
    @property
    def most_bytes(self) -> int: ...
    def list(self) -> list[KeptText]: ...
    def keep(self, upload: Upload) -> str: ...
    def delete(self, key: str) -> None: ...


def nobody() -> None:
    """There are no visitors where everything belongs to one user."""


@dataclass(frozen=True)
class Services:
    """What the tabs and endpoints work with.

    Attributes:
        store: the runs.
        jobs: the trainings.
        serving: the models.
        files: what is uploaded and downloaded.
        who: returns the visitor who asks; None where everything belongs to one user.
        quotas: what each visitor of a public Space has used; None elsewhere.
        texts: what was uploaded and pasted.
        searches: for good settings; None on a public Space, where nobody may take the machine for so long.
        track: which tracker trainings go to, see charlm/formats/trackers.py; empty: none.
        tracked: the same in a sentence.
        lent: what ZeroGPU lends, in sentences; empty: nothing.
    """

    store: RunAccess
    jobs: JobAccess
    serving: ServingAccess
    files: FileAccess
    who: Who = nobody
    quotas: Quotas | None = None
    texts: TextAccess = field(default_factory=OwnTexts)
    searches: Searches | None = None
    track: str = ""
    tracked: str = ""
    lent: str = ""

    @property
    def limits(self) -> Limits | None:
        """What a visitor of a public Space may use; None elsewhere. Store, jobs and serving see to it."""
        return self.quotas.limits if self.quotas else None

    @property
    def text_bytes(self) -> int:
        """Bytes that a text may have, packed and unpacked."""
        return self.limits.corpus_bytes if self.limits else MAX_BYTES

    def upload_of(self, files: Sequence[tuple[Path, str]]) -> Upload:
        """Uploaded files, one or several, as one upload, within the limits here.

        Args:
            files: their paths and names, at least one.

        Raises:
            CorpusError: one cannot be read, or together they are too large.
        """
        left, given = self.text_bytes, []
        for path, name in files:
            data = read_bytes(path, left)
            left -= len(data)
            given.append((name, data))
        return uploaded_together(given, self.text_bytes, native=self.limits is None)
