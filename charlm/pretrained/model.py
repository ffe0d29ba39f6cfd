"""A pretrained model as columns, commands and programs know it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from charlm.config import SampleConfig
from charlm.errors import JobError
from charlm.files import one_line
from charlm.pretrained.score import Score
from charlm.pretrained.tokenizer import PretrainedTokenizer

if TYPE_CHECKING:
    from charlm.analysis.measurement import Progress
    from charlm.pretrained.decoder import PretrainedDecoder

KIND = "pretrained"  # stands where a run has its architecture and what its tokens are
MAY_KNOW = (
    "It may have read this text in its training; its score then says how well it remembers, not how well it guesses"
)


@dataclass(eq=False)
class Pretrained:
    """A causal language model of the package transformers, in memory. It is no run: it has no training here.

    What a column reads of a run it has, too: `label`, `arch`, `level`, `num_parameters`, `bits_per_char` and so on.

    Attributes:
        run_id: its id among the models that are loaded.
        label: the last part of where it came from.
        source: where it came from: a folder, a .gguf file, or owner/name on the Hub.
        network: transformers' module, in evaluation mode, float32, on the CPU.
        tokenizer: its own.
        context: the most tokens that it looks back on here.
        shape: layers × width.
        num_parameters: of all its weights; tied ones count once.
        scored: what it was scored on last, in words, and the score; None: nothing yet.
    """

    run_id: str
    label: str
    source: str
    network: Any
    tokenizer: PretrainedTokenizer
    context: int
    shape: str
    num_parameters: int
    scored: tuple[str, Score] | None = None

    arch: ClassVar[str] = KIND
    level: ClassVar[str] = KIND
    best_val_loss: ClassVar[None] = None  # of other tokens than a run's; see `scored`
    corpus: ClassVar[Mapping[str, Any]] = {}
    imported: ClassVar[Mapping[str, Any]] = {"format": KIND}
    step: ClassVar[int] = 0  # of a training here
    has_learned: ClassVar[bool] = True

    @cached_property
    def decoder(self) -> "PretrainedDecoder":
        """Writes its texts."""
        from charlm.pretrained.decoder import PretrainedDecoder

        return PretrainedDecoder(self)

    def bits_per_char(self, loss: float | None = None) -> float | None:
        """Those of its last score, an upper bound; None: it was not scored.

        Args:
            loss: without effect; a run's loss is converted.
        """
        return self.scored[1].bits_per_char if self.scored else None

    @property
    def note(self) -> str:
        """What is to be said of its score beside others."""
        if self.scored is None:
            return "Pretrained elsewhere; not scored yet."
        return f"Bits per character on {self.scored[0]}, an upper bound. {MAY_KNOW}."

    @property
    def size(self) -> str:
        """`30 × 576, 134.5 million parameters`."""
        return f"{self.shape}, {self.num_parameters / 1e6:,.1f} million parameters"

    def generate(self, prompt: str = "", config: SampleConfig | None = None) -> Iterator[str]:
        """Yield the text after `prompt`, a piece at a time; the same seed and settings give the same text.

        Args:
            prompt: read after the token that begins a text.
            config: how it is written; `length` counts characters. Beam search is for runs.

        Raises:
            JobError: beams are asked for, or the model's numbers are not finite.
        """
        from charlm.generation import Stream

        stream = Stream.start(self.tokenizer, prompt, config or SampleConfig())
        while not stream.done:
            [piece] = self.decoder.decode([stream], 1)
            if piece:
                yield piece
        if stream.error:
            raise JobError(stream.error)

    def score(self, text: str) -> "Iterator[Progress[Score]]":
        """What a text costs it in bits per character; see `charlm.pretrained.score.measure`."""
        from charlm.pretrained.score import measure

        return measure(self, text)


def first_line(error: BaseException, most: int = 200) -> str:
    """The beginning of what a library says, as one line."""
    said = str(error).strip().splitlines() or [type(error).__name__]
    return one_line(said[0], most)
