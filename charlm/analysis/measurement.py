"""What the measurements of `charlm inspect` and the Understand tab share: what is measured, and how a result grows.

A measurement is a module of this folder with

- `Settings`, a Config: how it is measured,
- a TypedDict of what it finds, which is also what its endpoint and `--json` return,
- `measure(subject, settings)`, which yields how far it is and what it has found so far,
- `finding(found)`, the one sentence with its number over one or several models,
- `rows(result)`, the table behind the picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from charlm.architectures import ARCH_NAMES
from charlm.tokenizers import IdArray, Tokenizer

if TYPE_CHECKING:
    from charlm.models import LanguageModel

Result = TypeVar("Result")


@dataclass(frozen=True)
class Subject:
    """A trained model and the text that it is measured on.

    Attributes:
        model: in evaluation mode, on a CPU.
        tokenizer: its own.
        text: held out of its training, or pasted.
        ids: of the text, (N,); characters that the model does not know are left out.
        training_text: what it learned from; empty where that is no longer available.
        seq_len: tokens of a training sequence; 0 where that is not known.
        initial: makes the model as it was before its training; None where that is not known.
        snapshots: steps at which its weights were kept, ascending.
        at: opens the model as it was at one of `snapshots`.
    """

    model: "LanguageModel"
    tokenizer: Tokenizer
    text: str
    ids: IdArray
    training_text: str = ""
    seq_len: int = 0
    initial: "Callable[[], LanguageModel] | None" = None
    snapshots: Sequence[int] = ()
    at: "Callable[[int], LanguageModel] | None" = None


class Progress(NamedTuple, Generic[Result]):
    """How far a measurement is.

    Attributes:
        share: of its work that is done, 0 to 1; 1 comes last, with the result.
        result: found so far, good enough to be drawn; None: nothing yet.
    """

    share: float
    result: Result | None = None


@dataclass(frozen=True)
class Measured(Generic[Result]):
    """What was found of one model.

    Attributes:
        label: what to call the model; no two of one picture have the same.
        arch: a key of ARCHITECTURES.
        result: see the measurement's module.
        seq_len: tokens of a training sequence; 0 where that is not known.
        unit: what its tokens are, in the plural: characters, words, subwords.
    """

    label: str
    arch: str
    result: Result
    seq_len: int = 0
    unit: str = "characters"

    @property
    def name(self) -> str:
        """What a sentence calls it: `the LSTM`, `the GRU on words`; by its label, as it is, a run that has its own."""
        return f"the {self.label}" if self.label.split(" on ")[0] in ARCH_NAMES.values() else self.label


def capital(sentence: str) -> str:
    """A sentence that begins with a capital letter, unless it begins with the name of a run."""
    return f"{sentence[0].upper()}{sentence[1:]}" if sentence.startswith(("the ", "in ")) else sentence


def listed(words: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
