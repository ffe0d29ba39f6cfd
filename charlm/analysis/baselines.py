"""Baselines: what a text costs without a network, by guessing uniformly, compressing it, and counting its n-grams."""

import lzma
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from charlm.analysis.ppmd import Ppmd, ppmd_costs
from charlm.data.batches import validation_row_count, validation_rows
from charlm.errors import CorpusError, MeasurementError
from charlm.files import is_number
from charlm.models.kneser_ney import EMPTY, MAX_ORDER, UNSEEN, grams, level_of
from charlm.tokenizers import IdArray

COMPRESSED_FITTED = 1_200_000  # last characters of the training part that are used
COMPRESSED_SCORED = 200_000  # first characters of the held-out part that are used


def compression_costs(train_text: str, held_out_text: str) -> dict[str, float]:
    """Bits per character that the held-out text adds to the compressed training text, by gzip and by xz.

    (size(train + held-out) - size(train)) * 8 / held-out characters, both as UTF-8, gzip at level 9 and xz at preset 6.
    gzip looks back 32 KB, xz over all that is used here: of a large corpus only the last 1,200,000 characters of the
    training part and the first 200,000 of the held-out part, so that this takes seconds.

    Args:
        train_text: the training part; may be empty.
        held_out_text: the held-out part.

    Raises:
        CorpusError: nothing is held out.
    """
    if not held_out_text:
        raise CorpusError("nothing is held out, so baselines cannot be measured; hold out more than 0 of the text")
    held_out_text = held_out_text[:COMPRESSED_SCORED]
    train, held_out = (
        text.encode("utf-8", "surrogatepass") for text in (train_text[-COMPRESSED_FITTED:], held_out_text)
    )
    xz = len(lzma.compress(train + held_out)) - len(lzma.compress(train))
    return {name: size * 8 / len(held_out_text) for name, size in (("gzip", _gzip(train, held_out)), ("xz", xz))}


def _gzip(train: bytes, held_out: bytes) -> int:
    """Bytes that the held-out text adds; the training text is compressed once, then ended with and without it."""
    packer = zlib.compressobj(9, wbits=31)
    packer.compress(train)  # what it returns here is in both sizes
    alone = len(packer.copy().flush())
    return len(packer.compress(held_out)) + len(packer.flush()) - alone


FITTED = 2_500_000  # last tokens of the training part that are counted
SCORED = 250_000  # first tokens of the held-out part that are predicted
TIE = 0.0005  # nats: what three decimals cannot show


def ngram_losses(
    train_ids: IdArray, held_out_ids: IdArray, vocab_size: int, orders: int = MAX_ORDER, fitted: int = FITTED
) -> list[float]:
    """Nats per token of the held-out part under n-grams of order 1, 2, .. `orders`.

    Of a large corpus only the last `fitted` tokens of the training part and the first 250,000 of the held-out part are
    used, so that this takes seconds: one for half a million characters, some six at most.

    Args:
        train_ids: (N,), the training part.
        held_out_ids: (M,), the held-out part, cut into rows as a validation is.
        vocab_size: V.
        orders: how many, 1 or more.
        fitted: the most tokens that are counted.

    Raises:
        CorpusError: nothing to predict.
    """
    if len(held_out_ids) < 2:
        raise CorpusError("nothing is held out, so n-grams cannot be scored; hold out more than 0 of the text")
    held_out = held_out_ids[:SCORED]
    inputs, targets = next(validation_rows(held_out, len(held_out)))  # (R, C)
    p = np.full(inputs.shape, 1.0 / vocab_size)
    ends, start = np.full(inputs.shape, EMPTY, np.int64), EMPTY  # before the first token only the 0-gram is known
    losses = []
    for found in grams(train_ids[-fitted:], vocab_size, orders):
        highest = level_of(found, found.occurrences, vocab_size)
        hits = highest.find(ends, np.maximum(targets, 0), vocab_size)
        shares = highest.shares[hits] + highest.rests[ends] * p
        losses.append(float(-np.log(shares[targets >= 0]).mean()))
        if found.continuations is not None:
            lower = level_of(found, found.continuations, vocab_size)
            p = lower.shares[hits] + lower.rests[ends] * p
            before = np.concatenate([np.full((len(ends), 1), start), ends[:, :-1]], axis=1)
            ends, start = highest.find(before, inputs, vocab_size), UNSEEN
    return losses


def matched_order(losses: Sequence[float], loss: float) -> int:
    """The highest order of n-gram that a loss matches, with all lower ones: 0 if it is worse than the 1-gram's.

    Args:
        losses: of orders 1, 2, ..
        loss: of another model on the same text, in the same unit.
    """
    return next((order for order, ngram in enumerate(losses) if loss > ngram + TIE), len(losses))


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
        ppmd: the same under PPMd; None: it could not be measured, or is not yet.
        ppmd_missing: why not, a sentence without its full stop.
    """

    uniform: float
    gzip: float
    xz: float
    orders: tuple[float, ...]
    tokens_per_char: float
    whole: bool
    ppmd: Ppmd | None = None
    ppmd_missing: str = ""

    @property
    def best(self) -> int:
        """The order of the best n-gram, the lowest of equals."""
        return self.orders.index(min(self.orders)) + 1

    def matched_order(self, loss: float) -> int:
        """The highest order of n-gram that a loss matches, see the function of this name."""
        return matched_order(self.orders, loss)

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
        if not isinstance(value, Mapping):
            raise ValueError("these are no baselines")
        value = {**BEFORE_PPMD, **value}
        if value.keys() != cls.__dataclass_fields__.keys():
            raise ValueError("these are no baselines")
        orders, numbers = value["orders"], [value[name] for name in ("uniform", "gzip", "xz", "tokens_per_char")]
        if not isinstance(orders, list) or not 1 <= len(orders) <= MAX_ORDER or not isinstance(value["whole"], bool):
            raise ValueError("these are no baselines")
        if not all(is_number(number, 0) for number in (*orders, *numbers)):
            raise ValueError("these baselines are no numbers")
        if not value["tokens_per_char"] or not isinstance(value["ppmd_missing"], str):
            raise ValueError("these are no baselines")
        ppmd = None if value["ppmd"] is None else Ppmd.from_dict(value["ppmd"])
        return cls(**{**value, "orders": tuple(orders), "ppmd": ppmd})


BEFORE_PPMD = {"ppmd": None, "ppmd_missing": ""}  # what files of before do not have


def with_ppmd(found: Baselines, texts: tuple[str, str]) -> Baselines:
    """Baselines completed by what the text costs PPMd, or by why that cannot be measured here; takes seconds.

    As for the other compressors, of a large corpus only the last 1,200,000 characters of the training part and the
    first 200,000 of the held-out part are used.

    Args:
        found: of this text.
        texts: the training and the held-out part.
    """
    train, held_out = texts[0][-COMPRESSED_FITTED:], texts[1][:COMPRESSED_SCORED]
    rows = validation_row_count(round(len(held_out) * found.tokens_per_char))
    try:
        costs = ppmd_costs(train, held_out, rows)
    except MeasurementError as error:
        return replace(found, ppmd=None, ppmd_missing=str(error))
    return replace(found, ppmd=costs.scaled(LN2 / found.tokens_per_char), ppmd_missing="")


def measure(ids: tuple[IdArray, IdArray], texts: tuple[str, str], vocab_size: int, fitted: int = FITTED) -> Baselines:
    """The baselines of a text; takes seconds.

    Args:
        ids: the training and the held-out part.
        texts: the same as characters.
        vocab_size: V.
        fitted: the most tokens that are counted.

    Raises:
        CorpusError: nothing is held out.
    """
    orders = ngram_losses(*ids, vocab_size, fitted=fitted)
    per_char = len(ids[1]) / max(1, len(texts[1]))
    costs = {name: bits * LN2 / per_char for name, bits in compression_costs(*texts).items()}
    found = Baselines(
        uniform=math.log(vocab_size), gzip=costs["gzip"], xz=costs["xz"],
        orders=tuple(orders), tokens_per_char=per_char, whole=len(ids[0]) <= fitted,
    )  # fmt: skip
    return with_ppmd(found, texts)
