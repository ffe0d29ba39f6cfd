"""The interface of every architecture, so that training, sampling and comparing need not know which one it is."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from itertools import chain
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from charlm.config import ModelConfig
from charlm.errors import ConfigError
from charlm.models.kernels.cross_entropy import Sampler, are_many, output_loss
from charlm.models.kernels.plan import BufferPool, ComputePlan, PackedWeights, dropout, sum_type
from charlm.models.kernels.small import Array, Known, Tape, Var, arrays_of, checked
from charlm.tokenizers import IdArray

# Copies of the inputs and outputs of a matrix: before a nonlinearity, after it, and their gradients.
COPIES = 4
# Logits that are in memory at a time where each token's loss is wanted.
MOST_LOGITS = 1 << 22

# What a model carries from call to call, as tensors whose dimension 1 is the batch: (L, B, H) each.
State = tuple[Tensor, ...]


class _Shapes(TorchFunctionMode):
    """Draws no numbers: on the meta device there are none, and torch would import its compiler, 70 MB, to draw them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Leaves a tensor as it is instead of filling it with normal numbers; calls anything else."""
        kwargs = kwargs or {}
        return [*args, *kwargs.values()][0] if func in (Tensor.normal_, nn.init.normal_) else func(*args, **kwargs)


class LanguageModel(nn.Module, ABC):
    """A model of the next token.

    Args:
        config: sizes and architecture; `vocab_size` must be at least 2.
        seed: for the first weights and for dropout, which have a generator of their own.

    Attributes:
        precision: number format of the products in training; None: that of the weights.
        eval_precision: that of the output layer in an evaluation with a large vocabulary; None: that of the weights.
        buffer_pool: tensors to use again from step to step.
        packed_weights: of one training step, shared by all threads.
        COMPILED: its compiled part on a CPU, in a few words; empty: none.
        ON_GPU: what computes it on a GPU, likewise.
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
        self.packed_weights: PackedWeights = {}
        self.precision: torch.dtype | None = None
        self.eval_precision: torch.dtype | None = None

    @abstractmethod
    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Ids (B, T) and the state before them -> logits (B, T, V) and the state after them."""

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """The state before the first token, all zero."""

    def loss(self, ids: Tensor, targets: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The summed cross-entropy of the next tokens.

        Args:
            ids: (B, T).
            targets: (B, T), the next tokens; those of -1 do not count.
            state: before `ids`; None: the initial one.

        Returns:
            The sum over the targets in nats, a scalar of float32, and the state after `ids`.
        """
        logits, state = self(ids, state)
        flat = logits.flatten(0, 1).float()
        return F.cross_entropy(flat, targets.reshape(-1), ignore_index=-1, reduction="sum"), state

    def gradients(
        self, ids: Tensor, targets: Tensor, state: State, tokens: int, parameters: Sequence[Tensor]
    ) -> tuple[Tensor, State, Sequence[Tensor]]:
        """A batch forward and back.

        Args:
            ids: (B, T).
            targets: as of `loss`.
            state: before `ids`.
            tokens: that the loss is the mean of; the batch may be a part of theirs.
            parameters: all of the model's, in its own order.

        Returns:
            The sum of the losses through `tokens`, the state after `ids`, detached, and the parameters' gradients.
        """
        half = self.precision == torch.bfloat16 and (ids.is_cuda or not self.HANDLES_PRECISION)
        with torch.enable_grad():
            with torch.autocast(ids.device.type, torch.bfloat16) if half else nullcontext():
                total, end = self.loss(ids, targets, state)
            loss = total / tokens
            grads = torch.autograd.grad(loss, parameters)
        return loss.detach(), tuple(part.detach() for part in end), grads

    def token_losses(self, ids: Tensor, targets: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The cross-entropy of each next token by itself; only those that are asked for cost an output layer.

        Args:
            ids, targets, state: as of `loss`.

        Returns:
            (N,) in nats of the N targets that count, row by row, and the state after `ids`.
        """
        logits, state = self(ids, state)
        counts = targets >= 0
        return F.cross_entropy(logits[counts].float(), targets[counts], reduction="none"), state

    def row_losses(self, ids: Tensor, targets: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The summed cross-entropy of each row of a batch.

        Args:
            ids, targets, state: as of `loss`.

        Returns:
            (B,) in nats, of float64 (on mps float32), and the state after `ids`.
        """
        losses, state = self.token_losses(ids, targets, state)
        row = (targets >= 0).nonzero()[:, 0]
        losses = losses.to(sum_type(ids.device))
        return losses.new_zeros(len(ids)).index_add_(0, row, losses), state

    def init_output_bias(self, counts: IdArray) -> None:
        """Start with the frequency of each token, (V,) in the training text; by default nothing."""
        return

    def shared_matrices(self, uses: int, rows: int) -> list[Tensor]:
        """Matrices to pack once for all threads, if each multiplies `rows` rows with them `uses` times."""
        return []

    @classmethod
    def on_meta_device(cls, config: ModelConfig) -> Self:
        """A model on torch's meta device: it has all shapes and takes no memory."""
        with torch.device("meta"), _Shapes():
            return cls(config)

    @classmethod
    def macs_per_token(cls, config: ModelConfig) -> int:
        """Multiply-adds a token in the forward pass: by default one for each number of a matrix, none of embeddings."""
        return sum(matrix.numel() for matrix in matrices(cls, config))

    @classmethod
    def step_macs(cls, config: ModelConfig) -> int:
        """Multiply-adds of a row of a batch between two synchronisation points."""
        return cls.macs_per_token(config)

    @classmethod
    def sync_points(cls, config: ModelConfig, seq_len: int) -> int:
        """Synchronisation points of a forward pass: one a layer, or one a token where a layer needs the last one's."""
        return config.num_layers

    @classmethod
    def activations(cls, config: ModelConfig) -> int:
        """Numbers a token that training keeps for the backward pass.

        By default COPIES of the inputs and outputs of every matrix; with a large vocabulary, no logits.
        """
        logits = config.vocab_size if are_many(config.vocab_size) else 0
        return COPIES * (sum(sum(matrix.shape) for matrix in matrices(cls, config)) - logits)

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """The device of its parameters."""
        return next(chain(self.parameters(), self.buffers())).device

    def prepare(self) -> None:
        """Do now what the first call would have to do; by default nothing."""

    def check(self) -> None:
        """Validate tensors loaded from an untrusted file, whose types and finiteness are checked already.

        Raises:
            ValueError: their values are impossible in this model.
        """


@cache
def matrices(kind: type[LanguageModel], config: ModelConfig) -> tuple[Tensor, ...]:
    """All matrices that a model of this class multiplies with, on torch's meta device."""
    model = kind.on_meta_device(config)
    tables = [part.weight for part in model.modules() if isinstance(part, nn.Embedding)]
    used = [part.weight for part in model.modules() if isinstance(part, nn.Linear)]
    looked_up = {id(table) for table in tables} - {id(weight) for weight in used}  # tied weights are both
    return tuple(one for one in model.parameters() if one.dim() > 1 and id(one) not in looked_up)


class NeuralModel(LanguageModel):
    """A model whose last layer is linear.

    Attributes:
        fc: from features to logits; a subclass creates it.
        sampler: draws the tokens of a training step's softmax; None: all.
        TIME_MAJOR: whether the rows of `small_features` go step by step, not row by row of the batch.
    """

    TIME_MAJOR = False
    fc: nn.Linear
    sampler: Sampler | None = None
    _arrays: Known = ([], [])

    @abstractmethod
    def features(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Ids (B, T) and the state before them -> the input of `fc`, (B, T, D), and the state after them."""

    def is_small(self, ids: Tensor, formats: Sequence[torch.dtype]) -> bool:
        """Whether a training batch goes through `small_features`; by default none does.

        Args:
            ids: (B, T).
            formats: of weights and products.
        """
        return False

    def small_features(self, tape: Tape, ids: Array, state: Sequence[Array]) -> tuple[Var, list[Array]]:
        """`features` in training, of arrays, with the operations of a tape.

        Args:
            tape: keeps them.
            ids: (B, T), or (T, B) where TIME_MAJOR.
            state: before `ids`.

        Returns:
            (N, D), and the state after `ids`.
        """
        raise NotImplementedError

    def gradients(
        self, ids: Tensor, targets: Tensor, state: State, tokens: int, parameters: Sequence[Tensor]
    ) -> tuple[Tensor, State, Sequence[Tensor]]:
        """See `LanguageModel.gradients`; of a small model without autograd."""
        dtype = parameters[0].dtype
        if not (self.training and self.is_small(ids, (dtype, self.precision or dtype))):
            return super().gradients(ids, targets, state, tokens, parameters)
        self._arrays, size = arrays_of(parameters, self._arrays), self.config.vocab_size
        tape = Tape(parameters, self._arrays[1], self.generator)
        given, wanted = (part.t() if self.TIME_MAJOR else part for part in (ids, targets))
        before = [part.contiguous().numpy() for part in state]
        x, end = self.small_features(tape, checked(given, 0, size), before)
        weight, bias = tape.weight(self.fc.weight), tape.weight(self.fc.bias)
        loss = tape.loss(x, weight, bias, checked(wanted, -1, size).ravel(), tokens)
        return torch.tensor(loss), tuple(map(torch.from_numpy, end)), tape.gradients()

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        features, state = self.features(ids, state)
        return F.linear(features, self.fc.weight.to(features.dtype), self.fc.bias.to(features.dtype)), state

    def loss(self, ids: Tensor, targets: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """See `LanguageModel.loss`; with a large vocabulary, the logits are never all in memory."""
        if not are_many(self.config.vocab_size):
            return super().loss(ids, targets, state)
        features, state = self.features(ids, state)
        flat, targets = features.flatten(0, 1), targets.reshape(-1)
        drawn = self.sampler.draw(targets, self.generator) if self.sampler and self.training else None
        return output_loss(self.plan(), flat, self.fc, targets, drawn), state

    def token_losses(self, ids: Tensor, targets: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """See `LanguageModel.token_losses`."""
        features, state = self.features(ids, state)
        counts, rows = targets >= 0, max(1, MOST_LOGITS // self.config.vocab_size)
        weight, bias = self.fc.weight.to(features.dtype), self.fc.bias.to(features.dtype)
        pieces = zip(features[counts].split(rows), targets[counts].split(rows), strict=True)
        losses = [
            F.cross_entropy(F.linear(piece, weight, bias).float(), wanted, reduction="none") for piece, wanted in pieces
        ]
        return torch.cat(losses), state

    def row_losses(self, ids: Tensor, targets: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """See `LanguageModel.row_losses`; with a large vocabulary, the logits are never all in memory."""
        if not are_many(self.config.vocab_size):
            return super().row_losses(ids, targets, state)
        features, state = self.features(ids, state)
        plan, pairs = self.plan(), zip(features, targets, strict=True)
        losses = torch.stack([output_loss(plan, row, self.fc, wanted, None) for row, wanted in pairs])
        return losses.to(sum_type(ids.device)), state

    @torch.no_grad()
    def init_weights(self) -> None:
        """Initialise linear layers and embeddings as torch does, but from the model's own generator.

        A subclass calls it, or its own version, at the end of its __init__.
        """
        for part in self.modules():
            if isinstance(part, nn.Embedding) and not part.weight.is_meta:
                part.weight.normal_(generator=self.generator)
            elif isinstance(part, nn.Linear) and not part.weight.is_meta:
                bound = 1.0 / math.sqrt(part.in_features)
                for parameter in part.parameters():
                    parameter.uniform_(-bound, bound, generator=self.generator)

    def draw_weights(self) -> None:
        """`init_weights`, by its name in the first recipes for new architectures."""
        self.init_weights()

    @torch.no_grad()
    def init_output_bias(self, counts: IdArray) -> None:
        """With init `tuned`, start with each token as likely as it is frequent, by the output bias (Karpathy 2019)."""
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
        """How to compute on a CPU: in `precision` while training, otherwise in `eval_precision`."""
        wanted = self.precision if self.training else self.eval_precision
        return ComputePlan.best(wanted or next(self.parameters()).dtype, self.buffer_pool, self.packed_weights)
