"""The n-gram as an architecture: it is counted, not trained, and its weights are the counted tokens."""

from dataclasses import replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from charlm.config import ModelConfig
from charlm.models.base import LanguageModel, State
from charlm.models.kneser_ney import Array, KneserNey

# Block sizes that bound memory: numbers of a block of probabilities over all tokens, tokens of a block of losses.
BLOCK, READ = 1 << 22, 1 << 16
# Bytes of the tables for each k-gram, and for each token while they are made; seconds for each token and level.
GRAM_BYTES, COUNTING_BYTES, LEVEL_SECONDS = 20, 48, 1.3e-7
SLICES = 12  # parts that a text is counted in, with a validation after each


class NGramModel(LanguageModel):
    """Interpolated modified Kneser-Ney (models/kneser_ney.py) of `config.order` over the tokens it has counted.

    The tables are computed from `ids` when they are first needed, so that a file holds one small number a token and its
    shape follows from `config.counted`. The state is the numbers of the last 1 to order - 1 tokens as k-grams, 0 where
    they do not occur; it is invalid once the model has counted more.

    Attributes:
        ids: (config.counted,) in the smallest type; the first `seen` are counted.
        seen: how many, int64.
    """

    ids: Tensor
    seen: Tensor

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__(config, seed)
        kind = torch.uint8 if config.vocab_size <= 1 << 8 else torch.uint16 if config.vocab_size <= 1 << 16 else None
        self.register_buffer("ids", torch.zeros(config.counted, dtype=kind or torch.int32))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @cached_property
    def tables(self) -> KneserNey:
        """The tables of the tokens counted so far."""
        return KneserNey(self._counted(), self.config.vocab_size, self.config.order)

    def _counted(self, last: int | None = None) -> Array:
        """The tokens counted so far, or the last ones of them."""
        seen = int(self.seen)
        first = 0 if last is None else max(0, seen - last)
        counted: Array = self.ids[first:seen].cpu().numpy()
        return counted

    def count(self, ids: Array) -> float:
        """Count more tokens and compute the tables again.

        Returns:
            The loss on these tokens before they were counted, in nats per token.
        """
        before, seen = self._counted(self.config.order - 1), int(self.seen)
        loss = self._summed_loss(np.concatenate([before, ids]).astype(np.int64), len(before))
        self.ids[seen : seen + len(ids)] = torch.from_numpy(ids.astype(before.dtype))
        self.seen += len(ids)
        vars(self).pop("tables", None)
        self.prepare()  # now, so that this time counts as counting
        return loss / len(ids)

    def grow(self, more: int) -> None:
        """Make room to count `more` tokens."""
        seen = int(self.seen)
        self.config = replace(self.config, counted=seen + more)
        self.ids = torch.cat([self.ids[:seen], self.ids.new_zeros(more)])

    def _summed_loss(self, ids: Array, known: int) -> float:
        """The loss in nats of all tokens but the first `known`."""
        tables, loss = self.tables, 0.0
        ends = tables.read(ids[None, :known], tables.initial(1))[:, :, -1]
        for first in range(known, len(ids), READ):
            block = ids[None, first : first + READ]
            after = tables.read(block, ends)
            loss -= float(np.log(tables.probabilities(after[:, :, :-1], block)).sum())
            ends = after[:, :, -1]
        return loss

    def initial_state(self, batch_size: int) -> State:
        return (self.seen.new_zeros((1, batch_size, self.config.order - 1)),)

    def _read(self, ids: Tensor, state: State | None) -> tuple[Array, State]:
        """The ends after each of ids (B, T), (order, B, T), and the state after the last."""
        before = self.tables.initial(len(ids))
        if state is not None:
            before[1:] = state[0][0].t().cpu().numpy()
        after = self.tables.read(ids.cpu().numpy(), before)
        return after[:, :, 1:], (torch.from_numpy(after[1:, :, -1].T[None].copy()).to(ids.device),)

    @torch.no_grad()
    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """See `LanguageModel.forward`; the logits are logarithms of probabilities."""
        ends, state = self._read(ids, state)
        flat, vocab_size = ends.reshape(len(ends), -1), self.config.vocab_size
        logits = np.empty((ids.numel(), vocab_size), np.float32)
        for first in range(0, len(logits), BLOCK // vocab_size + 1):
            part = slice(first, first + BLOCK // vocab_size + 1)
            np.log(self.tables.distributions(flat[:, part]), out=logits[part], casting="same_kind")
        return torch.from_numpy(logits).to(ids.device).view(*ids.shape, vocab_size), state

    @torch.no_grad()
    def loss(self, ids: Tensor, targets: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """See `LanguageModel.loss`; only the targets' probabilities are looked up."""
        losses, state = self.token_losses(ids, targets, state)
        return torch.tensor(losses.cpu().numpy().sum(), dtype=torch.float32, device=ids.device), state

    @torch.no_grad()
    def token_losses(self, ids: Tensor, targets: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """See `LanguageModel.token_losses`; in float64."""
        ends, state = self._read(ids, state)
        wanted = targets.cpu().numpy()
        counts = wanted >= 0
        p = self.tables.probabilities(ends[:, counts], wanted[counts])
        return torch.from_numpy(-np.log(p)).to(ids.device), state

    def prepare(self) -> None:
        self.tables  # noqa: B018

    def check(self) -> None:
        if not 0 <= int(self.seen) <= self.config.counted:
            raise ValueError(f"it claims to have counted {int(self.seen):,} of {self.config.counted:,} tokens")
        ids = self._counted()
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self.config.vocab_size:
            raise ValueError(f"it has counted tokens that are not among its {self.config.vocab_size:,}")

    @property
    def num_parameters(self) -> int:
        """The number of tokens it holds, which determine everything else."""
        return self.config.counted

    @classmethod
    def macs_per_token(cls, config: ModelConfig) -> int:
        return 0

    @classmethod
    def activations(cls, config: ModelConfig) -> int:
        return 0

    @classmethod
    def training_bytes(cls, config: ModelConfig) -> int:
        """Peak memory of counting: no text has more different k-grams than places, nor than there can be."""
        grams = sum(min(config.vocab_size**k, config.counted) for k in range(1, config.order + 1))
        return COUNTING_BYTES * config.counted + GRAM_BYTES * int(grams)

    @classmethod
    def training_seconds(cls, config: ModelConfig) -> float:
        """Approximate time of counting: the tables are computed again after each slice."""
        return LEVEL_SECONDS * config.counted * config.order * (SLICES + 1) / 2


def slice_ends(steps: int) -> list[int]:
    """The steps after which an n-gram's slices end, of so many in the text."""
    ends = [round(steps * part / SLICES) for part in range(SLICES + 1)]
    return [end for before, end in pairwise(ends) if end > before]
