"""Blind votes: ballots are made and answered, and the votes are kept beside the runs."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from filelock import FileLock

from charlm.analysis.measurement import Progress
from charlm.analysis.votes import HUMAN, QUESTIONS, Candidate, Kind, Tallies, Tally, Vote, tally
from charlm.config import SampleConfig
from charlm.errors import CheckpointError, ConfigError, CorpusError
from charlm.files import append, is_of_type, one_line, open_plain, parsed, write_atomically
from charlm.runs.history import file_mark
from charlm.runs.run import MAX_LABEL, Run, now
from charlm.runs.store import RunStore
from charlm.serving.ballots import Ballot, OpenBallots, held_out_passage, shuffled_ballot
from charlm.serving.batcher import GeneratedText
from charlm.serving.compared import check_compared

FILE, LOCK = "votes.jsonl", ".votes.lock"  # in the folder of the runs
MOST_BYTES = 4_000_000  # of the file, some thousand votes; then the oldest quarter goes
MOST_LINE = 1 << 14
MOST_ID = 200  # characters of a run's id
PATIENCE = 10.0  # seconds to wait for another process that writes votes
LARGEST_SEED = 2**31 - 1

Write = Callable[[Sequence[Run], str, SampleConfig], Iterator[Mapping[str, GeneratedText]]]


class Author(TypedDict):
    """Who wrote a text; see `charlm.analysis.votes.Candidate`."""

    run_id: str
    label: str
    arch: str


class _Line(TypedDict):
    """A line of the file.

    Attributes:
        time: ISO 8601, UTC.
        visitor: a digest of whose it is; empty where everything belongs to one user.
        kind: of QUESTIONS.
        texts: who wrote the texts of the ballot.
        chosen: which of them, from 0 on.
        part: of the corpus that the human's passage is from.
        corpus: its name.
        shipped: whether all models came with the program.
    """

    time: str
    visitor: str
    kind: str
    texts: list[Author]
    chosen: int
    part: str
    corpus: str
    shipped: bool


class Answer(TypedDict):
    """What a vote is answered with.

    Attributes:
        kind: what was asked for.
        chosen: the place of the text that was chosen, from 0 on.
        human: the place of the human's passage.
        authors: who wrote each text.
        prompt, texts, part, corpus: see `Ballot`.
    """

    kind: Kind
    chosen: int
    human: int
    authors: list[Author]
    prompt: str
    texts: list[str]
    part: str
    corpus: str


class VoteLog:
    """The votes of a folder: a file that only grows, until it is too large or some are taken out.

    Several processes may use it. A line that is none, as a torn one is, is passed over.

    Args:
        folder: of the runs; made when the first vote is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self._lock = folder / FILE, folder / LOCK
        self._read: tuple[Any, list[_Line]] = (None, [])  # what `lines` found, and in what file

    def lines(self) -> list[_Line]:
        """All of them, the oldest first; the same list as long as the file is the same."""
        mark = file_mark(self.path)
        if mark != self._read[0] or mark is None:
            self._read = mark, [line for line in map(_parsed, self._raw()) if line is not None]
        return self._read[1]

    def append(self, line: _Line) -> None:
        """Keep a vote; where the file is full, the oldest quarter goes first.

        Raises:
            CheckpointError: it cannot be written.
        """
        data = json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._writing():
            if self.path.is_file() and self.path.stat().st_size + len(data) > MOST_BYTES:
                lines = self._raw()
                write_atomically(self.path, b"".join(one + b"\n" for one in lines[len(lines) // 4 + 1 :]))
            append(self.path, data)

    def remove(self, visitor: str | None) -> int:
        """Remove the votes of a visitor, or all; returns how many.

        Args:
            visitor: whose; None: all.

        Raises:
            CheckpointError: the file cannot be written.
        """
        if not self.path.exists():
            return 0
        with self._writing():
            lines = self.lines()
            kept = [] if visitor is None else [line for line in lines if line["visitor"] != visitor]
            if kept:
                write_atomically(self.path, (json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in kept))
            else:
                self.path.unlink(missing_ok=True)
        return len(lines) - len(kept)

    def _raw(self) -> list[bytes]:
        try:
            with open_plain(self.path) as file:
                return [line for line in file.read(2 * MOST_BYTES).split(b"\n") if line]
        except OSError:
            return []

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone among all processes."""
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._lock, timeout=PATIENCE):
                yield
        except OSError as error:  # Timeout is one
            raise CheckpointError(
                f"votes cannot be kept in {self.path.parent}: {error.strerror or error}; make room there, or name "
                "another folder in CHARLM_RUNS"
            ) from error


def _parsed(data: bytes) -> _Line | None:
    """The vote in a line; None for what is none."""
    try:
        line = parsed(data, MOST_LINE, most_depth=3)
    except ValueError:
        return None
    if not is_of_type(line, _Line) or line["kind"] not in QUESTIONS:
        return None
    authors = [_author(one) for one in line["texts"]]
    ids = [one["run_id"] for one in authors]
    if HUMAN not in ids or len(set(ids)) < len(ids) or not 0 <= line["chosen"] < len(ids) or len(ids) < 2:
        return None
    kept: _Line = line
    return {**kept, "texts": authors}


def _author(one: Author) -> Author:
    """An author as a line of a page can have them."""
    return Author(
        run_id=one_line(one["run_id"], MOST_ID),
        label=one_line(one["label"], MAX_LABEL),
        arch=one_line(one["arch"], MAX_LABEL),
    )


def _vote(line: _Line) -> Vote:
    authors = tuple(Candidate(one["run_id"], one["label"], one["arch"]) for one in line["texts"])
    kind: Kind = "best" if line["kind"] == "best" else "human"
    return Vote(line["visitor"], kind, authors, line["chosen"])


class Votes:
    """Makes ballots, takes votes on them, and counts.

    Args:
        store: where the runs are; votes are kept in the same folder.
        write: has models continue a prompt, as `Serving.compare` does.
    """

    def __init__(self, store: RunStore, write: Write) -> None:
        self._store, self._write, self._open = store, write, OpenBallots()
        self._logs: dict[Path, VoteLog] = {}

    @property
    def log(self) -> VoteLog:
        """The votes of the store's folder."""
        return self._logs.setdefault(self._store.root, VoteLog(self._store.root))

    def ballot(
        self, runs: Sequence[Run], config: SampleConfig, seed: int | None = None, visitor: str = ""
    ) -> Iterator[Progress[Ballot]]:
        """Have the models continue a prompt from their held-out text, and shuffle what they and the human wrote.

        Args:
            runs: up to 6, trained on the same text.
            config: how they write; a ballot has one sample of each, that does not stop early.
            seed: of the passage and of the texts, not of their order; None: one that nobody knows.
            visitor: who will vote; empty where everything belongs to one user.

        Yields:
            The share of the texts that is written; the ballot with the last one.

        Raises:
            ConfigError: no run or too many, or what they hold out cannot be used; see `held_out_passage`.
            CorpusError: their text is no longer here, or a model could not write.
        """
        check_compared(runs)
        seed = secrets.randbelow(LARGEST_SEED) if seed is None else seed
        passage = held_out_passage(runs, config.length, seed)
        config = replace(config, seed=seed, samples=1, stop=(), duel=False)
        drafts: Mapping[str, GeneratedText] = {}
        for drafts in self._write(runs, passage.prompt, config):
            written = sum(len(one.text) for one in drafts.values()) / (len(runs) * config.length)
            yield Progress(min(written, 0.99))
        for run in runs:
            if drafts[run.run_id].error:
                raise CorpusError(f"{run.label} could not write: {drafts[run.run_id].error}")
        ballot = shuffled_ballot(runs, [drafts[run.run_id].text for run in runs], passage, visitor)
        self._open.add(ballot)
        yield Progress(1.0, ballot)

    def vote(self, ballot: str, place: int, kind: str, visitor: str = "") -> Answer:
        """Vote on a ballot, and learn who wrote what.

        Args:
            ballot: its id.
            place: of the text that is chosen, from 0 on.
            kind: best or human: what the text is chosen as.
            visitor: who votes.

        Raises:
            CheckpointError: the vote cannot be kept; the ballot still waits.
            ConfigError: no such ballot of this visitor waits, or it has no such text; or no such kind.
        """
        asked = next((one for one in QUESTIONS if one == kind), None)
        if asked is None:
            raise ConfigError(f"kind {kind[:40]!r} is not one of: {', '.join(QUESTIONS)}")
        taken = self._open.take(ballot, place, visitor)
        authors = [Author(run_id=one.run_id, label=one.label, arch=one.arch) for one in taken.authors]
        try:
            self.log.append(
                _Line(
                    time=now(), visitor=visitor, kind=asked, texts=authors, chosen=place, part=taken.part,
                    corpus=taken.corpus, shipped=taken.shipped,
                )
            )  # fmt: skip
        except CheckpointError:
            self._open.add(taken)
            raise
        return Answer(
            kind=asked, chosen=place, human=taken.human, authors=authors, prompt=taken.prompt, texts=list(taken.texts),
            part=taken.part, corpus=taken.corpus,
        )  # fmt: skip

    def tallies(self) -> Tallies:
        """All votes of the folder, counted by kind."""
        return {"together": counted(self.log.lines())}

    def reset(self) -> int:
        """Remove all votes of the folder; returns how many.

        Raises:
            CheckpointError: they cannot be removed.
        """
        return self.log.remove(None)


def counted(lines: Sequence[_Line]) -> dict[Kind, Tally]:
    """The tally of each kind."""
    votes = [_vote(line) for line in lines]
    return {kind: tally(votes, kind) for kind in QUESTIONS}
