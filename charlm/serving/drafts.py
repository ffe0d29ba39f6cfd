"""What a reader sees of a text in the making, and texts that are there already, to be gone on with."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from charlm.serving.scribe import Text

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
