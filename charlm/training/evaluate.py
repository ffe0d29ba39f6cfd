"""How well a model predicts a text: nats per token, perplexity, bits per character."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from charlm.data.dataset import validation_row_count, validation_rows
from charlm.errors import CorpusError, Halted
from charlm.models import LanguageModel, State
from charlm.models.kernels.cross_entropy import are_many
from charlm.models.kernels.plan import team
from charlm.tokenizers import IdArray
from charlm.training.device import choose

# Tokens a row and forward pass: enough to amortise a call, little enough to keep the logits small.
CHUNK = 250


@dataclass(frozen=True)
class Evaluation:
    """Scores over `tokens` predicted tokens that stand for `characters` characters of text.

    `standard_error` is that of the loss, in nats per token, from how much the blocks of the text differ, so that
    correlation between neighbours counts; NaN where there is one block only.
    """

    nats_per_token: float
    tokens: int
    characters: float
    standard_error: float = math.nan

    @property
    def perplexity(self) -> float:
        """exp of the loss; infinite where that is beyond floating point."""
        return math.exp(self.nats_per_token) if self.nats_per_token < 700 else math.inf

    @property
    def bits_per_char(self) -> float:
        """Comparable between tokenizers; not a number where the tokens stand for no text."""
        return self.nats_per_token * self.tokens / self.characters / math.log(2) if self.characters else math.nan


def evaluate(
    model: LanguageModel,
    ids: IdArray,
    characters: int | None = None,
    threads: int = 1,
    halted: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Mean loss over a whole text, dropout off.

    The text is cut into contiguous rows of about 6,000 tokens (1 to 64 rows), each from the zero state, the state
    carried along the row. Products are in float32; where tokens are many, in bfloat16 if the processor is fast at it,
    which takes half the time and changes the mean by less than 0.002 nats (`python -m charlm bench softmax`).

    Args:
        model: put back into the mode it was in.
        ids: (N,), at least 2; read a piece at a time, so they may be mapped.
        characters: how many characters the ids stand for; as many as ids if not given. The first id is not predicted,
            so its share of them does not count.
        threads: how many share the rows.
        halted: asked between pieces; whether to break off.

    Raises:
        CorpusError: nothing to predict.
        Halted: `halted` said so.
    """
    if len(ids) < 2:
        raise CorpusError(f"an evaluation needs at least 2 known tokens; this text has {len(ids)}")
    device = model.device
    was_training = model.training
    model.eval()
    scorer = copy.copy(model)
    if are_many(model.config.vocab_size):
        rows = validation_row_count(len(ids))
        scorer.eval_precision = model.precision or choose(model.config, rows, device.type).dtype
    states: Sequence[State | None] = [None] * threads
    blocks: list[tuple[float, int]] = []
    with team(threads) as share_out:
        for piece in validation_rows(ids, CHUNK):
            if halted():
                model.train(was_training)
                raise Halted
            inputs, targets = (torch.from_numpy(part).to(device).chunk(threads) for part in piece)  # (R / threads, C)
            scores = share_out(partial(_score, scorer), inputs, targets, states)
            losses, states = zip(*scores, strict=True)
            blocks += zip(losses, (int((part >= 0).sum()) for part in targets), strict=True)
    model.train(was_training)
    tokens = len(ids) - 1
    predicted = tokens if characters is None else characters * tokens / len(ids)
    return Evaluation(math.fsum(loss for loss, _ in blocks) / tokens, tokens, predicted, standard_error(blocks))


def standard_error(blocks: Sequence[tuple[float, int]]) -> float:
    """That of a mean loss, as a ratio of sums between clusters (Cochran 1977, 6.4); NaN for fewer than two blocks.

    Args:
        blocks: summed loss and number of tokens of each.
    """
    known = [block for block in blocks if block[1]]
    if len(known) < 2:
        return math.nan
    tokens = sum(count for _, count in known)
    mean = math.fsum(loss for loss, _ in known) / tokens
    squares = math.fsum((loss - mean * count) ** 2 for loss, count in known)
    return math.sqrt(squares * len(known) / (len(known) - 1)) / tokens


@torch.no_grad()
def _score(model: LanguageModel, inputs: Tensor, targets: Tensor, state: State | None) -> tuple[float, State]:
    """Summed loss of some rows, and the state after them; targets of -1 do not count."""
    loss, state = model.loss(inputs, targets, state)
    return loss.item(), state
