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
from charlm.training.metrics import Blocks

# Tokens a row and forward pass: enough to amortise a call, little enough to keep the logits small.
CHUNK = 250
# A text's losses are summed by blocks: contiguous, of so many chunks or more (the last of a row may be short) where a
# row has them, at most so many.
BLOCK_CHUNKS, MOST_BLOCKS = 5, 128


@dataclass(frozen=True)
class Evaluation:
    """Scores over `tokens` predicted tokens that stand for `characters` characters of text.

    `blocks` are pieces of the text of 1,000 tokens or more, where it has as many. `standard_error` is that of the loss,
    in nats per token, from how much they differ, so that correlation between neighbours counts; NaN where there is one
    only.
    """

    nats_per_token: float
    tokens: int
    characters: float
    blocks: Blocks = ()

    @property
    def standard_error(self) -> float:
        """See above."""
        return standard_error(self.blocks)

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
    sums, counts = list[Tensor](), list[Tensor]()  # (R,) of each chunk
    with team(threads) as share_out:
        for piece in validation_rows(ids, CHUNK):
            if halted():
                model.train(was_training)
                raise Halted
            inputs, targets = (torch.from_numpy(part).to(device).chunk(threads) for part in piece)  # (R / threads, C)
            scores = share_out(partial(_score, scorer), inputs, targets, states)
            losses, states = zip(*scores, strict=True)
            sums.append(torch.cat(losses))
            counts.append((torch.cat(targets) >= 0).sum(1))
    model.train(was_training)
    blocks, tokens = _blocks(torch.stack(sums, 1), torch.stack(counts, 1)), len(ids) - 1
    predicted = tokens if characters is None else characters * tokens / len(ids)
    return Evaluation(math.fsum(loss for loss, _ in blocks) / tokens, tokens, predicted, blocks)


def _blocks(sums: Tensor, counts: Tensor) -> Blocks:
    """Chunks (R, C) of the rows of a text as blocks, none of which crosses the end of a row."""
    rows, chunks = sums.shape
    each = max(1, min(chunks // BLOCK_CHUNKS, MOST_BLOCKS // rows))  # blocks a row
    parts = zip(sums.tensor_split(each, 1), counts.tensor_split(each, 1), strict=True)
    losses, tokens = zip(*((loss.sum(1), count.sum(1)) for loss, count in parts), strict=True)
    of_all = zip(torch.stack(losses, 1).flatten().tolist(), torch.stack(tokens, 1).flatten().tolist(), strict=True)
    return tuple((loss, count) for loss, count in of_all if count)


def standard_error(blocks: Blocks) -> float:
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
def _score(model: LanguageModel, inputs: Tensor, targets: Tensor, state: State | None) -> tuple[Tensor, State]:
    return model.row_losses(inputs, targets, state)
