"""How well a model predicts a text: nats per token, perplexity, bits per character."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from charlm.data.batches import validation_row_count, validation_rows
from charlm.data.item_batches import evaluated_items
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
BLOCK_CHUNKS, MOST_BLOCKS, LEAST_BLOCK = 5, 128, 1_000


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
    border: int | None = None,
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
        border: the id between the items of a list: each is read after a border from the zero state, and the border
            after it predicted, so that all ids are; None: the text is no list.

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
    nothing: Sequence[State | None] = [None] * threads
    states = nothing
    sums, counts = list[Tensor](), list[Tensor]()  # (R,) of each chunk
    with team(threads) as share_out:
        pieces = ((False, *piece) for piece in validation_rows(ids, CHUNK))
        for begins, *piece in pieces if border is None else evaluated_items(ids, border, CHUNK):
            states = nothing if begins else states
            if halted():
                model.train(was_training)
                raise Halted
            inputs, targets = (torch.from_numpy(part).to(device).chunk(threads) for part in piece)  # (R / threads, C)
            scores = share_out(partial(_score, scorer), inputs, targets, states)
            losses, states = zip(*scores, strict=True)
            sums.append(torch.cat(losses))
            counts.append((torch.cat(targets) >= 0).sum(1))
    model.train(was_training)
    if border is not None:
        items = tuple((part.sum().item(), int(count.sum())) for part, count in zip(sums, counts, strict=True))
        blocks = _merged(items)
        return Evaluation(math.fsum(loss for loss, _ in blocks) / len(ids), len(ids), characters or len(ids), blocks)
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


def _merged(pieces: Blocks) -> Blocks:
    """Neighbouring pieces as blocks of LEAST_BLOCK tokens or more, at most MOST_BLOCKS."""
    least = max(LEAST_BLOCK, sum(count for _, count in pieces) / MOST_BLOCKS)
    blocks, loss, tokens = list[tuple[float, float]](), 0.0, 0.0
    for more, count in pieces:
        loss, tokens = loss + more, tokens + count
        if tokens >= least:
            blocks.append((loss, tokens))
            loss, tokens = 0.0, 0.0
    if tokens and blocks:
        last_loss, last_tokens = blocks.pop()
        loss, tokens = loss + last_loss, tokens + last_tokens
    return (*blocks, (loss, tokens)) if tokens else tuple(blocks)


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
