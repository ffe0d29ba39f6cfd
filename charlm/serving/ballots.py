"""Ballots of a blind vote: texts of several models and a passage that a human wrote, in an order nobody knows."""

import random
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from charlm.analysis.votes import HUMAN, Candidate
from charlm.data.dataset import character_sizes
from charlm.errors import ConfigError, CorpusError
from charlm.runs.run import Run
from charlm.serving.texts import own_text

PROMPT = 100  # characters before the passage, about: as many as end and begin with a word
WORD = 60  # the next word begins within so many characters
LEAST = 20  # characters of a text that can be judged
MOST_OPEN, MOST_OWN = 1_000, 8  # ballots that wait for a vote, of all and of one visitor; older ones make room
OPEN_SECONDS = 3600.0


@dataclass(frozen=True)
class Passage:
    """A piece of held-out text.

    Attributes:
        prompt: what stands right before it, which models are to continue.
        text: the passage, with all that follows of its part.
        part: of the text: test or validation.
        corpus: what the text is called.
    """

    prompt: str
    text: str
    part: str
    corpus: str


@dataclass(frozen=True)
class Ballot:
    """Texts that continue one prompt, ready to be voted on; all have the same number of characters.

    Attributes:
        ballot: its id, which cannot be guessed and says nothing.
        prompt: what all continue.
        texts: in random order.
        authors: who wrote each, in the same order; told to nobody before the vote.
        part: of the corpus that the human's passage is from: test or validation.
        corpus: what the models were trained on.
        shipped: whether all models came with the program, so that everybody knows them.
        visitor: whose it is; empty where everything belongs to one user.
    """

    ballot: str
    prompt: str
    texts: tuple[str, ...]
    authors: tuple[Candidate, ...]
    part: str
    corpus: str
    shipped: bool = False
    visitor: str = ""

    @property
    def human(self) -> int:
        """The place of the human's passage."""
        return next(place for place, one in enumerate(self.authors) if one.run_id == HUMAN)


def check_same_text(runs: Sequence[Run]) -> None:
    """Refuse models that were not trained on the same text, which could have no prompt in common.

    Raises:
        ConfigError: names the first that differs.
    """
    first = runs[0]
    for run in runs:
        if run.corpus.get("sha256") != first.corpus.get("sha256"):
            texts = [str(one.corpus.get("name") or "no text that is known") for one in (first, run)]
            raise ConfigError(
                f"a blind vote needs models of the same text, and {first.label} was trained on {texts[0]}, {run.label} "
                f"on {texts[1]}; choose models of one text"
            )


def held_out_passage(runs: Sequence[Run], length: int, seed: int) -> Passage:
    """A passage that none of these models has learned from, at a place that the seed decides.

    It is from the test part if all runs hold one out, else from the validation part. It begins with a word, where the
    text has spaces.

    Args:
        runs: of the same text.
        length: characters that the passage has at least.
        seed: of the place.

    Raises:
        ConfigError: the runs were trained on different texts, or what they hold out is too short.
        CorpusError: their text is no longer here.
    """
    check_same_text(runs)
    if runs[0].corpus_config.is_list:
        raise ConfigError(
            f"{runs[0].label} learned a list of items, and a vote needs passages of a text; choose others"
        )
    text = own_text(runs[0])
    if not text:
        raise CorpusError(
            f"the text that {runs[0].label} was trained on is not here, and a passage of it is needed; choose models "
            "whose text is at hand"
        )
    sizes = [character_sizes(len(text), run.corpus_config, run.held_out) for run in runs]  # train, validation, test
    if all(test for _, _, test in sizes):
        part, start, end = "test", max(len(text) - test for _, _, test in sizes), len(text)
    else:
        part, start = "validation", max(train for train, _, _ in sizes)
        end = min(train + validation for train, validation, _ in sizes)
    corpus = str(runs[0].corpus.get("name") or "their text")
    if start >= end:
        raise ConfigError(
            f"the {part} part of {corpus} that none of the models has read has 0 characters, for they hold out "
            "different parts; choose models of one race"
        )
    if (room := end - start) < PROMPT + 2 * WORD + length:
        raise ConfigError(
            f"the {part} part of {corpus} that none of the models has read has {room:,} characters, and a prompt with "
            f"a passage of {length:,} takes {PROMPT + 2 * WORD + length:,}; choose a shorter length, or models of a "
            "longer text"
        )
    place = random.Random(seed).randint(start + PROMPT + WORD, end - WORD - length)
    begins = _next_word(text, place)
    return Passage(text[_next_word(text, begins - PROMPT - WORD) : begins], text[begins:end], part, corpus)


def _next_word(text: str, place: int) -> int:
    """Where the next word begins, or the place itself if none begins soon, as in texts without spaces."""
    for at in range(max(1, place), min(place + WORD, len(text))):
        if text[at - 1].isspace() and not text[at].isspace():
            return at
    return place


def shuffled_ballot(runs: Sequence[Run], texts: Sequence[str], passage: Passage, visitor: str) -> Ballot:
    """A ballot of what the models wrote and of the passage, all cut to the characters of the shortest.

    They are cut anywhere, also within a word: a text that alone ends with a word would be known by that.

    Args:
        runs: the models.
        texts: what each wrote after the passage's prompt.
        passage: what the human wrote there.
        visitor: see `Ballot`.

    Raises:
        CorpusError: a model wrote too little.
    """
    for run, text in zip(runs, texts, strict=True):
        if len(text) < LEAST:
            raise CorpusError(
                f"{run.label} wrote {len(text)} characters, which are too few to judge; ask for a longer text"
            )
    length = min(map(len, [*texts, passage.text]))
    authors = [Candidate(HUMAN), *(Candidate(run.run_id, run.label, run.arch) for run in runs)]
    order = list(range(len(authors)))
    random.SystemRandom().shuffle(order)  # not by the seed, which a visitor may know
    cut = [one[:length] for one in (passage.text, *texts)]
    return Ballot(
        ballot=secrets.token_urlsafe(16),
        prompt=passage.prompt,
        texts=tuple(cut[place] for place in order),
        authors=tuple(authors[place] for place in order),
        part=passage.part,
        corpus=passage.corpus,
        shipped=all(run.shipped for run in runs),
        visitor=visitor,
    )


class OpenBallots:
    """Ballots that wait for their vote, in memory only; every method may be called from any thread.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._open: OrderedDict[str, tuple[float, Ballot]] = OrderedDict()  # with the time at which it expires

    def add(self, ballot: Ballot) -> None:
        """Wait for a vote on this one; the oldest make room."""
        with self._lock:
            self._forget_expired()
            own = [key for key, (_, one) in self._open.items() if one.visitor == ballot.visitor]
            for key in own[: max(0, len(own) - MOST_OWN + 1)]:
                del self._open[key]
            while len(self._open) >= MOST_OPEN:
                self._open.popitem(last=False)
            self._open[ballot.ballot] = self._clock() + OPEN_SECONDS, ballot

    def take(self, key: str, place: int, visitor: str) -> Ballot:
        """A ballot that is voted on, which it can be once.

        Args:
            key: the ballot's id.
            place: of the text that is chosen.
            visitor: who votes.

        Raises:
            ConfigError: no such ballot of this visitor waits, or it has no such text.
        """
        with self._lock:
            self._forget_expired()
            _, ballot = self._open.get(key, (0.0, None))
            if ballot is None or ballot.visitor != visitor:
                raise ConfigError(
                    f"no ballot {key[:40]!r} waits for a vote: it was voted on, or has expired; take a new one"
                )
            if not 0 <= place < len(ballot.texts):
                raise ConfigError(f"place {place} is outside 0 to {len(ballot.texts) - 1}, the texts of this ballot")
            del self._open[key]
            return ballot

    def _forget_expired(self) -> None:
        while self._open and next(iter(self._open.values()))[0] <= self._clock():
            self._open.popitem(last=False)
