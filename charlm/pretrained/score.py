"""What a text costs a pretrained model, exactly: the sum of -log2 p over the text's tokens, divided by its characters.

The text is tokenized once, as a whole, and the tokens must decode to exactly that text. The first token is predicted
after the one that begins a text (BOS), every other one after it and the tokens before. Where the text is longer than
WINDOW tokens, it is read in windows that overlap by half: each begins with BOS, its first half is read again without
being counted, and each token is counted once, with at least WINDOW - STRIDE - 1 tokens before it.

A text can be written with other tokens, too, and the model's probability of the text is the sum over all of them, while
only one is counted: so this is an upper bound of its bits per character (Cao and Rimell 2021). Special tokens, which no
text has, keep their share of the probability, which raises it a little more.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from charlm.errors import MeasurementError

if TYPE_CHECKING:
    from charlm.analysis.measurement import Progress
    from charlm.pretrained.decoder import Reader
    from charlm.pretrained.model import Pretrained
    from charlm.pretrained.tokenizer import PretrainedTokenizer

WINDOW = 1024  # tokens, BOS among them; less where the model's context is shorter
PIECE = 128  # tokens read at a time: their logits over a large vocabulary take memory
SHOWN = 24  # characters of a difference in a sentence


@dataclass(frozen=True)
class Score:
    """What a text, or its beginning, costs a model.

    Attributes:
        bits: of all tokens.
        tokens: of the text.
        characters: of the text.
        window: tokens that are read together.
        stride: tokens from one window to the next.
    """

    bits: float
    tokens: int
    characters: int
    window: int
    stride: int

    @property
    def bits_per_char(self) -> float:
        """An upper bound; see above."""
        return self.bits / self.characters

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"bits_per_char": self.bits_per_char, "nats_per_token": self.bits * math.log(2) / self.tokens} | {
            name: value for name, value in asdict(self).items() if name != "bits"
        }


def measure(model: "Pretrained", text: str) -> "Iterator[Progress[Score]]":
    """Score a text.

    Args:
        model: reads it.
        text: at least one token.

    Yields:
        After each piece of PIECE tokens the share that is done, and the score so far, of the text's beginning; of the
        whole text with share 1.

    Raises:
        MeasurementError: the text is empty, its tokens do not decode to it, or the model's numbers are not finite.
    """
    from charlm.analysis.measurement import Progress

    if not text:
        raise MeasurementError(f"there is no text for {model.label} to read")
    tokenizer = model.tokenizer
    ids: list[int] = tokenizer.encode(text).tolist()
    check_exact(model.label, tokenizer, ids, text)
    window = min(WINDOW, model.context)
    stride = max(1, window // 2)
    bits, counted, characters = 0.0, 0, 0
    for piece, costs in _costs(model, ids, window, stride):
        if not all(map(math.isfinite, costs)):
            raise MeasurementError(f"the numbers of {model.label} are not finite on this text; it cannot be scored")
        bits, counted = bits + math.fsum(costs), counted + len(piece)
        is_last = counted == len(ids)
        characters = len(text) if is_last else characters + len(tokenizer.spelled(piece))
        yield Progress(counted / len(ids), Score(bits, counted, max(1, characters), window, stride))


def check_exact(label: str, tokenizer: "PretrainedTokenizer", ids: Sequence[int], text: str) -> None:
    """Refuse a text that is not what its tokens stand for: the sum would be of another text.

    Args:
        label: of the model.
        tokenizer: the model's.
        ids: of the text.
        text: to be scored.

    Raises:
        MeasurementError: names the first place that differs.
    """
    back = tokenizer.spelled(ids)
    if back == text:
        return
    pairs = enumerate(zip(text, back, strict=False))
    at = next((place for place, (one, other) in pairs if one != other), min(len(text), len(back)))
    raise MeasurementError(
        f"the tokens of {label} do not decode to exactly this text: {text[at : at + SHOWN]!r} at character {at + 1:,} "
        f"comes back as {back[at : at + SHOWN]!r}, so its bits would be those of another text; score it on a text that "
        "its tokenizer keeps as it is"
    )


def _costs(
    model: "Pretrained", ids: Sequence[int], window: int, stride: int
) -> Iterator[tuple[Sequence[int], list[float]]]:
    """The ids in their order, a piece at a time, and the bits that each costs."""
    from charlm.pretrained.decoder import Reader

    done = 0
    while done < len(ids):
        first = max(0, done + stride - (window - 1)) if done else 0  # of the ids that this window reads
        end = min(len(ids), first + window - 1)
        reader = Reader(model.network)
        before, start = [model.tokenizer.begin, *ids[first:done]], done  # read, and not counted
        while start < end:
            piece = ids[start : min(end, start + PIECE)]
            yield piece, _read(reader, before, piece)
            before, start = [piece[-1]], start + len(piece)
        done = end


def _read(reader: "Reader", before: Sequence[int], piece: Sequence[int]) -> list[float]:
    """Read ids up to the last but one of a piece; the bits that each id of the piece costs.

    Args:
        reader: has read all but `before`.
        before: ids that come first, at least one.
        piece: ids that are counted.
    """
    import torch

    for at in range(0, len(before) - 1, PIECE):
        reader.read(before[at : min(at + PIECE, len(before) - 1)])
    logits = reader.read([before[-1], *piece[:-1]], len(piece))  # (N, V): one row for each id of the piece
    costs = torch.nn.functional.cross_entropy(logits.double(), torch.tensor(list(piece)), reduction="none")
    return (costs / math.log(2)).tolist()
