"""What a text costs without a network: guessing uniformly, compressing it, counting n-grams of it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from charlm.analysis.guessing import compression_costs
from charlm.analysis.ladder import FITTED, ladder, worth
from charlm.bounded_json import is_number
from charlm.models.kneser_ney import MAX_ORDER
from charlm.tokenizer import IdArray

LN2 = math.log(2)


@dataclass(frozen=True)
class Baselines:
    """Losses on a held-out text, in nats per token.

    Attributes:
        uniform: every token of the vocabulary alike, ln V.
        gzip, xz: what the held-out text adds to the compressed training text.
        orders: of the n-grams of order 1, 2, ..; at least one.
        tokens_per_char: of the held-out text, 1 where a token is a character.
        whole: whether all of the training text was counted.
    """

    uniform: float
    gzip: float
    xz: float
    orders: tuple[float, ...]
    tokens_per_char: float
    whole: bool

    @property
    def best(self) -> int:
        """The order of the best n-gram, the lowest of equals."""
        return self.orders.index(min(self.orders)) + 1

    def worth(self, loss: float) -> int:
        """The order of the n-gram that a loss is worth, see `charlm.analysis.ladder.worth`."""
        return worth(self.orders, loss)

    def bits(self, loss: float) -> float:
        """Nats per token as bits per character."""
        return loss * self.tokens_per_char / LN2

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` takes it back."""
        return {**asdict(self), "orders": list(self.orders)}

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """From JSON that `to_dict` made.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(value, Mapping) or value.keys() != cls.__dataclass_fields__.keys():
            raise ValueError("these are no baselines")
        orders, numbers = value["orders"], [value[name] for name in ("uniform", "gzip", "xz", "tokens_per_char")]
        if not isinstance(orders, list) or not 1 <= len(orders) <= MAX_ORDER or not isinstance(value["whole"], bool):
            raise ValueError("these are no baselines")
        if not all(is_number(number, 0) for number in (*orders, *numbers)):
            raise ValueError("these baselines are no numbers")
        return cls(**{**value, "orders": tuple(orders)})


def measure(ids: tuple[IdArray, IdArray], texts: tuple[str, str], vocab_size: int, fitted: int = FITTED) -> Baselines:
    """What a text costs; takes seconds.

    Args:
        ids: the training and the held-out part.
        texts: the same as characters.
        vocab_size: V.
        fitted: the most tokens that are counted.

    Raises:
        CorpusError: nothing is held out.
    """
    orders = ladder(*ids, vocab_size, fitted=fitted)
    per_char = len(ids[1]) / max(1, len(texts[1]))
    costs = {name: bits * LN2 / per_char for name, bits in compression_costs(*texts).items()}
    return Baselines(
        uniform=math.log(vocab_size),
        **costs,
        orders=tuple(orders),
        tokens_per_char=per_char,
        whole=len(ids[0]) <= fitted,
    )
