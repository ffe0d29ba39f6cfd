"""What every architecture offers, so that training, sampling and comparing need not know which one it is."""

import math
from abc import ABC, abstractmethod
from functools import cache
from itertools import chain
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.config import ModelConfig
from charlm.errors import ConfigError
from charlm.models.kernels.cross_entropy import Sampler, are_many, output_loss
from charlm.models.kernels.plan import BufferPool, ComputePlan, PackedWeights, dropout
from charlm.tokenizers import IdArray

# How often what goes into a matrix and comes out of it is kept, before it is bent, after that, and its gradient.
KEPT = 4

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
        eval_precision: that of an evaluation where tokens are many; None: as the weights are.
        COMPILED: what of it is compiled on a CPU, in a few words; empty: nothing.
        ON_GPU: what it is computed by on a GPU, likewise.
        HANDLES_PRECISION: on a CPU it casts its products to `precision` itself; others run under torch's autocast.
    """

    COMPILED = ""
    ON_GPU = "torch's operations"
    HANDLES_PRECISION = False

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        if config.vocab_size < 2:
            raise ConfigError(f"vocab_size {config.vocab_size} is too small: a model needs at least 2 distinct tokens")
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)
        self.buffer_pool = BufferPool()
        self.packed_weights: PackedWeights = {}  # of the present weights; a training step's
        self.precision: torch.dtype | None = None
        self.eval_precision: torch.dtype | None = None

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

    def init_output_bias(self, counts: IdArray) -> None:
        """Learn how frequent each token is before a training begins, if it has a use for that."""
        return

    def shared_matrices(self, uses: int, rows: int) -> list[Tensor]:
        """Matrices that every shard multiplies `uses` times so many rows with, to be laid out once for all shards."""
        return []

    @classmethod
    def on_meta_device(cls, config: ModelConfig) -> Self:
        """A model without its numbers (torch's meta device): takes no memory, has all shapes."""
        with torch.device("meta"):
            return cls(config)

    @classmethod
    def macs_per_token(cls, config: ModelConfig) -> int:
        """Multiplications a token takes in the forward pass.

        As far as shapes tell: it meets every number of a matrix once, those of an embedding not at all.
        """
        return sum(matrix.numel() for matrix in matrices(cls, config))

    @classmethod
    def step_macs(cls, config: ModelConfig) -> int:
        """Those of them that a row of a batch makes before it has to wait for others."""
        return cls.macs_per_token(config)

    @classmethod
    def sync_points(cls, config: ModelConfig, seq_len: int) -> int:
        """How often a batch waits for a layer in the forward pass: once, or for every token where a layer needs it."""
        return config.num_layers

    @classmethod
    def activations(cls, config: ModelConfig) -> int:
        """Numbers a token that a training keeps for the way back, the logits among them.

        As far as shapes tell: what goes into every matrix and comes out of it, some times over; of many tokens, no
        logits.
        """
        logits = config.vocab_size if are_many(config.vocab_size) else 0
        return KEPT * (sum(sum(matrix.shape) for matrix in matrices(cls, config)) - logits)

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


@cache
def matrices(kind: type[LanguageModel], config: ModelConfig) -> tuple[Tensor, ...]:
    """The shapes (on torch's meta device) of all that a model of this class multiplies with."""
    model = kind.on_meta_device(config)
    tables = [part.weight for part in model.modules() if isinstance(part, nn.Embedding)]
    used = [part.weight for part in model.modules() if isinstance(part, nn.Linear)]
    looked_up = {id(table) for table in tables} - {id(weight) for weight in used}  # tied weights are both
    return tuple(one for one in model.parameters() if one.dim() > 1 and id(one) not in looked_up)


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
        drawn = self.sampler.draw(targets, self.generator) if self.sampler and self.training else None
        return output_loss(self.plan(), flat, self.fc, targets, drawn), state

    @torch.no_grad()
    def init_weights(self) -> None:
        """First weights as torch draws them, but from the model's own generator: those of linear layers, embeddings.

        The last thing that a subclass's __init__ does, unless it has a better idea.
        """
        for part in self.modules():
            if isinstance(part, nn.Embedding) and not part.weight.is_meta:
                part.weight.normal_(generator=self.generator)
            elif isinstance(part, nn.Linear) and not part.weight.is_meta:
                bound = 1.0 / math.sqrt(part.in_features)
                for parameter in part.parameters():
                    parameter.uniform_(-bound, bound, generator=self.generator)

    def draw_weights(self) -> None:
        """`init_weights`, by the name that it had in the first recipes for new architectures."""
        self.init_weights()

    @torch.no_grad()
    def init_output_bias(self, counts: IdArray) -> None:
        """Begin with each token as likely as it is frequent (Karpathy 2019), by the output's bias, if init is tuned.

        Args:
            counts: of each token in the training text, (V,).
        """
        if self.config.init == "tuned":
            shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
            self.fc.bias.copy_(torch.from_numpy(shares).log())

    def dropout(self, x: Tensor, share: float | None = None, locked: bool = False) -> Tensor:
        """Dropout of x (..., H) while training, with masks from the model's own generator; see `plan.dropout`.

        Args:
            x: (..., H).
            share: of its numbers to set to zero; None: the config's `dropout`.
            locked: one mask for all places of dimension 0.
        """
        share = self.config.dropout if share is None else share
        return dropout(x, share, self.generator, locked) if self.training and share else x

    drop = dropout  # the name in the first recipes for new architectures

    def plan(self) -> ComputePlan:
        """How to compute on a CPU: in `precision` while training, in `eval_precision` else."""
        wanted = self.precision if self.training else self.eval_precision
        return ComputePlan.best(wanted or next(self.parameters()).dtype, self.buffer_pool, self.packed_weights)
