"""The one thread that writes all texts of this process: those of one model in a batch, the models in turn."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from charlm.config import SampleConfig
from charlm.tokenizers import Tokenizer

if TYPE_CHECKING:
    from charlm.generation import Decoder
    from charlm.models import LanguageModel

log = logging.getLogger(__name__)

# A model writes for about this long before the next one's turn, in seconds, and at most so many tokens a text.
TURN_SECONDS = 0.02
MOST_STEPS = 64
# Texts of one model written beside each other; more wait until one of them ends.
MOST_ROWS = 64
# A text that is so many characters ahead of its reader waits for it.
AHEAD = 4096
# While a training runs: how many characters a second are written, faster than anyone reads; how many at a time; and
# which share of one core all texts together may have.
PACE = 400
PACED_STEPS = 24
CORE_SHARE = 0.3
# The thread ends after so many seconds without work.
IDLE_SECONDS = 5.0
# What the first turn of a model is planned with: seconds a token takes.
FIRST_GUESS = 0.001
CLOSED = "the program is about to end"


class OpenedModel:
    """A model in memory, and what its readers wait for.

    Args:
        model: never changed.
        tokenizer: the model's own.
    """

    def __init__(self, model: "LanguageModel", tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.texts: list[Text] = []  # unfinished ones, first come first
        self.began = self.due = 0.0  # when its last turn began, and when the next one may
        self.token_seconds = FIRST_GUESS

    @cached_property
    def writer(self) -> "Decoder":
        """Made ready when the first text is written."""
        from charlm.generation import decoder_for

        return decoder_for(self.model)

    def rows(self) -> "list[Text]":
        """The texts that are written now."""
        return [text for text in self.texts if text.is_wanted()][:MOST_ROWS]


@dataclass(eq=False)
class Text:
    """One text for one reader.

    Attributes:
        opened: the model that writes it.
        stream: its place in the model.
        text: what is written.
        taken: how many characters of it the reader has.
        seconds: that the model worked on it.
        error: why it ended early.
        reader: notified when it begins and when it ends; None while nobody waits.
    """

    opened: OpenedModel
    stream: Any
    text: str = ""
    taken: int = 0
    seconds: float = 0.0
    error: str = ""
    done: bool = False
    reader: threading.Condition | None = None

    def tell(self) -> None:
        """Wake its reader; called with the lock."""
        if self.reader is not None:
            self.reader.notify_all()

    def is_wanted(self) -> bool:
        """Whether its reader keeps up."""
        return len(self.text) - self.taken < AHEAD


class Scribe:
    """Writes texts in a thread that begins with the first one and ends when there has been nothing to do for a while.

    Args:
        is_training: asked at every turn; while it says yes, texts are written no faster than they can be read.
    """

    def __init__(self, is_training: Callable[[], bool]) -> None:
        self._is_training = is_training
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)  # for the thread; every reader has a condition of its own
        self._opened: list[OpenedModel] = []  # those with unfinished texts
        self._thread: threading.Thread | None = None
        self._rest_until = 0.0
        self._closing = False

    def begin(self, opened: OpenedModel, prompt: str, config: SampleConfig, sample: int = 0, before: str = "") -> Text:
        """Have a text written; it goes on until it is done, or the reader leaves.

        Args:
            opened: the model that writes it.
            prompt: read first.
            config: how it is written.
            sample: which of several texts it is; each has a seed of its own.
            before: what is written of it already, read again.
        """
        from charlm.generation import Stream

        text = Text(opened, Stream.start(opened.tokenizer, prompt, config, config.seed + sample, before))
        with self._changed:
            if self._closing:
                self._end(text, CLOSED)
                return text
            opened.texts.append(text)
            if opened not in self._opened:
                self._opened.append(opened)
            self._wake()
        return text

    def leave(self, texts: Iterable[Text]) -> None:
        """Nobody reads these any more."""
        with self._changed:
            for text in texts:
                self._end(text)

    def wait(self, texts: Iterable[Text], until: Callable[[], bool], seconds: float) -> None:
        """Take what is written of these texts, once `until` is true or the time is up.

        `until` is asked when one of them begins or ends: a crowd of readers that all woke at every turn would cost a
        training beside them most of its time.
        """
        texts, reader = list(texts), threading.Condition(self._lock)
        with self._changed:
            for text in texts:
                text.reader = reader
            reader.wait_for(until, seconds)
            waited_for = any(not text.is_wanted() for text in texts)
            for text in texts:
                text.taken, text.reader = len(text.text), None
            if waited_for:
                self._wake()

    def close(self) -> None:
        """End the thread; what is unfinished stays so."""
        with self._changed:
            self._closing = True
            for opened in list(self._opened):
                for text in list(opened.texts):
                    self._end(text, CLOSED)
            self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def _wake(self) -> None:
        """Let the thread look for work; called with the lock."""
        if self._opened and not self._closing and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="charlm-writing", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _end(self, text: Text, error: str = "") -> None:
        """Take a text from its model's list; called with the lock."""
        text.error = text.error or error
        text.done = True
        text.tell()
        if text in text.opened.texts:
            text.opened.texts.remove(text)
        if not text.opened.texts and text.opened in self._opened:
            self._opened.remove(text.opened)

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
                rows = opened.rows()
            self._take_turn(opened, rows)
            idle_since = time.monotonic()

    def _next(self) -> tuple[OpenedModel | None, float]:
        """The model that has waited longest for its turn; or None, and how long to wait for one."""
        now = time.monotonic()
        waits = {opened: max(opened.due, self._rest_until) - now for opened in self._opened if opened.rows()}
        ready = [opened for opened, wait in waits.items() if wait <= 0]
        if ready:
            return min(ready, key=lambda opened: opened.began), 0.0
        return None, min([IDLE_SECONDS, *waits.values()])

    def _take_turn(self, opened: OpenedModel, rows: list[Text]) -> None:
        """Let one model write on at its texts."""
        began = opened.began = time.monotonic()
        error, pieces, training = "", [""] * len(rows), False
        try:
            training = self._is_training()
            opened.writer  # noqa: B018  made ready first, which is no writing
            began = time.monotonic()
            pieces = self._write(opened, rows, PACED_STEPS if training else MOST_STEPS)
        except Exception as problem:
            log.exception("a model failed to write")
            error = str(problem) or type(problem).__name__
        seconds = time.monotonic() - began
        if training:
            opened.due = began + max(map(len, pieces)) / PACE
            self._rest_until = began + seconds / CORE_SHARE
        with self._changed:
            for text, piece in zip(rows, pieces, strict=True):
                begins = not text.text
                text.text += piece
                text.seconds += seconds
                if error or text.stream.done:
                    self._end(text, error or text.stream.error)
                elif begins:
                    text.tell()

    def _write(self, opened: OpenedModel, rows: list[Text], most: int) -> list[str]:
        """As many tokens of each text as fit into a turn; returns what is new in each."""
        streams = [text.stream for text in rows]
        width = sum(stream.config.beams for stream in streams)
        steps = max(1, min(most, int(TURN_SECONDS / (opened.token_seconds * width))))
        began = time.monotonic()
        pieces = opened.writer.decode(streams, steps)
        opened.token_seconds = (time.monotonic() - began) / (steps * width)
        return pieces


# Characters of a text that a model reads again before it goes on.
READ_AGAIN = 4000


@dataclass(frozen=True)
class Begun:
    """A text that is there already.

    Attributes:
        prompt: what stands before it.
        text: what the model wrote, or was made to have written.
        sample: which of several it is, from 0 on; its seed follows from it.
    """

    prompt: str
    text: str
    sample: int = 0

    def end(self) -> tuple[str, str]:
        """Prompt and text as far as they are read again."""
        whole = (self.prompt + self.text)[-READ_AGAIN:]
        written = min(len(self.text), len(whole) - 1) if len(whole) == READ_AGAIN else len(self.text)
        return whole[: len(whole) - written], whole[len(whole) - written :]


@dataclass(frozen=True)
class Draft:
    """A text in the making.

    Attributes:
        prompt: what the model knows of the prompt.
        text: what is written.
        skipped: the characters of the prompt that the model does not know.
        unknown: the words of the prompt that are not in its vocabulary; it reads each as `<unk>`.
        before: how the text began, where it is one that goes on.
        chars_per_second: how fast it is written.
        done: whether nothing is to be added.
        error: why it ended early.
        more: further samples, the same of each.
    """

    prompt: str
    text: str = ""
    skipped: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    before: str = ""
    chars_per_second: float = 0.0
    done: bool = False
    error: str = ""
    more: tuple["Draft", ...] = ()

    @property
    def samples(self) -> tuple["Draft", ...]:
        """All samples, this one first."""
        return (self, *self.more)


def drafted(draft: Draft, texts: Sequence[Text]) -> Draft:
    """The draft brought up to date with the texts of its samples."""
    first, *more = (_grown(one, text) for one, text in zip(draft.samples, texts, strict=True))
    return replace(first, more=tuple(more))


def _grown(draft: Draft, text: Text) -> Draft:
    done = text.done  # asked first: what is said to be done is whole
    speed = len(text.text) / text.seconds if text.seconds else 0.0
    return replace(draft, text=draft.before + text.text, chars_per_second=speed, done=done, error=text.error)
