"""What a reader sees of a text in the making."""

from dataclasses import dataclass, field, replace

from charlm.serving.scribe import Text


@dataclass(frozen=True)
class Draft:
    """A text in the making.

    Attributes:
        prompt: what the model knows of the prompt.
        text: what it has written.
        skipped: characters of the prompt that it does not know.
        unknown: words of the prompt that are not in its vocabulary; it reads each as `<unk>`.
        chars_per_second: how fast it writes.
        done: whether it has ended.
        error: why it ended early.
    """

    prompt: str
    text: str = ""
    skipped: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    chars_per_second: float = 0.0
    done: bool = False
    error: str = ""


def drafted(draft: Draft, text: Text) -> Draft:
    """The draft brought up to date."""
    done = text.done  # asked first: what is said to be done is whole
    speed = len(text.text) / text.seconds if text.seconds else 0.0
    return replace(draft, text=text.text, chars_per_second=speed, done=done, error=text.error)
