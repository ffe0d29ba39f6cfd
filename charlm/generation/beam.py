"""Beam search: the most likely of the texts that a few hypotheses lead to.

At each token every hypothesis is continued in every way, and the best ones of all of these are kept (Lowerre 1976; for
neural models Sutskever et al. 2014). Nothing is drawn: seed, temperature, top_k, top_p and min_p have no effect; the
repetition penalty acts on the logits, and a banned token is never written. A score is the sum of the tokens'
log-probabilities. A hypothesis that a stop string ends is shorter than those that continue, and a sum favours short
ones: so in the end the mean per token decides (Wu et al. 2016, with the whole length as the penalty). The search ends
at its length, or when as many hypotheses have ended as there are beams.
"""

from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Protocol

import numpy as np

from charlm.generation.sampling import NO_TOKEN, REMEMBERED, Logits, penalized_logits
from charlm.generation.streams import Ids, StopFilter, Stream

SPELLED_AFTER = 8  # ids before a token on which its spelling may depend


class StepModel(Protocol):
    """A model that reads tokens; how its states look is its own matter."""

    def initial_state(self) -> Any:
        """The state of one row before the first token."""

    def read(self, ids: Ids, state: Any) -> tuple[Logits, Any]:
        """Ids (B, T) and the state before them -> logits after the last ones (B, V) and the state after them."""

    def select(self, state: Any, rows: Ids) -> Any:
        """The state of these rows, of which one may be named several times."""


@dataclass(frozen=True)
class Hypothesis:
    """One possible continuation of the text.

    Attributes:
        tail: its ids beyond what was emitted.
        score: log-probability of all that it has written.
        stop_filter: whether it holds a stop string, or the beginning of one.
    """

    tail: list[int]
    score: float
    stop_filter: StopFilter


class BeamSearch:
    """The hypotheses of one text. What all of them share is emitted at once, the rest when it is decided.

    Args:
        model: a row of its batch is a hypothesis.
        stream: the text; its `unread` and `recent` reflect what was emitted.
    """

    def __init__(self, model: StepModel, stream: Stream) -> None:
        self._model, self._stream, self._beams = model, stream, stream.config.beams
        self._state = model.initial_state()  # after all but the last id of each hypothesis
        self._live = [Hypothesis([], 0.0, stream.stop_filter.copy())]
        self._ended: list[Hypothesis] = []  # the best of those that a stop string has ended
        self._ended_count = 0
        self._written = 0  # tokens of each live hypothesis

    def advance(self, steps: int) -> str:
        """Read or write up to `steps` tokens; returns what is newly certain of the text."""
        stream = self._stream
        if len(stream.unread) > 1:
            read = stream.unread[: min(steps, len(stream.unread) - 1)]
            _, self._state = self._model.read(read[None], self._state)
            self._mark_read(read.tolist())
            steps -= len(read)
        for _ in range(steps):
            if not self._step():
                return stream.take(np.array([NO_TOKEN]))
            if not self._live or self._ended_count >= self._beams or self._written == stream.config.length:
                piece = self._emit(self._best().tail)
                stream.left = 0
                return piece
        return self._emit(self._agreed())

    def _step(self) -> bool:
        """Extend every hypothesis by one token; False if a logit is not finite."""
        last = [[one.tail[-1] if one.tail else self._stream.unread[0]] for one in self._live]
        logits, state = self._model.read(np.array(last), self._state)
        if not np.isfinite(logits).all():
            return False
        scores = np.stack([self._scores(*pair) for pair in zip(logits, self._live, strict=True)])
        self._written += 1
        kept: list[tuple[int, Hypothesis]] = []
        for rank, (row, token) in enumerate(top_tokens(scores, 2 * self._beams)):
            grown = self._grown(self._live[row], token, float(scores[row, token]))
            if not grown.stop_filter.found:
                kept.append((row, grown))
            elif rank < self._beams:
                self._end(grown)
        kept = kept[: self._beams]
        self._live = [grown for _, grown in kept]
        self._state = self._model.select(state, np.array([row for row, _ in kept], np.int64))
        return True

    def _scores(self, logits: Logits, one: Hypothesis) -> Logits:
        """Logits (V,) after a hypothesis -> its score with each token, (V,)."""
        recent = [*self._stream.recent, self._stream.unread[0], *one.tail][-REMEMBERED:]
        scores = penalized_logits(logits, self._stream.config, recent, self._stream.banned)
        scores -= scores.max()
        extended: Logits = one.score + scores - np.log(np.exp(scores).sum())
        return extended

    def _grown(self, one: Hypothesis, token: int, score: float) -> Hypothesis:
        """A hypothesis with one token more."""
        stop_filter = one.stop_filter
        if stop_filter.stops:
            tokenizer, before = self._stream.tokenizer, [*self._stream.unread.tolist(), *one.tail][-SPELLED_AFTER:]
            stop_filter = stop_filter.copy()
            stop_filter.feed(tokenizer.speller(tokenizer.decode(before)).take(token))
        return Hypothesis([*one.tail, token], score, stop_filter)

    def _end(self, one: Hypothesis) -> None:
        """Keep a hypothesis that has ended, with its mean as the score, if none that has ended is better."""
        self._ended_count += 1
        mean = one.score / self._written
        if not self._ended or mean > self._ended[0].score:
            self._ended = [replace(one, score=mean)]

    def _best(self) -> Hypothesis:
        """The winning hypothesis, of those that have ended or reached the length."""
        whole = self._live if self._written == self._stream.config.length else []
        means = [replace(one, score=one.score / self._written) for one in whole]
        return max([*self._ended, *means], key=lambda one: one.score)

    def _agreed(self) -> list[int]:
        """The ids that all hypotheses begin with that may still win."""
        tails = [one.tail for one in [*self._live, *self._ended]]
        return [ids[0] for ids in takewhile(lambda ids: len(set(ids)) == 1, zip(*tails, strict=False))]

    def _emit(self, ids: list[int]) -> str:
        """Move ids that are certain from the tails to the stream; returns what they add to the text."""
        if ids:
            self._stream.unread = np.array([self._stream.unread[0], *ids])
            self._mark_read(self._stream.unread[:-1].tolist())
            self._live = [replace(one, tail=one.tail[len(ids) :]) for one in self._live]
            self._ended = [replace(one, tail=one.tail[len(ids) :]) for one in self._ended]
        return self._stream.take(np.array(ids, np.int64))

    def _mark_read(self, read: list[int]) -> None:
        """Note that the first unread ids were read."""
        self._stream.recent.extend(read)
        self._stream.unread = self._stream.unread[len(read) :]


def top_tokens(scores: Logits, count: int) -> list[tuple[int, int]]:
    """Places (row, token) of the highest of scores (B, V), highest first; of equals the earlier first; none of -inf."""
    flat = scores.ravel()
    count = min(count, int(np.isfinite(flat).sum()))
    places = np.sort(np.argpartition(-flat, count - 1)[:count])
    ordered = places[np.argsort(-flat[places], kind="stable")]
    return [divmod(int(place), scores.shape[1]) for place in ordered]
