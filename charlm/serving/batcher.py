"""The one thread that generates all texts of this process: those of one model in a batch, the models in turn."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from charlm.config import SampleConfig
from charlm.tokenizers import Tokenizer

if TYPE_CHECKING:
    from charlm.generation import Stream
    from charlm.models import LanguageModel

log = logging.getLogger(__name__)

# A model generates for about this long before the next one's turn, in seconds, and at most so many tokens a text.
TURN_SECONDS = 0.02
MOST_TURNS = 64  # are remembered of a text
MOST_STEPS = 64
# Texts of one model in a batch; more wait until one of them ends.
MOST_ROWS = 64
# A text that is so many characters ahead of its reader waits for it.
AHEAD = 4096
# While a training runs: how many characters a second are generated, faster than anyone reads; how many at a time; and
# which share of one core all texts together may have.
PACE = 400
PACED_STEPS = 24
CORE_SHARE = 0.3
LONGEST_REST = 1.0  # seconds, after a turn that took uncommonly long
# The thread ends after so many seconds without work.
IDLE_SECONDS = 5.0
# What the first turn of a model is planned with: seconds a token takes.
FIRST_GUESS = 0.001
# Characters of a text that a model reads again before it continues it.
READ_AGAIN = 4000
CLOSED = "the program is about to end"


@dataclass(frozen=True)
class GeneratedText:
    """A text as far as it is generated, or one that is to be continued.

    Attributes:
        prompt: what stands before it; of a text in progress, what the model knows of that.
        text: what is generated, or stands there to be continued.
        sample: which of several texts it is, from 0 on; its seed follows from it.
        replaced: what of the prompt was spelled otherwise, as the model knows it, and how.
        skipped: the characters of the prompt that the model does not know.
        unknown: the words of the prompt that are not in its vocabulary; it reads each as `<unk>`.
        before: how the text began, if it is continued.
        chars_per_second: how fast it is generated.
        turns: (characters, seconds) of the turns in which it was generated, by which its speed varies; after MOST_TURNS
            two by two.
        done: whether it has ended.
        error: why it ended early.
        more: further samples, the same of each.
    """

    prompt: str
    text: str = ""
    sample: int = 0
    replaced: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    before: str = ""
    chars_per_second: float = 0.0
    turns: tuple[tuple[float, float], ...] = ()
    done: bool = False
    error: str = ""
    more: tuple["GeneratedText", ...] = ()

    @property
    def samples(self) -> tuple["GeneratedText", ...]:
        """All samples, this one first."""
        return (self, *self.more)

    def context(self) -> tuple[str, str]:
        """Prompt and text as far as they are read again before it is continued."""
        whole = (self.prompt + self.text)[-READ_AGAIN:]
        written = min(len(self.text), len(whole) - 1) if len(whole) == READ_AGAIN else len(self.text)
        return whole[: len(whole) - written], whole[len(whole) - written :]


Starts = Mapping[str, Sequence[GeneratedText]]  # by run id, texts to be continued


class TextDecoder(Protocol):
    """Continues texts: `charlm.generation.Decoder`, or what a pretrained model has in its place."""

    def decode(self, streams: "Sequence[Stream]", steps: int) -> list[str]:
        """What up to `steps` tokens more add to each text."""


class OpenedModel:
    """A model in memory, and what its readers wait for.

    Args:
        model: never changed.
        tokenizer: the model's own.
    """

    def __init__(self, model: "LanguageModel", tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.requests: list[GenerationRequest] = []  # unfinished ones, first come first
        self.began = self.due = 0.0  # when its last turn began, and when the next one may
        self.token_seconds = FIRST_GUESS

    @cached_property
    def decoder(self) -> TextDecoder:
        """Made ready when the first text is generated; what it compiles at its first token is compiled then."""
        from charlm.generation import Stream, decoder_for

        decoder = decoder_for(self.model)
        decoder.decode([Stream.start(self.tokenizer, "", SampleConfig(length=1))], 1)
        return decoder

    def batch(self) -> "list[GenerationRequest]":
        """The texts that are generated now."""
        return [request for request in self.requests if request.is_wanted()][:MOST_ROWS]


@dataclass(eq=False)
class GenerationRequest:
    """One text for one reader.

    Attributes:
        opened: the model that generates it.
        stream: its place in the model.
        result: what is there of it; replaced as a whole, so that it can be read without the lock.
        taken: how many characters of it the reader has.
        seconds: that the model worked on it.
        reader: notified when it begins and when it ends; None while there is none.
    """

    opened: OpenedModel
    stream: "Stream"
    result: GeneratedText
    taken: int = 0
    seconds: float = 0.0
    reader: threading.Condition | None = None

    def add(self, piece: str, seconds: float) -> None:
        """Append what a turn of so many seconds generated."""
        self.seconds += seconds
        text = self.result.text + piece
        speed = (len(text) - len(self.result.before)) / self.seconds if self.seconds else 0.0
        turns = (*self.result.turns, (float(len(piece)), seconds))
        if len(turns) > MOST_TURNS:
            pairs = zip(turns[::2], (*turns[1::2], (0.0, 0.0)), strict=False)
            turns = tuple((chars + more, took + also) for (chars, took), (more, also) in pairs)
        self.result = replace(self.result, text=text, chars_per_second=speed, turns=turns)

    def has_begun(self) -> bool:
        """Whether anything is generated, or nothing will be."""
        return self.result.done or len(self.result.text) > len(self.result.before)

    def is_wanted(self) -> bool:
        """Whether its reader keeps up."""
        return len(self.result.text) - self.taken < AHEAD

    def notify(self) -> None:
        """Wake its reader; called with the lock."""
        if self.reader is not None:
            self.reader.notify_all()


class GenerationWorker:
    """Generates texts in a thread that starts with the first one and ends when it was idle for a while.

    Args:
        is_training: asked at every turn; while it says yes, texts are generated no faster than they can be read.
    """

    def __init__(self, is_training: Callable[[], bool]) -> None:
        self._is_training = is_training
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)  # for the thread; every reader has a condition of its own
        self._opened: list[OpenedModel] = []  # those with unfinished texts
        self._thread: threading.Thread | None = None
        self._rest_until = 0.0
        self._closing = False

    def submit(self, opened: OpenedModel, start: GeneratedText, config: SampleConfig) -> GenerationRequest:
        """Have a text generated, until it is done or cancelled.

        Args:
            opened: the model that generates it.
            start: its prompt, and what is there of it already.
            config: how it is sampled; each `start.sample` has a seed of its own.
        """
        from charlm.generation import Stream

        prompt, before = start.context()
        stream = Stream.start(opened.tokenizer, prompt, config, config.seed + start.sample, before)
        request = GenerationRequest(opened, stream, replace(start, before=start.text), taken=len(start.text))
        with self._changed:
            if self._closing:
                self._end(request, CLOSED)
                return request
            opened.requests.append(request)
            if opened not in self._opened:
                self._opened.append(opened)
            self._wake()
        return request

    def cancel(self, requests: Iterable[GenerationRequest]) -> None:
        """Nobody reads these any more."""
        with self._changed:
            for request in requests:
                self._end(request)

    def wait(self, requests: Iterable[GenerationRequest], until: Callable[[], bool], seconds: float) -> None:
        """Take what is generated of these texts, once `until` is true or the time is up.

        `until` is asked when one of them begins or ends: a crowd of readers that all woke at every turn would cost a
        training beside them most of its time.

        Args:
            requests: of one reader.
            until: called with the lock.
            seconds: at most.
        """
        requests, reader = list(requests), threading.Condition(self._lock)
        with self._changed:
            for request in requests:
                request.reader = reader
            reader.wait_for(until, seconds)
            waited_for = any(not request.is_wanted() for request in requests)
            for request in requests:
                request.taken, request.reader = len(request.result.text), None
            if waited_for:
                self._wake()

    def close(self) -> None:
        """End the thread; what is unfinished stays so."""
        with self._changed:
            self._closing = True
            for opened in list(self._opened):
                for request in list(opened.requests):
                    self._end(request, CLOSED)
            self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def _wake(self) -> None:
        """Let the thread look for work; called with the lock."""
        if self._opened and not self._closing and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="charlm-writing", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _end(self, request: GenerationRequest, error: str = "") -> None:
        """Take a text from its model's list; called with the lock."""
        request.result = replace(request.result, done=True, error=request.result.error or error)
        request.notify()
        if request in request.opened.requests:
            request.opened.requests.remove(request)
        if not request.opened.requests and request.opened in self._opened:
            self._opened.remove(request.opened)

    def _work(self) -> None:
        """The thread: one turn after the other."""
        import torch

        torch.set_num_threads(1)  # of this thread: a character's products are too small to share
        idle_since = time.monotonic()
        while True:
            with self._changed:
                opened, pause = self._next()
                if opened is None:
                    if self._closing or time.monotonic() - idle_since >= IDLE_SECONDS:
                        self._thread = None
                        return
                    self._changed.wait(pause)
                    continue
                batch = opened.batch()
            self._take_turn(opened, batch)
            idle_since = time.monotonic()

    def _next(self) -> tuple[OpenedModel | None, float]:
        """The model that has waited longest for its turn; or None, and how long to wait for one."""
        now = time.monotonic()
        waits = {opened: max(opened.due, self._rest_until) - now for opened in self._opened if opened.batch()}
        ready = [opened for opened, wait in waits.items() if wait <= 0]
        if ready:
            return min(ready, key=lambda opened: opened.began), 0.0
        return None, min([IDLE_SECONDS, *waits.values()])

    def _take_turn(self, opened: OpenedModel, batch: Sequence[GenerationRequest]) -> None:
        """Let one model continue its texts."""
        began = opened.began = time.monotonic()
        error, pieces, training = "", [""] * len(batch), False
        try:
            training = self._is_training()
            opened.decoder  # noqa: B018  made ready first, which is not counted as generating
            began = time.monotonic()
            pieces = self._generate(opened, batch, PACED_STEPS if training else MOST_STEPS)
        except Exception as problem:
            log.exception("a model failed to generate")
            error = str(problem) or type(problem).__name__
        seconds = time.monotonic() - began
        if training:
            opened.due = began + max(map(len, pieces)) / PACE
            self._rest_until = began + min(seconds / CORE_SHARE, seconds + LONGEST_REST)
        with self._changed:
            for request, piece in zip(batch, pieces, strict=True):
                had_begun = request.has_begun()
                request.add(piece, seconds)
                if error or request.stream.done:
                    self._end(request, error or request.stream.error)
                elif not had_begun:
                    request.notify()

    def _generate(self, opened: OpenedModel, batch: Sequence[GenerationRequest], most: int) -> list[str]:
        """As many tokens of each text as fit into a turn; returns what is new in each."""
        streams = [request.stream for request in batch]
        width = sum(stream.config.beams for stream in streams)
        steps = max(1, min(most, int(TURN_SECONDS / (opened.token_seconds * width))))
        began = time.monotonic()
        pieces = opened.decoder.decode(streams, steps)
        opened.token_seconds = (time.monotonic() - began) / (steps * width)
        return pieces
