"""What n-grams of order 1, 2, 3 and so on make of a text: a ladder, on which a network's loss has its place.

Every rung is the loss of a model of its own (models/kneser_ney.py), measured as a validation is; all are counted in one
pass, since their lower levels are the same.
"""

from collections.abc import Sequence

import numpy as np

from charlm.dataset import validation_rows
from charlm.errors import CorpusError
from charlm.models.kneser_ney import EMPTY, MAX_ORDER, UNSEEN, Array, grams, level_of
from charlm.tokenizer import IdArray

FITTED = 2_500_000  # last tokens of the training part that are counted
SCORED = 250_000  # first tokens of the held-out part that are predicted
TIE = 0.0005  # nats: what three decimals cannot show


def ladder(
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
        losses.append(_mean_loss(highest.shares[hits] + highest.rests[ends] * p, targets))
        if found.continuations is not None:
            lower = level_of(found, found.continuations, vocab_size)
            p = lower.shares[hits] + lower.rests[ends] * p
            before = np.concatenate([np.full((len(ends), 1), start), ends[:, :-1]], axis=1)
            ends, start = highest.find(before, inputs, vocab_size), UNSEEN
    return losses


def _mean_loss(p: Array, targets: Array) -> float:
    return float(-np.log(p[targets >= 0]).mean())


def worth(losses: Sequence[float], loss: float) -> int:
    """The n-gram that a loss is worth: it is as good as that of this order and all lower ones, and not as the next.

    Args:
        losses: of orders 1, 2, ..
        loss: of another model on the same text, in the same unit.

    Returns:
        0: not as good as the 1-gram; len(losses): as good as all.
    """
    return next((order for order, rung in enumerate(losses) if loss > rung + TIE), len(losses))
