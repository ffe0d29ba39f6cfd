"""What every architecture offers, so that training, sampling and comparing need not know which one it is."""

from abc import ABC, abstractmethod
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.config import ModelConfig
from charlm.errors import ConfigError
from charlm.models.compiled import is_wanted
from charlm.models.cross_entropy import Sampler, are_many, output_loss
from charlm.models.recurrence import Buffers, Dropout, How

# What a model remembers between calls, as tensors whose dimension 1 is the batch: (L, B, H) each.
State = tuple[Tensor, ...]


class LanguageModel(nn.Module, ABC):
    """A model of the next token.

    Args:
        config: sizes and architecture; `vocab_size` must be at least 2.
        seed: for the first weights and for dropout, which have a generator of their own.

    Attributes:
        precision: number format of the products while training, and of the output's where tokens are many; None: as
            the weights are.
    """

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        if config.vocab_size < 2:
            raise ConfigError(f"vocab_size {config.vocab_size} is too small: a model needs at least 2 distinct tokens")
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)
        self.workspace = Buffers()
        self.precision: torch.dtype | None = None

    @abstractmethod
    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Ids (B, T) and the state after what came before -> logits (B, T, V) and the state after them."""

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """The state before the first token, all zero."""

    def loss(self, ids: Tensor, targets: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """What predicting costs.

        Args:
            ids: (B, T).
            targets: (B, T), the tokens that come next; those of -1 do not count.
            state: after what came before.

        Returns:
            The sum over the targets in nats, a scalar of float32, and the state after `ids`.
        """
        logits, state = self(ids, state)
        flat = logits.flatten(0, 1).float()
        return F.cross_entropy(flat, targets.reshape(-1), ignore_index=-1, reduction="sum"), state

    @classmethod
    @abstractmethod
    def products(cls, config: ModelConfig) -> int:
        """Multiplications a token takes in the forward pass."""

    @classmethod
    def step_products(cls, config: ModelConfig) -> int:
        """Those of them that a row of a batch makes before it has to wait for others."""
        return cls.products(config)

    @classmethod
    @abstractmethod
    def kept(cls, config: ModelConfig) -> int:
        """Numbers a token that a training keeps for the way back, the logits among them."""

    @property
    def num_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where its numbers are."""
        return next(chain(self.parameters(), self.buffers())).device

    def prepare(self) -> None:
        """Do now what the first call would have to do; nothing where there is nothing to do."""

    def check(self) -> None:
        """Look at numbers that came from a file: of the right type, and finite, but from anyone.

        Raises:
            ValueError: they make no sense in this model.
        """


class NeuralModel(LanguageModel):
    """A model whose last layer is linear: `fc`, which a subclass makes, from features to logits."""

    fc: nn.Linear
    sampler: Sampler | None = None  # draws the tokens that a training step's softmax is among; None: all

    @abstractmethod
    def features(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Ids (B, T) and the state after what came before -> what `fc` reads, (B, T, D), and the state after them."""

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        features, state = self.features(ids, state)
        return F.linear(features, self.fc.weight.to(features.dtype), self.fc.bias.to(features.dtype)), state

    def loss(self, ids: Tensor, targets: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """See `LanguageModel.loss`; where tokens are many, logits are never all in memory."""
        if not are_many(self.config.vocab_size):
            return super().loss(ids, targets, state)
        features, state = self.features(ids, state)
        flat, targets = features.flatten(0, 1), targets.reshape(-1)
        how = How.best(self.precision or self.fc.weight.dtype, self.workspace)
        drawn = self.sampler.draw(targets, self.generator) if self.sampler and self.training else None
        return output_loss(how, flat, self.fc, targets, drawn), state

    def drop(self, x: Tensor, share: float | None = None, locked: bool = False) -> Tensor:
        """Inverted dropout (Srivastava et al. 2014); nothing outside training.

        The mask comes from the model's own generator on a CPU, from torch's global one on a GPU.

        Args:
            x: (..., H).
            share: of its numbers to silence; None: the config's `dropout`.
            locked: one mask for all places of dimension 0, the steps of a sequence (Gal and Ghahramani 2016).
        """
        share = self.config.dropout if share is None else share
        if not self.training or share == 0.0:
            return x
        if x.is_cuda:
            return x * F.dropout(torch.ones_like(x[:1]), share) if locked else F.dropout(x, share)
        if is_wanted():
            seed = int(torch.randint(2**32, (), generator=self.generator))
            return Dropout.apply(self.how(), x, share, seed, locked)
        mask = torch.empty_like(x[:1] if locked else x).bernoulli_(1.0 - share, generator=self.generator)
        return x * mask.div_(1.0 - share)

    def how(self) -> How:
        """How to compute on a CPU: in `precision` while training, else as the weights are."""
        dtype = next(self.parameters()).dtype
        return How.best(self.precision if self.training and self.precision else dtype, self.workspace)
