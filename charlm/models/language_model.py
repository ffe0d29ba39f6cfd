"""What every architecture offers, so that training, sampling and comparing need not know which one it is."""

from abc import ABC, abstractmethod
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.config import ModelConfig
from charlm.errors import ConfigError
from charlm.models.compiled import is_wanted
from charlm.models.recurrence import Buffers, Dropout, How

# What a model remembers between calls, as tensors whose dimension 1 is the batch: (L, B, H) each.
State = tuple[Tensor, ...]


class LanguageModel(nn.Module, ABC):
    """A model of the next token.

    Args:
        config: sizes and architecture; `vocab_size` must be at least 2.
        seed: for the first weights and for dropout, which have a generator of their own.
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

    def check(self) -> None:
        """Look at numbers that came from a file: of the right type, and finite, but from anyone.

        Raises:
            ValueError: they make no sense in this model.
        """


class NeuralModel(LanguageModel):
    """A model whose last layer is linear: `fc`, which a subclass makes, from features to logits."""

    fc: nn.Linear

    @abstractmethod
    def features(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Ids (B, T) and the state after what came before -> what `fc` reads, (B, T, D), and the state after them."""

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        features, state = self.features(ids, state)
        return F.linear(features, self.fc.weight.to(features.dtype), self.fc.bias.to(features.dtype)), state

    def drop(self, x: Tensor) -> Tensor:
        """Inverted dropout (Srivastava et al. 2014); nothing outside training.

        The mask comes from the model's own generator on a CPU, from torch's global one on a GPU.
        """
        keep = 1.0 - self.config.dropout
        if not self.training or keep == 1.0:
            return x
        if x.is_cuda:
            return F.dropout(x, self.config.dropout)
        if is_wanted():
            seed = int(torch.randint(2**32, (), generator=self.generator))
            return Dropout.apply(self.how(), x, self.config.dropout, seed)
        mask = torch.empty_like(x).bernoulli_(keep, generator=self.generator)
        return x * mask.div_(keep)

    def how(self) -> How:
        """How to compute on a CPU: in `precision` while training, else as the weights are."""
        dtype = next(self.parameters()).dtype
        return How.best(self.precision if self.training and self.precision else dtype, self.workspace)
